//! What a whole project comes to, for a page that people look at: what ran, what was trained on, how the
//! training went, what the model draws. Plain data: it knows no page. Reads what a plan knows, the store
//! and the output folder; opens no device and loads no weights.
//!
//! One part that cannot be told does not take the others with it: it is named in [`Overview::missing`].

mod captioned;
mod drawn;
mod models;
mod thumbnails;
mod training;

use std::{collections::HashSet, path::PathBuf, sync::Arc};

use jiff::Timestamp;

pub use captioned::{Captioned, Piece, WordOrigin};
pub use drawn::{Drawn, Moment};
pub use models::Model;
pub use training::{Checkpoint, Hard, Point, Speed, Training, Validation};

use super::Site;
use crate::{
    base::{Digest, clock},
    pipeline::{
        Counts, Decision, ItemFailure, ItemState, Note, PastRun, Plan, StageError, StagePlan,
        Warning,
    },
};

/// Pictures of the dataset that are shown with their captions.
const CAPTIONS: usize = 100;
/// Runs that are told.
const RUNS: usize = 12;
/// Pictures that failed and are named.
const FAILURES: usize = 50;

/// A small picture: the bytes of a JPEG file.
pub type Jpeg = Arc<Vec<u8>>;

/// Some of many.
#[derive(Debug, Default)]
pub struct Few<T> {
    /// Those that are told.
    pub shown: Vec<T>,
    /// How many there are.
    pub total: usize,
}

/// What a project comes to.
#[derive(Debug)]
pub struct Overview {
    /// Its name.
    pub name: String,
    /// What its author wants said.
    pub note: Option<String>,
    /// Version of the program that tells this.
    pub version: &'static str,
    /// When this was told.
    pub written: Timestamp,
    /// The folder of everything that is written.
    pub output: PathBuf,
    /// The manifest as it stands now.
    pub manifest: ManifestText,
    /// Number of pictures.
    pub pictures: usize,
    /// The datasets.
    pub datasets: Vec<DatasetFacts>,
    /// The stages as they stand now; none where no plan could be made.
    pub stages: Vec<StageNow>,
    /// The last runs, the latest first.
    pub runs: Few<PastRun>,
    /// Buckets with the number of their pictures, the fullest first.
    pub buckets: Vec<Bucket>,
    /// Pictures with their training texts.
    pub captioned: Few<Captioned>,
    /// The trainings, in the order of the manifest.
    pub trainings: Vec<Training>,
    /// Pictures that models drew, by stage, prompt and seed.
    pub drawn: Few<Drawn>,
    /// Items that are left out: stage, item, why.
    pub failures: Few<(String, String, ItemFailure)>,
    /// What users should know, by stage.
    pub warnings: Vec<(String, Warning)>,
    /// The networks.
    pub models: Vec<Model>,
    /// What could not be told, and why.
    pub missing: Vec<String>,
}

/// The manifest.
#[derive(Debug)]
pub struct ManifestText {
    /// Its path, as the user gave it.
    pub path: PathBuf,
    /// Its text.
    pub text: Arc<str>,
    /// Digest of its text.
    pub digest: Digest,
    /// What the command line said instead: dotted path and value.
    pub set: Vec<(String, String)>,
}

/// A dataset.
#[derive(Debug)]
pub struct DatasetFacts {
    /// Its folder, as the manifest names it.
    pub folder: PathBuf,
    /// Number of its pictures.
    pub pictures: usize,
    /// How often each appears in an epoch.
    pub repeats: u32,
    /// Whether it is there for regularisation.
    pub is_reg: bool,
}

/// How a stage stands.
#[derive(Debug)]
pub struct StageNow {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// What a run would do with its items.
    pub counts: Counts,
    /// What it tells of itself.
    pub notes: Vec<Note>,
}

/// A bucket.
#[derive(Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Number of its pictures.
    pub pictures: usize,
}

/// Tells what the project comes to; `plan` with its notes, where one could be made, else why not.
#[must_use]
pub fn overview(
    site: &Arc<Site>,
    plan: Result<Plan, String>,
    set: &[(String, String)],
) -> Overview {
    let source = &site.manifest.source;
    let (runs, all_runs) = site.store.past_runs(RUNS);
    let mut told = Overview {
        name: site.manifest.project.name.clone(),
        note: site.manifest.project.note.clone(),
        version: env!("CARGO_PKG_VERSION"),
        written: clock::now(),
        output: site.output(),
        manifest: ManifestText {
            path: source.path.clone(),
            text: source.text.clone(),
            digest: Digest::of(source.text.as_bytes()),
            set: set.to_vec(),
        },
        pictures: site.samples.len(),
        datasets: datasets(site),
        stages: Vec::new(),
        runs: Few { shown: runs, total: all_runs },
        buckets: Vec::new(),
        captioned: Few { shown: Vec::new(), total: site.samples.len() },
        trainings: Vec::new(),
        drawn: drawn::drawn(site),
        failures: Few { shown: Vec::new(), total: 0 },
        warnings: Vec::new(),
        models: models::models(site),
        missing: Vec::new(),
    };
    let plan = plan.map_err(|error| {
        told.missing.push(format!("what a run would do, and captions: {error}"));
    });
    let plan = plan.ok();
    told.trainings = training::trainings(site, plan.as_ref(), &mut told.missing);
    if let Some(plan) = &plan {
        told.add_plan(site, plan);
    }
    told
}

