//! `fluxpipe bless MANIFEST STAGE --reason TEXT`: accept outputs under the keys of today.

use super::{Exit, Outcome, project::ManifestArgs};
use crate::{
    pipeline::{self, BlessOptions},
    report,
};

/// Accept earlier outputs although what they were made of changed
///
/// For when you know that a change does not matter: a weight file that only names its tensors differently, a
/// setting that cannot show. For each item of the stage that is to run, the output that the item of the SAME
/// NAME has from the last run of the stage is stored under its new key, so that it does not run. That is all
/// that is matched: the name, and that this output is there.
///
/// Settings of the manifest, weight files and the version of fluxpipe may have changed. Where a picture, a
/// caption or another input of an item changed, the item is refused unless --changed-inputs is given: its
/// output then counts for an input that it was not made from. Where any item is refused nothing is accepted,
/// unless --matching is given.
///
/// It prints what it accepts and what changed. The reason and the time are kept in the store for ever: `plan`,
/// `why`, `log` and `inspect` tell them. To make the items after all: `fluxpipe run --force STAGE`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe bless my-project/project.toml cache --reason \"same numbers, saved anew\" --dry-run
  fluxpipe bless my-project/project.toml cache --reason \"same numbers, saved anew\"
  fluxpipe bless my-project/project.toml finetune --changed-inputs --reason \"one typo\"")]
pub struct Bless {
    #[command(flatten)]
    manifest: ManifestArgs,

    /// The stage; its steps are meant too
    stage: String,

    /// Why what changed does not matter
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,

    /// Accept also items whose pictures, captions or other inputs changed
    #[arg(long)]
    changed_inputs: bool,

    /// Accept the items that can be accepted, and leave the others to run
    #[arg(long)]
    matching: bool,

    /// Show what would be accepted, and write nothing
    #[arg(long, short = 'n')]
    dry_run: bool,

    /// Print one JSON object instead of text (schemas/bless.schema.json)
    #[arg(long)]
    json: bool,
}

fn reason(text: &str) -> Result<String, String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.is_empty() {
        true => Err("say why: it is what you will read in a year".to_owned()),
        false => Ok(text),
    }
}

impl Bless {
    pub(super) fn run(self) -> Outcome {
        let project = self.manifest.open()?;
        let options = BlessOptions {
            reason: self.reason,
            changed_inputs: self.changed_inputs,
            matching: self.matching,
            dry_run: self.dry_run,
        };
        let blessing = pipeline::bless(&project.graph, &project.store, &self.stage, &options)?;
        if self.json {
            super::print_json(&blessing)?;
        } else {
            super::print(&report::blessing(&blessing, project.places()))?;
        }
        Ok(Exit::Done)
    }
}
