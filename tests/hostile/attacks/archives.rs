//! Zip archives that are larger inside than outside, that name other places, and pickles that want to run.

use std::{fs, path::Path};

use fluxpipe::weights::{Checkpoint, Npz, WeightsError};

use super::{Folder, refused};
use crate::{
    made::{
        pickle::{archive, dict, entries, legacy, pickle, tensor, text},
        png,
        zip::{self, Entry, npy},
    },
    memory,
};

fn npz(bytes: &[u8]) -> Result<Npz, WeightsError> {
    Npz::from_bytes(Path::new("cache/a.npz"), bytes)
}

fn pth(bytes: &[u8]) -> Result<Checkpoint, WeightsError> {
    let folder = Folder::new();
    Checkpoint::open(&folder.file("x.pth", bytes))
}

#[test]
fn what_is_packed_is_not_unpacked() {
    let bomb = Entry { name: b"latents.npy".to_vec(), data: png::zeros(1 << 26), method: 8 };
    assert!(bomb.data.len() < 1 << 19, "64 MiB in {} bytes", bomb.data.len());
    let bytes = zip::archive(std::slice::from_ref(&bomb));
    let (read, peak) = memory::measured("npz", 0, || npz(&bytes));
    refused(read, &["cache/a.npz", "latents.npy is compressed"]);
    assert!(peak < 1 << 20, "{peak}");
    for packed in [0, 2] {
        let mut entries = entries(&dict("w", &tensor()));
        entries[packed] = Entry { name: entries[packed].name.clone(), ..bomb.clone() };
        refused(pth(&zip::archive(&entries)), &["is compressed, which torch.save does not do"]);
    }
}

/// An archive whose entries all are the same bytes.
fn overlapping(count: u16, data: &[u8]) -> Vec<u8> {
    let mut file = zip::archive(&[Entry::stored("00000", data.to_vec())]);
    let start = file.len() - 22 - (46 + 5);
    let entry = file[start..start + 46 + 5].to_vec();
    file.truncate(start);
    for number in 0..count {
        file.extend(&entry[..46]);
        file.extend(format!("{number:05}").bytes());
    }
    file.extend(zip::end(count, u32::from(count) * 51, start as u32));
    file
}

#[test]
fn entries_that_share_their_bytes_are_refused() {
    let array = npy("|b1", "(200000,)", &[1; 200_000]);
    assert!(npz(&overlapping(1, &array)).is_ok());
    let bytes = overlapping(60_000, &array);
    let (read, peak) = memory::measured("npz", 0, || npz(&bytes));
    refused(read, &["larger than the file"]);
    assert!(peak < 16 << 20, "{peak}");
}

#[test]
fn names_that_lead_elsewhere_are_only_names() {
    let folder = Folder::new();
    let array = npy("<f4", "(1,)", &1.5_f32.to_le_bytes());
    let names = ["../../escaped.npy", "/tmp/fluxpipe-escaped.npy", "a\0b.npy", "C:\\x.npy"];
    let bytes = zip::archive(&names.map(|name| Entry::stored(name, array.clone())));
    let path = folder.file("in/cache/a.npz", bytes);
    let read = Npz::open(&path).unwrap();
    assert_eq!(read.get("../../escaped").unwrap().values, [1.5]);
    let mut entries = entries(&dict("w", &tensor()));
    entries.push(Entry::stored("../../escaped", b"x".to_vec()));
    Checkpoint::open(&folder.file("in/models/x.pth", zip::archive(&entries))).unwrap();
    let mut left: Vec<_> = walkdir::WalkDir::new(folder.path("")).into_iter().flatten().collect();
    left.retain(|entry| entry.file_type().is_file());
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(!Path::new("/tmp/fluxpipe-escaped.npy").exists());
    let twice = ["a.npy", "a.npy"].map(|name| Entry::stored(name, array.clone()));
    refused(npz(&zip::archive(&twice)), &["a.npy is there twice"]);
}

#[test]
fn arrays_that_say_more_than_they_hold_are_refused() {
    for shape in [
        "(99999999999999999999,)",
        "(4294967296, 4294967296)",
        "(9223372036854775807,)",
        "(-1,)",
        "(2,)",
    ] {
        let entry = Entry::stored("a.npy", npy("<f4", shape, &[0; 4]));
        refused(npz(&zip::archive(&[entry])), &["cache/a.npz", "a.npy"]);
    }
    // Objects of Python are pickles.
    let entry = Entry::stored("a.npy", npy("|O", "(1,)", b"\x80\x02cos\nsystem\n."));
    refused(npz(&zip::archive(&[entry])), &["of type |O"]);
}

