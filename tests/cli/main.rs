//! The program as its users meet it: the binary, run in folders of its own.

mod bench;
mod captions;
mod errors;
mod generate;
mod help;
mod import;
mod init;
mod inspect;
mod outputs;
mod project;
mod report;
mod schema;

pub use project::Project;
