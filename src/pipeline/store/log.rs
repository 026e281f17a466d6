//! Logs: files of JSON lines that only grow, each line with a checksum of its own. A line that a
//! killed process left unfinished, or a damaged disk changed, is passed over and spoils no other.

use std::{
    io::{self, BufRead, Read},
    ops::Deref,
    path::Path,
};

use rayon::prelude::*;
use serde::Serialize;

use super::StoreError;
use crate::base::disk;

// `{"sum":"0123456789abcdef","body":` BODY `}`: fixed places, so that a reader need not parse a line
// to check it.
const HEAD: &str = r#"{"sum":""#;
const MIDDLE: &str = r#"","body":"#;
const SUM: usize = 16;
/// Bytes of a log that are read at a time.
const PIECE: u64 = 4 << 20;

const BODY: usize = HEAD.len() + SUM + MIDDLE.len();

/// Adds `body` as one line to `lines`.
///
/// # Errors
/// It holds what JSON cannot, such as a path that is not Unicode.
pub fn write_line<T: Serialize>(lines: &mut Vec<u8>, body: &T) -> io::Result<()> {
    let body = serde_json::to_vec(body)?;
    lines.extend(HEAD.as_bytes());
    lines.extend(&sum(&body).as_bytes()[..SUM]);
    lines.extend(MIDDLE.as_bytes());
    lines.extend(&body);
    lines.extend(b"}\n");
    Ok(())
}

/// The bodies of all whole lines in `bytes`, in order.
pub fn bodies(bytes: &[u8]) -> impl ParallelIterator<Item = &[u8]> {
    lines(bytes).into_par_iter().filter_map(|line| whole_body(line, |_| true))
}

/// The body of a line, if it is `wanted` and the line is whole; to find that out costs more than most
/// of what may decide whether it is wanted.
fn whole_body(line: &[u8], wanted: impl Fn(&[u8]) -> bool) -> Option<&[u8]> {
    let body = line.strip_suffix(b"}\n")?.get(BODY..).filter(|body| wanted(body))?;
    let whole = line.starts_with(HEAD.as_bytes())
        && line[HEAD.len() + SUM..].starts_with(MIDDLE.as_bytes())
        && line[HEAD.len()..].starts_with(&sum(body).as_bytes()[..SUM]);
    whole.then_some(body)
}

/// All lines with their ends.
fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut lines, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let start = rest;
        // Many bytes are compared at a time here, unlike in a search with a closure.
        let length = rest.skip_until(b'\n').unwrap_or(rest.len());
        lines.push(&start[..length]);
    }
    lines
}

/// Reads a log piece by piece, so that a long one is never in memory as a whole: gives the body of each
/// whole line that is `wanted` to `read`, on all cores, and what that returns to `take`, in order. A log
/// that is not there yet has no lines.
///
/// # Errors
/// It is there and cannot be read, or is no log of this version.
pub fn each<T: Send>(
    path: &Path,
    wanted: impl Fn(&[u8]) -> bool + Sync,
    read: impl Fn(&[u8]) -> Option<T> + Sync,
    mut take: impl FnMut(T),
) -> Result<(), StoreError> {
    let failed = |error| StoreError::read(path, error);
    let mut file = match disk::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    // Two pieces in turns: fresh memory for each would have to be cleared first.
    let (mut bytes, mut next) = (Vec::new(), Vec::new());
    file.by_ref().take(PIECE).read_to_end(&mut bytes).map_err(failed)?;
    ours(path, &bytes)?;
    while !bytes.is_empty() {
        // What follows the last line end belongs to the next piece, or is a line left unfinished.
        let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        if end == 0 {
            // A line that is longer than a piece, such as that of a training with all its samples.
            if file.by_ref().take(PIECE).read_to_end(&mut bytes).map_err(failed)? == 0 {
                return Ok(());
            }
            continue;
        }
        next.clear();
        next.extend_from_slice(&bytes[end..]);
        // The next piece comes while this one is looked through.
        let (found, more) = rayon::join(
            || {
                let lines = lines(&bytes[..end]).into_par_iter();
                lines.filter_map(|line| read(whole_body(line, &wanted)?)).collect::<Vec<T>>()
            },
            || file.by_ref().take(PIECE).read_to_end(&mut next),
        );
        found.into_iter().for_each(&mut take);
        if more.map_err(failed)? == 0 {
            return Ok(());
        }
        std::mem::swap(&mut bytes, &mut next);
    }
    Ok(())
}

/// The log's bytes; none where there is no log yet.
///
/// # Errors
/// It is there and cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    match disk::read(path) {
        Ok(bytes) => ours(path, &bytes).map(|()| bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(StoreError::read(path, error)),
    }
}

