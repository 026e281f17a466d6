//! Pictures put together again or read elsewhere: what undoes pooling and patches, grids, and kernels
//! whose places are inputs.

use burn::tensor::{Tensor, module, ops::DeformConvOptions};

use super::{Call, Outcome, one, sizes, transposed::Options};
use crate::models::onnx::{
    host::{Array, Host, elements},
    value::{Floats, Value},
};

/// `AffineGrid`: where each pixel of a picture (or volume) is read, from one matrix per sample.
pub(super) fn affine_grid(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let matrices = call.value(0)?.reals()?;
    let wanted = sizes(call.value(1)?.ints()?.data())?;
    let align_corners = call.int("align_corners", 0) != 0;
    let &[samples, _, ref space @ ..] = &wanted[..] else {
        return Err(format!("{wanted:?} is no size of pictures"));
    };
    let dimensions = space.len();
    if !(2..=3).contains(&dimensions) || matrices.shape() != [samples, dimensions, dimensions + 1] {
        return Err(format!("matrices {:?} do not fit {wanted:?}", matrices.shape()));
    }
    let result = [&[samples][..], space, &[dimensions]].concat();
    let mut data = Vec::with_capacity(elements(&result)?);
    let cells: usize = space.iter().product();
    for matrix in matrices.data().chunks(dimensions * (dimensions + 1)) {
        for cell in 0..cells {
            // Coordinates x, y, z, the innermost dimension first; then a one.
            let mut place = Vec::with_capacity(dimensions + 1);
            let mut rest = cell;
            for &size in space.iter().rev() {
                let (at, size_f) = ((rest % size) as f32, size as f32);
                rest /= size;
                place.push(match align_corners {
                    true if size == 1 => 0.0,
                    true => 2.0 * at / (size_f - 1.0) - 1.0,
                    false => (2.0 * at + 1.0) / size_f - 1.0,
                });
            }
            place.push(1.0);
            let rows = matrix.chunks(dimensions + 1);
            data.extend(rows.map(|row| row.iter().zip(&place).map(|(a, b)| a * b).sum::<f32>()));
        }
    }
    one(Value::constant(Host::new(result, data)?, call.device)?)
}

/// `Col2Im`: patches added up where they lie in a picture.
pub(super) fn col2im(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let columns = call.value(0)?.reals()?;
    let space = sizes(call.value(1)?.ints()?.data())?;
    let kernel = sizes(call.value(2)?.ints()?.data())?;
    let (&[height, width], &[rows, cols]) = (&space[..], &kernel[..]) else {
        return Err("only pictures are supported".to_owned());
    };
    let options = Options::new(&call, 2)?;
    let &[samples, depth, count] = &columns.shape()[..] else {
        return Err(format!("{:?} is not [N, C kH kW, L]", columns.shape()));
    };
    let steps = |size: usize, kernel: usize, axis: usize| {
        let padded = size.saturating_add(options.pads[axis]).saturating_add(options.pads[axis + 2]);
        let covered = kernel.saturating_sub(1).saturating_mul(options.dilations[axis]) + 1;
        padded.checked_sub(covered).map(|way| way / options.strides[axis] + 1)
    };
    let (down, across) = (steps(height, rows, 0), steps(width, cols, 1));
    let patch = rows.saturating_mul(cols);
    let (Some(down), Some(across)) = (down, across) else {
        return Err("its kernel does not fit into its picture".to_owned());
    };
    if down.checked_mul(across) != Some(count) || patch == 0 || depth % patch != 0 {
        return Err(format!("{:?} are not the patches of {space:?}", columns.shape()));
    }
    let channels = depth / patch;
    let result = vec![samples, channels, height, width];
    let mut data = vec![0.0; elements(&result)?];
    for (index, &value) in columns.data().iter().enumerate() {
        let (step, part) = (index % count, index / count % depth);
        let (plane, inner) = (index / count / depth * channels + part / patch, part % patch);
        let place = |step: usize, inner: usize, axis: usize, size: usize| {
            let at = step * options.strides[axis] + inner * options.dilations[axis];
            at.checked_sub(options.pads[axis]).filter(|&at| at < size)
        };
        let y = place(step / across, inner / cols, 0, height);
        let x = place(step % across, inner % cols, 1, width);
        if let (Some(y), Some(x)) = (y, x) {
            data[(plane * height + y) * width + x] += value;
        }
    }
    one(Value::constant(Host::new(result, data)?, call.device)?)
}

