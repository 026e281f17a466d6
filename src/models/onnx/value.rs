//! Values on the edges of a graph.
//!
//! Floats are tensors on the device. Integers, booleans and the few floats that are computed from
//! shapes stay on the host: in vision graphs they say how large something is or where to cut it, and a
//! kernel for each would cost more than the sum.

use burn::tensor::{DType, Device, Int, Slice, Tensor, TensorData};
use half::{bf16, f16};

use super::{
    element::Element,
    host::{Array, Host, elements, steps},
    ops::Outcome,
};
use crate::weights::Dtype;

/// Most dimensions a float value may have; Swin's window partition needs six.
pub const RANK: usize = 6;

/// So many floats are still worth keeping on the host: more than any shape has sizes.
const FEW: usize = 256;

/// A value on an edge of the graph.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a few hundred values live at once; a box each buys nothing"
)]
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
        if host.single().is_some() {
            return Ok(Self::Reals(host));
        }
        Floats::upload(host, device).map(Self::Floats)
    }

    /// An array from its bytes, little-endian, row-major: every float type becomes f32, every integer
    /// type i64.
    ///
    /// # Errors
    /// The bytes are not as many as the shape needs.
    pub fn decode(element: Element, shape: Vec<usize>, bytes: &[u8]) -> Outcome<Self> {
        let dtype = match element {
            Element::F16 => Dtype::F16,
            Element::BF16 => Dtype::BF16,
            Element::F32 => Dtype::F32,
            Element::F64 => Dtype::F64,
            Element::Bool => {
                let data = bytes.iter().map(|&bit| bit != 0).collect();
                return Host::new(shape, data).map(Self::Bools);
            }
            integers => return Host::new(shape, decode_ints(integers, bytes)).map(Self::Ints),
        };
        Host::new(shape, dtype.decode(bytes)).map(Self::Reals)
    }

    /// The elements as bytes of this type, little-endian, row-major; waits for the device.
    ///
    /// # Errors
    /// The device reports a failure.
    pub fn encode(self, element: Element) -> Outcome<Vec<u8>> {
        let floats = match self {
            Self::Bools(host) => return Ok(host.data().iter().map(|&bit| bit.into()).collect()),
            Self::Ints(host) => return Ok(encode_ints(element, host.data())),
            floats => floats.reals()?.into_data(),
        };
        let each = floats.iter();
        Ok(match element {
            Element::F16 => each.flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
            Element::BF16 => each.flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
            Element::F64 => each.flat_map(|&x| f64::from(x).to_le_bytes()).collect(),
            _ => each.flat_map(|x| x.to_le_bytes()).collect(),
        })
    }

    /// The element type that holds such a value without loss.
    #[must_use]
    pub fn element(&self) -> Element {
        match self {
            Self::Floats(_) | Self::Reals(_) => Element::F32,
            Self::Ints(_) => Element::I64,
            Self::Bools(_) => Element::Bool,
        }
    }

    /// With integers wrapped at the width of a declared type.
    pub(super) fn wrapped(self, element: Option<Element>) -> Self {
        match (self, element) {
            (Self::Ints(host), Some(element)) if element.range().is_some() => {
                Self::Ints(host.map(|value| element.wrap(value)))
            }
            (value, _) => value,
        }
    }

    /// The same where it is computed best: many floats on the device, a few wherever they are.
    pub(super) fn placed(self, device: &Device) -> Outcome<Self> {
        match self {
            Self::Reals(host) if host.data().len() > FEW && host.shape().len() <= RANK => {
                Floats::upload(host, device).map(Self::Floats)
            }
            value => Ok(value),
        }
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
        Self { tensor: reshaped(tensor, dims), rank: D }
    }

    /// Copies an array to the device.
    ///
    /// # Errors
    /// It has more than [`RANK`] dimensions.
    pub fn upload(host: Host<f32>, device: &Device) -> Outcome<Self> {
        let shape = host.shape();
        let dims = padded(&shape)?;
        let data = TensorData::new(host.into_data(), dims);
        let tensor = Tensor::from_data(data, (device, DType::F32));
        Ok(Self { tensor, rank: shape.len() })
    }

    /// Copies to the host; waits for the device.
    ///
    /// # Errors
    /// The device reports a failure.
    pub fn download(self) -> Outcome<Host<f32>> {
        let shape = self.shape();
        let data = self.tensor.try_into_vec_as::<f32>().map_err(|error| error.to_string())?;
        Host::new(shape, data)
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
        Ok(reshaped(self.tensor, dims))
    }

    /// As a matrix whose rows are the last `columns` elements; leading dimensions are joined.
    pub(super) fn rows(self, columns: usize) -> Tensor<2> {
        let elements: usize = self.shape().iter().product();
        reshaped(self.tensor, [elements / columns.max(1), columns])
    }

    /// Zeros in another shape.
    pub(super) fn zeros(&self, shape: &[usize]) -> Outcome<Self> {
        Ok(Self { tensor: zeros(&self.tensor, padded(shape)?), rank: shape.len() })
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
        if elements(shape)? != self.tensor.dims().iter().product::<usize>() {
            return Err(format!("{:?} does not reshape to {shape:?}", self.shape()));
        }
        // A reshape of a transposed view copies: not needed where only leading ones come or go.
        let same = dims == self.tensor.dims();
        let tensor = if same { self.tensor } else { reshaped(self.tensor, dims) };
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
        let own = self.tensor.dims();
        if own.iter().zip(dims).any(|(&own, to)| own != to && own != 1) {
            return Err(format!("{:?} does not expand to {shape:?}", self.shape()));
        }
        let tensor =
            if dims.contains(&0) { zeros(&self.tensor, dims) } else { self.tensor.expand(dims) };
        Ok(Self { tensor, rank: shape.len() })
    }

    fn concat(parts: Vec<Self>, axis: usize) -> Self {
        let rank = parts.iter().map(Self::rank).max().unwrap_or_default();
        let tensors = parts.into_iter().map(Self::tensor).collect();
        Self { tensor: Tensor::cat(tensors, RANK - rank + axis), rank }
    }
}