/// How many lines of a log are passed over.
///
/// # Errors
/// It is there and cannot be read.
pub fn broken(path: &Path) -> Result<usize, StoreError> {
    let bytes = read(path)?;
    // An empty line is what two writers leave who close one line.
    let lines = lines(&bytes).into_par_iter().filter(|line| *line != b"\n");
    Ok(lines.filter(|line| whole_body(line, |_| true).is_none()).count())
}

/// The whole lines of a log whose bodies are to be kept, and how many they are.
///
/// # Errors
/// It is there and cannot be read.
pub fn kept(
    path: &Path,
    keep: impl Fn(&[u8]) -> bool + Sync,
) -> Result<(Vec<u8>, usize), StoreError> {
    let bytes = read(path)?;
    let lines = lines(&bytes).into_par_iter();
    let kept: Vec<_> = lines.filter(|line| whole_body(line, &keep).is_some()).collect();
    Ok((kept.concat(), kept.len()))
}

/// Refuses a log in which no line is of the form that is known here: it is no log that was damaged, of which
/// some line would be left as it was.
fn ours(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut whole = bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| line.len() > 1);
    let known = |line: &[u8]| line.starts_with(HEAD.as_bytes());
    match whole.next() {
        // A first line without an end may be the beginning of one of ours.
        Some(first) if first.ends_with(b"\n") && !known(first) && !whole.any(known) => {
            Err(StoreError::Version { path: path.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Hex digits, of which a line begins with the first [`SUM`].
fn sum(body: &[u8]) -> impl Deref<Target = str> {
    blake3::hash(body).to_hex()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_in_order_whatever_the_length_of_its_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let lengths = |wanted: &(dyn Fn(&[u8]) -> bool + Sync)| {
            let mut lengths = Vec::new();
            each(&path, wanted, |body| Some(body.len()), |length| lengths.push(length)).unwrap();
            lengths
        };
        assert!(lengths(&|_| true).is_empty());
        // Lines that end with a piece, in the next one, and two pieces on; the last is unfinished.
        let piece = PIECE as usize;
        let texts = [10, piece - 200, 20, 2 * piece + 7, 30, piece, 40].map(|n| "x".repeat(n));
        let mut bytes = Vec::new();
        texts.iter().for_each(|text| write_line(&mut bytes, text).unwrap());
        fs_err::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let whole: Vec<_> = texts[..6].iter().map(|text| text.len() + 2).collect();
        assert_eq!(lengths(&|_| true), whole);
        assert_eq!(lengths(&|body| body.len() < 40), [12, 22, 32]);
    }

    #[test]
    fn a_log_of_another_form_is_named_and_a_damaged_one_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut line = Vec::new();
        write_line(&mut line, &[7]).unwrap();
        let read_all = |bytes: &[u8]| {
            fs_err::write(&path, bytes).unwrap();
            let mut count = 0;
            each(&path, |_| true, |_| Some(()), |()| count += 1).and(read(&path)).map(|_| count)
        };
        let other = b"2 7 0123\n2 8 4567\n";
        for foreign in [&other[..], b"v2\n", b"{\"check\":1}\n2 8"] {
            assert!(matches!(read_all(foreign), Err(StoreError::Version { .. })), "{foreign:?}");
        }
        assert_eq!(read_all(&[&other[..], &line].concat()).unwrap(), 1);
        for torn in [&b""[..], b"\n", &line[..9], b"2 7 01"] {
            assert_eq!(read_all(torn).unwrap(), 0, "{torn:?}");
        }
    }

    #[test]
    fn torn_and_damaged_lines_are_passed_over() {
        let mut bytes = Vec::new();
        for number in 0..4 {
            write_line(&mut bytes, &[number]).unwrap();
        }
        let line = bytes.len() / 4;
        let read = |bytes: &[u8]| -> Vec<Vec<u8>> { bodies(bytes).map(<[u8]>::to_vec).collect() };
        assert_eq!(read(&bytes), [b"[0]", b"[1]", b"[2]", b"[3]"]);
        assert!(serde_json::from_slice::<serde_json::Value>(&bytes[..line]).is_ok());
        for cut in 0..=bytes.len() {
            assert_eq!(read(&bytes[..cut]).len(), cut / line, "cut at {cut}");
        }
        // A changed byte costs at most its own line, or at a line's end the next one too; and what is
        // read is what was written.
        let whole = read(&bytes);
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            let found = read(&damaged);
            assert!(found.len() >= 2, "changed at {place}");
            assert!(found.iter().all(|body| whole.contains(body)), "changed at {place}");
        }
    }
}
