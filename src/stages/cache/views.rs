//! The views of a picture: mirrored or not, and which crop and colours were drawn.
//!
//! Each view is encoded once, as a latent of its own, and the training takes them in turns. A draw is
//! named by the seed of the cache stage, the picture's bytes and the number of the view, so a renamed
//! picture keeps its views. Views that come out alike have equal keys and are encoded once.

use crate::stages::{Sample, Site};
use crate::{
    base::{Stream, Value},
    dataset::{Aspect, BucketSettings, Buckets, ColourChange, DatasetError, Fitted, Picture},
    dataset::{Resampling, place},
    manifest::{self, Dataset, ResizeInterpolation},
    pipeline::KeyPart,
};

/// One view of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Number of the draw, from 1; 0 where nothing is drawn.
    number: u32,
    flipped: bool,
}

/// What was drawn for a view.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Drawn {
    /// Where the bucket lies in what is left over, across and down, from 0 to 1.
    crop: Option<(f64, f64)>,
    colour: Option<ColourChange>,
}

/// The share of drawn views whose colours change, as in the training scripts.
const RECOLOURED: f64 = 0.33;
/// The most that a hue turns: 8 of OpenCV's 180 steps.
const HUE_DEGREES: f64 = 16.0;
/// Exponents of the brightness.
const GAMMA: (f64, f64) = (0.95, 1.05);

impl View {
    /// The views of each picture of a dataset; never none.
    pub fn all(dataset: &Dataset) -> Vec<Self> {
        let numbers = match dataset.random_crop || dataset.color_aug {
            true => 1..=dataset.image_variants,
            false => 0..=0,
        };
        let mirrors: &[bool] = if dataset.flip_aug { &[false, true] } else { &[false] };
        numbers
            .flat_map(|number| mirrors.iter().map(move |&flipped| Self { number, flipped }))
            .collect()
    }

    /// Whether its crop or its colours may have been drawn.
    pub fn is_drawn(self) -> bool {
        self.number > 0
    }

    /// Whether it is mirrored.
    pub fn is_flipped(self) -> bool {
        self.flipped
    }

    /// What the view's item is called: `coffee.png`, `coffee.png (flipped)`, `coffee.png (view 3)`.
    pub fn id(self, sample: &str) -> String {
        match (self.number, self.flipped) {
            (0, false) => sample.to_owned(),
            (0, true) => format!("{sample} (flipped)"),
            (number, false) => format!("{sample} (view {number})"),
            (number, true) => format!("{sample} (view {number}, flipped)"),
        }
    }

    fn draw(self, dataset: &Dataset, seed: u64, sample: &Sample) -> Drawn {
        if self.number == 0 {
            return Drawn { crop: None, colour: None };
        }
        // A picture and its mirror image are cut and coloured alike. Each draw has a stream of its own, so
        // that switching one option on leaves what the other drew.
        let stream =
            |purpose| Stream::new(seed, purpose, Some(&sample.digest), &[u64::from(self.number)]);
        let crop = dataset.random_crop.then(|| {
            let mut stream = stream("view crop");
            (stream.uniform(), stream.uniform())
        });
        let colour = dataset.color_aug.then(|| colour(&mut stream("view colour"))).flatten();
        Drawn { crop, colour }
    }

    /// Key parts of the view; none for the plain one.
    pub fn parts(self, site: &Site, seed: u64, sample: &Sample) -> Vec<KeyPart> {
        let part = |name: &str, key: &str, value: Value| KeyPart {
            name: name.to_owned(),
            value: Some(value),
            origin: site.origin(format!("dataset.{}.{key}", sample.dataset)),
        };
        let Drawn { crop, colour } = self.draw(site.dataset(sample), seed, sample);
        let mut parts = Vec::new();
        if self.flipped {
            parts.push(part("flipped", "flip_aug", Value::Bool(true)));
        }
        if let Some((across, down)) = crop {
            let place = Value::List(vec![Value::Float(across), Value::Float(down)]);
            parts.push(part("crop", "random_crop", place));
        }
        if let Some(change) = colour {
            let (name, value) = match change {
                ColourChange::Hue(degrees) => ("hue", degrees),
                ColourChange::Gamma(power) => ("gamma", power),
            };
            parts.push(part(name, "color_aug", Value::Float(value)));
        }
        parts
    }

    /// What tells the posterior noise of a view from that of the other views of its picture.
    pub fn counters(self, site: &Site, seed: u64, sample: &Sample) -> Vec<u64> {
        let Drawn { crop, colour } = self.draw(site.dataset(sample), seed, sample);
        let number = if crop.is_some() || colour.is_some() { u64::from(self.number) } else { 0 };
        match (number, self.flipped) {
            (0, false) => Vec::new(),
            (number, flipped) => vec![number, u64::from(flipped)],
        }
    }

