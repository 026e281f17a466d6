use image::{ExtendedColorType, ImageEncoder, codecs::jpeg::JpegEncoder};

use super::*;

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn read(bytes: &[u8]) -> Result<Encoded, DatasetError> {
    Encoded::new(bytes.to_owned(), Path::new("x"))
}

fn decode(bytes: &[u8]) -> Result<Picture, DatasetError> {
    read(bytes)?.decode(true)
}

fn through_png(image: impl Into<DynamicImage>) -> Picture {
    decode(&encoded(&image.into(), ImageFormat::Png)).unwrap()
}

/// Why bytes are refused.
#[track_caller]
fn reason(bytes: &[u8]) -> String {
    match decode(bytes) {
        Err(DatasetError::NotAPicture { reason, .. }) => reason,
        other => panic!("{:?}", other.map(|picture| (picture.width, picture.height))),
    }
}

const ALL: [ImageFormat; 6] = [
    ImageFormat::Png,
    ImageFormat::Jpeg,
    ImageFormat::WebP,
    ImageFormat::Bmp,
    ImageFormat::Gif,
    ImageFormat::Tiff,
];

/// Not flat, so that no format shrinks it to nothing.
fn noise(width: u32, height: u32) -> DynamicImage {
    let mut state = 1_u32;
    let image = image::RgbImage::from_fn(width, height, |_, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        image::Rgb([(state >> 24) as u8, (state >> 16) as u8, (state >> 8) as u8])
    });
    image.into()
}

#[test]
fn grey_and_16_bit_become_8_bit_colour() {
    let grey = image::GrayImage::from_raw(2, 1, vec![0, 200]).unwrap();
    assert_eq!(through_png(grey).rgb, [0, 0, 0, 200, 200, 200]);
    let deep = image::ImageBuffer::<image::Rgb<u16>, _>::from_raw(1, 1, vec![0, 0x8080, 0xffff]);
    let picture = through_png(deep.unwrap());
    assert_eq!((picture.rgb, picture.alpha), (vec![0, 128, 255], None));
}

#[test]
fn transparency_is_kept_and_shows_white() {
    let image = image::RgbaImage::from_raw(3, 1, vec![9, 9, 9, 0, 9, 9, 9, 255, 0, 0, 0, 51]);
    let picture = through_png(image.unwrap());
    assert_eq!(picture.alpha.as_deref(), Some(&[0, 255, 51][..]));
    let flat = picture.over_white();
    assert_eq!(flat.rgb, [255, 255, 255, 9, 9, 9, 204, 204, 204]);
    assert_eq!(flat.alpha, None);
}

#[test]
fn headers_are_told_in_words() {
    let colours = |image: DynamicImage| read(&encoded(&image, ImageFormat::Png)).unwrap().header;
    assert_eq!(colours(DynamicImage::new_luma16(2, 1)).colours, "grey, 16 bits");
    assert_eq!(colours(DynamicImage::new_rgba8(2, 1)).colours, "RGB with transparency, 8 bits");
    for (format, name) in ALL.into_iter().zip(["PNG", "JPEG", "WebP", "BMP", "GIF", "TIFF"]) {
        let header = read(&encoded(&noise(5, 3), format)).unwrap().header;
        assert_eq!((header.format, header.width, header.height), (name, 5, 3));
    }
}

/// An EXIF block with nothing but an orientation.
fn exif(orientation: u8) -> Vec<u8> {
    let mut exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    exif
}

/// A JPEG of 16 × 8 pixels, dark left and bright right, that says it is to be turned.
fn turned(orientation: u8) -> Vec<u8> {
    let pixels: Vec<u8> = (0..128).map(|i| if i % 16 < 8 { 20 } else { 230 }).collect();
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 100);
    encoder.set_exif_metadata(exif(orientation)).unwrap();
    encoder.write_image(&pixels, 16, 8, ExtendedColorType::L8).unwrap();
    bytes
}

