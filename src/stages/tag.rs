//! Stage `tag`: booru tags for each picture, by a WD tagger in ONNX.
//!
//! The item's output is the line of tags; the sidecar (`.txt`) shows it to people, who may edit it.

use std::{path::PathBuf, sync::Arc};

use super::{ProjectError, Site, sidecar, site::needed};
use crate::{
    dataset, device, manifest,
    models::tagger::{Labels, TagRules, TagTable, Tagger},
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
    /// `model.onnx`; `selected_tags.csv` lies beside it.
    graph: PathBuf,
}

impl Tag {
    pub fn new(site: &Arc<Site>, name: &str, config: &manifest::Tag) -> Result<Self, ProjectError> {
        let tagger = needed(site, name, "tagger", site.manifest.models.tagger.as_ref())?;
        let graph = Tagger::graph_path(&tagger);
        Ok(Self { site: site.clone(), name: name.to_owned(), config: config.clone(), graph })
    }

    fn sidecars(&self) -> sidecar::Sidecars<'_> {
        sidecar::Sidecars {
            blob: "tags",
            extension: &self.config.caption_extension,
            existing: self.config.existing,
        }
    }

    fn rules(&self) -> TagRules {
        TagRules {
            general_threshold: self.config.general_threshold() as f32,
            character_threshold: self.config.character_threshold() as f32,
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
        parts.push(self.site.model("tagger", &self.graph)?);
        parts.push(self.site.model("selected_tags", &TagTable::beside(&self.graph))?);
        Ok(vec![Recipe { name: "tags", parts }])
    }

    fn items(&self, _upstream: &Upstream<'_>) -> Result<Vec<ItemSpec>, StageError> {
        self.sidecars().items(&self.site)
    }

    fn run(&self, work: &mut dyn Work) -> Result<(), StageError> {
        let device = device::choose(&self.site.device)?.device;
        let tagger = Tagger::open(&self.graph, &device)?;
        let labels = Labels::new(tagger.table(), &self.rules());
        let side = tagger.size();
        let prepare = |picture| dataset::tagger_pixels(picture, side);
        sidecar::in_batches(&self.site, work, self.config.batch_size, prepare, |pictures| {
            let probabilities = tagger.probabilities(pictures)?;
            let texts = probabilities.iter().map(|probabilities| labels.text(probabilities));
            Ok(texts.map(|text| Draft::bytes("tags", text)).collect())
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
