//! Decoding, against Pillow: every kind of pixel that a user's file may hold.

use fluxpipe::dataset::Picture;

use super::pack::Pack;

#[test]
fn pictures_of_every_kind_are_decoded_as_pillow_does() {
    let mut apart = Vec::new();
    for pack in Pack::of_kind("pictures") {
        for case in pack.manifest["cases"].as_array().unwrap() {
            let name = |key: &str| case[key].as_str().unwrap();
            let open = |key| Picture::open(&pack.path(name(key))).unwrap_or_else(|e| panic!("{e}"));
            let (found, expected) = (open("file"), open("expected"));
            let what = format!("{} ({})", name("file"), name("doc"));
            assert_eq!((found.width, found.height), (expected.width, expected.height), "{what}");
            let alpha = found.alpha.is_some();
            assert_eq!(largest(&found.alpha, &expected.alpha), 0, "{what}: opacity, {alpha}");
            let colours = |picture: Picture| Some(picture.over_white().rgb);
            let largest = largest(&colours(found), &colours(expected));
            eprintln!("{what}: largest difference {largest}");
            if u64::from(largest) > case["level"].as_u64().unwrap() {
                apart.push(format!("{what}: {largest}"));
            }
        }
    }
    assert!(apart.is_empty(), "{apart:#?}");
}

/// A picture without opacity shows all of itself.
fn largest(found: &Option<Vec<u8>>, expected: &Option<Vec<u8>>) -> u8 {
    let level = |levels: &Option<Vec<u8>>, at: usize| levels.as_ref().map_or(255, |all| all[at]);
    let count = found.as_ref().or(expected.as_ref()).map_or(0, Vec::len);
    (0..count).map(|at| level(found, at).abs_diff(level(expected, at))).max().unwrap_or(0)
}
