//! Kills at every write and at random moments, and two processes at once. The process that is killed is
//! this test binary, started again for the one test `child`.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use fluxpipe::{
    base::{
        Stream, Value,
        disk::{self, Fault},
    },
    pipeline::{
        Event, Graph, RunOptions, Store,
        fake::{FakeStage, Reads},
        plan, run,
    },
};

use miette::Diagnostic;

use crate::world::{copy, graph, node, outputs, sources};

const FOLDER: &str = "FLUXPIPE_TEST_FOLDER";
const ABORT_AT: &str = "FLUXPIPE_TEST_ABORT_AT";
const FULL_FROM: &str = "FLUXPIPE_TEST_FULL_FROM";
const PAUSE_MS: &str = "FLUXPIPE_TEST_PAUSE_MS";

fn project(folder: &Path, version: i64, pause: Duration) -> Graph {
    let pictures = [("a", "cat"), ("b", "dog"), ("cc", "owl")];
    let label = FakeStage::new("label")
        .parameter("version", Value::Int(version))
        .padding(6000)
        .pause(pause);
    let merge = FakeStage::new("merge").reads(Reads::EachUpstream).pause(pause);
    let train = FakeStage::new("train").reads(Reads::AllUpstream).padding(9000).pause(pause);
    graph([
        node("label", &[], sources(label, &pictures).publish_to(folder.join("pictures"))),
        node("merge", &["label"], merge),
        node("train", &["merge"], train),
    ])
}

/// The published files and their texts.
fn published(folder: &Path) -> Vec<(String, String)> {
    let entries = fs_err::read_dir(folder.join("pictures")).unwrap().map(Result::unwrap);
    let files = entries.map(|entry| {
        let name = entry.file_name().into_string().unwrap();
        (name, fs_err::read_to_string(entry.path()).unwrap())
    });
    let mut files: Vec<_> = files.collect();
    files.sort();
    files
}

type State = (Vec<(String, String, String)>, Vec<(String, String)>);

/// Runs to the end in this process; what is there then.
fn complete(folder: &Path, version: i64) -> State {
    let store = Store::open(folder).unwrap();
    let graph = project(folder, version, Duration::ZERO);
    let none = RunOptions::default();
    run(&graph, &store, &none, &mut |_| {}, std::sync::Arc::default()).unwrap();
    let plan = plan(&graph, &store, &none).unwrap();
    assert!(!plan.has_work());
    (outputs(&plan), published(folder))
}

/// Runs version 2 to the end, and then version 3: a sidecar that the killed process wrote must not count
/// as a human's from then on.
fn go_on(folder: &Path) -> [State; 2] {
    [2, 3].map(|version| complete(folder, version))
}

/// A folder in which version 1 has run.
fn before() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    complete(folder.path(), 1);
    folder
}

fn start(folder: &Path, fault: (&str, usize), pause: Duration) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(fault.0, fault.1.to_string())
        .env(PAUSE_MS, pause.as_millis().to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "the process that the other tests here start and kill"]
fn child() {
    let variable = |name| std::env::var(name).unwrap();
    let folder = variable(FOLDER);
    let folder = Path::new(&folder);
    let number = |name| std::env::var(name).map_or(0, |text| text.parse::<usize>().unwrap());
    let (abort_at, full_from) = (number(ABORT_AT), number(FULL_FROM));
    let count = AtomicUsize::new(0);
    disk::watch(move |_, _| {
        let count = count.fetch_add(1, Ordering::Relaxed) + 1;
        match () {
            () if count == abort_at => Some(Fault::Abort),
            () if full_from > 0 && count >= full_from => Some(Fault::Full),
            () => None,
        }
    });
    let pause = Duration::from_millis(variable(PAUSE_MS).parse().unwrap());
    let store = Store::open(folder).unwrap();
    let mut lines = String::new();
    let mut sink = |event: Event| match event {
        Event::ItemFinished { stage, item, .. } => lines += &format!("made {stage} {item}\n"),
        Event::Waiting { pid, .. } => lines += &format!("waited for {}\n", pid.unwrap()),
        _ => {}
    };
    let graph = project(folder, 2, pause);
    let result = run(&graph, &store, &RunOptions::default(), &mut sink, std::sync::Arc::default());
    if let Err(error) = result {
        let diagnostic = error.diagnostic_source().unwrap_or(&error);
        lines += &format!("failed {}\n", diagnostic.code().unwrap());
    }
    fs_err::write(folder.join(format!("{}.told", std::process::id())), lines).unwrap();
}

