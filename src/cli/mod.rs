//! Floor 6: the command line. One file per command; each parses its arguments, asks the floors below
//! and hands what they say to [`crate::report`]. Knows exit codes, and not how anything works.

mod bench;
mod bless;
mod cache;
mod captions;
mod check;
mod costs;
mod demo;
mod doctor;
mod error;
mod exit;
mod generate;
mod graph;
mod import;
mod init;
mod inspect;
mod interrupt;
mod log;
mod logs;
mod losses;
mod plan;
mod problem;
mod project;
mod report;
mod run;
mod why;

use std::{panic::catch_unwind, path::Path, process::ExitCode};

use clap::{Parser, Subcommand};

pub use error::CliError;
pub use exit::Exit;
pub use problem::{Problem, Problems};
pub use project::{Project, open};

use crate::{
    manifest::ManifestErrors,
    pipeline::RunError,
    report::{self as screen, Look},
    stages::ProjectError,
};

/// What a command ends with.
type Outcome = miette::Result<Exit>;

/// Turn a folder of pictures into a fine-tuned FLUX.1 model
///
/// One manifest (a TOML file) names the stages: label, tag, merge, cache, finetune, sample. fluxpipe runs
/// them in order and keeps what they make. When you edit a caption, a picture or a setting and run
/// again, only what the edit touches is made again.
#[derive(Debug, Parser)]
#[command(name = "fluxpipe", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "Start here:
  fluxpipe init my-project                 write a manifest beside your pictures
  fluxpipe check my-project/project.toml   find its mistakes, all at once
  fluxpipe plan my-project/project.toml    see what would run, and why
  fluxpipe run my-project/project.toml     run it

Exit codes:
  0    done
  1    the work failed
  2    the manifest or the command line is wrong
  3    something outside is missing: weights, pictures, a GPU, disk space
  4    `plan --exit-code`, and there is work
  130  interrupted; what was finished is kept

Set FLUXPIPE_LOG=debug for a log on stderr, NO_COLOR=1 for no colours.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Init),
    Import(import::Import),
    Check(check::Check),
    Plan(plan::Plan),
    Captions(captions::Captions),
    Run(run::Run),
    Losses(losses::Losses),
    Report(report::Report),
    Generate(generate::Generate),
    Why(why::Why),
    Log(log::Log),
    Bless(bless::Bless),
    Graph(graph::Graph),
    Cache(cache::Cache),
    Inspect(inspect::Inspect),
    Doctor(doctor::Doctor),
    Demo(demo::Demo),
    Bench(bench::Bench),
}

/// The whole program: from the arguments to the exit code. No panic leaves it.
#[must_use]
pub fn main() -> ExitCode {
    screen::panic::install();
    let exit = catch_unwind(from_arguments).unwrap_or_else(|_| {
        screen::stderr(&screen::panic::message());
        Exit::Bug
    });
    exit.into()
}

fn from_arguments() -> Exit {
    match Args::try_parse() {
        Ok(args) => {
            logs::install();
            args.command.run().unwrap_or_else(|failure| tell(&failure))
        }
        Err(error) => {
            // Also `--help` and `--version`, which are no errors. A reader may have hung up.
            let _ = error.print();
            if error.use_stderr() { Exit::Usage } else { Exit::Done }
        }
    }
}

impl Command {
    fn run(self) -> Outcome {
        match self {
            Self::Init(command) => command.run(),
            Self::Import(command) => command.run(),
            Self::Check(command) => command.run(),
            Self::Plan(command) => command.run(),
            Self::Captions(command) => command.run(),
            Self::Losses(command) => command.run(),
            Self::Generate(command) => command.run(),
            Self::Run(command) => command.run(),
            Self::Report(command) => command.run(),
            Self::Why(command) => command.run(),
            Self::Log(command) => command.run(),
            Self::Bless(command) => command.run(),
            Self::Graph(command) => command.run(),
            Self::Cache(command) => command.run(),
            Self::Inspect(command) => command.run(),
            Self::Doctor(command) => command.run(),
            Self::Demo(command) => command.run(),
            Self::Bench(command) => command.run(),
        }
    }
}

/// Shows why the command failed.
fn tell(failure: &miette::Report) -> Exit {
    let look = Look::stderr();
    let all_of = |path: &Path| screen::diagnostics(failure.as_ref(), path, look);
    // A stage may find a mistake in the manifest too.
    let by_stage = match failure.downcast_ref::<ProjectError>() {
        Some(ProjectError::Manifest(errors)) => Some(errors),
        _ => None,
    };
    let mistakes = failure.downcast_ref::<ManifestErrors>().or(by_stage);
    let text = match (mistakes, failure.downcast_ref::<Problems>()) {
        (Some(errors), _) => all_of(&errors.path),
        (_, Some(problems)) => all_of(&problems.path),
        _ => screen::diagnostic(failure.as_ref(), look),
    };
    screen::stderr(&text);
    if failure.downcast_ref::<RunError>().is_some_and(is_bug) {
        screen::stderr(&screen::panic::message());
    }
    Exit::of(failure.as_ref())
}

/// Whether a stage panicked; the engine caught it, and its place is worth reporting.
fn is_bug(error: &RunError) -> bool {
    match error {
        RunError::Panic { .. } => true,
        RunError::Several { errors } => errors.iter().any(is_bug),
        _ => false,
    }
}

/// Prints a result.
fn print(text: &str) -> miette::Result<()> {
    Ok(screen::stdout(text).map_err(CliError::Stdout)?)
}

/// Prints a result as one JSON object.
fn print_json(value: &impl serde::Serialize) -> miette::Result<()> {
    let text =
        serde_json::to_string_pretty(value).map_err(|error| CliError::Stdout(error.into()))?;
    print(&text)
}

/// Prints a result as one line of JSON.
fn print_line(value: &impl serde::Serialize) -> miette::Result<()> {
    let text = serde_json::to_string(value).map_err(|error| CliError::Stdout(error.into()))?;
    print(&(text + "\n"))
}
