//! Floor 3: the engine. It decides which items of which stages must run, runs them, and keeps what
//! they made.
//!
//! One function decides; [`plan`], [`why`] and [`run`] all show or carry out that one
//! decision. Stages come in through the [`Stage`] trait; the engine knows no concrete stage, no
//! tensor library and no screen.

mod bless;
mod cost;
mod decide;
mod decision;
mod error;
mod event;
mod explain;
#[doc(hidden)]
pub mod fake;
mod files;
mod graph;
mod history;
pub mod housekeeping;
mod key;
mod ledger;
mod nearest;
mod output;
mod plan;
mod preflight;
mod provenance;
mod publish;
mod reason;
mod run;
mod stage;
mod store;
mod why;

pub use bless::{
    Accepted, BlessOptions, Blessed, BlessedStage, Blessing, Blessings, Refusal, Refused, bless,
};
pub use cost::{Amount, Cost, NoRoom, REST, Range, Smaller, StageCost, Total, add_costs, one_each};
pub use decision::{Cause, Decision, Difference, ItemRef, ItemState};
pub use error::{BoxedDiagnostic, RunError};
pub use event::{Event, ItemFailure, Stopped, Tally};
pub use files::{Changed, FileList, Sign};
pub use graph::{Graph, GraphError, Node, Selection};
pub use history::{
    ItemDifference, PastReason, PastRun, PastStage, Requested, RunOutcome, StageDifference,
    difference,
};
pub use key::{KeyPart, Origin, digest};
pub use ledger::{Ledger, Whose};
pub use output::{Blob, Content, Draft, INLINE_LIMIT, Output};
pub use plan::{Counts, Plan, Reason, StagePlan, StageState, add_notes, plan};
pub use preflight::Preflight;
pub use provenance::{Known, Model, Provenance, Source, provenance, stores_about};
pub use run::{Request, RunOptions, StageSummary, Summary, run};
pub use stage::{
    Finished, Frequency, Given, ItemSpec, Note, Owner, Publication, Published, Recipe, Seen, Stage,
    StageError, Upstream, UpstreamItem, Warning, Words, Work,
};
pub use store::{Lost, Store, StoreError};
pub use why::{Account, Against, Part, Why, why};
