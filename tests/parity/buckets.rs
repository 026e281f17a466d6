//! Buckets against the pack `buckets`: which bucket, what size before the crop, where the crop, and the
//! pixels. The pack's last four columns (what another model family is told of the crop) are not used
//! by FLUX and not computed.

use fluxpipe::dataset::{Aspect, BucketSettings, Buckets, Picture, Resampling};
use serde_json::Value;

use super::pack::{Pack, difference, number_after};

fn whole(value: &Value) -> usize {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no whole number")) as usize
}

fn pair(value: &Value) -> (usize, usize) {
    (whole(&value[0]), whole(&value[1]))
}

fn settings(case: &Value, [min, max, steps, no_upscale]: [&str; 4]) -> BucketSettings {
    BucketSettings {
        resolution: pair(&case["resolution"]),
        enable_bucket: true,
        min_bucket_reso: whole(&case[min]),
        max_bucket_reso: whole(&case[max]),
        bucket_reso_steps: whole(&case[steps]),
        bucket_no_upscale: case[no_upscale].as_bool().unwrap(),
        aspect: Aspect::Linear,
        resize_interpolation: case["interp"].as_str().map(resampling),
    }
}

#[test]
fn bucket_choice() {
    const NAMES: [&str; 4] =
        ["min_bucket_reso", "max_bucket_reso", "bucket_reso_steps", "bucket_no_upscale"];
    for pack in Pack::of_kind("buckets") {
        let cases = pack.json("buckets.json");
        let mut rows = 0;
        for case in cases.as_array().unwrap() {
            let settings = settings(case, NAMES);
            let buckets = Buckets::new(&settings).unwrap_or_else(|error| panic!("{error}"));
            // Absent where buckets are made for each picture.
            let sizes = case["resos"].as_array().map_or(&[][..], |sizes| sizes);
            let sizes: Vec<_> = sizes.iter().map(pair).collect();
            assert_eq!(buckets.sizes(), sizes, "{settings:?}");
            for row in case["rows"].as_array().unwrap() {
                let row: Vec<usize> = row.as_array().unwrap()[..8].iter().map(whole).collect();
                let found =
                    buckets.select(row[0], row[1]).unwrap_or_else(|error| panic!("{error}"));
                let found = [found.bucket, found.resized, found.crop].map(|pair| [pair.0, pair.1]);
                assert_eq!(
                    found.as_flattened(),
                    &row[2..],
                    "{} × {}, {settings:?}",
                    row[0],
                    row[1]
                );
                rows += 1;
            }
        }
        assert!(rows > 0, "the pack has no rows");
        eprintln!("{rows} choices of a bucket are equal");
    }
}

#[test]
fn bucket_pixels() {
    for pack in Pack::of_kind("buckets") {
        // "mean abs diff <= 0.5, max <= 2 (u8)"
        let tolerance = pack.manifest["tolerance"]["pixels"].as_str().unwrap();
        let (mean, max) = (number_after(tolerance, "diff <= "), number_after(tolerance, "max <= "));
        let cases = pack.json("images.json");
        let cases = cases.as_array().unwrap();
        assert!(!cases.is_empty(), "the pack has no pictures");
        for case in cases {
            let open = |name: &str| {
                let path = pack.path(case[name].as_str().unwrap());
                Picture::open(&path).unwrap_or_else(|error| panic!("{error}"))
            };
            let (source, expected) = (open("src"), open("out"));
            let settings = settings(case, ["min", "max", "steps", "no_upscale"]);
            let buckets = Buckets::new(&settings).unwrap_or_else(|error| panic!("{error}"));
            let fitted = buckets.fit(&source).unwrap();
            assert_eq!(fitted.placement.bucket, pair(&case["bucket"]), "{case}");
            assert_eq!(fitted.placement.resized, pair(&case["resized"]), "{case}");
            assert_eq!((expected.width, expected.height), fitted.placement.bucket, "{case}");
            let levels = |pixels: &[u8]| pixels.iter().map(|&l| f32::from(l)).collect::<Vec<_>>();
            let (found, wanted) = (levels(&fitted.pixels), levels(&expected.rgb));
            let (largest, _) = difference(&found, &wanted);
            let sum: f64 = found.iter().zip(&wanted).map(|(a, b)| f64::from((a - b).abs())).sum();
            let average = sum / found.len() as f64;
            eprintln!("{}: largest {largest}, mean {average:.5}", case["out"]);
            assert!(largest <= max && average <= mean, "{case}: largest {largest}, mean {average}");
        }
    }
}

/// What the training scripts mean by these values of `resize_interpolation`.
fn resampling(name: &str) -> Resampling {
    match name {
        "area" => Resampling::Area,
        "lanczos" => Resampling::Lanczos,
        "bicubic" | "cubic" => Resampling::Cubic,
        other => panic!("resize_interpolation = {other:?} is not known"),
    }
}
