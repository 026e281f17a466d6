//! A store of an earlier version opens as it was, and one of another version is named and not misread.
//!
//! `tests/stores` keeps stores as earlier versions of the program wrote them (its README.md says how). Where
//! the test of one fails, the program of today would make things anew that its users have already: either
//! a stage's `ALGORITHM` was raised, or the form of keys or of the store changed without being meant to.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use fluxpipe::base::Digest;
use serde_json::Value;

use crate::{Project, project::networks};

/// All six stages on two pictures.
const MANIFEST: &str = r#"
[project]
name = "small"
output = "out"
device = "cpu"

[models]
blip = "models/blip.safetensors"
tagger = "models/tagger"
ae = "models/ae.safetensors"
clip_l = "models/clip_l.safetensors"
t5xxl = "models/t5xxl.safetensors"
flux = "models/flux1-dev.safetensors"

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

[stages.merge]

[stages.cache]
t5xxl_max_token_length = 8

[stages.finetune]
learning_rate = 1e-3
max_train_epochs = 1
seed = 42

[stages.sample]
prompts = ["a cup"]
width = 32
height = 32
steps = 1
"#;

const NETWORKS: [&str; 7] = [
    "blip.safetensors",
    "ae.safetensors",
    "clip_l.safetensors",
    "t5xxl.safetensors",
    "flux1-dev.safetensors",
    "tagger/model.onnx",
    "tagger/selected_tags.csv",
];

/// The first version whose store is kept.
const FIRST: &str = "0.1.0";

/// What a fixture that runs again means.
const MEANS: &str = "the program of today runs again what this store holds already. If the ALGORITHM of a \
    stage was raised on purpose, or networks of `models::random` became others, say so in CHANGELOG.md \
    and make a new fixture beside the old one (tests/stores/README.md). If not, keys or records changed \
    by mistake, and all users would lose what they have made: find the change and take it back";

fn fresh() -> Project {
    let project = Project::with_manifest(MANIFEST);
    for picture in ["brick.webp", "rocket.jpg"] {
        project.photograph(picture, &format!("pictures/{picture}"));
    }
    project.file("words/brick.caption", "a wall\n");
    // Under paths that are the same everywhere, since they stand in recipes.
    for name in NETWORKS {
        let (from, to) = (networks().join(name), project.path("models").join(name));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop)).unwrap();
    }
    project
}

/// Files that are no text, above this size, are kept as their size: a plan reads none of them.
const WHOLE_UP_TO: usize = 2048;

fn pack_of(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/stores/{version}.txt"))
}

/// A project as this version left it: all that it wrote beside pictures and into the store.
fn left_by(version: &str) -> Project {
    let project = fresh();
    let packed = fs::read_to_string(pack_of(version)).unwrap();
    let mut lines = packed.lines();
    while let Some(head) = lines.next() {
        // A head says what follows: `text N` lines, a `line` without an end, `hex` digits of N bytes on a line, or
        // nothing where only the size is kept.
        let [form, number, path] = head.splitn(3, ' ').collect::<Vec<_>>()[..] else {
            panic!("{head}")
        };
        let number: usize = number.parse().unwrap();
        let bytes = match form {
            "size" => vec![0; number],
            "line" => lines.next().unwrap().as_bytes().to_vec(),
            "hex" => {
                let digits = lines.next().unwrap().as_bytes().chunks(2);
                let byte = |pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
                digits.map(byte).collect()
            }
            "text" => {
                let text = lines.by_ref().take(number);
                text.flat_map(|line| [line, "\n"]).collect::<String>().into_bytes()
            }
            other => panic!("{other}"),
        };
        project.file(path, bytes);
    }
    project
}

