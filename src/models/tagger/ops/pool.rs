//! Pooling of pictures.

use burn::tensor::{
    module,
    ops::{AvgPoolOptions, MaxPoolOptions},
};

use super::{Call, Outcome, convolution::Window, one};
use crate::models::tagger::value::{Floats, RANK, Value};

pub(super) fn average_pool(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let pictures = call.floats(0)?.fixed::<4>()?;
    let [_, _, height, width] = pictures.dims();
    let kernel = call.sizes("kernel_shape", 1)?;
    let window = Window::new(&call, [height, width], kernel)?;
    if window.dilation != [1, 1] {
        return Err("dilations are not supported".to_owned());
    }
    let options = AvgPoolOptions::new(kernel)
        .with_stride(window.stride)
        .with_padding_pairs(window.padding)
        .with_count_include_pad(call.int("count_include_pad", 0) != 0)
        .with_ceil_mode(call.int("ceil_mode", 0) != 0);
    one(Floats::from_tensor(module::avg_pool2d(pictures, options)))
}

pub(super) fn max_pool(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    if call.node.output.len() > 1 {
        return Err("the places of the maxima are not supported".to_owned());
    }
    let pictures = call.floats(0)?.fixed::<4>()?;
    let [_, _, height, width] = pictures.dims();
    let kernel = call.sizes("kernel_shape", 1)?;
    let window = Window::new(&call, [height, width], kernel)?;
    let options = MaxPoolOptions::new(kernel)
        .with_stride(window.stride)
        .with_padding_pairs(window.padding)
        .with_dilation(window.dilation)
        .with_ceil_mode(call.int("ceil_mode", 0) != 0);
    one(Floats::from_tensor(module::max_pool2d(pictures, options)))
}

pub(super) fn global_average_pool(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.floats(0)?;
    let places = spatial(&value);
    one(value.map(|tensor| tensor.mean_dims(&places)))
}

pub(super) fn global_max_pool(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.floats(0)?;
    let places = spatial(&value);
    one(value.map(|tensor| tensor.max_dims(&places)))
}

/// All dimensions behind batch and channels.
fn spatial(value: &Floats) -> Vec<usize> {
    (value.place(2)..RANK).collect()
}
