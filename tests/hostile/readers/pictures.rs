//! Pictures: the header, the texts, the pixels, of all formats that are decoded.

use std::{fs, path::Path};

use fluxpipe::dataset::{DatasetError, Encoded, Picture};

use crate::{
    case::{Outcome, Reader},
    made::png,
    mutate,
    random::Random,
};

pub const PICTURES: Reader = Reader {
    name: "pictures",
    seeds,
    words: &[
        b"\x89PNG\r\n\x1a\n",
        b"IHDR",
        b"PLTE",
        b"IDAT",
        b"tRNS",
        b"iCCP",
        b"acTL",
        b"fdAT",
        b"eXIf",
        b"IEND",
        b"\xff\xd8",
        b"\xff\xd9",
        b"\xff\xc0",
        b"\xff\xc2",
        b"\xff\xc4",
        b"\xff\xda",
        b"\xff\xdb",
        b"\xff\xdd",
        b"\xff\xe1",
        b"\xff\xee",
        b"Exif\0\0",
        b"Adobe",
        b"RIFF",
        b"WEBP",
        b"VP8 ",
        b"VP8L",
        b"VP8X",
        b"ALPH",
        b"ANIM",
        b"ANMF",
        b"GIF89a",
        b"\x21\xf9\x04",
        b"\x2c",
        b"\x3b",
        b"BM",
        b"II*\0",
        b"MM\0*",
        b"\xff\xff\xff\x7f",
        b"\0\0\0\0",
    ],
    shape,
    read,
};

/// Pictures of the project that are small, one of each kind.
fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    files.retain(|path| !name(path).contains("expected") && !name(path).ends_with(".json"));
    files.iter().map(|file| fs::read(file).unwrap()).filter(|bytes| bytes.len() < 6000).collect()
}

fn shape(random: &mut Random, input: Vec<u8>) -> Vec<u8> {
    match input.first() {
        Some(0x89) => in_png(random, input),
        Some(0xff) => in_jpeg(random, input),
        Some(b'I' | b'M') => in_tiff(random, input),
        _ => in_header(random, input),
    }
}

fn in_png(random: &mut Random, input: Vec<u8>) -> Vec<u8> {
    let Some(mut chunks) = png::chunks(&input).filter(|chunks| !chunks.is_empty()) else {
        return input;
    };
    let at = random.below(chunks.len());
    match random.below(6) {
        0 => chunks.push(chunks[at].clone()),
        1 => drop(chunks.remove(at)),
        2 => {
            let other = random.below(chunks.len());
            chunks.swap(at, other);
        }
        3 => {
            chunks[at].0 =
                **random.pick(&[b"tRNS", b"iCCP", b"PLTE", b"acTL", b"fcTL", b"eXIf", b"zTXt"])
        }
        // Width, height, depth, colours, interlacing.
        4 => {
            let data = &mut chunks[0].1;
            let at = random.below(data.len());
            if let Some(byte) = data.get_mut(at) {
                *byte = [0, 1, 2, 3, 4, 6, 8, 16, 0x7f, 0xff][random.below(10)];
            }
        }
        _ => {
            let data = &mut chunks[at].1;
            mutate::bytes(random, data, &[vec![0; 16]], &[]);
        }
    }
    png::file(&chunks)
}

/// Changes a segment and states its new length.
fn in_jpeg(random: &mut Random, mut input: Vec<u8>) -> Vec<u8> {
    let mut at = 2;
    let mut segments = Vec::new();
    while let Some(&[0xff, mark, high, low]) = input.get(at..).and_then(|rest| rest.first_chunk()) {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let end = at + 2 + length;
        if length < 2 || end > input.len() {
            break;
        }
        segments.push(at + 4..end);
        if mark == 0xda {
            break;
        }
        at = end;
    }
    if segments.is_empty() {
        return input;
    }
    let segment = random.pick(&segments).clone();
    let mut data = input[segment.clone()].to_vec();
    mutate::bytes(random, &mut data, &[vec![0; 16]], &[]);
    data.truncate(0xfffd);
    let length = (data.len() as u16 + 2).to_be_bytes();
    input.splice(segment.start - 2..segment.end, [&length[..], &data].concat());
    input
}

/// Changes a field of an entry of the directory.
fn in_tiff(random: &mut Random, mut input: Vec<u8>) -> Vec<u8> {
    let Some(head) = input.get(4..8).and_then(|head| head.first_chunk::<4>()) else { return input };
    let low_first = input.starts_with(b"II");
    let directory = if low_first { u32::from_le_bytes(*head) } else { u32::from_be_bytes(*head) };
    let place = directory as usize + 2 + 12 * random.below(24);
    let (at, size) = *random.pick(&[(0, 2), (2, 2), (4, 4), (8, 4), (8, 2)]);
    let value = random.edge();
    let bytes = match low_first {
        true => value.to_le_bytes()[..size].to_vec(),
        false => value.to_be_bytes()[8 - size..].to_vec(),
    };
    if let Some(old) = input.get_mut(place + at..place + at + size) {
        old.copy_from_slice(&bytes);
    }
    input
}

/// Sizes and flags of the other formats stand near the start.
fn in_header(random: &mut Random, mut input: Vec<u8>) -> Vec<u8> {
    let at = random.below(64.min(input.len()));
    let size = 1 << random.below(3);
    let value = random.edge().to_le_bytes();
    input[at..].iter_mut().zip(&value[..size]).for_each(|(old, new)| *old = *new);
    input
}

/// Larger pictures are only looked at here: to fill 200 million pixels takes its time, however it is done.
const DECODED: usize = 16 << 20;

fn read(input: &[u8]) -> Outcome {
    let mut announced = 0;
    let mut read = || -> Result<Option<Picture>, DatasetError> {
        let encoded = Encoded::new(input.to_vec(), Path::new("a.png"))?;
        let _ = encoded.texts();
        if encoded.memory() > DECODED {
            return Ok(None);
        }
        announced = encoded.memory();
        encoded.decode(true).map(Some)
    };
    let read = read();
    if let Ok(Some(picture)) = &read {
        assert_eq!(picture.rgb.len(), 3 * picture.width * picture.height);
    }
    Outcome { announced, ..Outcome::of(read) }
}
