//! Faults on purpose: any call to the disk can be made to fail, to read too little, or to end the
//! process, so that tests can see what is left of a run that meets a bad disk or a kill at that call.
//!
//! A test of the library hands [`watch`] a closure. For the program there are two variables, which
//! are looked at once and cost nothing where they are not set:
//!
//! - `FLUXPIPE_FAULT=KIND@N` makes the N-th call of the process fail (1 is the first), `KIND@N+` all from
//!   the N-th on. KIND is `full` (no space is left; befalls calls that take room), `denied`, `broken` (an error of the
//!   device), `short` (a read gives half of the file) or `abort` (the process ends). A write
//!   that meets a fault has written the first half of its bytes.
//! - `FLUXPIPE_FAULT_TRACE=FILE` adds a line to FILE for every call: what it does, and the path.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    str::FromStr,
    sync::{
        LazyLock, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// What is about to be done to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// A file is opened and read.
    Read,
    /// A file is mapped to be read.
    Map,
    /// A folder is listed.
    List,
    /// A file is made, or opened to be written.
    Create,
    /// Bytes are written.
    Write,
    /// A file is flushed to the disk.
    Flush,
    /// The names in a folder are flushed to the disk.
    FlushFolder,
    /// A file gets another name.
    Rename,
    /// A file gets a second name.
    Link,
    /// A file is made read-only.
    Protect,
    /// A file is removed.
    Remove,
    /// A folder is removed with all that is in it.
    RemoveFolder,
    /// A folder is made.
    CreateFolder,
}

/// What befalls a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No space is left.
    Full,
    /// There is no right to do it.
    Denied,
    /// The device has an error.
    Broken,
    /// A read gives half of the file.
    Short,
    /// The process ends.
    Abort,
}

impl Fault {
    /// Whether it can befall such a call: a full disk can still be read.
    #[must_use]
    pub fn befalls(self, call: Call) -> bool {
        use Call::{Create, CreateFolder, Flush, FlushFolder, Link, Map, Read, Rename, Write};
        match self {
            Self::Full => {
                matches!(call, Create | Write | Flush | FlushFolder | Rename | Link | CreateFolder)
            }
            Self::Short => matches!(call, Read | Map),
            Self::Denied | Self::Broken | Self::Abort => true,
        }
    }

    /// The error; or no return.
    pub(super) fn strike(self) -> io::Error {
        // Numbers that Linux, macOS and the BSDs share; elsewhere the kind of the error is what counts.
        let (number, kind) = match self {
            Self::Full => (28, io::ErrorKind::StorageFull),
            Self::Denied => (13, io::ErrorKind::PermissionDenied),
            Self::Broken => (5, io::ErrorKind::Other),
            Self::Short => (0, io::ErrorKind::UnexpectedEof),
            Self::Abort => std::process::abort(),
        };
        if cfg!(unix) { io::Error::from_raw_os_error(number) } else { kind.into() }
    }
}

impl FromStr for Fault {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Ok(match name {
            "full" => Self::Full,
            "denied" => Self::Denied,
            "broken" => Self::Broken,
            "short" => Self::Short,
            "abort" => Self::Abort,
            _ => return Err(()),
        })
    }
}

type Watcher = Box<dyn Fn(Call, &Path) -> Option<Fault> + Send + Sync>;
static WATCHER: OnceLock<Watcher> = OnceLock::new();

/// Asks `watcher` before every call from now on what shall befall it. Only the first call in a process
/// counts.
#[doc(hidden)]
pub fn watch(watcher: impl Fn(Call, &Path) -> Option<Fault> + Send + Sync + 'static) {
    let _ = WATCHER.set(Box::new(watcher));
}

/// What befalls this call.
pub(super) fn fault(call: Call, path: &Path) -> io::Result<Option<Fault>> {
    let fault = match (WATCHER.get(), &*VARIABLES) {
        (Some(watcher), _) => watcher(call, path),
        (None, Some(variables)) => variables.fault(call, path)?,
        (None, None) => None,
    };
    Ok(fault.filter(|fault| fault.befalls(call)))
}

/// Announces a call that cannot read or write a part: it fails, or is done as it should be.
pub(super) fn pass(call: Call, path: &Path) -> io::Result<()> {
    fault(call, path)?.map_or(Ok(()), |fault| Err(fault.strike()))
}

static VARIABLES: LazyLock<Option<Variables>> = LazyLock::new(|| {
    let asked = std::env::var("FLUXPIPE_FAULT").ok();
    let trace = std::env::var_os("FLUXPIPE_FAULT_TRACE");
    (asked.is_some() || trace.is_some()).then(|| Variables {
        plan: asked.map(|asked| Plan::parse(&asked).ok_or(asked)),
        trace: trace.map(|path| Mutex::new(File::options().append(true).create(true).open(path))),
        calls: AtomicUsize::new(0),
    })
});

/// What the environment asks for.
struct Variables {
    /// Or what was written instead of one.
    plan: Option<Result<Plan, String>>,
    trace: Option<Mutex<io::Result<File>>>,
    calls: AtomicUsize,
}

impl Variables {
    fn fault(&self, call: Call, path: &Path) -> io::Result<Option<Fault>> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(trace) = &self.trace {
            let mut trace = trace.lock().unwrap_or_else(PoisonError::into_inner);
            let file = trace.as_mut().map_err(|error| io::Error::other(error.to_string()))?;
            file.write_all(format!("{call:?} {}\n", path.display()).as_bytes())?;
        }
        match &self.plan {
            None => Ok(None),
            Some(Ok(plan)) => Ok(plan.at(number)),
            Some(Err(text)) => {
                Err(io::Error::other(format!("FLUXPIPE_FAULT={text} is no fault, such as full@7")))
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Plan {
    fault: Fault,
    from: usize,
    once: bool,
}

impl Plan {
    fn parse(text: &str) -> Option<Self> {
        let (fault, from) = text.split_once('@')?;
        let (from, once) = from.strip_suffix('+').map_or((from, true), |from| (from, false));
        Some(Self { fault: fault.parse().ok()?, from: from.parse().ok()?, once })
    }

    fn at(&self, call: usize) -> Option<Fault> {
        let met = if self.once { call == self.from } else { call >= self.from };
        met.then_some(self.fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_asked_for_by_kind_and_number() {
        let plan = |text| Plan::parse(text).map(|plan| [6, 7, 8].map(|call| plan.at(call)));
        let full = Some(Fault::Full);
        assert_eq!(plan("full@7"), Some([None, full, None]));
        assert_eq!(plan("full@7+"), Some([None, full, full]));
        assert_eq!(plan("abort@9"), Some([None; 3]));
        for wrong in ["full", "full@", "full@x", "fuller@7", "@7", ""] {
            assert_eq!(plan(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn errors_are_those_of_the_system() {
        assert_eq!(Fault::Full.strike().kind(), io::ErrorKind::StorageFull);
        assert_eq!(Fault::Denied.strike().kind(), io::ErrorKind::PermissionDenied);
    }
}
