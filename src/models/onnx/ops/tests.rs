//! Operators in small graphs, against numbers worked out by hand.

use onnx_ir::{AttributeProto, NodeProto};

use super::*;

mod nothing;

fn node(attributes: &[(&str, &[i64])]) -> NodeProto {
    let mut node = NodeProto::new();
    node.output = vec!["result".to_owned()];
    for (name, ints) in attributes {
        let mut attribute = AttributeProto::new();
        attribute.name = (*name).to_owned();
        attribute.i = ints.first().copied().unwrap_or_default();
        attribute.ints = ints.to_vec();
        node.attribute.push(attribute);
    }
    node
}

fn text(mut node: NodeProto, name: &str, value: &'static str) -> NodeProto {
    let mut attribute = AttributeProto::new();
    attribute.name = name.to_owned();
    attribute.s = value.as_bytes().into();
    node.attribute.push(attribute);
    node
}

fn run(name: &str, node: &NodeProto, inputs: Vec<Value>) -> Outcome<Vec<Value>> {
    let inputs = inputs.into_iter().map(Some).collect();
    find(name).unwrap()(Call::new(node, 17, &Device::flex(), inputs))
}

fn floats(shape: &[usize], data: &[f32]) -> Value {
    let host = Host::new(shape.to_vec(), data.to_vec()).unwrap();
    Value::Floats(Floats::upload(host, &Device::flex()).unwrap())
}

fn counted(shape: &[usize]) -> Value {
    let count = shape.iter().product::<usize>();
    floats(shape, &(0..count).map(|i| i as f32).collect::<Vec<_>>())
}

fn ints(list: &[i64]) -> Value {
    Host::list(list.to_vec()).into()
}

/// Shape and elements of the first result.
fn first(results: Outcome<Vec<Value>>) -> (Vec<usize>, Vec<f32>) {
    let value = results.unwrap().remove(0);
    (value.shape(), value.reals().unwrap().into_data())
}

