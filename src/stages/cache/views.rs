//! The views of a picture: mirrored or not, and which crop and colours were drawn.
//!
//! Each view is encoded once, as a latent of its own, and the training takes them in turns. A draw is
//! named by the seed of the cache stage, the picture's bytes and the number of the view, so a renamed
//! picture keeps its views. Views that come out alike have equal keys and are encoded once.

use crate::stages::{Sample, Site};
use crate::{
    base::{Stream, Value},
    dataset::{
        Aspect, BucketSettings, Buckets, ColourChange, DatasetError, Fitted, Picture, Placement,
        Resampling, place,
    },
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

/// A view of one picture, with what was drawn for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    view: View,
    /// Left and top edge of the bucket in the resized picture, where it is not that of the plain view.
    crop: Option<(usize, usize)>,
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

    /// What this view is of a picture that has this place in its bucket. The place is asked for where
    /// crops are drawn.
    pub fn draw(
        self,
        dataset: &Dataset,
        seed: u64,
        sample: &Sample,
        placement: Option<Placement>,
    ) -> Drawn {
        if self.number == 0 {
            return Drawn { view: self, crop: None, colour: None };
        }
        // A picture and its mirror image are cut and coloured alike. Each draw has a stream of its own, so
        // that switching one option on leaves what the other drew.
        let stream =
            |purpose| Stream::new(seed, purpose, Some(&sample.digest), &[u64::from(self.number)]);
        let crop = placement.filter(|_| dataset.random_crop).and_then(|placement| {
            let Placement { bucket, resized, crop } = placement;
            let mut stream = stream("view crop");
            let (across, down) = (stream.uniform(), stream.uniform());
            // Every whole place from 0 to the far end is as likely.
            let at = |share: f64, over: usize| ((share * (over + 1) as f64) as usize).min(over);
            let drawn = (at(across, resized.0 - bucket.0), at(down, resized.1 - bucket.1));
            (drawn != crop).then_some(drawn)
        });
        let colour = dataset.color_aug.then(|| colour(&mut stream("view colour"))).flatten();
        Drawn { view: self, crop, colour }
    }
}

impl Drawn {
    /// Key parts of the view; none for the plain one.
    pub fn parts(&self, site: &Site, sample: &Sample) -> Vec<KeyPart> {
        let part = |name: &str, key: &str, value: Value| {
            let origin = site.origin(format!("dataset.{}.{key}", sample.dataset));
            KeyPart::new(name, value, origin)
        };
        let mut parts = Vec::new();
        if self.view.flipped {
            parts.push(part("flipped", "flip_aug", Value::Bool(true)));
        }
        if let Some((left, top)) = self.crop {
            let place = [left, top].map(|edge| Value::Int(edge as i64)).to_vec();
            parts.push(part("crop", "random_crop", Value::List(place)));
        }
        if let Some(change) = self.colour {
            let (name, value) = match change {
                ColourChange::Hue(degrees) => ("hue", degrees),
                ColourChange::Gamma(power) => ("gamma", power),
            };
            parts.push(part(name, "color_aug", Value::Float(value)));
        }
        parts
    }

    /// What tells the posterior noise of a view from that of the other views of its picture. Views with
    /// equal key parts have equal noise, since one encoding stands for all of them.
    pub fn counters(&self) -> Vec<u64> {
        let number = if self.colour.is_some() { u64::from(self.view.number) } else { 0 };
        let of_view = vec![number, u64::from(self.view.flipped)];
        match self.crop {
            Some((left, top)) => [of_view, vec![left as u64, top as u64]].concat(),
            None if of_view == [0, 0] => Vec::new(),
            None => of_view,
        }
    }

    /// Brings a picture with this place to the size of its bucket, as this view shows it.
    pub fn fit(&self, buckets: &Buckets, mut placement: Placement, picture: &Picture) -> Fitted {
        placement.crop = self.crop.unwrap_or(placement.crop);
        let resampling = buckets.resampling((picture.width, picture.height), placement);
        let mut fitted = place(picture, placement, resampling);
        if let Some(change) = self.colour {
            fitted = fitted.recoloured(change);
        }
        if self.view.flipped { fitted.mirrored() } else { fitted }
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

/// The buckets of each dataset.
///
/// # Errors
/// The settings of one contradict each other.
pub fn buckets(site: &Site) -> Result<Vec<Buckets>, DatasetError> {
    site.manifest.dataset.iter().map(of_dataset).collect()
}

fn of_dataset(dataset: &Dataset) -> Result<Buckets, DatasetError> {
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
    use std::collections::HashSet;

    use super::*;
    use crate::{base::Digest, dataset::PictureFile};

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
    fn crops_are_whole_places_and_equal_ones_are_one_view() {
        let sample = Sample {
            id: "a.png".to_owned(),
            file: PictureFile { path: "a.png".into(), relative: "a.png".into() },
            digest: Digest::of(b"a"),
            dataset: 0,
            sidecars: None,
        };
        let dataset =
            Dataset { random_crop: true, flip_aug: true, image_variants: 60, ..Dataset::default() };
        let drawn = |resized: (usize, usize)| {
            let crop = ((resized.0 - 64) / 2, (resized.1 - 64) / 2);
            let placement = Placement { bucket: (64, 64), resized, crop };
            let views = View::all(&dataset).into_iter();
            views.map(|view| view.draw(&dataset, 1, &sample, Some(placement))).collect::<Vec<_>>()
        };
        // Nothing to cut: the plain view and its mirror image.
        for one in drawn((64, 64)) {
            assert_eq!(one.crop, None);
            let counters: &[u64] = if one.view.flipped { &[0, 1] } else { &[] };
            assert_eq!(one.counters(), counters);
        }
        // Three places across, the middle one being the plain view's.
        let crops = drawn((66, 64));
        let places = crops.iter().map(|one| one.crop).collect::<HashSet<_>>();
        assert_eq!(places, HashSet::from([None, Some((0, 0)), Some((2, 0))]));
        // Equal views have equal noise, and others have another.
        let kinds = crops.iter().map(|one| (one.crop, one.view.flipped)).collect::<HashSet<_>>();
        let noises = crops.iter().map(Drawn::counters).collect::<HashSet<_>>();
        assert_eq!((kinds.len(), noises.len()), (6, 6));
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
