//! A project in a folder of its own, and what the program plans and does there.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::LazyLock,
};

use fluxpipe::base::Digest;
use serde_json::Value;

/// The folder of the pictures.
const PHOTOGRAPHS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/photographs");

/// The pictures of a project, each of other proportions.
pub const PICTURES: [&str; 5] =
    ["brick.webp", "clock.webp", "coffee.webp", "flower.webp", "rocket.jpg"];

/// What a snapshot must not hold: how long something took.
pub const TIME: (&str, &str) = (r"\d+(\.\d)? m?s\b", "[time]");

/// All five stages, at sizes that take about a second together.
pub const MANIFEST: &str = r#"
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
resolution = 64
min_bucket_reso = 32
bucket_reso_steps = 16

[stages.label]
num_beams = 2
max_length = 12

[stages.tag]
thresh = 0.5

[stages.merge]
prepend_tags = ["small demo"]

[stages.cache]
t5xxl_max_token_length = 32

[stages.finetune]
learning_rate = 1e-4
max_train_epochs = 2
save_every_n_epochs = 1
seed = 42
"#;

/// The folder of small networks with random weights, in which the first test that asks writes them.
pub fn networks() -> &'static Path {
    static WRITTEN: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("networks");
        fs::create_dir_all(folder.join("tagger")).unwrap();
        // Other programs may be writing the same bytes: each file is whole at any time.
        let new = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fluxpipe::models::random::write_all(new.path(), 1).unwrap();
        for file in walkdir::WalkDir::new(new.path()).into_iter().flatten() {
            if file.file_type().is_file() {
                let name = file.path().strip_prefix(new.path()).unwrap();
                fs::rename(file.path(), folder.join(name)).unwrap();
            }
        }
        folder
    });
    &WRITTEN
}

/// A folder that is gone when the test is over.
pub struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    /// The pictures and the manifest, `project.toml`; nothing has run yet.
    pub fn fresh() -> Self {
        let project = Self::with_manifest(MANIFEST);
        for picture in PICTURES {
            project.photograph(picture, &format!("pictures/{picture}"));
        }
        project
    }

    /// The same after a run.
    pub fn finished() -> Self {
        let project = Self::fresh();
        project.run().exits(0);
        project
    }

    /// A manifest and no picture.
    pub fn with_manifest(text: &str) -> Self {
        let project = Self { folder: tempfile::tempdir().unwrap() };
        project.manifest(text);
        project
    }

    /// Replaces the manifest.
    pub fn manifest(&self, text: &str) {
        self.file("project.toml", text.replace("MODELS", networks().to_str().unwrap()));
    }

    /// Replaces one piece of the manifest that stands there once.
    #[track_caller]
    pub fn replace(&self, old: &str, new: &str) {
        let text = self.read("project.toml");
        assert_eq!(text.matches(old).count(), 1, "`{old}` in {text}");
        self.file("project.toml", text.replace(old, new));
    }

    /// Where a file of the project lies.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// Writes a file, with its folders.
    pub fn file(&self, relative: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// What a text file of the project holds.
    #[track_caller]
    pub fn read(&self, relative: &str) -> String {
        fs::read_to_string(self.path(relative)).unwrap_or_else(|e| panic!("{relative}: {e}"))
    }

    /// Copies a picture of the demo.
    pub fn photograph(&self, name: &str, to: &str) {
        self.file(to, fs::read(Path::new(PHOTOGRAPHS).join(name)).unwrap());
    }

    /// The bytes of a network of the demo.
    pub fn network(name: &str) -> Vec<u8> {
        fs::read(networks().join(name)).unwrap()
    }

    /// Moves a file of the project.
    pub fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Removes a file of the project.
    pub fn remove(&self, relative: &str) {
        fs::remove_file(self.path(relative)).unwrap();
    }

    /// The program in the project's folder, ready to be started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fluxpipe"));
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        // Of the environment of whoever runs the tests, nothing that changes what is printed.
        for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "FLUXPIPE_LOG", "RUST_BACKTRACE"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs the program with these arguments.
    pub fn call(&self, args: &[&str]) -> Run {
        self.done(self.command(args).output().unwrap())
    }

    /// `fluxpipe run --json`.
    pub fn run(&self) -> Run {
        self.call(&["run", "project.toml", "--json"])
    }

    /// What came of a process started with [`Self::command`].
    pub fn done(&self, output: Output) -> Run {
        // Where the folders lie differs between machines.
        let folder = self.folder.path().display().to_string();
        let text = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            text.replace(&folder, "[folder]")
                .replace(networks().to_str().unwrap(), "[networks]")
                .replace(PHOTOGRAPHS, "[photographs]")
        };
        Run {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// The counts of `fluxpipe plan`, as [`Run::counts`] writes them.
    #[track_caller]
    pub fn plan(&self) -> String {
        let plan = self.call(&["plan", "project.toml", "--json"]).exits(0);
        let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
        counts(&plan["stages"])
    }

    /// Plans and runs: both must count this, and then nothing is left to do.
    #[track_caller]
    pub fn does(&self, expected: &str) -> Run {
        assert_eq!(self.plan(), expected, "the plan");
        let run = self.run().exits(0);
        assert_eq!(run.counts(), expected, "the run");
        self.is_idle();
        run
    }

    /// Plan and run find nothing to do, and write no file.
    #[track_caller]
    pub fn is_idle(&self) {
        let plan = self.plan();
        let idle = plan.split(", ").all(|stage| stage.contains(" 0 of "));
        assert!(idle, "the plan is not idle: {plan}");
        let run = self.run().exits(0);
        assert_eq!(run.counts(), plan, "the idle run");
        assert_eq!(run.published(), Vec::<String>::new(), "an idle run writes nothing");
    }

    /// Digests of all that the project made for people, by path: captions and tags, the metadata,
    /// checkpoints, metrics. Not of the store, whose records hold times.
    pub fn outputs(&self) -> BTreeMap<String, Digest> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.path("out"), self.path("words")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(self.folder.path()).unwrap().display().to_string();
                match path.is_dir() {
                    // Logs hold times.
                    true if name == "out/store" || name == "out/logs" => {}
                    // So does the page about the runs.
                    false if name == "out/report.html" => {}
                    true => folders.push(path),
                    false => drop(files.insert(name, Digest::of(&fs::read(path).unwrap()))),
                }
            }
        }
        files
    }
}

