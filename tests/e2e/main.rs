//! The whole pipeline as its users see it: the binary carries real pictures through all five stages
//! on the small networks of the demo, and every item that a plan announces and a run makes is counted.

mod bad_pictures;
mod before;
mod bless;
mod by_hand;
mod captions;
mod damage;
mod datasets;
mod demo;
mod edits;
mod elsewhere;
mod errors;
mod exactly;
mod faults;
mod generate;
mod idle;
mod import;
mod inspect;
mod kill;
mod label;
mod log;
mod losses;
mod output;
mod pictures;
mod project;
mod report;
mod resume;
mod samples;
mod share;
mod store;
mod tag;
mod taggers;
mod texts;
mod together;
mod upgrade;
mod views;
mod why;

pub use project::{Project, Run};
