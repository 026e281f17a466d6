//! Floor 5: what people and programs see. The only place that prints.
//!
//! Each module turns what the floors below say (a plan, events, diagnostics) into text; [`screen`]
//! alone writes it. Knows no stage's insides and decides nothing: what it shows was decided before.

mod captions;
mod diag;
mod events;
mod generating;
mod graph;
mod html;
mod inspect;
mod losses;
mod machine;
pub mod panic;
mod places;
mod plan;
mod progress;
mod project;
mod schema;
pub mod screen;
mod store;
mod summary;
mod theme;
mod why;
mod words;

pub use captions::captions;
pub use diag::{diagnostic, diagnostics};
pub use events::json_line;
pub use generating::{Generating, picture_written};
pub use graph::{Drawing, Node, Standing};
pub use html::html;
pub use inspect::{GraphRun, PictureFile, Tensor, WeightFile};
pub use losses::losses;
pub use machine::{Machine, machine};
pub use places::Places;
pub use plan::{has_work, plan};
pub use progress::{Progress, above_bars};
pub use project::{
    checked, demo_written, initialised, note, page_not_written, page_written, pictures_drawn, shown,
};
pub use schema::{
    CACHE_DU_SCHEMA, CACHE_EXPORT_SCHEMA, CACHE_GC_SCHEMA, CACHE_IMPORT_SCHEMA,
    CACHE_VERIFY_SCHEMA, CAPTIONS_SCHEMA, EVENT_SCHEMA, LOSSES_SCHEMA, PLAN_SCHEMA,
    cache_du_schema, cache_export_schema, cache_gc_schema, cache_import_schema,
    cache_verify_schema, captions_schema, event_schema, losses_schema, plan_schema,
};
pub use screen::{Look, stderr, stdout};
pub use store::{collected, exported, imported, used, verified};
pub use summary::Gathered;
pub use why::why;
