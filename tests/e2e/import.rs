//! Caches of sd-scripts beside the pictures, as real numpy wrote them: what is taken, what is refused and
//! in which words, and what an edit does.

use std::{fs, path::Path};

use fluxpipe::weights::Checkpoint;
use image::{ImageFormat, Rgb, RgbImage};

use crate::{Project, Run};

const MANIFEST: &str = r#"
[project]
name = "import"
output = "out"
device = "cpu"

[models]
ae = "MODELS/ae.safetensors"
clip_l = "MODELS/clip_l.safetensors"
t5xxl = "MODELS/t5xxl.safetensors"

[[dataset]]
image_dir = "pictures"
resolution = 32
min_bucket_reso = 32
bucket_reso_steps = 16
flip_aug = true

[stages.merge]

[stages.cache]
import_cache = true
clip_activation = "gelu"
latent_dtype = "f32"
text_dtype = "f32"
t5xxl_max_token_length = 4
"#;

const LATENT: &str = "red_0032x0032_flux.npz";
const TEXT: &str = "red_flux_te.npz";
const OF_RED: [&str; 3] =
    ["cache/latent red.png", "cache/latent red.png (flipped)", "cache/text red.png"];

/// A red picture with caches and a blue one without.
fn project() -> Project {
    let project = Project::with_manifest(MANIFEST);
    project.file("pictures/red.png", picture(32, 200, ImageFormat::Png));
    project.file("pictures/red.caption", "red\n");
    project.file("pictures/blue.png", picture(32, 20, ImageFormat::Png));
    project.file("pictures/blue.caption", "blue\n");
    for cache in [LATENT, TEXT] {
        project.file(&format!("pictures/{cache}"), npz(cache));
    }
    project
}

