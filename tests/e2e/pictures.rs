//! Folders as users have them: many formats, letters of any case, broken files among the good.

use std::{
    collections::BTreeSet,
    io::Cursor,
    path::{Path, PathBuf},
};

use image::{DynamicImage, ImageFormat};

use crate::{Project, project::MANIFEST, project::TIME};

/// `label` and `tag` alone, as quick as they can be.
fn manifest() -> String {
    let models =
        |line: &&str| !["ae", "clip_l", "t5xxl", "flux"].iter().any(|m| line.starts_with(m));
    let upto = MANIFEST.find("[stages.merge]").unwrap();
    let text = MANIFEST[..upto].lines().filter(models).collect::<Vec<_>>().join("\n");
    text.replace("num_beams = 2\nmax_length = 12", "max_length = 8\nbatch_size = 8")
        .replace("thresh = 0.5", "thresh = 0.5\nbatch_size = 8")
}

/// Files of many kinds, made once by other programs.
fn samples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let own = |path: &PathBuf| !name(path).contains(".expected.") && name(path) != "manifest.json";
    let mut paths: Vec<_> = paths.filter(own).collect();
    paths.sort();
    paths
}

fn bytes(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

const KINDS: [(&str, ImageFormat); 11] = [
    ("png", ImageFormat::Png),
    ("PNG", ImageFormat::Png),
    ("jpg", ImageFormat::Jpeg),
    ("JpEg", ImageFormat::Jpeg),
    ("webp", ImageFormat::WebP),
    ("WebP", ImageFormat::WebP),
    ("bmp", ImageFormat::Bmp),
    ("gif", ImageFormat::Gif),
    ("TIF", ImageFormat::Tiff),
    ("tiff", ImageFormat::Tiff),
    // A name may lie about the format.
    ("jpg", ImageFormat::Png),
];

/// Writes good picture number `index`.
fn good(project: &Project, index: usize) {
    let samples = samples();
    if let Some(sample) = samples.get(index) {
        let extension = sample.extension().unwrap().to_str().unwrap();
        project.file(&format!("pictures/{index:03}.{extension}"), std::fs::read(sample).unwrap());
        return;
    }
    let (width, height) = (1 + index as u32 * 7 % 60, 1 + index as u32 * 13 % 45);
    let seed = index as u32;
    let pixel = |x, y| image::Rgba([x * 7 + seed, y * 5, x + y, 255 - x].map(|c| c as u8));
    let image = DynamicImage::ImageRgba8(image::RgbaImage::from_fn(width, height, pixel));
    let (extension, format) = KINDS[index % KINDS.len()];
    let image = match (format, index / KINDS.len() % 4) {
        (ImageFormat::Jpeg, 0) => image.into_luma8().into(),
        (ImageFormat::Jpeg | ImageFormat::WebP, _) => image.into_rgb8().into(),
        (ImageFormat::Png | ImageFormat::Tiff, 0) => image.into_luma16().into(),
        (ImageFormat::Png | ImageFormat::Tiff, 1) => image.into_rgb16().into(),
        (ImageFormat::Png, 2) => image.into_luma_alpha8().into(),
        _ => image,
    };
    project.file(&format!("pictures/{index:03}.{extension}"), bytes(&image, format));
}

/// Ten files that are no pictures, each in its own way.
fn broken() -> Vec<(&'static str, Vec<u8>)> {
    let image = DynamicImage::ImageRgb8(image::RgbImage::from_fn(40, 30, |x, y| {
        image::Rgb([x * x * 31 + y, y * y * 17 + x, x * y * 13].map(|c| c as u8))
    }));
    let cut = |format| {
        let whole = bytes(&image, format);
        whole[..whole.len() * 2 / 3].to_owned()
    };
    let mut bomb = bytes(&image, ImageFormat::Bmp);
    bomb[18..22].copy_from_slice(&60_000_u32.to_le_bytes());
    bomb[22..26].copy_from_slice(&60_000_u32.to_le_bytes());
    // A screen of one pixel, and a frame of 65 535 × 65 535 on it.
    let mut frame = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff".to_vec();
    frame.extend(b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x4c\x01\0;");
    vec![
        ("bomb.bmp", bomb),
        ("cut-gif.gif", cut(ImageFormat::Gif)),
        ("cut-jpeg.JPG", cut(ImageFormat::Jpeg)),
        ("cut-png.png", cut(ImageFormat::Png)),
        ("cut-tiff.tif", cut(ImageFormat::Tiff)),
        ("cut-webp.webp", cut(ImageFormat::WebP)),
        ("empty.jpg", Vec::new()),
        ("frame.gif", frame),
        ("new.AVIF", b"\0\0\0\x18ftypavif\0\0\0\0avifmif1".to_vec()),
        ("text.png", b"this was meant to be a picture".to_vec()),
    ]
}

#[test]
fn three_hundred_pictures_of_which_ten_are_broken() {
    let project = Project::with_manifest(&manifest());
    (0..290).for_each(|index| good(&project, index));
    let broken = broken();
    broken.iter().for_each(|(name, bytes)| project.file(&format!("pictures/{name}"), bytes));

    let run = project.run().exits(0);
    // The smallest pictures look alike to the tagger: equal probabilities make one line of tags.
    let counts =
        "label 290 of 300 (10 failed), tag.probabilities 290 of 300 (10 failed), tag 278 of 290";
    assert_eq!(run.counts(), counts);
    for stage in ["label", "tag.probabilities"] {
        let failed = run.events().filter(|e| e["event"] == "item_failed" && e["stage"] == stage);
        let failed: BTreeSet<_> = failed.map(|e| e["item"].as_str().unwrap().to_owned()).collect();
        let names: BTreeSet<_> = broken.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(failed, names, "{stage}");
    }
    let ending = |ending: &str| {
        let files = std::fs::read_dir(project.path("words")).unwrap();
        files
            .filter(|file| file.as_ref().unwrap().path().extension() == Some(ending.as_ref()))
            .count()
    };
    assert_eq!((ending("caption"), ending("txt")), (290, 290));

    // Each is named once, for both stages.
    let again = project.call(&["run", "project.toml"]).exits(0);
    insta::with_settings!({ filters => vec![TIME] }, {
        insta::assert_snapshot!("ten_broken", again.seen());
    });
}

#[test]
fn the_smallest_picture_and_the_longest() {
    let project = Project::fresh();
    project.file("pictures/1x1.png", bytes(&DynamicImage::new_rgb8(1, 1), ImageFormat::Png));
    project.file("pictures/long.png", bytes(&DynamicImage::new_rgb8(20_000, 10), ImageFormat::Png));
    project.file("pictures/tall.png", bytes(&DynamicImage::new_rgb8(10, 20_000), ImageFormat::Png));
    let run = project.run().exits(0);
    assert!(
        run.counts().starts_with("label 8 of 8, tag.probabilities 8 of 8, tag 8 of 8, "),
        "{}",
        run.counts()
    );
    assert!(!run.counts().contains("failed"), "{}", run.counts());
}

#[test]
fn the_orientation_can_be_ignored() {
    let project = Project::fresh();
    let turned = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures/turned.jpg");
    project.file("pictures/turned.jpg", std::fs::read(&turned).unwrap());
    project.run().exits(0);
    let upright = project.outputs();
    project.replace("resolution = 64", "resolution = 64\nexif_orientation = false");
    let run = project.run().exits(0);
    let networks = "label 6 of 6, tag.probabilities 6 of 6, tag 1 of 6, ";
    assert!(run.counts().starts_with(networks), "{}", run.counts());
    assert!(run.made().contains(&"cache/latent turned.jpg".to_owned()), "{:?}", run.made());
    // What stands upright anyway is seen as before.
    let as_stored = project.outputs();
    let tags = |outputs: &std::collections::BTreeMap<String, _>| outputs["words/coffee.txt"];
    assert_eq!(tags(&upright), tags(&as_stored));
    project.replace("\nexif_orientation = false", "\nexif_orientation = true");
    let nothing = "label 0 of 6, tag.probabilities 0 of 6, tag 0 of 6";
    assert!(project.plan().starts_with(nothing), "{}", project.plan());
}

#[test]
fn pictures_that_would_share_a_sidecar_are_all_named() {
    let project = Project::fresh();
    for name in ["coffee.png", "rocket.webp", "rocket.PNG"] {
        project.photograph("horse.png", &format!("pictures/{name}"));
    }
    let check = project.call(&["check", "project.toml"]).exits(2);
    insta::assert_snapshot!("shared_sidecars", check.stderr);
    project.call(&["run", "project.toml"]).exits(2);
}
