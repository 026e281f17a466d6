//! Pictures that are larger than they look, or than they say.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use fluxpipe::dataset::{DatasetError, Encoded, Picture};

use super::refused;
use crate::{
    made::png::{self, Chunk},
    memory,
};

fn open(bytes: &[u8]) -> Result<Picture, DatasetError> {
    Encoded::new(bytes.to_vec(), Path::new("pictures/a.png"))?.decode(true)
}

const END: [u8; 4] = *b"IEND";

fn of_size(width: u32, height: u32, rows: Vec<u8>) -> Vec<Chunk> {
    vec![png::header(width, height), (*b"IDAT", rows), (END, Vec::new())]
}

#[test]
fn sizes_beyond_the_limit_are_refused_before_anything_is_made() {
    const SIDE: u32 = 100_000;
    let le = |value: u32| value.to_le_bytes();
    let png = png::file(&of_size(SIDE, SIDE, png::zlib(&[0; 16])));
    let bmp = [
        b"BM",
        &le(70)[..],
        &le(0),
        &le(54),
        &le(40),
        &le(60_000),
        &le(60_000),
        &[1, 0, 24, 0],
        &[0; 40],
    ]
    .concat();
    let gif = [
        &b"GIF89a"[..],
        &[0xff; 4],
        &[0, 0, 0, 0x2c, 0, 0, 0, 0],
        &[0xff; 4],
        &[0, 2, 1, 0, 0, 0x3b],
    ]
    .concat();
    let frame =
        b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x11\x00\x02\x11\x01\x03\x11\x01";
    let scan = b"\xff\xda\x00\x0c\x03\x01\x00\x02\x11\x03\x11\x00\x3f\x00\xff\xd9";
    let jpeg = [&frame[..], scan].concat();
    // 16383 is nearly the largest side of a lossless WebP.
    let webp =
        [&b"RIFF"[..], &le(25), b"WEBPVP8L", &le(13), b"\x2f\xfe\xbf\xff\x0f", &[0; 8]].concat();
    let entry = |tag: u16, value: u32| {
        [&tag.to_le_bytes()[..], &[4, 0, 1, 0, 0, 0], &value.to_le_bytes()].concat()
    };
    let entries = [
        entry(256, SIDE),
        entry(257, SIDE),
        entry(258, 8),
        entry(259, 1),
        entry(262, 1),
        entry(273, 8),
        entry(278, SIDE),
        entry(279, 9),
    ];
    let tiff = [&b"II*\0\x08\0\0\0\x08\0"[..], &entries.concat(), &[0; 4]].concat();
    for (format, bytes) in
        [("png", png), ("bmp", bmp), ("gif", gif), ("jpeg", jpeg), ("webp", webp), ("tiff", tiff)]
    {
        let (read, peak) = memory::measured("pictures", 0, || open(&bytes));
        assert!(peak < 8 << 20, "{format}: {peak}");
        let said = refused(read, &["pictures/a.png"]);
        assert!(said.contains("more than the 200 million that are decoded"), "{format}: {said}");
    }
    let widest = png::file(&of_size(u32::MAX >> 1, u32::MAX >> 1, Vec::new()));
    refused(open(&widest), &["pictures/a.png"]);
    refused(open(&png::file(&of_size(0, 5, Vec::new()))), &["pictures/a.png"]);
}

#[test]
fn a_picture_that_unpacks_to_more_than_it_says_stops_at_its_size() {
    // A gigabyte of zeros for a picture of 48 bytes.
    let packed = png::zeros(1 << 30);
    assert!(packed.len() < 7 << 20);
    let bytes = png::file(&of_size(4, 4, packed));
    let since = Instant::now();
    let (read, peak) = memory::measured("pictures", 0, || open(&bytes));
    // Whether what is too much is an error is for the decoder to say.
    if let Ok(picture) = read {
        assert_eq!((picture.width, picture.height), (4, 4));
    }
    assert!(peak < 64 << 20, "{peak}");
    assert!(since.elapsed() < Duration::from_secs(5));
}

#[test]
fn packed_profiles_and_texts_are_not_unpacked_without_limit() {
    for kind in [*b"iCCP", *b"zTXt", *b"iTXt"] {
        let packed = png::zeros(1 << 30);
        let data = match &kind {
            b"iTXt" => [&b"key\0\x01\0\0\0"[..], &packed].concat(),
            _ => [&b"key\0\0"[..], &packed].concat(),
        };
        let row = png::zlib(&[0; 4 * 13]);
        let mut chunks = of_size(4, 4, row);
        chunks.insert(1, (kind, data));
        let bytes = png::file(&chunks);
        let (read, peak) = memory::measured("pictures", 0, || open(&bytes));
        assert!(peak < (96 << 20) + 2 * bytes.len(), "{peak}");
        // It is a good picture with a text that nobody asked for, or it is refused as a bomb.
        if let Err(error) = read {
            refused(Err::<(), _>(error), &["unpacks to far more"]);
        }
    }
}

#[test]
fn a_picture_that_is_not_there_is_cut_off() {
    // Within the limit, and without a pixel.
    let bytes = png::file(&of_size(14_000, 14_000, png::zlib(&[0; 16])));
    let encoded = Encoded::new(bytes, Path::new("pictures/a.png")).unwrap();
    let (read, peak) = memory::measured("pictures", 0, || encoded.decode(true));
    refused(read, &["pictures/a.png", "cut off"]);
    assert!(peak < encoded.memory() + (96 << 20), "{peak} of {}", encoded.memory());
}
