//! `.pth` files made byte by byte: good ones, broken ones, and ones that want to run something.

use std::{fs, path::PathBuf};

use super::{Checkpoint, WeightsError};

const VALUES: [f32; 2] = [1.5, -2.0];

fn text(text: &str) -> Vec<u8> {
    let mut bytes = vec![b'X'];
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

/// The opcodes that leave a tensor `[2]` of storage 0 on the stack.
fn tensor() -> Vec<u8> {
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        b"K\x02tQK\x00K\x02\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR".to_vec(),
    ]
    .concat()
}

/// The opcodes that leave `{name: value}` on the stack.
fn dict(name: &str, value: &[u8]) -> Vec<u8> {
    [b"}".as_slice(), &text(name), value, b"s"].concat()
}

fn pickle(body: &[u8]) -> Vec<u8> {
    [b"\x80\x02".as_slice(), body, b"."].concat()
}

fn values() -> Vec<u8> {
    VALUES.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// An archive of stored entries. A checksum of 0 means that there is none.
fn zip(entries: &[(&str, &[u8])], method: u16) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let size = (data.len() as u32).to_le_bytes();
        let mut common = vec![0, 0];
        common.extend(method.to_le_bytes());
        common.extend([0; 8]);
        common.extend([size, size].concat());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0; 2]);
        directory.extend(b"PK\x01\x02\x14\x00\x14\x00");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend((file.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        file.extend(b"PK\x03\x04\x14\x00");
        file.extend([common.as_slice(), name.as_bytes(), data].concat());
    }
    let start = file.len() as u32;
    let count = (entries.len() as u16).to_le_bytes();
    file.extend(&directory);
    file.extend(b"PK\x05\x06\x00\x00\x00\x00");
    file.extend([count, count].concat());
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend([0; 2]);
    file
}

fn archive(pickle: &[u8]) -> Vec<u8> {
    zip(&[("x/data.pkl", pickle), ("x/byteorder", b"little"), ("x/data/0", &values())], 0)
}

/// A file of the format before PyTorch 1.6.
fn legacy(saved: &[u8]) -> Vec<u8> {
    let magic = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
    [
        pickle(magic),
        pickle(b"M\xe9\x03"),
        pickle(&dict("little_endian", b"\x88")),
        pickle(saved),
        pickle(&[b"](".as_slice(), &text("0"), b"e"].concat()),
        2_i64.to_le_bytes().to_vec(),
        values(),
    ]
    .concat()
}

struct File {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn file(bytes: &[u8]) -> File {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pth");
    fs::write(&path, bytes).unwrap();
    File { _folder: folder, path }
}

fn open(bytes: &[u8]) -> Result<Vec<(String, Vec<f32>)>, WeightsError> {
    let file = file(bytes);
    let checkpoint = Checkpoint::open(&file.path)?;
    checkpoint.names().map(|name| Ok((name.to_owned(), checkpoint.f32(name)?))).collect()
}

#[track_caller]
fn assert_refused(bytes: &[u8], reason: &str) {
    match open(bytes) {
        Err(WeightsError::Format { format: ".pth", reason: found, .. }) => {
            assert!(found.contains(reason), "{found:?} does not say {reason:?}");
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn tensors_are_read_at_the_root_and_below_model() {
    let plain = dict("w", &tensor());
    for body in [plain.clone(), dict("model", &plain)] {
        for bytes in [archive(&pickle(&body)), legacy(&body)] {
            assert_eq!(open(&bytes).unwrap(), [("w".to_owned(), VALUES.to_vec())]);
        }
    }
    // A tensor that happens to have that name is no nesting.
    let named = archive(&pickle(&dict("model", &tensor())));
    assert_eq!(open(&named).unwrap(), [("model".to_owned(), VALUES.to_vec())]);
}

#[test]
fn a_pickle_that_wants_to_run_something_is_refused_and_does_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("ran");
    let command = text(&format!("touch {}", trace.display()));
    let short = |word: &str| [&[0x8c, word.len() as u8], word.as_bytes()].concat();
    let call = [b"cos\nsystem\n".as_slice(), &command, b"\x85R"].concat();
    let by_texts =
        [&short("os"), &short("system"), b"\x93".as_slice(), &command, b"\x85R"].concat();
    let remembered = [
        &text("os"),
        b"q\x050".as_slice(),
        &text("system"),
        b"q\x060h\x05h\x06\x93",
        &command,
        b"\x85R",
    ]
    .concat();
    let instance = [b"(".as_slice(), &command, b"ios\nsystem\n"].concat();
    for call in [call, by_texts, remembered, instance] {
        let beside = [dict("w", &tensor()), text("extra"), call.clone(), b"s".to_vec()].concat();
        // A call whose result is thrown away leaves no trace in what is built.
        let dropped = [call.as_slice(), b"0", &dict("w", &tensor())].concat();
        for body in [call.clone(), dict("model", &call), beside, dropped] {
            assert_refused(&archive(&pickle(&body)), "wants `os.system`");
            assert_refused(&legacy(&body), "wants `os.system`");
            assert_refused(&pickle(&body), "wants `os.system`");
        }
    }
    assert!(!trace.exists(), "the file ran a command");
}

#[test]
fn what_is_no_weight_file_is_refused_with_a_reason() {
    let good = pickle(&dict("w", &tensor()));
    assert_refused(b"", "empty");
    assert_refused(b"<html>", "foreign opcode");
    assert_refused(&archive(&pickle(b"\x82\x01")), "foreign opcode 0x82");
    assert_refused(&archive(&pickle(b"}")), "no tensors");
    assert_refused(&archive(&good[..good.len() - 1]), "ends too early");
    assert_refused(&zip(&[("x/data.pkl", &good)], 8), "compressed");
    assert_refused(&zip(&[("x/readme", &good)], 0), "no data.pkl");
    assert_refused(&archive(&pickle(b"K\x00K\x01\x93")), "does not name");
    let missing = Checkpoint::open("no/such/file.pth".as_ref()).err().unwrap();
    assert!(matches!(missing, WeightsError::Read { .. }));
    assert!(missing.to_string().starts_with("cannot read no/such/file.pth"), "{missing}");
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    for whole in [archive(&pickle(&dict("w", &tensor()))), legacy(&dict("w", &tensor()))] {
        assert!(open(&whole).is_ok());
        for length in 0..whole.len() {
            match open(&whole[..length]) {
                Err(WeightsError::Format { .. }) => {}
                other => panic!("cut to {length} of {} bytes: {other:?}", whole.len()),
            }
        }
    }
}

#[test]
fn no_damaged_byte_makes_a_panic() {
    let whole = archive(&pickle(&dict("model", &dict("w", &tensor()))));
    for index in 0..whole.len() {
        for value in [0, 1, 0x7f, 0xff, whole[index] ^ 1] {
            let mut damaged = whole.clone();
            damaged[index] = value;
            // Some bytes do not matter (names, times, values): any answer will do, if it is one.
            let _ = open(&damaged);
        }
    }
}
