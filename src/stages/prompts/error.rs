//! What can be wrong with a file of prompts.

use std::{io, path::Path};

use miette::Diagnostic;

use crate::{base::plural, manifest::prompts::Broken};

/// A file of prompts cannot be used.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum PromptsError {
    /// It cannot be read.
    #[error("cannot read the prompts {path}: {reason}")]
    #[diagnostic(
        code(fluxpipe::prompts::read),
        help("name a text file in UTF-8, with a prompt in each line")
    )]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// Some of it says what cannot be.
    #[error("{} in {path}:\n{list}", plural(*count, "error"))]
    #[diagnostic(
        code(fluxpipe::prompts::broken),
        help(
            "a line is a prompt and its options, such as `a red cup --w 768 --h 512 --d 7 --s 20`; what \
             else a file can be is in docs/stages/sample.md"
        )
    )]
    Broken {
        /// The file.
        path: String,
        /// How many mistakes.
        count: usize,
        /// Each with its place, one per line.
        list: String,
    },
}

impl PromptsError {
    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self::Read { path: path.display().to_string(), reason: error.to_string() }
    }

    pub(super) fn broken(path: &Path, broken: &[Broken]) -> Self {
        let told = broken.iter().map(|broken| match &broken.place {
            Some(place) => format!("  {place}: {}", broken.reason),
            None => format!("  {}", broken.reason),
        });
        let list = told.collect::<Vec<_>>().join("\n");
        Self::Broken { path: path.display().to_string(), count: broken.len(), list }
    }
}