#[test]
fn a_pickle_that_imports_is_refused_however_it_says_so() {
    let folder = Folder::new();
    let trace = folder.path("ran");
    let command = text(&format!("touch {}", trace.display()));
    let short = |word: &str| [&[0x8c, word.len() as u8], word.as_bytes()].concat();
    let call = b"\x85R".to_vec();
    let imports = [
        ("os.system", b"cos\nsystem\n".to_vec()),
        ("posix.system", b"cposix\nsystem\n".to_vec()),
        ("builtins.eval", b"cbuiltins\neval\n".to_vec()),
        ("builtins.exec", [short("builtins"), short("exec"), b"\x93".to_vec()].concat()),
        ("builtins.getattr", b"c__builtin__\ngetattr\n".to_vec()),
        ("subprocess.Popen", [text("subprocess"), text("Popen"), b"\x93".to_vec()].concat()),
        ("torch.load", b"ctorch\nload\n".to_vec()),
        ("torch.hub.load", b"ctorch.hub\nload\n".to_vec()),
        ("importlib.import_module", b"cimportlib\nimport_module\n".to_vec()),
        ("torch.nn.modules.linear.Linear", b"ctorch.nn.modules.linear\nLinear\n".to_vec()),
    ];
    for (name, import) in imports {
        let body =
            [import, command.clone(), call.clone(), b"0".to_vec(), dict("w", &tensor())].concat();
        for file in [archive(&body), legacy(&body), pickle(&body)] {
            let named = name.rsplit_once('.').unwrap().1;
            refused(pth(&file), &["x.pth", "its pickle wants", named]);
        }
    }
    // Names that are no text on the stack: numbers, and what a call would give.
    for names in
        [&b"K\x00K\x01\x93"[..], b"X\x02\0\0\0osN\x93", b"(X\x02\0\0\0ost0X\x06\0\0\0system\x93"]
    {
        refused(pth(&archive(names)), &["imports something"]);
    }
    assert!(!trace.exists(), "the file ran a command");
}

#[test]
fn another_pickle_than_the_one_looked_through_is_not_read() {
    let hostile =
        [b"cos\nsystem\n".as_slice(), &text("true"), b"\x85R0", &dict("w", &tensor())].concat();
    let good = dict("w", &tensor());
    // Twice in one archive: which is read?
    let mut entries = entries(&good);
    entries.insert(1, Entry::stored("x/data.pkl", pickle(&hostile)));
    refused(pth(&zip::archive(&entries)), &["several data.pkl"]);
    // A second archive in the comment of the first, or behind it.
    let inner = archive(&hostile);
    let mut outer = archive(&good);
    let length = outer.len();
    outer[length - 2..].copy_from_slice(&(inner.len() as u16).to_le_bytes());
    outer.extend(&inner);
    assert!(pth(&outer).is_err());
    assert!(pth(&[archive(&good), b"behind".to_vec()].concat()).is_err());
    // The old form, whose magic number is written in digits.
    let digits = b"(L119547037146038801333356L\n.".to_vec();
    let rest =
        &legacy(&hostile)[pickle(b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19").len()..];
    refused(pth(&[&digits[..], rest].concat()), &["wants `os.system`"]);
}

#[test]
fn pickles_that_grow_are_refused() {
    // A text that is remembered under a million numbers.
    let mut remembers = text(&"x".repeat(1 << 20));
    (0..200_000_u32).for_each(|index| remembers.extend([&b"r"[..], &index.to_le_bytes()].concat()));
    // A list of two lists of two lists.
    let doubles = [&b"]"[..], &b"2a".repeat(64), &dict("w", &tensor())].concat();
    let deep = [&b"]".repeat(200_000)[..], &b"a".repeat(199_999)].concat();
    let marks = b"(".repeat(500_000);
    let memo = [&b"N"[..], &b"\x94".repeat(2_000_000)].concat();
    for (what, body) in [
        ("memo", remembers),
        ("doubles", doubles),
        ("deep", deep),
        ("marks", marks),
        ("values", memo),
    ] {
        let bytes = archive(&dict("w", &body));
        let (read, peak) = memory::measured("pth", 0, || pth(&bytes));
        refused(read, &["x.pth", ".pth"]);
        assert!(peak < (96 << 20) + 16 * bytes.len(), "{what}: {peak}");
    }
}

#[test]
fn a_tensor_larger_than_its_file_is_refused() {
    // Two numbers seen as a billion, by steps of nothing.
    let place = tensor().windows(9).position(|bytes| bytes == b"QK\x00K\x02\x85K\x01\x85").unwrap();
    let mut body = tensor();
    body.splice(place..place + 9, *b"QK\x00J\x00\xca\x9a;\x85K\x00\x85");
    refused(pth(&archive(&dict("w", &body))), &["`w` is larger than the file"]);
}

#[test]
fn a_pipe_is_no_archive() {
    let folder = Folder::new();
    let path = folder.path("x.npz");
    super::pipe(&path);
    refused(Npz::open(&path), &["x.npz", "a pipe or a device"]);
    fs::rename(&path, folder.path("x.pth")).unwrap();
    refused(Checkpoint::open(&folder.path("x.pth")), &["x.pth", "a pipe or a device"]);
}
