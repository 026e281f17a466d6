//! What a tagger sees in pictures, wherever they lie.

use std::path::{Path, PathBuf};

use burn::tensor::Device;

use crate::{
    dataset::{Encoded, tagger_pixels},
    models::tagger::Tagger,
    pipeline::StageError,
};

/// From which probability on a tag is seen.
const SEEN: f32 = 0.5;
/// Pictures at once.
const BATCH: usize = 16;

/// What a tagger sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// All tags it knows, as it names them.
    pub known: Vec<String>,
    /// The tags of each picture, in that order.
    pub tags: Vec<Vec<String>>,
}

/// What one picture should show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its file.
    pub picture: PathBuf,
    /// The tags that it should have.
    pub asked: Vec<String>,
    /// Those among them that the tagger does not see.
    pub missing: Vec<String>,
}

/// Looks at each picture with the tagger of this folder.
///
/// # Errors
/// The tagger cannot be read, or a picture.
pub fn seen(tagger: &Path, pictures: &[PathBuf], device: &Device) -> Result<Seen, StageError> {
    let tagger = Tagger::open(tagger, device)?;
    let known = tagger.table().tags.iter().map(|tag| tag.name.replace('_', " "));
    let known = known.collect::<Vec<_>>();
    let batch = tagger.batch().unwrap_or(BATCH);
    let mut tags = Vec::with_capacity(pictures.len());
    for some in pictures.chunks(batch) {
        let prepare =
            |path: &PathBuf| Ok(tagger_pixels(Encoded::read(path)?.decode(true)?, tagger.size()));
        let pixels = some.iter().map(prepare).collect::<Result<Vec<_>, StageError>>()?;
        for values in tagger.probabilities(&pixels)? {
            let seen = known.iter().zip(values).filter(|(_, value)| *value >= SEEN);
            tags.push(seen.map(|(name, _)| name.clone()).collect());
        }
    }
    Ok(Seen { known, tags })
}
