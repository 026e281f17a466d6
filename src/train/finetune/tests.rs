use std::collections::BTreeMap;

use burn::tensor::{Device, FloatDType};

use super::*;
use crate::{
    base::{Digest, Stream},
    models::flux::{Flux, FluxConfig},
    train::{Appearance, Form, Found, LrScheduler, Role, Sample, StateFolder, Steps},
    weights::{Checkpoint, Dtype},
};

fn config(guidance_embed: bool) -> FluxConfig {
    FluxConfig {
        in_channels: 16,
        out_channels: 16,
        vec_in_dim: 6,
        context_in_dim: 10,
        hidden_size: 32,
        mlp_size: 48,
        num_heads: 2,
        depth: 1,
        depth_single_blocks: 2,
        axes_dim: FluxConfig::axes_of_head(16),
        theta: 10_000.0,
        guidance_embed,
    }
}

pub fn settings() -> Settings {
    Settings {
        learning_rate: 1e-3,
        max_train_epochs: 2,
        train_batch_size: 2,
        gradient_accumulation_steps: 2,
        seed: 11,
        save_every_n_epochs: Some(1),
        ..Settings::default()
    }
}

/// Samples made of their number: `Made(vec![2, 0])` holds the samples 2 and 0.
struct Made(Vec<u64>);

impl Samples for Made {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn bucket(&self, index: usize) -> (usize, usize) {
        if self.0[index].is_multiple_of(3) { (4, 6) } else { (6, 4) }
    }

    fn content(&self, index: usize) -> Digest {
        Digest::of(&self.0[index].to_le_bytes())
    }

    fn repeats(&self, index: usize) -> u32 {
        1 + (self.0[index] % 2) as u32
    }

    fn load(&self, appearance: &Appearance) -> Result<Sample, String> {
        let index = appearance.index;
        let mut stream = Stream::new(self.0[index], "sample", None, &[]);
        let mut latent = stream.normals(4 * 24);
        if self.0[index] == BROKEN {
            latent[0] = f32::NAN;
        }
        // Of different lengths, so that the shorter ones of a batch are padded and masked.
        let rows = 3 + (self.0[index] % 4) as usize;
        let (t5, clip) = (stream.normals(rows * 10), stream.normals(6));
        Ok(Sample { latent, t5, t5_masked: true, clip, mask: None, weight: 1.0 })
    }
}

const BROKEN: u64 = 1000;

/// Keeps metrics, and which checkpoints people see.
#[derive(Default)]
struct Watch {
    metrics: Vec<StepMetrics>,
    /// Steps and losses as lines, which a run that goes on has again.
    lines: String,
    shown: BTreeMap<String, PathBuf>,
    saved: Vec<usize>,
    validated: Vec<f64>,
    stop_after: Option<usize>,
    /// Panics in place of a kill, after this step.
    dies_after: Option<usize>,
    /// Is not done with the moment after so many steps.
    refuses: Option<usize>,
}

impl Observer for Watch {
    fn step(&mut self, metrics: &StepMetrics) {
        self.lines += &format!("{} {:?}\n", metrics.step, metrics.loss);
        self.metrics.push(metrics.clone());
        assert!(self.dies_after != Some(metrics.step), "killed");
    }

    fn checkpoint(&mut self, name: &str, path: &Path) -> io::Result<()> {
        assert!(path.is_file(), "{name}");
        self.shown.insert(name.to_owned(), path.to_owned());
        Ok(())
    }

    fn superseded(&mut self, name: &str, path: &Path) -> io::Result<()> {
        assert!(path.is_file(), "{name}");
        self.shown.remove(name);
        Ok(())
    }

    fn moment(&mut self, network: &mut Network, moment: Moment) -> bool {
        assert_eq!(moment.epoch, moment.epoch.filter(|_| moment.steps > 0));
        assert!(network.blocks() > 0);
        self.refuses != Some(moment.steps)
    }

    fn saved(&mut self, position: Position) {
        self.saved.push(position.steps);
    }

