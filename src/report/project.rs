//! The short answers of `init` and `check`.

use std::path::Path;

use super::theme;
use crate::{base::plural, manifest::Manifest, pipeline::Plan, stages::seen::Shown};

/// After `init`: what was written, and what to do next.
#[must_use]
pub fn initialised(manifest: &Path, pictures: &Path, found: bool) -> String {
    let (path, folder) = (manifest.display(), pictures.display());
    let first = if found {
        format!("It uses the pictures in {folder}.")
    } else {
        format!("Put your pictures into {folder}.")
    };
    format!(
        "{} {path}\n\n{first} Then:\n\
         \x20 1. name your weight files under [models] in {path}\n\
         \x20 2. fluxpipe check {path}\n\
         \x20 3. fluxpipe run {path}\n",
        theme::good("wrote"),
    )
}

/// After a run: what the manifest's author wants said.
#[must_use]
pub fn note(note: &str) -> String {
    format!("\nNote: {note}\n")
}

/// After the page `report.html` was written: where it is.
#[must_use]
pub fn page_written(page: &Path) -> String {
    format!("Report: {}\n", page.display())
}

/// After a run whose page could not be written.
#[must_use]
pub fn page_not_written(page: &Path, why: &str) -> String {
    let line = format!("! {} is not written: {why}", page.display());
    format!("{}\n", theme::busy(line))
}

/// After `demo`: where the networks are.
#[must_use]
pub fn demo_written(folder: &Path) -> String {
    format!(
        "{} {}: small networks with random weights; their captions mean nothing\n",
        theme::good("wrote"),
        folder.display(),
    )
}

/// After `demo make`.
#[must_use]
pub fn pictures_drawn(folder: &Path, count: u32) -> String {
    let pictures = plural(count as usize, "picture");
    format!("{} {pictures} into {}\n", theme::good("drew"), folder.display())
}

/// Of how many pictures of one model show what they should, and what the others lack.
#[must_use]
pub fn shown(which: &str, pictures: &[Shown]) -> String {
    let right = pictures.iter().filter(|picture| picture.missing.is_empty()).count();
    let mut text = format!("{which:<7} {right} of {} show it\n", plural(pictures.len(), "picture"));
    for picture in pictures.iter().filter(|picture| !picture.missing.is_empty()) {
        let name = picture.picture.file_name().unwrap_or_default().to_string_lossy().into_owned();
        text += &format!("        {name}: no {}\n", picture.missing.join(", "));
    }
    text
}

/// After a `check` that found nothing wrong.
#[must_use]
pub fn checked(manifest: &Manifest, plan: &Plan, device: &str) -> String {
    let stages = plan.stages.iter().map(|stage| stage.name.as_str()).collect::<Vec<_>>();
    let warnings = plan.stages.iter().flat_map(|stage| &stage.warnings);
    let warnings = warnings.map(|warning| super::plan::warning(warning, "")).collect::<String>();
    format!(
        "{} {}: {} ({}), {}, device {device}\n{warnings}",
        theme::good("ok"),
        manifest.source.path.display(),
        plural(stages.len(), "stage"),
        stages.join(", "),
        plural(manifest.dataset.len(), "dataset"),
    )
}
