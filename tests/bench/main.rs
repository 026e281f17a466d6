//! How long the networks take on this machine, with random weights of full size.
//!
//! `cargo bench --bench speed -- label` (or `t5`, `clip`, `ae`, `optimizer`) and `-- tagger GRAPH.onnx`; `tests/bench/peers.py` makes the
//! graph and times the same work in the public Python packages. Each figure is the median of some runs
//! after one that is not counted. `docs/benchmarks.md` says how to read them.

mod ae;
mod label;
mod optimizer;
mod tagger;
mod texts;

use std::{process::ExitCode, time::Instant};

fn main() -> ExitCode {
    fluxpipe::device::memory::keep();
    // Cargo puts `--bench` among the arguments.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["label"] => label::run(),
        ["optimizer"] => optimizer::run(),
        ["t5"] => texts::t5(),
        ["clip"] => texts::clip(),
        ["ae"] => ae::run(),
        ["ae", levels, side] => match (levels.parse(), side.parse()) {
            (Ok(levels), Ok(side)) => ae::bands(levels, side),
            _ => return ExitCode::from(2),
        },
        ["tagger", graph] => tagger::run(graph.as_ref()),
        _ => {
            eprintln!(
                "cargo bench --bench speed -- label | t5 | clip | optimizer | ae [LEVELS SIDE] | tagger GRAPH.onnx"
            );
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
