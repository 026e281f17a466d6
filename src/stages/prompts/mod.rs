//! Prompts: which pictures a table of the manifest asks for, and the step that encodes their texts.
//!
//! The step is a stage of its own, `sample.prompts` and `finetune.prompts`, so that text encoders are never
//! loaded beside a transformer, and no text is encoded twice. Does not know how a picture is drawn.

mod drawable;
mod error;
mod parts;

use std::{path::PathBuf, sync::Arc};

pub use self::{drawable::Drawable, error::PromptsError};
use super::{
    ProjectError, Site,
    cache::{Cache, import, texts},
    variants::EMPTY,
};
use crate::{
    base::{Digest, disk},
    manifest::{
        Asked, StageConfig, StageDecl,
        prompts::{self, PromptLine, Wanted},
    },
    pipeline::{
        ItemSpec, KeyPart, Origin, Recipe, Stage, StageError, Upstream, UpstreamItem, Work,
    },
};

/// The kind of the step, whichever stage it is of: equal texts are encoded once for all of them.
const KIND: &str = "prompts";

/// The blob with the text's encoding, a record as the cache stage makes it.
pub const TEXT: &str = "text.safetensors";

/// The pictures that a table asks for, and where in the manifest or in which file their prompts stand.
#[derive(Clone, Debug)]
pub struct Prompts {
    /// The pictures, those of one prompt after those of another.
    pub pictures: Vec<Wanted>,
    /// Dotted path of the table.
    pub table: String,
    file: Option<PathBuf>,
    /// What each prompt says of itself.
    lines: Vec<PromptLine>,
}

impl Prompts {
    /// Of the table at this dotted path.
    ///
    /// # Errors
    /// The file of prompts cannot be read, or says what cannot be.
    pub fn of(site: &Site, table: &str, asked: &Asked<'_>) -> Result<Self, ProjectError> {
        let file = asked.prompts_file.map(|file| site.resolve(file));
        let lines: Vec<PromptLine> = match &file {
            // One that cannot be read is a mistake of the manifest and never comes here.
            None => asked.prompts.iter().filter_map(|text| text.parse().ok()).collect(),
            Some(path) => {
                let text = disk::read_to_string(path);
                let text = text.map_err(|error| PromptsError::unreadable(path, &error))?;
                prompts::read(path, &text).map_err(|broken| PromptsError::broken(path, &broken))?
            }
        };
        Ok(Self { pictures: asked.pictures(&lines), table: table.to_owned(), file, lines })
    }

    /// Where a prompt is said.
    pub fn origin(&self, site: &Site, wanted: &Wanted) -> Origin {
        match &self.file {
            Some(file) => Origin::File(file.clone()),
            None => site.origin(format!("{}.prompts.{}", self.table, wanted.number - 1)),
        }
    }
}

/// The cache stage whose texts a stage is trained with, directly or through the training that it reads.
pub fn cache_of(site: &Arc<Site>, stage: &StageDecl) -> Result<Option<Cache>, ProjectError> {
    let needed = stage.needs.iter().filter_map(|need| site.manifest.stage(need));
    for need in needed {
        let found = match &need.config {
            StageConfig::Cache(config) => Some(Cache::new(site, &need.name, config)?),
            _ => cache_of(site, need)?,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// What the item of a text is called.
fn id(text: &str) -> &str {
    if text.is_empty() { EMPTY } else { text }
}

/// The encoding of a text, made or to be made by the step of the stage that asks.
pub fn encoded<'a>(upstream: &Upstream<'a>, text: &str) -> Option<UpstreamItem<'a>> {
    upstream.of_kind(KIND).find(|item| item.id == id(text))
}

/// The step.
pub struct Encode {
    site: Arc<Site>,
    cache: Cache,
    prompts: Prompts,
}

impl Encode {
    /// Encodes these prompts as `cache` encodes captions.
    pub fn new(site: &Arc<Site>, cache: Cache, prompts: Prompts) -> Self {
        Self { site: site.clone(), cache, prompts }
    }

    /// Name of the step of a stage of this name. No stage of a manifest has a dot in its name.
    pub fn name(stage: &str) -> String {
        format!("{stage}.{KIND}")
    }

    /// Each text once, in order, with where it is said.
    fn texts(&self) -> Vec<(&str, Origin)> {
        let mut texts = Vec::<(&str, Origin)>::new();
        for wanted in &self.prompts.pictures {
            let negative = wanted.negative.as_deref();
            for text in [Some(wanted.prompt.as_str()), negative].into_iter().flatten() {
                if texts.iter().all(|(known, _)| *known != text) {
                    texts.push((text, self.prompts.origin(&self.site, wanted)));
                }
            }
        }
        texts
    }
}

impl Stage for Encode {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn recipes(&self) -> Result<Vec<Recipe>, StageError> {
        Ok(vec![self.cache.text_recipe()?])
    }

    fn items(&self, _upstream: &Upstream<'_>) -> Result<Vec<ItemSpec>, StageError> {
        let item = |(text, origin): (&str, Origin)| {
            let caption = KeyPart::new("caption", Digest::of(text.as_bytes()), origin);
            ItemSpec::new(id(text), 0, vec![caption])
        };
        Ok(self.texts().into_iter().map(item).collect())
    }

    fn class(&self, _item: &ItemSpec) -> String {
        self.cache.text_class()
    }

    fn run(&self, work: &mut dyn Work) -> Result<(), StageError> {
        let text = |item: &&ItemSpec| match item.id == EMPTY {
            true => String::new(),
            false => item.id.clone(),
        };
        let items = work.items().iter().map(text).enumerate().collect();
        texts::encode(&self.cache, work, items, &import::Refused::default())
    }
}
