use proptest::prelude::*;

use super::*;

fn settings(side: usize) -> BucketSettings {
    BucketSettings {
        resolution: (side, side),
        enable_bucket: true,
        min_bucket_reso: side / 4,
        max_bucket_reso: side * 2,
        bucket_reso_steps: 64,
        bucket_no_upscale: false,
        aspect: Aspect::ConstantArea,
        resize_interpolation: None,
    }
}

fn turned(size: (usize, usize)) -> (usize, usize) {
    (size.1, size.0)
}

proptest! {
    #[test]
    fn a_picture_covers_its_bucket_and_nothing_wide_is_cut(
        (width, height) in (64..4000_usize, 64..4000_usize),
        side in 256..1200_usize,
        bucket_no_upscale: bool,
        linear: bool,
    ) {
        let aspect = if linear { Aspect::Linear } else { Aspect::ConstantArea };
        let settings = BucketSettings { bucket_no_upscale, aspect, ..settings(side) };
        let Placement { bucket, resized, crop } =
            match Buckets::new(&settings).unwrap().select(width, height) {
                Ok(placement) => placement,
                // Only the rounding down of a small or thin picture may leave nothing.
                Err(_) if bucket_no_upscale && width.min(height) < side => return Ok(()),
                Err(error) => panic!("{error}"),
            };
        for (bucket, resized, crop) in
            [(bucket.0, resized.0, crop.0), (bucket.1, resized.1, crop.1)]
        {
            prop_assert!(bucket > 0 && bucket.is_multiple_of(64));
            prop_assert!(resized >= bucket);
            prop_assert!(resized - bucket - 2 * crop <= 1);
        }
        if bucket_no_upscale {
            // One side is rounded to the nearest step, so it can grow by half a step, and the
            // other side in proportion.
            let shorter = width.min(height) as f64;
            let growth = (resized.0 as f64 / width as f64).max(resized.1 as f64 / height as f64);
            let most = if linear { 1.0 + 33.0 / shorter } else { 1.0 };
            prop_assert!(growth <= most, "{growth}");
            if !linear {
                prop_assert!(bucket.0 * bucket.1 <= side * side);
                prop_assert!(resized.0 == bucket.0 || resized.1 == bucket.1);
            }
        } else {
            prop_assert!(bucket.0 * bucket.1 <= side * side);
            prop_assert!(resized.0 == bucket.0 || resized.1 == bucket.1);
        }
    }
}

proptest! {
    #[test]
    fn a_turned_picture_goes_to_the_turned_bucket(
        (width, height) in (64..4000_usize, 64..4000_usize),
        side in 256..1200_usize,
        bucket_no_upscale: bool,
    ) {
        let buckets = Buckets::new(&BucketSettings { bucket_no_upscale, ..settings(side) }).unwrap();
        if let Ok(found) = buckets.select(width, height) {
            let other = buckets.select(height, width).unwrap();
            prop_assert_eq!(found.bucket, turned(other.bucket));
            prop_assert_eq!(found.resized, turned(other.resized));
        }
    }

    #[test]
    fn no_other_bucket_would_lose_less(
        (width, height) in (64..4000_usize, 64..4000_usize), side in 256..1200_usize,
    ) {
        let buckets = Buckets::new(&settings(side)).unwrap();
        let lost = |bucket: (usize, usize)| {
            let (bucket, picture) = (ratio(bucket), width as f64 / height as f64);
            1.0 - bucket.min(picture) / bucket.max(picture)
        };
        let found = lost(buckets.select(width, height).unwrap().bucket);
        for &size in buckets.sizes() {
            // A picture that has a bucket of its own size stays as it is.
            prop_assert!(found <= lost(size) + 1e-12 || buckets.sizes().contains(&(width, height)));
        }
    }
}

#[test]
fn the_linear_rule_favours_tall_buckets() {
    let choose = |aspect, width, height| {
        let buckets = Buckets::new(&BucketSettings { aspect, ..settings(512) }).unwrap();
        buckets.select(width, height).unwrap().bucket
    };
    // 1 : 1.66 lying and standing.
    assert_eq!(choose(Aspect::ConstantArea, 1660, 1000), (640, 384));
    assert_eq!(choose(Aspect::ConstantArea, 1000, 1660), (384, 640));
    assert_eq!(choose(Aspect::Linear, 3000, 1000), (832, 256));
    assert_eq!(choose(Aspect::Linear, 1000, 3000), (256, 832));
}

