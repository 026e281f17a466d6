//! `.pth` and `.npz`: zip archives, the pickles in the one, the arrays in the other.

use std::{fs, path::Path};

use fluxpipe::weights::{Checkpoint, Npz, WeightsError};

use super::renumber;
use crate::{
    case::{Outcome, Reader},
    made::{
        pickle::{archive, dict, entries, legacy, pickle, tensor, text},
        zip::{self, Entry, npy},
    },
    mutate,
    random::Random,
};

pub const PTH: Reader =
    Reader { name: "pth", seeds: pickles, words: OPCODES, shape: in_archive, read: read_pth };

pub const NPZ: Reader = Reader {
    name: "npz",
    seeds: arrays,
    words: &[
        b"\x93NUMPY\x01\x00",
        b"\x93NUMPY\x02\x00",
        b"'descr': '",
        b"<f4",
        b"<f8",
        b"<f2",
        b"<i8",
        b"|b1",
        b"|O",
        b">f4",
        b"'fortran_order': False",
        b"True",
        b"'shape': (",
        b"99999999999999999999",
        b"(0,",
        b"-1",
        b", ",
        b"}",
        b"PK\x01\x02",
        b"PK\x03\x04",
        b"PK\x05\x06",
        b"PK\x06\x06",
        b"PK\x06\x07",
        b".npy",
        b"../",
    ],
    shape: in_archive,
    read: read_npz,
};

/// Opcodes with their operands, and imports of all sorts.
const OPCODES: &[&[u8]] = &[
    b"\x80\x02",
    b"\x80\x04",
    b"\x95\xff\0\0\0\0\0\0\0",
    b".",
    b"(",
    b")",
    b"]",
    b"}",
    b"0",
    b"1",
    b"2",
    b"N",
    b"R",
    b"b",
    b"d",
    b"l",
    b"t",
    b"s",
    b"a",
    b"e",
    b"u",
    b"Q",
    b"o",
    b"\x81",
    b"\x85",
    b"\x86",
    b"\x87",
    b"\x88",
    b"\x89",
    b"\x8f",
    b"\x90",
    b"\x91",
    b"\x92",
    b"\x93",
    b"\x94",
    b"q\x00",
    b"q\x01",
    b"h\x00",
    b"h\x01",
    b"j\0\0\0\0",
    b"r\xff\xff\xff\x7f",
    b"p0\n",
    b"g0\n",
    b"I1\n",
    b"L1L\n",
    b"F1.5\n",
    b"S'x'\n",
    b"Vmodel\n",
    b"K\x02",
    b"M\xff\xff",
    b"J\xff\xff\xff\xff",
    b"\x8a\x01\x00",
    b"\x8b\0\0\0\x80",
    b"G\x3f\xf0\0\0\0\0\0\0",
    b"U\x05model",
    b"X\x05\0\0\0model",
    b"\x8c\x05model",
    b"\x8e\xff\xff\xff\xff\0\0\0\0",
    b"cos\nsystem\n",
    b"cbuiltins\neval\n",
    b"ctorch\nFloatStorage\n",
    b"ctorch\nQInt8Storage\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch._utils\n_rebuild_parameter\n",
    b"ccollections\nOrderedDict\n",
    b"cnumpy.core.multiarray\nscalar\n",
    b"\x8c\x02os\x8c\x06system\x93",
    b"PK\x01\x02",
    b"PK\x05\x06",
    b"]2a2a2a2a2a",
    b"((((((((",
];

fn pickles() -> Vec<Vec<u8>> {
    let two = [dict("w", &tensor()), text("b"), tensor(), b"s".to_vec()].concat();
    let nested = dict("model", &two);
    let settings = [dict("w", &tensor()), text("epoch"), b"K\x07s".to_vec()].concat();
    // With a memo, as PyTorch writes it: an ordered dictionary that is remembered and filled.
    let remembered = [
        b"ccollections\nOrderedDict\nq\x00)Rq\x01(".to_vec(),
        [text("w"), b"q\x02".to_vec(), tensor(), b"q\x03".to_vec()].concat(),
        [text("same"), b"h\x03u".to_vec()].concat(),
    ]
    .concat();
    [two, nested, settings, remembered]
        .iter()
        .flat_map(|body| [archive(body), legacy(body)])
        .collect()
}

