//! `fluxpipe run MANIFEST`: do what is to be done.

use std::io;

use super::{
    CliError, Exit, Outcome, Problems, Project, interrupt,
    project::{ManifestArgs, SelectionArgs},
};
use crate::{
    device,
    pipeline::{self, Event, RunError, RunOptions, StagePlan, StageSummary},
    report::{self, Gathered, Look, Progress},
};

/// Run the stages: whatever is not up to date
///
/// What was made before is reused, so running again after an edit costs only what the edit touches,
/// and what a killed run finished is kept; a training goes on from its last state. Captions and tags that you
/// edit are kept. Ctrl-C finishes the batch in hand and stops; a second Ctrl-C stops at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe run my-project/project.toml
  fluxpipe run my-project/project.toml --dry-run       # the same as `fluxpipe plan`
  fluxpipe run my-project/project.toml --until merge   # captions and tags only
  fluxpipe run my-project/project.toml --force label   # caption every picture again
  fluxpipe run my-project/project.toml --device cpu")]
pub struct Run {
    #[command(flatten)]
    manifest: ManifestArgs,

    #[command(flatten)]
    selection: SelectionArgs,

    /// After a failed stage, go on with those that do not need it
    #[arg(long)]
    keep_going: bool,

    /// Where networks run: auto, cpu, cuda or cuda:N; instead of the manifest's `device`
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,

    /// Do not try out first what would else fail after hours; instead of the manifest's `preflight`
    #[arg(long)]
    no_preflight: bool,

    /// Print events as JSON lines on stdout, and nothing else (schemas/event.schema.json)
    #[arg(long)]
    json: bool,

    /// Show what would run, as `fluxpipe plan` does, and run nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
}

impl Run {
    pub(super) fn run(mut self) -> Outcome {
        device::memory::keep();
        if let Some(device) = &self.device {
            self.manifest.set.push(("project.device".to_owned(), device.clone()));
        }
        let project = self.manifest.open()?;
        let mut options = self.selection.options(&project.manifest);
        options.keep_going = self.keep_going;
        options.asked = Some(project.asked());
        if self.dry_run {
            super::plan::show(&project, &options, self.json, false)?;
            return Ok(Exit::Done);
        }
        let long = look_before(&project, &options)?;
        options.preflight = long && project.manifest.project.preflight && !self.no_preflight;
        match self.json {
            true => events(&project, &options),
            false => watched(&project, &options),
        }
    }
}

/// A weight file of the wrong network is told before the first stage starts, not hours later when its
/// own stage does. Only stages with work are looked at, so that a run with nothing to do stays quick.
///
/// Also whether there is work that takes long.
fn look_before(project: &Project, options: &RunOptions) -> miette::Result<bool> {
    let problems = match pipeline::plan(&project.graph, &project.store, options) {
        Ok(mut plan) => {
            let asked = |name: &str| is_busy(&plan, name);
            let mut problems = super::check::networks(&project.manifest, asked);
            problems.extend(super::check::trainings(&project.manifest, asked));
            problems.extend(super::check::device(&project.manifest, asked));
            Problems::none(&project.manifest, problems)?;
            super::costs::add(&mut plan, project, &options.device)?;
            return Ok(plan.has_long_work());
        }
        // A file of a network may be the reason, such as a tagger's list that is not there.
        Err(RunError::Stage { .. } | RunError::NotPlanned { .. }) => {
            super::check::networks(&project.manifest, |_| true)
        }
        // What is wrong with the selection or the store, the run itself says.
        Err(_) => return Ok(false),
    };
    Problems::none(&project.manifest, problems)?;
    Ok(false)
}

/// Whether the networks of a stage have work. A stage that works in steps has them in these.
pub(super) fn is_busy(plan: &pipeline::Plan, name: &str) -> bool {
    let is_step = |stage: &&StagePlan| {
        stage.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
    };
    let works = |stage: &StagePlan| stage.counts.run > 0;
    let mut steps = plan.stages.iter().filter(is_step).peekable();
    match steps.peek() {
        Some(_) => steps.any(works),
        None => plan.stages.iter().any(|stage| stage.name == name && works(stage)),
    }
}

/// Bars or lines while it goes on, and a summary at the end, also of a run that ended early.
fn watched(project: &Project, options: &RunOptions) -> Outcome {
    let mut progress = Progress::new(Look::stderr());
    let mut gathered = Gathered::default();
    let mut worked = false;
    let ended = run(project, options, &mut |event| {
        progress.show(&event);
        gathered.note(&event);
        worked |= tells_of_work(&event);
    });
    drop(progress);
    if gathered.finished() {
        super::print(&gathered.text())?;
        if let Some(told) = page(project, worked) {
            super::print(&told)?;
        }
        if let Some(note) = &project.manifest.project.note {
            super::print(&report::note(note))?;
        }
    }
    ended
}

/// One line of JSON per event.
fn events(project: &Project, options: &RunOptions) -> Outcome {
    let mut unwritten = None;
    let mut worked = false;
    let ended = run(project, options, &mut |event| {
        worked |= tells_of_work(&event);
        let written = report::json_line(&event)
            .map_err(io::Error::from)
            .and_then(|line| report::stdout(&line));
        // The work goes on: it is worth more than its log.
        unwritten = unwritten.take().or(written.err());
    });
    page(project, worked);
    match (ended, unwritten) {
        (Ok(_), Some(error)) => Err(CliError::Stdout(error).into()),
        (ended, _) => ended,
    }
}

/// Writes `report.html` where there is something new to show, and returns what to print. What a run without
/// work leaves as it is stays as it was told.
fn page(project: &Project, worked: bool) -> Option<String> {
    let due = worked || !super::report::usual_place(project).exists();
    due.then(|| super::report::after_run(project))
}

/// Whether the last event of a run says that it did something, or tried to.
fn tells_of_work(event: &Event) -> bool {
    let Event::Finished { stages, published, stopped, .. } = event else { return false };
    let busy = |stage: &StageSummary| stage.items.run > 0 || stage.error.is_some();
    *published > 0 || stopped.is_some() || stages.iter().any(busy)
}

fn run(project: &Project, options: &RunOptions, tell: &mut dyn FnMut(Event)) -> Outcome {
    let cancel = interrupt::listen()?;
    let mut told = |event: Event| {
        // The network of a stage is gone when the stage ends; the next one may need the room.
        if matches!(event, Event::StageFinished { .. } | Event::Preflight { .. }) {
            device::memory::give_back();
        }
        tell(event);
    };
    match pipeline::run(&project.graph, &project.store, options, &mut told, cancel) {
        Ok(_) => Ok(Exit::Done),
        Err(RunError::Cancelled) => Ok(Exit::Interrupted),
        Err(error) => Err(error.into()),
    }
}