#[test]
fn a_small_picture_that_is_not_enlarged_shrinks_rather_than_losing_its_rim() {
    let choose = |aspect| {
        let small = BucketSettings { bucket_no_upscale: true, aspect, ..settings(512) };
        Buckets::new(&small).unwrap().select(127, 127).unwrap()
    };
    assert_eq!(choose(Aspect::Linear).resized, (127, 127));
    assert!(choose(Aspect::Linear).cut_off() > 0.7);
    assert_eq!(choose(Aspect::ConstantArea).resized, (64, 64));
    assert!(choose(Aspect::ConstantArea).cut_off() < 1e-9);
}

#[test]
fn opacity_goes_the_way_of_the_pixels() {
    // The right half is transparent; shrinking to the bucket keeps the edge where it is.
    let (width, height) = (256, 128);
    let alpha = (0..width * height).map(|at| if at % width < 128 { 255 } else { 0 }).collect();
    let rgb = vec![10; width * height * 3];
    let picture = Picture { width, height, rgb, alpha: Some(alpha) };
    let buckets = Buckets::new(&BucketSettings { enable_bucket: false, ..settings(64) }).unwrap();
    let fitted = buckets.fit(&picture).unwrap();
    assert_eq!(fitted.placement.bucket, (64, 64));
    let row = &fitted.alpha.unwrap()[..64];
    assert_eq!((row[0], row[31], row[32], row[63]), (255, 255, 0, 0));
    assert_eq!((fitted.pixels[0], fitted.pixels[40 * 3]), (10, 255));
}

#[test]
fn contradictions_are_errors() {
    let good = settings(512);
    let bad = [
        BucketSettings { resolution: (0, 512), ..good.clone() },
        BucketSettings { bucket_reso_steps: 0, ..good.clone() },
        BucketSettings { min_bucket_reso: 576, ..good.clone() },
        BucketSettings { max_bucket_reso: 448, ..good.clone() },
        BucketSettings { min_bucket_reso: 0, bucket_reso_steps: 1024, ..good.clone() },
        BucketSettings { max_bucket_reso: usize::MAX, ..good.clone() },
        BucketSettings { resolution: (usize::MAX, 2), ..good },
    ];
    for settings in bad {
        let error = Buckets::new(&settings).unwrap_err();
        assert!(matches!(error, DatasetError::BucketSettings { .. }), "{settings:?}: {error}");
    }
}

#[test]
fn pictures_that_fit_no_bucket_are_errors() {
    let small = BucketSettings { bucket_no_upscale: true, ..settings(512) };
    let buckets = Buckets::new(&small).unwrap();
    assert!(matches!(buckets.select(63, 200), Err(DatasetError::NoBucket { .. })));
    assert!(matches!(buckets.select(100_000, 64), Err(DatasetError::NoBucket { .. })));
    assert_eq!(buckets.select(64, 200).unwrap().bucket, (64, 192));
    // Enlarged to cover its bucket it would have 3 · 10⁹ pixels.
    let buckets = Buckets::new(&settings(512)).unwrap();
    assert!(matches!(buckets.select(100_000, 1), Err(DatasetError::NoBucket { .. })));
}

#[test]
fn without_buckets_every_picture_gets_the_resolution() {
    let settings = BucketSettings { enable_bucket: false, ..settings(64) };
    let picture = Picture { width: 100, height: 50, rgb: vec![9; 15_000], alpha: None };
    let fitted = Buckets::new(&settings).unwrap().fit(&picture).unwrap();
    let wanted = Placement { bucket: (64, 64), resized: (128, 64), crop: (32, 0) };
    assert_eq!((fitted.placement, fitted.pixels), (wanted, vec![9; 64 * 64 * 3]));
}

#[test]
fn what_is_transparent_trains_as_white() {
    let settings = BucketSettings { enable_bucket: false, ..settings(1) };
    let picture = Picture { width: 1, height: 1, rgb: vec![0; 3], alpha: Some(vec![0]) };
    assert_eq!(Buckets::new(&settings).unwrap().fit(&picture).unwrap().pixels, [255; 3]);
}