#[test]
fn pictures_stand_upright_unless_pixels_are_wanted_as_they_are_stored() {
    // EXIF 6: the camera's left edge is the picture's top.
    let file = read(&turned(6)).unwrap();
    assert_eq!((file.header().orientation, file.header().upright_size()), (6, (8, 16)));
    let picture = file.decode(true).unwrap();
    assert_eq!((picture.width, picture.height), (8, 16));
    assert!(picture.rgb[0] < 60 && picture.rgb[3 * (8 * 16 - 1)] > 190);
    let stored = file.decode(false).unwrap();
    assert_eq!((stored.width, stored.height), (16, 8));
    assert!(stored.rgb[0] < 60 && stored.rgb[3 * 15] > 190);
    for (orientation, size) in
        [(1, (16, 8)), (3, (16, 8)), (5, (8, 16)), (8, (8, 16)), (9, (16, 8))]
    {
        let picture = decode(&turned(orientation)).unwrap();
        assert_eq!((picture.width, picture.height), size, "orientation {orientation}");
    }
}

#[test]
fn an_orientation_counts_also_where_its_block_has_the_mark_of_a_jpeg() {
    let mut bytes = Vec::new();
    let mut encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    encoder.set_exif_metadata([b"Exif\0\0", exif(8).as_slice()].concat()).unwrap();
    encoder.write_image(&[0; 6], 2, 1, ExtendedColorType::Rgb8).unwrap();
    assert_eq!(read(&bytes).unwrap().header().orientation, 8);
}

#[test]
fn what_is_no_picture_is_an_error() {
    assert_eq!(reason(b""), "the file is empty");
    assert_eq!(reason(b"not a picture"), "its first bytes are those of no picture format");
    for format in ALL {
        let whole = encoded(&noise(40, 40), format);
        assert!(decode(&whole[..9]).is_err(), "{format:?}");
        for length in [whole.len() / 2, whole.len() * 9 / 10] {
            let cut = &whole[..length];
            assert_eq!(reason(cut), CUT_OFF, "{format:?} of {length} of {} bytes", whole.len());
        }
    }
}

