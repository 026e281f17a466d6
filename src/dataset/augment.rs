//! Changes of a picture that has its bucket's size: mirrored, or with other colours.
//!
//! Draws nothing: what is changed, and by how much, is decided by who calls.

use rayon::prelude::*;

use super::Fitted;

/// A small change of all colours of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ColourChange {
    /// Turns the hue by so many degrees; saturation and value (HSV) stay.
    Hue(f64),
    /// Raises each channel, taken from 0 to 1, to this power.
    Gamma(f64),
}

impl Fitted {
    /// The picture as a mirror shows it, left and right exchanged.
    #[must_use]
    pub fn mirrored(mut self) -> Self {
        let width = self.placement.bucket.0;
        for row in self.pixels.chunks_exact_mut(width * 3) {
            row.as_chunks_mut::<3>().0.reverse();
        }
        for row in self.alpha.iter_mut().flat_map(|alpha| alpha.chunks_exact_mut(width)) {
            row.reverse();
        }
        self
    }

    /// The picture with other colours; opacity stays.
    #[must_use]
    pub fn recoloured(mut self, change: ColourChange) -> Self {
        match change {
            ColourChange::Hue(degrees) => {
                let pixels = self.pixels.as_chunks_mut::<3>().0;
                pixels.par_iter_mut().for_each(|pixel| *pixel = turned(*pixel, degrees));
            }
            ColourChange::Gamma(power) => {
                let level = |level: u8| (f64::from(level) / 255.0).powf(power) * 255.0;
                let table: [u8; 256] = std::array::from_fn(|at| level(at as u8).round() as u8);
                self.pixels.iter_mut().for_each(|channel| *channel = table[usize::from(*channel)]);
            }
        }
        self
    }

    /// The opacity of each cell of the latent, from 0 to 1: the mean over its 8 × 8 pixels.
    /// `[height / 8, width / 8]`; `None` for a picture without transparency.
    #[must_use]
    pub fn mask(&self) -> Option<Vec<f32>> {
        const CELL: usize = 8;
        let alpha = self.alpha.as_ref()?;
        let (width, height) = self.placement.bucket;
        let mut mask = vec![0.0; (width / CELL) * (height / CELL)];
        for (y, row) in alpha.chunks_exact(width).enumerate().take(height / CELL * CELL) {
            for (x, cell) in row.chunks_exact(CELL).enumerate() {
                let sum: u32 = cell.iter().map(|&opacity| u32::from(opacity)).sum();
                mask[y / CELL * (width / CELL) + x] += sum as f32;
            }
        }
        let whole = 255.0 * (CELL * CELL) as f32;
        mask.iter_mut().for_each(|cell| *cell /= whole);
        Some(mask)
    }
}

/// A colour with its hue turned.
fn turned(pixel: [u8; 3], degrees: f64) -> [u8; 3] {
    let [red, green, blue] = pixel.map(f64::from);
    let value = red.max(green).max(blue);
    let range = value - red.min(green).min(blue);
    if range == 0.0 {
        return pixel;
    }
    // In sixths of a turn, from red.
    let hue = if value == red {
        (green - blue) / range
    } else if value == green {
        2.0 + (blue - red) / range
    } else {
        4.0 + (red - green) / range
    };
    let hue = hue + degrees / 60.0;
    // The channel that is `start` sixths before red.
    let channel = |start: f64| {
        let place = (start + hue).rem_euclid(6.0);
        let share = place.min(4.0 - place).clamp(0.0, 1.0);
        (value - range * share).round() as u8
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

#[cfg(test)]
mod tests {
    use super::{super::Placement, *};

    fn fitted(pixels: Vec<u8>, bucket: (usize, usize), alpha: Option<Vec<u8>>) -> Fitted {
        Fitted { pixels, alpha, placement: Placement { bucket, resized: bucket, crop: (0, 0) } }
    }

    #[test]
    fn a_mirror_turns_rows_and_twice_is_nothing() {
        let pixels = vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        let picture = fitted(pixels.clone(), (2, 2), Some(vec![1, 2, 3, 4]));
        let mirrored = picture.clone().mirrored();
        assert_eq!(mirrored.pixels, [4, 5, 6, 1, 2, 3, 10, 11, 12, 7, 8, 9]);
        assert_eq!(mirrored.alpha.as_deref(), Some(&[2, 1, 4, 3][..]));
        assert_eq!(mirrored.mirrored(), picture);
    }

    #[test]
    fn hues_turn_as_on_the_wheel_and_grey_has_none() {
        let turn = |pixel, degrees| turned(pixel, degrees);
        assert_eq!(turn([255, 0, 0], 120.0), [0, 255, 0]);
        assert_eq!(turn([255, 0, 0], -120.0), [0, 0, 255]);
        assert_eq!(turn([255, 0, 0], 60.0), [255, 255, 0]);
        assert_eq!(turn([200, 100, 100], 16.0), [200, 127, 100]);
        assert_eq!(turn([77, 77, 77], 16.0), [77, 77, 77]);
        for pixel in [[1, 2, 3], [250, 3, 128], [0, 255, 254], [9, 200, 10]] {
            assert_eq!(turn(pixel, 0.0), pixel);
            assert_eq!(turn(turn(pixel, 180.0), 180.0), pixel);
        }
    }

    #[test]
    fn gamma_leaves_black_and_white_and_moves_what_is_between() {
        let picture = fitted(vec![0, 128, 255], (1, 1), None);
        assert_eq!(picture.clone().recoloured(ColourChange::Gamma(1.0)), picture);
        assert_eq!(picture.recoloured(ColourChange::Gamma(1.05)).pixels, [0, 124, 255]);
    }

    #[test]
    fn a_mask_is_the_mean_opacity_of_each_cell() {
        let (width, height) = (16, 8);
        let alpha = (0..width * height).map(|at| if at % width < 12 { 255 } else { 0 }).collect();
        let picture = fitted(vec![0; width * height * 3], (width, height), Some(alpha));
        assert_eq!(picture.mask(), Some(vec![1.0, 0.5]));
        assert_eq!(fitted(vec![0; 3], (1, 1), None).mask(), None);
    }
}
