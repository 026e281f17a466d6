//! Arrays on the host, and the rearrangements that they share with tensors.

use super::ops::Outcome;

/// An array on the host, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Host<T> {
    shape: Vec<usize>,
    data: Vec<T>,
}

/// Rearrangements that every kind of array has.
pub(super) trait Array: Sized + Clone {
    /// The sizes, outermost first.
    fn shape(&self) -> Vec<usize>;
    /// The same elements in another shape of as many.
    fn reshape(self, shape: &[usize]) -> Outcome<Self>;
    /// Dimension `i` of the result is dimension `order[i]`.
    fn permute(self, order: &[usize]) -> Self;
    /// The elements `start, start + step, ...`, `count` of them, along `axis`.
    fn strided(self, axis: usize, start: usize, count: usize, step: isize) -> Self;
    /// The elements at `indices` along `axis`.
    fn select(self, axis: usize, indices: &[usize]) -> Self;
    /// Repeats dimensions of size one up to `shape`, which has at least as many dimensions.
    fn expand(self, shape: &[usize]) -> Outcome<Self>;
    /// Joins along `axis`.
    fn concat(parts: Vec<Self>, axis: usize) -> Self;
}

impl<T: Copy> Host<T> {
    /// An array of these elements.
    ///
    /// # Errors
    /// The number of elements is not that of the shape.
    pub fn new(shape: Vec<usize>, data: Vec<T>) -> Outcome<Self> {
        if shape.iter().product::<usize>() == data.len() {
            return Ok(Self { shape, data });
        }
        Err(format!("{} elements do not have the shape {shape:?}", data.len()))
    }

    /// A list.
    #[must_use]
    pub fn list(data: Vec<T>) -> Self {
        Self { shape: vec![data.len()], data }
    }

    /// A single number without dimensions.
    #[must_use]
    pub fn scalar(value: T) -> Self {
        Self { shape: Vec::new(), data: vec![value] }
    }

    /// The elements, row-major.
    #[must_use]
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// The elements, row-major.
    #[must_use]
    pub fn into_data(self) -> Vec<T> {
        self.data
    }

    /// The one element, where there is just one.
    pub(super) fn single(&self) -> Option<T> {
        if let [value] = self.data[..] { Some(value) } else { None }
    }

    pub(super) fn map<U>(&self, function: impl Fn(T) -> U) -> Host<U> {
        let data = self.data.iter().map(|&value| function(value)).collect();
        Host { shape: self.shape.clone(), data }
    }

    /// Element-wise with broadcasting.
    pub(super) fn zip<V: Copy, U>(
        self,
        other: Host<V>,
        function: impl Fn(T, V) -> Outcome<U>,
    ) -> Outcome<Host<U>> {
        let shape = broadcast(&self.shape, &other.shape)?;
        let (left, right) = (self.expand(&shape)?, other.expand(&shape)?);
        let pairs = left.data.iter().zip(&right.data);
        let data = pairs.map(|(&a, &b)| function(a, b)).collect::<Outcome<_>>()?;
        Ok(Host { shape, data })
    }

    /// An array of `shape` whose element at an index is that of `self` at `source(index)` (flat).
    fn rearranged(&self, shape: Vec<usize>, source: impl Fn(&[usize]) -> usize) -> Self {
        let elements = shape.iter().product();
        let mut index = vec![0; shape.len()];
        let mut data = Vec::with_capacity(elements);
        for _ in 0..elements {
            data.push(self.data[source(&index)]);
            for (place, &size) in index.iter_mut().zip(&shape).rev() {
                *place += 1;
                if *place < size {
                    break;
                }
                *place = 0;
            }
        }
        Self { shape, data }
    }

    /// Distance of neighbours along each dimension.
    fn strides(&self) -> Vec<usize> {
        (0..self.shape.len()).map(|axis| self.shape[axis + 1..].iter().product()).collect()
    }
}

impl<T: Copy> Array for Host<T> {
    fn shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn reshape(self, shape: &[usize]) -> Outcome<Self> {
        Self::new(shape.to_vec(), self.data)
    }

