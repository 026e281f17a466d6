//! Convolution of lists and volumes, and transposed convolution.

use burn::tensor::{
    module,
    ops::{ConvOptions, ConvTransposeOptions},
};

use super::{Call, Outcome, one, sizes};
use crate::models::onnx::{
    host::{Array, Host, elements},
    value::{Floats, RANK, Value},
};

/// What convolutions state, for any number of dimensions.
pub(super) struct Options {
    pub strides: Vec<usize>,
    pub dilations: Vec<usize>,
    pub pads: Vec<usize>,
    pub groups: usize,
}

impl Options {
    pub(super) fn new(call: &Call<'_>, dimensions: usize) -> Outcome<Self> {
        let list = |name: &str, default: usize, count: usize| match call.attribute(name) {
            Some(attribute) if attribute.ints.len() == count => sizes(&attribute.ints),
            Some(attribute) => Err(format!("{name} {:?} is not {count} sizes", attribute.ints)),
            None => Ok(vec![default; count]),
        };
        let groups = usize::try_from(call.int("group", 1)).ok().filter(|&groups| groups > 0);
        let options = Self {
            strides: list("strides", 1, dimensions)?,
            dilations: list("dilations", 1, dimensions)?,
            pads: list("pads", 0, 2 * dimensions)?,
            groups: groups.ok_or("its group is not positive")?,
        };
        if options.strides.contains(&0) || options.dilations.contains(&0) {
            return Err("a stride or dilation is zero".to_owned());
        }
        Ok(options)
    }

    /// Margins before and after each dimension, as `auto_pad` or `pads` say.
    fn margins(
        &self,
        call: &Call<'_>,
        from: &[usize],
        kernel: &[usize],
    ) -> Outcome<Vec<(usize, usize)>> {
        let automatic = call.text("auto_pad");
        let count = from.len();
        let margin = |axis: usize| match automatic {
            "" | "NOTSET" => Ok((self.pads[axis], self.pads[count + axis])),
            "VALID" => Ok((0, 0)),
            "SAME_UPPER" | "SAME_LOWER" => {
                let way = (kernel[axis].max(1) - 1).saturating_mul(self.dilations[axis]);
                let steps = from[axis].div_ceil(self.strides[axis]).max(1);
                let whole =
                    ((steps - 1) * self.strides[axis]).saturating_add(way).saturating_add(1);
                let all = whole.saturating_sub(from[axis]);
                let (less, more) = (all / 2, all - all / 2);
                Ok(if automatic == "SAME_UPPER" { (less, more) } else { (more, less) })
            }
            other => Err(format!("auto_pad {other} is not supported")),
        };
        (0..count).map(margin).collect()
    }
}

