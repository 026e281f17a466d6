//! Resizing: each dimension on its own, as a weighted sum of a few of its places.

use burn::tensor::{Tensor, TensorData};

use super::{Call, Outcome, axes, one, sizes};
use crate::models::onnx::{
    host::{Array, elements},
    value::{Floats, RANK, Value},
};

/// Output places of one dimension: the input places each is made of, with their weights. Every output
/// has as many.
struct Taps {
    places: Vec<Vec<usize>>,
    weights: Vec<Vec<f32>>,
}

/// How places of the output lie among those of the input.
struct Mapping<'a> {
    coordinates: &'a str,
    scale: f64,
    from: usize,
    to: usize,
    /// Start and end of the part that `tf_crop_and_resize` takes.
    part: (f64, f64),
}

impl Mapping<'_> {
    fn place(&self, index: usize) -> Outcome<f64> {
        let (at, from, to) = (index as f64, self.from as f64, self.to as f64);
        Ok(match self.coordinates {
            "" | "half_pixel" => (at + 0.5) / self.scale - 0.5,
            "pytorch_half_pixel" if self.to <= 1 => 0.0,
            "pytorch_half_pixel" => (at + 0.5) / self.scale - 0.5,
            "half_pixel_symmetric" => {
                let adjustment = to / (self.scale * from);
                from / 2.0 * (1.0 - adjustment) + (at + 0.5) / self.scale - 0.5
            }
            "align_corners" if self.to <= 1 => 0.0,
            "align_corners" => at * (from - 1.0) / (to - 1.0),
            "asymmetric" => at / self.scale,
            "tf_half_pixel_for_nn" => (at + 0.5) / self.scale,
            "tf_crop_and_resize" => {
                let (start, end) = self.part;
                if self.to > 1 {
                    start * (from - 1.0) + at * (end - start) * (from - 1.0) / (to - 1.0)
                } else {
                    0.5 * (start + end) * (from - 1.0)
                }
            }
            other => return Err(format!("coordinates by {other} are not supported")),
        })
    }
}

/// How values between places are made.
enum Kernel<'a> {
    Nearest(&'a str),
    Linear,
    Cubic(f64),
}

impl Kernel<'_> {
    /// Weight of a place at this distance.
    fn weight(&self, distance: f64) -> f64 {
        let x = distance.abs();
        match *self {
            Self::Nearest(_) => 1.0,
            Self::Linear => (1.0 - x).max(0.0),
            Self::Cubic(a) if x <= 1.0 => (a + 2.0) * x.powi(3) - (a + 3.0) * x.powi(2) + 1.0,
            Self::Cubic(a) if x < 2.0 => a * (x.powi(3) - 5.0 * x.powi(2) + 8.0 * x - 4.0),
            Self::Cubic(_) => 0.0,
        }
    }

    fn reach(&self) -> f64 {
        if matches!(self, Self::Cubic(_)) { 2.0 } else { 1.0 }
    }
}

struct Rules<'a> {
    kernel: Kernel<'a>,
    antialias: bool,
    exclude_outside: bool,
    extrapolation: Option<f32>,
}

impl Rules<'_> {
    fn taps(&self, mapping: &Mapping<'_>) -> Outcome<(Taps, Vec<bool>)> {
        let last = mapping.from as i64 - 1;
        // Downwards, a wider kernel covers all that falls into one place.
        let stretch = if self.antialias { mapping.scale.min(1.0) } else { 1.0 };
        let (mut all, mut outside) = (Vec::with_capacity(mapping.to), Vec::new());
        for index in 0..mapping.to {
            let at = mapping.place(index)?;
            outside.push(at < 0.0 || at > last as f64);
            all.push(match self.kernel {
                Kernel::Nearest(rounding) => vec![(nearest(at, rounding).clamp(0, last), 1.0)],
                _ => self.weighted(at, stretch, last),
            });
        }
        let most = all.iter().map(Vec::len).max().unwrap_or(0);
        let mut taps = Taps { places: vec![Vec::new(); most], weights: vec![Vec::new(); most] };
        for mut list in all {
            list.resize(most, (0, 0.0));
            for (tap, (place, weight)) in list.into_iter().enumerate() {
                taps.places[tap].push(place as usize);
                taps.weights[tap].push(weight as f32);
            }
        }
        Ok((taps, outside))
    }

    /// Places around `at` with weights whose sum is one; those beyond the ends count for the end, or
    /// not at all.
    fn weighted(&self, at: f64, stretch: f64, last: i64) -> Vec<(i64, f64)> {
        let reach = self.kernel.reach() / stretch;
        // Farther out nothing changes any more.
        let at = at.clamp(-reach - 1.0, last as f64 + reach + 1.0);
        let first = (at - reach).floor() as i64 + 1;
        let end = (at + reach).ceil() as i64 - 1;
        let mut list: Vec<(i64, f64)> = Vec::new();
        for place in first..=end.max(first) {
            let inside = place.clamp(0, last);
            let weight = self.kernel.weight((place as f64 - at) * stretch);
            let weight = if self.exclude_outside && inside != place { 0.0 } else { weight };
            match list.iter_mut().find(|known| known.0 == inside) {
                Some(known) => known.1 += weight,
                None => list.push((inside, weight)),
            }
        }
        let sum: f64 = list.iter().map(|tap| tap.1).sum();
        list.iter_mut().for_each(|tap| tap.1 /= if sum == 0.0 { 1.0 } else { sum });
        list
    }
}

