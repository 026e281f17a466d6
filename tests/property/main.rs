//! Tests of the engine with scripted stages: plan against run over random edits, crashes, two processes
//! at once, and the rules of the store and the ledger.

mod crash;
mod edits;
mod large;
mod rules;
mod sidecars;
mod world;
