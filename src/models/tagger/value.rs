//! Values on the edges of a graph.
//!
//! Floats are tensors on the device. Integers, booleans and the few floats that are computed from
//! shapes stay on the host: in vision graphs they say how large something is or where to cut it, and a
//! kernel for each would cost more than the sum.

use burn::tensor::{DType, Device, Int, Slice, Tensor, TensorData};

use super::ops::Outcome;

/// Most dimensions a float value may have; Swin's window partition needs six.
pub const RANK: usize = 6;

/// A value on an edge of the graph.
#[derive(Clone, Debug)]
pub enum Value {
    /// Floats on the device.
    Floats(Floats),
    /// Floats on the host: single numbers, and what is computed from shapes.
    Reals(Host<f32>),
    /// Integers.
    Ints(Host<i64>),
    /// Booleans.
    Bools(Host<bool>),
}

/// A float tensor of any rank up to [`RANK`], kept as one Burn type: missing dimensions are leading
/// ones, which is how NumPy and ONNX broadcast anyway.
#[derive(Clone, Debug)]
pub struct Floats {
    tensor: Tensor<RANK>,
    rank: usize,
}

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

impl Value {
    /// The sizes, outermost first.
    #[must_use]
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Floats(value) => value.shape(),
            Self::Reals(value) => value.shape(),
            Self::Ints(value) => value.shape(),
            Self::Bools(value) => value.shape(),
        }
    }

    /// A float array of a file: single numbers stay on the host, so that arithmetic with them needs
    /// no broadcast; the rest goes to the device once.
    pub(super) fn constant(host: Host<f32>, device: &Device) -> Outcome<Self> {
        if host.data.len() == 1 {
            return Ok(Self::Reals(host));
        }
        Floats::upload(host, device).map(Self::Floats)
    }

    /// The floats as a tensor on the device.
    pub(super) fn floats(self, device: &Device) -> Outcome<Floats> {
        match self {
            Self::Floats(floats) => Ok(floats),
            Self::Reals(host) => Floats::upload(host, device),
            other => Err(format!("floats are needed here, not {}", other.kind())),
        }
    }

    /// The floats as an array on the host; waits for the device.
    pub(super) fn reals(self) -> Outcome<Host<f32>> {
        match self {
            Self::Floats(floats) => floats.download(),
            Self::Reals(host) => Ok(host),
            other => Err(format!("floats are needed here, not {}", other.kind())),
        }
    }

    pub(super) fn ints(self) -> Outcome<Host<i64>> {
        match self {
            Self::Ints(host) => Ok(host),
            other => Err(format!("integers are needed here, not {}", other.kind())),
        }
    }

    pub(super) fn bools(self) -> Outcome<Host<bool>> {
        match self {
            Self::Bools(host) => Ok(host),
            other => Err(format!("booleans are needed here, not {}", other.kind())),
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Floats(_) | Self::Reals(_) => "floats",
            Self::Ints(_) => "integers",
            Self::Bools(_) => "booleans",
        }
    }
}

impl Floats {
    /// A tensor that already has leading ones; `rank` of its dimensions count.
    pub(super) fn new(tensor: Tensor<RANK>, rank: usize) -> Self {
        Self { tensor, rank }
    }

    /// A tensor of its own rank `D <= RANK`.
    pub(super) fn from_tensor<const D: usize>(tensor: Tensor<D>) -> Self {
        let mut dims = [1; RANK];
        dims[RANK - D..].copy_from_slice(&tensor.dims());
        Self { tensor: tensor.reshape(dims), rank: D }
    }

    /// Copies an array to the device.
    ///
    /// # Errors
    /// It has more than [`RANK`] dimensions.
    pub fn upload(host: Host<f32>, device: &Device) -> Outcome<Self> {
        let dims = padded(&host.shape)?;
        let data = TensorData::new(host.data, dims);
        let tensor = Tensor::from_data(data, (device, DType::F32));
        Ok(Self { tensor, rank: host.shape.len() })
    }

    /// Copies to the host; waits for the device.
    ///
    /// # Errors
    /// The device reports a failure.
    pub fn download(self) -> Outcome<Host<f32>> {
        let shape = self.shape();
        let data = self.tensor.try_into_vec_as::<f32>().map_err(|error| error.to_string())?;
        Ok(Host { shape, data })
    }

    pub(super) fn rank(&self) -> usize {
        self.rank
    }

    pub(super) fn tensor(self) -> Tensor<RANK> {
        self.tensor
    }

    /// As a tensor of exactly `D` dimensions.
    pub(super) fn fixed<const D: usize>(self) -> Outcome<Tensor<D>> {
        let shape = self.shape();
        let dims: [usize; D] = (shape.as_slice().try_into())
            .map_err(|_| format!("{D} dimensions are needed here, not {}", shape.len()))?;
        Ok(self.tensor.reshape(dims))
    }

