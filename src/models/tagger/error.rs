//! What can be wrong with a tagger: its graph, or the list of its tags.

use std::path::PathBuf;

use miette::Diagnostic;

use crate::models::onnx::OnnxError;

/// Why a tagger cannot be used.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum TaggerError {
    /// Its graph cannot be read or computed.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Graph(#[from] OnnxError),
    /// The list of tags beside the graph cannot be used.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Tags(#[from] TagsError),
    /// The graph's inputs or outputs are not those of a tagger.
    #[error("{path} is not a tagger graph: {reason}")]
    #[diagnostic(
        code(fluxpipe::tagger::signature),
        help(
            "a tagger has one input of square pictures, [N, S, S, 3] or [N, 3, S, S], and gives one number per tag of the list beside it: take graph and list from the same place"
        )
    )]
    Signature {
        /// The graph.
        path: PathBuf,
        /// What is different.
        reason: String,
    },
}

/// Why a list of tags cannot be used.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum TagsError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    #[diagnostic(
        code(fluxpipe::tags::read),
        help(
            "the list of tags (`selected_tags.csv` or `tag_mapping.json`) lies beside the tagger's graph where it is published: get both, into one folder"
        )
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A row is not as it should be.
    #[error("{path}, line {line}: {reason}")]
    #[diagnostic(
        code(fluxpipe::tags::format),
        help(
            "the file is `selected_tags.csv` as published with the tagger: a header `tag_id,name,category,...`, then one row per tag with category 0 (general), 1 (artist), 3 (copyright), 4 (character), 5 (meta) or 9 (rating)"
        )
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong, in words.
        reason: String,
    },
    /// A `tag_mapping.json` is not as it should be.
    #[error("{path}: {reason}")]
    #[diagnostic(
        code(fluxpipe::tags::mapping),
        help(
            "the file is `tag_mapping.json` as published with the tagger: for each output, by its number from \"0\" on, a `tag` and a `category` (Rating, General, Character, Copyright, Meta, Model, Quality or Artist)"
        )
    )]
    Mapping {
        /// The file.
        path: PathBuf,
        /// What is wrong, in words.
        reason: String,
    },
}
