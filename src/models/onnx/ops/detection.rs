//! What detectors do with boxes and regions. On the host.

use rayon::prelude::*;

use super::{Call, Outcome, one};
use crate::models::onnx::{
    host::{Array, Host, elements},
    value::Value,
};

/// A box by its corners, in the order of its coordinates.
#[derive(Clone, Copy)]
struct Corners {
    low: [f32; 2],
    high: [f32; 2],
}

impl Corners {
    /// Of four numbers: two corners, whichever, or the centre and the size.
    fn new(numbers: &[f32], centred: bool) -> Self {
        let [a, b, c, d] = [numbers[0], numbers[1], numbers[2], numbers[3]];
        if centred {
            let (half_width, half_height) = (c / 2.0, d / 2.0);
            return Self {
                low: [a - half_width, b - half_height],
                high: [a + half_width, b + half_height],
            };
        }
        Self { low: [a.min(c), b.min(d)], high: [a.max(c), b.max(d)] }
    }

    fn area(self) -> f32 {
        (self.high[0] - self.low[0]) * (self.high[1] - self.low[1])
    }

    /// Shared area by joint area.
    fn overlap(self, other: Self) -> f32 {
        let side =
            |i: usize| (self.high[i].min(other.high[i]) - self.low[i].max(other.low[i])).max(0.0);
        let shared = side(0) * side(1);
        if shared <= 0.0 { 0.0 } else { shared / (self.area() + other.area() - shared) }
    }
}

/// Per class, the boxes in the order of their scores, but those that overlap a better one too much:
/// rows of batch, class and box.
pub(super) fn non_max_suppression(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let (boxes, scores) = (call.value(0)?.reals()?, call.value(1)?.reals()?);
    let limit = match call.optional(2) {
        Some(value) => value.ints()?.data().first().copied().unwrap_or(0),
        None => 0,
    };
    let mut threshold = |index| {
        let value = call.optional(index).map(Value::reals).transpose()?;
        Ok::<_, String>(value.and_then(|host| host.data().first().copied()))
    };
    let (most_overlap, least_score) = (threshold(3)?.unwrap_or(0.0), threshold(4)?);
    let centred = call.int("center_point_box", 0) != 0;
    let (&[batches, count, 4], &[_, classes, _]) = (&boxes.shape()[..], &scores.shape()[..]) else {
        return Err("its boxes are not [N, B, 4], or its scores are not [N, C, B]".to_owned());
    };
    if scores.shape() != [batches, classes, count] {
        return Err(format!("scores {:?} do not fit boxes {:?}", scores.shape(), boxes.shape()));
    }
    let mut rows = Vec::new();
    for batch in 0..batches {
        let boxes: Vec<Corners> = boxes.data()[batch * count * 4..][..count * 4]
            .chunks(4)
            .map(|numbers| Corners::new(numbers, centred))
            .collect();
        for class in 0..classes {
            let scores = &scores.data()[(batch * classes + class) * count..][..count];
            let enough = |&place: &usize| least_score.is_none_or(|least| scores[place] > least);
            let mut order: Vec<usize> = (0..count).filter(enough).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            let mut kept: Vec<usize> = Vec::new();
            for place in order {
                if kept.len() as i64 >= limit {
                    break;
                }
                if kept.iter().all(|&other| boxes[place].overlap(boxes[other]) <= most_overlap) {
                    kept.push(place);
                }
            }
            rows.extend(kept.into_iter().flat_map(|place| [batch, class, place].map(|i| i as i64)));
        }
    }
    one(Host::new(vec![rows.len() / 3, 3], rows)?)
}

/// A channel of a picture.
#[derive(Clone, Copy)]
struct Plane<'a> {
    data: &'a [f32],
    height: usize,
    width: usize,
}

impl Plane<'_> {
    fn at(self, y: usize, x: usize) -> f32 {
        self.data[y * self.width + x]
    }
}

