//! Hands a checkpoint's tensors to a network by name, and keeps count.
//!
//! A network asks for each tensor with the name and the shape it needs. What is missing or misshapen
//! is noted, not fatal at once, so that [`Loader::finish`] reports every problem of the file in one
//! go. Until then the network holds zeros in those places and must not be used.

use std::{cell::RefCell, collections::BTreeSet, fmt::Display, path::Path, rc::Rc};

use burn::{
    module::Param,
    tensor::{DType, Device, FloatDType, Tensor, TensorData},
};

use super::{Checkpoint, Dtype, Encoded, Problem, TensorInfo, WeightsError};

/// A place in a checkpoint, such as `double_blocks.0.img_attn`, from which tensors are taken.
pub struct Loader<'a> {
    shared: Rc<Shared<'a>>,
    prefix: String,
}

struct Shared<'a> {
    checkpoint: &'a Checkpoint,
    device: Device,
    dtype: FloatDType,
    root: String,
    used: RefCell<BTreeSet<String>>,
    problems: RefCell<Vec<Problem>>,
    failure: RefCell<Option<WeightsError>>,
}

impl<'a> Loader<'a> {
    /// Starts at the names that begin with `root` (empty, or like `model.diffusion_model.`). Tensors
    /// arrive on `device` as `dtype`, whatever the file stores.
    #[must_use]
    pub fn new(checkpoint: &'a Checkpoint, root: &str, device: &Device, dtype: FloatDType) -> Self {
        let shared = Shared {
            checkpoint,
            device: device.clone(),
            dtype,
            root: root.to_owned(),
            used: RefCell::default(),
            problems: RefCell::default(),
            failure: RefCell::default(),
        };
        Self { shared: Rc::new(shared), prefix: root.to_owned() }
    }

    /// The place `segment` below this one.
    #[must_use]
    pub fn at(&self, segment: impl Display) -> Self {
        Self { shared: self.shared.clone(), prefix: format!("{}{segment}.", self.prefix) }
    }

