//! Changes of bytes that know no format, but for the words that occur in it.

use crate::random::Random;

/// Inputs stay below this, so that a case takes microseconds.
const LONGEST: usize = 64 * 1024;

/// One to a few changes.
pub fn bytes(random: &mut Random, input: &mut Vec<u8>, others: &[Vec<u8>], words: &[&[u8]]) {
    for _ in 0..random.few(8) {
        change(random, input, others, words);
        input.truncate(LONGEST);
    }
}

fn change(random: &mut Random, input: &mut Vec<u8>, others: &[Vec<u8>], words: &[&[u8]]) {
    let at = place(random, input.len());
    let length = (1 << random.below(8)).min(input.len() - at);
    match random.below(12) {
        0 => flip(random, input, at),
        1 => set(random, input, at),
        2 => number(random, input, at),
        3 if !words.is_empty() => insert(input, at, random.pick::<&[u8]>(words)),
        4 if !words.is_empty() => overwrite(input, at, random.pick::<&[u8]>(words)),
        5 => drop(input.drain(at..at + length)),
        6 => {
            let copied = input[at..at + length].to_vec();
            let to = place(random, input.len());
            insert(input, to, &copied);
        }
        7 => repeat(random, input, at, length),
        8 => input.truncate(at),
        9 => {
            let other = random.pick(others);
            let from = place(random, other.len());
            let taken = other[from..].iter().copied().take(1 << random.below(10));
            let taken: Vec<u8> = taken.collect();
            insert(input, at, &taken);
        }
        10 => {
            let new: Vec<u8> = (0..1 << random.below(6)).map(|_| random.byte()).collect();
            insert(input, at, &new);
        }
        _ => flip(random, input, at),
    }
}

/// A place in the input; more often near its start, where headers are.
fn place(random: &mut Random, length: usize) -> usize {
    match random.below(3) {
        0 => random.below(length.min(96) + 1),
        _ => random.below(length + 1),
    }
}

fn flip(random: &mut Random, input: &mut [u8], at: usize) {
    if let Some(byte) = input.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

fn set(random: &mut Random, input: &mut [u8], at: usize) {
    const EDGES: [u8; 9] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'\n', b'0', 0x1b];
    let value = if random.one_of(2) { random.byte() } else { *random.pick(&EDGES) };
    if let Some(byte) = input.get_mut(at) {
        *byte = value;
    }
}

/// A number of one to eight bytes, either byte first.
fn number(random: &mut Random, input: &mut [u8], at: usize) {
    let size = 1 << random.below(4);
    let value = random.edge();
    let bytes = match random.one_of(2) {
        true => value.to_le_bytes()[..size].to_vec(),
        false => value.to_be_bytes()[8 - size..].to_vec(),
    };
    overwrite(input, at, &bytes);
}

fn insert(input: &mut Vec<u8>, at: usize, new: &[u8]) {
    input.splice(at..at, new.iter().copied());
}

fn overwrite(input: &mut [u8], at: usize, new: &[u8]) {
    input[at..].iter_mut().zip(new).for_each(|(old, new)| *old = *new);
}

/// The same again and again: depth, where it opens something.
fn repeat(random: &mut Random, input: &mut Vec<u8>, at: usize, length: usize) {
    let piece = input[at..at + length.min(16)].to_vec();
    let times = 1 << random.below(12);
    insert(input, at, &piece.repeat(times)[..(piece.len() * times).min(LONGEST)]);
}
