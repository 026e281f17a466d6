//! Caches of sd-scripts: `.npz` files beside the pictures, taken instead of encoding anew.
//!
//! Nothing in such a file ties it to the pixels or the caption that it was made of. So it is taken only
//! where everything it does state agrees with the picture: sizes, shapes, the number of tokens. What
//! does not fit is encoded, and a warning says why. The bytes of the file are a part of the item's key.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
};

use super::{Sample, Site, cache::Cache, record, sidecar::by_id, texts};
use crate::{
    base::Digest,
    manifest::Dtype,
    models::tokenizer::T5Tokenizer,
    pipeline::{Draft, KeyPart, Origin, StageError, Work},
    weights::{Array, Npz},
};

/// Channels of FLUX.1's latents.
const CHANNELS: usize = 16;
/// Widths of what CLIP-L and T5-XXL give.
const WIDTHS: [usize; 2] = [768, 4096];

/// The caches that lie beside the pictures of a project.
pub struct Beside(HashMap<PathBuf, Files>);

/// The caches of one picture.
#[derive(Default)]
struct Files {
    /// `STEM_WWWWxHHHH_flux.npz`: several where the picture once had another size.
    latents: Vec<PathBuf>,
    /// `STEM_flux_te.npz`
    texts: Vec<PathBuf>,
}

impl Beside {
    /// Looks into every folder with pictures once.
    pub fn of(site: &Site) -> Self {
        let folders = site.samples.iter().filter_map(|sample| sample.file.path.parent());
        let mut found = HashMap::<PathBuf, Files>::new();
        for folder in folders.collect::<HashSet<_>>() {
            // A folder that cannot be read holds no caches; scanning it for pictures has said so.
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let (path, name) = (entry.path(), entry.file_name());
                let Some(name) = name.to_str().and_then(|name| name.strip_suffix("_flux.npz"))
                else {
                    if let Some(stem) =
                        name.to_str().and_then(|name| name.strip_suffix("_flux_te.npz"))
                    {
                        found.entry(folder.join(stem)).or_default().texts.push(path);
                    }
                    continue;
                };
                if let Some((stem, _)) = name.rsplit_once('_').filter(|(_, size)| is_size(size)) {
                    found.entry(folder.join(stem)).or_default().latents.push(path);
                }
            }
        }
        found.values_mut().for_each(|files| files.latents.sort());
        Self(found)
    }

    /// Caches of the picture's latents.
    pub fn latents(&self, sample: &Sample) -> &[PathBuf] {
        self.files(sample).map_or(&[], |files| &files.latents)
    }

    /// Caches of the picture's text.
    pub fn texts(&self, sample: &Sample) -> &[PathBuf] {
        self.files(sample).map_or(&[], |files| &files.texts)
    }

    fn files(&self, sample: &Sample) -> Option<&Files> {
        self.0.get(&sample.file.path.with_extension(""))
    }
}

/// Whether this is a size as the file names have it: `1024x0768`.
fn is_size(text: &str) -> bool {
    let side = |side: &str| side.len() >= 4 && side.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('x').is_some_and(|(width, height)| side(width) && side(height))
}

/// The key part for the files that an item may be taken from; none if there are none.
///
/// # Errors
/// One of them cannot be read.
pub fn part(site: &Site, files: &[PathBuf]) -> Result<Option<KeyPart>, StageError> {
    let Some(first) = files.first() else { return Ok(None) };
    let digests = files.iter().map(|file| site.store.digest_file(file));
    let digest = match digests.collect::<Result<Vec<_>, _>>()?[..] {
        [one] => one,
        ref all => Digest::of(&all.iter().flat_map(Digest::as_bytes).copied().collect::<Vec<_>>()),
    };
    Ok(Some(KeyPart::new("import_cache", digest, Origin::File(first.clone()))))
}

/// The latent `[16, h, w]` of a picture of this size in this bucket (both width first), or of its mirror
/// image, from the one of `files` that can belong to it. Warns of the others.
pub fn latent(
    files: &[PathBuf],
    flipped: bool,
    picture: (usize, usize),
    bucket: (usize, usize),
) -> Option<Vec<f32>> {
    let take = |file: &PathBuf| {
        let taken = open(file).and_then(|npz| latent_of(&npz, flipped, picture, bucket));
        taken.map_err(|why| warn(file, &why)).ok()
    };
    files.iter().find_map(take)
}

