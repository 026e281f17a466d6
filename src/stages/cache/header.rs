//! What the header of a picture's file says of its size, which the store remembers by content.

use rayon::prelude::*;

use crate::{
    dataset::{Buckets, DatasetError, Encoded, Placement},
    stages::{ProjectError, Sample, Site},
};

/// What is known of a picture without decoding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Width and height in pixels as the stages see the picture: turned upright, unless its dataset says
    /// otherwise.
    pub size: (usize, usize),
    /// Whether its EXIF orientation turns or mirrors it.
    pub turned: bool,
}

/// The shape of a sample's picture; none where the file is no usable picture, which is told when it is
/// decoded. [`Store::save_facts`](crate::pipeline::Store::save_facts) keeps what was looked up.
///
/// # Errors
/// The file, or what the store remembers, cannot be read.
pub fn shape(site: &Site, sample: &Sample) -> Result<Option<Shape>, ProjectError> {
    let found = site.store.fact("picture-size", &sample.digest, || -> Result<_, ProjectError> {
        let header = Encoded::read(&sample.file.path)?.header().clone();
        let stored = (header.width as u64, header.height as u64);
        Ok(vec![stored.0, stored.1, u64::from(header.orientation)])
    });
    let numbers = match found {
        Ok(numbers) => numbers,
        Err(ProjectError::Dataset(DatasetError::Read { .. }) | ProjectError::Store(_)) => {
            return found.map(|_| None);
        }
        Err(_) => return Ok(None),
    };
    let [width, height, orientation] = numbers[..] else { return Ok(None) };
    let (width, height) = (width as usize, height as usize);
    let upright = site.dataset(sample).exif_orientation;
    let size =
        if upright && (5..=8).contains(&orientation) { (height, width) } else { (width, height) };
    Ok(Some(Shape { size, turned: upright && orientation != 1 }))
}

/// A picture on its way into a bucket.
pub struct Placed<'a> {
    pub sample: &'a Sample,
    pub size: (usize, usize),
    pub placement: Placement,
}

/// Where a sample's picture goes, in the buckets of its dataset. None where it is broken or fits no
/// bucket, which is told when it is encoded.
///
/// # Errors
/// As [`shape`].
pub fn placed<'a>(
    site: &Site,
    buckets: &[Buckets],
    sample: &'a Sample,
) -> Result<Option<Placed<'a>>, ProjectError> {
    let Some(Shape { size, .. }) = shape(site, sample)? else { return Ok(None) };
    let placement = buckets[sample.dataset].select(size.0, size.1).ok();
    Ok(placement.map(|placement| Placed { sample, size, placement }))
}

/// Looks up the shapes of these samples' pictures on all cores, so that asking for one costs nothing.
///
/// # Errors
/// As [`shape`].
pub fn look_up(site: &Site, samples: &[&Sample]) -> Result<(), ProjectError> {
    samples.par_iter().try_for_each(|sample| shape(site, sample).map(drop))?;
    // Only speed is lost where the store cannot be written.
    let _ = site.store.save_facts();
    Ok(())
}