fn picture(side: u32, red: u8, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    RgbImage::from_pixel(side, side, Rgb([red, 30, 90])).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn npz(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/npz");
    fs::read(folder.join(name)).unwrap()
}

/// The cache with one of its numbers, which stands there once, replaced.
fn edited(name: &str, old: f32, new: f32) -> Vec<u8> {
    let mut bytes = npz(name);
    let places: Vec<_> =
        (0..bytes.len() - 3).filter(|&at| bytes[at..at + 4] == old.to_le_bytes()).collect();
    assert_eq!(places.len(), 1, "{old} in {name}");
    bytes[places[0]..places[0] + 4].copy_from_slice(&new.to_le_bytes());
    bytes
}

/// What `make.py` puts into the latent and into T5's states.
fn latent(sign: f32) -> Vec<f32> {
    (0..16 * 4 * 4).map(|place| sign * place as f32 / 64.0).collect()
}

fn hidden() -> Vec<f32> {
    (0..4 * 32).map(|place| place as f32 / 8.0 - 4.0).collect()
}

/// How many records of the store hold a tensor of this name with these values.
fn stored(project: &Project, tensor: &str, values: &[f32]) -> usize {
    let folders = fs::read_dir(project.path("out/store/v1/objects")).unwrap();
    let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    let found = files.filter_map(|file| {
        let record = Checkpoint::open_safetensors(&file.unwrap().path()).ok()?;
        record.info(tensor)?;
        record.f32(tensor).ok()
    });
    found.filter(|found| found == values).count()
}

/// The warning of refused caches: number of items, and the examples.
fn warning(run: &Run) -> Option<(u64, Vec<String>)> {
    let mut warnings = run.events().filter(|event| event["event"] == "warning");
    let warning = warnings.next()?;
    assert_eq!(warning["code"], "fluxpipe::cache::import_refused", "{warning}");
    assert_eq!((&warning["stage"], warnings.next()), (&"cache".into(), None));
    let examples = warning["examples"].as_array().unwrap().iter();
    let examples = examples.map(|example| example.as_str().unwrap().to_owned()).collect();
    Some((warning["items"].as_u64().unwrap(), examples))
}

#[test]
fn fitting_caches_are_taken_bit_for_bit_and_their_bytes_count() {
    let project = project();
    let run = project.does("merge 2 of 2, cache 6 of 6");
    assert_eq!(warning(&run), None);
    for (tensor, values) in [("latent", latent(1.0)), ("latent", latent(-1.0)), ("t5", hidden())] {
        assert_eq!(stored(&project, tensor, &values), 1, "{tensor}");
    }
    let pooled = (0..32).map(|place| place as f32 / 8.0).collect::<Vec<_>>();
    assert_eq!(stored(&project, "clip_pooled", &pooled), 1);

    // Another number in a cache is another record, of exactly what is taken from it.
    let last = latent(1.0)[255];
    project.file(&format!("pictures/{LATENT}"), edited(LATENT, last, 7.5));
    let run = project.does("merge 0 of 2, cache 2 of 6");
    assert_eq!(run.made(), OF_RED[..2]);
    let mut values = latent(1.0);
    values[255] = 7.5;
    assert_eq!(stored(&project, "latent", &values), 1);
    project.file(&format!("pictures/{TEXT}"), edited(TEXT, hidden()[127], -0.75));
    assert_eq!(project.does("merge 0 of 2, cache 1 of 6").made(), OF_RED[2..]);
    let mut values = hidden();
    values[127] = -0.75;
    assert_eq!(stored(&project, "t5", &values), 1);

    // What was taken is still known when the edits are taken back.
    for cache in [LATENT, TEXT] {
        project.file(&format!("pictures/{cache}"), npz(cache));
    }
    project.is_idle();
    // Without the key nothing is taken, and nothing is left of what was.
    project.replace("import_cache = true\n", "");
    assert_eq!(project.does("merge 0 of 2, cache 3 of 6").made(), OF_RED);
}

#[test]
fn a_cache_that_does_not_fit_is_refused_in_words_that_reach_the_user() {
    let project = project();
    project.file("pictures/red.caption", "red green blue\n");
    project.file("pictures/red.png", picture(64, 200, ImageFormat::Png));
    let run = project.does("merge 2 of 2, cache 6 of 6");
    let size = "it was made of a picture of 32x32 pixels, and this one has 64x64";
    let expected = [
        format!("red.png ({size})"),
        format!("red.png (flipped) ({size})"),
        "red.png (it was made of a text of 2 tokens, not of 4)".to_owned(),
    ];
    assert_eq!(warning(&run), Some((3, expected.to_vec())));
    for (tensor, values) in [("latent", latent(1.0)), ("t5", hidden())] {
        assert_eq!(stored(&project, tensor, &values), 0, "{tensor}");
    }
    // It is told as long as it is so, to people too.
    assert_eq!(warning(&project.run()), Some((3, expected.to_vec())));
    for command in ["plan", "run"] {
        let told = project.call(&[command, "project.toml"]).exits(0);
        let told = format!("{}{}", told.stdout, told.stderr);
        assert!(told.contains("3 items have a cache of sd-scripts that is not taken"), "{told}");
        assert!(told.contains(size), "{told}");
    }
    // A file that is none is refused like one that does not fit.
    project.file("pictures/red.png", picture(32, 200, ImageFormat::Png));
    project.file(&format!("pictures/{LATENT}"), &npz(LATENT)[..1000]);
    let (_, refused) = warning(&project.run().exits(0)).unwrap();
    assert!(refused[0].contains("is not a usable .npz file"), "{refused:?}");
    // Once everything fits there is nothing to tell.
    project.file(&format!("pictures/{LATENT}"), npz(LATENT));
    project.file("pictures/red.caption", "red\n");
    assert_eq!(warning(&project.run().exits(0)), None);
    assert_eq!(stored(&project, "latent", &latent(1.0)), 1);
    project.is_idle();
}

#[test]
fn a_picture_that_exif_turns_is_not_the_one_that_sd_scripts_saw() {
    let project = project();
    project.remove("pictures/red.png");
    project.file("pictures/red.jpg", turned(&picture(32, 200, ImageFormat::Jpeg)));
    let run = project.does("merge 2 of 2, cache 6 of 6");
    let (items, refused) = warning(&run).unwrap();
    assert_eq!(items, 2);
    assert!(refused.iter().all(|why| why.contains("the EXIF orientation turns this one")));
    assert_eq!(stored(&project, "latent", &latent(1.0)), 0);
    project.replace("flip_aug = true", "flip_aug = true\nexif_orientation = false");
    assert_eq!(warning(&project.run().exits(0)), None);
    assert_eq!(stored(&project, "latent", &latent(1.0)), 1);
}

/// A JPEG file with an EXIF block that says: turn by a quarter.
fn turned(jpeg: &[u8]) -> Vec<u8> {
    let exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], b"\xff\xe1", &length, exif, &jpeg[2..]].concat()
}