fn latent_of(
    npz: &Npz,
    flipped: bool,
    picture: (usize, usize),
    bucket: (usize, usize),
) -> Result<Vec<f32>, String> {
    let (height, width) = (bucket.1 / 8, bucket.0 / 8);
    let size = array(npz, &format!("original_size_{height}x{width}"))?;
    if size.values != [picture.0 as f32, picture.1 as f32] {
        let (width, height) = picture;
        let of = size.values.iter().map(ToString::to_string).collect::<Vec<_>>().join("x");
        return Err(format!(
            "it was made of a picture of {of} pixels, and this one has {width}x{height}"
        ));
    }
    let name = if flipped { "latents_flipped" } else { "latents" };
    let latent = array(npz, &format!("{name}_{height}x{width}"))?;
    shaped(latent, &[CHANNELS, height, width])?;
    Ok(latent.values.clone())
}

/// Commits what can be taken of the text items with these indices; gives back those that are left.
///
/// # Errors
/// The store cannot be read or written.
pub fn take_texts(
    cache: &Cache,
    work: &mut dyn Work,
    items: Vec<usize>,
) -> Result<Vec<usize>, StageError> {
    if !cache.config.import_cache {
        return Ok(items);
    }
    let (beside, samples, length) =
        (Beside::of(&cache.site), by_id(&cache.site), cache.t5_length()?);
    let mut left = Vec::new();
    for (caption, item) in texts::captions(work, &items)?.into_iter().zip(items) {
        let sample = samples.get(work.items()[item].id.as_str());
        // The caches hold one text of a picture, in which nothing was drawn.
        let sample = sample.filter(|sample| cache.site.dataset(sample).variants() == 1);
        let file = sample.and_then(|sample| beside.texts(sample).first());
        let real = T5Tokenizer::encode(&caption, length).real;
        match file.and_then(|file| texts(file, length, real)) {
            Some(taken) => work.commit(item, taken.draft(length, real, cache)?)?,
            None => left.push(item),
        }
    }
    Ok(left)
}

/// What CLIP-L and T5 gave for a caption: the pooled vector, and T5's states.
struct Texts {
    pooled: Vec<f32>,
    hidden: Vec<f32>,
}

impl Texts {
    fn draft(&self, length: usize, real: usize, cache: &Cache) -> Result<Draft, StageError> {
        let tensors: [(&str, &[usize], &[f32]); 2] = [
            ("clip_pooled", &[WIDTHS[0]], &self.pooled),
            ("t5", &[length, WIDTHS[1]], &self.hidden),
        ];
        let notes = BTreeMap::from([("t5_tokens".to_owned(), real.to_string())]);
        let bytes = record::write(&tensors, &notes, cache.config.text_dtype == Dtype::F32)?;
        Ok(Draft::bytes("text.safetensors", bytes))
    }
}

/// The text outputs in `file`, if they can belong to a caption of `real` tokens that is padded to
/// `length`. Warns if they cannot.
fn texts(file: &Path, length: usize, real: usize) -> Option<Texts> {
    let taken = open(file).and_then(|npz| texts_of(&npz, length, real));
    taken.map_err(|why| warn(file, &why)).ok()
}

fn texts_of(npz: &Npz, length: usize, real: usize) -> Result<Texts, String> {
    if array(npz, "apply_t5_attn_mask")?.values != [0.0] {
        return Err("it was made with --apply_t5_attn_mask".to_owned());
    }
    let (pooled, hidden) = (array(npz, "l_pooled")?, array(npz, "t5_out")?);
    shaped(pooled, &[WIDTHS[0]])?;
    shaped(hidden, &[length, WIDTHS[1]])?;
    let mask = array(npz, "t5_attn_mask")?;
    let tokens = mask.values.iter().filter(|&&one| one != 0.0).count();
    if mask.values.len() != length || tokens != real {
        return Err(format!("it was made of a text of {tokens} tokens, not of {real}"));
    }
    Ok(Texts { pooled: pooled.values.clone(), hidden: hidden.values.clone() })
}

