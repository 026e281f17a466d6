//! Why a plan or a run ends early.

use miette::Diagnostic;
use thiserror::Error;

use super::{GraphError, StageError, StoreError};
use crate::base::plural;

/// Any diagnostic, as an error that can be a source of another.
pub type BoxedDiagnostic = Box<dyn Diagnostic + Send + Sync + 'static>;

/// Why a plan or a run ends early. What was committed before stays in the store.
#[derive(Debug, Error, Diagnostic)]
pub enum RunError {
    /// The selection names a stage that is not there.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Graph(#[from] GraphError),

    /// The store cannot be read or written.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] StoreError),

    /// A stage cannot go on.
    #[error("stage `{stage}` failed")]
    #[diagnostic(code(fluxpipe::pipeline::stage_failed))]
    Stage {
        /// Its name.
        stage: String,
        /// Why.
        #[source]
        #[diagnostic_source]
        error: BoxedDiagnostic,
    },

    /// What a stage has to do cannot be told.
    #[error("what stage `{stage}` has to do cannot be told")]
    #[diagnostic(code(fluxpipe::pipeline::not_planned))]
    NotPlanned {
        /// Its name.
        stage: String,
        /// Why.
        #[source]
        #[diagnostic_source]
        error: BoxedDiagnostic,
    },