/// A place between four pixels: their coordinates and weights.
fn corners(plane: Plane<'_>, y: f32, x: f32) -> Option<[(f32, usize, usize); 4]> {
    let (height, width) = (plane.height as f32, plane.width as f32);
    if !(-1.0..=height).contains(&y) || !(-1.0..=width).contains(&x) {
        return None;
    }
    let part = |at: f32, size: usize| {
        let at = at.max(0.0);
        let low = (at as usize).min(size - 1);
        let at = if low == size - 1 { low as f32 } else { at };
        (low, (low + 1).min(size - 1), at - low as f32)
    };
    let (top, bottom, down) = part(y, plane.height);
    let (left, right, across) = part(x, plane.width);
    Some([
        ((1.0 - down) * (1.0 - across), top, left),
        ((1.0 - down) * across, top, right),
        (down * (1.0 - across), bottom, left),
        (down * across, bottom, right),
    ])
}

/// What one region of `RoiAlign` is cut into, in pixels.
struct Region {
    top: f32,
    left: f32,
    cell_height: f32,
    cell_width: f32,
    /// Places that are read in each cell, down and across.
    samples: [usize; 2],
}

/// How `RoiAlign` cuts.
struct Cutting {
    rows: usize,
    columns: usize,
    /// Places per cell and direction; zero for as many as the cell has pixels.
    samples: usize,
    scale: f32,
    half_pixel: bool,
    largest: bool,
}

impl Cutting {
    fn new(call: &Call<'_>) -> Outcome<Self> {
        let size =
            |name: &str| usize::try_from(call.int(name, 1)).map_err(|_| format!("negative {name}"));
        // Before opset 16 places were not moved by half a pixel.
        let default = if call.opset < 16 { "output_half_pixel" } else { "half_pixel" };
        let stated = call.text("coordinate_transformation_mode");
        Ok(Self {
            rows: size("output_height")?,
            columns: size("output_width")?,
            samples: usize::try_from(call.int("sampling_ratio", 0)).unwrap_or(0),
            scale: call.float("spatial_scale", 1.0),
            half_pixel: if stated.is_empty() { default } else { stated } == "half_pixel",
            largest: match call.text("mode") {
                "" | "avg" => false,
                "max" => true,
                other => return Err(format!("mode {other} is not supported")),
            },
        })
    }

    /// Of corners x1, y1, x2, y2, in a picture of which no side is longer than `most`.
    fn region(&self, corners: &[f32], most: usize) -> Region {
        let shift = if self.half_pixel { 0.5 } else { 0.0 };
        let place = |index: usize| corners[index] * self.scale - shift;
        let (mut width, mut height) = (place(2) - place(0), place(3) - place(1));
        if !self.half_pixel {
            (width, height) = (width.max(1.0), height.max(1.0));
        }
        let (cell_height, cell_width) = (height / self.rows as f32, width / self.columns as f32);
        let samples = [cell_height, cell_width].map(|cell| match self.samples {
            0 => (cell.ceil().max(0.0) as usize).min(most),
            samples => samples,
        });
        Region { top: place(1), left: place(0), cell_height, cell_width, samples }
    }

    fn cell(&self, plane: Plane<'_>, region: &Region, row: usize, column: usize) -> f32 {
        let [down, across] = region.samples;
        let (mut sum, mut most) = (0.0, f32::NEG_INFINITY);
        for index in 0..down * across {
            let part = |index: usize, count: usize| (index as f32 + 0.5) / count as f32;
            let y = region.top + (row as f32 + part(index / across, down)) * region.cell_height;
            let x =
                region.left + (column as f32 + part(index % across, across)) * region.cell_width;
            let pixels = corners(plane, y, x).unwrap_or([(0.0, 0, 0); 4]);
            for (weight, y, x) in pixels {
                let value = weight * plane.at(y, x);
                sum += value;
                most = most.max(value);
            }
        }
        match (down * across, self.largest) {
            (0, _) => 0.0,
            (_, true) => most,
            (count, false) => sum / count as f32,
        }
    }
}

