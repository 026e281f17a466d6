//! Resizing as the published training scripts do it: pixel by pixel as Pillow and OpenCV would.
//!
//! The networks were trained on pictures that went through these very filters, so the resamplers are
//! written out here: [`separable`](super::separable) and [`area`](super::area). General resizing
//! libraries differ from Pillow by two levels on photographs and by tens on noise, since they resize
//! the columns first or keep other intermediate precision.

use super::{
    area::{Canvas, area},
    separable::{antialiased, cubic},
};

/// How a picture is resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resampling {
    /// Mean over the covered area, OpenCV's `INTER_AREA`. Only for sizes that grow in neither axis.
    Area,
    /// Lanczos with three lobes, widened when shrinking: Pillow's `LANCZOS`.
    Lanczos,
    /// Cubic with a = −0.5, widened when shrinking: Pillow's `BICUBIC`.
    Bicubic,
    /// Cubic with a = −0.75 over four pixels whatever the scale: OpenCV's `INTER_CUBIC`.
    Cubic,
}

impl Resampling {
    /// The rule of the training scripts: the area mean where the picture grows in neither axis, else
    /// Lanczos. Sizes are `(width, height)`.
    #[must_use]
    pub fn automatic(from: (usize, usize), to: (usize, usize)) -> Self {
        if from.0 >= to.0 && from.1 >= to.1 { Self::Area } else { Self::Lanczos }
    }
}

/// Resizes `rgb`, `[height, width, 3]`, between two sizes `(width, height)`, none of them 0. Where
/// [`Resampling::Area`] is asked for and an axis grows, Lanczos takes its place.
///
/// # Panics
/// `rgb` does not have the size `from`, or a side is 0.
#[must_use]
pub fn resize(
    rgb: &[u8],
    from: (usize, usize),
    to: (usize, usize),
    resampling: Resampling,
) -> Vec<u8> {
    assert_eq!(rgb.len(), from.0 * from.1 * 3, "pixels of another size");
    assert!(from.0 > 0 && from.1 > 0 && to.0 > 0 && to.1 > 0, "an empty picture");
    if from == to {
        return rgb.to_vec();
    }
    match resampling {
        Resampling::Area if Resampling::automatic(from, to) == Resampling::Area => {
            area(&Canvas::bare(rgb, from), to)
        }
        Resampling::Area | Resampling::Lanczos => antialiased(rgb, from, to, 3.0, lanczos),
        Resampling::Bicubic => antialiased(rgb, from, to, 2.0, |x| cubic_weight(x, -0.5)),
        Resampling::Cubic => cubic(rgb, from, to, |x| cubic_weight(x, -0.75)),
    }
}

fn lanczos(x: f64) -> f64 {
    fn sinc(x: f64) -> f64 {
        let x = x * std::f64::consts::PI;
        if x == 0.0 { 1.0 } else { x.sin() / x }
    }
    if x.abs() < 3.0 { sinc(x) * sinc(x / 3.0) } else { 0.0 }
}

/// Keys' cubic with the free parameter `a`.
fn cubic_weight(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Resampling; 4] =
        [Resampling::Area, Resampling::Lanczos, Resampling::Bicubic, Resampling::Cubic];

    /// A small picture of random size and content with a random target size.
    fn job() -> impl Strategy<Value = (Vec<u8>, (usize, usize), (usize, usize))> {
        let sides = (1..20_usize, 1..20_usize, 1..40_usize, 1..40_usize);
        sides.prop_flat_map(|(w, h, to_w, to_h)| {
            let pixels = prop::collection::vec(any::<u8>(), w * h * 3);
            (pixels, Just((w, h)), Just((to_w, to_h)))
        })
    }

    proptest! {
        #[test]
        fn flat_colours_stay_flat((_, from, to) in job(), colour: [u8; 3]) {
            for resampling in ALL {
                let resized = resize(&colour.repeat(from.0 * from.1), from, to, resampling);
                prop_assert_eq!(resized, colour.repeat(to.0 * to.1));
            }
        }

        #[test]
        fn turning_and_resizing_commute_up_to_rounding((rgb, from, to) in job()) {
            // By 180°, so that each axis is walked the other way round.
            let turn = |rgb: &[u8]| -> Vec<u8> {
                rgb.as_chunks::<3>().0.iter().rev().flatten().copied().collect()
            };
            for resampling in ALL {
                let first = turn(&resize(&rgb, from, to, resampling));
                let last = resize(&turn(&rgb), from, to, resampling);
                // Ties are broken the other way round, once for each axis, and the second rounding
                // carries the first one's level on with a weight of up to 1.3.
                let apart = first.iter().zip(&last).map(|(a, b)| a.abs_diff(*b)).max();
                prop_assert!(apart <= Some(2), "{resampling:?} {apart:?}");
            }
        }
    }

    #[test]
    fn an_edge_overshoots_by_the_known_amount() {
        // A step from 100 to 200, doubled: the cubic with a = −0.5 gives 93.36 … beyond the step's foot.
        let rgb: Vec<u8> =
            [100, 100, 100, 100, 200, 200, 200, 200].iter().flat_map(|&c| [c; 3]).collect();
        let resized = resize(&rgb, (8, 1), (16, 1), Resampling::Bicubic);
        let row: Vec<u8> = resized.chunks(3).map(|pixel| pixel[0]).collect();
        assert_eq!(
            row,
            [100, 100, 100, 100, 100, 98, 93, 120, 180, 207, 202, 200, 200, 200, 200, 200]
        );
    }
}
