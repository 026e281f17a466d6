//! Every call to the disk fails, in every way that a disk can fail, and the process ends at every one: a
//! run without faults after it ends with the bytes of an undisturbed run, and no file of the user's is
//! ever another one.
//!
//! Failing calls are tried in this process, through the seam that the program itself goes through, on a
//! project of six stages; ends of the process on the program. All of them take many minutes, so each test
//! takes every so-many-th call here, in turns with each kind of fault, and all with all kinds where
//! `FLUXPIPE_FAULTS=all` asks for it (docs/reliability.md has the numbers of that).

use std::{
    collections::BTreeMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fluxpipe::{
    base::disk::{self, Call, Fault},
    cli::Exit,
    pipeline::{self, RunOptions},
};

use crate::{Project, project::networks};

/// All six stages on two pictures, as little of each as there can be.
const MANIFEST: &str = r#"
[project]
name = "small"
output = "out"
device = "cpu"

[models]
blip = "MODELS/blip.safetensors"
tagger = "MODELS/tagger"
ae = "MODELS/ae.safetensors"
clip_l = "MODELS/clip_l.safetensors"
t5xxl = "MODELS/t5xxl.safetensors"
flux = "MODELS/flux1-dev.safetensors"

[[dataset]]
image_dir = "pictures"
sidecars = "words"
resolution = 32
min_bucket_reso = 32
bucket_reso_steps = 32

[stages.label]
num_beams = 1
max_length = 5

[stages.tag]
thresh = 0.5
existing = "append"

[stages.merge]

[stages.cache]
t5xxl_max_token_length = 8

[stages.finetune]
learning_rate = 1e-3
max_train_epochs = 2
save_every_n_epochs = 1
seed = 42

[stages.sample]
prompts = ["a cup"]
width = 32
height = 32
steps = 1
"#;

/// What people wrote: it must be there after whatever happens. To the tags fluxpipe adds.
const WRITTEN: [(&str, &str); 2] =
    [("words/brick.caption", "a wall, as I see it\n"), ("words/rocket.txt", "my rocket")];

fn fresh() -> Project {
    let project = Project::with_manifest(MANIFEST);
    for picture in ["brick.webp", "rocket.jpg"] {
        project.photograph(picture, &format!("pictures/{picture}"));
    }
    WRITTEN.iter().for_each(|(path, text)| project.file(path, text));
    project
}

/// What is made to fail in this process: one run at a time.
struct Armed {
    folder: PathBuf,
    fault: Option<(usize, Fault)>,
    calls: Vec<Call>,
    met: Option<(Call, PathBuf)>,
}

static ARMED: Mutex<Option<Armed>> = Mutex::new(None);

/// Only one test here is armed at a time.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    networks();
    disk::watch(|call, path| {
        let mut armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner);
        let armed = armed.as_mut()?;
        // Other tests of this process have files elsewhere.
        if !path.starts_with(&armed.folder) && !path.starts_with(networks()) {
            return None;
        }
        armed.calls.push(call);
        let (at, fault) = armed.fault?;
        let met = at == armed.calls.len() && fault.befalls(call);
        met.then(|| {
            armed.met = Some((call, path.to_owned()));
            fault
        })
    });
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `fluxpipe run` does between its arguments and its screen, with the n-th call failing.
fn run(project: &Project, fault: Option<(usize, Fault)>) -> (Armed, miette::Result<()>) {
    let arm = |armed| ARMED.lock().unwrap_or_else(PoisonError::into_inner).replace(armed);
    let folder = project.path("");
    arm(Armed { folder, fault, calls: Vec::new(), met: None });
    let result = catch_unwind(AssertUnwindSafe(|| {
        let project = fluxpipe::cli::open(&project.path("project.toml"), &[])?;
        let (graph, store) = (&project.graph, &project.store);
        pipeline::run(graph, store, &RunOptions::default(), &mut |_| {}, Arc::default())?;
        Ok(())
    }));
    let armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap();
    let result = result.unwrap_or_else(|_| panic!("{fault:?} at {:?} panics", armed.met));
    (armed, result)
}

/// Files of the user's by path, without those that fluxpipe wrote.
fn user_files(project: &Project) -> BTreeMap<PathBuf, Vec<u8>> {
    let pictures = fs::read_dir(project.path("pictures")).unwrap();
    let mut paths: Vec<_> = pictures.map(|entry| entry.unwrap().path()).collect();
    paths.push(project.path("project.toml"));
    paths.push(project.path(WRITTEN[0].0));
    paths.iter().map(|path| (relative(project, path), fs::read(path).unwrap())).collect()
}

fn relative(project: &Project, path: &Path) -> PathBuf {
    path.strip_prefix(project.path("")).unwrap().to_owned()
}

/// What every moment must hold.
#[track_caller]
fn nothing_is_lost(project: &Project, whole: &Whole, what: &str) {
    assert_eq!(user_files(project), whole.users, "{what}");
    let appended = project.read(WRITTEN[1].0);
    assert!(appended.starts_with(WRITTEN[1].1), "{what}: {appended}");
    for (path, digest) in project.outputs() {
        let hidden = path.rsplit('/').next().unwrap().starts_with('.');
        let first = path == WRITTEN[1].0 && appended == WRITTEN[1].1;
        let is_whole = whole.outputs.get(&path) == Some(&digest);
        assert!(hidden || first || is_whole, "{what}: {path} is there and not whole");
    }
}

/// An undisturbed run.
struct Whole {
    users: BTreeMap<PathBuf, Vec<u8>>,
    outputs: BTreeMap<String, fluxpipe::base::Digest>,
    calls: Vec<Call>,
}