/// `Conv` of `[N, C, L]` or `[N, C, D, H, W]`.
pub(super) fn conv(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let (value, weight) = (call.floats(0)?, call.floats(1)?);
    let bias = call.optional(2).map(|bias| bias.floats(call.device)?.fixed::<1>()).transpose()?;
    let (shape, kernel) = (value.shape(), weight.shape());
    let dimensions = shape.len().saturating_sub(2);
    if kernel.len() != shape.len() || !(1..=3).contains(&dimensions) {
        return Err(format!("{shape:?} with weights {kernel:?} is not supported"));
    }
    let options = Options::new(&call, dimensions)?;
    let margins = options.margins(&call, &shape[2..], &kernel[2..])?;
    let padded = shape[2..].iter().zip(&margins);
    let padded =
        padded.map(|(size, margin)| size.saturating_add(margin.0).saturating_add(margin.1));
    let padded: Vec<usize> = padded.collect();
    elements(&[&shape[..2], &padded].concat())?;
    let steps = |axis: usize| {
        let way = (kernel[axis + 2].max(1) - 1).saturating_mul(options.dilations[axis]);
        padded[axis].saturating_sub(way) / options.strides[axis] + 1
    };
    let result: Vec<usize> = (0..dimensions).map(steps).collect();
    elements(&[&[shape[0], kernel[0]], &result[..]].concat())?;
    // Missing dimensions are leading ones of size one.
    let lead = 3 - dimensions;
    let spread =
        |list: &[usize]| std::array::from_fn(|i| i.checked_sub(lead).map_or(1, |i| list[i]));
    let volume = |shape: &[usize]| {
        let sizes: [usize; 3] = spread(&shape[2..]);
        [&shape[..2], &sizes].concat()
    };
    let padding: [(usize, usize); 3] =
        std::array::from_fn(|i| i.checked_sub(lead).map_or((0, 0), |i| margins[i]));
    let result = if dimensions == 3 {
        let options = ConvOptions::new_with_padding(
            spread(&options.strides),
            padding,
            spread(&options.dilations),
            options.groups,
        );
        Floats::from_tensor(module::conv3d(
            value.fixed::<5>()?,
            weight.fixed::<5>()?,
            bias,
            options,
        ))
    } else {
        // A list is a picture of one row.
        let [_, height, width] = volume(&shape)[2..] else { return Err("no picture".to_owned()) };
        let [_, rows, columns] = volume(&kernel)[2..] else { return Err("no picture".to_owned()) };
        let (strides, dilations): ([usize; 3], [usize; 3]) =
            (spread(&options.strides), spread(&options.dilations));
        let options = ConvOptions::new_with_padding(
            [strides[1], strides[2]],
            [padding[1], padding[2]],
            [dilations[1], dilations[2]],
            options.groups,
        );
        let picture = value.reshape(&[shape[0], shape[1], height, width])?.fixed::<4>()?;
        let weight = weight.reshape(&[kernel[0], kernel[1], rows, columns])?.fixed::<4>()?;
        let result = Floats::from_tensor(module::conv2d(picture, weight, bias, options));
        let found = result.shape();
        result.reshape(&[&found[..2], &found[4 - dimensions..]].concat())?
    };
    one(result)
}

/// `ConvTranspose` of `[N, C, ...]` with weights `[C, M / group, ...]`, one to three dimensions.
pub(super) fn conv_transpose(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let (value, weight) = (call.floats(0)?, call.floats(1)?);
    let bias = call.optional(2).map(|bias| bias.floats(call.device)).transpose()?;
    let (shape, kernel) = (value.shape(), weight.shape());
    let count = shape.len().saturating_sub(2);
    if kernel.len() != shape.len() || !(1..=3).contains(&count) {
        return Err(format!("{shape:?} with weights {kernel:?} is not supported"));
    }
    let options = Options::new(&call, count)?;
    let cuts = cuts(&call, &options, &shape[2..], &kernel[2..])?;
    let channels = kernel[1].saturating_mul(options.groups);
    // All that the kernel touches is computed, then cut: margins may differ at both ends.
    let whole = cuts.iter().map(|cut| cut.whole).collect::<Vec<_>>();
    elements(&[&[shape[0], channels][..], &whole].concat())?;
    let lead = 3 - count;
    let spread =
        |list: &[usize]| std::array::from_fn(|i| i.checked_sub(lead).map_or(1, |i| list[i]));
    let (strides, dilations): ([usize; 3], [usize; 3]) =
        (spread(&options.strides), spread(&options.dilations));
    let (from, window): ([usize; 3], [usize; 3]) = (spread(&shape[2..]), spread(&kernel[2..]));
    let result = if count == 3 {
        let settings =
            ConvTransposeOptions::new(strides, [0; 3], [0; 3], dilations, options.groups);
        Floats::from_tensor(module::conv_transpose3d(
            value.fixed::<5>()?,
            weight.fixed::<5>()?,
            None,
            settings,
        ))
    } else {
        let picture = value.reshape(&[shape[0], shape[1], from[1], from[2]])?.fixed::<4>()?;
        let weight = weight.reshape(&[kernel[0], kernel[1], window[1], window[2]])?.fixed::<4>()?;
        let settings = ConvTransposeOptions::new(
            [strides[1], strides[2]],
            [0; 2],
            [0; 2],
            [dilations[1], dilations[2]],
            options.groups,
        );
        Floats::from_tensor(module::conv_transpose2d(picture, weight, None, settings))
    };
    let mut result = result.reshape(&[&[shape[0], channels][..], &whole].concat())?;
    for (axis, cut) in cuts.iter().enumerate() {
        let size = cut.whole.saturating_sub(cut.before).min(cut.size);
        result = result.strided(axis + 2, cut.before.min(cut.whole), size, 1);
    }
    result = widened(result, &cuts)?;
    match bias {
        Some(bias) => {
            let mut sizes = vec![1; count + 2];
            sizes[1] = channels;
            let bias = bias.reshape(&sizes)?.tensor();
            one(result.map(|tensor| tensor + bias))
        }
        None => one(result),
    }
}

