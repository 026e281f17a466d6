//! Files made by hand, each against one promise: it is refused, in words that say what, where and what to do.

mod archives;
mod folders;
mod graphs;
mod pictures;
mod shown;
mod texts;
mod weights;

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use miette::Diagnostic;

/// Fails unless it is refused in these words, with a code and something to do.
#[track_caller]
fn refused<T, E: Diagnostic>(read: Result<T, E>, words: &[&str]) -> String {
    let Err(error) = read else { panic!("it is read, and should say {words:?}") };
    let message = error.to_string();
    for word in words {
        assert!(message.contains(word), "{message:?} does not say {word:?}");
    }
    assert!(error.code().is_some(), "{message} has no code");
    assert!(error.help().is_some(), "{message} does not say what to do");
    assert!(message.len() < 2000, "{} bytes of words", message.len());
    message
}

/// A folder that is gone when the test is over.
struct Folder(tempfile::TempDir);

/// What the program did.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// A project that puts captions together and runs no network.
const MANIFEST: &str = "[project]\nname = \"p\"\noutput = \"out\"\ndevice = \"cpu\"\n\n\
                        [[dataset]]\nimage_dir = \"pictures\"\nresolution = 512\n\n[stages.merge]\n";

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A project with one good picture, `a.png`.
    fn project() -> Self {
        let folder = Self::new();
        folder.file("project.toml", MANIFEST);
        folder.picture("pictures/a.png");
        folder
    }

    fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(relative)
    }

    fn file(&self, relative: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn picture(&self, relative: impl AsRef<Path>) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::new(40, 30).save_with_format(path, image::ImageFormat::Png).unwrap();
    }

    /// Runs the program with colours, as on a terminal; fails if it does not end.
    fn run(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fluxpipe"));
        command.args(args).current_dir(self.0.path()).stdin(Stdio::null());
        command.env_remove("NO_COLOR").env_remove("FLUXPIPE_LOG").env("CLICOLOR_FORCE", "1");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let all = |mut stream: Box<dyn Read + Send>| {
            thread::spawn(move || {
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).unwrap();
                String::from_utf8(bytes).unwrap()
            })
        };
        let stdout = all(Box::new(child.stdout.take().unwrap()));
        let stderr = all(Box::new(child.stderr.take().unwrap()));
        let since = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if since.elapsed() > Duration::from_secs(60) {
                child.kill().unwrap();
                panic!("`fluxpipe {}` hangs", args.join(" "));
            }
            thread::sleep(Duration::from_millis(10));
        };
        let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
        assert!(!stderr.contains("a bug of its own"), "{stderr}");
        Ran { code: status.code(), stdout, stderr }
    }
}

impl Ran {
    #[track_caller]
    fn exits(self, code: i32) -> Self {
        let Self { code: found, stdout, stderr } = &self;
        assert_eq!(*found, Some(code), "\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
        self
    }

    /// All that was printed.
    fn all(&self) -> String {
        self.stdout.clone() + &self.stderr
    }
}

/// A pipe of this name.
#[cfg(unix)]
fn pipe(path: &Path) {
    use std::{ffi::CString, os::unix::ffi::OsStrExt};
    let name = CString::new(path.as_os_str().as_bytes()).unwrap();
    #[expect(unsafe_code, reason = "the standard library has no call for this")]
    // SAFETY: the name ends in a zero byte and lives until the call returns.
    let failed = unsafe { libc::mkfifo(name.as_ptr(), 0o600) };
    assert_eq!(failed, 0);
}
