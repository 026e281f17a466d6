//! Ten training steps of the published trainer: losses, gradient norms, final weights.

use burn::tensor::{FloatDType, Tensor};
use fluxpipe::{
    models::flux::{FluxInput, pack as pack_latents, position_ids},
    train::{
        Adafactor, AdamW, GradientNorm, Optimizer, OptimizerKind, Rounding, Trained, Update,
        blockwise::{Loss, backpropagate},
        flow::{LossType, Objective, PredictionType, noisy_input},
    },
    weights::Checkpoint,
};
use serde_json::{Value, json};

use super::{
    device::way_bound,
    flow::sampling,
    flux::{Weights, check_summary, load, mask, tensor},
    pack::Pack,
};

fn optimizer(case: &Value) -> (OptimizerKind, f64) {
    let args = &case["optimizer_args"];
    let number = |name: &str| args[name].as_f64().unwrap();
    let kind = match case["optimizer"].as_str().unwrap() {
        "adafactor" => OptimizerKind::Adafactor(Adafactor {
            scale_parameter: args["scale_parameter"].as_bool().unwrap(),
            relative_step: args["relative_step"].as_bool().unwrap(),
            warmup_init: args["warmup_init"].as_bool().unwrap(),
            ..Adafactor::default()
        }),
        "adamw" => OptimizerKind::AdamW(AdamW {
            beta1: args["betas"][0].as_f64().unwrap(),
            beta2: args["betas"][1].as_f64().unwrap(),
            eps: number("eps"),
            weight_decay: number("weight_decay"),
        }),
        other => panic!("optimizer {other}"),
    };
    (kind, number("lr"))
}

