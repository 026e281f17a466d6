//! A window that moves over the places of a channel, in any number of dimensions: what pools on the
//! host are made of.

use super::{Call, Outcome, sizes};
use crate::models::onnx::host::elements;

/// The places of one window: flat index in the channel of those inside it, and how many lie in the
/// declared margins.
pub(super) struct Places {
    pub inside: Vec<usize>,
    pub margins: usize,
}

/// How a window moves over a channel.
pub(super) struct Sweep {
    from: Vec<usize>,
    kernel: Vec<usize>,
    stride: Vec<usize>,
    dilation: Vec<usize>,
    before: Vec<usize>,
    after: Vec<usize>,
    /// Sizes of the result.
    pub to: Vec<usize>,
}

impl Sweep {
    /// From the attributes that pools share; `from` are the sizes behind batch and channels.
    pub(super) fn new(call: &Call<'_>, from: &[usize]) -> Outcome<Self> {
        let rank = from.len();
        let list = |name: &str, default: usize, count: usize| match call.attribute(name) {
            Some(attribute) if attribute.ints.len() == count => sizes(&attribute.ints),
            Some(attribute) => Err(format!("{name} {:?} is not {count} sizes", attribute.ints)),
            None => Ok(vec![default; count]),
        };
        let (kernel, stride) = (list("kernel_shape", 1, rank)?, list("strides", 1, rank)?);
        let dilation = list("dilations", 1, rank)?;
        let pads = list("pads", 0, 2 * rank)?;
        if [&kernel, &stride, &dilation].iter().any(|list| list.contains(&0)) {
            return Err("a kernel, stride or dilation is zero".to_owned());
        }
        let upwards = call.int("ceil_mode", 0) != 0;
        let mut sweep = Self {
            from: from.to_vec(),
            before: pads[..rank].to_vec(),
            after: pads[rank..].to_vec(),
            to: Vec::with_capacity(rank),
            kernel,
            stride,
            dilation,
        };
        for axis in 0..rank {
            let size = sweep.size(axis, call.text("auto_pad"), upwards)?;
            sweep.to.push(size);
        }
        elements(&sweep.to)?;
        Ok(sweep)
    }

    /// Size of the result along `axis`; fixes the margins where they are to be found.
    fn size(&mut self, axis: usize, automatic: &str, upwards: bool) -> Outcome<usize> {
        let (from, stride) = (self.from[axis], self.stride[axis]);
        let covered = (self.kernel[axis] - 1).saturating_mul(self.dilation[axis]).saturating_add(1);
        match automatic {
            "" | "NOTSET" => {}
            "VALID" => (self.before[axis], self.after[axis]) = (0, 0),
            "SAME_UPPER" | "SAME_LOWER" => {
                let to = from.div_ceil(stride);
                let all =
                    (to.saturating_sub(1) * stride).saturating_add(covered).saturating_sub(from);
                let (less, more) = (all / 2, all - all / 2);
                let upper = automatic == "SAME_UPPER";
                (self.before[axis], self.after[axis]) =
                    if upper { (less, more) } else { (more, less) };
                return Ok(to);
            }
            other => return Err(format!("auto_pad {other} is not supported")),
        }
        let (before, after) = (self.before[axis], self.after[axis]);
        let whole = from.saturating_add(before).saturating_add(after);
        let size = match (whole.checked_sub(covered), upwards) {
            (Some(way), false) => way / stride + 1,
            (Some(way), true) => {
                let to = way.div_ceil(stride) + 1;
                // A window that begins behind the last element would hold nothing.
                if (to - 1).saturating_mul(stride) >= from + before { to - 1 } else { to }
            }
            // A window larger than what it moves over, rounded up: one step, if it is less than that.
            (None, true) if covered - whole < stride => 1,
            (None, _) => return Err(format!("its window of {covered} does not fit into {whole}")),
        };
        Ok(size)
    }

    /// Number of places of the whole window.
    pub(super) fn window(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Every window in the order of the result.
    pub(super) fn windows(&self) -> Vec<Places> {
        let count: usize = self.to.iter().product();
        (0..count).map(|index| self.places(index)).collect()
    }

    fn places(&self, mut index: usize) -> Places {
        let (mut inside, mut margins) = (vec![0], 1);
        let mut stride = 1;
        // From the innermost dimension outwards, so that each adds its part to the flat index.
        for axis in (0..self.from.len()).rev() {
            let (from, before) = (self.from[axis] as i64, self.before[axis] as i64);
            let start = ((index % self.to[axis]) * self.stride[axis]) as i64 - before;
            index /= self.to[axis];
            let places = (0..self.kernel[axis]).map(|i| start + (i * self.dilation[axis]) as i64);
            let padded = from + self.after[axis] as i64;
            margins *= places.clone().filter(|&place| place < padded).count();
            let own: Vec<i64> = places.filter(|&place| (0..from).contains(&place)).collect();
            let add = |place: i64| inside.iter().map(move |&inner| place as usize * stride + inner);
            inside = own.into_iter().flat_map(add).collect();
            stride *= self.from[axis];
        }
        let margins = margins - inside.len();
        Places { inside, margins }
    }
}
