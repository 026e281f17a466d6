//! The rules of the house: which module may know which, schemas that are up to date, and the words
//! of every diagnostic.

mod diagnostics;
mod layers;
mod memory_table;
mod output_schemas;
mod schemas;
