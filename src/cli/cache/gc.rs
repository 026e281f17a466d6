//! `fluxpipe cache gc MANIFEST`: clears what nothing needs.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

use super::{Of, alone, collected, name, show};
use crate::{
    base::parse_bytes,
    cli::{Exit, Outcome},
    pipeline::housekeeping::{Limits, collect},
};

/// Remove outputs that the manifest does not need
///
/// What a plan of the manifest reuses, and what its stages made last, always stays. Of all else goes what
/// is older than --max-age, and then what is cheapest to make again, by seconds per byte, until the store
/// is no larger than --max-size. Without either limit all of it goes. Several manifests that share an
/// output folder must all be named, else what only the others need goes too. Files in the output folder stay.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe cache gc my-project/project.toml --dry-run
  fluxpipe cache gc my-project/project.toml --max-size 200GB --max-age 30d
  fluxpipe cache gc my-project/project.toml --also my-project/other.toml --states")]
pub struct Gc {
    #[command(flatten)]
    of: Of,

    /// Stop when the store is no larger than this: 500MB, 200GiB
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    max_size: Option<u64>,

    /// Remove what was made longer ago than this: 12h, 30d, 8w
    #[arg(long, value_name = "AGE", value_parser = age)]
    max_age: Option<Duration>,

    /// Also remove states of trainings that this manifest would not go on from
    #[arg(long)]
    states: bool,

    /// Also remove damaged files that were moved away
    #[arg(long)]
    damaged: bool,

    /// List what would go and remove nothing
    #[arg(long)]
    dry_run: bool,

    /// Print one JSON object instead of text (schemas/cache-gc.schema.json)
    #[arg(long)]
    json: bool,
}

impl Gc {
    pub(super) fn run(self) -> Outcome {
        let project = super::open(&self.of.manifest, &[])?;
        // Before it is looked what is needed: no run shall make something in between.
        let _alone = (!self.dry_run).then(|| alone(&project)).transpose()?;
        let (project, roots) = self.of.open()?;
        let limits = Limits {
            max_size: self.max_size,
            max_age: self.max_age,
            states: self.states,
            damaged: self.damaged,
            dry_run: self.dry_run,
        };
        let mut gone = collect(&project.store, &roots, &limits)?;
        gone.manifest = name(&project);
        show(&gone, self.json, collected)?;
        Ok(Exit::Done)
    }
}

fn age(text: &str) -> Result<Duration, String> {
    let wrong = || "write it as 12h, 30d or 8w".to_owned();
    let span: Span = text.parse().map_err(|_| wrong())?;
    let age = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(age).map_err(|_| wrong())
}
