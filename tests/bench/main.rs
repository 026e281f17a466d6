//! How long parts of a training step take on this machine, at the full width of FLUX.1: `fluxpipe bench`
//! measures whole networks and steps.
//!
//! `cargo bench --bench speed -- flux` (or `optimizer`, `ordinary HIDDEN SIDE TEXT`). Each time is the median of
//! some runs after one that is not
//! counted. `docs/benchmarks.md` says how to read them.

mod flux;
mod optimizer;
mod ordinary;

use std::{process::ExitCode, time::Instant};

fn main() -> ExitCode {
    fluxpipe::device::memory::keep();
    // Cargo puts `--bench` among the arguments.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["flux"] => flux::run(3072),
        ["optimizer"] => optimizer::run(),
        ["ordinary", hidden, side, text] => match (hidden.parse(), side.parse(), text.parse()) {
            (Ok(hidden), Ok(side), Ok(text)) => ordinary::run(hidden, side, text),
            _ => return ExitCode::from(2),
        },
        _ => {
            eprintln!("cargo bench --bench speed -- flux | optimizer | ordinary HIDDEN SIDE TEXT");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// Prints the median, least and greatest seconds of `runs` runs of `work`.
fn time(name: &str, runs: usize, mut work: impl FnMut()) {
    work();
    let mut seconds: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let [least, median, most] = [0, runs / 2, runs - 1].map(|index| seconds[index]);
    println!("{name:<40} {median:8.3} s   {least:.3} to {most:.3}, {runs} runs");
}
