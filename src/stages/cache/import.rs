//! Caches of sd-scripts: `.npz` files beside the pictures, taken instead of encoding anew.
//!
//! Nothing in such a file ties it to the pixels or the caption that it was made of. So it is taken only
//! where everything it does state agrees with the picture: sizes, shapes, the number of tokens. What
//! does not fit is encoded, and the record says why, so that each plan and run can warn of it. The bytes
//! of the file are a part of the item's key.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use burn::tensor::FloatDType;

use super::{Cache, header::Shape, texts};
use crate::stages::{Sample, Site, sidecar::by_id};
use crate::{
    base::{disk, plural},
    device,
    models::{clip, identity, t5::T5Stream, tokenizer::T5Tokenizer},
    pipeline::{Draft, KeyPart, Origin, Seen, StageError, Warning, Work},
    weights::{Array, Checkpoint, Loader, Npz, WeightsError},
};

/// Channels of FLUX.1's latents.
const CHANNELS: usize = 16;
/// Blob of a record that was encoded though a cache is there: why.
const REFUSED: &str = "import_refused";
/// Pictures that a warning names.
const EXAMPLES: usize = 5;

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
            for entry in disk::list(folder).into_iter().flatten().flatten() {
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
    let digest = site.digest_of(files)?;
    Ok(Some(KeyPart::new("import_cache", digest, Origin::File(first.clone()))))
}

/// The latent `[16, h, w]` of a picture in this bucket (width first), or of its mirror image, from the
/// first of `files` that can belong to it; none where there is no file.
///
/// # Errors
/// There are files and none can belong to it: why.
pub fn latent(
    files: &[PathBuf],
    flipped: bool,
    picture: Shape,
    bucket: (usize, usize),
) -> Result<Option<Vec<f32>>, String> {
    let mut refused = Vec::new();
    for file in files {
        match open(file).and_then(|npz| latent_of(&npz, flipped, picture, bucket)) {
            Ok(latent) => return Ok(Some(latent)),
            Err(why) if refused.contains(&why) => {}
            Err(why) => refused.push(why),
        }
    }
    if refused.is_empty() { Ok(None) } else { Err(refused.join("; ")) }
}

fn latent_of(
    npz: &Npz,
    flipped: bool,
    picture: Shape,
    bucket: (usize, usize),
) -> Result<Vec<f32>, String> {
    if picture.turned {
        return Err(
            "sd-scripts takes pictures as they are stored, and the EXIF orientation turns \
                    this one"
                .to_owned(),
        );
    }
    let (height, width) = (bucket.1 / 8, bucket.0 / 8);
    let size = array(npz, &format!("original_size_{height}x{width}"))?;
    let (across, down) = picture.size;
    if size.values != [across as f32, down as f32] {
        let of = size.values.iter().map(ToString::to_string).collect::<Vec<_>>().join("x");
        return Err(format!(
            "it was made of a picture of {of} pixels, and this one has {across}x{down}"
        ));
    }
    let name = if flipped { "latents_flipped" } else { "latents" };
    let latent = array(npz, &format!("{name}_{height}x{width}"))?;
    shaped(latent, &[CHANNELS, height, width])?;
    Ok(latent.values.clone())
}

/// Why no cache was taken for items that have one, by their indices.
pub type Refused = HashMap<usize, String>;

/// Commits what can be taken of the text items with these indices; gives back those that are left.
///
/// # Errors
/// The store or a network's file cannot be read, or the store not be written.
pub fn take_texts(
    cache: &Cache,
    work: &mut dyn Work,
    items: Vec<usize>,
) -> Result<(Vec<usize>, Refused), StageError> {
    let mut refused = Refused::new();
    if !cache.config.import_cache || items.is_empty() {
        return Ok((items, refused));
    }
    let (beside, samples, sizes) = (Beside::of(&cache.site), by_id(&cache.site), sizes(cache)?);
    let mut left = Vec::new();
    for (caption, item) in texts::captions(work, &items)?.into_iter().zip(items) {
        let sample = samples.get(work.items()[item].id.as_str());
        // The caches hold one text of a picture, in which nothing was drawn.
        let sample = sample.filter(|sample| cache.site.dataset(sample).variants() == 1);
        let Some(file) = sample.and_then(|sample| beside.texts(sample).first()) else {
            left.push(item);
            continue;
        };
        let real = T5Tokenizer::encode(&caption, sizes.length).real;
        match open(file).and_then(|npz| texts_of(&npz, sizes, real)) {
            Ok(Texts { pooled, hidden }) => {
                let draft = texts::draft(&cache.config, &pooled, &hidden, sizes.length, real)?;
                work.commit(item, draft)?;
            }
            Err(why) => {
                refused.insert(item, why);
                left.push(item);
            }
        }
    }
    Ok((left, refused))
}

