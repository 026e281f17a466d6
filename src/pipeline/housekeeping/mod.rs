//! What people do with a store as a whole: look whether all of it is whole, see what takes the room, and
//! clear what nothing needs (ADR 20). Generic over stages, like the rest of the engine; prints nothing.

mod bundle;
mod collect;
mod survey;
mod usage;
mod verify;

pub use bundle::{Bundle, Imported, export, import};
pub use collect::{Collected, Limits, Removed, collect};
pub use survey::Roots;
pub use usage::{Usage, UsedBy, usage};
pub use verify::{Finding, Verified, verify};