fn undisturbed() -> Whole {
    let project = fresh();
    let users = user_files(&project);
    let (armed, result) = run(&project, None);
    result.unwrap();
    assert_eq!(user_files(&project), users);
    let outputs = project.outputs();
    for made in ["words/rocket.caption", "out/small.safetensors", "out/small-000001.safetensors"] {
        assert!(outputs.contains_key(made), "{made}: {outputs:?}");
    }
    assert!(outputs.keys().any(|path| path.ends_with(".png")), "{outputs:?}");
    Whole { users, outputs, calls: armed.calls }
}

fn everything() -> bool {
    std::env::var("FLUXPIPE_FAULTS").is_ok_and(|asked| asked == "all")
}

#[test]
fn whatever_call_fails_the_next_run_ends_the_same() {
    const KINDS: [Fault; 4] = [Fault::Full, Fault::Denied, Fault::Broken, Fault::Short];
    const EVERY: usize = 17;
    let _turn = turn();
    let whole = undisturbed();
    let calls = whole.calls.len();
    let mut cases = Vec::new();
    for number in 1..=calls {
        let befall: Vec<_> =
            KINDS.into_iter().filter(|kind| kind.befalls(whole.calls[number - 1])).collect();
        match everything() {
            true => cases.extend(befall.into_iter().map(|kind| (number, kind))),
            false if number % EVERY == 1 => {
                cases.push((number, befall[number / EVERY % befall.len()]))
            }
            false => {}
        }
    }
    let (mut failed, mut harmless, mut missed) = (BTreeMap::<Call, usize>::new(), 0, 0);
    for (number, kind) in cases {
        let project = fresh();
        let (armed, result) = run(&project, Some((number, kind)));
        // The order of calls differs a little from run to run, where several threads read.
        let Some((call, path)) = armed.met else {
            missed += 1;
            continue;
        };
        let what = format!("{kind:?} at call {number}, {call:?} {}", path.display());
        nothing_is_lost(&project, &whole, &what);
        match result {
            Ok(()) => harmless += 1,
            Err(report) => {
                *failed.entry(call).or_default() += 1;
                let exit = Exit::of(report.as_ref());
                // A manifest that cannot be read is a mistake on the command line.
                let usage = path.ends_with("project.toml").then_some(Exit::Usage);
                let expected = [Exit::Failed, Exit::Missing].into_iter().chain(usage);
                assert!(expected.into_iter().any(|one| one == exit), "{what}: {exit:?} {report:?}");
                assert!(report.code().is_some(), "{what}: {report:?}");
            }
        }
        run(&project, None).1.unwrap_or_else(|report| panic!("{what}, then: {report:?}"));
        nothing_is_lost(&project, &whole, &what);
        assert_eq!(project.outputs(), whole.outputs, "{what}");
    }
    let told: usize = failed.values().sum();
    println!(
        "{calls} calls; faults: {told} told, {harmless} harmless, {missed} missed; {failed:?}"
    );
    assert!(told > 10 && failed.len() >= 5, "{failed:?}");
}

#[test]
fn wherever_the_process_ends_the_next_run_ends_the_same() {
    const EVERY: usize = 41;
    let _turn = turn();
    let whole = undisturbed();
    let step = if everything() { 1 } else { EVERY };
    let mut aborted = 0;
    for number in (1..).step_by(step) {
        let project = fresh();
        let fault = format!("abort@{number}");
        let mut command = project.command(&["run", "project.toml"]);
        let ended = project.done(command.env("FLUXPIPE_FAULT", &fault).output().unwrap());
        assert!(!ended.stderr.contains("panicked"), "{fault}: {}", ended.stderr);
        nothing_is_lost(&project, &whole, &fault);
        if ended.code.is_some() {
            assert_eq!(ended.code, Some(0), "{fault}: {}", ended.stderr);
            break;
        }
        aborted += 1;
        // The program, which also writes the page at the end.
        project.run().exits(0);
        nothing_is_lost(&project, &whole, &fault);
        assert_eq!(project.outputs(), whole.outputs, "{fault}");
    }
    println!("aborted at {aborted} calls, every {step}");
    assert!(aborted > 5, "only {aborted}");
}

/// A disk that becomes full stays full: the program says so, and goes on once there is room.
#[test]
fn a_disk_that_stays_full_is_told_by_the_program() {
    let _turn = turn();
    let whole = undisturbed();
    let calls = whole.calls.len();
    let mut codes = BTreeMap::<Option<i32>, usize>::new();
    for number in (1..calls).step_by(calls / 6) {
        let project = fresh();
        let fault = format!("full@{number}+");
        let mut command = project.command(&["run", "project.toml"]);
        let ended = project.done(command.env("FLUXPIPE_FAULT", &fault).output().unwrap());
        assert!(!ended.stderr.contains("panicked"), "{fault}: {}", ended.stderr);
        assert!([Some(0), Some(1), Some(3)].contains(&ended.code), "{fault}: {}", ended.stderr);
        *codes.entry(ended.code).or_default() += 1;
        nothing_is_lost(&project, &whole, &fault);
        project.run().exits(0);
        assert_eq!(project.outputs(), whole.outputs, "{fault}");
        project.is_idle();
    }
    assert!(codes.contains_key(&Some(3)), "{codes:?}");
}

#[test]
fn a_fault_that_is_misspelt_is_told() {
    let project = fresh();
    let mut command = project.command(&["plan", "project.toml"]);
    let ended = project.done(command.env("FLUXPIPE_FAULT", "fool@1").output().unwrap());
    assert!(ended.stderr.contains("FLUXPIPE_FAULT=fool@1 is no fault"), "{}", ended.stderr);
    assert_ne!(ended.code, Some(0));
}
