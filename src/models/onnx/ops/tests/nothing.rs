//! Operators on arrays without elements, as a detector that finds nothing makes them. Burn reads a size of
//! zero in its own way, so what fails here fails inside it.

use super::*;

/// Shape and elements of the first result.
fn found(name: &str, node: &NodeProto, inputs: Vec<Value>) -> (Vec<usize>, Vec<f32>) {
    first(
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(name, node, inputs)))
            .unwrap_or_else(|_| panic!("{name} is not computed")),
    )
}

#[test]
fn results_without_elements_have_their_shapes() {
    let plain = node(&[]);
    let window = node(&[("kernel_shape", &[2, 2])]);
    let upwards = node(&[("kernel_shape", &[2, 2]), ("ceil_mode", &[1])]);
    let cells = node(&[("hidden_size", &[3])]);
    let lstm = |shape: &[usize]| vec![counted(shape), counted(&[1, 12, 4]), counted(&[1, 12, 3])];
    let pictures = || counted(&[0, 3, 8, 8]);
    let cases: Vec<(&str, &NodeProto, Vec<Value>, &[usize])> = vec![
        ("MatMul", &plain, vec![counted(&[0, 3, 4]), counted(&[4, 5])], &[0, 3, 5]),
        ("MatMul", &plain, vec![counted(&[0, 3, 4]), counted(&[0, 4, 5])], &[0, 3, 5]),
        ("MatMul", &plain, vec![counted(&[0, 2, 3, 4]), counted(&[1, 2, 4, 3])], &[0, 2, 3, 3]),
        ("MatMul", &plain, vec![counted(&[2, 3, 4]), counted(&[4, 0])], &[2, 3, 0]),
        ("Gemm", &plain, vec![counted(&[0, 4]), counted(&[4, 5]), counted(&[5])], &[0, 5]),
        ("Conv", &plain, vec![pictures(), counted(&[4, 3, 3, 3])], &[0, 4, 6, 6]),
        ("Conv", &plain, vec![counted(&[0, 3, 8]), counted(&[4, 3, 3])], &[0, 4, 6]),
        ("MaxPool", &window, vec![pictures()], &[0, 3, 7, 7]),
        ("MaxPool", &upwards, vec![pictures()], &[0, 3, 7, 7]),
        ("AveragePool", &window, vec![pictures()], &[0, 3, 7, 7]),
        ("GlobalAveragePool", &plain, vec![pictures()], &[0, 3, 1, 1]),
        ("LayerNormalization", &plain, vec![counted(&[0, 4]), counted(&[4])], &[0, 4]),
        ("Expand", &plain, vec![counted(&[1, 4]), ints(&[0, 4])], &[0, 4]),
        ("ConstantOfShape", &plain, vec![ints(&[0, 4])], &[0, 4]),
        ("Reshape", &plain, vec![counted(&[0, 4]), ints(&[-1, 2])], &[0, 2]),
        ("LSTM", &cells, lstm(&[5, 0, 4]), &[5, 1, 0, 3]),
        ("LSTM", &cells, lstm(&[0, 2, 4]), &[0, 1, 2, 3]),
        ("Softmax", &plain, vec![counted(&[0, 4])], &[0, 4]),
    ];
    for (name, node, inputs, shape) in cases {
        assert_eq!(found(name, node, inputs), (shape.to_vec(), Vec::new()), "{name}");
    }
}

#[test]
fn sums_over_nothing_are_zero() {
    let plain = node(&[]);
    for left in [&[3, 0][..], &[2, 3, 0]] {
        let (shape, data) = found("MatMul", &plain, vec![counted(left), counted(&[0, 5])]);
        assert_eq!(shape, [&left[..left.len() - 1], &[5]].concat());
        assert!(data.iter().all(|&value| value == 0.0), "{data:?}");
    }
}