fn decode_ints(element: Element, bytes: &[u8]) -> Vec<i64> {
    fn each<const N: usize, T: Into<i64>>(bytes: &[u8], read: fn([u8; N]) -> T) -> Vec<i64> {
        bytes.as_chunks::<N>().0.iter().map(|&word| read(word).into()).collect()
    }
    match element {
        Element::I8 => each(bytes, i8::from_le_bytes),
        Element::U8 => each(bytes, u8::from_le_bytes),
        Element::I16 => each(bytes, i16::from_le_bytes),
        Element::U16 => each(bytes, u16::from_le_bytes),
        Element::I32 => each(bytes, i32::from_le_bytes),
        Element::U32 => each(bytes, u32::from_le_bytes),
        _ => each(bytes, i64::from_le_bytes),
    }
}

fn encode_ints(element: Element, data: &[i64]) -> Vec<u8> {
    let bytes = match element {
        Element::I8 | Element::U8 | Element::Bool => 1,
        Element::I16 | Element::U16 => 2,
        Element::I32 | Element::U32 => 4,
        _ => 8,
    };
    data.iter().flat_map(|value| value.to_le_bytes().into_iter().take(bytes)).collect()
}

/// The same elements in another shape of as many. To Burn a size of zero means "as it was", so an array
/// without elements is made anew.
fn reshaped<const A: usize, const B: usize>(tensor: Tensor<A>, dims: [usize; B]) -> Tensor<B> {
    if dims.contains(&0) { zeros(&tensor, dims) } else { tensor.reshape(dims) }
}

/// Zeros of the type and on the device of `tensor`.
fn zeros<const A: usize, const B: usize>(tensor: &Tensor<A>, dims: [usize; B]) -> Tensor<B> {
    Tensor::zeros(dims, (&tensor.device(), tensor.dtype()))
}

/// `shape` with leading ones.
fn padded(shape: &[usize]) -> Outcome<[usize; RANK]> {
    let lead = RANK.checked_sub(shape.len());
    let lead = lead.ok_or_else(|| format!("shape {shape:?} has more than {RANK} dimensions"))?;
    let mut dims = [1; RANK];
    dims[lead..].copy_from_slice(shape);
    Ok(dims)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_without_elements_rearrange_too() {
        let floats = |shape: &[usize]| {
            let data = vec![1.0; shape.iter().product()];
            Floats::upload(Host::new(shape.to_vec(), data).unwrap(), &Device::flex()).unwrap()
        };
        assert_eq!(floats(&[2, 0, 3]).reshape(&[0, 5]).unwrap().shape(), [0, 5]);
        assert_eq!(floats(&[1, 3]).expand(&[2, 0, 3]).unwrap().shape(), [2, 0, 3]);
        assert_eq!(floats(&[0, 3]).fixed::<2>().unwrap().dims(), [0, 3]);
        assert_eq!(floats(&[2, 0, 3]).rows(3).dims(), [0, 3]);
        // An array that has elements does not become one without, nor the other way round.
        assert!(floats(&[2, 3]).reshape(&[0, 3]).is_err());
        assert!(floats(&[0, 3]).reshape(&[3]).is_err());
        assert!(floats(&[2, 3]).expand(&[0, 3]).is_err());
        assert!(floats(&[0, 3]).expand(&[2, 3]).is_err());
    }

    #[test]
    fn tensors_rearrange_as_host_arrays_do() {
        let device = Device::flex();
        let data = (0..6_u8).map(f32::from).collect();
        let host = Host::new(vec![2, 3], data).unwrap();
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
}
