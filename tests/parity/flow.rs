//! Flow matching: noise levels, noisy inputs, weights, losses, schedules, packing.

use burn::tensor::{FloatDType, Tensor};
use fluxpipe::{
    models::flux::{pack as pack_, position_ids, unpack},
    train::{
        flow::{
            HuberC, LossType, Objective, PredictionType, TimestepSampling, WeightingScheme,
            inference_times, mu, noisy_input, sigma_table, time_shift,
        },
        network::Network,
        sampling::{Conditioning, Drawing, Wanted, denoise_from},
    },
};
use serde_json::Value;

use super::{
    flux::{floats, load, relative, tensor},
    pack::{Pack, assert_close, difference},
};

pub fn sampling(args: &Value) -> TimestepSampling {
    let number = |name: &str| args[name].as_f64().unwrap();
    let sigmoid_scale = || number("sigmoid_scale");
    match args["timestep_sampling"].as_str().unwrap() {
        "sigma" => TimestepSampling::Sigma {
            weighting_scheme: weighting_scheme(args),
            discrete_flow_shift: number("discrete_flow_shift"),
        },
        "uniform" => TimestepSampling::Uniform,
        "sigmoid" => TimestepSampling::Sigmoid { sigmoid_scale: sigmoid_scale() },
        "shift" => TimestepSampling::Shift {
            sigmoid_scale: sigmoid_scale(),
            discrete_flow_shift: number("discrete_flow_shift"),
        },
        "flux_shift" => TimestepSampling::FluxShift { sigmoid_scale: sigmoid_scale() },
        other => panic!("timestep sampling {other}"),
    }
}

fn weighting_scheme(args: &Value) -> WeightingScheme {
    let number = |name: &str| args[name].as_f64().unwrap();
    match args["weighting_scheme"].as_str().unwrap() {
        "none" | "uniform" => WeightingScheme::Uniform,
        "sigma_sqrt" => WeightingScheme::SigmaSqrt,
        "cosmap" => WeightingScheme::Cosmap,
        "mode" => WeightingScheme::Mode { mode_scale: number("mode_scale") },
        "logit_normal" => WeightingScheme::LogitNormal {
            logit_mean: number("logit_mean"),
            logit_std: number("logit_std"),
        },
        other => panic!("weighting scheme {other}"),
    }
}

/// `raw.huber.constant` → prediction type and loss.
fn objective(name: &str, args: &Value) -> Objective {
    let mut words = name.split('.');
    let model_prediction_type = match words.next().unwrap() {
        "raw" => PredictionType::Raw,
        "additive" => PredictionType::Additive,
        "sigma_scaled" => PredictionType::SigmaScaled(weighting_scheme(args)),
        other => panic!("prediction type {other}"),
    };
    let loss = words.next().unwrap();
    let huber = HuberC {
        huber_c: args["huber_c"].as_f64().unwrap(),
        huber_scale: args["huber_scale"].as_f64().unwrap(),
        exponential: words.next().unwrap_or("exponential") == "exponential",
    };
    let loss_type = match loss {
        "l2" => LossType::L2,
        "l1" => LossType::L1,
        "huber" => LossType::Huber(huber),
        "smooth_l1" => LossType::SmoothL1(huber),
        other => panic!("loss {other}"),
    };
    Objective { model_prediction_type, loss_type }
}

fn steps(pack: &Pack) -> Vec<(String, Value)> {
    let cases = pack.manifest["cases"].as_object().unwrap().iter();
    let steps = cases.filter(|(_, case)| case["args"].is_object());
    steps.map(|(name, case)| (name.clone(), case.clone())).collect()
}

