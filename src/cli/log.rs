//! `fluxpipe log MANIFEST`: the runs of a project, one of them, or what two of them made differently.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{
    Exit, Outcome,
    project::{self, STORE},
};
use crate::{
    manifest::compare,
    pipeline::{self, PastRun, Store},
    report::{ManifestDifference, RunDifference, RunList, RunTold, SetDifference},
};

/// Show the runs of a project, or what two of them made differently
///
/// Each run leaves a record in the store. `log` lists them, the newest first: when, what became of it, how long
/// it took, what ran and what was reused. `log show` tells one in full, and `log diff` which items two
/// runs made differently and by which part of their keys. A run is named by its number in the list (1 is the
/// last one) or the beginning of its id. Writes nothing, and does not wait for a run that goes on.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Examples:
  fluxpipe log my-project/project.toml
  fluxpipe log show my-project/project.toml        # the last run
  fluxpipe log show my-project/project.toml 3
  fluxpipe log diff my-project/project.toml        # the last run and the one before
  fluxpipe log diff my-project/project.toml 20261125T0309 1 --json")]
pub struct Log {
    #[command(subcommand)]
    what: Option<What>,

    /// The manifest, or a folder with a project.toml
    #[arg(required = true)]
    manifest: Option<PathBuf>,

    /// List at most so many runs; 0 lists all
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 20)]
    most: usize,

    /// Print one JSON object instead of text (schemas/log.schema.json)
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Tell one run in full: what ran in each stage, and why
    Show(Show),
    /// Tell what two runs made differently, and by which part of which key
    Diff(Diff),
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The manifest, or a folder with a project.toml
    manifest: PathBuf,

    /// The run: its number in the list, or the beginning of its id
    #[arg(default_value = "1")]
    run: String,

    /// Print one JSON object instead of text (schemas/log-show.schema.json)
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Diff {
    /// The manifest, or a folder with a project.toml
    manifest: PathBuf,

    /// The earlier run: its number in the list, or the beginning of its id
    #[arg(default_value = "2")]
    old: String,

    /// The later run
    #[arg(default_value = "1")]
    new: String,

    /// Print one JSON object instead of text (schemas/log-diff.schema.json)
    #[arg(long)]
    json: bool,
}

impl Log {
    pub(super) fn run(self) -> Outcome {
        match (self.what, self.manifest) {
            (Some(What::Show(show)), _) => show.run(),
            (Some(What::Diff(diff)), _) => diff.run(),
            (None, manifest) => {
                let manifest = manifest.unwrap_or_default();
                let store = store_of(&manifest)?;
                let most = if self.most == 0 { usize::MAX } else { self.most };
                let (runs, all) = store.past_runs(most);
                let list = RunList::new(
                    manifest.display().to_string(),
                    runs,
                    all,
                    store.blessings()?.all(),
                );
                print(&list, self.json, RunList::text)
            }
        }
    }
}

impl Show {
    fn run(self) -> Outcome {
        let store = store_of(&self.manifest)?;
        let told = RunTold::new(store.find_run(&self.run)?);
        print(&told, self.json, RunTold::text)
    }
}

impl Diff {
    fn run(self) -> Outcome {
        let store = store_of(&self.manifest)?;
        let (old, new) = (store.find_run(&self.old)?, store.find_run(&self.new)?);
        let manifest = manifests(&store, &old, &new);
        let stages = pipeline::difference(&store, &old, &new);
        let told = RunDifference::new(&old, &new, manifest, stages);
        print(&told, self.json, RunDifference::text)
    }
}

/// What the manifests of two runs say differently; `None` where one of them is not kept.
fn manifests(store: &Store, old: &PastRun, new: &PastRun) -> Option<ManifestDifference> {
    let (old, new) = (old.asked.as_ref()?, new.asked.as_ref()?);
    let texts = [old, new].map(|asked| store.past_manifest(&asked.digest));
    let [Some(was), Some(is)] = texts else { return None };
    let settings = compare(&was, &is)?;
    let set =
        (old.set != new.set).then(|| SetDifference { old: old.set.clone(), new: new.set.clone() });
    Some(ManifestDifference { settings, set })
}

/// The store of a project. Its pictures and models need not be there.
fn store_of(manifest: &Path) -> miette::Result<Store> {
    let manifest = project::read(manifest, &[])?;
    Ok(Store::open(&manifest.output().join(STORE))?)
}

fn print<T: serde::Serialize>(told: &T, json: bool, text: impl Fn(&T) -> String) -> Outcome {
    if json {
        super::print_json(told)?;
    } else {
        super::print(&text(told))?;
    }
    Ok(Exit::Done)
}
