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
    /// How the bucket of a picture is chosen.
    pub aspect: Aspect,
    /// How pictures are resized; `None` is [`Resampling::automatic`].
    pub resize_interpolation: Option<Resampling>,
}

/// How the bucket of a picture is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aspect {
    /// The bucket with the least `|ln(bucket's width / height) − ln(picture's)|`: what is cut off is least,
    /// and a portrait goes to the turned bucket of the same picture lying. Of two that are equally near,
    /// the larger. Pictures that are not enlarged lose pixels on one axis only.
    ConstantArea,
    /// The rule of the training scripts: the least difference of width / height, which makes a portrait
    /// go to another shape than the same picture lying. Of two that are equally near, the first.
    Linear,
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
    aspect: Aspect,
    resampling: Option<Resampling>,
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
    /// `[height, width]` of the bucket, for pictures that have transparency.
    pub alpha: Option<Vec<u8>>,
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
        let (aspect, resampling) = (settings.aspect, settings.resize_interpolation);
        let buckets = |sizes, step| Ok(Self { sizes, area, step, aspect, resampling });
        if !settings.enable_bucket {
            return buckets(vec![settings.resolution], None);
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
            return buckets(Vec::new(), Some(step));
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
        buckets(sizes, None)
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
        let (bucket, resized) = match (self.step, self.aspect) {
            (Some(step), Aspect::Linear) => select_without_upscale(self.area, step, width, height),
            (Some(step), Aspect::ConstantArea) => {
                lying(width, height, |width, height| shrink(self.area, step, width, height))
            }
            (None, _) => self.select_nearest(width, height),
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

    /// The bucket of the picture's own size, or the one nearest in aspect ratio. The picture is scaled
    /// to cover it.
    fn select_nearest(&self, width: usize, height: usize) -> ((usize, usize), (usize, usize)) {
        if self.sizes.contains(&(width, height)) {
            return ((width, height), (width, height));
        }
        let aspect = width as f64 / height as f64;
        let bucket = match self.aspect {
            Aspect::ConstantArea => self.nearest_shape(width, height),
            Aspect::Linear => self.nearest_aspect(aspect),
        };
        let wider = aspect > ratio(bucket);
        let scale =
            if wider { bucket.1 as f64 / height as f64 } else { bucket.0 as f64 / width as f64 };
        // Covers the bucket whatever the last bit of `scale` is.
        let scaled = |side: usize, least: usize| round(side as f64 * scale).max(least);
        (bucket, (scaled(width, bucket.0), scaled(height, bucket.1)))
    }

    /// The first of the buckets with the least difference of width / height.
    fn nearest_aspect(&self, aspect: f64) -> (usize, usize) {
        let mut bucket = self.sizes[0];
        for &size in &self.sizes[1..] {
            if (ratio(size) - aspect).abs() < (ratio(bucket) - aspect).abs() {
                bucket = size;
            }
        }
        bucket
    }

    /// The bucket of which the least is cut off. The distance `ln(a·d / (b·c))` is compared as the
    /// fraction itself, in whole numbers, so that no rounding favours one side.
    fn nearest_shape(&self, width: usize, height: usize) -> (usize, usize) {
        let apart = |&(w, h): &(usize, usize)| {
            let (a, b) = (w as u128 * height as u128, h as u128 * width as u128);
            (a.max(b), a.min(b))
        };
        let nearer = |one: &(usize, usize), other: &(usize, usize)| {
            let ((a, b), (c, d)) = (apart(one), apart(other));
            // a/b against c/d; where they are equal, the larger bucket first, then the lying one that
            // a lying picture shares its axis with.
            let area = |size: &(usize, usize)| size.0 * size.1;
            let along = |size: &(usize, usize)| (size.0 >= size.1) == (width >= height);
            (a * d)
                .cmp(&(c * b))
                .then(area(other).cmp(&area(one)))
                .then(along(other).cmp(&along(one)))
        };
        self.sizes.iter().copied().min_by(nearer).unwrap_or_default()
    }

    /// Brings `picture` to the size of its bucket. What is transparent shows white.
    ///
    /// # Errors
    /// As [`Buckets::select`].
    pub fn fit(&self, picture: &Picture) -> Result<Fitted, DatasetError> {
        let size = (picture.width, picture.height);
        let placement = self.select(size.0, size.1)?;
        Ok(place(picture, placement, self.resampling(size, placement)))
    }

    /// How a picture of this size is brought to its place.
    #[must_use]
    pub fn resampling(&self, size: (usize, usize), placement: Placement) -> Resampling {
        self.resampling.unwrap_or_else(|| Resampling::automatic(size, placement.resized))
    }
}

impl Placement {
    /// Share of the resized picture that is cut off, from 0 to 1.
    #[must_use]
    pub fn cut_off(&self) -> f64 {
        let area = |(width, height): (usize, usize)| width as f64 * height as f64;
        1.0 - area(self.bucket) / area(self.resized)
    }

    /// How many times as long as in the picture a side is in the resized one; below 1 it shrank.
    #[must_use]
    pub fn enlargement(&self, (width, height): (usize, usize)) -> f64 {
        (self.resized.0 as f64 / width as f64).max(self.resized.1 as f64 / height as f64)
    }
}

/// Brings `picture` to a given place by a given resampling. What is transparent shows white.
#[must_use]
pub fn place(picture: &Picture, placement: Placement, resampling: Resampling) -> Fitted {
    let flat = match picture.alpha {
        None => Cow::Borrowed(picture),
        Some(_) => Cow::Owned(picture.clone().over_white()),
    };
    let size = (flat.width, flat.height);
    let resized = resize(&flat.rgb, size, placement.resized, resampling);
    let alpha = picture.alpha.as_ref().map(|alpha| {
        let grey = alpha.iter().flat_map(|&opacity| [opacity; 3]).collect::<Vec<_>>();
        let grey = resize(&grey, size, placement.resized, resampling);
        cropped(&grey, placement).iter().copied().step_by(3).collect()
    });
    Fitted { pixels: cropped(&resized, placement), alpha, placement }
}

/// The bucket's part of a resized picture.
fn cropped(resized: &[u8], placement: Placement) -> Vec<u8> {
    let ((width, height), (left, top)) = (placement.bucket, placement.crop);
    let rows = resized.chunks_exact(placement.resized.0 * 3).skip(top).take(height);
    rows.flat_map(|row| &row[left * 3..(left + width) * 3]).copied().collect()
}

fn ratio((width, height): (usize, usize)) -> f64 {
    width as f64 / height as f64
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

/// A choice for a lying picture, turned for one that stands.
fn lying(
    width: usize,
    height: usize,
    choose: impl Fn(usize, usize) -> ((usize, usize), (usize, usize)),
) -> ((usize, usize), (usize, usize)) {
    if width >= height {
        return choose(width, height);
    }
    let turn = |(width, height): (usize, usize)| (height, width);
    let (bucket, resized) = choose(height, width);
    (turn(bucket), turn(resized))
}

/// The size of a picture that only shrinks, and its bucket. One side becomes a whole number of steps, and
/// the other is cut by less than one: of the two ways the one that cuts off less, and of equal ones
/// the larger.
fn shrink(
    area: usize,
    step: usize,
    width: usize,
    height: usize,
) -> ((usize, usize), (usize, usize)) {
    let scale = (area as f64 / (width as f64 * height as f64)).sqrt().min(1.0);
    let floor = |side: f64| side as usize / step * step;
    let way = |exact: usize, side: usize, other: usize| {
        let scaled = exact as f64 / side as f64 * other as f64;
        let bucket = floor(scaled + 1e-6);
        // Never more than the picture has: `exact` is at most `side`.
        (bucket, round(scaled).min(other).max(bucket))
    };
    // The last bit of a product must not cost a whole step.
    let ideal = |side: usize| floor(side as f64 * scale + 1e-6);
    let (across, down) = (ideal(width), ideal(height));
    let (by_width, by_height) = (way(across, width, height), way(down, height, width));
    let ways =
        [((across, by_width.0), (across, by_width.1)), ((by_height.0, down), (by_height.1, down))];
    let kept = |((_, _), resized): &((usize, usize), (usize, usize))| resized.0 * resized.1;
    let share = |way: &((usize, usize), (usize, usize))| {
        let bucket = way.0.0 * way.0.1;
        if bucket == 0 { 0.0 } else { bucket as f64 / kept(way) as f64 }
    };
    let [first, second] = ways;
    let better = share(&second).total_cmp(&share(&first)).then(kept(&second).cmp(&kept(&first)));
    if better.is_gt() { second } else { first }
}

/// To the nearest whole number; halves go up.
fn round(value: f64) -> usize {
    (value + 0.5) as usize
}

#[cfg(test)]
mod tests;
