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
    /// Linear between four pixels whatever the scale: OpenCV's `INTER_LINEAR`.
    Linear,
    /// The pixel at the same place: OpenCV's `INTER_NEAREST_EXACT`.
    Nearest,
    /// The mean of the pixels whose centres are covered: Pillow's `BOX`.
    Box,
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
        Resampling::Linear => cubic(rgb, from, to, |x| (1.0 - x.abs()).max(0.0)),
        Resampling::Nearest => nearest(rgb, from, to),
        Resampling::Box => antialiased(rgb, from, to, 0.5, box_weight),
    }
}

/// Takes for each pixel the one at its place; places are computed with 16 bits behind the point.
fn nearest(rgb: &[u8], from: (usize, usize), to: (usize, usize)) -> Vec<u8> {
    let places = |from: usize, to: usize| {
        let step = ((from << 16) + to / 2) / to;
        let place = move |index: usize| ((step * index + step / 2 - from % 2) >> 16).min(from - 1);
        (0..to).map(place).collect::<Vec<_>>()
    };
    let (columns, rows) = (places(from.0, to.0), places(from.1, to.1));
    let mut pixels = Vec::with_capacity(to.0 * to.1 * 3);
    for row in rows {
        let row = rgb[row * from.0 * 3..][..from.0 * 3].as_chunks::<3>().0;
        pixels.extend(columns.iter().flat_map(|&column| row[column]));
    }
    pixels
}

fn box_weight(x: f64) -> f64 {
    if x > -0.5 && x <= 0.5 { 1.0 } else { 0.0 }
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

    const ALL: [Resampling; 7] = [
        Resampling::Area,
        Resampling::Lanczos,
        Resampling::Bicubic,
        Resampling::Cubic,
        Resampling::Linear,
        Resampling::Nearest,
        Resampling::Box,
    ];

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
            // Of two pixels that are equally near, the last two take the left or upper one.
            for resampling in &ALL[..5] {
                let resampling = *resampling;
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

    /// The reds of a picture with hard edges, resized by OpenCV 5.0 (`INTER_LINEAR`,
    /// `INTER_NEAREST_EXACT`) and Pillow 13 (`BOX`).
    #[test]
    fn the_other_resamplers_are_those_of_opencv_and_pillow() {
        let (width, height) = (9, 7);
        let level = |x: usize, y: usize, c: usize| {
            ((x * x * 13 + y * y * 7 + x * y * 5 + c * 83) * 31 % 256) as u8
        };
        let rgb: Vec<u8> = (0..width * height * 3)
            .map(|at| level(at / 3 % width, at / 3 / width, at % 3))
            .collect();
        let reds = |to, resampling| {
            let resized = resize(&rgb, (width, height), to, resampling);
            resized.into_iter().step_by(3).collect::<Vec<_>>()
        };
        let check = |resampling, most: u8, small: [u8; 20], row: [u8; 14]| {
            for (found, expected) in
                [(reds((5, 4), resampling), &small[..]), (reds((14, 10), resampling), &row[..])]
            {
                let apart = found.iter().zip(expected).map(|(a, b)| a.abs_diff(*b)).max();
                assert!(apart <= Some(most), "{resampling:?}: {found:?}");
            }
        };
        // OpenCV cuts bits off between the axes, so a level may differ.
        check(
            Resampling::Linear,
            1,
            [
                86, 87, 74, 113, 115, 81, 44, 97, 100, 135, 138, 186, 101, 144, 174, 137, 79, 84,
                142, 66,
            ],
            [0, 68, 139, 94, 63, 43, 46, 62, 89, 140, 138, 49, 119, 192],
        );
        check(
            Resampling::Nearest,
            0,
            [
                0, 76, 48, 172, 192, 100, 28, 108, 84, 212, 144, 180, 112, 196, 176, 132, 20, 60,
                252, 84,
            ],
            [0, 0, 147, 76, 76, 43, 48, 48, 91, 172, 172, 35, 192, 192],
        );
        check(
            Resampling::Box,
            0,
            [
                93, 106, 83, 91, 100, 78, 71, 65, 90, 143, 144, 218, 112, 102, 172, 143, 106, 93,
                111, 70,
            ],
            [0, 0, 147, 76, 76, 43, 48, 48, 91, 172, 172, 35, 192, 192],
        );
    }
}
