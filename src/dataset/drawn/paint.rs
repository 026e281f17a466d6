//! Pixels of a scene.

use image::{Rgb, RgbImage};

use super::{Background, Colour, Count, Scene, Size, Texture, shapes::distance};
use crate::base::Stream;

/// One thing: middle and radius as shares of the picture's side, turned by radians.
struct Thing {
    x: f64,
    y: f64,
    radius: f64,
    turn: f64,
}

/// Paints the scene, `side` pixels wide and high. Places, sizes, angles and shades vary with `stream`.
#[must_use]
pub fn paint(scene: &Scene, side: u32, stream: &mut Stream) -> RgbImage {
    let things = things(scene, stream);
    let mut shade = |size: f64| size * (2.0 * stream.uniform() - 1.0);
    let lighter = shade(10.0);
    let ground = background(scene.background).map(|value| value + lighter);
    let colour = colour(scene.colour).map(|value| (value + shade(14.0)).clamp(0.0, 255.0));
    // Stripes and dots are lighter, halfway to white.
    let light = colour.map(|value| f64::midpoint(value, 255.0));
    RgbImage::from_fn(side, side, |x, y| {
        let at = |pixel: u32| (f64::from(pixel) + 0.5) / f64::from(side);
        let (x, y) = (at(x), at(y));
        let mut pixel = ground;
        for thing in &things {
            let (dx, dy) = ((x - thing.x) / thing.radius, (thing.y - y) / thing.radius);
            let (sin, cos) = thing.turn.sin_cos();
            let (across, up) = (dx * cos + dy * sin, dy * cos - dx * sin);
            // How much of a pixel is inside, from how far its middle is.
            let covered = |inside: f64| (0.5 - inside * f64::from(side)).clamp(0.0, 1.0);
            let inside = covered(distance(scene.shape, across, up) * thing.radius);
            let texture = covered(cover(scene.texture, across * thing.radius, up * thing.radius));
            pixel = mix(pixel, mix(colour, light, texture), inside);
        }
        Rgb(pixel.map(|value| value.round() as u8))
    })
}

fn things(scene: &Scene, stream: &mut Stream) -> Vec<Thing> {
    let (radius, middles): (f64, &[(f64, f64)]) = match (scene.count, scene.size) {
        (Count::One, Size::Small) => (0.17, &[(0.5, 0.5)]),
        (Count::One, Size::Large) => (0.36, &[(0.5, 0.5)]),
        (Count::Two, _) => (0.2, &[(0.27, 0.5), (0.73, 0.5)]),
        (Count::Three, _) => (0.18, &[(0.5, 0.27), (0.27, 0.71), (0.73, 0.71)]),
    };
    // A small thing may be anywhere, a large one has little room.
    let room = if radius < 0.18 && middles.len() == 1 { 0.2 } else { 0.04 };
    let mut about = |size: f64| size * (2.0 * stream.uniform() - 1.0);
    let mut thing = |&(x, y): &(f64, f64)| Thing {
        x: x + about(room),
        y: y + about(room),
        radius: radius * (1.0 + about(0.1)),
        turn: about(0.15),
    };
    middles.iter().map(&mut thing).collect()
}

/// The distance to the edge of what lies on a thing, in shares of the picture's side.
fn cover(texture: Texture, x: f64, y: f64) -> f64 {
    const PERIOD: f64 = 0.12;
    let wave = |value: f64| (value / PERIOD).rem_euclid(1.0) - 0.5;
    match texture {
        Texture::Plain => 1.0,
        Texture::Striped => (wave(x).abs() - 0.25) * PERIOD,
        Texture::Dotted => (wave(x).hypot(wave(y)) - 0.33) * PERIOD,
    }
}

fn colour(colour: Colour) -> [f64; 3] {
    match colour {
        Colour::Red => [215.0, 35.0, 40.0],
        Colour::Orange => [245.0, 130.0, 25.0],
        Colour::Yellow => [245.0, 210.0, 40.0],
        Colour::Green => [40.0, 150.0, 70.0],
        Colour::Blue => [35.0, 95.0, 215.0],
        Colour::Purple => [130.0, 50.0, 165.0],
    }
}

fn background(background: Background) -> [f64; 3] {
    match background {
        Background::White => [245.0; 3],
        Background::Gray => [150.0; 3],
        Background::Black => [20.0; 3],
    }
}

fn mix(from: [f64; 3], to: [f64; 3], share: f64) -> [f64; 3] {
    std::array::from_fn(|channel| from[channel] + (to[channel] - from[channel]) * share)
}