    /// As a matrix whose rows are the last `columns` elements; leading dimensions are joined.
    pub(super) fn rows(self, columns: usize) -> Tensor<2> {
        let elements: usize = self.shape().iter().product();
        self.tensor.reshape([elements / columns.max(1), columns])
    }

    pub(super) fn map(self, function: impl FnOnce(Tensor<RANK>) -> Tensor<RANK>) -> Self {
        Self { tensor: function(self.tensor), rank: self.rank }
    }

    /// Place of dimension `axis` in the tensor.
    pub(super) fn place(&self, axis: usize) -> usize {
        RANK - self.rank + axis
    }
}

impl Array for Floats {
    fn shape(&self) -> Vec<usize> {
        self.tensor.dims()[RANK - self.rank..].to_vec()
    }

    fn reshape(self, shape: &[usize]) -> Outcome<Self> {
        let dims = padded(shape)?;
        // A reshape of a transposed view copies: not needed where only leading ones come or go.
        let same = dims == self.tensor.dims();
        let tensor = if same { self.tensor } else { self.tensor.reshape(dims) };
        Ok(Self { tensor, rank: shape.len() })
    }

    fn permute(self, order: &[usize]) -> Self {
        let lead = RANK - self.rank;
        let mut axes: [usize; RANK] = std::array::from_fn(|i| i);
        for (place, &axis) in axes[lead..].iter_mut().zip(order) {
            *place = lead + axis;
        }
        self.map(|tensor| tensor.permute(axes))
    }

    fn strided(self, axis: usize, start: usize, count: usize, step: isize) -> Self {
        if step != 1 {
            return self.select(axis, &steps(start, count, step));
        }
        let place = self.place(axis);
        if start == 0 && count == self.tensor.dims()[place] {
            return self;
        }
        let slice = Slice::new(start as isize, Some((start + count) as isize), 1);
        self.map(|tensor| tensor.slice_dim(place, slice))
    }

    fn select(self, axis: usize, indices: &[usize]) -> Self {
        let consecutive = indices.windows(2).all(|pair| pair[1] == pair[0] + 1);
        if let (true, Some(&first)) = (consecutive, indices.first()) {
            return self.strided(axis, first, indices.len(), 1);
        }
        let place = self.place(axis);
        let indices: Vec<i64> = indices.iter().map(|&index| index as i64).collect();
        let count = indices.len();
        let data = TensorData::new(indices, [count]);
        self.map(|tensor| {
            let indices = Tensor::<1, Int>::from_data(data, &tensor.device());
            tensor.select(place, indices)
        })
    }

    fn expand(self, shape: &[usize]) -> Outcome<Self> {
        let dims = padded(shape)?;
        Ok(Self { tensor: self.tensor.expand(dims), rank: shape.len() })
    }

    fn concat(parts: Vec<Self>, axis: usize) -> Self {
        let rank = parts.iter().map(Self::rank).max().unwrap_or_default();
        let tensors = parts.into_iter().map(Self::tensor).collect();
        Self { tensor: Tensor::cat(tensors, RANK - rank + axis), rank }
    }
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

/// `shape` with leading ones.
fn padded(shape: &[usize]) -> Outcome<[usize; RANK]> {
    let lead = RANK.checked_sub(shape.len());
    let lead = lead.ok_or_else(|| format!("shape {shape:?} has more than {RANK} dimensions"))?;
    let mut dims = [1; RANK];
    dims[lead..].copy_from_slice(shape);
    Ok(dims)
}

fn steps(start: usize, count: usize, step: isize) -> Vec<usize> {
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
    fn tensors_rearrange_as_host_arrays_do() {
        let device = Device::flex();
        let host = grid().map(|value| value as f32);
        let floats = || Floats::upload(host.clone(), &device).unwrap();
        let pairs = [
            (floats().permute(&[1, 0]), host.clone().permute(&[1, 0])),
            (floats().strided(1, 2, 3, -1), host.clone().strided(1, 2, 3, -1)),
            (floats().strided(1, 1, 2, 1), host.clone().strided(1, 1, 2, 1)),
            (floats().select(1, &[2, 0]), host.clone().select(1, &[2, 0])),
            (floats().expand(&[2, 2, 3]).unwrap(), host.clone().expand(&[2, 2, 3]).unwrap()),
            (Floats::concat(vec![floats(), floats()], 0), Host::concat(vec![host.clone(); 2], 0)),
        ];
        for (found, expected) in pairs {
            assert_eq!(found.download().unwrap(), expected);
        }
    }

    #[test]
    fn shapes_broadcast_from_the_right() {
        assert_eq!(broadcast(&[2, 1, 4], &[3, 1]).unwrap(), [2, 3, 4]);
        assert!(broadcast(&[2], &[3]).is_err());
    }
}