fn datasets(site: &Site) -> Vec<DatasetFacts> {
    let datasets = site.manifest.dataset.iter().enumerate();
    let facts = datasets.map(|(index, dataset)| DatasetFacts {
        folder: dataset.image_dir.clone(),
        pictures: site.samples.iter().filter(|sample| sample.dataset == index).count(),
        repeats: dataset.num_repeats,
        is_reg: dataset.is_reg,
    });
    facts.collect()
}

impl Overview {
    fn add_plan(&mut self, site: &Arc<Site>, plan: &Plan) {
        for stage in &plan.stages {
            self.add_failures(stage);
            let warned = stage.warnings.iter();
            self.warnings.extend(warned.map(|warning| (stage.name.clone(), warning.clone())));
            self.stages.push(StageNow {
                name: stage.name.clone(),
                kind: stage.kind.clone(),
                counts: stage.counts,
                notes: stage.notes.clone(),
            });
        }
        self.add_warnings_of_the_last_run();
        self.buckets = buckets(plan);
        let hardest = self.trainings.iter().flat_map(|training| &training.hardest);
        let hardest = hardest.filter_map(|hard| hard.item.clone()).collect::<HashSet<_>>();
        match captioned::captioned(site, plan, &hardest, CAPTIONS) {
            Ok(pictures) => {
                for hard in self.trainings.iter_mut().flat_map(|training| &mut training.hardest) {
                    let known = pictures
                        .iter()
                        .find(|known| hard.item.as_ref() == Some(&known.listed.item));
                    hard.thumbnail = known.and_then(|known| known.thumbnail.clone());
                    hard.caption = known.and_then(Captioned::text);
                }
                let listed = |picture: &Captioned| picture.is_chosen;
                self.captioned.shown = pictures.into_iter().filter(listed).collect();
            }
            Err(error) => self.miss("captions", &error),
        }
    }

    fn add_failures(&mut self, stage: &StagePlan) {
        let failed = |decision: &Decision| match &decision.state {
            ItemState::Failed(failure) => {
                Some((stage.name.clone(), decision.spec.id.clone(), failure.clone()))
            }
            _ => None,
        };
        for failure in stage.decisions.iter().filter_map(failed) {
            // A broken picture is broken for every stage.
            let same = |known: &(String, String, ItemFailure)| {
                known.1 == failure.1 && known.2.message == failure.2.message
            };
            if self.failures.shown.iter().any(same) {
                continue;
            }
            self.failures.total += 1;
            if self.failures.shown.len() < FAILURES {
                self.failures.shown.push(failure);
            }
        }
    }

    /// A training warns while it runs, which no plan knows of.
    fn add_warnings_of_the_last_run(&mut self) {
        let Some(last) = self.runs.shown.first() else { return };
        for stage in &last.stages {
            for warning in &stage.warnings {
                let same = |(known, other): &(String, Warning)| {
                    *known == stage.name && other.code == warning.code
                };
                if !self.warnings.iter().any(same) {
                    self.warnings.push((stage.name.clone(), warning.clone()));
                }
            }
        }
    }

    fn miss(&mut self, what: &str, error: &StageError) {
        self.missing.push(format!("{what}: {}", ItemFailure::from(error).message));
    }
}

/// As the notes of the cache stages have them; two of these may look at the same pictures.
fn buckets(plan: &Plan) -> Vec<Bucket> {
    let notes = plan.stages.iter().flat_map(|stage| &stage.notes);
    let Some(note) = notes.into_iter().find(|note| note.name == "buckets") else {
        return Vec::new();
    };
    let number =
        |bucket: &serde_json::Value, name: &str| bucket[name].as_u64().unwrap_or(0) as usize;
    let bucket = |bucket: &serde_json::Value| Bucket {
        width: number(bucket, "width"),
        height: number(bucket, "height"),
        pictures: number(bucket, "pictures"),
    };
    note.data.as_array().into_iter().flatten().map(bucket).collect()
}