#[test]
fn the_table_is_sorted_and_has_no_doubles() {
    let names: Vec<_> = names().collect();
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn integers_divide_towards_zero_and_never_by_it() {
    let node = node(&[]);
    let result = run("Div", &node, vec![ints(&[-7, 7]), ints(&[2, 2])]).unwrap().remove(0);
    assert_eq!(result.ints().unwrap().data(), [-3, 3]);
    assert!(run("Div", &node, vec![ints(&[1]), ints(&[0])]).is_err());
    let rest = run("Mod", &node, vec![ints(&[-7, 7, 7]), ints(&[4, 4, -4])]).unwrap().remove(0);
    assert_eq!(rest.ints().unwrap().data(), [1, 3, -1]);
}

#[test]
fn arithmetic_broadcasts_between_host_and_device() {
    let one = || Value::Reals(Host::scalar(1.0));
    let plain = node(&[]);
    let (shape, data) = first(run("Sub", &plain, vec![one(), counted(&[2, 2])]));
    assert_eq!((shape, data), (vec![2, 2], vec![1.0, 0.0, -1.0, -2.0]));
    let (_, data) = first(run("Div", &plain, vec![counted(&[2]), Value::Reals(Host::scalar(2.0))]));
    assert_eq!(data, [0.0, 0.5]);
    let (shape, data) = first(run("Mul", &plain, vec![counted(&[2, 1, 2]), counted(&[2])]));
    assert_eq!((shape, data), (vec![2, 1, 2], vec![0.0, 1.0, 0.0, 3.0]));
}

#[test]
fn matrix_products_take_lists_and_batches() {
    let plain = node(&[]);
    let found = first(run("MatMul", &plain, vec![counted(&[2, 2, 3]), counted(&[3, 1])]));
    assert_eq!(found, (vec![2, 2, 1], vec![5.0, 14.0, 23.0, 32.0]));
    let found = first(run("MatMul", &plain, vec![counted(&[3]), counted(&[3, 2])]));
    assert_eq!(found, (vec![2], vec![10.0, 13.0]));
    let found = first(run("MatMul", &plain, vec![counted(&[2, 3]), counted(&[3])]));
    assert_eq!(found, (vec![2], vec![5.0, 14.0]));
    let found = first(run("MatMul", &plain, vec![counted(&[3]), counted(&[3])]));
    assert_eq!(found, (vec![], vec![5.0]));
    assert!(run("MatMul", &plain, vec![counted(&[2]), counted(&[3])]).is_err());
}

#[test]
fn einsum_contracts_sums_and_transposes() {
    let with = |equation| text(node(&[]), "equation", equation);
    let found =
        first(run("Einsum", &with("abc,cd->dab"), vec![counted(&[1, 2, 3]), counted(&[3, 1])]));
    assert_eq!(found, (vec![1, 1, 2], vec![5.0, 14.0]));
    let found =
        first(run("Einsum", &with("bij,bjk->bik"), vec![counted(&[2, 1, 2]), counted(&[2, 2, 1])]));
    assert_eq!(found, (vec![2, 1, 1], vec![1.0, 13.0]));
    let found = first(run("Einsum", &with("ij->j"), vec![counted(&[2, 2])]));
    assert_eq!(found, (vec![2], vec![2.0, 4.0]));
    let found = first(run("Einsum", &with("...ii->...i"), vec![counted(&[1, 2, 2])]));
    assert_eq!(found, (vec![1, 2], vec![0.0, 3.0]));
    let found = first(run("Einsum", &with("i,i"), vec![counted(&[3]), counted(&[3])]));
    assert_eq!(found, (vec![], vec![5.0]));
    let three = vec![counted(&[2]), counted(&[2]), counted(&[2])];
    assert_eq!(first(run("Einsum", &with("i,j,i->j"), three)), (vec![2], vec![0.0, 1.0]));
    assert!(run("Einsum", &with("ij->ii"), vec![counted(&[2, 2])]).is_err());
}

#[test]
fn arrays_are_cut_joined_and_padded() {
    let cut = vec![counted(&[2, 3]), ints(&[-1]), ints(&[i64::MIN + 1]), ints(&[1]), ints(&[-1])];
    assert_eq!(first(run("Slice", &node(&[]), cut)).1, [2.0, 1.0, 0.0, 5.0, 4.0, 3.0]);
    let picked = vec![counted(&[2, 3]), Host::scalar(-1_i64).into()];
    assert_eq!(first(run("Gather", &node(&[("axis", &[1])]), picked)), (vec![2], vec![2.0, 5.0]));
    let joined = vec![counted(&[1, 2]), Host::new(vec![1, 1], vec![9.0]).unwrap().into()];
    assert_eq!(first(run("Concat", &node(&[("axis", &[-1])]), joined)).1, [0.0, 1.0, 9.0]);
    let padded = vec![counted(&[2, 2]), ints(&[0, -1, 1, 1])];
    assert_eq!(
        first(run("Pad", &node(&[]), padded)),
        (vec![3, 2], vec![1.0, 0.0, 3.0, 0.0, 0.0, 0.0])
    );
    let parts = run("Split", &node(&[("axis", &[1])]), vec![counted(&[1, 3]), ints(&[1, 2])]);
    assert_eq!(parts.unwrap()[1].shape(), [1, 2]);
    let shaped = vec![counted(&[2, 3, 4]), ints(&[0, -1])];
    assert_eq!(first(run("Reshape", &node(&[]), shaped)).0, [2, 12]);
    assert!(run("Reshape", &node(&[]), vec![counted(&[5]), ints(&[2, -1])]).is_err());
}

#[test]
fn arrays_are_reduced() {
    let inner = node(&[("axes", &[-1]), ("keepdims", &[0])]);
    assert_eq!(first(run("ReduceMean", &inner, vec![counted(&[2, 3])])), (vec![2], vec![1.0, 4.0]));
    assert_eq!(first(run("ReduceSumSquare", &inner, vec![counted(&[2, 2])])).1, [1.0, 13.0]);
    let product = run("ReduceProd", &node(&[]), vec![ints(&[2, 3, 4])]).unwrap().remove(0);
    assert_eq!((product.shape(), product.ints().unwrap().into_data()), (vec![1], vec![24]));
}

#[test]
fn pools_do_not_count_their_padding() {
    let pool = node(&[("kernel_shape", &[2, 2]), ("strides", &[2, 2]), ("pads", &[0, 0, 1, 1])]);
    let found = first(run("AveragePool", &pool, vec![counted(&[1, 1, 3, 3])]));
    assert_eq!(found, (vec![1, 1, 2, 2], vec![2.0, 3.5, 6.5, 8.0]));
}

#[test]
fn convolutions_pad_as_asked() {
    let ones = || floats(&[1, 1, 2, 2], &[1.0; 4]);
    let conv = node(&[("strides", &[2, 2]), ("pads", &[0, 0, 1, 1])]);
    let expected = (vec![1, 1, 2, 2], vec![8.0, 7.0, 13.0, 8.0]);
    assert_eq!(first(run("Conv", &conv, vec![counted(&[1, 1, 3, 3]), ones()])), expected);
    let same = text(node(&[("strides", &[2, 2])]), "auto_pad", "SAME_UPPER");
    assert_eq!(first(run("Conv", &same, vec![counted(&[1, 1, 3, 3]), ones()])), expected);
}

#[test]
fn choices_and_comparisons_broadcast() {
    let condition = || Value::Bools(Host::list(vec![true, false]));
    let inputs = vec![condition(), counted(&[2, 2]), Value::Reals(Host::scalar(-1.0))];
    assert_eq!(first(run("Where", &node(&[]), inputs)).1, [0.0, -1.0, 2.0, -1.0]);
    let less = run("Less", &node(&[]), vec![counted(&[3]), Value::Reals(Host::scalar(1.0))]);
    assert_eq!(less.unwrap().remove(0).bools().unwrap().data(), [true, false, false]);
}

#[test]
fn softmax_of_old_opsets_joins_dimensions() {
    let (plain, device) = (node(&[]), Device::flex());
    let inputs = vec![Some(floats(&[1, 2, 2], &[0.0; 4]))];
    let call = Call::new(&plain, 11, &device, inputs);
    assert_eq!(first(find("Softmax").unwrap()(call)).1, [0.25; 4]);
}

fn number(mut node: NodeProto, name: &str, value: f32) -> NodeProto {
    let mut attribute = AttributeProto::new();
    attribute.name = name.to_owned();
    attribute.f = value;
    node.attribute.push(attribute);
    node
}

fn whole(results: Outcome<Vec<Value>>) -> (Vec<usize>, Vec<i64>) {
    let value = results.unwrap().remove(0);
    (value.shape(), value.ints().unwrap().into_data())
}

#[test]
fn every_operator_stands_in_the_documentation() {
    let page = include_str!("../../../../docs/onnx-operators.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut documented: Vec<&str> = rows.collect();
    documented.sort_unstable();
    assert_eq!(documented, names().collect::<Vec<_>>());
}

#[test]
fn pictures_are_resized_by_each_kernel() {
    let resize = |mode: &'static str, coordinates: &'static str, inputs| {
        let node = text(node(&[]), "mode", mode);
        first(run("Resize", &text(node, "coordinate_transformation_mode", coordinates), inputs))
    };
    let scaled = |scale: f32| {
        let absent = || floats(&[0], &[]);
        vec![counted(&[1, 1, 1, 2]), absent(), Host::list(vec![1.0, 1.0, 1.0, scale]).into()]
    };
    // Halves go down: places -0.25, 0.25, 0.75, 1.25.
    assert_eq!(resize("nearest", "half_pixel", scaled(2.0)).1, [0.0, 0.0, 1.0, 1.0]);
    assert_eq!(resize("linear", "half_pixel", scaled(2.0)).1, [0.0, 0.25, 0.75, 1.0]);
    assert_eq!(resize("linear", "asymmetric", scaled(2.0)).1, [0.0, 0.5, 1.0, 1.0]);
    let aligned = resize("linear", "align_corners", scaled(1.5));
    assert_eq!(aligned, (vec![1, 1, 1, 3], vec![0.0, 0.5, 1.0]));
    // At 0.25 the four weights are -0.10546875, 0.87890625, 0.26171875, -0.03515625.
    let cubic = resize("cubic", "half_pixel", scaled(2.0)).1;
    assert!((cubic[1] - (0.261_718_75 - 0.035_156_25)).abs() < 1e-6, "{cubic:?}");
    assert!(run("Resize", &node(&[]), vec![counted(&[2])]).is_err());
    // A region far outside is the value for what is outside.
    let far = vec![counted(&[2]), floats(&[2], &[-1e30, 1e30]), floats(&[0], &[]), ints(&[2])];
    let crop = text(
        text(node(&[]), "mode", "linear"),
        "coordinate_transformation_mode",
        "tf_crop_and_resize",
    );
    assert_eq!(first(run("Resize", &number(crop, "extrapolation_value", 7.0), far)).1, [7.0, 7.0]);
}

#[test]
fn transposed_convolutions_spread_their_input() {
    let ones = || floats(&[1, 1, 2, 2], &[1.0; 4]);
    let inputs = || vec![floats(&[1, 1, 1, 2], &[1.0, 2.0]), ones()];
    let wide = node(&[("strides", &[2, 2])]);
    let expected = vec![1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0];
    let found = first(run("ConvTranspose", &wide, inputs()));
    assert_eq!(found, (vec![1, 1, 2, 4], expected));
    // One column less on the left, one of zeros more on the right.
    let moved = node(&[("strides", &[2, 2]), ("pads", &[0, 1, 0, 0]), ("output_padding", &[0, 1])]);
    let found = first(run("ConvTranspose", &moved, inputs()));
    assert_eq!(found, (vec![1, 1, 2, 4], vec![1.0, 2.0, 2.0, 0.0, 1.0, 2.0, 2.0, 0.0]));
    let list = vec![floats(&[1, 1, 2], &[1.0, 2.0]), floats(&[1, 1, 2], &[1.0, 3.0])];
    assert_eq!(first(run("ConvTranspose", &node(&[]), list)), (vec![1, 1, 3], vec![1.0, 5.0, 6.0]));
}

#[test]
fn convolutions_take_lists_and_volumes() {
    let list = vec![counted(&[1, 1, 4]), floats(&[1, 1, 2], &[1.0, -1.0])];
    let found = first(run("Conv", &node(&[("pads", &[1, 0])]), list));
    assert_eq!(found, (vec![1, 1, 4], vec![0.0, -1.0, -1.0, -1.0]));
    let volume = vec![counted(&[1, 1, 2, 2, 2]), floats(&[1, 1, 2, 2, 2], &[1.0; 8])];
    assert_eq!(first(run("Conv", &node(&[]), volume)), (vec![1, 1, 1, 1, 1], vec![28.0]));
}

#[test]
fn pools_round_up_and_tell_places() {
    let mut pool = node(&[("kernel_shape", &[2, 2]), ("strides", &[2, 2]), ("ceil_mode", &[1])]);
    let up = first(run("MaxPool", &pool, vec![counted(&[1, 1, 3, 3])]));
    assert_eq!(up, (vec![1, 1, 2, 2], vec![4.0, 5.0, 7.0, 8.0]));
    let mean = first(run("AveragePool", &pool, vec![counted(&[1, 1, 3, 3])]));
    assert_eq!(mean.1, [2.0, 3.5, 6.5, 8.0]);
    pool.output.push("places".to_owned());
    let mut results = run("MaxPool", &pool, vec![counted(&[1, 1, 3, 3])]).unwrap();
    assert_eq!(results.remove(1).ints().unwrap().data(), [4, 5, 7, 8]);
    let list = node(&[("kernel_shape", &[3]), ("dilations", &[2])]);
    assert_eq!(first(run("MaxPool", &list, vec![counted(&[1, 1, 6])])).1, [4.0, 5.0]);
    let absurd = node(&[("kernel_shape", &[1 << 40])]);
    assert!(run("LpPool", &absurd, vec![counted(&[1, 1, 6])]).is_err());
}

#[test]
fn elements_are_picked_from_and_put_into_places() {
    let index = |shape: &[usize], list: &[i64]| Host::new(shape.to_vec(), list.to_vec()).unwrap();
    let picked = vec![counted(&[2, 2]), index(&[2, 1], &[1, 0]).into()];
    let found = first(run("GatherElements", &node(&[("axis", &[1])]), picked));
    assert_eq!(found, (vec![2, 1], vec![1.0, 2.0]));
    let rows = vec![counted(&[2, 2, 2]), index(&[2, 2], &[0, 1, 1, 0]).into()];
    let found = first(run("GatherND", &node(&[]), rows));
    assert_eq!(found, (vec![2, 2], vec![2.0, 3.0, 4.0, 5.0]));
    let put = || vec![counted(&[3]), index(&[2, 1], &[2, 2]).into(), floats(&[2], &[5.0, 7.0])];
    assert_eq!(first(run("ScatterND", &node(&[]), put())).1, [0.0, 1.0, 7.0]);
    let add = text(node(&[]), "reduction", "add");
    assert_eq!(first(run("ScatterND", &add, put())).1, [0.0, 1.0, 14.0]);
    let put = vec![ints(&[1, 2, 3]), ints(&[-1]), ints(&[9])];
    assert_eq!(whole(run("ScatterElements", &node(&[]), put)).1, [1, 2, 9]);
    let outside = vec![ints(&[1, 2, 3]), ints(&[3]), ints(&[9])];
    assert!(run("ScatterElements", &node(&[]), outside).is_err());
    let hot = vec![ints(&[1, -3, 5]), Host::scalar(3_i64).into(), ints(&[0, 1])];
    assert_eq!(whole(run("OneHot", &node(&[]), hot)).1, [0, 1, 0, 1, 0, 0, 0, 0, 0]);
}

#[test]
fn the_best_are_found_with_their_places() {
    let values = || floats(&[2, 3], &[1.0, 3.0, 3.0, 2.0, 0.0, -1.0]);
    let axis: [(&str, &[i64]); 2] = [("axis", &[1]), ("keepdims", &[0])];
    assert_eq!(whole(run("ArgMax", &node(&axis), vec![values()])), (vec![2], vec![1, 0]));
    let last = node(&[axis[0], axis[1], ("select_last_index", &[1])]);
    assert_eq!(whole(run("ArgMax", &last, vec![values()])).1, [2, 0]);
    assert_eq!(whole(run("ArgMin", &node(&axis), vec![values()])).1, [0, 2]);
    let mut two = run("TopK", &node(&[]), vec![values(), ints(&[2])]).unwrap();
    assert_eq!(two.remove(1).ints().unwrap().data(), [1, 2, 0, 1]);
    assert_eq!(two.remove(0).reals().unwrap().data(), [3.0, 3.0, 2.0, 0.0]);
    assert!(run("TopK", &node(&[]), vec![values(), ints(&[4])]).is_err());
    let places = whole(run("NonZero", &node(&[]), vec![values()]));
    assert_eq!(places, (vec![2, 5], vec![0, 0, 0, 1, 1, 0, 1, 2, 0, 2]));
    let sums = vec![ints(&[1, 2, 3]), Host::scalar(0_i64).into()];
    let backwards = node(&[("reverse", &[1]), ("exclusive", &[1])]);
    assert_eq!(whole(run("CumSum", &backwards, sums)).1, [5, 3, 0]);
}

#[test]
fn boxes_that_overlap_a_better_one_are_left_out() {
    let boxes = [0.0, 0.0, 2.0, 2.0, 2.0, 2.0, 0.0, 0.1, 3.0, 3.0, 4.0, 4.0];
    let run_with = |least: f32| {
        let inputs = vec![
            floats(&[1, 3, 4], &boxes),
            floats(&[1, 1, 3], &[0.8, 0.9, 0.3]),
            ints(&[3]),
            Host::list(vec![0.5_f32]).into(),
            Host::list(vec![least]).into(),
        ];
        whole(run("NonMaxSuppression", &node(&[]), inputs))
    };
    assert_eq!(run_with(0.0), (vec![2, 3], vec![0, 0, 1, 0, 0, 2]));
    assert_eq!(run_with(0.3), (vec![1, 3], vec![0, 0, 1]));
    assert_eq!(run_with(1.0), (vec![0, 3], vec![]));
}

#[test]
fn grids_and_regions_read_between_pixels() {
    let grid = floats(&[1, 1, 3, 2], &[0.0, 0.0, -1.0, -1.0, 3.0, 3.0]);
    let inputs = |grid: &Value| vec![counted(&[1, 1, 2, 2]), grid.clone()];
    // The middle; a corner, of which a quarter is inside; far outside.
    assert_eq!(first(run("GridSample", &node(&[]), inputs(&grid))).1, [1.5, 0.0, 0.0]);
    let border = text(node(&[]), "padding_mode", "border");
    assert_eq!(first(run("GridSample", &border, inputs(&grid))).1, [1.5, 0.0, 3.0]);
    let region = vec![counted(&[1, 1, 2, 2]), floats(&[1, 4], &[0.0, 0.0, 2.0, 2.0]), ints(&[0])];
    let cut = node(&[("sampling_ratio", &[1])]);
    assert_eq!(first(run("RoiAlign", &cut, region)), (vec![1, 1, 1, 1], vec![1.5]));
}

#[test]
fn recurrent_layers_walk_both_ways() {
    // One unit that adds its input to half of what it was.
    let mut layer = text(node(&[]), "direction", "bidirectional");
    let mut linear = AttributeProto::new();
    linear.name = "activations".to_owned();
    linear.strings = vec![b"Affine".as_slice().into(), b"Affine".as_slice().into()];
    layer.attribute.push(linear);
    let inputs = vec![
        floats(&[3, 1, 1], &[1.0, 2.0, 4.0]),
        floats(&[2, 1, 1], &[1.0; 2]),
        floats(&[2, 1, 1], &[0.5; 2]),
    ];
    let found = first(run("RNN", &layer, inputs));
    assert_eq!(found, (vec![3, 2, 1, 1], vec![1.0, 3.0, 2.5, 4.0, 5.25, 4.0]));
    // With weights of zero every gate of an LSTM is a half, and the cell halves.
    let inputs = vec![
        floats(&[1, 1, 1], &[1.0]),
        floats(&[1, 4, 1], &[0.0; 4]),
        floats(&[1, 4, 1], &[0.0; 4]),
        floats(&[1, 8], &[0.0; 8]),
    ];
    let mut inputs: Vec<_> = inputs.into_iter().map(Some).collect();
    inputs.extend([None, None, Some(floats(&[1, 1, 1], &[2.0]))]);
    let (plain, device) = (node(&[]), Device::flex());
    let mut results = find("LSTM").unwrap()(Call::new(&plain, 17, &device, inputs)).unwrap();
    assert_eq!(results.remove(2).reals().unwrap().data(), [1.0]);
    let hidden = results.remove(1).reals().unwrap().data()[0];
    assert!((hidden - 0.5 * 1.0_f32.tanh()).abs() < 1e-6, "{hidden}");
}

#[test]
fn numbers_are_quantised_by_their_declared_type() {
    let (plain, device) = (node(&[]), Device::flex());
    let quantise = |element: Element, zero: i64| {
        let inputs = [
            floats(&[4], &[-300.0, 0.5, 1.5, 300.0]),
            Host::scalar(1.0_f32).into(),
            Host::scalar(zero).into(),
        ];
        let elements = [Some(Element::F32), Some(Element::F32), Some(element)];
        let inputs = inputs.into_iter().map(Some).collect();
        let call = Call::new(&plain, 17, &device, inputs).within(&elements, &[]);
        whole(find("QuantizeLinear").unwrap()(call)).1
    };
    // Halves to even, then the zero point, then the limits.
    assert_eq!(quantise(Element::U8, 1), [0, 1, 3, 255]);
    assert_eq!(quantise(Element::I8, 0), [-128, 0, 2, 127]);
    let per_column = vec![
        Host::new(vec![2, 2], vec![1_i64, 2, 3, 4]).unwrap().into(),
        Host::list(vec![1.0_f32, 10.0]).into(),
        ints(&[1, 2]),
    ];
    let found = first(run("DequantizeLinear", &node(&[("axis", &[1])]), per_column));
    assert_eq!(found.1, [0.0, 0.0, 2.0, 20.0]);
    let product = vec![
        Host::new(vec![1, 2], vec![3_i64, 4]).unwrap().into(),
        Host::new(vec![2, 1], vec![5_i64, 6]).unwrap().into(),
        Host::scalar(1_i64).into(),
    ];
    assert_eq!(whole(run("MatMulInteger", &node(&[]), product)).1, [28]);
}

#[test]
fn margins_repeat_or_fill() {
    let pad = |mode| {
        let inputs = vec![ints(&[1, 2, 3]), ints(&[2, 2])];
        whole(run("Pad", &text(node(&[]), "mode", mode), inputs)).1
    };
    assert_eq!(pad("constant"), [0, 0, 1, 2, 3, 0, 0]);
    assert_eq!(pad("reflect"), [3, 2, 1, 2, 3, 2, 1]);
    assert_eq!(pad("edge"), [1, 1, 1, 2, 3, 3, 3]);
    assert_eq!(pad("wrap"), [2, 3, 1, 2, 3, 1, 2]);
    let endless = vec![ints(&[1]), ints(&[i64::MAX, i64::MAX])];
    assert!(run("Pad", &node(&[]), endless).is_err());
}

#[test]
fn normalisations_use_their_own_groups() {
    let scale = || vec![floats(&[2], &[1.0, 2.0]), floats(&[2], &[0.0, 1.0])];
    let inputs = |value| [vec![value], scale()].concat();
    let tiny = number(node(&[]), "epsilon", 0.0);
    let found = first(run("InstanceNormalization", &tiny, inputs(counted(&[1, 2, 2]))));
    assert_eq!(found.1, [-1.0, 1.0, -1.0, 3.0]);
    let group = number(node(&[("num_groups", &[1])]), "epsilon", 0.0);
    let found = first(run("GroupNormalization", &group, inputs(floats(&[1, 2, 1], &[1.0, 3.0]))));
    assert_eq!(found.1, [-1.0, 3.0]);
    // bias + alpha / size * (0 + 1 + 4), to the power of one.
    let response = node(&[("size", &[3])]);
    let response = number(number(response, "alpha", 3.0), "beta", 1.0);
    let found = first(run("LRN", &response, vec![counted(&[1, 3, 1, 1])]));
    for (found, expected) in found.1.into_iter().zip([0.0, 1.0 / 6.0, 2.0 / 6.0]) {
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }
}

#[test]
fn sums_before_opset_7_put_their_second_term_where_the_axis_says() {
    let (old, device) = (node(&[("broadcast", &[1]), ("axis", &[0])]), Device::flex());
    let inputs = vec![Some(counted(&[2, 2])), Some(floats(&[2], &[10.0, 20.0]))];
    let call = Call::new(&old, 6, &device, inputs);
    assert_eq!(first(find("Add").unwrap()(call)).1, [10.0, 11.0, 22.0, 23.0]);
}

#[test]
fn what_no_memory_holds_is_refused() {
    let huge = || ints(&[1 << 20, 1 << 20]);
    assert!(run("Expand", &node(&[]), vec![counted(&[1, 1]), huge()]).is_err());
    assert!(run("Tile", &node(&[]), vec![counted(&[1, 1]), huge()]).is_err());
    assert!(run("ConstantOfShape", &node(&[]), vec![huge()]).is_err());
    let single = |value: i64| Value::from(Host::scalar(value));
    let endless = vec![single(i64::MIN), single(i64::MAX), single(1)];
    assert!(run("Range", &node(&[]), endless).is_err());
    let large = vec![counted(&[1]), floats(&[0], &[]), Host::list(vec![1e12_f32]).into()];
    assert!(run("Resize", &node(&[]), large).is_err());
    let depth = vec![ints(&[0]), single(i64::MAX), ints(&[0, 1])];
    assert!(run("OneHot", &node(&[]), depth).is_err());
}

#[test]
fn windows_and_margins_that_no_memory_holds_are_refused() {
    let picture = || counted(&[1, 1, 3, 3]);
    let wide = |name: &'static str| node(&[("kernel_shape", &[1, 1]), (name, &[0, 0, 1 << 40, 0])]);
    assert!(run("MaxPool", &wide("pads"), vec![picture()]).is_err());
    let large = node(&[("kernel_shape", &[1 << 40, 1])]);
    assert!(run("AveragePool", &text(large, "auto_pad", "SAME_UPPER"), vec![picture()]).is_err());
    let ones = floats(&[1, 1, 1, 1], &[1.0]);
    assert!(run("Conv", &wide("pads"), vec![picture(), ones]).is_err());
    // Small with its margins, but with many channels.
    let inputs = vec![counted(&[1, 1, 1]), floats(&[64, 1, 1], &[1.0; 64])];
    assert!(run("Conv", &node(&[("pads", &[0, 1 << 28])]), inputs).is_err());
    let inputs = vec![counted(&[1, 1, 2]), floats(&[1, 1, 1], &[1.0])];
    assert!(run("ConvTranspose", &node(&[("strides", &[1 << 40])]), inputs).is_err());
}

#[test]
fn depth_and_space_give_each_other_back_in_both_modes() {
    for mode in ["DCR", "CRD"] {
        let node = text(node(&[("blocksize", &[2])]), "mode", mode);
        let deep = counted(&[1, 8, 1, 2]);
        let wide = run("DepthToSpace", &node, vec![deep.clone()]).unwrap();
        let again = first(run("SpaceToDepth", &node, wide));
        assert_eq!(again, first(Ok(vec![deep])), "{mode}");
    }
    let other = text(node(&[("blocksize", &[2])]), "mode", "RCD");
    assert!(run("SpaceToDepth", &other, vec![counted(&[1, 1, 2, 2])]).is_err());
    // Column-row-depth: the blocks of the first channel come first.
    let node = text(node(&[("blocksize", &[2])]), "mode", "CRD");
    let (shape, data) = first(run("SpaceToDepth", &node, vec![counted(&[1, 2, 2, 2])]));
    assert_eq!((shape, data), (vec![1, 8, 1, 1], (0..8).map(|i| i as f32).collect()));
}
