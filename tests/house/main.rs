//! The rules of the house: which module may know which, schemas that are up to date, and the words
//! of every diagnostic.

mod diagnostics;
mod layers;
mod output_schemas;
mod schemas;
