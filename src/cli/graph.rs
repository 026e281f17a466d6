//! `fluxpipe graph MANIFEST`: the stages and what they need from each other.

use clap::ValueEnum;

use super::{Exit, Outcome, project, project::ManifestArgs};
use crate::{
    manifest::Manifest,
    pipeline::{self, Plan, RunOptions},
    report::{self, Drawing, Look, Node, Standing},
};

/// Draw the stages and what they need from each other
///
/// Each stage is shown with its state: fresh (nothing to run), partial, stale, or new.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe graph my-project/project.toml
  fluxpipe graph my-project/project.toml --format dot | dot -Tsvg > stages.svg")]
pub struct Graph {
    #[command(flatten)]
    manifest: ManifestArgs,

    /// How it is drawn
    #[arg(long, value_enum, default_value_t = Format::Ascii)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Boxes and arrows for a terminal
    Ascii,
    /// A Mermaid flow chart, as Markdown pages show it
    Mermaid,
    /// A Graphviz graph
    Dot,
    /// One JSON object
    Json,
}

impl Graph {
    pub(super) fn run(self) -> Outcome {
        let manifest = project::read(&self.manifest.manifest, &self.manifest.set)?;
        // A graph can be drawn of a project whose weights are still on their way.
        let plan = self.plan();
        if let Err(error) = &plan {
            report::stderr(&format!("states are not shown: {error}"));
        }
        let drawing = drawing(&manifest, plan.ok().as_ref());
        match self.format {
            Format::Ascii => super::print(&drawing.ascii(Look::stdout()))?,
            Format::Mermaid => super::print(&drawing.mermaid())?,
            Format::Dot => super::print(&drawing.dot())?,
            Format::Json => super::print_json(&drawing.json())?,
        }
        Ok(Exit::Done)
    }

    fn plan(&self) -> miette::Result<Plan> {
        let project = self.manifest.open()?;
        Ok(pipeline::plan(&project.graph, &project.store, &RunOptions::default())?)
    }
}

fn drawing(manifest: &Manifest, plan: Option<&Plan>) -> Drawing {
    if let Some(plan) = plan {
        let node = |stage: &pipeline::StagePlan| Node {
            name: stage.name.clone(),
            kind: stage.kind.clone(),
            needs: stage.needs.clone(),
            state: Some(Standing::of(stage)),
        };
        return Drawing { stages: plan.stages.iter().map(node).collect() };
    }
    let node = |stage: &crate::manifest::StageDecl| Node {
        name: stage.name.clone(),
        kind: stage.config.kind().to_string(),
        needs: stage.needs.clone(),
        state: None,
    };
    Drawing { stages: manifest.stages.iter().map(node).collect() }
}
