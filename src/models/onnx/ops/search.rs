//! Where something is: the largest, those that are not zero, those that differ; and running sums. On
//! the host.

use std::cmp::Ordering;

use super::{Call, Outcome, axis, hosted, one};
use crate::models::onnx::{
    element::Element,
    host::{Array, Host, elements},
    value::Value,
};

/// A dimension of an array: how often it occurs, its size, and the distance of its neighbours.
struct Lines {
    outer: usize,
    size: usize,
    inner: usize,
}

impl Lines {
    fn new(shape: &[usize], at: usize) -> Self {
        Self {
            outer: shape[..at].iter().product(),
            size: shape[at],
            inner: shape[at + 1..].iter().product(),
        }
    }

    /// The first place of each line, in the order of the array without the dimension.
    fn starts(&self) -> impl Iterator<Item = usize> + use<> {
        let (outer, size, inner) = (self.outer, self.size, self.inner);
        (0..outer).flat_map(move |row| (0..inner).map(move |column| row * size * inner + column))
    }

    /// All places of the line that begins at `start`.
    fn places(&self, start: usize) -> impl DoubleEndedIterator<Item = usize> + Clone + use<> {
        let inner = self.inner;
        (0..self.size).map(move |i| start + i * inner)
    }
}

fn compare<T: PartialOrd>(a: &T, b: &T) -> Ordering {
    a.partial_cmp(b).unwrap_or(Ordering::Equal)
}

pub(super) fn arg_max(call: Call<'_>) -> Outcome<Vec<Value>> {
    extreme(call, Ordering::Greater)
}

pub(super) fn arg_min(call: Call<'_>) -> Outcome<Vec<Value>> {
    extreme(call, Ordering::Less)
}

fn extreme(mut call: Call<'_>, better: Ordering) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    let mut shape = value.shape();
    let at = axis(call.int("axis", 0), shape.len())?;
    let lines = Lines::new(&shape, at);
    if lines.size == 0 {
        return Err("it has no elements to compare".to_owned());
    }
    if call.int("keepdims", 1) != 0 {
        shape[at] = 1;
    } else {
        shape.remove(at);
    }
    let last = call.int("select_last_index", 0) != 0;
    fn best<T: Copy + PartialOrd>(
        host: &Host<T>,
        lines: &Lines,
        better: Ordering,
        last: bool,
    ) -> Vec<i64> {
        let data = host.data();
        let of_line = |start: usize| {
            let places = lines.places(start).enumerate();
            let best = places.reduce(|best, next| match compare(&data[next.1], &data[best.1]) {
                Ordering::Equal if last => next,
                order if order == better => next,
                _ => best,
            });
            best.map_or(0, |(i, _)| i as i64)
        };
        lines.starts().map(of_line).collect()
    }
    let places = match value {
        Value::Ints(host) => best(&host, &lines, better, last),
        value => best(&value.reals()?, &lines, better, last),
    };
    one(Host::new(shape, places)?)
}

/// The k largest or smallest of each line, with their places.
pub(super) fn top_k(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    let k = match call.optional(1) {
        Some(k) => k.ints()?.single().ok_or("its k is not a single number")?,
        None => call.int("k", 0),
    };
    let mut shape = value.shape();
    let at = axis(call.int("axis", -1), shape.len())?;
    let lines = Lines::new(&shape, at);
    let k = usize::try_from(k).ok().filter(|&k| k <= lines.size);
    let k = k.ok_or_else(|| format!("its k is not among the {} elements", lines.size))?;
    shape[at] = k;
    let largest = call.int("largest", 1) != 0;
    fn chosen<T: Copy + PartialOrd>(
        host: &Host<T>,
        lines: &Lines,
        k: usize,
        largest: bool,
        result: &[usize],
    ) -> Outcome<(Host<T>, Host<i64>)> {
        let data = host.data();
        let count: usize = result.iter().product();
        let mut places = vec![(0, 0); count];
        for (line, start) in lines.starts().enumerate() {
            let mut order: Vec<(usize, usize)> = lines.places(start).enumerate().collect();
            // Stable: of equal elements the earlier comes first.
            order.sort_by(|a, b| {
                let order = compare(&data[a.1], &data[b.1]);
                if largest { order.reverse() } else { order }
            });
            let (row, column) = (line / lines.inner.max(1), line % lines.inner.max(1));
            for (rank, place) in order.into_iter().take(k).enumerate() {
                places[(row * k + rank) * lines.inner + column] = place;
            }
        }
        let values = places.iter().map(|place| data[place.1]).collect();
        let indices = places.iter().map(|place| place.0 as i64).collect();
        Ok((Host::new(result.to_vec(), values)?, Host::new(result.to_vec(), indices)?))
    }
    match value {
        Value::Ints(host) => {
            let (values, places) = chosen(&host, &lines, k, largest, &shape)?;
            Ok(vec![values.into(), places.into()])
        }
        value => {
            let (values, places) = chosen(&value.reals()?, &lines, k, largest, &shape)?;
            Ok(vec![Value::constant(values, call.device)?, places.into()])
        }
    }
}

/// Indices of the elements that are not zero: one row per dimension.
pub(super) fn non_zero(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    let shape = value.shape();
    let holds: Vec<bool> = match value {
        Value::Ints(host) => host.data().iter().map(|&value| value != 0).collect(),
        Value::Bools(host) => host.into_data(),
        value => value.reals()?.data().iter().map(|&value| value != 0.0).collect(),
    };
    let places: Vec<usize> =
        holds.iter().enumerate().filter(|(_, holds)| **holds).map(|(place, _)| place).collect();
    let mut data = Vec::with_capacity(shape.len() * places.len());
    for at in 0..shape.len() {
        let stride: usize = shape[at + 1..].iter().product();
        data.extend(places.iter().map(|place| (place / stride % shape[at]) as i64));
    }
    one(Host::new(vec![shape.len(), places.len()], data)?)
}

