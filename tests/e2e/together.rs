//! Two runs of one project at the same time.

use std::process::Stdio;

use crate::Project;

#[test]
fn share_the_work_and_do_none_of_it_twice() {
    let alone = Project::finished();
    let project = Project::fresh();
    let start = || {
        let mut command = project.command(&["run", "project.toml", "--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let runs = [start(), start(), start()].map(|child| child.wait_with_output().unwrap());
    let runs = runs.map(|output| project.done(output).exits(0));

    let mut made: Vec<_> = runs.iter().flat_map(|run| run.made()).collect();
    made.sort();
    let once = made.len();
    made.dedup();
    assert_eq!(made.len(), once, "an item ran twice");
    assert_eq!(once, 5 + 5 + 5 + 5 + 10 + 1);
    let total: u64 = runs
        .iter()
        .flat_map(|run| run.finished()["stages"].as_array().unwrap().clone())
        .map(|stage| stage["items"]["run"].as_u64().unwrap())
        .sum();
    assert_eq!(total, once as u64);
    assert_eq!(project.outputs(), alone.outputs());
    project.is_idle();
}
