//! Adafactor, stochastic rounding, gradient clipping, learning-rate schedules.

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use fluxpipe::{
    base,
    train::{Adafactor, AdafactorState, LrSchedule, LrScheduler, Moments, round_stochastically},
    weights::Checkpoint,
};
use half::bf16;
use serde_json::Value;

use super::{
    device::device,
    flux::{floats, relative},
    pack::Pack,
};

/// The parameters of a case; what it leaves out has the library's defaults.
fn adafactor(case: &Value) -> (Adafactor, f64) {
    let flag = |name: &str| case[name].as_bool().unwrap();
    let number = |name: &str, default: f64| case[name].as_f64().unwrap_or(default);
    let defaults = Adafactor::default();
    let adafactor = Adafactor {
        scale_parameter: flag("scale_parameter"),
        relative_step: flag("relative_step"),
        warmup_init: flag("warmup_init"),
        weight_decay: number("weight_decay", defaults.weight_decay),
        clip_threshold: number("clip_threshold", defaults.clip_threshold),
        decay_rate: number("decay_rate", defaults.decay_rate),
        beta1: case["beta1"].as_f64(),
        ..defaults
    };
    (adafactor, number("lr", 0.0))
}

/// Names of the parameters, with their shapes.
fn parameters(init: &Checkpoint) -> Vec<(String, Vec<usize>)> {
    let names = init.names().filter_map(|name| name.strip_prefix("p."));
    names
        .map(|name| (name.to_owned(), init.info(&format!("p.{name}")).unwrap().shape.clone()))
        .collect()
}

fn steps(grads: &Checkpoint) -> usize {
    let number = |name: &str| name.strip_prefix('s')?.split('.').next()?.parse::<usize>().ok();
    grads.names().filter_map(number).max().unwrap() + 1
}

/// Five steps of one parameter, whatever its rank: `(parameter, state)` after each.
fn run(
    (adafactor, lr): &(Adafactor, f64),
    shape: &[usize],
    start: Vec<f32>,
    gradients: Vec<Vec<f32>>,
    store: impl Fn(usize, Vec<f32>) -> Vec<f32>,
) -> Vec<(Vec<f32>, AdafactorState)> {
    fn at_rank<const D: usize>(
        (adafactor, lr): &(Adafactor, f64),
        shape: &[usize],
        start: Vec<f32>,
        gradients: Vec<Vec<f32>>,
        store: impl Fn(usize, Vec<f32>) -> Vec<f32>,
    ) -> Vec<(Vec<f32>, AdafactorState)> {
        let upload = |values: Vec<f32>| {
            let shape: [usize; D] = shape.try_into().unwrap();
            Tensor::<D>::from_data(TensorData::new(values, shape), (&device(), DType::F32))
        };
        let (mut value, mut state) = (start, None);
        let mut trace = Vec::new();
        for (step, gradient) in gradients.into_iter().enumerate() {
            let (new, new_state) = adafactor.update(*lr, upload(value), upload(gradient), state);
            value = store(step, floats(new));
            trace.push((value.clone(), new_state.clone()));
            state = Some(new_state);
        }
        trace
    }
    match shape.len() {
        1 => at_rank::<1>(&(adafactor.clone(), *lr), shape, start, gradients, store),
        2 => at_rank::<2>(&(adafactor.clone(), *lr), shape, start, gradients, store),
        3 => at_rank::<3>(&(adafactor.clone(), *lr), shape, start, gradients, store),
        4 => at_rank::<4>(&(adafactor.clone(), *lr), shape, start, gradients, store),
        rank => panic!("a parameter of rank {rank}"),
    }
}

