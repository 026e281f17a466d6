//! Operators in small graphs, against numbers worked out by hand.

use onnx_ir::{AttributeProto, NodeProto};

use super::*;

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
    assert!(run("Einsum", &with("ii->i"), vec![counted(&[2, 2])]).is_err());
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
