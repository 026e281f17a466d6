//! A project in a folder of its own, and the program run on it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A folder that is gone when the test is over.
pub struct Project {
    folder: tempfile::TempDir,
}

/// What the program did.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; a signal is -1.
    pub code: i32,
    /// Results.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
}

impl Default for Project {
    fn default() -> Self {
        Self::new()
    }
}

impl Project {
    /// An empty folder.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// The same with a `project.toml`.
    pub fn with_manifest(text: &str) -> Self {
        let project = Self::new();
        project.file("project.toml", text);
        project
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

    /// Writes a small picture whose pixels follow from `seed`.
    pub fn picture(&self, relative: &str, (width, height): (u32, u32), seed: u8) {
        let pixel = |x: u32, y: u32| {
            image::Rgb([(x * 7) as u8 ^ seed, (y * 5) as u8, (x + y) as u8].map(|c| c ^ seed))
        };
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::from_fn(width, height, pixel).save(path).unwrap();
    }

    /// What a file of the project holds.
    pub fn read(&self, relative: &str) -> String {
        fs::read_to_string(self.path(relative)).unwrap()
    }

    /// Runs `fluxpipe` in the project's folder, with no terminal.
    pub fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, &[])
    }

    /// The same with variables of the environment.
    pub fn run_with(&self, args: &[&str], env: &[(&str, &str)]) -> Ran {
        let mut command = self.command(args);
        command.envs(env.iter().copied());
        let output = command.output().unwrap();
        // Where the folder lies differs from run to run.
        let folder = self.folder.path().display().to_string();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&folder, "[folder]");
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// The program, ready to be started: for tests that kill it.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fluxpipe"));
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        // Of the environment of whoever runs the tests, nothing that changes what is printed.
        for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "FLUXPIPE_LOG", "RUST_BACKTRACE"] {
            command.env_remove(name);
        }
        command.env("COLUMNS", "100");
        command
    }
}

impl Ran {
    /// Fails, with everything that was printed, unless the exit code is this one.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        let Self { code: found, stdout, stderr } = &self;
        assert_eq!(*found, code, "\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
        self
    }

    /// All that can be seen, for a snapshot.
    pub fn seen(&self) -> String {
        let mut text = format!("exit {}\n", self.code);
        for (name, stream) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !stream.is_empty() {
                text += &format!("--- {name}\n{stream}");
            }
        }
        text
    }

    /// Stdout as one JSON value.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// Stdout as JSON lines.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