    fn permute(self, order: &[usize]) -> Self {
        let strides = self.strides();
        let shape = order.iter().map(|&axis| self.shape[axis]).collect();
        self.rearranged(shape, |index| {
            index.iter().zip(order).map(|(&at, &axis)| at * strides[axis]).sum()
        })
    }

    fn strided(self, axis: usize, start: usize, count: usize, step: isize) -> Self {
        self.select(axis, &steps(start, count, step))
    }

    fn select(self, axis: usize, indices: &[usize]) -> Self {
        let strides = self.strides();
        let mut shape = self.shape.clone();
        shape[axis] = indices.len();
        self.rearranged(shape, |index| {
            let place = |(i, &at): (usize, &usize)| if i == axis { indices[at] } else { at };
            index.iter().enumerate().map(|pair| place(pair) * strides[pair.0]).sum()
        })
    }

    fn expand(self, shape: &[usize]) -> Outcome<Self> {
        if shape == self.shape {
            return Ok(self);
        }
        let lead = shape.len().checked_sub(self.shape.len());
        let lead = lead.filter(|&lead| {
            self.shape.iter().zip(&shape[lead..]).all(|(&from, &to)| from == to || from == 1)
        });
        let lead = lead.ok_or_else(|| format!("{:?} does not expand to {shape:?}", self.shape))?;
        let (strides, sizes) = (self.strides(), self.shape.clone());
        Ok(self.rearranged(shape.to_vec(), |index| {
            let places = index[lead..].iter().zip(&strides).zip(&sizes);
            places.map(|((&at, &stride), &size)| if size == 1 { 0 } else { at * stride }).sum()
        }))
    }

    fn concat(parts: Vec<Self>, axis: usize) -> Self {
        let mut shape = parts[0].shape.clone();
        shape[axis] = parts.iter().map(|part| part.shape[axis]).sum();
        let outer: usize = shape[..axis].iter().product();
        let mut data = Vec::with_capacity(shape.iter().product());
        for row in 0..outer {
            for part in &parts {
                let run: usize = part.shape[axis..].iter().product();
                data.extend_from_slice(&part.data[row * run..][..run]);
            }
        }
        Self { shape, data }
    }
}

/// The shape of two arrays that meet element by element.
pub(super) fn broadcast(left: &[usize], right: &[usize]) -> Outcome<Vec<usize>> {
    let rank = left.len().max(right.len());
    let size = |shape: &[usize], axis: usize| {
        (axis + shape.len()).checked_sub(rank).map_or(1, |place| shape[place])
    };
    let meet = |axis| match (size(left, axis), size(right, axis)) {
        (a, b) if a == b || b == 1 => Ok(a),
        (1, b) => Ok(b),
        _ => Err(format!("the shapes {left:?} and {right:?} do not broadcast")),
    };
    (0..rank).map(meet).collect()
}

pub(super) fn steps(start: usize, count: usize, step: isize) -> Vec<usize> {
    (0..count as isize).map(|i| (start as isize + i * step) as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Host<i64> {
        Host::new(vec![2, 3], vec![0, 1, 2, 3, 4, 5]).unwrap()
    }

    #[test]
    fn host_arrays_rearrange_like_numpy() {
        assert_eq!(grid().permute(&[1, 0]).data(), [0, 3, 1, 4, 2, 5]);
        assert_eq!(grid().strided(1, 2, 3, -1).data(), [2, 1, 0, 5, 4, 3]);
        assert_eq!(grid().select(0, &[1, 1]).data(), [3, 4, 5, 3, 4, 5]);
        assert_eq!(
            Host::concat(vec![grid(), grid()], 1).data(),
            [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5]
        );
        assert_eq!(Host::list(vec![7, 8]).expand(&[2, 2]).unwrap().data(), [7, 8, 7, 8]);
        assert!(grid().expand(&[2, 4]).is_err());
    }

    #[test]
    fn shapes_broadcast_from_the_right() {
        assert_eq!(broadcast(&[2, 1, 4], &[3, 1]).unwrap(), [2, 3, 4]);
        assert!(broadcast(&[2], &[3]).is_err());
    }
}