    fn remember(&self) -> Vec<u8> {
        self.lines.clone().into_bytes()
    }

    fn recall(&mut self, _position: Position, remembered: &[u8]) -> io::Result<()> {
        self.lines = String::from_utf8(remembered.to_vec()).map_err(io::Error::other)?;
        Ok(())
    }

    fn validated(&mut self, epoch: usize, loss: f64) {
        self.lines += &format!("epoch {epoch}: {loss:?}\n");
        self.validated.push(loss);
    }

    fn cancelled(&self) -> bool {
        self.stop_after.is_some_and(|steps| self.metrics.len() >= steps)
    }
}

/// The place of a training in `folder`, with the state that is there.
fn place(folder: &Path, settings: &Settings) -> Place {
    let folder = StateFolder::new(folder.to_owned());
    let state = match folder.find() {
        Found::Nothing => None,
        Found::State(state) => Some(*state),
        Found::Damaged(reason) => panic!("{reason}"),
    };
    let texts = BTreeMap::from([("modelspec.author".to_owned(), "somebody".to_owned())]);
    let form = Form { dtype: settings.save_precision, texts };
    let length = settings.depends_on_length().then_some(settings.max_train_epochs);
    Place { folder, state, length, form }
}

/// Trains `flux` in a folder of its own.
fn train(
    flux: Flux,
    settings: &Settings,
    samples: &dyn Samples,
    watch: &mut Watch,
) -> Result<Summary, TrainError> {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path(), settings);
    finetune(Network::resident(flux), settings, samples, place, watch)
}

/// Trains a small random transformer: the last checkpoint's bytes, and the loss of each step.
fn trained(settings: &Settings, samples: Vec<u64>, guidance: bool) -> (Vec<u8>, Vec<f64>) {
    let folder = tempfile::tempdir().unwrap();
    let flux = Flux::random(config(guidance), 5, &Device::flex(), settings.weights);
    let mut watch = Watch::default();
    let place = place(folder.path(), settings);
    let summary =
        finetune(Network::resident(flux), settings, &Made(samples), place, &mut watch).unwrap();
    let every = settings.save_every_n_epochs.unwrap_or(usize::MAX);
    let due = (1..settings.max_train_epochs).filter(|epoch| epoch % every == 0);
    let names = due.map(|epoch| format!("-{epoch:06}"));
    let names = names.chain([String::new()]).collect::<Vec<_>>();
    let made = summary.checkpoints.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(made, names);
    assert!(watch.shown.keys().all(|name| names.contains(name)));
    assert_eq!(summary.steps, watch.metrics.len());
    assert_eq!(watch.metrics.last().unwrap().total_steps, summary.steps);
    let losses = watch.metrics.iter().map(|metrics| metrics.loss).collect();
    (std::fs::read(&summary.checkpoints.last().unwrap().1).unwrap(), losses)
}

#[test]
fn two_runs_give_the_same_bytes_whatever_the_order_of_the_samples() {
    for weights in [FloatDType::F32, FloatDType::BF16] {
        let settings = Settings { weights, ..settings() };
        let (first, losses) = trained(&settings, vec![0, 1, 2, 3, 4], true);
        let (second, again) = trained(&settings, vec![0, 1, 2, 3, 4], true);
        let (turned, _) = trained(&settings, vec![3, 4, 2, 0, 1], true);
        assert_eq!(losses, again);
        assert!(first == second, "the same run");
        assert!(first == turned, "the samples in another order");
        let other = Settings { seed: 12, ..settings };
        assert!(first != trained(&other, vec![0, 1, 2, 3, 4], true).0, "another seed");
    }
}

#[test]
fn the_number_of_threads_decides_nothing() {
    let bytes = || trained(&settings(), vec![0, 1, 2, 3], true).0;
    let on = |threads| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(bytes)
    };
    assert!(on(1) == on(3));
}