/// The distinct elements, or slices along a dimension; where each occurs first, which of them each was,
/// and how often each occurs.
pub(super) fn unique(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    let shape = value.shape();
    let at = call.attribute("axis").map(|attribute| axis(attribute.i, shape.len())).transpose()?;
    let size = at.map_or(shape.iter().product(), |at| shape[at]);
    let sorted = call.int("sorted", 1) != 0;
    // Each slice as a list of numbers that are ordered as its elements.
    let numbers = match &value {
        Value::Ints(host) => host.map(|value| value as f64),
        Value::Bools(host) => host.map(|bit| f64::from(u8::from(bit))),
        floats => floats.clone().reals()?.map(f64::from),
    };
    let numbers = match at {
        Some(at) => {
            let mut order: Vec<usize> = (0..shape.len()).filter(|&axis| axis != at).collect();
            order.insert(0, at);
            numbers.permute(&order)
        }
        None => numbers.reshape(&[size])?,
    };
    let width = numbers.data().len() / size.max(1);
    let slice = |i: usize| &numbers.data()[i * width..][..width];
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|&a, &b| compare(&slice(a), &slice(b)));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for i in order {
        match groups.last_mut() {
            Some(group) if slice(group[0]) == slice(i) => group.push(i),
            _ => groups.push(vec![i]),
        }
    }
    if !sorted {
        groups.sort_by_key(|group| group[0]);
    }
    let mut inverse = vec![0; size];
    for (place, group) in groups.iter().enumerate() {
        group.iter().for_each(|&i| inverse[i] = place as i64);
    }
    let first: Vec<usize> = groups.iter().map(|group| group[0]).collect();
    let counts = groups.iter().map(|group| group.len() as i64).collect();
    let values = super::each!(value, array => {
        let array = if at.is_some() { array } else { array.reshape(&[size])? };
        Value::from(array.select(at.unwrap_or(0), &first))
    });
    let first = first.into_iter().map(|place| place as i64).collect();
    Ok(vec![
        values,
        Host::list(first).into(),
        Host::list(inverse).into(),
        Host::list(counts).into(),
    ])
}

/// Running sums along a dimension.
pub(super) fn cum_sum(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    let at = call.value(1)?.ints()?.single().ok_or("its axis is not a single number")?;
    let shape = value.shape();
    let lines = Lines::new(&shape, axis(at, shape.len())?);
    let (without_own, backwards) = (call.int("exclusive", 0) != 0, call.int("reverse", 0) != 0);
    fn running<T: Copy>(
        host: Host<T>,
        lines: &Lines,
        (without_own, backwards): (bool, bool),
        (zero, add): (T, fn(T, T) -> T),
    ) -> Outcome<Host<T>> {
        let shape = host.shape();
        let mut data = host.into_data();
        for start in lines.starts() {
            let mut sum = zero;
            let mut step = |place: usize| {
                let next = add(sum, data[place]);
                data[place] = if without_own { sum } else { next };
                sum = next;
            };
            if backwards {
                lines.places(start).rev().for_each(&mut step);
            } else {
                lines.places(start).for_each(&mut step);
            }
        }
        Host::new(shape, data)
    }
    let how = (without_own, backwards);
    match value {
        Value::Ints(host) => one(running(host, &lines, how, (0, i64::wrapping_add))?),
        value => {
            let sums = running(value.reals()?, &lines, how, (0.0, |a, b| a + b))?;
            one(Value::constant(sums, call.device)?)
        }
    }
}

/// The elements on one side of a diagonal of the last two dimensions; zero elsewhere.
pub(super) fn trilu(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    let shift = match call.optional(1) {
        Some(shift) => shift.ints()?.single().ok_or("its k is not a single number")?,
        None => 0,
    };
    let shape = value.shape();
    let &[.., rows, columns] = &shape[..] else {
        return Err("its input is no matrix".to_owned());
    };
    let upper = call.int("upper", 1) != 0;
    let kept = |place: usize| {
        let (row, column) =
            ((place / columns.max(1) % rows.max(1)) as i64, (place % columns.max(1)) as i64);
        let distance = column - row;
        if upper { distance >= shift } else { distance <= shift }
    };
    hosted!(call, value, host => {
        let zeros = (0..host.data().len()).map(|place| kept(place).then(|| host.data()[place]));
        Host::new(shape, zeros.map(Option::unwrap_or_default).collect())?
    })
}

/// Ones on a diagonal.
pub(super) fn eye_like(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    let shape = value.shape();
    let &[rows, columns] = &shape[..] else { return Err("its input is no matrix".to_owned()) };
    elements(&shape)?;
    let shift = call.int("k", 0);
    let ones = (0..rows * columns)
        .map(|place| i64::from((place % columns) as i64 - (place / columns) as i64 == shift));
    let ones = Host::new(shape, ones.collect())?;
    let element = match call.attribute("dtype") {
        Some(attribute) => Element::of(attribute.i),
        None => call.element(0).or(Some(value.element())),
    };
    match element {
        Some(element) if element.is_float() => {
            one(Value::constant(ones.map(|value| value as f32), call.device)?)
        }
        Some(Element::Bool) => one(ones.map(|value| value != 0)),
        Some(_) => one(ones),
        None => Err("its element type is not supported".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_cover_the_array() {
        let lines = Lines::new(&[2, 3, 2], 1);
        let all = lines.starts().flat_map(|start| lines.places(start));
        let mut all: Vec<usize> = all.collect();
        assert_eq!(all[..6], [0, 2, 4, 1, 3, 5]);
        all.sort_unstable();
        assert!(all.into_iter().eq(0..12));
    }
}
