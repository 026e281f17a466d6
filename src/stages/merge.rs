//! Stage `merge`: captions and tags become the training caption of each sample, and `meta_data.json`.
//!
//! Reads what `label` and `tag` made, or, where the project has no such stage, the sidecars that
//! people wrote. A sample is what it holds: its path is in no key, so a renamed picture changes
//! nothing but `meta_data.json`.

use std::{collections::BTreeMap, sync::Arc};

use super::{Sample, Site, sidecar};
use crate::{
    base::{Digest, Value},
    dataset::{self, MergeRules, Metadata},
    manifest,
    pipeline::{
        Draft, Finished, ItemSpec, KeyPart, Origin, Owner, Publication, Published, Recipe, Stage,
        StageError, Store, Upstream, UpstreamItem, Work,
    },
};

/// Raised with a reason whenever training captions change for equal inputs.
const ALGORITHM: (i64, &str) = (1, "first version");

/// A text that goes into the training caption: its blob, the kind of stage that makes it, and the
/// extension of the sidecar that stands for it where no stage does.
const TEXTS: [(&str, &str, &str); 2] = [("caption", "label", ".caption"), ("tags", "tag", ".txt")];

/// Upstream items by kind of stage and id.
type Made<'a> = BTreeMap<(&'a str, &'a str), UpstreamItem<'a>>;

fn made<'a>(upstream: &Upstream<'a>) -> Made<'a> {
    upstream.items().map(|item| ((item.kind, item.id), item)).collect()
}

/// The stage.
pub struct Merge {
    site: Arc<Site>,
    name: String,
    config: manifest::Merge,
}

impl Merge {
    pub fn new(site: &Arc<Site>, name: &str, config: &manifest::Merge) -> Self {
        Self { site: site.clone(), name: name.to_owned(), config: config.clone() }
    }

    fn rules(&self) -> MergeRules {
        MergeRules {
            prepend_tags: self.config.prepend_tags.clone(),
            template: self.config.template.clone(),
        }
    }

    /// Whether a needed stage makes texts of this kind.
    fn has_stage(&self, kind: &str) -> bool {
        let manifest = &self.site.manifest;
        let needs = manifest.stages.iter().find(|stage| stage.name == self.name);
        needs.is_some_and(|merge| {
            manifest.stages.iter().any(|stage| {
                merge.needs.contains(&stage.name) && stage.config.kind().as_str() == kind
            })
        })
    }

    /// The sidecar of a project without a stage for it.
    fn by_hand(&self, sample: &Sample, name: &str, extension: &str) -> Result<KeyPart, StageError> {
        let path = sample.sidecar(extension)?;
        let origin = Origin::File(path.clone());
        Ok(match self.site.store.read_sidecar(&path)? {
            Some(bytes) => KeyPart::new(name, Digest::of(&bytes), origin),
            None => KeyPart::new(name, Value::None, origin),
        })
    }

    fn text(
        &self,
        store: &Store,
        made: &Made<'_>,
        sample: &Sample,
        (name, kind, extension): (&str, &str, &str),
    ) -> Result<Option<String>, StageError> {
        if !self.has_stage(kind) {
            return Ok(dataset::read_sidecar(&sample.sidecar(extension)?)?);
        }
        let output = made.get(&(kind, sample.id.as_str())).and_then(|item| item.output);
        let Some(blob) = output.and_then(|output| output.blob(name)) else { return Ok(None) };
        Ok(Some(dataset::decode_text(&store.read(blob)?, &sample.file.path)?))
    }
}

impl Stage for Merge {
    fn kind(&self) -> &'static str {
        "merge"
    }

    fn recipes(&self) -> Result<Vec<Recipe>, StageError> {
        let mut parts = self.site.parameters(&format!("stages.{}", self.name), &self.config);
        parts.push(Site::algorithm(ALGORITHM.0, ALGORITHM.1));
        Ok(vec![Recipe { name: "training caption", parts }])
    }

    fn items(&self, upstream: &Upstream<'_>) -> Result<Vec<ItemSpec>, StageError> {
        let made = made(upstream);
        let mut items = Vec::new();
        'samples: for sample in &self.site.samples {
            let mut parts = Vec::new();
            for (name, kind, extension) in TEXTS {
                parts.push(match made.get(&(kind, sample.id.as_str())) {
                    Some(item) => item.part(name, name),
                    None if self.has_stage(kind) => continue 'samples,
                    None => self.by_hand(sample, name, extension)?,
                });
            }
            items.push(ItemSpec::new(&sample.id, 0, parts));
        }
        Ok(items)
    }

    fn run(&self, work: &mut dyn Work) -> Result<(), StageError> {
        let samples = sidecar::by_id(&self.site);
        let rules = self.rules();
        let mut drafts = Vec::new();
        let made = made(work.upstream());
        for item in work.items() {
            let sample = samples[item.id.as_str()];
            let caption = self.text(work.store(), &made, sample, TEXTS[0])?;
            let tags = self.text(work.store(), &made, sample, TEXTS[1])?;
            let merged = dataset::training_caption(caption.as_deref(), tags.as_deref(), &rules);
            let mut draft = Draft::bytes("text", merged.text);
            for (name, text) in [("caption", merged.caption), ("tags", merged.tags)] {
                draft = match text {
                    Some(text) => draft.and(name, text),
                    None => draft,
                };
            }
            drafts.push(draft);
        }
        drop(made);
        drafts.into_iter().enumerate().try_for_each(|(item, draft)| work.commit(item, draft))
    }

    fn publications(
        &self,
        finished: &[Finished<'_>],
        store: &Store,
    ) -> Result<Vec<Publication>, StageError> {
        let samples = sidecar::by_id(&self.site);
        let files = finished.iter().filter_map(|done| samples.get(done.spec.id.as_str()));
        let files = files.map(|sample| sample.file.clone()).collect::<Vec<_>>();
        let mut keys = dataset::metadata_keys(&files, self.config.full_path)?.into_iter();
        let mut metadata = Metadata::default();
        let mut seen = std::collections::HashSet::new();
        for done in finished {
            if !samples.contains_key(done.spec.id.as_str()) {
                continue;
            }
            let Some(key) = keys.next() else { break };
            // A picture that is in several datasets has one entry, the first's, like one sidecar.
            if !seen.insert(key.clone()) {
                continue;
            }
            let entry = metadata.entry(&key);
            let read = |name| -> Result<Option<String>, StageError> {
                let Some(blob) = done.output.blob(name) else { return Ok(None) };
                Ok(Some(String::from_utf8_lossy(&store.read(blob)?).into_owned()))
            };
            for name in ["caption", "tags"] {
                if let Some(text) = read(name)? {
                    entry.set(name, &text);
                }
            }
        }
        Ok(vec![Publication {
            path: self.site.output().join(&self.config.out_json),
            content: Published::Bytes(metadata.to_json().into_bytes()),
            owner: Owner::Fluxpipe,
        }])
    }
}