#[test]
fn aborted_at_every_write_the_next_run_ends_the_same() {
    let before = before();
    let expected = {
        let folder = tempfile::tempdir().unwrap();
        copy(before.path(), folder.path());
        go_on(folder.path())
    };
    let mut aborted = 0;
    for abort_at in 1.. {
        let folder = tempfile::tempdir().unwrap();
        copy(before.path(), folder.path());
        let done =
            start(folder.path(), (ABORT_AT, abort_at), Duration::ZERO).wait().unwrap().success();
        assert_eq!(go_on(folder.path()), expected, "aborted at write {abort_at}");
        if done {
            break;
        }
        aborted += 1;
    }
    assert!(aborted > 20, "only {aborted} writes");
}

#[test]
fn a_full_disk_is_told_and_the_next_run_ends_the_same() {
    let before = before();
    let mut expected = None;
    let mut failed = 0;
    for full_from in (1..).step_by(3) {
        let folder = tempfile::tempdir().unwrap();
        copy(before.path(), folder.path());
        let mut child = start(folder.path(), (FULL_FROM, full_from), Duration::ZERO);
        let pid = child.id();
        assert!(child.wait().unwrap().success(), "no panic");
        let told = fs_err::read_to_string(folder.path().join(format!("{pid}.told"))).unwrap();
        let ended = go_on(folder.path());
        assert_eq!(ended, *expected.get_or_insert_with(|| ended.clone()), "full from {full_from}");
        if !told.contains("failed") {
            break;
        }
        assert!(told.ends_with("failed fluxpipe::store::disk_full\n"), "{told}");
        failed += 1;
    }
    assert!(failed > 7, "only {failed} writes");
}

#[test]
fn killed_at_random_moments_the_next_run_ends_the_same() {
    let before = before();
    let mut expected = None;
    let mut random = Stream::new(3, "kill", None, &[]);
    let mut killed = 0;
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        copy(before.path(), folder.path());
        let mut child = start(folder.path(), (ABORT_AT, 0), Duration::from_millis(10));
        std::thread::sleep(Duration::from_millis(5 + random.below(150) as u64));
        child.kill().unwrap();
        killed += usize::from(!child.wait().unwrap().success());
        let ended = go_on(folder.path());
        assert_eq!(ended, *expected.get_or_insert_with(|| ended.clone()));
    }
    assert!(killed > 5, "only {killed} were killed in time");
}

#[test]
fn two_processes_do_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let pause = Duration::from_millis(500);
    let mut children = [0, 0].map(|never| start(folder.path(), (ABORT_AT, never), pause));
    let pids = children.each_ref().map(Child::id);
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    let told =
        pids.map(|pid| fs_err::read_to_string(folder.path().join(format!("{pid}.told"))).unwrap());
    let all = told.concat();
    let mut made: Vec<_> = all.lines().filter(|line| line.starts_with("made")).collect();
    made.sort_unstable();
    let expected =
        ["label a", "label b", "label cc", "merge a", "merge b", "merge cc", "train all"];
    assert_eq!(made, expected.map(|item| format!("made {item}")));
    // The one that came second said whom it waits for.
    let waits = |of: usize| told[of].contains(&format!("waited for {}", pids[1 - of]));
    assert!(waits(0) || waits(1), "{told:?}");
}
