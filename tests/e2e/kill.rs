//! `kill -9` at any moment, then a run: what comes out is what an uninterrupted run makes.

use std::{
    collections::BTreeSet,
    fs::File,
    thread,
    time::{Duration, Instant},
};

use fluxpipe::base::Stream;

use crate::Project;

/// So many kills have to hit a live run.
const KILLS: usize = 24;

/// Names the random moments.
const SEED: u64 = 2;

#[test]
fn a_killed_run_goes_on_to_the_same_outputs() {
    let whole = Project::fresh();
    let started = Instant::now();
    whole.run().exits(0);
    let duration = started.elapsed();
    let expected = whole.outputs();

    let mut random = Stream::new(SEED, "kill", None, &[]);
    let mut moments = Vec::new();
    let (mut kills, mut hit) = (0, BTreeSet::new());
    let mut project = Project::fresh();
    while kills < KILLS {
        // One moment from every stretch of the duration, in random order, then all over again. Kills
        // of one project follow each other, so that what a killed run left is killed again.
        if moments.is_empty() {
            moments =
                (0..KILLS).map(|part| (part as f64 + random.uniform()) / KILLS as f64).collect();
            for at in (1..KILLS).rev() {
                moments.swap(at, random.below(at + 1));
            }
        }
        let moment = duration.mul_f64(moments.pop().unwrap());
        match kill_after(&project, moment) {
            Some(stage) => {
                kills += 1;
                hit.insert(stage);
                for (path, digest) in project.outputs() {
                    let whole = expected.get(&path);
                    let hidden = path.rsplit('/').next().unwrap().starts_with('.');
                    assert!(hidden || whole == Some(&digest), "{path} is there and not whole");
                }
            }
            None => {
                assert_eq!(project.outputs(), expected, "after {kills} kills");
                project = Project::fresh();
            }
        }
    }
    project.run().exits(0);
    assert_eq!(project.outputs(), expected);
    project.is_idle();
    assert!(hit.len() >= 3, "the kills hit only {hit:?}");
}

/// Kills a run after this time; the stage that it was in, or `None` if it was done before.
fn kill_after(project: &Project, moment: Duration) -> Option<String> {
    let log = project.path("events.jsonl");
    let mut command = project.command(&["run", "project.toml", "--json"]);
    let mut run = command.stdout(File::create(&log).unwrap()).spawn().unwrap();
    thread::sleep(moment);
    run.kill().unwrap();
    let status = run.wait().unwrap();
    if status.code().is_some() {
        assert!(status.success(), "{status}");
        return None;
    }
    // The last line may be torn: a killed process ends anywhere.
    let events = std::fs::read_to_string(&log).unwrap();
    let stages = events.lines().filter_map(|line| serde_json::from_str(line).ok());
    let mut stages =
        stages.filter_map(|event: serde_json::Value| Some(event["stage"].as_str()?.to_owned()));
    Some(stages.next_back().unwrap_or_else(|| "start".to_owned()))
}
