//! Buckets: the few sizes that pictures are trained at, and how a picture gets to one of them.
//!
//! A bucket has about the area of the wanted resolution and sides that are multiples of a step. A
//! picture goes to the bucket nearest in aspect ratio, is resized to cover it, and the rest is cut off
//! evenly on both sides.

use std::{borrow::Cow, collections::BTreeSet};

use super::{DatasetError, PIXEL_LIMIT, Picture, Resampling, resize};

/// The sizes that are allowed. Names are those of the training scripts; sizes are `(width, height)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketSettings {
    /// The wanted size; with buckets only its area counts.
    pub resolution: (usize, usize),
    /// Whether there are buckets at all; without, every picture is brought to `resolution`.
    pub enable_bucket: bool,
    /// Shortest side of a bucket, rounded down to a multiple of the step.
    pub min_bucket_reso: usize,
    /// Longest side of a bucket, rounded up to a multiple of the step.
    pub max_bucket_reso: usize,
    /// Sides are multiples of this.
    pub bucket_reso_steps: usize,
    /// Do not enlarge pictures: buckets are made for each picture by rounding its own size down, and
    /// `min_bucket_reso` and `max_bucket_reso` do not count. As in the training scripts, a picture
    /// just above the wanted area may still grow by half a step, and its bucket exceed the area.
    pub bucket_no_upscale: bool,
}

/// No side of a bucket is longer; far more than any network takes, and few enough to list.
const SIDE_LIMIT: usize = 1 << 16;

/// The buckets of one dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buckets {
    sizes: Vec<(usize, usize)>,
    area: usize,
    /// Set where buckets are made for each picture.
    step: Option<usize>,
}

/// Where a picture goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Placement {
    /// The bucket.
    pub bucket: (usize, usize),
    /// What the picture is resized to; at least the bucket in both axes.
    pub resized: (usize, usize),
    /// Left and top edge of the bucket in the resized picture.
    pub crop: (usize, usize),
}

/// A picture of its bucket's size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitted {
    /// `[height, width, 3]` of the bucket, red first.
    pub pixels: Vec<u8>,
    /// Where it went, and how.
    pub placement: Placement,
}

impl Buckets {
    /// Makes the buckets.
    ///
    /// # Errors
    /// A setting is 0, or the settings contradict each other.
    pub fn new(settings: &BucketSettings) -> Result<Self, DatasetError> {
        let refuse = |setting, reason: &str| {
            Err(DatasetError::BucketSettings { reason: reason.to_owned(), setting })
        };
        let (width, height) = settings.resolution;
        let area = width.saturating_mul(height);
        if area == 0 || area > PIXEL_LIMIT {
            return refuse("`resolution`", "the resolution has no pixels, or too many");
        }
        if !settings.enable_bucket {
            return Ok(Self { sizes: vec![settings.resolution], area, step: None });
        }
        let step = settings.bucket_reso_steps;
        if step == 0 {
            return refuse("`bucket_reso_steps`", "the step is 0");
        }
        if settings.max_bucket_reso > SIDE_LIMIT || step > SIDE_LIMIT {
            return refuse("`max_bucket_reso` or `bucket_reso_steps`", "the sides are too long");
        }
        let min = settings.min_bucket_reso / step * step;
        let max = settings.max_bucket_reso.next_multiple_of(step);
        if settings.bucket_no_upscale {
            return Ok(Self { sizes: Vec::new(), area, step: Some(step) });
        }
        if width.min(height) < min {
            let reason = "`min_bucket_reso` is larger than the resolution";
            return refuse("`min_bucket_reso` or `resolution`", reason);
        }
        if width.max(height) > max {
            let reason = "`max_bucket_reso` is smaller than the resolution";
            return refuse("`max_bucket_reso` or `resolution`", reason);
        }
        let sizes = make_bucket_resolutions(area, min.max(step), max, step);
        if sizes.is_empty() {
            let reason = "the resolution is smaller than one step";
            return refuse("`bucket_reso_steps` or `resolution`", reason);
        }
        Ok(Self { sizes, area, step: None })
    }

    /// The sizes of the buckets, sorted. None where buckets are made for each picture.
    #[must_use]
    pub fn sizes(&self) -> &[(usize, usize)] {
        &self.sizes
    }

    /// Chooses the bucket of a picture with this size.
    ///
    /// # Errors
    /// The picture is smaller than one step and must not be enlarged, or it is so long and thin that
    /// the enlarged picture would not fit into memory.
    pub fn select(&self, width: usize, height: usize) -> Result<Placement, DatasetError> {
        let refuse = |reason: &str, help| {
            Err(DatasetError::NoBucket { width, height, reason: reason.to_owned(), help })
        };
        if width == 0 || height == 0 {
            return refuse("it is empty", "replace the picture");
        }
        let (bucket, resized) = match self.step {
            Some(step) => select_without_upscale(self.area, step, width, height),
            None => self.select_nearest(width, height),
        };
        if bucket.0 == 0 || bucket.1 == 0 {
            let reason =
                "with `bucket_no_upscale` a picture must be at least one step wide and high";
            let help = "set `bucket_no_upscale = false`, use a smaller `bucket_reso_steps`, or take the picture away";
            return refuse(reason, help);
        }
        if resized.0.saturating_mul(resized.1) > PIXEL_LIMIT {
            let reason = "it is so long and thin that hardly anything of it would be left";
            return refuse(reason, "cut the picture to a more usual shape, or take it away");
        }
        let crop = ((resized.0 - bucket.0) / 2, (resized.1 - bucket.1) / 2);
        Ok(Placement { bucket, resized, crop })
    }

