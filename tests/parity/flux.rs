//! The transformer: outputs, losses and gradients, in f32 and bf16, and the layouts of its files.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{Bool, DType, FloatDType, Tensor, TensorData},
};
use fluxpipe::{
    models::flux::{Flux, FluxConfig, FluxInput, checkpoint_name},
    train::blockwise::{GradientSink, Loss, Pass, backpropagate},
    weights::Checkpoint,
};
use serde_json::Value;

use super::{
    device::{device, relative_bound},
    pack::Pack,
};

/// Gradients by checkpoint name.
#[derive(Default)]
pub struct Record {
    pub gradients: BTreeMap<String, Vec<f32>>,
}

impl GradientSink for Record {
    fn take<M: Module>(&mut self, place: &[&str], part: M, gradients: GradientsParams) -> M {
        let path = place.iter().map(|&segment| segment.to_owned()).collect();
        part.visit(&mut Recording { record: self, gradients, path });
        part
    }
}

struct Recording<'a> {
    record: &'a mut Record,
    gradients: GradientsParams,
    path: Vec<String>,
}

impl ModuleVisitor for Recording<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let name = checkpoint_name(&self.path);
        let gradient = self.gradients.remove::<D>(parameter.id);
        let gradient = gradient.unwrap_or_else(|| panic!("{name} has no gradient"));
        self.record.gradients.insert(name, floats(gradient));
    }
}

pub fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.cast(FloatDType::F32).try_into_vec_as::<f32>().unwrap()
}

/// A tensor of a pack, f32.
pub fn tensor<const D: usize>(file: &Checkpoint, name: &str) -> Tensor<D> {
    let info = file.info(name).unwrap_or_else(|| panic!("the pack lacks {name}"));
    let shape: [usize; D] = info.shape.clone().try_into().unwrap();
    let data = TensorData::new(file.f32(name).unwrap(), shape);
    Tensor::from_data(data, (&device(), DType::F32))
}

pub fn mask(file: &Checkpoint, name: &str) -> Tensor<2, Bool> {
    tensor::<2>(file, name).greater_elem(0.5)
}

/// Loads weights and sets the one size that a file does not tell.
pub fn load(weights: &Checkpoint, config: &Value, dtype: FloatDType) -> Flux {
    let mut flux = Flux::load(weights, &device(), dtype).unwrap_or_else(|e| panic!("{e}"));
    flux.config.axes_dim = axes(config);
    flux
}

fn axes(config: &Value) -> [usize; 3] {
    let axes = config["axes_dim"].as_array().unwrap().iter();
    let axes = axes.map(|axis| axis.as_u64().unwrap() as usize).collect::<Vec<_>>();
    axes.try_into().unwrap()
}

fn input(file: &Checkpoint, masked: bool) -> FluxInput {
    let rows = |name: &str| {
        let [batch, length, _] = tensor::<3>(file, name).dims();
        let values = file.f32(name).unwrap();
        let each = values.chunks(length * 3).collect::<Vec<_>>();
        assert!(each.iter().all(|row| *row == each[0]), "{name} differs inside the batch");
        assert_eq!(each.len(), batch);
        each[0].as_chunks::<3>().0.to_vec()
    };
    let mut ids = rows("txt_ids");
    ids.extend(rows("img_ids"));
    FluxInput {
        img: tensor(file, "img"),
        txt: tensor(file, "txt"),
        y: tensor(file, "y"),
        timesteps: file.f32("timesteps").unwrap(),
        guidance: file.f32("guidance").unwrap(),
        ids,
        txt_attention_mask: masked.then(|| mask(file, "txt_attention_mask")),
    }
}

/// `‖a − b‖ / ‖b‖` in f64.
pub fn relative(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len(), "different number of elements");
    let square = |x: f64| x * x;
    let pairs = found.iter().zip(expected);
    let difference: f64 = pairs.map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum();
    let size: f64 = expected.iter().map(|&b| square(f64::from(b))).sum();
    if size == 0.0 { difference.sqrt() } else { (difference / size).sqrt() }
}

/// Packs of a transformer with inputs and gradients of their own.
fn packs() -> Vec<Pack> {
    let packs = Pack::find("flux_*", |kind| kind.starts_with("flux_"));
    packs.into_iter().filter(|pack| pack.lists("weights.safetensors")).collect()
}