/// Regions of pictures, cut out at a fixed size (He et al. 2017).
pub(super) fn roi_align(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let (pictures, regions) = (call.value(0)?.reals()?, call.value(1)?.reals()?);
    let batch = call.value(2)?.ints()?;
    let cutting = Cutting::new(&call)?;
    let (&[count, channels, height, width], &[regions_count, 4]) =
        (&pictures.shape()[..], &regions.shape()[..])
    else {
        return Err("its pictures are not [N, C, H, W], or its regions are not [R, 4]".to_owned());
    };
    if batch.data().len() != regions_count || height == 0 || width == 0 {
        return Err("its batch indices are not one for each region".to_owned());
    }
    let result = vec![regions_count, channels, cutting.rows, cutting.columns];
    elements(&result)?;
    let most = height.max(width);
    if cutting.samples > most {
        return Err(format!("its sampling_ratio is larger than its pictures of {height}x{width}"));
    }
    let mut data = Vec::with_capacity(result.iter().product());
    for (corners, &picture) in regions.data().chunks(4).zip(batch.data()) {
        let picture = usize::try_from(picture).ok().filter(|&picture| picture < count);
        let picture = picture.ok_or("a batch index is not among the pictures")?;
        let region = cutting.region(corners, most);
        for channel in 0..channels {
            let start = (picture * channels + channel) * height * width;
            let plane = Plane { data: &pictures.data()[start..][..height * width], height, width };
            let cells = 0..cutting.rows * cutting.columns;
            data.extend(cells.map(|cell| {
                cutting.cell(plane, &region, cell / cutting.columns, cell % cutting.columns)
            }));
        }
    }
    one(Value::constant(Host::new(result, data)?, call.device)?)
}

/// What lies beyond the edge of a picture.
#[derive(Clone, Copy, PartialEq)]
enum Beyond {
    Zeros,
    Border,
    Reflection,
}

/// How places of a grid are read.
#[derive(Clone, Copy)]
struct Sampling {
    beyond: Beyond,
    align_corners: bool,
}

impl Sampling {
    /// From -1..1 to pixels.
    fn place(self, at: f32, size: usize) -> f32 {
        let size = size as f32;
        if self.align_corners {
            (at + 1.0) / 2.0 * (size - 1.0)
        } else {
            ((at + 1.0) * size - 1.0) / 2.0
        }
    }

    /// The pixel that a place between pixels counts for, or `None` where zeros lie.
    fn pixel(self, at: i64, size: usize) -> Option<usize> {
        let last = size as i64 - 1;
        match self.beyond {
            Beyond::Zeros => (0..=last).contains(&at).then_some(at as usize),
            Beyond::Border => Some(at.clamp(0, last) as usize),
            Beyond::Reflection => {
                Some(self.reflected(at as f32, size).round().clamp(0.0, last as f32) as usize)
            }
        }
    }

    /// A place mirrored at the edges: at the outermost pixels' centres or at their outer sides.
    fn reflected(self, at: f32, size: usize) -> f32 {
        let (low, high) =
            if self.align_corners { (0.0, size as f32 - 1.0) } else { (-0.5, size as f32 - 0.5) };
        let range = high - low;
        if range <= 0.0 {
            return 0.0;
        }
        let distance = (at - low).rem_euclid(2.0 * range);
        low + if distance > range { 2.0 * range - distance } else { distance }
    }

    fn read(self, plane: Plane<'_>, y: i64, x: i64) -> f32 {
        match (self.pixel(y, plane.height), self.pixel(x, plane.width)) {
            (Some(y), Some(x)) => plane.at(y, x),
            _ => 0.0,
        }
    }