    /// A stage has a programming error.
    #[error("stage `{stage}` panicked{}: {message}", at(item))]
    #[diagnostic(
        code(fluxpipe::pipeline::stage_panicked),
        help(
            "this is a fault of fluxpipe; what was finished is kept, and `fluxpipe run` goes on from there"
        )
    )]
    Panic {
        /// Its name.
        stage: String,
        /// The item in hand, where it is known.
        item: Option<String>,
        /// What the panic said.
        message: String,
    },

    /// Nothing of a stage is to run, so nothing can be accepted.
    #[error("there is nothing to accept: no item of `{stage}` is to run")]
    #[diagnostic(
        code(fluxpipe::pipeline::nothing_to_bless),
        help(
            "`fluxpipe plan` shows what is to run; bless accepts earlier outputs for items that are"
        )
    )]
    NothingToBless {
        /// Name of the stage.
        stage: String,
    },

    /// Items have no earlier output that could be accepted.
    #[error("{} of `{stage}` cannot be accepted:{told}", plural(*items, "item"))]
    #[diagnostic(code(fluxpipe::pipeline::not_blessed))]
    NotBlessed {
        /// Name of the stage.
        stage: String,
        /// How many.
        items: usize,
        /// Why, a line for each reason.
        told: String,
        /// What to do.
        #[help]
        help: String,
    },

    /// Another process works on a stage.
    #[error("stage `{stage}` is being run by {by}")]
    #[diagnostic(code(fluxpipe::pipeline::busy), help("wait until it is done, then try again"))]
    Busy {
        /// Name of the stage.
        stage: String,
        /// By whom.
        by: String,
    },

    /// No run is called so.
    #[error("there is no run `{run}`")]
    #[diagnostic(code(fluxpipe::pipeline::unknown_run))]
    UnknownRun {
        /// What was asked for.
        run: String,
        /// What there is.
        #[help]
        help: String,
    },

    /// A stage returned without an output or a failure for an item.
    #[error("stage `{stage}` ended and left out `{item}` and {more} more")]
    #[diagnostic(
        code(fluxpipe::pipeline::item_left_out),
        help("this is a fault of fluxpipe; `fluxpipe run` tries the items again")
    )]
    LeftOut {
        /// Its name.
        stage: String,
        /// The first item left out.
        item: String,
        /// How many besides.
        more: usize,
    },

    /// A stage describes an item by two parts of one name, so that its key would miss one of them.
    #[error("stage `{stage}` names the key part `{part}` of `{item}` twice")]
    #[diagnostic(
        code(fluxpipe::pipeline::part_twice),
        help("this is a fault of fluxpipe; please report it")
    )]
    PartTwice {
        /// Its name.
        stage: String,
        /// The item, or the recipe.
        item: String,
        /// The name.
        part: String,
    },

    /// A stage has two items of one recipe and one name: what one of them made would be lost.
    #[error("stage `{stage}` has two items `{item}` of the recipe `{recipe}`")]
    #[diagnostic(
        code(fluxpipe::pipeline::item_twice),
        help("this is a fault of fluxpipe; please report it")
    )]
    ItemTwice {
        /// Its name.
        stage: String,
        /// The item.
        item: String,
        /// The recipe.
        recipe: String,
    },

    /// A recipe depends on what a stage makes; only items may.
    #[error("stage `{stage}`: the part `{part}` of the recipe `{recipe}` has no value")]
    #[diagnostic(
        code(fluxpipe::pipeline::pending_recipe),
        help("this is a fault of fluxpipe; please report it")
    )]
    PendingRecipe {
        /// Its name.
        stage: String,
        /// The recipe.
        recipe: String,
        /// The part.
        part: String,
    },

    /// An item refers to a recipe that its stage has not.
    #[error("stage `{stage}`: `{item}` is made by {recipe}, and there is no such recipe")]
    #[diagnostic(
        code(fluxpipe::pipeline::unknown_recipe),
        help("this is a fault of fluxpipe; please report it")
    )]
    UnknownRecipe {
        /// Its name.
        stage: String,
        /// The item.
        item: String,
        /// The recipe.
        recipe: String,
    },

    /// `on_bad_image = "fail"`, and an item failed in an earlier run.
    #[error("stage `{stage}`: `{item}` failed in an earlier run: {message}")]
    #[diagnostic(
        code(fluxpipe::pipeline::bad_item),
        help("mend or remove it, or leave such items out with `on_bad_image = \"skip\"`")
    )]
    BadItem {
        /// Name of the stage.
        stage: String,
        /// The item.
        item: String,
        /// Why it failed.
        message: String,
    },

    /// Nothing is left for a stage: all that it would have read failed before.
    #[error(
        "stage `{stage}` has nothing left to work on: {items} of `{upstream}` failed, and none is left"
    )]
    #[diagnostic(
        code(fluxpipe::pipeline::nothing_left),
        help("mend or replace what failed; `fluxpipe why MANIFEST {upstream}` shows it")
    )]
    NothingLeft {
        /// Its name.
        stage: String,
        /// Name of a stage that it reads.
        upstream: String,
        /// How many items of that stage failed, with the noun.
        items: String,
    },

    /// A selected stage reads what a stage outside the selection has still to make.
    #[error(
        "stage `{stage}` reads {items} items of `{upstream}` that are not up to date, and `{upstream}` is not selected"
    )]
    #[diagnostic(
        code(fluxpipe::pipeline::upstream_not_ready),
        help("run `{upstream}` too: leave out --only, or start with `--from {upstream}`")
    )]
    NotReady {
        /// Name of the selected stage.
        stage: String,
        /// Name of the stage that must run first.
        upstream: String,
        /// How many of its items.
        items: usize,
    },

    /// Several stages failed (`--keep-going`).
    #[error("{} stages failed", errors.len())]
    #[diagnostic(code(fluxpipe::pipeline::stages_failed))]
    Several {
        /// One error per failed stage.
        #[related]
        errors: Vec<RunError>,
    },

    /// The user asked to stop.
    #[error("stopped on request")]
    #[diagnostic(
        code(fluxpipe::pipeline::cancelled),
        help("what was finished is kept; `fluxpipe run` goes on from there")
    )]
    Cancelled,

    /// `why` was asked about an item that the stage has not.
    #[error("stage `{stage}` has no item `{item}`")]
    #[diagnostic(code(fluxpipe::pipeline::unknown_item))]
    UnknownItem {
        /// Name of the stage.
        stage: String,
        /// What was asked for.
        item: String,
        /// What to do.
        #[help]
        help: String,
    },
}

impl RunError {
    /// The error of a stage.
    pub(super) fn stage(stage: &str, error: StageError) -> Self {
        Self::Stage { stage: stage.to_owned(), error: error.into() }
    }

    /// What to tell of a stage that is named beside it: the stage's own diagnostic.
    pub(super) fn innermost(&self) -> &dyn Diagnostic {
        match self {
            Self::Stage { error, .. } | Self::NotPlanned { error, .. } => error.as_ref(),
            _ => self,
        }
    }
}

fn at(item: &Option<String>) -> String {
    item.as_ref().map_or_else(String::new, |item| format!(" at `{item}`"))
}