#[test]
fn noise_levels_and_noisy_inputs() {
    for pack in Pack::of_kind("flow") {
        let tolerance = &pack.manifest["tolerance"];
        let absolute = tolerance["tensors"]["max_abs"].as_f64().unwrap();
        for (case, facts) in steps(&pack) {
            let file = pack.tensors(&format!("step_{case}.safetensors"));
            let size = |axis: usize| facts["shape"][axis].as_u64().unwrap() as usize;
            let sampling = sampling(&facts["args"]);
            let draws =
                ["draw_uniform", "draw_normal"].iter().find(|name| file.info(name).is_some());
            let draws = file.f32(draws.unwrap()).unwrap();
            let tokens = (size(2) / 2) * (size(3) / 2);
            let found = draws.iter().map(|&draw| sampling.sigma(f64::from(draw), tokens));
            let found = found.collect::<Vec<_>>();
            let what = format!("{case} sigmas");
            assert_close(&what, &found, &file.f32("sigmas").unwrap(), absolute, 0.0);
            let times = found.iter().map(|sigma| sigma * 1000.0).collect::<Vec<_>>();
            let (largest, _) = difference(&times, &file.f32("timesteps").unwrap());
            let bound = tolerance["timesteps"]["max_abs"].as_f64().unwrap();
            assert!(largest <= bound, "{case}: time steps differ by {largest}");

            let part = if file.info("noisy").is_some() { "" } else { "_slice" };
            let [latents, noise, noisy]: [Tensor<4>; 3] =
                ["latents", "noise", "noisy"].map(|name| tensor(&file, &format!("{name}{part}")));
            let gamma = facts["args"]["ip_noise_gamma"].as_f64();
            let perturbation = gamma.map(|gamma| (tensor(&file, "xi"), gamma));
            let found = floats(noisy_input(latents, noise, perturbation, &found));
            let known = floats(noisy);
            let (largest, _) = difference(&found, &known);
            let bound = tolerance["tensors"]["rel_l2"].as_f64().unwrap();
            assert!(largest <= absolute && relative(&found, &known) <= bound, "{case}: {largest}");
        }
    }
}

#[test]
fn losses() {
    for pack in Pack::of_kind("flow") {
        let mut checked = 0;
        for (case, facts) in steps(&pack) {
            let Some(losses) = facts["losses"].as_object() else { continue };
            let file = pack.tensors(&format!("step_{case}.safetensors"));
            let [latents, noise, noisy, prediction]: [Tensor<4>; 4] =
                ["latents", "noise", "noisy", "pred"].map(|name| tensor(&file, name));
            let sigmas = file.f32("sigmas").unwrap();
            let target = noise - latents;
            for (name, known) in losses {
                let objective = objective(name, &facts["args"]);
                let found =
                    objective.per_sample(prediction.clone(), &noisy, &target, &sigmas, None);
                let found = floats(found);
                let known_each = known["per_sample"].as_array().unwrap();
                assert_eq!(found.len(), known_each.len());
                for (found, known) in found.iter().zip(known_each) {
                    let (found, known) = (f64::from(*found), known.as_f64().unwrap());
                    // The mean of thousands of f32 terms, summed in another order.
                    assert!(
                        (found - known).abs() <= 2e-6 * known.abs(),
                        "{case} {name}: {found} {known}"
                    );
                }
                if let (LossType::Huber(huber) | LossType::SmoothL1(huber), Some(known)) =
                    (objective.loss_type, known["huber_c"].as_array())
                {
                    for (&sigma, known) in sigmas.iter().zip(known) {
                        let (found, known) = (huber.at(sigma), known.as_f64().unwrap());
                        assert!(
                            (found - known).abs() <= 1e-6 * known,
                            "{case} {name}: {found} {known}"
                        );
                    }
                }
                let (each, _) =
                    objective.loss_and_gradient(prediction.clone(), &noisy, &target, &sigmas, None);
                let mean = each.iter().sum::<f64>() / each.len() as f64;
                let known = known["mean"].as_f64().unwrap();
                assert!(
                    (mean - known).abs() <= 2e-6 * known.abs(),
                    "{case} {name}: {mean} {known}"
                );
                checked += 1;
            }
            let known = file.f32("weighting_sigma_scaled").unwrap();
            let scheme = weighting_scheme(&facts["args"]);
            for (&sigma, &known) in sigmas.iter().zip(&known) {
                let (found, known) = (scheme.weight(sigma), f64::from(known));
                assert!((found - known).abs() <= 1e-6 * known, "{case}: {found} {known}");
            }
        }
        assert!(checked > 0, "the pack has losses");
    }
}

#[test]
fn tables() {
    for pack in Pack::of_kind("flow") {
        let bound = pack.manifest["tolerance"]["schedule"].as_f64().unwrap();
        let near = |what: &str, found: f64, known: f64| {
            assert!((found - known).abs() <= bound, "{what}: {found} is not {known}");
        };
        for file in pack.manifest["files"].as_object().unwrap().keys() {
            let shift = file.strip_prefix("scheduler_shift");
            let Some(shift) = shift.and_then(|rest| rest.strip_suffix(".safetensors")) else {
                continue;
            };
            let table = sigma_table(shift.parse().unwrap());
            let known = pack.tensors(file).f32("sigmas").unwrap();
            assert!(difference(&table, &known).0 <= bound, "{file}");
        }
        let tables = pack.json("tables.json");
        for (tokens, known) in tables["lin"].as_object().unwrap() {
            near("mu", mu(tokens.parse().unwrap()), known.as_f64().unwrap());
        }
        let numbers = |value: &Value| {
            value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>()
        };
        for row in tables["time_shift"].as_array().unwrap() {
            let (times, known) = (numbers(&row["t"]), row.as_object().unwrap());
            let known = known.iter().find(|(name, value)| *name != "t" && value.is_array());
            for (t, known) in times.into_iter().zip(numbers(known.unwrap().1)) {
                near("time shift", time_shift(row["mu"].as_f64().unwrap(), t), known);
            }
        }
        for row in tables["schedules"].as_array().unwrap() {
            let count = |name: &str| row[name].as_u64().unwrap() as usize;
            let shift = row["shift"].as_bool().unwrap();
            let found = inference_times(count("steps"), count("seq_len"), shift);
            let known = numbers(&row["timesteps"]);
            assert_eq!(found.len(), known.len());
            for (found, known) in found.into_iter().zip(known) {
                near("schedule", f64::from(found), known);
            }
        }
    }
}

