//! Why scripts of another trainer cannot be read at all. What is merely not taken over is a finding.

use std::path::PathBuf;

use miette::Diagnostic;

/// What keeps a script or configuration from being read.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum MigrateError {
    /// A file cannot be opened.
    #[error("cannot read {}: {reason}", path.display())]
    #[diagnostic(code(fluxpipe::migrate::read), help("check its name, and that you may read it"))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A file is no text.
    #[error("{} is not UTF-8 text", path.display())]
    #[diagnostic(
        code(fluxpipe::migrate::text),
        help(
            "name the shell script and the data configuration; if it is one of them, save it as UTF-8"
        )
    )]
    Text {
        /// The file.
        path: PathBuf,
    },
    /// A file is larger than any script.
    #[error("{} has {bytes} bytes; scripts and configurations of more than {most} are not read", path.display())]
    #[diagnostic(
        code(fluxpipe::migrate::size),
        help(
            "name the shell script that starts flux_train.py, and the data configuration it names"
        )
    )]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The largest that is read.
        most: u64,
    },
    /// A quote or bracket has no end.
    #[error("{script}:{line}: the {quote} that opens here is never closed")]
    #[diagnostic(
        code(fluxpipe::migrate::quote),
        help("close it: everything behind it is inside of it, as in a shell")
    )]
    Quote {
        /// The script.
        script: String,
        /// Where it opens, from 1.
        line: usize,
        /// The quote.
        quote: char,
    },
    /// A variable that doubles with each line.
    #[error("{script}:{line}: a variable or command gets longer than any setting")]
    #[diagnostic(
        code(fluxpipe::migrate::variable),
        help("write the values out, or take the lines that build it out")
    )]
    Variable {
        /// The script.
        script: String,
        /// The line, from 1.
        line: usize,
    },
    /// The script starts nothing that is known.
    #[error("{script} starts none of the programs that can be taken over")]
    #[diagnostic(code(fluxpipe::migrate::nothing))]
    Nothing {
        /// The script.
        script: String,
        /// What it may start.
        #[help]
        help: String,
    },
    /// A configuration that is neither what its name says nor anything near.
    #[error("{file}{}: {reason}", line.map_or_else(String::new, |line| format!(":{line}")))]
    #[diagnostic(code(fluxpipe::migrate::configuration))]
    Configuration {
        /// The file.
        file: String,
        /// The line, from 1, where it is known.
        line: Option<usize>,
        /// What is wrong.
        reason: String,
        /// What to do.
        #[help]
        help: &'static str,
    },
}
