//! What can be wrong with a command itself.

use std::{io, path::PathBuf};

use miette::Diagnostic;

use crate::{
    models::{onnx::OnnxError, tagger::TaggerError},
    weights::WeightsError,
};

/// Why a command cannot do what it was asked to.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum CliError {
    /// `init` would overwrite a manifest.
    #[error("{} is there already", path.display())]
    #[diagnostic(
        code(fluxpipe::cli::exists),
        help("edit it, name another folder, or move it away first")
    )]
    Exists {
        /// The manifest.
        path: PathBuf,
    },
    /// `import` would overwrite a manifest.
    #[error("{} is there already", path.display())]
    #[diagnostic(
        code(fluxpipe::cli::exists),
        help("name another file with -o, or write over it with --force")
    )]
    Overwrite {
        /// The manifest.
        path: PathBuf,
    },
    /// A file of the command cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    #[diagnostic(
        code(fluxpipe::cli::write),
        help("check that the folder is there and that you may write to it")
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file or folder that the command names cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    #[diagnostic(code(fluxpipe::cli::read), help("check its name, and that you may read it"))]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Stdout takes no more.
    #[error("cannot write to stdout: {0}")]
    #[diagnostic(
        code(fluxpipe::cli::write),
        help("stdout goes to a file or program: is its disk full?")
    )]
    Stdout(io::Error),
    /// There is no stage whose texts could be listed.
    #[error("{}", match stage {
        Some(stage) => format!("there is no merge stage `{stage}`"),
        None => "there is no merge stage, so nothing makes training texts".to_owned(),
    })]
    #[diagnostic(
        code(fluxpipe::cli::no_merge),
        help("name one of the manifest, or add [stages.merge] to it")
    )]
    NoMerge {
        /// The name that was asked for.
        stage: Option<String>,
    },
    /// There is no finetune stage, or none of this name.
    #[error("{}", match stage {
        Some(stage) => format!("there is no finetune stage called `{stage}`"),
        None => "there is no finetune stage, so nothing is trained".to_owned(),
    })]
    #[diagnostic(
        code(fluxpipe::cli::no_finetune),
        help("name one of the manifest, or add [stages.finetune] to it")
    )]
    NoFinetune {
        /// The name that was asked for.
        stage: Option<String>,
    },
    /// No training has come to its end.
    #[error("no training has come to its end yet, so there are no losses")]
    #[diagnostic(code(fluxpipe::cli::not_trained), help("`fluxpipe run` trains the model"))]
    NotTrained,
    /// Another process works in the store.
    #[error("the store {} is in use{}", store.display(), match process {
        Some(process) => format!(" by process {process}"),
        None => String::new(),
    })]
    #[diagnostic(
        code(fluxpipe::cli::store_in_use),
        help(
            "wait until that run is done; `--dry-run`, and `verify` without `--repair`, need not wait"
        )
    )]
    StoreInUse {
        /// Its folder.
        store: PathBuf,
        /// The other process, where it is known.
        process: Option<u32>,
    },
    /// There is no stage of this name.
    #[error("there is no stage called `{stage}`")]
    #[diagnostic(code(fluxpipe::cli::no_stage), help("the stages are {stages}"))]
    NoStage {
        /// The name that was asked for.
        stage: String,
        /// All names.
        stages: String,
    },
    /// A file of no kind that `inspect` knows.
    #[error("{} is no file that `inspect` can tell of", path.display())]
    #[diagnostic(
        code(fluxpipe::cli::not_known),
        help(
            "it tells of weights (.safetensors, .pth, .onnx), pictures, and what a run made; if a run made this, name its manifest with --project"
        )
    )]
    NotKnown {
        /// The file.
        path: PathBuf,
    },
    /// A file would be written over.
    #[error("{} is there already", path.display())]
    #[diagnostic(
        code(fluxpipe::cli::exists),
        help("name another file, or write over it with --force")
    )]
    FileExists {
        /// The file.
        path: PathBuf,
    },
    /// A manifest of another store.
    #[error("{} keeps its outputs in another store, {}", manifest.display(), store.display())]
    #[diagnostic(
        code(fluxpipe::cli::other_store),
        help(
            "name manifests with the same output folder; look after the other store with a command of its own"
        )
    )]
    OtherStore {
        /// The manifest.
        manifest: PathBuf,
        /// Its store.
        store: PathBuf,
    },
    /// A weight file holds another network than the manifest says.
    #[error("[models] {role} names {}, which holds {found}", path.display())]
    #[diagnostic(
        code(fluxpipe::cli::wrong_network),
        help("name the file of the right network; `fluxpipe inspect {}` says more", path.display())
    )]
    WrongNetwork {
        /// Name in `[models]`.
        role: &'static str,
        /// The file.
        path: PathBuf,
        /// What it holds, in words.
        found: String,
    },
    /// `generate` is not told where a network is.
    #[error("no file is named for `{role}`")]
    #[diagnostic(
        code(fluxpipe::cli::no_model),
        help("write `--{} FILE`, or name a manifest whose [models] has it", role.replace('_', "-"))
    )]
    NoModel {
        /// Name in `[models]`.
        role: &'static str,
    },
    /// A weight file of the command line holds another network.
    #[error("{} is to be `{role}` and holds {found}", path.display())]
    #[diagnostic(
        code(fluxpipe::cli::wrong_network),
        help("name the file of the right network; `fluxpipe inspect {}` says more", path.display())
    )]
    WrongFile {
        /// Name in `[models]`.
        role: &'static str,
        /// The file.
        path: PathBuf,
        /// What it holds, in words.
        found: String,
    },
    /// `generate` with a manifest whose training has published nothing.
    #[error("there is no checkpoint in {} yet", folder.display())]
    #[diagnostic(
        code(fluxpipe::cli::no_checkpoint),
        help(
            "`fluxpipe run` trains one; `--checkpoint FILE` draws with any other file, also the model of the manifest itself"
        )
    )]
    NoCheckpoint {
        /// The output folder.
        folder: PathBuf,
    },
    /// `generate --compare` without a second model.
    #[error("there is one model, so nothing can be compared")]
    #[diagnostic(
        code(fluxpipe::cli::no_comparison),
        help(
            "name the model before with `--flux` and the one after with `--checkpoint`, or name a manifest"
        )
    )]
    NoComparison,
    /// A weight file cannot be used.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Weight(#[from] WeightsError),
    /// A graph cannot be used.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Graph(#[from] OnnxError),
    /// A tagger cannot be used.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Tagger(#[from] TaggerError),
    /// Nothing can be done about signals.
    #[error("cannot listen for Ctrl-C: {0}")]
    #[diagnostic(code(fluxpipe::cli::signal), help("another handler is in the way: report this"))]
    Signal(ctrlc::Error),
    /// A file does not hold what a graph is to be run on.
    #[error("{} does not hold the inputs of {}: {}", path.display(), graph.display(), problems.join("; "))]
    #[diagnostic(
        code(fluxpipe::cli::inputs),
        help("name each tensor in the file after an input of the graph: `fluxpipe inspect {}` lists them", graph.display())
    )]
    GraphInputs {
        /// The file.
        path: PathBuf,
        /// The graph.
        graph: PathBuf,
        /// What is wrong with each tensor, in words.
        problems: Vec<String>,
    },
    /// `inspect --run` on something that is no graph.
    #[error("{} is no ONNX graph, so it cannot be run", path.display())]
    #[diagnostic(
        code(fluxpipe::cli::no_graph),
        help("`--run` takes a file whose name ends in .onnx")
    )]
    NoGraph {
        /// The file.
        path: PathBuf,
    },
    /// A file that `inspect` has no reader for.
    #[error("there is no {}", path.display())]
    #[diagnostic(code(fluxpipe::cli::missing), help("check the path"))]
    NoFile {
        /// The path.
        path: PathBuf,
    },
}
