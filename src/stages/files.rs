//! Errors of the small files that stages read themselves.

use std::path::{Path, PathBuf};

use miette::Diagnostic;

use crate::pipeline::StageError;

/// A small file cannot be read or written.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("cannot use {path}: {source}")]
#[diagnostic(
    code(fluxpipe::stages::file),
    help("check that the file is there and that you may use it")
)]
struct Unusable {
    path: PathBuf,
    source: std::io::Error,
}

/// Wraps what the system said about `path`.
pub fn unreadable(path: &Path, source: std::io::Error) -> StageError {
    Unusable { path: path.to_owned(), source }.into()
}