/// Cases of f32, with their names.
fn cases(pack: &Pack) -> Vec<(String, Value)> {
    let cases = pack.manifest["cases"].as_object().unwrap().iter();
    cases
        .filter(|(name, _)| !name.ends_with("_bf16"))
        .map(|(name, case)| (name.clone(), case.clone()))
        .collect()
}

fn files(pack: &Pack, case: &str, facts: &Value) -> (FluxInput, Tensor<3>, Checkpoint) {
    let inputs = pack.tensors(&format!("{}.inputs.safetensors", case.trim_end_matches("_mask")));
    let input = input(&inputs, facts["mask"].as_bool().unwrap());
    let expected = pack.tensors(&format!("{case}.expected.safetensors"));
    (input, tensor(&inputs, "target"), expected)
}

/// Mean squared error against `target`, and its gradient.
fn mean_square(output: Tensor<3>, target: &Tensor<3>) -> (f64, Tensor<3>) {
    let output = output.cast(FloatDType::F32);
    let difference = output - target.clone();
    let count = difference.shape().num_elements() as f64;
    let loss = floats(difference.clone()).iter().map(|&d| f64::from(d).powi(2)).sum::<f64>();
    (loss / count, difference * (2.0 / count))
}

fn pass(flux: &mut Flux, input: &FluxInput, target: &Tensor<3>, record: &mut Record) -> Pass {
    let dtype = flux.dtype();
    let loss: Box<Loss<'_>> = Box::new(|output| {
        let (loss, gradient) = mean_square(output, target);
        (vec![loss], gradient.cast(dtype))
    });
    backpropagate(flux, &[(input.clone(), loss)], record).unwrap()
}

#[test]
fn config_is_read_from_the_file() {
    for pack in packs() {
        let weights = pack.tensors("weights.safetensors");
        let (found, _) = FluxConfig::detect(&weights).unwrap();
        let config = &pack.manifest["config"];
        let number = |name: &str| config[name].as_u64().unwrap() as usize;
        assert_eq!(found.in_channels, number("in_channels"));
        assert_eq!(found.vec_in_dim, number("vec_in_dim"));
        assert_eq!(found.context_in_dim, number("context_in_dim"));
        assert_eq!(found.hidden_size, number("hidden_size"));
        assert_eq!(found.num_heads, number("num_heads"));
        assert_eq!(found.depth, number("depth"));
        assert_eq!(found.depth_single_blocks, number("depth_single_blocks"));
        assert_eq!(found.theta, config["theta"].as_f64().unwrap());
        assert_eq!(found.guidance_embed, config["guidance_embed"].as_bool().unwrap());
        assert_eq!(Value::from(found.axes_dim.to_vec()), config["axes_dim"], "rule for axes");
        let mlp = config["mlp_ratio"].as_f64().unwrap() * found.hidden_size as f64;
        assert_eq!(found.mlp_size, mlp as usize);
    }
}

#[test]
fn forward_f32() {
    for pack in packs() {
        let weights = pack.tensors("weights.safetensors");
        let flux = load(&weights, &pack.manifest["config"], FloatDType::F32);
        let tolerance = &pack.manifest["tolerance"]["fp32"]["output"];
        for (case, facts) in cases(&pack) {
            let what = format!("{} {case}", pack.kind());
            let (input, target, expected) = files(&pack, &case, &facts);
            let output = flux.forward(&input);
            let (loss, _) = mean_square(output.clone(), &target);
            check_output(&what, &floats(output), &expected.f32("output").unwrap(), tolerance);
            let known = facts["loss"].as_f64().unwrap();
            // The mean of thousands of squares: f32 output errors average out below 1e-5.
            assert!(
                (loss - known).abs() <= relative_bound(1e-5) * known,
                "{what}: loss {loss} is not {known}"
            );
        }
    }
}

fn check_output(what: &str, found: &[f32], expected: &[f32], tolerance: &Value) {
    let (largest, _) = super::pack::difference(found, expected);
    let relative = relative(found, expected);
    eprintln!("{what}: largest difference {largest:.2e}, relative {relative:.2e}");
    assert!(largest <= tolerance["max_abs"].as_f64().unwrap(), "{what}: {largest}");
    assert!(relative <= tolerance["rel_l2"].as_f64().unwrap(), "{what}: relative {relative}");
}

