//! What can be wrong with a manifest. All mistakes are reported at once, each at its place.

use std::{fmt, path::PathBuf, sync::Arc};

use miette::{Diagnostic, LabeledSpan, SourceCode};

use super::source::{Place, Source};
use crate::base::plural;

/// Everything that is wrong with a manifest, in the order of the file.
#[derive(Debug, thiserror::Error)]
#[error("{} in {}", plural(errors.len(), "error"), path.display())]
pub struct ManifestErrors {
    /// The manifest.
    pub path: PathBuf,
    /// The mistakes; never empty.
    pub errors: Vec<ManifestError>,
}

impl ManifestErrors {
    /// Orders the mistakes by their place: those of the file first, then those of the command line.
    pub(super) fn in_order(source: &Source, mut errors: Vec<ManifestError>) -> Self {
        let in_file = |place: &Place| Arc::ptr_eq(place.text.inner(), &source.text);
        errors.sort_by_key(|error| match &error.place {
            Some(place) if in_file(place) => (0, place.range.start),
            Some(_) => (1, 0),
            None => (2, 0),
        });
        Self { path: source.path.clone(), errors }
    }
}

impl Diagnostic for ManifestErrors {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new("fluxpipe::manifest"))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.errors.iter().map(|error| error as &dyn Diagnostic)))
    }
}

/// One mistake, with its places in the manifest or on the command line.
#[derive(Debug, thiserror::Error)]
#[error("{mistake}")]
pub struct ManifestError {
    /// What is wrong.
    pub mistake: Mistake,
    place: Option<Place>,
    labels: Vec<LabeledSpan>,
}

impl ManifestError {
    /// A mistake without a place: the manifest cannot be read at all.
    pub(super) fn nowhere(mistake: Mistake) -> Self {
        Self { mistake, place: None, labels: Vec::new() }
    }

    /// A mistake at a place, with a few words under it.
    pub(super) fn at(place: &Place, label: impl Into<String>, mistake: Mistake) -> Self {
        let label = LabeledSpan::new_primary_with_span(Some(label.into()), place.range.clone());
        Self { mistake, place: Some(place.clone()), labels: vec![label] }
    }

    /// Points at a second place too, if it is in the same text.
    pub(super) fn and_at(mut self, place: &Place, label: impl Into<String>) -> Self {
        if self.place.as_ref().is_some_and(|first| place.is_in(&first.text)) {
            self.labels.push(LabeledSpan::new_with_span(Some(label.into()), place.range.clone()));
        }
        self
    }

    /// Whether the mistake is one also if other lines of the file are broken: it lies in what is
    /// there, not in what is missing.
    pub(super) fn stands_alone(&self) -> bool {
        use Mistake as M;
        !matches!(
            self.mistake,
            M::MissingKey { .. }
                | M::MissingStage { .. }
                | M::MissingModel { .. }
                | M::UnknownStage { .. }
                | M::AmbiguousNeeds { .. }
                | M::NoDataset
                | M::NoStages
        )
    }

    /// Where the mistake stands in its text, in bytes.
    #[must_use]
    pub fn span(&self) -> Option<std::ops::Range<usize>> {
        self.place.as_ref().map(|place| place.range.clone())
    }
}

