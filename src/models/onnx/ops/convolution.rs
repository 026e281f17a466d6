//! Convolution of pictures.

use burn::tensor::{module, ops::ConvOptions};

use super::{Call, Outcome, one, transposed};
use crate::models::onnx::{
    host::elements,
    value::{Floats, Value},
};

/// `[N, C, H, W]` with weights `[M, C / group, kH, kW]`; lists and volumes go another way.
pub(super) fn conv(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    if call.inputs.first().and_then(Option::as_ref).is_some_and(|value| value.shape().len() != 4) {
        return transposed::conv(call);
    }
    let pictures = call.floats(0)?.fixed::<4>()?;
    let weight = call.floats(1)?.fixed::<4>()?;
    let bias = call.optional(2).map(|bias| bias.floats(call.device)?.fixed::<1>()).transpose()?;
    let [_, _, height, width] = pictures.dims();
    let [_, _, kernel_height, kernel_width] = weight.dims();
    let window = Window::new(&call, [height, width], [kernel_height, kernel_width])?;
    window.check(pictures.dims(), weight.dims()[0], [kernel_height, kernel_width])?;
    let groups = usize::try_from(call.int("group", 1)).ok().filter(|&groups| groups > 0);
    let groups = groups.ok_or("its group is not positive")?;
    let options =
        ConvOptions::new_with_padding(window.stride, window.padding, window.dilation, groups);
    one(Floats::from_tensor(module::conv2d(pictures, weight, bias, options)))
}

/// How a kernel or pool moves over a picture.
pub(super) struct Window {
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    /// Before and after, for height and width.
    pub padding: [(usize, usize); 2],
}

impl Window {
    /// Reads the attributes that convolutions and pools share.
    pub(super) fn new(call: &Call<'_>, size: [usize; 2], kernel: [usize; 2]) -> Outcome<Self> {
        let stride = call.sizes("strides", 1)?;
        let dilation = call.sizes("dilations", 1)?;
        if stride.contains(&0) || dilation.contains(&0) {
            return Err("a stride or dilation is zero".to_owned());
        }
        let [top, left, bottom, right] = call.sizes("pads", 0)?;
        let same = |end_first: bool| {
            std::array::from_fn(|i| {
                let way = (kernel[i].max(1) - 1).saturating_mul(dilation[i]);
                let steps = size[i].div_ceil(stride[i]);
                let whole = ((steps.max(1) - 1) * stride[i]).saturating_add(way).saturating_add(1);
                let all = whole.saturating_sub(size[i]);
                let (less, more) = (all / 2, all - all / 2);
                if end_first { (less, more) } else { (more, less) }
            })
        };
        let padding = match call.text("auto_pad") {
            "" | "NOTSET" => [(top, bottom), (left, right)],
            "VALID" => [(0, 0); 2],
            "SAME_UPPER" => same(true),
            "SAME_LOWER" => same(false),
            other => return Err(format!("auto_pad {other} is not supported")),
        };
        Ok(Self { stride, dilation, padding })
    }

    /// Refuses what no memory holds: the pictures with their margins, and the result.
    pub(super) fn check(
        &self,
        [samples, depth, height, width]: [usize; 4],
        channels: usize,
        kernel: [usize; 2],
    ) -> Outcome<()> {
        let padded = |i: usize, size: usize| {
            size.saturating_add(self.padding[i].0).saturating_add(self.padding[i].1)
        };
        let padded = [padded(0, height), padded(1, width)];
        elements(&[samples, depth, padded[0], padded[1]])?;
        let steps = |i: usize| {
            let way = kernel[i].saturating_sub(1).saturating_mul(self.dilation[i]);
            padded[i].saturating_sub(way) / self.stride[i] + 1
        };
        elements(&[samples, channels, steps(0), steps(1)]).map(drop)
    }
}
