//! Arrays on the host, and the rearrangements that they share with tensors.

use std::sync::Arc;

use super::ops::Outcome;

/// Most elements that an array may have: 2 GiB of floats. A graph that asks for more is broken or means
/// harm, and to try would end the process.
pub(super) const MOST_ELEMENTS: usize = 1 << 29;

/// Most dimensions that an array may have.
const MOST_DIMENSIONS: usize = 64;

/// An array on the host, row-major. A copy shares the elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Host<T> {
    shape: Vec<usize>,
    data: Arc<Vec<T>>,
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
        if elements(&shape)? == data.len() {
            return Ok(Self { shape, data: Arc::new(data) });
        }
        Err(format!("{} elements do not have the shape {shape:?}", data.len()))
    }

    /// A list.
    #[must_use]
    pub fn list(data: Vec<T>) -> Self {
        Self { shape: vec![data.len()], data: Arc::new(data) }
    }

    /// A single number without dimensions.
    #[must_use]
    pub fn scalar(value: T) -> Self {
        Self { shape: Vec::new(), data: Arc::new(vec![value]) }
    }

    /// The elements, row-major.
    #[must_use]
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// The elements, row-major.
    #[must_use]
    pub fn into_data(self) -> Vec<T> {
        Arc::unwrap_or_clone(self.data)
    }

    /// The one element, where there is just one.
    pub(super) fn single(&self) -> Option<T> {
        if let [value] = self.data[..] { Some(value) } else { None }
    }

    pub(super) fn map<U>(&self, function: impl Fn(T) -> U) -> Host<U> {
        let data = self.data.iter().map(|&value| function(value)).collect();
        Host { shape: self.shape.clone(), data: Arc::new(data) }
    }

    /// Element-wise with broadcasting.
    pub(super) fn zip<V: Copy, U>(
        self,
        other: Host<V>,
        function: impl Fn(T, V) -> Outcome<U>,
    ) -> Outcome<Host<U>> {
        let shape = broadcast(&self.shape, &other.shape)?;
        let (left, right) = (self.expand(&shape)?, other.expand(&shape)?);
        let pairs = left.data.iter().zip(right.data.iter());
        let data = pairs.map(|(&a, &b)| function(a, b)).collect::<Outcome<_>>()?;
        Ok(Host { shape, data: Arc::new(data) })
    }

    /// An array with the dimensions of `offsets`, whose element at an index is that of `self` at the
    /// sum of one offset per dimension.
    fn gathered(&self, offsets: &[Vec<usize>]) -> Self {
        let shape: Vec<usize> = offsets.iter().map(Vec::len).collect();
        let mut data = Vec::with_capacity(shape.iter().product());
        self.gather_into(&mut data, 0, offsets);
        Self { shape, data: Arc::new(data) }
    }

    fn gather_into(&self, data: &mut Vec<T>, base: usize, offsets: &[Vec<usize>]) {
        match offsets {
            [] => data.push(self.data[base]),
            [last] => data.extend(last.iter().map(|&offset| self.data[base + offset])),
            [first, rest @ ..] => {
                for &offset in first {
                    self.gather_into(data, base + offset, rest);
                }
            }
        }
    }

    /// The offsets that leave each dimension as it is.
    fn offsets(&self) -> Vec<Vec<usize>> {
        let strides = self.strides();
        let places = self.shape.iter().zip(strides);
        places.map(|(&size, stride)| (0..size).map(|place| place * stride).collect()).collect()
    }

    /// Distance of neighbours along each dimension.
    pub(super) fn strides(&self) -> Vec<usize> {
        (0..self.shape.len()).map(|axis| self.shape[axis + 1..].iter().product()).collect()
    }
}

impl<T: Copy> Array for Host<T> {
    fn shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn reshape(self, shape: &[usize]) -> Outcome<Self> {
        if elements(shape)? != self.data.len() {
            return Err(format!("{:?} does not reshape to {shape:?}", self.shape));
        }
        Ok(Self { shape: shape.to_vec(), data: self.data })
    }

    fn permute(self, order: &[usize]) -> Self {
        let offsets = self.offsets();
        self.gathered(&order.iter().map(|&axis| offsets[axis].clone()).collect::<Vec<_>>())
    }

    fn strided(self, axis: usize, start: usize, count: usize, step: isize) -> Self {
        self.select(axis, &steps(start, count, step))
    }

    fn select(self, axis: usize, indices: &[usize]) -> Self {
        let mut offsets = self.offsets();
        offsets[axis] = indices.iter().map(|&index| offsets[axis][index]).collect();
        self.gathered(&offsets)
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
        elements(shape)?;
        let own = self.offsets();
        let repeated = |axis: usize| match axis.checked_sub(lead).map(|axis| &own[axis]) {
            Some(offsets) if offsets.len() != 1 => offsets.clone(),
            _ => vec![0; shape[axis]],
        };
        Ok(self.gathered(&(0..shape.len()).map(repeated).collect::<Vec<_>>()))
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
        Self { shape, data: Arc::new(data) }
    }
}

/// Number of elements of `shape`.
///
/// # Errors
/// There are more than [`MOST_ELEMENTS`], or more than [`MOST_DIMENSIONS`] dimensions.
pub(super) fn elements(shape: &[usize]) -> Outcome<usize> {
    if shape.len() > MOST_DIMENSIONS {
        return Err(format!("{} dimensions are more than {MOST_DIMENSIONS}", shape.len()));
    }
    // A zero among the sizes must not hide an overflow of the others.
    let sizes = shape.iter().map(|&size| size.max(1));
    let all = sizes.fold(1, usize::saturating_mul);
    if all > MOST_ELEMENTS {
        return Err(format!("the shape {shape:?} has more than {MOST_ELEMENTS} elements"));
    }
    Ok(shape.iter().product())
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
    let shape = (0..rank).map(meet).collect::<Outcome<Vec<_>>>()?;
    elements(&shape)?;
    Ok(shape)
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
    fn arrays_that_no_memory_holds_are_refused() {
        assert!(Host::scalar(0_i64).expand(&[1 << 20, 1 << 20]).is_err());
        assert!(elements(&[usize::MAX, 0]).is_err());
        assert!(Host::<i64>::new(vec![1 << 32, 1 << 32], Vec::new()).is_err());
        assert_eq!(elements(&[3, 0]).unwrap(), 0);
    }

    #[test]
    fn shapes_broadcast_from_the_right() {
        assert_eq!(broadcast(&[2, 1, 4], &[3, 1]).unwrap(), [2, 3, 4]);
        assert!(broadcast(&[2], &[3]).is_err());
    }
}