    /// Brings a sample's picture to the size of its bucket, as this view shows it.
    ///
    /// # Errors
    /// No bucket fits.
    pub fn fit(
        self,
        buckets: &Buckets,
        dataset: &Dataset,
        seed: u64,
        sample: &Sample,
        picture: &Picture,
    ) -> Result<Fitted, DatasetError> {
        let size = (picture.width, picture.height);
        let mut placement = buckets.select(size.0, size.1)?;
        let Drawn { crop, colour } = self.draw(dataset, seed, sample);
        if let Some((across, down)) = crop {
            // Every whole place from 0 to the far end is as likely.
            let at = |share: f64, over: usize| ((share * (over + 1) as f64) as usize).min(over);
            let (bucket, resized) = (placement.bucket, placement.resized);
            placement.crop = (at(across, resized.0 - bucket.0), at(down, resized.1 - bucket.1));
        }
        let mut fitted = place(picture, placement, buckets.resampling(size, placement));
        if let Some(change) = colour {
            fitted = fitted.recoloured(change);
        }
        Ok(if self.flipped { fitted.mirrored() } else { fitted })
    }
}

fn colour(stream: &mut Stream) -> Option<ColourChange> {
    let (whether, which, how_much) = (stream.uniform(), stream.uniform(), stream.uniform());
    if whether > RECOLOURED {
        return None;
    }
    let between = |low: f64, high: f64| low + (high - low) * how_much;
    Some(match which > 0.5 {
        true => ColourChange::Hue(between(-HUE_DEGREES, HUE_DEGREES)),
        false => ColourChange::Gamma(between(GAMMA.0, GAMMA.1)),
    })
}

/// The buckets of a dataset.
///
/// # Errors
/// Its settings contradict each other.
pub fn buckets(dataset: &Dataset) -> Result<Buckets, DatasetError> {
    let resolution = dataset.resolution;
    Buckets::new(&BucketSettings {
        resolution: (resolution.width as usize, resolution.height as usize),
        enable_bucket: dataset.enable_bucket,
        min_bucket_reso: dataset.min_bucket_reso as usize,
        max_bucket_reso: dataset.max_bucket_reso() as usize,
        bucket_reso_steps: dataset.bucket_reso_steps as usize,
        bucket_no_upscale: dataset.bucket_no_upscale,
        aspect: match dataset.aspect {
            manifest::Aspect::ConstantArea => Aspect::ConstantArea,
            manifest::Aspect::Linear => Aspect::Linear,
        },
        resize_interpolation: dataset.resize_interpolation.map(resampling),
    })
}

/// What the training scripts do for each value.
fn resampling(written: ResizeInterpolation) -> Resampling {
    match written {
        ResizeInterpolation::Lanczos => Resampling::Lanczos,
        ResizeInterpolation::Nearest => Resampling::Nearest,
        ResizeInterpolation::Bilinear | ResizeInterpolation::Linear => Resampling::Linear,
        ResizeInterpolation::Bicubic | ResizeInterpolation::Cubic => Resampling::Cubic,
        ResizeInterpolation::Area => Resampling::Area,
        ResizeInterpolation::Box => Resampling::Box,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dataset_has_as_many_views_as_its_options_make() {
        let ids = |dataset: &Dataset| {
            View::all(dataset).into_iter().map(|view| view.id("a.png")).collect::<Vec<_>>()
        };
        let plain = Dataset { image_variants: 2, ..Dataset::default() };
        assert_eq!(ids(&plain), ["a.png"]);
        let flipped = Dataset { flip_aug: true, ..plain.clone() };
        assert_eq!(ids(&flipped), ["a.png", "a.png (flipped)"]);
        let cropped = Dataset { random_crop: true, ..plain.clone() };
        assert_eq!(ids(&cropped), ["a.png (view 1)", "a.png (view 2)"]);
        let both = Dataset { color_aug: true, flip_aug: true, ..plain };
        assert_eq!(
            ids(&both),
            [
                "a.png (view 1)",
                "a.png (view 1, flipped)",
                "a.png (view 2)",
                "a.png (view 2, flipped)"
            ]
        );
    }

    #[test]
    fn about_a_third_of_drawn_colours_change_half_of_them_in_hue() {
        let drawn =
            (0..3000_u64).map(|number| colour(&mut Stream::new(1, "test", None, &[number])));
        let changes = drawn.flatten().collect::<Vec<_>>();
        let hues = changes.iter().filter(|change| matches!(change, ColourChange::Hue(_))).count();
        // Three standard errors around 990 and a half of it.
        assert!((912..1068).contains(&changes.len()), "{}", changes.len());
        assert!(hues.abs_diff(changes.len() / 2) < 50, "{hues}");
        for change in changes {
            match change {
                ColourChange::Hue(degrees) => assert!(degrees.abs() <= HUE_DEGREES),
                ColourChange::Gamma(power) => assert!((GAMMA.0..=GAMMA.1).contains(&power)),
            }
        }
    }
}
