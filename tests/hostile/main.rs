//! Files that somebody else made, and that are not what they say: damaged, cut off, or made to harm.
//!
//! [`readers`] changes good files at random, in ways that their formats allow, and reads what comes of it:
//! no panic, no long wait, no more memory than a stated limit, an error that says what to do. What was found
//! so lies in `findings` and is read again each time. [`attacks`] are files made by hand, each against one
//! promise of `docs/reliability.md`.
//!
//! `FLUXPIPE_FUZZ_CASES` says how many cases each reader gets, `FLUXPIPE_FUZZ_SEED` which, and
//! `FLUXPIPE_FUZZ_CASE` names the one case that is to be read again.

mod attacks;
mod case;
mod findings;
mod made;
mod memory;
mod mutate;
mod random;
mod readers;