/// Compares the state after a step with what the file holds of it.
fn check_state(what: &str, expected: &Checkpoint, start: &str, state: &AdafactorState, bound: f64) {
    let mut parts = match &state.moments {
        Moments::Factored { rows, columns } => {
            vec![("row", floats(rows.clone())), ("col", floats(columns.clone()))]
        }
        Moments::Full(full) => vec![("sq", floats(full.clone()))],
    };
    parts.extend(state.first_moment.iter().map(|moment| ("m", floats(moment.clone()))));
    for (part, found) in parts {
        let known = expected.f32(&format!("{start}.{part}")).unwrap();
        let relative = relative(&found, &known);
        assert!(relative <= bound, "{what} {start}.{part}: relative {relative}");
    }
}

#[test]
fn adafactor_steps() {
    for pack in Pack::of_kind("adafactor") {
        let (init, grads) = (pack.tensors("init.safetensors"), pack.tensors("grads.safetensors"));
        let tolerance = &pack.manifest["tolerance"];
        let absolute = tolerance["p"]["max_abs"].as_f64().unwrap();
        let bound = tolerance["p"]["rel_l2"].as_f64().unwrap();
        let state_bound = tolerance["state"]["rel_l2"].as_f64().unwrap();
        for (case, facts) in pack.manifest["cases"].as_object().unwrap() {
            if case.starts_with("fused_bf16") {
                continue;
            }
            let expected = pack.tensors(&format!("{case}.safetensors"));
            for (name, shape) in parameters(&init) {
                let start = init.f32(&format!("p.{name}")).unwrap();
                let gradients =
                    (0..steps(&grads)).map(|s| grads.f32(&format!("s{s}.{name}")).unwrap());
                let trace =
                    run(&adafactor(facts), &shape, start, gradients.collect(), |_, value| value);
                for (step, (found, state)) in trace.iter().enumerate() {
                    let at = format!("s{step}.{name}");
                    let known = expected.f32(&format!("{at}.p")).unwrap();
                    assert_eq!(found.len(), known.len());
                    for (&found, &known) in found.iter().zip(&known) {
                        // Beyond 1 the next f32 is already 1.2e-7 away: what is not equal to the bit
                        // there can be no nearer than that.
                        let spacing = f64::from(known.abs().next_up() - known.abs());
                        let difference = (f64::from(found) - f64::from(known)).abs();
                        let bound = absolute.max(spacing);
                        assert!(difference <= bound, "{case} {at}: {found} is not {known}");
                    }
                    let relative = relative(found, &known);
                    assert!(relative <= bound, "{case} {at}: relative {relative}");
                    check_state(case, &expected, &at, state, state_bound);
                }
            }
        }
    }
}

#[test]
fn adafactor_on_bf16_rounds_as_recorded() {
    for pack in Pack::of_kind("adafactor") {
        let (init, grads) = (pack.tensors("init.safetensors"), pack.tensors("grads.safetensors"));
        let rand = pack.tensors("fused_bf16_rand.safetensors");
        let expected = pack.tensors("fused_bf16.safetensors");
        let settings = adafactor(&pack.manifest["cases"]["fused_bf16"]);
        let round = |values: Vec<f32>| {
            values.into_iter().map(|x| bf16::from_f32(x).to_f32()).collect::<Vec<_>>()
        };
        let (mut count, mut differ) = (0, 0);
        for (name, shape) in parameters(&init) {
            let start = round(init.f32(&format!("p.{name}")).unwrap());
            let gradients = (0..steps(&grads))
                .map(|step| round(grads.f32(&format!("s{step}.{name}")).unwrap()))
                .collect();
            let trace = run(&settings, &shape, start, gradients, |step, value| {
                let bits = rand.f32(&format!("s{step}.{name}")).unwrap();
                let bits = bits.into_iter().map(|bits| bits as u16).collect::<Vec<_>>();
                round_stochastically(&value, &bits).into_iter().map(bf16::to_f32).collect()
            });
            for (step, (found, _)) in trace.into_iter().enumerate() {
                let known = expected.f32(&format!("s{step}.{name}.p")).unwrap();
                for (found, known) in found.into_iter().zip(known) {
                    count += 1;
                    differ += usize::from(found != known);
                    let ulp = f64::from(known.abs()) / 128.0;
                    assert!(
                        f64::from(found - known).abs() <= ulp,
                        "s{step}.{name}: {found} {known}"
                    );
                }
            }
        }
        eprintln!("{differ} of {count} bf16 values differ");
        assert!(count > 0 && differ * 1000 <= count, "{differ} of {count} differ");
    }
}