    /// Where the checkpoint was opened from.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.shared.checkpoint.path()
    }

    /// The device that tensors arrive on.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.shared.device
    }

    /// The shape of the tensor `name` below this place, or `None` if the file lacks it.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let info = self.shared.checkpoint.info(&format!("{}{name}", self.prefix))?;
        Some(info.shape.clone())
    }

    /// Whether any tensor of the file lies below `segment`.
    #[must_use]
    pub fn has(&self, segment: &str) -> bool {
        let start = format!("{}{segment}", self.prefix);
        self.shared.checkpoint.names().any(|name| {
            name.strip_prefix(&start).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    /// Whether two tensors below this place hold the same bytes, as the two names of a tied tensor do.
    #[must_use]
    pub fn equal(&self, names: [&str; 2]) -> bool {
        let bytes = |name| self.shared.checkpoint.bytes(&format!("{}{name}", self.prefix));
        matches!(names.map(bytes), [Ok(one), Ok(other)] if one == other)
    }

    /// How many numbered blocks lie below `segment`: one more than the largest number. A number that
    /// exceeds the number of tensors is no block's (the audit then lists its tensors as not used), so
    /// that no name can ask for an endless loop.
    #[must_use]
    pub fn count(&self, segment: &str) -> usize {
        let start = format!("{}{segment}.", self.prefix);
        let tensors = self.shared.checkpoint.names().count();
        let numbers =
            self.shared.checkpoint.names().filter_map(|name| {
                name.strip_prefix(&start)?.split('.').next()?.parse::<usize>().ok()
            });
        numbers.filter(|&number| number < tensors).max().map_or(0, |largest| largest + 1)
    }

    /// Takes the tensor `name` with exactly this `shape`.
    #[must_use]
    pub fn tensor<const D: usize>(&self, name: &str, shape: [usize; D]) -> Tensor<D> {
        let full = format!("{}{name}", self.prefix);
        let target = (&self.shared.device, DType::from(self.shared.dtype));
        match self.data(&full, &shape) {
            Some(data) if data.dtype() == target.1 => Tensor::from_data(data, target),
            Some(data) => Tensor::<D>::from_data(data, (&self.shared.device, DType::F32))
                .cast(self.shared.dtype),
            None => Tensor::zeros(shape, target),
        }
    }

    /// Takes the matrix `name` undecoded, where tensors are f32: for a network that lays it out in its own
    /// way. `None` if they are of another type, or if it is missing or misshapen, which is then noted:
    /// [`Loader::tensor`] goes on in each case.
    #[must_use]
    pub fn encoded(&self, name: &str, shape: [usize; 2]) -> Option<Encoded<'a>> {
        if self.shared.dtype != FloatDType::F32 {
            return None;
        }
        let full = format!("{}{name}", self.prefix);
        let info = self.shared.checkpoint.info(&full)?;
        if info.shape != shape {
            return None;
        }
        self.shared.used.borrow_mut().insert(full.clone());
        self.kept(self.shared.checkpoint.encoded(&full))
    }

    /// Takes some rows of the table `name` `[rows, width]`, in the order given, and reads no others: a
    /// table of a large vocabulary is never held. Rows beyond its end are zeros.
    #[must_use]
    pub fn rows(&self, name: &str, shape: [usize; 2], rows: &[u32]) -> Tensor<2> {
        let full = format!("{}{name}", self.prefix);
        let [count, width] = shape;
        let target = (&self.shared.device, DType::F32);
        let mut values = vec![0.0; rows.len() * width];
        let table = self.audited(&full, &shape);
        let table = table.and_then(|_| self.kept(self.shared.checkpoint.encoded(&full)));
        if let Some(table) = table {
            for (values, &row) in values.chunks_exact_mut(width.max(1)).zip(rows) {
                if (row as usize) < count {
                    table.decode(row as usize * width, values);
                }
            }
        }
        let data = TensorData::new(values, [rows.len(), width]);
        Tensor::<2>::from_data(data, target).cast(self.shared.dtype)
    }

    /// Takes the tensor `name` as a parameter of a module.
    #[must_use]
    pub fn param<const D: usize>(&self, name: &str, shape: [usize; D]) -> Param<Tensor<D>> {
        Param::from_tensor(self.tensor(name, shape))
    }

    /// Notes whether the tensor `name` is there with exactly this `shape`, without reading it: the
    /// audit of a network that is read layer by layer.
    pub fn expect(&self, name: &str, shape: &[usize]) {
        self.audited(&format!("{}{name}", self.prefix), shape);
    }

    /// Declares that the tensor `name` is known and not needed.
    pub fn ignore(&self, name: &str) {
        self.shared.used.borrow_mut().insert(format!("{}{name}", self.prefix));
    }

    /// Declares that nothing below `segment` is needed.
    pub fn ignore_below(&self, segment: &str) {
        let start = format!("{}{segment}.", self.prefix);
        let names = self.shared.checkpoint.names().filter(|name| name.starts_with(&start));
        self.shared.used.borrow_mut().extend(names.map(str::to_owned));
    }

    /// Ends the loading: was everything there, and was everything used? Tensors outside the root are
    /// another network's and do not count. `network` names the network in the error.
    ///
    /// # Errors
    /// Lists every missing, misshapen or unused tensor, or the first that could not be read.
    pub fn finish(&self, network: &str) -> Result<(), WeightsError> {
        if let Some(failure) = self.shared.failure.borrow_mut().take() {
            return Err(failure);
        }
        let mut problems = self.shared.problems.borrow().clone();
        let used = self.shared.used.borrow();
        for name in self.shared.checkpoint.names() {
            if name.starts_with(&self.shared.root)
                && !used.contains(name)
                && !goes_with_scales(name)
            {
                problems.push(Problem::Extra(name.to_owned()));
            }
        }
        if problems.is_empty() {
            return Ok(());
        }
        problems.sort();
        let path = self.shared.checkpoint.path().to_owned();
        Err(WeightsError::Audit { path, network: network.to_owned(), problems })
    }

    /// Marks the tensor as used; `None`, and a problem noted, unless it is there with this shape.
    fn audited(&self, full: &str, shape: &[usize]) -> Option<&TensorInfo> {
        self.shared.used.borrow_mut().insert(full.to_owned());
        let Some(info) = self.shared.checkpoint.info(full) else {
            self.shared.problems.borrow_mut().push(Problem::Missing(full.to_owned()));
            return None;
        };
        if info.shape != shape {
            self.shared.problems.borrow_mut().push(Problem::Shape {
                name: full.to_owned(),
                expected: shape.to_vec(),
                found: info.shape.clone(),
            });
            return None;
        }
        Some(info)
    }

    fn data(&self, full: &str, shape: &[usize]) -> Option<TensorData> {
        let checkpoint = self.shared.checkpoint;
        let info = self.audited(full, shape)?;
        let same_type = matches!(
            (info.dtype, self.shared.dtype),
            (Dtype::F32, FloatDType::F32)
                | (Dtype::F16, FloatDType::F16)
                | (Dtype::BF16, FloatDType::BF16)
        );
        let data = if same_type {
            let dtype = DType::from(self.shared.dtype);
            checkpoint
                .bytes(full)
                .map(|bytes| TensorData::from_bytes_vec(bytes.into_owned(), shape.to_vec(), dtype))
        } else {
            checkpoint.f32(full).map(|values| TensorData::new(values, shape.to_vec()))
        };
        self.kept(data)
    }

    /// Keeps the first failure for [`Loader::finish`].
    fn kept<T>(&self, read: Result<T, WeightsError>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(error) => {
                self.shared.failure.borrow_mut().get_or_insert(error);
                None
            }
        }
    }
}

/// Tensors of files with scaled 8-bit weights that are none of the network's: the scales, which
/// [`Checkpoint::encoded`] multiplies by; the mark that there are some; and the scales of inputs, which
/// are for products in 8 bits and have no use where inputs stay as they are.
fn goes_with_scales(name: &str) -> bool {
    const ENDS: [&str; 5] =
        [".scale_weight", ".weight_scale", "scaled_fp8", ".scale_input", ".input_scale"];
    ENDS.iter().any(|end| name.ends_with(end))
}
