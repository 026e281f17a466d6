//! Finding packs, reading their files, comparing numbers.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use fluxpipe::weights::Checkpoint;
use serde_json::Value;

/// A folder of reference numbers.
pub struct Pack {
    pub folder: PathBuf,
    /// Its tolerances are those of the device that the tests run on: see [`super::device`].
    pub manifest: Value,
}

impl Pack {
    /// All packs for which `wanted(kind)` holds, over all fixture folders. A folder without any is
    /// reported; a fixture folder that holds no pack of whatever kind fails the test.
    pub fn find(what: &str, wanted: impl Fn(&str) -> bool) -> Vec<Self> {
        let folders = env::var("FLUXPIPE_FIXTURES").unwrap_or_else(|_| "tests/fixtures".to_owned());
        let mut found = Vec::new();
        for folder in folders.split(':').filter(|folder| !folder.is_empty()) {
            let packs = packs_below(Path::new(folder));
            assert!(!packs.is_empty(), "{folder} holds no pack (a folder with a manifest.json)");
            let before = found.len();
            found.extend(packs.into_iter().filter(|pack| wanted(pack.kind())));
            if found.len() == before {
                eprintln!("skipped: {folder} has no pack of kind {what}");
            }
        }
        found
    }

    /// All packs of exactly this kind.
    pub fn of_kind(kind: &str) -> Vec<Self> {
        Self::find(kind, |found| found == kind)
    }

    /// The kind of the pack: `ae_tiny`, `adafactor`, ...
    pub fn kind(&self) -> &str {
        self.manifest["fixture"].as_str().unwrap_or_default()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whether the manifest names this file: then the pack must hold it.
    pub fn lists(&self, name: &str) -> bool {
        self.manifest["files"].get(name).is_some()
    }

    /// Opens one of the pack's tensor files.
    pub fn tensors(&self, name: &str) -> Checkpoint {
        Checkpoint::open(&self.path(name)).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn json(&self, name: &str) -> Value {
        let path = self.path(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }
}

fn packs_below(folder: &Path) -> Vec<Pack> {
    let mut packs = Vec::new();
    let mut folders = vec![folder.to_owned()];
    if let Ok(entries) = fs::read_dir(folder) {
        folders.extend(entries.flatten().map(|e| e.path()).filter(|path| path.is_dir()));
    }
    folders.sort();
    for folder in folders {
        let Ok(text) = fs::read_to_string(folder.join("manifest.json")) else { continue };
        let mut manifest: Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{}/manifest.json: {error}", folder.display()));
        if manifest["fixture"].is_string() {
            super::device::fit_tolerances(&mut manifest);
            packs.push(Pack { folder, manifest });
        }
    }
    packs
}

/// The largest difference of two lists, and the largest size in `expected`, in f64.
pub fn difference(found: &[f32], expected: &[f32]) -> (f64, f64) {
    assert_eq!(found.len(), expected.len(), "different number of elements");
    let mut largest = (0.0_f64, 0.0_f64);
    for (&found, &expected) in found.iter().zip(expected) {
        let (found, expected) = (f64::from(found), f64::from(expected));
        let difference = (found - expected).abs();
        // NaN must not pass as "not larger".
        largest.0 = if difference.is_nan() { f64::INFINITY } else { largest.0.max(difference) };
        largest.1 = largest.1.max(expected.abs());
    }
    largest
}

/// Fails unless every element lies within `absolute + relative * |expected|` (NumPy's `allclose`).
#[track_caller]
pub fn assert_close(what: &str, found: &[f32], expected: &[f32], absolute: f64, relative: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: different number of elements");
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let (found, expected) = (f64::from(found), f64::from(expected));
        let within = (found - expected).abs() <= absolute + relative * expected.abs();
        assert!(
            within,
            "{what}[{index}]: found {found}, expected {expected} ± {absolute} (+{relative} relative)"
        );
    }
}

/// The number that stands behind `words` in a text of the pack: tolerances are often given in words.
#[track_caller]
pub fn number_after(text: &str, words: &str) -> f64 {
    let (_, after) = text.split_once(words).unwrap_or_else(|| panic!("no {words:?} in {text:?}"));
    let end = after.find(|c: char| !c.is_ascii_digit() && c != '.' && c != 'e' && c != '-');
    let number = after[..end.unwrap_or(after.len())].trim_end_matches('.');
    number.parse().unwrap_or_else(|_| panic!("no number behind {words:?} in {text:?}"))
}