#[test]
fn a_picture_of_a_format_without_decoder_is_told_what_it_is() {
    let avif = b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf";
    for (bytes, told) in [
        (&avif[..], "picture in the format AVIF, which is not decoded"),
        (b"\xff\x0a\0\0", "picture in the format JPEG XL, which is not decoded"),
        (b"8BPS\0\x01", "picture in the format Photoshop, which is not decoded"),
        (b"%PDF-1.7\n", "PDF document, not a picture"),
    ] {
        match decode(bytes) {
            Err(DatasetError::Format { format, .. }) => assert_eq!(format, told),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_tiff_of_an_unsupported_kind_is_told_as_such() {
    let mut bytes = encoded(&noise(4, 4), ImageFormat::Tiff);
    // The entry of the compression, a short: what no program writes.
    let entry = b"\x03\x01\x03\0\x01\0\0\0";
    let at = bytes.windows(8).position(|window| window == entry).unwrap() + 8;
    bytes[at..at + 2].copy_from_slice(&34_712_u16.to_le_bytes());
    let error = decode(&bytes).unwrap_err();
    assert!(matches!(error, DatasetError::Format { .. }), "{error}");
    let start = "x is a TIFF picture of a kind that is not decoded (";
    assert!(error.to_string().starts_with(start), "{error}");
    assert!(miette::Diagnostic::help(&error).unwrap().to_string().starts_with("save it as PNG"));
}

#[test]
fn colours_are_told_as_they_are_stored() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures");
    for (name, colours) in [
        ("bilevel.bmp", "palette, 1 bit"),
        ("bilevel.png", "grey, 1 bit"),
        ("bilevel.tif", "grey, 1 bit"),
        ("colour.bmp", "RGB, 8 bits"),
        ("cmyk.jpg", "CMYK, 8 bits"),
        ("ycck.jpg", "CMYK, 8 bits"),
        ("cmyk.tif", "CMYK, 8 bits"),
        ("baseline.jpg", "RGB, 8 bits"),
        ("progressive.jpg", "RGB, 8 bits"),
        ("grey.jpg", "grey, 8 bits"),
        ("grey.png", "grey, 8 bits"),
        ("deep_grey.png", "grey, 16 bits"),
        ("palette4.png", "palette, 4 bits"),
        ("palette_alpha.png", "palette, 8 bits"),
        ("palette.bmp", "palette, 8 bits"),
        ("palette.gif", "palette, 6 bits"),
        ("palette.tif", "palette, 8 bits"),
    ] {
        assert_eq!(Encoded::read(&folder.join(name)).unwrap().header.colours, colours, "{name}");
    }
}

#[test]
fn huge_pictures_are_refused_before_they_are_decoded() {
    // A BMP header alone, which promises 30 000 × 20 000 pixels.
    let mut bytes = encoded(&DynamicImage::new_rgb8(1, 1), ImageFormat::Bmp);
    bytes[18..22].copy_from_slice(&30_000_u32.to_le_bytes());
    bytes[22..26].copy_from_slice(&20_000_u32.to_le_bytes());
    let error = decode(&bytes).unwrap_err();
    assert!(matches!(error, DatasetError::TooLarge { width: 30_000, height: 20_000, .. }));
}

#[test]
fn a_gif_whose_frame_is_larger_than_its_screen_is_refused() {
    // Screen 1 × 1, frame 65 535 × 65 535: 17 GB.
    let mut bytes = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff".to_vec();
    bytes.extend(b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x4c\x01\0;");
    assert_eq!(reason(&bytes), "it unpacks to far more than the size that its header states");
}

#[test]
fn a_colour_profile_is_not_unpacked_beyond_the_limit() {
    let profile = |size: usize| {
        let mut bytes = encoded(&DynamicImage::new_rgb8(1, 1), ImageFormat::Png);
        let mut chunk = b"iCCPx\0\0".to_vec();
        chunk.extend(zeros_deflated(size));
        let mut whole = (chunk.len() as u32 - 4).to_be_bytes().to_vec();
        whole.extend(&chunk);
        whole.extend(crc(&chunk).to_be_bytes());
        // Behind the signature and IHDR.
        bytes.splice(33..33, whole);
        let mut decoder = open(&bytes, Path::new("x")).unwrap();
        decoder.icc_profile().unwrap().map(|profile| profile.len())
    };
    assert_eq!(profile(258 * 1000), Some(258_001));
    assert_eq!(profile(2 * SPARE as usize), None);
}

/// A zlib stream of `count` zeros: one fixed Huffman block, a literal and then matches of 258 bytes
/// at distance 1, which take 13 bits each.
fn zeros_deflated(count: usize) -> Vec<u8> {
    let (mut bits, mut bytes) = (Vec::<bool>::new(), vec![0x78, 0x01]);
    let mut put = |value: u32, length: u32, huffman: bool| {
        let bit = |i: u32| value >> (if huffman { length - 1 - i } else { i }) & 1 == 1;
        bits.extend((0..length).map(bit));
    };
    put(1, 1, false);
    put(1, 2, false);
    put(0x30, 8, true);
    for _ in 0..count / 258 {
        put(0b1100_0101, 8, true);
        put(0, 5, true);
    }
    put(0, 7, true);
    let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, &bit| byte << 1 | u8::from(bit));
    bytes.extend(bits.chunks(8).map(byte));
    // Adler-32 of that many zeros: the low sum stays 1, the high one counts them.
    let zeros = (count / 258 * 258 + 1) as u32;
    bytes.extend(((zeros % 65_521) << 16 | 1).to_be_bytes());
    bytes
}

fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}
