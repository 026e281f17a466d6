//! The table of `docs/training.md` that says what fits on which card is what the planner says.
//! `UPDATE_DOCS=1` writes it anew.

use std::{env, fs, path::Path};

use burn::tensor::FloatDType;
use fluxpipe::{
    base::bytes,
    models::flux::FluxConfig,
    train::memory::{Free, Plan, PlanError, Step, Wishes},
};

const BEGIN: &str = "<!-- made by tests/house/memory_table.rs -->\n";
const END: &str = "<!-- end -->";

const GB: u64 = 1_000_000_000;

/// Cards by what is printed on them, and what of it is left to the driver and to others.
const CARDS: [u64; 6] = [12, 16, 24, 48, 80, 141];
const TO_OTHERS: u64 = GB;

fn step(stored: FloatDType, side: usize) -> Step {
    Step {
        config: FluxConfig::DEV,
        batch: 1,
        accumulated: 1,
        picture_tokens: (side / 16).pow(2),
        text_tokens: 512,
        stored,
        compute: stored,
        // Adafactor's moments are factored.
        state: 0,
        averages: 0,
        backward: true,
        trained: vec![true; 57],
        has_memory: true,
    }
}

fn row(card: u64, stored: FloatDType, name: &str, side: usize) -> String {
    let free = Free { device: card * GB - TO_OTHERS, host: u64::MAX };
    let cells = match Plan::choose(&step(stored, side), Wishes::default(), free) {
        Ok(plan) => {
            let host =
                if plan.takes.host == 0 { "none".to_owned() } else { bytes(plan.takes.host) };
            let (swapped, kept) = (plan.swapped(), plan.kept());
            format!("{swapped} | {kept} | {} | {host}", bytes(plan.takes.device))
        }
        Err(PlanError::Device { needed, .. }) => {
            format!("does not fit | | {} at least | ", bytes(needed))
        }
        Err(other) => panic!("{other}"),
    };
    format!("| {card} GB | {name} | {side}² | {cells} |\n")
}

fn table() -> String {
    let mut table = "| card | weights | picture | blocks swapped, of 57 | blocks whose values are kept | device memory | host memory |\n|---|---|---|---|---|---|---|\n".to_owned();
    for card in CARDS {
        for (stored, name) in [(FloatDType::BF16, "bf16"), (FloatDType::F32, "f32")] {
            for side in [512, 1024] {
                table += &row(card, stored, name, side);
            }
        }
    }
    table
}

#[test]
fn the_page_says_what_the_planner_chooses() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/training.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the table's beginning");
    let (found, after) = rest.split_once(END).expect("the table's end");
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, [before, BEGIN, &table(), END, after].concat()).unwrap();
        return;
    }
    assert_eq!(found, table(), "docs/training.md is stale: UPDATE_DOCS=1 cargo test house");
}