#[test]
fn stochastic_rounding_is_exact() {
    for pack in Pack::of_kind("adafactor") {
        let file = pack.tensors("stochastic_round.safetensors");
        let source = file.f32("source").unwrap();
        let bits = file.f32("rand").unwrap().into_iter().map(|x| x as u16).collect::<Vec<_>>();
        let found = round_stochastically(&source, &bits);
        let found = found.iter().flat_map(|x| x.to_bits().to_le_bytes()).collect::<Vec<_>>();
        assert!(!found.is_empty() && found == *file.bytes("result").unwrap());
    }
}

#[test]
fn gradient_clipping() {
    use burn::{
        module::{Module, Param},
        optim::GradientsParams,
    };
    use fluxpipe::train::{GradientNorm, Trained, blockwise::GradientSink};

    #[derive(Module, Debug)]
    struct One {
        value: Param<Tensor<1>>,
    }
    for pack in Pack::of_kind("adafactor") {
        let file = pack.tensors("clip_grad_norm.safetensors");
        let trained = Trained::all();
        let mut norm = GradientNorm::new(&trained);
        for name in file.names().filter(|name| name.starts_with("in.")) {
            let values = file.f32(name).unwrap();
            let length = values.len();
            let gradient = Tensor::<1>::from_data(TensorData::new(values, [length]), &device());
            let one = One { value: Param::from_tensor(gradient.zeros_like()) };
            let mut gradients = GradientsParams::new();
            gradients.register(one.value.id, gradient);
            let _ = norm.take(&[], one, gradients);
        }
        let known = f64::from(file.f32("total_norm").unwrap()[0]);
        assert!((norm.norm() - known).abs() <= 1e-6 * known, "{} is not {known}", norm.norm());
        // The file's doc states the bound 1.0.
        let scale = norm.clip(1.0) as f32;
        for name in file.names().filter_map(|name| name.strip_prefix("in.")) {
            let found = file.f32(&format!("in.{name}")).unwrap();
            let found = found.into_iter().map(|x| x * scale).collect::<Vec<_>>();
            let known = file.f32(&format!("out.{name}")).unwrap();
            assert!(relative(&found, &known) <= 1e-6, "{name}");
        }
    }
}

#[test]
fn lr_schedules() {
    for pack in Pack::of_kind("lr_schedules") {
        for (name, facts) in pack.json("schedules.json").as_object().unwrap() {
            let args = &facts["args"];
            let count = |name: &str| args[name].as_u64().unwrap_or(0) as usize;
            let kind = name.split('.').next().unwrap();
            let Ok(mut scheduler) = kind.parse::<LrScheduler>() else {
                eprintln!("skipped: schedule {name} is not offered");
                continue;
            };
            match &mut scheduler {
                LrScheduler::CosineWithRestarts { num_cycles } => {
                    *num_cycles = args["num_cycles"].as_u64().unwrap_or(1) as u32;
                }
                LrScheduler::Polynomial { power } => *power = args["power"].as_f64().unwrap_or(1.0),
                _ => {}
            }
            let schedule = LrSchedule {
                scheduler,
                warmup_steps: count("num_warmup_steps"),
                total_steps: count("num_training_steps"),
            };
            for (step, known) in facts["multiplier"].as_array().unwrap().iter().enumerate() {
                let (found, known) = (schedule.learning_rate(1.0, step), known.as_f64().unwrap());
                assert!(
                    (found - known).abs() <= 1e-12,
                    "{name} step {step}: {found} is not {known}"
                );
            }
        }
    }
}