    /// The bucket of the picture's own size, or the one nearest in aspect ratio; of two that are
    /// equally near, the first. The picture is scaled to cover it.
    fn select_nearest(&self, width: usize, height: usize) -> ((usize, usize), (usize, usize)) {
        if self.sizes.contains(&(width, height)) {
            return ((width, height), (width, height));
        }
        let aspect = width as f64 / height as f64;
        let ratio = |size: (usize, usize)| size.0 as f64 / size.1 as f64;
        let mut bucket = self.sizes[0];
        for &size in &self.sizes[1..] {
            if (ratio(size) - aspect).abs() < (ratio(bucket) - aspect).abs() {
                bucket = size;
            }
        }
        let wider = aspect > ratio(bucket);
        let scale =
            if wider { bucket.1 as f64 / height as f64 } else { bucket.0 as f64 / width as f64 };
        // Covers the bucket whatever the last bit of `scale` is.
        let scaled = |side: usize, least: usize| round(side as f64 * scale).max(least);
        (bucket, (scaled(width, bucket.0), scaled(height, bucket.1)))
    }

    /// Brings `picture` to the size of its bucket. What is transparent shows white.
    ///
    /// # Errors
    /// As [`Buckets::select`].
    pub fn fit(&self, picture: &Picture) -> Result<Fitted, DatasetError> {
        let size = (picture.width, picture.height);
        let placement = self.select(size.0, size.1)?;
        let resampling = Resampling::automatic(size, placement.resized);
        Ok(place(picture, placement, resampling))
    }
}

/// Brings `picture` to a given place by a given resampling. What is transparent shows white.
#[must_use]
pub fn place(picture: &Picture, placement: Placement, resampling: Resampling) -> Fitted {
    let flat = match picture.alpha {
        None => Cow::Borrowed(picture),
        Some(_) => Cow::Owned(picture.clone().over_white()),
    };
    let resized = resize(&flat.rgb, (flat.width, flat.height), placement.resized, resampling);
    let ((width, height), (left, top)) = (placement.bucket, placement.crop);
    let rows = resized.chunks_exact(placement.resized.0 * 3).skip(top).take(height);
    let pixels = rows.flat_map(|row| &row[left * 3..(left + width) * 3]).copied().collect();
    Fitted { pixels, placement }
}

/// All sizes with an area of at most `area` whose sides are multiples of `step` between `min` and
/// `max`, each as high as it can be for its width or as wide as it can be for its height; sorted.
fn make_bucket_resolutions(
    area: usize,
    min: usize,
    max: usize,
    step: usize,
) -> Vec<(usize, usize)> {
    let square = area.isqrt() / step * step;
    let mut sizes = BTreeSet::new();
    if square > 0 {
        sizes.insert((square, square));
    }
    for width in (min..=max).step_by(step) {
        let height = (area / width / step * step).min(max);
        if height >= min {
            sizes.insert((width, height));
            sizes.insert((height, width));
        }
    }
    sizes.into_iter().collect()
}

/// The size of a picture that is not enlarged, and the bucket: that size rounded down. A picture
/// larger than `area` is first shrunk to it, so that the width or the height is a whole number of
/// steps, whichever keeps the proportions better.
fn select_without_upscale(
    area: usize,
    step: usize,
    width: usize,
    height: usize,
) -> ((usize, usize), (usize, usize)) {
    let mut resized = (width, height);
    if width.saturating_mul(height) > area {
        let aspect = width as f64 / height as f64;
        let ideal_width = (area as f64 * aspect).sqrt();
        let ideal_height = area as f64 / ideal_width;
        let stepped = |side: f64| (round(side) / step * step) as f64;
        let (by_width, by_height) = (stepped(ideal_width), stepped(ideal_height));
        // How far the shape is off when the other side is rounded too. A side of 0 gives an infinite
        // or undefined error, which loses, and in the end an empty bucket, which is refused.
        let width_error = (by_width / stepped(by_width / aspect) - aspect).abs();
        let height_error = (stepped(by_height * aspect) / by_height - aspect).abs();
        resized = if width_error < height_error {
            (by_width as usize, round(by_width / aspect))
        } else {
            (round(by_height * aspect), by_height as usize)
        };
    }
    ((resized.0 / step * step, resized.1 / step * step), resized)
}

/// To the nearest whole number; halves go up.
fn round(value: f64) -> usize {
    (value + 0.5) as usize
}

#[cfg(test)]
mod tests {
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
        }
    }

    proptest! {
        #[test]
        fn a_picture_covers_its_bucket_and_nothing_wide_is_cut(
            (width, height) in (64..4000_usize, 64..4000_usize),
            side in 256..1200_usize,
            bucket_no_upscale: bool,
        ) {
            let settings = BucketSettings { bucket_no_upscale, ..settings(side) };
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
                prop_assert!(growth <= 1.0 + 33.0 / shorter, "{growth}");
            } else {
                prop_assert!(bucket.0 * bucket.1 <= side * side);
                prop_assert!(resized.0 == bucket.0 || resized.1 == bucket.1);
            }
        }
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
}