#[test]
fn training_on_one_sample_lowers_its_loss() {
    let settings = Settings {
        max_train_epochs: 30,
        learning_rate: 5e-3,
        weights: FloatDType::F32,
        ..settings()
    };
    let (_, losses) = trained(&settings, vec![2], true);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (early, late) = (mean(&losses[..5]), mean(&losses[25..]));
    assert!(late < 0.7 * early, "{early} to {late}");
}

/// Four pictures with a caption each, learnt by heart. What was first at 1.6 ends below a quarter.
#[test]
fn four_pictures_are_learnt_by_heart() {
    let settings = Settings {
        max_train_epochs: 400,
        train_batch_size: 4,
        gradient_accumulation_steps: 1,
        learning_rate: 1e-2,
        lr_scheduler: LrScheduler::Cosine,
        weights: FloatDType::F32,
        save_every_n_epochs: None,
        ..settings()
    };
    let (_, losses) = trained(&settings, vec![2, 4, 8, 10], true);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (early, late) = (mean(&losses[..10]), mean(&losses[losses.len() - 40..]));
    assert!(early > 1.0 && late < 0.25, "{early} to {late}");
}

#[test]
fn the_checkpoint_says_what_it_is_and_loads_again() {
    for (guidance, architecture) in [(true, "flux-1-dev"), (false, "flux-1-schnell")] {
        let (bytes, _) = trained(&settings(), vec![0, 1], guidance);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        std::fs::write(&path, bytes).unwrap();
        let file = Checkpoint::open(&path).unwrap();
        assert_eq!(file.metadata()["modelspec.architecture"], architecture);
        assert_eq!(file.metadata()["fluxpipe.epochs"], "2");
        assert_eq!(file.metadata()["fluxpipe.steps"], "2");
        assert_eq!(file.metadata()["modelspec.author"], "somebody");
        let info = file.info("double_blocks.0.img_mlp.2.weight").unwrap();
        assert_eq!((info.dtype, info.shape.clone()), (Dtype::BF16, vec![32, 48]));
        let flux = Flux::load(&file, &Device::flex(), FloatDType::BF16).unwrap();
        assert_eq!(flux.config, config(guidance));
        let mut names = Vec::new();
        Network::resident(flux)
            .for_each(&mut |name, data| {
                assert!(file.bytes(name).unwrap() == data.as_bytes(), "{name}");
                names.push(name.to_owned());
                Ok(())
            })
            .unwrap();
        names.sort();
        assert!(file.names().eq(names.iter().map(String::as_str)));
    }
}

#[test]
fn accumulated_micro_batches_are_one_larger_batch() {
    // One size, no repeats: both runs take all four samples in the single step of each epoch.
    let one = Settings {
        weights: FloatDType::F32,
        save_precision: Dtype::F32,
        train_batch_size: 4,
        gradient_accumulation_steps: 1,
        ..settings()
    };
    let four = Settings { train_batch_size: 1, gradient_accumulation_steps: 4, ..one.clone() };
    let (_, large) = trained(&one, vec![2, 4, 8, 10], true);
    let (_, small) = trained(&four, vec![2, 4, 8, 10], true);
    assert_eq!((large.len(), small.len()), (2, 2));
    for (large, small) in large.iter().zip(small) {
        // The same samples with the same noise; f32 sums in another order. The second loss comes
        // after an update, whose first Adafactor step turns small gradients into full ones.
        assert!((large - small).abs() < 1e-4 * large, "{large} {small}");
    }
}

#[test]
fn a_clipped_step_reports_the_norm() {
    let settings = Settings { max_grad_norm: 0.5, ..settings() };
    let flux = Flux::random(config(true), 5, &Device::flex(), FloatDType::F32);
    let mut watch = Watch::default();
    train(flux, &settings, &Made(vec![0, 1]), &mut watch).unwrap();
    assert!(watch.metrics.iter().all(|metrics| metrics.grad_norm.is_some_and(|norm| norm > 0.0)));
}