/// What the encoders of this project give for a caption.
#[derive(Clone, Copy)]
struct Sizes {
    /// Tokens that T5 is given, padding included.
    length: usize,
    /// Width of CLIP's pooled vector.
    pooled: usize,
    /// Width of T5's states.
    hidden: usize,
}

/// From the headers of the networks' files.
fn sizes(cache: &Cache) -> Result<Sizes, StageError> {
    let (clip_file, t5_file) = (Checkpoint::open(&cache.clip_l)?, Checkpoint::open(&cache.t5xxl)?);
    let device = device::cpu();
    let prefix = identity::prefix(&clip_file, "clip_l")?;
    let pooled = clip::width(&Loader::new(&clip_file, prefix, &device, FloatDType::F32));
    let prefix = identity::prefix(&t5_file, "t5xxl")?;
    let t5 = T5Stream::open(Loader::new(&t5_file, prefix, &device, FloatDType::F32))?;
    Ok(Sizes { length: cache.t5_length()?, pooled, hidden: t5.width() })
}

/// What CLIP-L and T5 gave for a caption: the pooled vector, and T5's states.
struct Texts {
    pooled: Vec<f32>,
    hidden: Vec<f32>,
}

/// The text outputs of an archive, if they can belong to a caption of `real` tokens.
fn texts_of(npz: &Npz, sizes: Sizes, real: usize) -> Result<Texts, String> {
    if array(npz, "apply_t5_attn_mask")?.values != [0.0] {
        return Err("it was made with --apply_t5_attn_mask".to_owned());
    }
    let (pooled, hidden) = (array(npz, "l_pooled")?, array(npz, "t5_out")?);
    shaped(pooled, &[sizes.pooled])?;
    shaped(hidden, &[sizes.length, sizes.hidden])?;
    let mask = array(npz, "t5_attn_mask")?;
    let tokens = mask.values.iter().filter(|&&one| one != 0.0).count();
    if mask.values.len() != sizes.length || tokens != real {
        return Err(format!("it was made of a text of {tokens} tokens, not of {real}"));
    }
    Ok(Texts { pooled: pooled.values.clone(), hidden: hidden.values.clone() })
}

/// A draft of what was encoded that says why a cache was refused, if one was.
pub fn encoded(draft: Draft, refused: Option<&String>) -> Draft {
    match refused {
        Some(why) => draft.and(REFUSED, why.as_str()),
        None => draft,
    }
}

/// The warning of caches that were refused, if any was; read off the records.
pub fn warning(items: &[Seen<'_>]) -> Option<Warning> {
    let why = |item: &Seen<'_>| item.output?.blob(REFUSED)?.text.clone();
    let refused = items.iter().filter_map(|item| Some((item.spec.id.as_str(), why(item)?)));
    let refused = refused.collect::<Vec<_>>();
    if refused.is_empty() {
        return None;
    }
    let have = if refused.len() == 1 { "has" } else { "have" };
    Some(Warning {
        code: "fluxpipe::cache::import_refused".to_owned(),
        message: format!(
            "{} {have} a cache of sd-scripts that is not taken",
            plural(refused.len(), "item")
        ),
        help: Some(
            "they were encoded as if there were none; a .npz file is taken where all that it says agrees \
             with the picture and its caption"
                .to_owned(),
        ),
        items: refused.len(),
        examples: refused.iter().take(EXAMPLES).map(|(id, why)| format!("{id} ({why})")).collect(),
    })
}

/// Why is said without the path: equal files in other places are refused in the same words.
fn open(file: &Path) -> Result<Npz, String> {
    Npz::open(file).map_err(|error| match error {
        WeightsError::Format { reason, .. } => format!("it is no usable .npz file: {reason}"),
        _ => "it cannot be read".to_owned(),
    })
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
        let upright = |size| Shape { size, turned: false };
        let (picture, bucket) = (upright((100, 70)), (48, 32));
        assert_eq!(latent_of(&npz(&file), false, picture, bucket).unwrap(), values);
        assert_eq!(latent_of(&npz(&file), true, picture, bucket).unwrap(), flipped);
        let refused = |file: &[(&str, &[usize], Vec<f32>)], picture, bucket| {
            latent_of(&npz(file), false, picture, bucket).unwrap_err()
        };
        let why = refused(&file, upright((70, 100)), bucket);
        assert_eq!(why, "it was made of a picture of 100x70 pixels, and this one has 70x100");
        assert_eq!(refused(&file, picture, (32, 48)), "it has no `original_size_6x4`");
        let why = refused(&file, Shape { turned: true, ..picture }, bucket);
        assert!(why.contains("EXIF orientation"), "{why}");
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
        let sizes = |length| Sizes { length, pooled: 768, hidden: 4096 };
        let taken = texts_of(&npz(&file), sizes(8), 5).unwrap();
        assert_eq!((taken.pooled.len(), taken.hidden.len()), (768, 8 * 4096));
        let refused = |file: &[(&str, &[usize], Vec<f32>)], length, real| {
            texts_of(&npz(file), sizes(length), real).err().unwrap()
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
