//! Square pictures for the networks that label: padded for the tagger, squashed for the captioner.

use super::{
    Picture, Resampling,
    area::{Canvas, area},
    resize,
};

/// Puts the picture in the middle of a white square as large as its longer side. An odd margin is
/// wider on the right and at the bottom.
#[must_use]
pub fn to_square_white(picture: &Picture) -> Picture {
    let (width, height) = (picture.width, picture.height);
    let side = width.max(height);
    let (left, top) = ((side - width) / 2, (side - height) / 2);
    let mut rgb = vec![255; side * side * 3];
    for (row, pixels) in picture.rgb.chunks_exact(width * 3).enumerate() {
        let start = ((top + row) * side + left) * 3;
        rgb[start..start + pixels.len()].copy_from_slice(pixels);
    }
    Picture { width: side, height: side, rgb, alpha: None }
}

/// What a WD tagger sees: on white, padded to a square, resized to `side`, **blue first**.
/// `[side, side, 3]`, levels 0 to 255.
#[must_use]
pub fn tagger_pixels(picture: Picture, side: usize) -> Vec<u8> {
    let flat = picture.over_white();
    let mut pixels = if flat.width.max(flat.height) > side {
        area(&Canvas::square(&flat.rgb, (flat.width, flat.height)), (side, side))
    } else {
        // What grows is small, so that its margins may be.
        let square = to_square_white(&flat);
        resize(&square.rgb, (square.width, square.height), (side, side), Resampling::Lanczos)
    };
    pixels.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| pixel.reverse());
    pixels
}

/// What BLIP sees: on white, squashed to a square of `side` without keeping the proportions.
/// `[side, side, 3]`, red first, levels 0 to 255; the captioner scales and normalises them.
#[must_use]
pub fn captioner_pixels(picture: Picture, side: usize) -> Vec<u8> {
    let flat = picture.over_white();
    resize(&flat.rgb, (flat.width, flat.height), (side, side), Resampling::Bicubic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_is_white_and_wider_at_the_end() {
        let picture = Picture { width: 1, height: 4, rgb: vec![7; 12], alpha: None };
        let square = to_square_white(&picture);
        let row: Vec<u8> = square.rgb[..12].iter().step_by(3).copied().collect();
        assert_eq!((square.width, square.height), (4, 4));
        assert_eq!(row, [255, 7, 255, 255]);
    }

    #[test]
    fn a_margin_in_no_memory_is_as_good_as_one_in_memory() {
        let level = |at: usize| (at * 37 % 251) as u8;
        for (width, height, side) in [(40, 9, 16), (9, 40, 16), (33, 7, 11), (8, 3, 8), (5, 6, 8)] {
            let rgb = (0..width * height * 3).map(level).collect();
            let picture = Picture { width, height, rgb, alpha: None };
            let square = to_square_white(&picture);
            let from = (square.width, square.height);
            let resampling = Resampling::automatic(from, (side, side));
            let mut expected = resize(&square.rgb, from, (side, side), resampling);
            expected.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| pixel.reverse());
            assert_eq!(tagger_pixels(picture, side), expected, "{width} × {height} at {side}");
        }
    }

    #[test]
    fn the_tagger_sees_blue_first() {
        let picture = Picture { width: 1, height: 1, rgb: vec![1, 2, 3], alpha: None };
        assert_eq!(tagger_pixels(picture.clone(), 1), [3, 2, 1]);
        assert_eq!(captioner_pixels(picture, 1), [1, 2, 3]);
    }
}