/// `MaxUnpool`: values at the places where they were the largest, zeros elsewhere.
pub(super) fn max_unpool(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let (values, places) = (call.value(0)?.reals()?, call.value(1)?.ints()?);
    let stated = call.optional(2).map(|size| size.ints()).transpose()?;
    let shape = values.shape();
    let dimensions = shape.len().saturating_sub(2);
    let list = |name: &str, default: usize, count: usize| match call.attribute(name) {
        Some(attribute) if attribute.ints.len() == count => sizes(&attribute.ints),
        Some(attribute) => Err(format!("{name} {:?} is not {count} sizes", attribute.ints)),
        None => Ok(vec![default; count]),
    };
    let kernel = list("kernel_shape", 1, dimensions)?;
    let (strides, pads) = (list("strides", 1, dimensions)?, list("pads", 0, 2 * dimensions)?);
    let natural = |axis: usize| {
        let whole = shape[axis + 2].saturating_sub(1).saturating_mul(strides[axis]);
        let whole = whole.saturating_add(kernel[axis]);
        whole.saturating_sub(pads[axis]).saturating_sub(pads[axis + dimensions])
    };
    let natural =
        [&shape[..2.min(shape.len())], &(0..dimensions).map(natural).collect::<Vec<_>>()].concat();
    let result = match stated {
        Some(size) => sizes(size.data())?,
        None => natural.clone(),
    };
    if places.shape() != shape || result.len() != shape.len() {
        return Err("its places are not one for each value".to_owned());
    }
    let mut data = vec![0.0; elements(&result)?];
    for (&place, &value) in places.data().iter().zip(values.data()) {
        // Places count in the natural size, whatever the size asked for.
        let mut rest = usize::try_from(place).map_err(|_| format!("negative place {place}"))?;
        let (mut flat, mut stride) = (0, 1);
        for (&size, &wanted) in natural.iter().zip(&result).rev() {
            flat += rest % size.max(1) * stride;
            rest /= size.max(1);
            stride *= wanted;
        }
        *data.get_mut(flat).ok_or_else(|| format!("place {place} is not in the result"))? = value;
    }
    one(Value::constant(Host::new(result, data)?, call.device)?)
}

/// `DeformConv`: a convolution whose every tap is moved by an input.
pub(super) fn deform_conv(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let picture = call.floats(0)?.fixed::<4>()?;
    let (weight, offset) = (call.floats(1)?.fixed::<4>()?, call.floats(2)?.fixed::<4>()?);
    let bias = call.optional(3).map(|bias| bias.floats(call.device)?.fixed::<1>()).transpose()?;
    let mask = call.optional(4).map(|mask| mask.floats(call.device)?.fixed::<4>()).transpose()?;
    let options = Options::new(&call, 2)?;
    let &[top, left, bottom, right] = &options.pads[..] else {
        return Err("it states no margins".to_owned());
    };
    if (top, left) != (bottom, right) {
        return Err("margins that differ are not supported".to_owned());
    }
    let offset_groups = usize::try_from(call.int("offset_group", 1)).unwrap_or(1).max(1);
    let options = DeformConvOptions::new(
        [options.strides[0], options.strides[1]],
        [top, left],
        [options.dilations[0], options.dilations[1]],
        options.groups,
        offset_groups,
    );
    let result: Tensor<4> = module::deform_conv2d(picture, offset, weight, mask, bias, options);
    one(Floats::from_tensor(result))
}
