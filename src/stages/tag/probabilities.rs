//! The first step of stage `tag`: the probability of each tag of the tagger's list, for each picture.
//!
//! It knows no threshold and no rule about texts: those are applied to what is stored here, by
//! [`Tag`](super::Tag), so that changing one runs no network.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use crate::stages::{ProjectError, Site, sidecar};
use crate::{
    base::Value,
    dataset, device, manifest,
    models::{
        onnx::Graph,
        tagger::{TagTable, Tagger},
    },
    pipeline::{
        Cost, Decision, Draft, ItemSpec, KeyPart, Origin, Preflight, Recipe, Stage, StageError,
        Store, Upstream, Work,
    },
};

/// Raised with a reason whenever probabilities change for equal inputs.
const ALGORITHM: (i64, &str) = (1, "first version");

/// Name of the blob: one f32 per tag of the list, in its order, little-endian.
pub const BLOB: &str = "probabilities";

/// A graph of at most so many bytes may keep its weights in files beside it.
const SMALL_GRAPH: u64 = 64 << 20;

/// The step.
pub struct Probabilities {
    site: Arc<Site>,
    config: manifest::Tag,
    /// The graph; the list of tags lies beside it.
    graph: PathBuf,
}

impl Probabilities {
    /// Name of the step of a stage of this name. No stage of a manifest has a dot in its name.
    pub fn name(stage: &str) -> String {
        format!("{stage}.{BLOB}")
    }

    /// Files in which the graph keeps its weights, if not in itself. Such graphs are small; one that is
    /// not holds its weights, and reading all of it for each plan would take half a second.
    fn data_files(&self) -> Result<BTreeSet<PathBuf>, StageError> {
        let size = std::fs::metadata(&self.graph).map_or(0, |metadata| metadata.len());
        match size <= SMALL_GRAPH {
            true => Ok(Graph::read(&self.graph).and_then(|graph| graph.data_files())?),
            false => Ok(BTreeSet::new()),
        }
    }

    pub fn new(site: &Arc<Site>, name: &str, config: &manifest::Tag) -> Result<Self, ProjectError> {
        let graph = super::graph(site, name)?;
        Ok(Self { site: site.clone(), config: config.clone(), graph })
    }
}

impl Stage for Probabilities {
    fn kind(&self) -> &'static str {
        "tag.probabilities"
    }

    fn recipes(&self) -> Result<Vec<Recipe>, StageError> {
        let list = TagTable::beside(&self.graph);
        let table = TagTable::read(&list)?;
        let (outputs, origin) = (table.tags.len() as i64, Origin::Model(list));
        let mut parts = vec![
            Site::algorithm(ALGORITHM.0, ALGORITHM.1),
            self.site.model("tagger", &self.graph)?,
            // Of the list only what the network's work depends on: names are for texts.
            KeyPart::new("outputs", Value::Int(outputs), origin.clone()),
            KeyPart::new("preprocessing", table.family.preprocessing(), origin),
        ];
        for (number, file) in self.data_files()?.into_iter().enumerate() {
            parts.push(self.site.model(&format!("data file {}", number + 1), &file)?);
        }
        Ok(vec![Recipe { name: BLOB, parts }])
    }

    /// One item per sample, but for those whose tags are their human's or no text.
    fn items(&self, _upstream: &Upstream<'_>) -> Result<Vec<ItemSpec>, StageError> {
        let items = super::sidecars(&self.config).items(&self.site)?;
        let is_made = |item: &ItemSpec| item.given.is_none() && item.unusable.is_none();
        Ok(items.into_iter().filter(is_made).collect())
    }

    fn cost(
        &self,
        decisions: &[Decision],
        _: &Upstream<'_>,
        _: &Store,
    ) -> Result<Cost, StageError> {
        let pictures = decisions.iter().filter(|one| one.runs()).count() as u64;
        let tags = TagTable::read(&TagTable::beside(&self.graph))?.tags.len() as u64;
        let cost = Cost { bytes: 4 * tags * pictures, ..Cost::default() };
        let files = self.data_files()?.into_iter().chain([self.graph.clone()]);
        let sizes = files.map(|file| std::fs::metadata(file).map(|file| file.len()));
        Ok(self.site.with_memory(cost, sizes.sum::<std::io::Result<u64>>().ok()))
    }

    fn class(&self, _item: &ItemSpec) -> String {
        format!("batches of {}", self.config.batch_size)
    }

    fn preflight(
        &self,
        decisions: &[Decision],
        _: &Upstream<'_>,
        _: &Store,
        look: &mut dyn Preflight,
    ) -> Result<(), StageError> {
        sidecar::preflight(&self.site, decisions, look)
    }

    fn run(&self, work: &mut dyn Work) -> Result<(), StageError> {
        let device = device::choose(&self.site.device)?.device;
        let tagger = Tagger::open(&self.graph, &device)?;
        let side = tagger.size();
        work.ready(0);
        // Less than a graph's fixed batch would be filled up with pictures that nobody wants.
        let fixed = tagger.batch().and_then(|batch| u32::try_from(batch).ok());
        let batch = fixed.unwrap_or(self.config.batch_size);
        let prepare = |picture| dataset::tagger_pixels(picture, side);
        sidecar::in_batches(&self.site, work, batch, prepare, |pictures| {
            let probabilities = tagger.probabilities(pictures)?;
            Ok(probabilities.iter().map(|values| Draft::bytes(BLOB, bytes(values))).collect())
        })
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The values of a stored blob.
pub fn values(bytes: &[u8]) -> Vec<f32> {
    let (values, _) = bytes.as_chunks::<4>();
    values.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_comes_back_bit_by_bit() {
        let all = [0.35_f32, f32::MIN_POSITIVE, 1.0 - f32::EPSILON, 0.0];
        assert_eq!(values(&bytes(&all)), all);
        assert_eq!(bytes(&[1.0]), [0, 0, 0x80, 0x3f]);
    }
}