#[test]
fn what_cannot_be_trained_is_an_error_that_names_it() {
    let run = |settings: &Settings, samples: Vec<u64>| {
        let flux = Flux::random(config(true), 5, &Device::flex(), FloatDType::F32);
        train(flux, settings, &Made(samples), &mut Watch::default()).unwrap_err().to_string()
    };
    assert_eq!(run(&settings(), vec![]), "there is no sample to train on");
    let diverged = run(&settings(), vec![BROKEN]);
    let told = "step 1 of epoch 1 failed: the loss is NaN: sample 0 at noise level 0.";
    assert!(diverged.starts_with(told), "{diverged}");
    let wrong = Settings { learning_rate: f64::NAN, ..settings() };
    assert_eq!(run(&wrong, vec![0]), "`learning_rate` must be a number above 0");
    let wrong = Settings { lr_warmup_steps: Steps::Count(3), ..settings() };
    assert!(run(&wrong, vec![0]).starts_with("`lr_warmup_steps` needs"));
    let other = FluxConfig { vec_in_dim: 7, ..config(true) };
    let flux = Flux::random(other, 5, &Device::flex(), FloatDType::F32);
    let error = train(flux, &settings(), &Made(vec![0]), &mut Watch::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "sample 0 does not fit: its pooled text has 6 numbers, expected 7"
    );
}

#[test]
fn a_cancelled_run_stops_before_its_next_step() {
    let flux = Flux::random(config(true), 5, &Device::flex(), FloatDType::F32);
    let mut watch = Watch { stop_after: Some(1), ..Watch::default() };
    let error = train(flux, &settings(), &Made(vec![0, 1, 2]), &mut watch).unwrap_err();
    assert!(matches!(error, TrainError::Cancelled { steps: 1, total: 4 }), "{error}");
}

/// [`Made`] with roles, weights and masks; keeps in which order samples were asked for.
struct Told {
    samples: Made,
    role: fn(u64) -> Role,
    weight: f32,
    mask: Option<f32>,
    asked: std::sync::Mutex<Vec<Appearance>>,
}

impl Told {
    fn new(samples: Vec<u64>, role: fn(u64) -> Role) -> Self {
        Self { samples: Made(samples), role, weight: 1.0, mask: None, asked: Default::default() }
    }

    /// The losses of each step, and after each epoch on what is held out.
    fn train(&self, settings: &Settings) -> (Vec<f64>, Vec<f64>) {
        let flux = Flux::random(config(true), 5, &Device::flex(), settings.weights);
        let mut watch = Watch::default();
        train(flux, settings, self, &mut watch).unwrap();
        (watch.metrics.iter().map(|metrics| metrics.loss).collect(), watch.validated)
    }

    fn asked(self) -> Vec<Appearance> {
        self.asked.into_inner().unwrap()
    }
}

impl Samples for Told {
    fn len(&self) -> usize {
        self.samples.len()
    }

    fn bucket(&self, index: usize) -> (usize, usize) {
        self.samples.bucket(index)
    }

    fn content(&self, index: usize) -> Digest {
        self.samples.content(index)
    }

    fn repeats(&self, index: usize) -> u32 {
        self.samples.repeats(index)
    }

    fn role(&self, index: usize) -> Role {
        (self.role)(self.samples.0[index])
    }

    fn load(&self, appearance: &Appearance) -> Result<Sample, String> {
        self.asked.lock().unwrap().push(*appearance);
        let mask = self.mask.map(|share| vec![share; 24]);
        let sample = self.samples.load(appearance)?;
        Ok(Sample { mask, weight: self.weight, ..sample })
    }
}

#[test]
fn samples_are_read_in_the_order_of_the_training() {
    let settings = settings();
    let told = Told::new(vec![0, 1, 2, 3, 4], |_| Role::Trained);
    told.train(&settings);
    let batches = Batches::new(&told.samples, settings.train_batch_size, settings.seed);
    let planned = (1..=2).flat_map(|epoch| batches.epoch(epoch));
    let planned = planned.flat_map(|batch| batch.appearances).collect::<Vec<_>>();
    assert_eq!(told.asked(), planned);
}