/// What the program did and printed.
pub struct Run {
    /// The exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// Results.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
}

impl Run {
    /// Fails, with everything that was printed, unless the exit code is this one.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        let Self { code: found, stdout, stderr } = &self;
        assert_eq!(*found, Some(code), "\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
        self
    }

    /// The events of `run --json`.
    pub fn events(&self) -> impl Iterator<Item = Value> + use<'_> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap())
    }

    /// The last event, which must be `finished`.
    #[track_caller]
    pub fn finished(&self) -> Value {
        let last = self.events().last().unwrap_or_default();
        assert_eq!(last["event"], "finished", "{last}\n{}", self.stderr);
        last
    }

    /// How many items of each stage ran: `label 1 of 5, tag 0 of 5, …`, and how many failed.
    #[track_caller]
    pub fn counts(&self) -> String {
        counts(&self.finished()["stages"])
    }

    /// The items that ran, as `cache/text coffee.webp`, sorted.
    pub fn made(&self) -> Vec<String> {
        let made = self.events().filter(|event| event["event"] == "item_finished");
        let [stage, recipe, item] = ["stage", "recipe", "item"];
        let text = |event: &Value, key: &str| event[key].as_str().unwrap().to_owned();
        let made = made.map(|event| {
            format!("{}/{} {}", text(&event, stage), text(&event, recipe), text(&event, item))
        });
        let mut made: Vec<_> = made.collect();
        made.sort();
        made
    }

    /// The files that were written beside the store.
    pub fn published(&self) -> Vec<String> {
        let published = self.events().filter(|event| event["event"] == "published");
        let mut paths: Vec<_> =
            published.map(|event| event["path"].as_str().unwrap().to_owned()).collect();
        paths.sort();
        paths
    }

    /// All that can be seen, for a snapshot.
    pub fn seen(&self) -> String {
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        let code = self.code.map_or("a signal".to_owned(), |code| code.to_string());
        format!("exit {code}\n{}{}", self.stdout, self.stderr)
    }
}

fn counts(stages: &Value) -> String {
    let stage = |stage: &Value| {
        let items = &stage["items"];
        let failed = match items["failed"].as_u64() {
            Some(0) => String::new(),
            Some(failed) => format!(" ({failed} failed)"),
            None => panic!("no count of failed items: {stage}"),
        };
        let name = stage["name"].as_str().unwrap();
        format!("{name} {} of {}{failed}", items["run"], items["total"])
    };
    stages.as_array().unwrap().iter().map(stage).collect::<Vec<_>>().join(", ")
}