fn arrays() -> Vec<Vec<u8>> {
    let floats = [1.5_f32, -2.0, 0.0, 3.0].map(f32::to_le_bytes).concat();
    let doubles = [1.5_f64, -2.0].map(f64::to_le_bytes).concat();
    let whole = [3_i64, -1].map(i64::to_le_bytes).concat();
    let entries = [
        Entry::stored("latents.npy", npy("<f4", "(2, 2)", &floats)),
        Entry::stored("masks.npy", npy("|b1", "(4,)", &[1, 0, 1, 1])),
        Entry::stored("sizes.npy", npy("<i8", "(2,)", &whole)),
        Entry::stored("half.npy", npy("<f2", "()", &[0, 0x3c])),
        Entry::stored("double.npy", npy("<f8", "(1, 2)", &doubles)),
    ];
    vec![zip::archive(&entries), zip::archive(&entries[..1]), zip::archive(&[])]
}

/// Changes an entry, its name, or which there are; the archive around stays sound.
fn in_archive(random: &mut Random, input: Vec<u8>) -> Vec<u8> {
    let Some(mut entries) = zip::entries(&input) else { return input };
    if entries.is_empty() {
        return input;
    }
    let at = random.below(entries.len());
    match random.below(12) {
        0 => entries.push(entries[at].clone()),
        1 => drop(entries.remove(at)),
        2 => entries[at].name = b"../../../tmp/x".to_vec(),
        3 => mutate::bytes(random, &mut entries[at].name, &[b"data.pkl".to_vec()], &[b"/", b"\0"]),
        4 => entries[at].method = [8, 12, 93, 99][random.below(4)],
        5 => header(random, &mut entries[at]),
        // The first entry is the one that decides.
        _ => mutate::bytes(random, &mut entries[0].data, &[pickle(&tensor())], OPCODES),
    }
    zip::archive(&entries)
}

/// Another number in the header of an array.
fn header(random: &mut Random, entry: &mut Entry) {
    let Some(rest) = entry.data.get(10..) else { return };
    let end = rest.iter().position(|&byte| byte == b'\n').unwrap_or(0);
    let text = renumber(random, &String::from_utf8_lossy(&rest[..end]));
    entry.data = zip::header(&text, &rest[end..]);
}

/// The reader of the library takes a path alone.
fn read_pth(input: &[u8]) -> Outcome {
    thread_local! {
        static FILE: tempfile::NamedTempFile = tempfile::Builder::new()
            .suffix(".pth")
            .tempfile_in(if Path::new("/dev/shm").is_dir() { "/dev/shm".into() } else { std::env::temp_dir() })
            .unwrap();
    }
    FILE.with(|file| {
        fs::write(file.path(), input).unwrap();
        let read = || -> Result<(), WeightsError> {
            let checkpoint = Checkpoint::open(file.path())?;
            for name in checkpoint.names() {
                let _ = checkpoint.info(name).unwrap().elements();
                checkpoint.f32(name)?;
            }
            Ok(())
        };
        Outcome::of(read())
    })
}

fn read_npz(input: &[u8]) -> Outcome {
    let read = Npz::from_bytes(Path::new("x.npz"), input);
    if let Ok(arrays) = &read {
        for name in ["latents", "masks", "sizes"] {
            let Some(array) = arrays.get(name) else { continue };
            assert_eq!(array.values.len(), array.shape.iter().product::<usize>());
        }
    }
    Outcome::of(read)
}

#[test]
fn archives_are_taken_apart_as_they_were_made() {
    for seed in pickles().into_iter().step_by(2).chain(arrays()) {
        assert!(zip::entries(&seed).is_some());
    }
    assert_eq!(zip::entries(&archive(b"}")), Some(entries(b"}")));
}
