//! Floor 5: what people and programs see. The only place that prints.
//!
//! Each module turns what the floors below say (a plan, events, diagnostics) into text; [`screen`]
//! alone writes it. Knows no stage's insides and decides nothing: what it shows was decided before.

mod bless;
mod captions;
mod diag;
mod events;
mod generating;
mod graph;
mod html;
mod import;
mod inspect;
mod log;
mod losses;
mod machine;
pub mod panic;
mod places;
mod plan;
mod progress;
mod project;
mod provenance;
mod schema;
pub mod screen;
mod store;
mod summary;
mod theme;
mod why;
mod words;

pub use bless::blessing;
pub use captions::captions;
pub use diag::{diagnostic, diagnostics};
pub use events::json_line;
pub use generating::{Generating, picture_written};
pub use graph::{Drawing, Node, Standing};
pub use html::html;
pub use import::imported;
pub use inspect::{GraphRun, PictureFile, Tensor, WeightFile};
pub use log::{ManifestDifference, RunDifference, RunList, RunTold, SetDifference};
pub use losses::losses;
pub use machine::{Machine, machine};
pub use places::Places;
pub use plan::{has_work, plan};
pub use progress::{Progress, above_bars};
pub use project::{
    checked, demo_written, initialised, note, page_not_written, page_written, pictures_drawn, shown,
};
pub use provenance::{Inspected, InspectedFile, PlainFile};
pub use schema::{schema, schemas};
pub use screen::{Look, stderr, stdout};
pub use store::{bundle_imported, collected, exported, used, verified};
pub use summary::Gathered;
pub use why::why;