fn nearest(at: f64, rounding: &str) -> i64 {
    (match rounding {
        "round_prefer_ceil" => (at + 0.5).floor(),
        "floor" => at.floor(),
        "ceil" => at.ceil(),
        // Halves go down.
        _ => (at - 0.5).ceil(),
    }) as i64
}

/// `Resize`, opset 10 to 19.
pub(super) fn resize(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    // Opset 10 has the scales as its second input, and no choice of coordinates.
    let old = call.opset < 11;
    let (region, scales, wanted) = if old {
        (None, call.optional(1), None)
    } else {
        (call.optional(1), call.optional(2), call.optional(3))
    };
    let reals = |value: Option<Value>| {
        let list = value.map(|value| value.reals().map(|host| host.into_data())).transpose()?;
        Ok::<_, String>(list.filter(|list| !list.is_empty()))
    };
    let (region, scales) = (reals(region)?, reals(scales)?);
    let wanted = wanted.map(|value| value.ints()).transpose()?;
    let wanted = wanted.map(|host| sizes(host.data())).transpose()?.filter(|list| !list.is_empty());
    let kernel = match call.text("mode") {
        "" | "nearest" if old => Kernel::Nearest("floor"),
        "" | "nearest" => Kernel::Nearest(call.text("nearest_mode")),
        "linear" => Kernel::Linear,
        "cubic" => Kernel::Cubic(call.float("cubic_coeff_a", -0.75).into()),
        other => return Err(format!("mode {other} is not supported")),
    };
    let coordinates = if old { "asymmetric" } else { call.text("coordinate_transformation_mode") };
    let cropping = coordinates == "tf_crop_and_resize";
    let rules = Rules {
        kernel,
        antialias: call.int("antialias", 0) != 0,
        exclude_outside: call.int("exclude_outside", 0) != 0,
        extrapolation: cropping.then(|| call.float("extrapolation_value", 0.0)),
    };
    let shape = value.shape();
    let places = match call.attribute("axes") {
        Some(attribute) => axes(&attribute.ints, shape.len())?,
        None => (0..shape.len()).collect(),
    };
    let targets = targets(&shape, &places, scales, wanted, call.text("keep_aspect_ratio_policy"))?;
    let count = places.len();
    let part = |i: usize| {
        let at = |i: usize| region.as_ref().and_then(|list| list.get(i)).copied();
        (at(i).map_or(0.0, f64::from), at(i + count).map_or(1.0, f64::from))
    };
    let mappings = places.iter().zip(targets).enumerate().map(|(i, (&axis, (scale, to)))| {
        (axis, Mapping { coordinates, scale, from: shape[axis], to, part: part(i) })
    });
    resized(&call, value, &rules, mappings.collect())
}

/// `Upsample`, which `Resize` replaced: opset 7 to 9.
pub(super) fn upsample(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    let scales = match call.optional(1) {
        Some(value) => value.reals()?.into_data(),
        None => call.attribute("scales").ok_or("it states no scales")?.floats.clone(),
    };
    let kernel = match call.text("mode") {
        "" | "nearest" => Kernel::Nearest("floor"),
        "linear" | "bilinear" => Kernel::Linear,
        other => return Err(format!("mode {other} is not supported")),
    };
    let rules = Rules { kernel, antialias: false, exclude_outside: false, extrapolation: None };
    let shape = value.shape();
    let places: Vec<usize> = (0..shape.len()).collect();
    let targets = targets(&shape, &places, Some(scales), None, "")?;
    let mappings = targets.into_iter().enumerate().map(|(axis, (scale, to))| {
        (
            axis,
            Mapping { coordinates: "asymmetric", scale, from: shape[axis], to, part: (0.0, 1.0) },
        )
    });
    resized(&call, value, &rules, mappings.collect())
}

