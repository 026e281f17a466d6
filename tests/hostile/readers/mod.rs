//! The nine readers: good files, the words of their formats, and changes that keep a file's form.

mod json;
mod lists;
mod manifest;
mod onnx;
mod pictures;
mod pth;
mod safetensors;
mod sidecars;

use crate::{
    case::{Reader, fuzz},
    random::Random,
};

/// All of them.
pub const ALL: [&Reader; 9] = [
    &manifest::MANIFEST,
    &safetensors::SAFETENSORS,
    &pth::PTH,
    &onnx::ONNX,
    &lists::SELECTED_TAGS,
    &json::META_DATA,
    &pth::NPZ,
    &sidecars::SIDECARS,
    &pictures::PICTURES,
];

/// A test for each, so that they run side by side and can be named one by one.
macro_rules! tests {
    ($($name:ident: $place:expr),* $(,)?) => {
        $(#[test]
        fn $name() {
            assert_eq!(ALL[$place].name, stringify!($name));
            fuzz(ALL[$place]);
        })*
    };
}

tests! {
    manifest: 0,
    safetensors: 1,
    pth: 2,
    onnx: 3,
    selected_tags: 4,
    meta_data: 5,
    npz: 6,
    sidecars: 7,
    pictures: 8,
}

/// Replaces a run of digits of a text by another number.
fn renumber(random: &mut Random, text: &str) -> String {
    let starts: Vec<usize> = text
        .char_indices()
        .filter(|&(at, letter)| {
            letter.is_ascii_digit() && !text[..at].ends_with(|c: char| c.is_ascii_digit())
        })
        .map(|(at, _)| at)
        .collect();
    if starts.is_empty() {
        return text.to_owned();
    }
    let at = *random.pick(&starts);
    let end = text[at..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |end| at + end);
    let number = match random.below(6) {
        0 => format!("-{}", random.edge()),
        1 => format!("{}.5e{}", random.below(10), random.below(400)),
        2 => "9".repeat(1 + random.below(400)),
        _ => random.edge().to_string(),
    };
    format!("{}{number}{}", &text[..at], &text[end..])
}

/// Moves, drops or doubles lines of a text.
fn shuffle_lines(random: &mut Random, text: &str) -> String {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let at = random.below(lines.len());
    if lines.is_empty() {
        return String::new();
    }
    match random.below(3) {
        0 => drop(lines.remove(at)),
        1 => lines.insert(random.below(lines.len()), lines[at]),
        _ => {
            let other = random.below(lines.len());
            lines.swap(at, other);
        }
    }
    lines.concat()
}
