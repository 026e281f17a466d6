//! Several runs at the same time: of one project, and of projects that share folders.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    Project, Run,
    project::{MANIFEST, PICTURES},
};

/// All items of the small project.
const ITEMS: usize = 5 + 5 + 5 + 5 + 10 + 1;

/// A reader that waited for a run would wait for ever here; so long it may take on a busy machine.
const READERS_MAY_TAKE: Duration = Duration::from_secs(60);

fn start(project: &Project, manifest: &str) -> Child {
    let mut command = project.command(&["run", manifest, "--json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Everything that these runs made, sorted; nothing may be in it twice.
#[track_caller]
fn made_once(runs: &[Run]) -> Vec<String> {
    let mut made: Vec<_> = runs.iter().flat_map(Run::made).collect();
    made.sort();
    let all = made.len();
    made.dedup();
    assert_eq!(made.len(), all, "an item ran twice");
    let counted = runs.iter().flat_map(|run| run.finished()["stages"].as_array().unwrap().clone());
    let counted: u64 = counted.map(|stage| stage["items"]["run"].as_u64().unwrap()).sum();
    assert_eq!(counted, all as u64);
    made
}

#[test]
fn share_the_work_and_do_none_of_it_twice() {
    let alone = Project::finished();
    let project = Project::fresh();
    let first = [start(&project, "project.toml"), start(&project, "project.toml")];
    thread::sleep(Duration::from_millis(300));
    let later = start(&project, "project.toml");
    let runs = first.into_iter().chain([later]).map(|child| child.wait_with_output().unwrap());
    let runs: Vec<_> = runs.map(|output| project.done(output).exits(0)).collect();
    assert_eq!(made_once(&runs).len(), ITEMS);
    assert_eq!(project.outputs(), alone.outputs());
    project.is_idle();
}

/// Starts a run, and stops it with a signal once it trains; nothing of what it holds is given back.
fn stopped_in_training(project: &Project) -> Child {
    let log = project.path("stopped.jsonl");
    let mut command = project.command(&["run", "project.toml", "--json"]);
    let mut run = command.stdout(File::create(&log).unwrap()).spawn().unwrap();
    let trains = |event: &Value| event["event"] == "step" && event["stage"] == "finetune";
    loop {
        let text = fs::read_to_string(&log).unwrap();
        let mut events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        if events.any(|event| trains(&event)) {
            break;
        }
        assert!(run.try_wait().unwrap().is_none(), "the run ended before it was stopped");
        thread::sleep(Duration::from_millis(1));
    }
    signal(&run, "STOP");
    run
}

fn signal(child: &Child, signal: &str) {
    let sent = format!("kill -{signal} {}", child.id());
    assert!(Command::new("sh").args(["-c", &sent]).status().unwrap().success());
}

/// A training that is long enough to be stopped in its midst.
fn long() -> Project {
    let project = Project::fresh();
    project.replace("max_train_epochs = 2", "max_train_epochs = 12");
    project
}

#[cfg(unix)]
#[test]
fn readers_wait_for_no_run_and_a_killed_one_frees_who_waits() {
    let alone = long();
    alone.run().exits(0);
    let project = long();
    let mut stopped = stopped_in_training(&project);

    // Whatever a stopped process holds, who only reads goes on.
    let model = "out/store/v1/heads/label.json";
    assert!(project.path(model).exists());
    for reader in [
        &["plan", "project.toml"][..],
        &["why", "project.toml", "finetune"],
        &["captions", "project.toml"],
        &["report", "project.toml"],
        &["losses", "project.toml"],
        &["check", "project.toml"],
        &["inspect", "pictures/coffee.webp"],
        &["run", "project.toml", "--dry-run"],
    ] {
        let since = Instant::now();
        let mut command = project.command(reader);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let code = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status.code();
            }
            assert!(since.elapsed() < READERS_MAY_TAKE, "{reader:?} waits");
            thread::sleep(Duration::from_millis(5));
        };
        // There are no losses yet to show.
        let expected = if reader[0] == "losses" { code } else { Some(0) };
        assert_eq!(code, expected, "{reader:?}");
    }

    // A second run waits, says for whom, and goes on as soon as that one is killed.
    let log = project.path("waiting.jsonl");
    let mut command = project.command(&["run", "project.toml", "--json"]);
    let mut waiting = command.stdout(File::create(&log).unwrap()).spawn().unwrap();
    let waits = format!(r#""event":"waiting","stage":"finetune","pid":{}"#, stopped.id());
    let since = Instant::now();
    while !fs::read_to_string(&log).unwrap().contains(&waits) {
        assert!(since.elapsed() < READERS_MAY_TAKE, "{}", fs::read_to_string(&log).unwrap());
        assert!(waiting.try_wait().unwrap().is_none(), "it did not wait");
        thread::sleep(Duration::from_millis(5));
    }
    stopped.kill().unwrap();
    stopped.wait().unwrap();
    assert!(waiting.wait().unwrap().success());
    assert_eq!(project.outputs(), alone.outputs());
    let made = |log: &str| {
        let text = project.read(log);
        let made = text.lines().filter(|line| line.starts_with(r#"{"event":"item_finished""#));
        made.count()
    };
    assert_eq!([made("stopped.jsonl"), made("waiting.jsonl")], [ITEMS - 1, 1]);
    project.is_idle();
}

/// Two projects caption the same pictures into one folder, each in its own words. Neither loses or
/// damages what the other wrote, nor what a human did.
#[test]
fn two_projects_share_a_folder_of_sidecars() {
    let project = Project::fresh();
    project.file("words/coffee.caption", "my cup\n");
    let other = MANIFEST.replace(r#"output = "out""#, r#"output = "other""#);
    let other = other.replace("max_length = 12", "max_length = 7");
    project.manifest(&other);
    project.rename("project.toml", "other.toml");
    project.manifest(MANIFEST);
    let manifests = ["project.toml", "other.toml"];
    let only = |manifest| {
        let mut command = project.command(&["run", manifest, "--json", "--until", "merge"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let runs = manifests.map(only).map(|child| child.wait_with_output().unwrap());
    let runs = runs.map(|output| project.done(output).exits(0));

    // Each sidecar is, whole, what one of the two made, and that one knows it for its own.
    let published = runs.each_ref().map(Run::published);
    let mut by_whom = BTreeMap::<String, usize>::new();
    let captions = published.iter().flatten().filter(|path| path.ends_with(".caption"));
    for path in captions {
        *by_whom.entry(path.rsplit('/').next().unwrap().to_owned()).or_default() += 1;
    }
    let expected = PICTURES.iter().map(|picture| picture.split('.').next().unwrap());
    let expected =
        expected.filter(|name| *name != "coffee").map(|name| (format!("{name}.caption"), 1));
    assert_eq!(by_whom, expected.collect(), "each was written by one of the two");
    let sidecars = || {
        let entries = fs::read_dir(project.path("words")).unwrap().map(|entry| entry.unwrap());
        let files = entries.map(|entry| {
            (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
        });
        files.collect::<BTreeMap<_, _>>()
    };
    let first = sidecars();
    assert_eq!(first["coffee.caption"], "my cup\n");
    assert!(first.keys().all(|name| !name.starts_with('.')), "{first:?}");

    // From then on they leave each other's words alone, whoever runs next.
    for manifest in ["project.toml", "other.toml", "project.toml"] {
        project.call(&["run", manifest, "--until", "merge"]).exits(0);
        assert_eq!(sidecars(), first);
    }
}

/// Two projects, which differ in how they train, keep their outputs in one folder.
#[test]
fn two_projects_share_an_output_folder() {
    let apart = ["small", "second"].map(|name| {
        let project = Project::fresh();
        project.manifest(&named(name));
        project.run().exits(0);
        project
    });
    let project = Project::fresh();
    project.manifest(&named("second"));
    project.rename("project.toml", "second.toml");
    project.manifest(&named("small"));
    let runs = [start(&project, "project.toml"), start(&project, "second.toml")];
    let runs = runs.map(|child| child.wait_with_output().unwrap());
    let runs = runs.map(|output| project.done(output).exits(0));
    let mut made: Vec<_> = runs.iter().flat_map(Run::made).collect();
    made.sort();
    assert_eq!(made.len(), ITEMS + 1, "all but the two trainings is shared: {made:?}");

    let mut expected = apart[0].outputs();
    expected.extend(apart[1].outputs());
    assert_eq!(project.outputs(), expected);
    for manifest in ["project.toml", "second.toml"] {
        project.call(&["plan", manifest, "--exit-code"]).exits(0);
    }
}

fn named(name: &str) -> String {
    let text = MANIFEST.replace(r#"name = "small""#, &format!("name = \"{name}\""));
    if name == "small" { text } else { text.replace("seed = 42", "seed = 43") }
}
