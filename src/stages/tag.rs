//! Stage `tag`: booru tags for each picture, by a WD tagger in ONNX.
//!
//! The item's output is the line of tags; the sidecar (`.txt`) shows it to people, who may edit it.

use std::{path::PathBuf, sync::Arc};

use super::{ProjectError, Site, project::needed, sidecar};
use crate::{
    dataset::{self, Picture},
    device, manifest,
    models::tagger::{TagRules, TagTable, Tagger},
    pipeline::{
        Draft, Finished, ItemSpec, Publication, Recipe, Stage, StageError, Store, Upstream, Work,
    },
};

/// Raised with a reason whenever tags change for equal inputs.
const ALGORITHM: (i64, &str) = (1, "first version");

/// The stage.
pub struct Tag {
    site: Arc<Site>,
    name: String,
    config: manifest::Tag,
    /// The folder with `model.onnx` and `selected_tags.csv`.
    folder: PathBuf,
}

impl Tag {
    pub fn new(site: &Arc<Site>, name: &str, config: &manifest::Tag) -> Result<Self, ProjectError> {
        let mut folder = needed(site, name, "tagger", site.manifest.models.tagger.as_ref())?;
        if folder.extension().is_some_and(|extension| extension == "onnx") {
            folder.pop();
        }
        Ok(Self { site: site.clone(), name: name.to_owned(), config: config.clone(), folder })
    }

    fn sidecars(&self) -> sidecar::Sidecars<'_> {
        sidecar::Sidecars {
            blob: "tags",
            extension: &self.config.caption_extension,
            existing: self.config.existing,
        }
    }

    fn rules(&self) -> TagRules {
        let thresh = self.config.thresh;
        TagRules {
            general_threshold: self.config.general_threshold.unwrap_or(thresh),
            character_threshold: self.config.character_threshold.unwrap_or(thresh),
            remove_underscore: self.config.remove_underscore,
            caption_separator: self.config.caption_separator.clone(),
            ..TagRules::default()
        }
    }
}

impl Stage for Tag {
    fn kind(&self) -> &'static str {
        "tag"
    }

    fn recipes(&self) -> Result<Vec<Recipe>, StageError> {
        let mut parts = self.site.parameters(&format!("stages.{}", self.name), &self.config);
        parts.push(Site::algorithm(ALGORITHM.0, ALGORITHM.1));
        parts.push(self.site.model("tagger", &self.folder.join("model.onnx"))?);
        parts.push(self.site.model("selected_tags", &self.folder.join("selected_tags.csv"))?);
        Ok(vec![Recipe { name: "tags", parts }])
    }

    fn items(&self, _upstream: &Upstream<'_>) -> Result<Vec<ItemSpec>, StageError> {
        self.sidecars().items(&self.site)
    }

    fn run(&self, work: &mut dyn Work) -> Result<(), StageError> {
        let device = device::choose(&self.site.device)?.device;
        let tagger = Tagger::open(&self.folder, &device)?;
        let table = TagTable::read(&self.folder.join("selected_tags.csv"))?;
        let rules = self.rules();
        let side = tagger.image_size();
        let prepare = |picture: &Picture| dataset::tagger_input(picture, side);
        sidecar::in_batches(&self.site, work, self.config.batch_size, prepare, |pictures| {
            let probabilities = tagger.probabilities(pictures);
            let texts = probabilities.iter().map(|probabilities| table.text(probabilities, &rules));
            texts.map(|text| Draft::bytes("tags", text)).collect()
        })
    }

    fn publications(
        &self,
        finished: &[Finished<'_>],
        store: &Store,
    ) -> Result<Vec<Publication>, StageError> {
        self.sidecars().publications(&self.site, finished, store)
    }
}