/// Pictures from given noise: `latents` with guidance 3.5, `latents_cfg` with guidance 1 and a true CFG of 4.
#[test]
fn denoising() {
    for pack in Pack::of_kind("flow") {
        let files = pack.manifest["files"].as_object().unwrap().keys();
        for (file, model) in files.filter_map(|file| Some((file, denoised_by(file)?))) {
            let bound = pack.manifest["tolerance"]["denoise"]["max_abs"].as_f64().unwrap();
            let beside = Pack::of_kind(model);
            let beside = beside.iter().find(|it| it.lists("weights.safetensors"));
            let Some(beside) = beside else {
                panic!("{file} needs the weights of {model}");
            };
            let weights = beside.tensors("weights.safetensors");
            let flux = load(&weights, &beside.manifest["config"], FloatDType::F32);
            let mut network = Network::resident(flux);
            let numbers = pack.tensors(file);
            let text = |prefix: &str| Conditioning {
                t5: numbers.f32(&format!("{prefix}txt")).unwrap(),
                t5_masked: false,
                clip: numbers.f32(&format!("{prefix}y")).unwrap(),
            };
            let (text, negative) = (text(""), text("neg_"));
            let times = numbers.f32("timesteps").unwrap();
            let (rows, columns) = packed(pack.manifest["files"][file]["doc"].as_str().unwrap());
            let found = inference_times(times.len() - 1, rows * columns, network.takes_guidance());
            assert_close(file, &found, &times, 1e-6, 0.0);
            let noise = unpack(tensor(&numbers, "noise"), 2 * rows, 2 * columns);
            for (known, guidance, cfg) in [("latents", 3.5, 1.0), ("latents_cfg", 1.0, 4.0)] {
                let (width, height, steps) = (16 * columns, 16 * rows, times.len() - 1);
                let drawing = Drawing { width, height, steps, guidance, cfg, seed: 0 };
                let wanted = Wanted { drawing: &drawing, text: &text, negative: Some(&negative) };
                let noise = vec![noise.clone()];
                let latents = denoise_from(&mut network, &[wanted], noise, &mut |_, _| true);
                let latent = latents.unwrap().unwrap().remove(0);
                let (found, known_latent) = (floats(pack_(latent)), numbers.f32(known).unwrap());
                let (largest, _) = difference(&found, &known_latent);
                eprintln!("{file} {known}: differs by {largest:.1e}, may by {bound:.1e}");
                assert!(largest <= bound, "{file} {known}: {largest}");
            }
        }
    }
}

/// The pack whose weights denoise the latents of this file: `denoise_flux_tiny_dev.safetensors`.
fn denoised_by(file: &str) -> Option<&str> {
    file.strip_prefix("denoise_")?.strip_suffix(".safetensors")
}

/// `… packed 6x5; …`: rows and columns of tokens.
fn packed(doc: &str) -> (usize, usize) {
    let (_, sizes) = doc.split_once("packed ").unwrap();
    let (rows, columns) = sizes[..sizes.find(';').unwrap()].split_once('x').unwrap();
    (rows.parse().unwrap(), columns.parse().unwrap())
}

#[test]
fn packing() {
    for pack in Pack::of_kind("flow") {
        let file = pack.tensors("pack.safetensors");
        let latents = tensor::<4>(&file, "latents");
        let [_, _, h, w] = latents.dims();
        let tokens = pack_(latents.clone());
        assert_eq!(floats(tokens.clone()), file.f32("packed").unwrap());
        assert_eq!(floats(unpack(tokens, h, w)), floats(latents));
        let ids = file.f32("img_ids").unwrap();
        let ids = ids.as_chunks::<3>().0;
        let found = position_ids(0, h, w);
        assert!(ids.chunks(found.len()).all(|row| row == found));
    }
}