fn open(file: &Path) -> Result<Npz, String> {
    Npz::open(file).map_err(|error| error.to_string())
}

fn array<'a>(npz: &'a Npz, name: &str) -> Result<&'a Array, String> {
    npz.get(name).ok_or_else(|| format!("it has no `{name}`"))
}

fn shaped(array: &Array, shape: &[usize]) -> Result<(), String> {
    if array.shape != shape {
        return Err(format!("it holds an array {:?} where one of {shape:?} belongs", array.shape));
    }
    if array.values.iter().any(|value| !value.is_finite()) {
        return Err("it holds infinities or what is no number".to_owned());
    }
    Ok(())
}

fn warn(file: &Path, why: &str) {
    tracing::warn!("{} is not taken, the encoding is made anew: {why}", file.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arrays as `numpy.savez` would have written them.
    fn npz(arrays: &[(&str, &[usize], Vec<f32>)]) -> Npz {
        Npz::of(arrays.iter().map(|(name, shape, values)| {
            ((*name).to_owned(), Array { shape: shape.to_vec(), values: values.clone() })
        }))
    }

    #[test]
    fn a_latent_is_taken_only_where_sizes_agree() {
        let values = (0..16 * 4 * 6).map(|place| place as f32).collect::<Vec<_>>();
        let flipped = values.iter().map(|value| -value).collect::<Vec<_>>();
        let mut file = vec![
            ("original_size_4x6", &[2][..], vec![100.0, 70.0]),
            ("latents_4x6", &[16, 4, 6], values.clone()),
            ("latents_flipped_4x6", &[16, 4, 6], flipped.clone()),
        ];
        let (picture, bucket) = ((100, 70), (48, 32));
        assert_eq!(latent_of(&npz(&file), false, picture, bucket).unwrap(), values);
        assert_eq!(latent_of(&npz(&file), true, picture, bucket).unwrap(), flipped);
        let refused = |file: &[(&str, &[usize], Vec<f32>)], picture, bucket| {
            latent_of(&npz(file), false, picture, bucket).unwrap_err()
        };
        let why = refused(&file, (70, 100), bucket);
        assert_eq!(why, "it was made of a picture of 100x70 pixels, and this one has 70x100");
        assert_eq!(refused(&file, picture, (32, 48)), "it has no `original_size_6x4`");
        file[1].1 = &[6, 4, 16];
        assert!(refused(&file, picture, bucket).contains("where one of [16, 4, 6] belongs"));
        file[1].1 = &[16, 4, 6];
        file[1].2[5] = f32::NAN;
        assert!(refused(&file, picture, bucket).contains("no number"));
    }

    #[test]
    fn texts_are_taken_only_where_the_number_of_tokens_agrees() {
        let mask = |real: usize| (0..8).map(|place| f32::from(u8::from(place < real))).collect();
        let mut file = vec![
            ("l_pooled", &[768][..], vec![0.5; 768]),
            ("t5_out", &[8, 4096], vec![0.25; 8 * 4096]),
            ("t5_attn_mask", &[8], mask(5)),
            ("apply_t5_attn_mask", &[], vec![0.0]),
        ];
        let taken = texts_of(&npz(&file), 8, 5).unwrap();
        assert_eq!((taken.pooled.len(), taken.hidden.len()), (768, 8 * 4096));
        let refused = |file: &[(&str, &[usize], Vec<f32>)], length, real| {
            texts_of(&npz(file), length, real).err().unwrap()
        };
        assert_eq!(refused(&file, 8, 6), "it was made of a text of 5 tokens, not of 6");
        assert!(refused(&file, 16, 5).contains("where one of [16, 4096] belongs"));
        file[3].2 = vec![1.0];
        assert_eq!(refused(&file, 8, 5), "it was made with --apply_t5_attn_mask");
    }

    #[test]
    fn names_of_caches_have_a_size() {
        assert!(is_size("1024x0768") && is_size("0064x12000"));
        assert!(!is_size("64x64") && !is_size("1024") && !is_size("1024x07a8"));
    }
}