/// What is kept of one dimension of a transposed convolution.
struct Cut {
    /// Size of all that the kernel touches.
    whole: usize,
    before: usize,
    size: usize,
}

fn cuts(call: &Call<'_>, options: &Options, from: &[usize], kernel: &[usize]) -> Outcome<Vec<Cut>> {
    let count = from.len();
    let list = |name: &str| match call.attribute(name) {
        Some(attribute) if attribute.ints.len() == count => sizes(&attribute.ints).map(Some),
        // With the batch and the channels before the sizes.
        Some(attribute) if name == "output_shape" && attribute.ints.len() == count + 2 => {
            sizes(&attribute.ints[2..]).map(Some)
        }
        Some(attribute) => Err(format!("{name} {:?} is not {count} sizes", attribute.ints)),
        None => Ok(None),
    };
    let extra = list("output_padding")?.unwrap_or_else(|| vec![0; count]);
    let wanted = list("output_shape")?;
    let automatic = call.text("auto_pad");
    let cut = |axis: usize| {
        let stride = options.strides[axis];
        let covered =
            (kernel[axis].max(1) - 1).checked_mul(options.dilations[axis]).and_then(|way| {
                (from[axis].max(1) - 1).checked_mul(stride)?.checked_add(way)?.checked_add(1)
            });
        let whole = covered.ok_or("its sizes overflow")?;
        let padded = whole.saturating_add(extra[axis]);
        let split = |size: usize| {
            let all = padded.saturating_sub(size);
            let before =
                if automatic == "SAME_LOWER" || (automatic != "SAME_UPPER" && wanted.is_some()) {
                    all - all / 2
                } else {
                    all / 2
                };
            Cut { whole, before, size }
        };
        Ok(match (&wanted, automatic) {
            (Some(wanted), _) => split(wanted[axis]),
            (None, "SAME_UPPER" | "SAME_LOWER") => split(from[axis] * stride),
            (None, "VALID") => Cut { whole, before: 0, size: padded },
            (None, _) => {
                let (before, after) = (options.pads[axis], options.pads[count + axis]);
                let size = padded.checked_sub(before.saturating_add(after));
                let size = size.ok_or("its pads cut everything away")?;
                Cut { whole, before, size }
            }
        })
    };
    (0..count).map(cut).collect()
}

/// With zeros at the end of each dimension, up to the size asked for.
fn widened(value: Floats, cuts: &[Cut]) -> Outcome<Floats> {
    let mut shape = value.shape();
    for (axis, cut) in cuts.iter().enumerate() {
        shape[axis + 2] = cut.size;
    }
    if shape == value.shape() {
        return Ok(value);
    }
    elements(&shape)?;
    let device = value.clone().tensor().device();
    let found = value.shape();
    let rank = found.len();
    let zeros = Value::Reals(Host::scalar(0.0)).floats(&device)?;
    let zeros = zeros.expand(&shape)?.tensor();
    let lead = RANK - rank;
    let inner: [std::ops::Range<usize>; RANK] =
        std::array::from_fn(|i| 0..i.checked_sub(lead).map_or(1, |i| found[i]));
    Ok(Floats::new(zeros.slice_assign(inner, value.tensor()), rank))
}