#[test]
fn blockwise_gradients_f32() {
    for pack in packs() {
        let weights = pack.tensors("weights.safetensors");
        let mut flux = load(&weights, &pack.manifest["config"], FloatDType::F32);
        let bound =
            pack.manifest["tolerance"]["fp32"]["grad"]["rel_l2_per_tensor"].as_f64().unwrap();
        for (case, facts) in cases(&pack) {
            let what = format!("{} {case}", pack.kind());
            let (input, target, expected) = files(&pack, &case, &facts);
            let mut record = Record::default();
            let pass = pass(&mut flux, &input, &target, &mut record);
            let inputs = &pass.inputs[0];
            let named = [
                ("grad_img", floats(inputs.img.clone())),
                ("grad_txt", floats(inputs.txt.clone())),
                ("grad_y", floats(inputs.y.clone())),
            ];
            for (name, found) in named {
                check_gradient(&what, name, &found, &expected.f32(name).unwrap(), bound);
            }
            let names = weights.names().collect::<Vec<_>>();
            let found = record.gradients.keys().map(String::as_str).collect::<Vec<_>>();
            assert_eq!(found, names, "{what}: every parameter has a gradient");
            let full = format!("{case}.grads.safetensors");
            if pack.lists(&full) {
                let full = pack.tensors(&full);
                for (name, found) in &record.gradients {
                    check_gradient(&what, name, found, &full.f32(name).unwrap(), bound);
                }
            } else {
                let summaries = pack.json(&format!("{case}.grads.json"));
                for (name, found) in &record.gradients {
                    check_summary(&what, name, found, &summaries[name], bound);
                }
            }
        }
    }
}

fn check_gradient(what: &str, name: &str, found: &[f32], expected: &[f32], bound: f64) {
    let norm = expected.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    if norm < 1e-7 {
        let (largest, _) = super::pack::difference(found, expected);
        assert!(largest <= 1e-7, "{what}: {name}: {largest}");
    } else {
        let relative = relative(found, expected);
        assert!(relative <= bound, "{what}: {name}: relative {relative}");
    }
}

/// Compares with a summary: norm, and every so manieth element.
pub fn check_summary(what: &str, name: &str, found: &[f32], summary: &Value, bound: f64) {
    let norm = found.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let known = summary["l2"].as_f64().unwrap_or_else(|| panic!("{what}: no summary of {name}"));
    if known < 1e-7 {
        assert!(norm <= 2e-7, "{what}: {name}: norm {norm}");
        return;
    }
    assert!((norm - known).abs() <= bound * known, "{what}: {name}: norm {norm} is not {known}");
    let stride = summary["stride"].as_u64().unwrap() as usize;
    let samples = summary["samples"].as_array().unwrap().iter();
    let samples = samples.map(|x| x.as_f64().unwrap() as f32).collect::<Vec<_>>();
    let found = found.iter().step_by(stride).copied().take(samples.len()).collect::<Vec<_>>();
    // The bound holds for the whole tensor; its share in a sample of n out of N elements may be
    // concentrated, so the difference is measured against the whole norm scaled to the sample.
    let difference = found.iter().zip(&samples).map(|(&a, &b)| f64::from(a - b).powi(2));
    let difference = difference.sum::<f64>().sqrt();
    assert!(difference <= bound * known, "{what}: {name}: samples differ by {difference}");
}

#[test]
fn blockwise_gradients_equal_an_ordinary_backward() {
    for pack in packs() {
        let weights = pack.tensors("weights.safetensors");
        let mut flux = load(&weights, &pack.manifest["config"], FloatDType::F32);
        for (case, facts) in cases(&pack) {
            let what = format!("{} {case}", pack.kind());
            let (input, target, _) = files(&pack, &case, &facts);
            let mut blockwise = Record::default();
            pass(&mut flux, &input, &target, &mut blockwise);
            let tracked = flux.clone().train();
            let loss = (tracked.forward(&input) - target.autodiff()).square().mean();
            let gradients = GradientsParams::from_grads(loss.backward(), &tracked);
            let mut ordinary = Record::default();
            let _ = ordinary.take(&[], flux.clone(), gradients);
            for (name, expected) in &ordinary.gradients {
                let found = &blockwise.gradients[name];
                let norm = expected.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
                let relative = relative(found, expected);
                // Two programs that round in f32 at every operation and sum in other orders: the norms'
                // scales, sums over tokens and heads that nearly cancel, were seen 1.2e-6 apart, all
                // others less than 1e-6. A gradient that is zero up to rounding has no relative error.
                let bound = if name.ends_with(".scale") { 2e-6 } else { 1e-6 };
                assert!(
                    relative <= relative_bound(bound) || norm < 1e-6,
                    "{what}: {name}: relative {relative}"
                );
            }
        }
    }
}

