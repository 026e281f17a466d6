//! A picture whose texts are encoded: ready for any network of its sort.

use super::{Prompts, TEXT, encoded, parts::steps};
use crate::stages::pictures::Prompt;
use crate::{
    manifest::prompts::Wanted,
    pipeline::{Blob, StageError, Store, Upstream},
    train::sampling::{Conditioning, Drawing},
    weights::Checkpoint,
};

/// A picture to be drawn.
#[derive(Clone, Debug)]
pub struct Drawable {
    /// What is wanted.
    pub prompt: Prompt,
    text: Blob,
    negative: Option<Blob>,
}

impl Drawable {
    /// Of a picture whose texts the step has encoded; `None` where they have still to be.
    pub fn of(upstream: &Upstream<'_>, wanted: &Wanted, takes_guidance: bool) -> Option<Self> {
        let blob = |text: &str| encoded(upstream, text)?.output?.blob(TEXT).cloned();
        let drawing = Drawing {
            width: wanted.width as usize,
            height: wanted.height as usize,
            steps: steps(wanted, takes_guidance) as usize,
            guidance: wanted.guidance,
            cfg: wanted.cfg,
            seed: wanted.seed,
        };
        Some(Self {
            text: blob(&wanted.prompt)?,
            negative: match &wanted.negative {
                Some(negative) => Some(blob(negative)?),
                None => None,
            },
            prompt: Prompt {
                prompt: wanted.prompt.clone(),
                negative: wanted.negative.clone(),
                drawing,
            },
        })
    }

    /// The prompt as it is encoded.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn text(&self, store: &Store) -> Result<Conditioning, StageError> {
        conditioning(store, &self.text)
    }

    /// The negative prompt as it is encoded, where one is drawn with.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn negative(&self, store: &Store) -> Result<Option<Conditioning>, StageError> {
        self.negative.as_ref().map(|blob| conditioning(store, blob)).transpose()
    }
}

/// The encoding of a text, as a record has it.
fn conditioning(store: &Store, blob: &Blob) -> Result<Conditioning, StageError> {
    let record = Checkpoint::open_safetensors(&store.path(blob)?)?;
    Ok(Conditioning {
        t5: record.f32("t5")?,
        t5_masked: record.metadata().get("t5_padding").is_some_and(|padding| padding == "masked"),
        clip: record.f32("clip_pooled")?,
    })
}

impl Prompts {
    /// What the file of a picture is called, without ending: `001-42-a-red-cup`.
    pub fn file_name(wanted: &Wanted) -> String {
        /// Letters of the prompt that a name shows.
        const SHOWN: usize = 40;
        let mut slug = String::new();
        for letter in wanted.prompt.chars().flat_map(char::to_lowercase) {
            if letter.is_alphanumeric() {
                slug.push(letter);
            } else if !slug.ends_with('-') {
                slug.push('-');
            }
        }
        let slug = slug.chars().take(SHOWN).collect::<String>();
        let name = format!("{:03}-{}-{}", wanted.number, wanted.seed, slug.trim_matches('-'));
        name.trim_end_matches('-').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_its_prompt_without_letters_that_paths_dislike() {
        let wanted = |prompt: &str| Wanted {
            number: 3,
            prompt: prompt.to_owned(),
            negative: None,
            width: 64,
            height: 64,
            steps: None,
            guidance: 3.5,
            cfg: 1.0,
            seed: 7,
        };
        let name = |prompt: &str| Prompts::file_name(&wanted(prompt));
        assert_eq!(name("A red/blue Cup, \"big\""), "003-7-a-red-blue-cup-big");
        assert_eq!(name("  ../Ünicode  "), "003-7-ünicode");
        assert_eq!(name(""), "003-7");
        assert_eq!(
            name(&"long ".repeat(40)),
            format!("003-7-{}", "long-".repeat(8).trim_end_matches('-'))
        );
    }
}
