//! The rules of the house: which module may know which, what goes through one place, schemas that are up to date, and the words
//! of every diagnostic.

mod diagnostics;
mod disk;
mod import_page;
mod layers;
mod memory_table;
mod output_schemas;
mod schemas;