#[test]
fn bf16_storage_uses_named_bits() {
    use fluxpipe::train::{Optimizer, OptimizerKind, Rounding};
    let device = device();
    let value = Tensor::<1>::full([4096], 1.0, (&device, DType::F32)).cast(FloatDType::BF16);
    let gradient = Tensor::<1>::full([4096], 1.0, (&device, DType::F32));
    let store = |step| {
        let rounding = Rounding { seed: 1, step, stored: FloatDType::BF16 };
        let mut optimizer = Optimizer::new(OptimizerKind::Adafactor(Adafactor::default()));
        optimizer.update("w", 1e-3, value.clone(), gradient.clone(), &rounding)
    };
    assert_eq!(store(0).dtype(), DType::BF16);
    let (a, b, c) = (floats(store(0)), floats(store(0)), floats(store(1)));
    assert_eq!(a, b);
    assert_ne!(a, c);
    // Each weight is to move by 0.001, a quarter of the spacing below 1: all or none would be to nearest.
    let moved = a.iter().filter(|x| **x < 1.0).count();
    assert!((900..1200).contains(&moved), "{moved} of 4096");
}

/// Steps on the device are those of the CPU: f32 parameters to some spacings, bf16 parameters but for the
/// few that stand where the other device's last digit turns the rounding.
#[test]
fn steps_on_the_device_are_those_of_the_cpu() {
    use fluxpipe::train::{AdamW, Optimizer, OptimizerKind, Rounding};
    fn steps<const D: usize>(
        kind: &OptimizerKind,
        shape: [usize; D],
        (device, dtype): (&Device, FloatDType),
        stored: FloatDType,
    ) -> Vec<f32> {
        let tensor = |seed: u64| {
            let values = base::Stream::new(seed, "test", None, &[]).normals(shape.iter().product());
            Tensor::<D>::from_data(TensorData::new(values, shape), (device, DType::F32))
        };
        // The gradient is bf16 in both, so that a bf16 one loses nothing.
        let gradient = |step| tensor(1 + step).cast(FloatDType::BF16).cast(dtype);
        let mut optimizer = Optimizer::new(kind.clone());
        let mut value = tensor(0).cast(FloatDType::BF16).cast(dtype);
        for step in 0..3 {
            let rounding = Rounding { seed: 5, step, stored };
            value = optimizer.update("w", 1e-2, value, gradient(step), &rounding);
        }
        floats(value.cast(FloatDType::F32))
    }
    fn compare<const D: usize>(kind: &OptimizerKind, shape: [usize; D]) {
        let (here, cpu) = (device(), fluxpipe::device::cpu());
        let [f32, bf16] = [FloatDType::F32, FloatDType::BF16];
        let (found, known) =
            (steps(kind, shape, (&here, f32), f32), steps(kind, shape, (&cpu, f32), f32));
        assert!(relative(&found, &known) < 1e-6, "{shape:?}");
        let (found, known) =
            (steps(kind, shape, (&here, bf16), bf16), steps(kind, shape, (&cpu, f32), bf16));
        let differ = found.iter().zip(&known).filter(|(found, known)| found != known).count();
        assert!(differ * 200 <= known.len(), "{shape:?}: {differ} of {} differ", known.len());
        assert!(relative(&found, &known) < 1e-3, "{shape:?}");
    }
    let plain = Adafactor::default();
    let kinds = [
        OptimizerKind::Adafactor(plain.clone()),
        OptimizerKind::Adafactor(Adafactor {
            beta1: Some(0.9),
            weight_decay: 0.1,
            scale_parameter: true,
            clip_threshold: 0.5,
            ..plain
        }),
        OptimizerKind::AdamW(AdamW::default()),
    ];
    for kind in &kinds {
        compare(kind, [300, 514]);
        compare(kind, [300, 515]);
        compare(kind, [4098]);
        compare(kind, [4097]);
        compare(kind, [3, 20, 64]);
    }
}