#[test]
fn bf16_is_as_near_as_the_reference() {
    for pack in packs() {
        let weights = pack.tensors("weights.safetensors");
        let mut flux = load(&weights, &pack.manifest["config"], FloatDType::BF16);
        for (case, facts) in cases(&pack) {
            let recorded = &pack.manifest["cases"][format!("{case}_bf16")];
            let Some(output_bound) = recorded["rel_l2_output_vs_fp32"].as_f64() else { continue };
            let what = format!("{} {case}", pack.kind());
            let (input, target, expected) = files(&pack, &case, &facts);
            let output = floats(flux.forward(&input));
            let pass = pass(&mut flux, &input, &target, &mut Record::default());
            let inputs = &pass.inputs[0];
            let img_bound = recorded["rel_l2_grad_img_vs_fp32"].as_f64().unwrap();
            let txt_bound = recorded["rel_l2_grad_txt_vs_fp32"].as_f64().unwrap();
            let named = [
                ("output", output, output_bound),
                ("grad_img", floats(inputs.img.clone()), img_bound),
                ("grad_txt", floats(inputs.txt.clone()), txt_bound),
            ];
            for (name, found, bound) in named {
                let relative = relative(&found, &expected.f32(name).unwrap());
                eprintln!("{what} bf16 {name}: {relative:.4}, the reference has {bound:.4}");
                assert!(relative <= 1.5 * bound, "{what}: {name}: {relative} > 1.5 x {bound}");
            }
        }
    }
}

#[test]
fn layouts_give_the_same_network() {
    for pack in Pack::of_kind("flux_tiny_dev_layouts") {
        let beside = pack.folder.parent().unwrap();
        let plain = packs()
            .into_iter()
            .find(|other| other.kind() == "flux_tiny_dev" && other.folder.parent() == Some(beside));
        let Some(plain) = plain else {
            eprintln!("skipped: flux_tiny_dev_layouts needs flux_tiny_dev beside it");
            continue;
        };
        let config = &plain.manifest["config"];
        let input = input(&plain.tensors("a.inputs.safetensors"), false);
        let tolerance = &pack.manifest["tolerance"]["fp32"]["output"];

        let fp8 = load(&plain.tensors("weights_fp8_prefixed.safetensors"), config, FloatDType::F32);
        let expected = pack.tensors("fp8.expected.safetensors").f32("output").unwrap();
        check_output("fp8 with prefix", &floats(fp8.forward(&input)), &expected, tolerance);

        let folder = pack.tensors("diffusers");
        let diffusers = load(&folder, config, FloatDType::F32);
        let expected = pack.tensors("diffusers.expected.safetensors").f32("output").unwrap();
        check_output("diffusers", &floats(diffusers.forward(&input)), &expected, tolerance);

        let found = Weights::of(&load(&folder, config, FloatDType::BF16));
        let weights = plain.tensors("weights.safetensors");
        let rounded = Weights::of(&load(&weights, config, FloatDType::BF16));
        assert_eq!(found.0.len(), rounded.0.len());
        assert!(found.0 == rounded.0, "the diffusers folder is the BFL file rounded to bf16");
    }
}

/// The parameters of a network by checkpoint name.
#[derive(Default)]
pub struct Weights(pub BTreeMap<String, Vec<f32>>, Vec<String>);

impl Weights {
    pub fn of(flux: &Flux) -> Self {
        let mut weights = Self::default();
        flux.visit(&mut weights);
        weights
    }
}

impl ModuleVisitor for Weights {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.1.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.1.pop();
    }

    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        self.0.insert(checkpoint_name(&self.1), floats(parameter.val()));
    }
}
