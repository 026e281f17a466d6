//! Signed distances to the edges of shapes of about unit size: negative inside.
//!
//! Coordinates point right and up, and the origin is the middle. Near an edge the distance is exact or
//! nearly so, which is all that smooth edges need.

use std::f64::consts::{FRAC_1_SQRT_2, PI, TAU};

use super::Shape;

/// The distance of a point to the edge of the shape.
pub fn distance(shape: Shape, x: f64, y: f64) -> f64 {
    match shape {
        Shape::Circle => x.hypot(y) - 0.95,
        Shape::Ring => (x.hypot(y) - 0.72).abs() - 0.24,
        Shape::Square => x.abs().max(y.abs()) - 0.82,
        Shape::Triangle => triangle(x, y + 0.25),
        Shape::Cross => {
            let (long, short) = (x.abs().max(y.abs()), x.abs().min(y.abs()));
            (short - 0.3).max(long - 0.95)
        }
        Shape::Heart => heart(x, y),
        Shape::Star => star(x, y),
    }
}

/// With equal sides, one corner up.
fn triangle(x: f64, y: f64) -> f64 {
    const INNER: f64 = 0.55;
    let sector = TAU / 3.0;
    // From straight down, the middle of a side.
    let angle = x.atan2(-y).rem_euclid(sector);
    x.hypot(y) * angle.min(sector - angle).cos() - INNER
}

/// A square on its corner, with a disc on each of the upper sides.
fn heart(x: f64, y: f64) -> f64 {
    const SIDE: f64 = 0.62;
    let (x, y) = (x.abs(), y + 0.1);
    let square = (x + y.abs()) * FRAC_1_SQRT_2 - SIDE;
    let middle = SIDE * FRAC_1_SQRT_2;
    square.min((x - middle).hypot(y - middle) - SIDE)
}

/// Five points, one of them up.
fn star(x: f64, y: f64) -> f64 {
    const POINT: f64 = 1.05;
    const NOTCH: f64 = 0.45;
    let sector = TAU / 5.0;
    let angle = x.atan2(y).rem_euclid(sector);
    let off = angle.min(sector - angle);
    let (along, across) = (x.hypot(y) * off.cos(), x.hypot(y) * off.sin());
    // The edge runs from the point to the notch, half a sector away.
    let (dx, dy) = (NOTCH * (PI / 5.0).cos() - POINT, NOTCH * (PI / 5.0).sin());
    ((along - POINT) * dy - across * dx) / dx.hypot(dy)
}