    /// A place between pixels, moved inside where the mode asks for it.
    fn inside(self, at: f32, size: usize) -> f32 {
        match self.beyond {
            Beyond::Zeros => at,
            Beyond::Border => at.clamp(0.0, size as f32 - 1.0),
            Beyond::Reflection => self.reflected(at, size).clamp(0.0, size as f32 - 1.0),
        }
    }
}

/// Weights of four neighbours for a place `t` behind the second (Keys 1981, a = -0.75).
fn cubic(t: f32) -> [f32; 4] {
    const A: f32 = -0.75;
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]
}

/// Pictures read at the places of a grid `[N, H, W, 2]` of x, y in -1..1.
pub(super) fn grid_sample(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let (pictures, grid) = (call.value(0)?.reals()?, call.value(1)?.reals()?);
    let sampling = Sampling {
        beyond: match call.text("padding_mode") {
            "" | "zeros" => Beyond::Zeros,
            "border" => Beyond::Border,
            "reflection" => Beyond::Reflection,
            other => return Err(format!("padding_mode {other} is not supported")),
        },
        align_corners: call.int("align_corners", 0) != 0,
    };
    let read: fn(Sampling, Plane<'_>, f32, f32) -> f32 = match call.text("mode") {
        "" | "bilinear" | "linear" => linear,
        "nearest" => |sampling, plane, y, x| {
            let (y, x) = (sampling.inside(y, plane.height), sampling.inside(x, plane.width));
            sampling.read(plane, y.round_ties_even() as i64, x.round_ties_even() as i64)
        },
        "bicubic" | "cubic" => bicubic,
        other => return Err(format!("mode {other} is not supported")),
    };
    let (&[samples, channels, height, width], &[grids, rows, columns, 2]) =
        (&pictures.shape()[..], &grid.shape()[..])
    else {
        return Err("its pictures are not [N, C, H, W], or its grid is not [N, H, W, 2]".to_owned());
    };
    if grids != samples || height == 0 || width == 0 {
        return Err("its grids are not one for each picture".to_owned());
    }
    let result = vec![samples, channels, rows, columns];
    let mut data = vec![0.0; elements(&result)?];
    let cells = rows * columns;
    data.par_chunks_mut(cells.max(1)).enumerate().for_each(|(index, output)| {
        let plane = Plane {
            data: &pictures.data()[index * height * width..][..height * width],
            height,
            width,
        };
        let grid = &grid.data()[index / channels * cells * 2..][..cells * 2];
        for (output, place) in output.iter_mut().zip(grid.chunks(2)) {
            let (x, y) = (sampling.place(place[0], width), sampling.place(place[1], height));
            *output = read(sampling, plane, y, x);
        }
    });
    one(Value::constant(Host::new(result, data)?, call.device)?)
}

fn linear(sampling: Sampling, plane: Plane<'_>, y: f32, x: f32) -> f32 {
    let (y, x) = (sampling.inside(y, plane.height), sampling.inside(x, plane.width));
    let (top, left) = (y.floor(), x.floor());
    let (down, across) = (y - top, x - left);
    let (top, left) = (top as i64, left as i64);
    let row = |y: i64| {
        sampling.read(plane, y, left) * (1.0 - across)
            + sampling.read(plane, y, left.saturating_add(1)) * across
    };
    row(top) * (1.0 - down) + row(top.saturating_add(1)) * down
}

fn bicubic(sampling: Sampling, plane: Plane<'_>, y: f32, x: f32) -> f32 {
    let (top, left) = (y.floor(), x.floor());
    let (down, across) = (cubic(y - top), cubic(x - left));
    let (top, left) = (top as i64, left as i64);
    let row = |y: i64| {
        let parts = across.iter().zip(-1..);
        parts
            .map(|(weight, i)| weight * sampling.read(plane, y, left.saturating_add(i)))
            .sum::<f32>()
    };
    down.iter().zip(-1..).map(|(weight, i)| weight * row(top.saturating_add(i))).sum()
}