#[test]
fn what_is_held_out_is_never_trained_and_measured_alike_after_each_epoch() {
    let held_out = |sample| if sample == 4 { Role::HeldOut } else { Role::Trained };
    let settings = Settings { learning_rate: 1e-30, weights: FloatDType::F32, ..settings() };
    let told = Told::new(vec![0, 1, 2, 3, 4], held_out);
    let (losses, validated) = told.train(&settings);
    // The weights do not move, so two epochs measure the same.
    assert_eq!(validated.len(), 2);
    assert!(validated[0] > 0.0 && (validated[0] - validated[1]).abs() < 1e-6, "{validated:?}");
    let asked = told.asked();
    assert!(asked.iter().all(|seen| (seen.index == 4) == seen.is_held_out()));
    // The others are trained as if it were not there.
    let without = Told::new(vec![0, 1, 2, 3], held_out);
    assert_eq!(without.train(&settings).0, losses);
}

#[test]
fn regularisation_samples_appear_as_often_as_the_others() {
    // Samples 1 and 3 come twice an epoch: with 0 that makes 5 appearances.
    let role = |sample| if sample >= 10 { Role::Regularisation } else { Role::Trained };
    for more in [vec![10], vec![10, 12], (10..24).collect::<Vec<_>>()] {
        let told = Told::new([vec![0, 1, 3], more.clone()].concat(), role);
        let batches = Batches::new(&told, 2, 7);
        let mut seen = vec![0; more.len()];
        for epoch in 1..=8 {
            let batches = batches.epoch(epoch);
            let all = batches.iter().flat_map(|batch| &batch.appearances).collect::<Vec<_>>();
            assert_eq!(all.len(), 10);
            let regularisation = all.iter().filter(|appearance| appearance.index >= 3);
            regularisation.for_each(|appearance| seen[appearance.index - 3] += 1);
            let mut names = all.iter().map(|a| (a.content, a.repeat)).collect::<Vec<_>>();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), 10, "each has noise of its own");
        }
        assert_eq!(seen.iter().sum::<usize>(), 40);
        let odd_ones = |at: &usize| more[*at] % 2 == 1;
        let (twice, once): (Vec<_>, Vec<_>) = (0..more.len()).partition(odd_ones);
        let apart = |of: &[usize]| {
            let counts = of.iter().map(|&at| seen[at]);
            counts.clone().max().unwrap_or(0) - counts.min().unwrap_or(0)
        };
        assert!(apart(&once) <= 1 && apart(&twice) <= 2, "{seen:?}");
        let steps: usize = (1..=8).map(|epoch| batches.epoch(epoch).len().div_ceil(3)).sum();
        assert_eq!(batches.steps(8, 3), steps);
    }
}

#[test]
fn weights_and_masks_scale_the_loss_and_the_gradient() {
    let first = |weight, mask| {
        let settings = Settings { max_grad_norm: 1e9, weights: FloatDType::F32, ..settings() };
        let told = Told { weight, mask, ..Told::new(vec![2, 4, 8], |_| Role::Trained) };
        let flux = Flux::random(config(true), 5, &Device::flex(), settings.weights);
        let mut watch = Watch::default();
        train(flux, &settings, &told, &mut watch).unwrap();
        (watch.metrics[0].loss, watch.metrics[0].grad_norm.unwrap())
    };
    let (loss, norm) = first(1.0, None);
    for (weight, mask, factor) in
        [(0.5, None, 0.5), (1.0, Some(0.25), 0.25), (0.5, Some(0.5), 0.25)]
    {
        let (found, found_norm) = first(weight, mask);
        assert!((found - factor * loss).abs() < 1e-6 * loss, "{found} {loss}");
        assert!((found_norm - factor * norm).abs() < 1e-5 * norm, "{found_norm} {norm}");
    }
}

mod resume;
