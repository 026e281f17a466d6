//! What a run will cost, and whether it can be had: for `plan`, and before `run` begins.

use super::{Problem, Problems, Project};
use crate::{
    base,
    pipeline::{self, NoRoom, Plan, RunError},
};

/// What stages say where they do not fit into memory, and the settings that may be the reason: the first
/// that the manifest states is shown.
const MEMORY: &[(&str, &[&str])] = &[
    ("fluxpipe::train::memory_setting", &["memory"]),
    (
        "fluxpipe::train::memory",
        &["blocks_to_swap", "gradient_checkpointing", "train_batch_size", "weights"],
    ),
    ("fluxpipe::train::host_memory", &["blocks_to_swap", "weights"]),
    ("fluxpipe::train::blocks_to_swap", &["blocks_to_swap"]),
];

/// Counts what the stages with work will cost on the device of this name.
///
/// # Errors
/// What cannot fit into memory or onto the disk, at the line of the manifest that is to be changed.
pub(super) fn add(plan: &mut Plan, project: &Project, device: &str) -> miette::Result<()> {
    let free = base::disk_free(project.store.root());
    let counted = pipeline::add_costs(plan, &project.graph, &project.store, device, free);
    counted.map_err(|error| at_its_line(project, error))?;
    let Some(total) = &plan.total else { return Ok(()) };
    if let Err(error) = total.fits(&plan.stages) {
        let place = place_of(project, &error);
        let problem = Problem::behind(&project.manifest, &place, error);
        Problems::none(&project.manifest, vec![problem])?;
    }
    Ok(())
}

/// An error of a stage that does not fit into memory, at its line; any other as it is.
pub(super) fn at_its_line(project: &Project, error: RunError) -> miette::Report {
    let RunError::Stage { stage, error } = error else { return error.into() };
    let code = error.code().map(|code| code.to_string()).unwrap_or_default();
    let Some((_, settings)) = MEMORY.iter().find(|(known, _)| *known == code) else {
        return RunError::Stage { stage, error }.into();
    };
    let path = |setting: &&str| format!("stages.{stage}.{setting}");
    let mut paths = settings.iter().map(path);
    let stated = paths.find(|path| project.manifest.spans.get(path).is_some());
    let place = stated.unwrap_or_else(|| format!("stages.{stage}"));
    let problem = Problem::boxed(&project.manifest, &place, error);
    match Problems::none(&project.manifest, vec![problem]) {
        Err(problems) => problems.into(),
        Ok(()) => unreachable!("there is one"),
    }
}

/// The setting that would make it fit where it is stated, else its stage, or that of which the stage is a
/// step.
fn place_of(project: &Project, error: &NoRoom) -> String {
    let stage = error.stage.split('.').next().unwrap_or_default();
    let table = format!("stages.{stage}");
    let named = error.setting.as_deref().and_then(|setting| setting.split(' ').next());
    let stated = named.map(|name| format!("{table}.{name}"));
    stated.filter(|path| project.manifest.spans.get(path).is_some()).unwrap_or(table)
}
