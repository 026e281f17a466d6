//! Prompts as the transformer takes them.

use std::{collections::BTreeMap, path::Path};

use burn::tensor::Device;

use super::Prompt;
use crate::stages::text_encoders::{TextEncoders, TextSettings, Tokens};
use crate::{pipeline::StageError, train::sampling::Conditioning, weights::Checkpoint};

/// The texts of some prompts, each encoded once.
#[derive(Clone, Debug, Default)]
pub struct Encoded(BTreeMap<String, Conditioning>);

impl Encoded {
    /// The encoded text, where it is one of theirs.
    #[must_use]
    pub fn get(&self, text: &str) -> Option<&Conditioning> {
        self.0.get(text)
    }
}

impl FromIterator<(String, Conditioning)> for Encoded {
    fn from_iter<I: IntoIterator<Item = (String, Conditioning)>>(texts: I) -> Self {
        Self(texts.into_iter().collect())
    }
}

/// Encodes prompts and negative prompts; the networks are gone when it returns. `step` is told after each
/// layer of T5 which of how many it was, and says whether to go on; where not, there is no result.
///
/// # Errors
/// A file holds another network, or not all of this one, or cannot be read.
pub fn encode(
    clip_l: &Path,
    t5xxl: &Path,
    prompts: &[Prompt],
    settings: &TextSettings,
    device: &Device,
    step: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Option<Encoded>, StageError> {
    let texts = prompts
        .iter()
        .flat_map(|prompt| std::iter::once(prompt.prompt.as_str()).chain(prompt.negative()));
    let mut texts = texts.collect::<Vec<_>>();
    texts.sort_unstable();
    texts.dedup();
    let (clip_file, t5_file) = (Checkpoint::open(clip_l)?, Checkpoint::open(t5xxl)?);
    let encoders = TextEncoders::open(&clip_file, &t5_file, settings, device)?;
    let mut encoded = Encoded::default();
    let together = (encoders.rows_of_set() / settings.length.max(1)).max(1);
    let sets = texts.len().div_ceil(together);
    for (behind, set) in texts.chunks(together).enumerate() {
        let tokens = set.iter().map(|text| Tokens::of(text, settings)).collect::<Vec<_>>();
        let layer = |layer: usize, layers: usize| step(behind * layers + layer, sets * layers);
        encoders.encode(&tokens, layer, |place, text| {
            let t5_masked = !settings.attend_padding;
            let text = Conditioning { t5: text.t5, t5_masked, clip: text.clip };
            encoded.0.insert(set[place].to_owned(), text);
            Ok(())
        })?;
        if encoded.0.len() < (behind * together + set.len()) {
            return Ok(None);
        }
    }
    Ok(Some(encoded))
}

/// How many T5 tokens of the text are cut off, since it is longer than the settings allow.
#[must_use]
pub fn tokens_cut(text: &str, settings: &TextSettings) -> usize {
    Tokens::of(text, settings).cut
}