impl Diagnostic for ManifestError {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.mistake.code()
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.mistake.help()
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.place.as_ref().map(|place| &place.text as &dyn SourceCode)
    }
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Diagnostic)]
pub enum Mistake {
    /// The file cannot be read.
    #[error("cannot read the manifest {}: {reason}", path.display())]
    #[diagnostic(code(fluxpipe::manifest::read))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
        /// What to do.
        #[help]
        help: &'static str,
    },
    /// The text is not TOML.
    #[error("not valid TOML: {message}")]
    #[diagnostic(code(fluxpipe::manifest::syntax))]
    Syntax {
        /// What the parser says.
        message: String,
        /// What a line must look like.
        #[help]
        help: &'static str,
    },
    /// A `--set` does not name a value.
    #[error("cannot set `{path}`: {reason}")]
    #[diagnostic(code(fluxpipe::manifest::set))]
    Set {
        /// Dotted path.
        path: String,
        /// Why not.
        reason: String,
        /// What to do.
        #[help]
        help: String,
    },
    /// A key that its table does not have.
    #[error("there is no `{key}` in {table}")]
    #[diagnostic(code(fluxpipe::manifest::unknown_key))]
    UnknownKey {
        /// The key.
        key: String,
        /// The table, as in `[stages.label]`.
        table: String,
        /// A near key, or the keys that there are.
        #[help]
        help: String,
    },
    /// A flag that other trainers take and then leave without effect for a full fine-tuning of FLUX.
    #[error("`{flag}` has no effect: {reason}")]
    #[diagnostic(code(fluxpipe::manifest::ignored_flag))]
    IgnoredFlag {
        /// The flag.
        flag: String,
        /// Why it has none.
        reason: &'static str,
        /// What to do instead.
        #[help]
        help: String,
    },
    /// A value of another type.
    #[error("`{path}` must be {expected}, and is {found}")]
    #[diagnostic(code(fluxpipe::manifest::wrong_type))]
    WrongType {
        /// Dotted path.
        path: String,
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
        /// How to write it.
        #[help]
        help: String,
    },
    /// A word that is none of the known ones.
    #[error("`{path}` cannot be \"{value}\"")]
    #[diagnostic(code(fluxpipe::manifest::unknown_value))]
    UnknownValue {
        /// Dotted path.
        path: String,
        /// The word.
        value: String,
        /// The known ones.
        #[help]
        help: String,
    },
    /// A value of the right type that makes no sense.
    #[error("`{path}` must be {rule}")]
    #[diagnostic(code(fluxpipe::manifest::out_of_range))]
    OutOfRange {
        /// Dotted path.
        path: String,
        /// What it must be: `at least 1`.
        rule: String,
        /// How to put it right.
        #[help]
        help: String,
    },
    /// A key without which the table means nothing.
    #[error("{table} lacks `{key}`")]
    #[diagnostic(code(fluxpipe::manifest::missing_key))]
    MissingKey {
        /// The table, as in `[stages.finetune]`.
        table: String,
        /// The key.
        key: String,
        /// What the key means.
        #[help]
        help: String,
    },
    /// There is nothing to work on.
    #[error("the manifest names no pictures")]
    #[diagnostic(
        code(fluxpipe::manifest::no_dataset),
        help(
            "add a folder of pictures:\n[[dataset]]\nimage_dir = \"pictures\"\nresolution = 1024"
        )
    )]
    NoDataset,
    /// There is nothing to do.
    #[error("the manifest has no stages")]
    #[diagnostic(
        code(fluxpipe::manifest::no_stages),
        help(
            "add one, such as `[stages.label]`; the kinds are label, tag, merge, cache, finetune, sample"
        )
    )]
    NoStages,
    /// A name of a stage with letters that it cannot have.
    #[error("a stage cannot be called `{name}`")]
    #[diagnostic(
        code(fluxpipe::manifest::stage_name),
        help("use small letters, digits, `_` and `-`: names are also names of files")
    )]
    StageName {
        /// The name.
        name: String,
    },
    /// A stage whose kind is not known.
    #[error("{reason}")]
    #[diagnostic(code(fluxpipe::manifest::unknown_kind))]
    UnknownKind {
        /// What is wrong with it.
        reason: String,
        /// What to write.
        #[help]
        help: String,
    },
    /// `needs` names a stage that is not declared.
    #[error("`{stage}` needs `{need}`, and there is no such stage")]
    #[diagnostic(code(fluxpipe::manifest::unknown_stage))]
    UnknownStage {
        /// The stage.
        stage: String,
        /// The one it needs.
        need: String,
        /// A near name, or the names that there are.
        #[help]
        help: String,
    },
    /// Stages that wait for each other.
    #[error("stages wait for each other: {}", path.join(" → "))]
    #[diagnostic(
        code(fluxpipe::manifest::cycle),
        help("take one of these names out of its `needs`")
    )]
    Cycle {
        /// Names along the circle; the first comes last again.
        path: Vec<String>,
    },
    /// `needs` names a stage whose outputs this kind cannot read.
    #[error("`{stage}` of kind {kind} cannot read `{need}` of kind {need_kind}")]
    #[diagnostic(code(fluxpipe::manifest::wrong_need))]
    WrongNeed {
        /// The stage.
        stage: String,
        /// Its kind.
        kind: &'static str,
        /// The one it needs.
        need: String,
        /// The kind of that one.
        need_kind: &'static str,
        /// What the kind reads.
        #[help]
        help: String,
    },
    /// `needs` does not say which one of several stages it is, or names too many.
    #[error("`{stage}` reads one stage of kind {kind}, and could mean {}", among.join(", "))]
    #[diagnostic(code(fluxpipe::manifest::ambiguous_needs))]
    AmbiguousNeeds {
        /// The stage.
        stage: String,
        /// Kind of what it reads.
        kind: String,
        /// Those there are.
        among: Vec<String>,
        /// What to write.
        #[help]
        help: String,
    },
    /// A stage whose kind reads another one, and there is none.
    #[error("`{stage}` reads a stage of kind {kind}, and there is none")]
    #[diagnostic(code(fluxpipe::manifest::missing_stage))]
    MissingStage {
        /// The stage.
        stage: String,
        /// Kind of what it reads.
        kind: String,
        /// What to do.
        #[help]
        help: String,
    },
    /// A stage without the networks it uses.
    #[error("stages.{stage} needs [models] {}", models.join(", "))]
    #[diagnostic(code(fluxpipe::manifest::missing_model))]
    MissingModel {
        /// The stage.
        stage: String,
        /// Names in `[models]`.
        models: Vec<&'static str>,
        /// What to write.
        #[help]
        help: String,
    },
    /// Values that cannot hold together.
    #[error("{what}")]
    #[diagnostic(code(fluxpipe::manifest::conflict))]
    Conflict {
        /// Which ones, and why not.
        what: String,
        /// What to do.
        #[help]
        help: String,
    },
    /// A value that is stated and changes nothing beside another one.
    #[error("`{path}` has no effect: {reason}")]
    #[diagnostic(code(fluxpipe::manifest::no_effect))]
    NoEffect {
        /// Dotted path.
        path: String,
        /// Why it has none.
        reason: String,
        /// What to do.
        #[help]
        help: String,
    },
    /// A file or folder that is not there.
    #[error("`{}` does not exist", file.display())]
    #[diagnostic(code(fluxpipe::manifest::missing_file))]
    MissingFile {
        /// Where it was looked for.
        file: PathBuf,
        /// A near name, or what to do.
        #[help]
        help: String,
    },
    /// A file where a folder should be.
    #[error("{} is not a folder", file.display())]
    #[diagnostic(
        code(fluxpipe::manifest::not_a_folder),
        help("name the folder that the pictures are in")
    )]
    NotAFolder {
        /// The file.
        file: PathBuf,
    },
}
