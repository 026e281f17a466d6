//! Where in a `.pth` file its pickles lie: inside a zip archive, or one after the other at the start.
//! And where the arrays of a `.npz` file lie, which is a zip archive too.
//!
//! Knows the zip format as far as `torch.save` and `numpy.savez` use it (stored entries, zip64) and
//! nothing of what is in it. Nothing is unpacked and no name of an entry is a path.

use std::collections::BTreeSet;

/// The magic number that opens a file saved by PyTorch before 1.6, as the pickle encodes it.
const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// The same as the oldest protocols write it, in digits.
const LEGACY_DIGITS: &[u8] = b"119547037146038801333356";
/// Magic number, protocol, system, the saved object, the names of the storages.
const LEGACY_PICKLES: usize = 5;

/// The pickles of a file: `count` of them, one after the other, within `bytes`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pickles<'a> {
    pub bytes: &'a [u8],
    pub count: usize,
}

/// Finds the pickles of `file`.
///
/// # Errors
/// Says in words why they cannot be found.
pub(super) fn pickles(file: &[u8]) -> Result<Pickles<'_>, String> {
    // What is looked for here, and in which order, is what the reader of the tensors looks for: it must not
    // read another pickle than the one that was looked through.
    if file.starts_with(b"PK\x03\x04") || file.starts_with(b"PK\x05\x06") {
        return Ok(Pickles { bytes: stored_pickle(file)?, count: 1 });
    }
    if file.get(257..262) == Some(b"ustar") {
        return Err("it was saved by a PyTorch older than 0.1.10".to_owned());
    }
    let head = &file[..file.len().min(64)];
    let holds = |magic: &[u8]| head.windows(magic.len()).any(|bytes| bytes == magic);
    let legacy = holds(&LEGACY_MAGIC) || holds(LEGACY_DIGITS);
    Ok(Pickles { bytes: file, count: if legacy { LEGACY_PICKLES } else { 1 } })
}

/// Name and bytes of every entry, all of which are stored as they are.
///
/// # Errors
/// Says in words why they cannot be found.
pub(super) fn stored(file: &[u8]) -> Result<Vec<(String, &[u8])>, String> {
    let cut = || "the archive is cut off: its directory is missing".to_owned();
    let (mut at, entries) = directory(file).ok_or_else(cut)?;
    let mut found = Vec::new();
    let (mut names, mut room) = (BTreeSet::new(), file.len());
    for _ in 0..entries {
        let entry = Entry::read(file, at).ok_or_else(cut)?;
        at += entry.length;
        let name = String::from_utf8_lossy(entry.name).into_owned();
        if entry.method != 0 {
            return Err(format!("its {name} is compressed, which `numpy.savez` does not do"));
        }
        let data = entry.data(file).ok_or_else(|| format!("its {name} lies outside the file"))?;
        if !names.insert(entry.name) {
            return Err(format!("its {name} is there twice"));
        }
        // Many entries could name the same bytes, and be many times as large as the file.
        let left = room.checked_sub(data.len());
        room =
            left.ok_or("its arrays together are larger than the file: they share their bytes")?;
        found.push((name, data));
    }
    Ok(found)
}

/// The data of the entry `…/data.pkl`.
fn stored_pickle(file: &[u8]) -> Result<&[u8], String> {
    let cut = || "the archive is cut off: its directory is missing".to_owned();
    let (mut at, entries) = directory(file).ok_or_else(cut)?;
    let mut found: Option<(usize, Entry)> = None;
    for _ in 0..entries {
        let entry = Entry::read(file, at).ok_or_else(cut)?;
        at += entry.length;
        // What is packed may be a thousand times larger than the file.
        if entry.method != 0 {
            let name = String::from_utf8_lossy(entry.name);
            return Err(format!("its {name} is compressed, which torch.save does not do"));
        }
        let root = match entry.name.strip_suffix(b"data.pkl".as_slice()) {
            Some(root) if root.is_empty() || root.ends_with(b"/") => root.len(),
            _ => continue,
        };
        match &found {
            Some((shortest, _)) if root > *shortest => {}
            Some((shortest, _)) if root == *shortest => {
                return Err("it holds several data.pkl, and torch.save writes one".to_owned());
            }
            _ => found = Some((root, entry)),
        }
    }
    let (_, entry) =
        found.ok_or("the archive holds no data.pkl, so torch.save did not write it")?;
    entry.data(file).ok_or_else(|| "its data.pkl lies outside the file".to_owned())
}

/// Start and number of entries of the archive's central directory.
fn directory(file: &[u8]) -> Option<(usize, usize)> {
    // The end record is 22 bytes and a comment of up to 65535.
    let earliest = file.len().saturating_sub(22 + 65535);
    let tail = file.get(earliest..)?;
    let end = earliest + tail.windows(4).rposition(|bytes| bytes == b"PK\x05\x06")?;
    let (entries, start) = (number::<2>(file, end + 10)?, number::<4>(file, end + 16)?);
    // A record that begins inside of another's comment, or has something behind it, is read in two ways.
    if end + 22 + number::<2>(file, end + 20)? != file.len() {
        return None;
    }
    if entries < 0xffff && start < 0xffff_ffff {
        return Some((start, entries));
    }
    let locator = end.checked_sub(20).filter(|&at| is(file, at, b"PK\x06\x07"))?;
    let end = number::<8>(file, locator + 8).filter(|&at| is(file, at, b"PK\x06\x06"))?;
    Some((number::<8>(file, end.checked_add(48)?)?, number::<8>(file, end.checked_add(32)?)?))
}

/// One entry of the central directory.
struct Entry<'a> {
    name: &'a [u8],
    method: usize,
    size: usize,
    header: usize,
    length: usize,
}

impl<'a> Entry<'a> {
    fn read(file: &'a [u8], at: usize) -> Option<Self> {
        if !is(file, at, b"PK\x01\x02") {
            return None;
        }
        let lengths = [28, 30, 32].map(|offset| number::<2>(file, at + offset));
        let [name, extra, comment] = lengths;
        let (name, rest) = (name?, extra? + comment?);
        Some(Self {
            name: file.get(at + 46..at + 46 + name)?,
            method: number::<2>(file, at + 10)?,
            size: number::<4>(file, at + 20)?,
            header: number::<4>(file, at + 42)?,
            length: 46 + name + rest,
        })
    }

    /// The entry's stored bytes, which lie behind its own header.
    fn data<'f>(&self, file: &'f [u8]) -> Option<&'f [u8]> {
        if !is(file, self.header, b"PK\x03\x04") {
            return None;
        }
        let lengths = [26, 28].map(|offset| number::<2>(file, self.header + offset));
        let start = self.header + 30 + lengths[0]? + lengths[1]?;
        file.get(start..start + self.size)
    }
}

fn is(file: &[u8], at: usize, signature: &[u8; 4]) -> bool {
    at.checked_add(4).and_then(|to| file.get(at..to)) == Some(signature)
}

/// The `N` bytes at `at` as a little-endian number.
fn number<const N: usize>(file: &[u8], at: usize) -> Option<usize> {
    let bytes = file.get(at..at.checked_add(N)?)?;
    let value = bytes.iter().rev().fold(0_u64, |value, &byte| (value << 8) | u64::from(byte));
    usize::try_from(value).ok()
}
