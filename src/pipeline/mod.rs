//! Floor 3: the engine. It decides which items of which stages must run, runs them, and keeps what
//! they made.
//!
//! One function decides; [`plan`], [`why`] and [`run`] all show or carry out that one
//! decision. Stages come in through the [`Stage`] trait; the engine knows no concrete stage, no
//! tensor library and no screen.

mod cost;
mod decide;
mod decision;
mod error;
mod event;
mod explain;
#[doc(hidden)]
pub mod fake;
mod graph;
mod history;
mod key;
mod ledger;
mod output;
mod plan;
mod preflight;
mod publish;
mod reason;
mod run;
mod stage;
mod store;
mod why;

pub use cost::{Amount, Cost, NoRoom, REST, Range, Smaller, StageCost, Total, add_costs, one_each};
pub use decision::{Cause, Decision, Difference, ItemRef, ItemState};
pub use error::{BoxedDiagnostic, RunError};
pub use event::{Event, ItemFailure, Stopped, Tally};
pub use graph::{Graph, GraphError, Node, Selection};
pub use history::{PastReason, PastRun, PastStage};
pub use key::{KeyPart, Origin, digest};
pub use ledger::{Ledger, Whose};
pub use output::{Blob, Content, Draft, INLINE_LIMIT, Output};
pub use plan::{Counts, Plan, Reason, StagePlan, StageState, add_notes, plan};
pub use preflight::Preflight;
pub use run::{RunOptions, StageSummary, Summary, run};
pub use stage::{
    Finished, Frequency, Given, ItemSpec, Note, Owner, Publication, Published, Recipe, Seen, Stage,
    StageError, Upstream, UpstreamItem, Warning, Words, Work,
};
pub use store::{Lost, Store, StoreError};
pub use why::{Account, Against, Why, why};