/// The micro-batch of step `step`, and its noise levels.
fn micro_batch(
    data: &Checkpoint,
    step: usize,
    case: &Value,
) -> ((FluxInput, Box<Loss<'static>>), Vec<f32>) {
    let latents = tensor::<4>(data, &format!("s{step}.latents"));
    let [size, _, h, w] = latents.dims();
    let args = json!({
        "timestep_sampling": case["sampling"],
        "sigmoid_scale": case["sigmoid_scale"].as_f64().unwrap_or(1.0),
        // The manifest gives no shift: the one of the published command line.
        "discrete_flow_shift": case["discrete_flow_shift"].as_f64().unwrap_or(3.1582),
    });
    let sampling = sampling(&args);
    let draws = data.f32(&format!("s{step}.draw")).unwrap();
    let sigmas = draws.iter().map(|&draw| sampling.sigma(f64::from(draw), (h / 2) * (w / 2)));
    let sigmas = sigmas.collect::<Vec<_>>();
    let latents = pack_latents(latents);
    let noise = pack_latents(tensor(data, &format!("s{step}.noise")));
    let noisy = noisy_input(latents.clone(), noise.clone(), None, &sigmas);
    let target = noise - latents;
    let txt: Tensor<3> = tensor(data, &format!("s{step}.t5"));
    let masked = case["mask"].as_bool().unwrap();
    let input = FluxInput {
        img: noisy.clone(),
        ids: position_ids(txt.dims()[1], h, w),
        txt,
        y: tensor(data, &format!("s{step}.pooled")),
        timesteps: sigmas.clone(),
        guidance: vec![case["guidance"].as_f64().unwrap() as f32; size],
        txt_attention_mask: masked.then(|| mask(data, &format!("s{step}.t5_mask"))),
    };
    let objective =
        Objective { model_prediction_type: PredictionType::Raw, loss_type: LossType::L2 };
    let levels = sigmas.clone();
    let loss = move |output| objective.loss_and_gradient(output, &noisy, &target, &levels, None);
    ((input, Box::new(loss)), sigmas)
}

#[test]
fn training_steps_are_the_reference_s() {
    for pack in Pack::of_kind("train_e2e") {
        // The pack starts from the weights of the transformer made with it.
        let beside = Pack::of_kind("flux_tiny_dev")
            .into_iter()
            .find(|other| other.folder.parent() == pack.folder.parent());
        let Some(beside) = beside else {
            eprintln!("skipped: train_e2e needs flux_tiny_dev beside it");
            continue;
        };
        let weights = beside.tensors("weights.safetensors");
        for (name, case) in pack.manifest["cases"].as_object().unwrap() {
            train(&pack, &weights, name, case);
        }
    }
}

fn train(pack: &Pack, weights: &Checkpoint, name: &str, case: &Value) {
    let data = pack.tensors("data.safetensors");
    let mut flux = load(weights, &pack.manifest["config"], FloatDType::F32);
    let (kind, learning_rate) = optimizer(case);
    let mut optimizer = Optimizer::new(kind);
    let group = case["grad_accum"].as_u64().unwrap_or(1) as usize;
    let numbers = |value: &Value| {
        let numbers = value.as_array().unwrap().iter();
        numbers.map(|x| x.as_f64().unwrap()).collect::<Vec<_>>()
    };
    let losses = numbers(&case["losses"]);
    let norms = numbers(&case["grad_norms"]);
    let bound = pack.manifest["tolerance"]["losses"]["rel"].as_f64().unwrap();
    let steps = (0..losses.len()).collect::<Vec<_>>();
    for (step, micro_steps) in steps.chunks(group).enumerate() {
        let mut batches = Vec::new();
        for &micro_step in micro_steps {
            let (batch, sigmas) = micro_batch(&data, micro_step, case);
            for (found, known) in sigmas.iter().zip(numbers(&case["sigmas"][micro_step])) {
                assert!((f64::from(*found) - known).abs() < 2e-6, "{name}: sigma {found} {known}");
            }
            batches.push(batch);
        }
        let trained = Trained::all();
        let mut norm = GradientNorm::new(&trained);
        backpropagate(&mut flux, &batches, &mut norm).unwrap();
        let known = norms[step];
        // The norm adds what the losses' bound allows over all weights.
        assert!(
            (norm.norm() - known).abs() <= 5.0 * bound * known,
            "{name} step {step}: norm {} {known}",
            norm.norm()
        );
        let max_grad_norm = case["max_grad_norm"].as_f64().unwrap();
        let scale = if max_grad_norm > 0.0 { norm.clip(max_grad_norm) } else { 1.0 };
        let rounding = Rounding { seed: 0, step: step as u64, stored: FloatDType::F32 };
        let (optimizer, trained, ema) = (&mut optimizer, &trained, None);
        let mut update = Update { optimizer, learning_rate, scale, rounding, trained, ema };
        let pass = backpropagate(&mut flux, &batches, &mut update).unwrap();
        for (&micro_step, each) in micro_steps.iter().zip(pass.losses) {
            let found = each.iter().sum::<f64>() / each.len() as f64;
            let known = losses[micro_step];
            assert!(
                (found - known).abs() <= bound * known,
                "{name} {micro_step}: loss {found} {known}"
            );
        }
    }
    check_final(pack, weights, name, case, &Weights::of(&flux));
}

/// The distance to the reference's final weights, measured in the way that training went.
fn check_final(pack: &Pack, initial: &Checkpoint, name: &str, case: &Value, found: &Weights) {
    let noise = case["worst_update_rel_diff_under_1e7_input_noise"].as_f64().unwrap();
    let bound = way_bound((3.0 * noise).max(0.02));
    let full = pack.tensors(&format!("{name}.final.safetensors"));
    let updates = pack.json(&format!("{name}.update.json"));
    let square = |x: f64| x * x;
    let (mut worst, mut compared) = (0.0_f64, 0);
    for (parameter, found) in &found.0 {
        let start = initial.f32(parameter).unwrap();
        let moved = found.iter().zip(&start).map(|(a, b)| a - b).collect::<Vec<_>>();
        check_summary(name, parameter, &moved, &updates[parameter], bound);
        if full.info(parameter).is_some() {
            let known = full.f32(parameter).unwrap();
            let (mut difference, mut way) = (0.0, 0.0);
            for ((&found, &known), &start) in found.iter().zip(&known).zip(&start) {
                difference += square(f64::from(found) - f64::from(known));
                way += square(f64::from(known) - f64::from(start));
            }
            let relative = (difference / way).sqrt();
            worst = worst.max(relative);
            compared += 1;
            assert!(relative <= bound, "{name}: {parameter}: {relative} of its way");
        }
    }
    assert!(compared > 0, "{name}: no weight was compared in full");
    eprintln!("{name}: worst distance {worst:.2e} of the way");
}
