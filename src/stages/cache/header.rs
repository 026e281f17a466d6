//! What the header of a picture's file says of its size, which the store remembers by content.

use crate::{
    dataset::{DatasetError, Encoded},
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
