//! What can go wrong with the store.

use std::{io, path::PathBuf};

use miette::Diagnostic;
use thiserror::Error;

use crate::base::Digest;

/// The store, or a file whose digest is wanted, cannot be read or written.
#[derive(Debug, Error, Diagnostic)]
pub enum StoreError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    #[diagnostic(
        code(fluxpipe::store::read),
        help("check that the file is there and that you may read it")
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    #[diagnostic(
        code(fluxpipe::store::write),
        help("check that you may write there; then run again, what was finished is kept")
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No space is left.
    #[error("no space is left to write {}", path.display())]
    #[diagnostic(
        code(fluxpipe::store::disk_full),
        help("free some space on that disk, then run again: what was finished is kept")
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is there was written by another version of fluxpipe, in a form that this one does not know.
    #[error("{} was written by another version of fluxpipe", path.display())]
    #[diagnostic(
        code(fluxpipe::store::version),
        help(
            "use the version that wrote it; or give the store's folder another name, and all that is in it is made anew"
        )
    )]
    Version {
        /// The file or folder.
        path: PathBuf,
    },
    /// A stored output is not there any more.
    #[error("the stored output {} is gone", path.display())]
    #[diagnostic(
        code(fluxpipe::store::gone),
        help("run first: what made it runs again, and nothing else")
    )]
    Gone {
        /// Where it was.
        path: PathBuf,
    },
    /// A file of outputs is none, or not whole.
    #[error("{} cannot be imported: {what}", path.display())]
    #[diagnostic(
        code(fluxpipe::store::bundle),
        help("write it again with `fluxpipe cache export`, and copy it anew")
    )]
    Bundle {
        /// The file.
        path: PathBuf,
        /// What is wrong, in words.
        what: String,
    },
    /// A stored output is not what it was when it was stored.
    #[error("the stored output {} is damaged: its digest is {}", path.display(), found.short())]
    #[diagnostic(
        code(fluxpipe::store::damaged),
        help(
            "run again: what made it runs again, and nothing else; the damaged file is kept in `damaged`, beside `objects`"
        )
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The digest of what it holds now.
        found: Digest,
    },
}

impl StoreError {
    pub(crate) fn read(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Read { path: path.into(), source }
    }

    pub(crate) fn write(path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { path, source }
            }
            _ => Self::Write { path, source },
        }
    }
}