/// Scale and size of each of the resized dimensions.
fn targets(
    shape: &[usize],
    places: &[usize],
    scales: Option<Vec<f32>>,
    wanted: Option<Vec<usize>>,
    policy: &str,
) -> Outcome<Vec<(f64, usize)>> {
    let from = |i: usize| shape[places[i]] as f64;
    match (scales, wanted) {
        (_, Some(wanted)) if wanted.len() == places.len() => {
            let each = wanted.iter().enumerate().map(|(i, &to)| to as f64 / from(i));
            let all = match policy {
                "not_larger" => Some(each.clone().fold(f64::INFINITY, f64::min)),
                "not_smaller" => Some(each.clone().fold(0.0, f64::max)),
                _ => None,
            };
            let target = |(i, scale): (usize, f64)| match all {
                // Halves up.
                Some(all) => (all, (all * from(i) + 0.5).floor() as usize),
                None => (scale, wanted[i]),
            };
            Ok(each.enumerate().map(target).collect())
        }
        (Some(scales), None) if scales.len() == places.len() => {
            if scales.iter().any(|&scale| !scale.is_finite() || scale <= 0.0) {
                return Err(format!("its scales {scales:?} are not all positive"));
            }
            let scales = scales.into_iter().map(f64::from).enumerate();
            Ok(scales.map(|(i, scale)| (scale, (scale * from(i)).floor() as usize)).collect())
        }
        _ => Err(format!(
            "it does not state one scale or size for each of {} dimensions",
            places.len()
        )),
    }
}

fn resized(
    call: &Call<'_>,
    value: Value,
    rules: &Rules<'_>,
    mappings: Vec<(usize, Mapping<'_>)>,
) -> Outcome<Vec<Value>> {
    let mut shape = value.shape();
    mappings.iter().for_each(|(axis, mapping)| shape[*axis] = mapping.to);
    elements(&shape)?;
    // Integers, such as pictures of bytes, go through floats and are rounded again.
    let (integers, value) = match value {
        Value::Ints(host) => (true, Value::Reals(host.map(|value| value as f32))),
        value => (false, value),
    };
    let mut value = value.floats(call.device)?;
    let mut outside = Vec::new();
    for (axis, mapping) in mappings {
        if mapping.from == mapping.to
            && mapping.scale == 1.0
            && mapping.coordinates != "tf_crop_and_resize"
        {
            continue;
        }
        if mapping.from == 0 {
            return Err(format!("dimension {axis} has no elements to resize"));
        }
        let (taps, beyond) = rules.taps(&mapping)?;
        value = along(value, axis, &taps);
        outside.push((axis, beyond));
    }
    if let Some(fill) = rules.extrapolation {
        for (axis, beyond) in outside {
            value = replaced(value, axis, &beyond, fill);
        }
    }
    if integers {
        return one(value.download()?.map(|value| value.round_ties_even() as i64));
    }
    one(value)
}

fn along(value: Floats, axis: usize, taps: &Taps) -> Floats {
    if let ([places], [weights]) = (&taps.places[..], &taps.weights[..])
        && weights.iter().all(|&weight| weight == 1.0)
    {
        return value.select(axis, places);
    }
    let place = value.place(axis);
    let rank = value.rank();
    let mut sum: Option<Tensor<RANK>> = None;
    for (places, weights) in taps.places.iter().zip(&taps.weights) {
        let part = value.clone().select(axis, places).tensor();
        let part = part.clone() * per_place(weights, place, &part);
        sum = Some(match sum {
            Some(sum) => sum + part,
            None => part,
        });
    }
    sum.map_or(value, |sum| Floats::new(sum, rank))
}

/// A list that broadcasts along dimension `place` of `like`.
fn per_place(list: &[f32], place: usize, like: &Tensor<RANK>) -> Tensor<RANK> {
    let mut dims = [1; RANK];
    dims[place] = list.len();
    Tensor::from_data(TensorData::new(list.to_vec(), dims), &like.device())
}

/// With `fill` at the places marked.
fn replaced(value: Floats, axis: usize, marked: &[bool], fill: f32) -> Floats {
    let place = value.place(axis);
    let kept: Vec<f32> = marked.iter().map(|&marked| f32::from(u8::from(!marked))).collect();
    let added: Vec<f32> = marked.iter().map(|&marked| if marked { fill } else { 0.0 }).collect();
    value.map(|tensor| {
        let (kept, added) = (per_place(&kept, place, &tensor), per_place(&added, place, &tensor));
        tensor * kept + added
    })
}
