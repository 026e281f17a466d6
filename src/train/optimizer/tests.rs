use std::path::Path;

use burn::tensor::{DType, FloatDType};

use super::*;
use crate::weights::Writer;

fn tensor<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let values = crate::base::Stream::new(seed, "test", None, &[]).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn kinds() -> [OptimizerKind; 3] {
    let beta1 = Some(0.9);
    [
        OptimizerKind::Adafactor(Adafactor::default()),
        OptimizerKind::Adafactor(Adafactor { beta1, weight_decay: 0.1, ..Adafactor::default() }),
        OptimizerKind::AdamW(AdamW::default()),
    ]
}

fn rounding(step: u64, stored: FloatDType) -> Rounding {
    Rounding { seed: 1, step, stored }
}

/// A matrix and a vector after some steps.
fn stepped(
    optimizer: &mut Optimizer,
    steps: std::ops::Range<u64>,
    (mut matrix, mut vector): (Tensor<2>, Tensor<1>),
) -> (Tensor<2>, Tensor<1>) {
    for step in steps {
        let rounding = rounding(step, FloatDType::BF16);
        matrix = optimizer.update("m", 1e-3, matrix, tensor([5, 7], 100 + step), &rounding);
        vector = optimizer.update("v", 1e-3, vector, tensor([9], 200 + step), &rounding);
    }
    (matrix, vector)
}

#[test]
fn a_restored_optimizer_goes_on_to_the_bit() {
    for kind in kinds() {
        let start = (tensor([5, 7], 1), tensor([9], 2));
        let mut whole = Optimizer::new(kind.clone());
        let expected = stepped(&mut whole, 0..5, start.clone());
        let mut first = Optimizer::new(kind.clone());
        let middle = stepped(&mut first, 0..3, start);
        let mut writer = Writer::new(Vec::new(), &first.entries(), &BTreeMap::new()).unwrap();
        let mut names = Vec::new();
        let mut take = |name: &str, data: TensorData| {
            names.push(name.to_owned());
            writer.tensor(data.as_bytes())
        };
        first.for_each(&mut take).unwrap();
        let entries = first.entries();
        assert_eq!(names, entries.iter().map(|entry| entry.name.clone()).collect::<Vec<_>>());
        let bytes = writer.finish().unwrap();
        let file = Checkpoint::from_bytes(Path::new("state"), bytes).unwrap();
        let mut second = Optimizer::restore(kind, &file, &Device::flex()).unwrap();
        let found = stepped(&mut second, 3..5, middle);
        found.0.into_data().assert_eq(&expected.0.into_data(), true);
        found.1.into_data().assert_eq(&expected.1.into_data(), true);
    }
}

#[test]
fn a_state_that_lacks_a_part_is_refused() {
    let kind = OptimizerKind::Adafactor(Adafactor::default());
    let mut optimizer = Optimizer::new(kind.clone());
    let _ = stepped(&mut optimizer, 0..1, (tensor([5, 7], 1), tensor([9], 2)));
    let mut entries = optimizer.entries();
    entries.retain(|entry| entry.name != "exp_avg_sq_col:m");
    let mut writer = Writer::new(Vec::new(), &entries, &BTreeMap::new()).unwrap();
    let mut take = |name: &str, data: TensorData| {
        if name == "exp_avg_sq_col:m" { Ok(()) } else { writer.tensor(data.as_bytes()) }
    };
    optimizer.for_each(&mut take).unwrap();
    let bytes = writer.finish().unwrap();
    let file = Checkpoint::from_bytes(Path::new("state"), bytes).unwrap();
    let error = Optimizer::restore(kind, &file, &Device::flex()).unwrap_err();
    assert!(error.to_string().contains("exp_avg_sq_col:m"), "{error}");
}

#[test]
fn results_are_of_the_stored_type_in_the_type_of_the_parameter() {
    for kind in kinds() {
        let update = |parameter: Tensor<2>, stored| {
            let gradient = tensor([5, 7], 3);
            Optimizer::new(kind.clone()).update(
                "m",
                1e-3,
                parameter,
                gradient,
                &rounding(0, stored),
            )
        };
        let start = tensor([5, 7], 1).cast(FloatDType::BF16).cast(FloatDType::F32);
        let exact = update(start.clone(), FloatDType::F32);
        let stored = update(start.clone(), FloatDType::BF16);
        assert_eq!(stored.dtype(), DType::F32);
        let as_bf16 = stored.clone().cast(FloatDType::BF16);
        as_bf16
            .clone()
            .cast(FloatDType::F32)
            .into_data()
            .assert_eq(&stored.clone().into_data(), true);
        let far = (exact.clone() - stored).abs().max().into_scalar::<f32>();
        assert!(far > 0.0 && far < 0.02, "{far}");
        // A bf16 parameter comes to the same, whatever is said.
        for said in [FloatDType::BF16, FloatDType::F32] {
            let found = update(start.clone().cast(FloatDType::BF16), said);
            assert_eq!(found.dtype(), DType::BF16);
            found.into_data().assert_eq(&as_bf16.clone().into_data(), true);
        }
    }
}