#[test]
#[ignore = "makes the fixture of this version: tests/stores/README.md"]
fn keep_the_store_of_this_version() {
    let project = fresh();
    project.run().exits(0);
    let mut packed = String::new();
    let kept = [project.path("words"), project.path("out/store/v1")];
    for entry in kept.iter().flat_map(|path| walkdir::WalkDir::new(path).sort_by_file_name()) {
        let path = entry.unwrap().into_path();
        let name = path.strip_prefix(project.path("")).unwrap().display().to_string();
        // Remembered looks of files, thumbnails and locks mean nothing in another place.
        let passed = ["files.log", "derived/", "locks/"].map(|of| format!("out/store/v1/{of}"));
        if path.is_dir() || passed.iter().any(|of| name.starts_with(of)) {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        match str::from_utf8(&bytes) {
            Ok(text) if text.ends_with('\n') => {
                packed += &format!("text {} {name}\n{text}", text.lines().count());
            }
            Ok(text) if !text.contains('\n') && !name.contains("/objects/") => {
                packed += &format!("line {} {name}\n{text}\n", text.len());
            }
            _ if bytes.len() <= WHOLE_UP_TO => {
                let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                packed += &format!("hex {} {name}\n{digits}\n", bytes.len());
            }
            _ => packed += &format!("size {} {name}\n", bytes.len()),
        }
    }
    assert!(packed.len() < 300_000, "{} bytes", packed.len());
    fs::write(pack_of(env!("CARGO_PKG_VERSION")), packed).unwrap();
}

#[test]
fn the_store_of_the_first_version_opens_and_nothing_runs() {
    let project = left_by(FIRST);
    let plan = project.call(&["plan", "project.toml", "--json"]).exits(0);
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    let counts: BTreeMap<_, _> = plan["stages"].as_array().unwrap().iter().map(counts).collect();
    // (items, reused, run, kept): the caption of the brick wall is its human's, and the ledger knows that
    // the other sidecars are not.
    let expected = BTreeMap::from([
        ("label", [2, 1, 0, 1]),
        ("tag.probabilities", [2, 2, 0, 0]),
        ("tag", [2, 2, 0, 0]),
        ("merge", [2, 2, 0, 0]),
        ("cache", [4, 4, 0, 0]),
        ("finetune", [1, 1, 0, 0]),
        ("sample.prompts", [1, 1, 0, 0]),
        ("sample.before", [1, 1, 0, 0]),
        ("sample", [1, 1, 0, 0]),
    ]);
    let expected: BTreeMap<String, [u64; 4]> =
        expected.into_iter().map(|(name, counts)| (name.to_owned(), counts)).collect();
    assert_eq!(counts, expected, "{MEANS}");
    // What it explains, it still explains.
    let why = project.call(&["why", "project.toml", "label", "rocket.jpg"]).exits(0);
    assert!(why.stdout.contains("num_beams"), "{}", why.stdout);
}

/// What it did is told, as far as that version wrote it down; and compared with what is done from now on.
#[test]
fn the_runs_of_the_first_version_are_told() {
    let project = left_by(FIRST);
    let list = project.call(&["log", "project.toml"]).exits(0).stdout;
    assert!(list.contains("label 1 of 2") && list.contains("finetune 1"), "{list}");
    let show = project.call(&["log", "show", "project.toml", "1"]).exits(0).stdout;
    assert!(show.contains("fluxpipe  0.1.0") && show.contains("new: rocket.jpg"), "{show}");
    let sidecar = project.call(&["inspect", "words/rocket.caption"]).exits(0).stdout;
    assert!(sidecar.contains("made by    stage label, item rocket.jpg"), "{sidecar}");
    let by_hand = project.call(&["inspect", "words/brick.caption"]).exits(3);
    assert!(!by_hand.stdout.contains("made by"), "{}", by_hand.stdout);
}

fn counts(stage: &Value) -> (String, [u64; 4]) {
    let count = |name: &str| stage["items"][name].as_u64().unwrap();
    let name = stage["name"].as_str().unwrap().to_owned();
    (name, ["total", "reuse", "run", "kept"].map(count))
}

/// The networks are part of every key: the fixture stands on these.
#[test]
fn the_networks_are_those_of_the_fixture() {
    let digest = |name: &&str| Digest::of(&fs::read(networks().join(name)).unwrap()).hex();
    let all: Vec<_> = NETWORKS.iter().map(digest).collect();
    let packed = fs::read_to_string(pack_of(FIRST)).unwrap();
    let missing: Vec<_> = all.iter().filter(|digest| !packed.contains(*digest)).collect();
    assert!(missing.is_empty(), "networks of `models::random` became others: {missing:?}; {MEANS}");
}

/// Plan, run and doctor refuse, name this file or folder, and write nothing.
#[track_caller]
fn is_named(project: &Project, what: &str) {
    let before = listed(project);
    for call in [&["plan", "project.toml"][..], &["run", "project.toml"]] {
        let told = project.call(call).exits(3);
        let stderr = told.stderr.replace('\n', " ");
        for words in ["fluxpipe::store::version", "another version of fluxpipe", what] {
            assert!(stderr.contains(words), "{call:?} does not say `{words}`:\n{}", told.stderr);
        }
    }
    let after = listed(project);
    let made = after.iter().filter(|path| path.contains("/objects/") && !before.contains(path));
    assert_eq!(made.count(), 0, "something was made: {after:?}");
}

fn listed(project: &Project) -> Vec<String> {
    let all = walkdir::WalkDir::new(project.path("out")).sort_by_file_name();
    all.into_iter().map(|entry| entry.unwrap().path().display().to_string()).collect()
}

#[test]
fn a_layout_of_another_version_is_named() {
    for other in ["v0", "v2"] {
        let project = left_by(FIRST);
        project.rename("out/store/v1", &format!("out/store/{other}"));
        let before = listed(&project);
        is_named(&project, other);
        let doctor = project.call(&["doctor", "project.toml"]).exits(3);
        assert!(doctor.stderr.contains("fluxpipe::store::version"), "{}", doctor.stderr);
        assert_eq!(listed(&project), before, "nothing is made");
    }
    // Beside one of ours, that of a later version means nothing.
    let project = left_by(FIRST);
    fs::create_dir(project.path("out/store/v2")).unwrap();
    let doctor = project.call(&["doctor", "project.toml"]).exits(0);
    assert!(doctor.stdout.contains("out/store/v1"), "{}", doctor.stdout);
    project.call(&["plan", "project.toml"]).exits(0);
}

/// A log of the store of which every line is put through this.
fn rewrite(path: &Path, line: impl Fn(&str) -> String) {
    let text = fs::read_to_string(path).unwrap();
    fs::write(path, text.lines().map(|old| line(old) + "\n").collect::<String>()).unwrap();
}

fn body(line: &str) -> &str {
    line.split_once(r#","body":"#).unwrap().1.strip_suffix('}').unwrap()
}

fn with_body(body: &str) -> String {
    let sum = &Digest::of(body.as_bytes()).hex()[..16];
    format!(r#"{{"sum":"{sum}","body":{body}}}"#)
}

fn record_logs(project: &Project) -> Vec<PathBuf> {
    let entries = fs::read_dir(project.path("out/store/v1/records")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn fields_that_are_not_known_are_passed_over() {
    let project = left_by(FIRST);
    let before = project.plan();
    for log in
        record_logs(&project).iter().chain([&project.path("out/store/v1/ledger/sidecars.log")])
    {
        rewrite(log, |line| {
            let body = body(line).strip_suffix('}').unwrap();
            with_body(&format!(r#"{body},"weather":{{"sky":"clear"}}}}"#))
        });
    }
    assert_eq!(project.plan(), before);
    assert!(before.split(", ").all(|stage| stage.contains(" 0 of ")), "{before}");
}

#[test]
fn records_of_another_form_are_named() {
    // A whole line that says something else of a key than is known here.
    let project = left_by(FIRST);
    for log in record_logs(&project) {
        rewrite(&log, |line| with_body(&body(line).replace(r#"","output":{"#, r#"","sketch":{"#)));
    }
    is_named(&project, ".log");
    // Another order of fields, in which the key is not found.
    let project = left_by(FIRST);
    for log in record_logs(&project) {
        rewrite(&log, |line| with_body(&body(line).replacen('{', r#"{"form":2,"#, 1)));
    }
    is_named(&project, ".log");
    // Lines of another form altogether.
    for log in ["records", "ledger"] {
        let project = left_by(FIRST);
        let logs = fs::read_dir(project.path(format!("out/store/v1/{log}"))).unwrap();
        for log in logs {
            rewrite(&log.unwrap().path(), |line| format!("2 {}", Digest::of(line.as_bytes())));
        }
        is_named(&project, ".log");
    }
}

#[test]
fn a_state_of_another_version_is_named() {
    let project = left_by(FIRST);
    let states = fs::read_dir(project.path("out/store/v1/states")).unwrap();
    let states: Vec<_> = states.map(|entry| entry.unwrap().path().join("state.json")).collect();
    assert_eq!(states.len(), 1);
    let longer = ["plan", "project.toml", "--set", "stages.finetune.max_train_epochs=2", "-v"];
    let plan = project.call(&longer).exits(0);
    assert!(plan.stdout.contains("goes on from step"), "{}", plan.stdout);
    rewrite(&states[0], |line| with_body(&body(line).replace(r#""version":1"#, r#""version":2"#)));
    let plan = project.call(&longer).exits(0).stdout.replace('\n', " ");
    let words = plan.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("was written by another version of fluxpipe"), "{plan}");
}
