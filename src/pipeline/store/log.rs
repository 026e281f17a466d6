//! Logs: files of JSON lines that only grow, each line with a checksum of its own. A line that a
//! killed process left unfinished, or a damaged disk changed, is passed over and spoils no other.

use std::{
    io::{self, Read},
    path::Path,
};

use rayon::prelude::*;
use serde::Serialize;

use super::StoreError;

// `{"sum":"0123456789abcdef","body":` BODY `}`: fixed places, so that a reader need not parse a line
// to check it.
const HEAD: &str = r#"{"sum":""#;
const MIDDLE: &str = r#"","body":"#;
const SUM: usize = 16;
/// Bytes of a log that are read at a time.
const PIECE: u64 = 8 << 20;

const BODY: usize = HEAD.len() + SUM + MIDDLE.len();

/// Adds `body` as one line to `lines`.
///
/// # Errors
/// It holds what JSON cannot, such as a path that is not Unicode.
pub fn write_line<T: Serialize>(lines: &mut Vec<u8>, body: &T) -> io::Result<()> {
    let body = serde_json::to_vec(body)?;
    lines.extend(HEAD.as_bytes());
    lines.extend(sum(&body).as_bytes());
    lines.extend(MIDDLE.as_bytes());
    lines.extend(&body);
    lines.extend(b"}\n");
    Ok(())
}

/// The bodies of all whole lines in `bytes`, in order.
pub fn bodies(bytes: &[u8]) -> impl ParallelIterator<Item = &[u8]> {
    bytes.par_split_inclusive(|&byte| byte == b'\n').filter_map(|line| {
        let body = line.strip_suffix(b"}\n")?.get(BODY..)?;
        let whole = line.starts_with(HEAD.as_bytes())
            && line[HEAD.len()..].starts_with(sum(body).as_bytes())
            && line[HEAD.len() + SUM..].starts_with(MIDDLE.as_bytes());
        whole.then_some(body)
    })
}

/// Reads a log piece by piece, so that a long one is never in memory as a whole: gives the body of each
/// whole line to `read`, on all cores, and what that returns to `take`, in order. A log that is not there
/// yet has no lines.
///
/// # Errors
/// It is there and cannot be read.
pub fn each<T: Send>(
    path: &Path,
    read: impl Fn(&[u8]) -> Option<T> + Sync,
    take: impl FnMut(T),
) -> Result<(), StoreError> {
    let failed = |error| StoreError::read(path, error);
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let (mut bytes, mut take) = (Vec::new(), take);
    loop {
        let more = file.by_ref().take(PIECE).read_to_end(&mut bytes).map_err(failed)?;
        // What follows the last line end belongs to the next piece, or is a line left unfinished.
        let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        let found: Vec<T> = bodies(&bytes[..end]).filter_map(&read).collect();
        found.into_iter().for_each(&mut take);
        bytes.drain(..end);
        if more == 0 {
            return Ok(());
        }
    }
}

/// The log's bytes; none where there is no log yet.
///
/// # Errors
/// It is there and cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    match fs_err::read(path) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(StoreError::read(path, error)),
    }
}

fn sum(body: &[u8]) -> String {
    blake3::hash(body).to_hex()[..SUM].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

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
