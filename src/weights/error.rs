//! What can be wrong with a weight file.

use std::path::PathBuf;

use miette::Diagnostic;

use super::audit;

/// One tensor that is not as the network needs it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// The file lacks this tensor.
    Missing(String),
    /// The tensor has another shape than the network needs.
    Shape {
        /// Checkpoint name.
        name: String,
        /// What the network needs.
        expected: Vec<usize>,
        /// What the file holds.
        found: Vec<usize>,
    },
    /// The network has no use for this tensor.
    Extra(String),
}

/// Why a weight file cannot be used.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum WeightsError {
    /// The file cannot be opened or read.
    #[error("cannot read {path}: {source}")]
    #[diagnostic(
        code(fluxpipe::weights::read),
        help("check the path and that you may read the file")
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes are not a file of the format that the name promises.
    #[error("{path} is not a usable {format} file: {reason}")]
    #[diagnostic(code(fluxpipe::weights::format), help("{}", advice(format)))]
    Format {
        /// The file.
        path: PathBuf,
        /// `safetensors`, `.pth`, ...
        format: &'static str,
        /// What is wrong, in words.
        reason: String,
    },
    /// The file is of another network, or of this one in a form that is not read.
    #[error("{} holds {found}", path.display())]
    #[diagnostic(code(fluxpipe::weights::other), help("{help}"))]
    Other {
        /// The file.
        path: PathBuf,
        /// What it holds, in words.
        found: String,
        /// What to do.
        help: String,
    },
    /// The tensors are not those of the network.
    #[error("{path} does not hold a {network}: {}", listing(problems))]
    #[diagnostic(
        code(fluxpipe::weights::audit),
        help("this is another network's file, or an incomplete one; `fluxpipe inspect {}` says what it is", path.display())
    )]
    Audit {
        /// The file.
        path: PathBuf,
        /// What it was expected to hold, in words.
        network: String,
        /// All that does not fit.
        problems: Vec<Problem>,
    },
}

/// A `.pth` file is a program, so one that is not as it should be may be worse than damaged.
fn advice(format: &str) -> &'static str {
    if format == ".pth" {
        "the file is damaged, of another kind, or not to be trusted: get it again from its publisher, \
         and do not open it with a program that runs pickles"
    } else {
        "the file is damaged, cut off by a broken download, or of another kind: get it again and \
         compare its size"
    }
}

fn listing(problems: &[Problem]) -> String {
    const SHOWN: usize = 16;
    let mut text = match problems.len() {
        1 => "1 tensor does not fit".to_owned(),
        count => format!("{count} tensors do not fit"),
    };
    let rows = audit::rows(problems);
    for row in rows.iter().take(SHOWN) {
        text += &format!("\n  {row}");
    }
    if rows.len() > SHOWN {
        text += &format!("\n  … and {} more such lines", rows.len() - SHOWN);
    }
    text
}
