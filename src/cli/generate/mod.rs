//! `fluxpipe generate`: pictures from prompts.

mod files;
mod models;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use image::RgbImage;

use self::{files::Files, models::Models};
use super::{CliError, Exit, Outcome, interrupt};
use crate::{
    base::{atomic, disk},
    device,
    models::flux::FluxConfig,
    pipeline::StageError,
    report::{self, Generating, Look},
    stages::{
        TextSettings,
        pictures::{self, Drawing, Drawn, Encoded, Model, Painter, Parameters, Prompt},
    },
    weights::Checkpoint,
};

/// Draw pictures from prompts
///
/// With a manifest it draws with the newest checkpoint that its training has published, and takes the other
/// networks from [models]; without one, all four files are named. A picture is a PNG file that says how it
/// was drawn: `fluxpipe inspect` shows it, and other programs read it. The same seed, size and prompt begin at
/// the same noise as in ComfyUI. Ctrl-C stops after the step in hand; pictures that are done are kept.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe generate my-project/project.toml --prompt 'a sks cup on a table'
  fluxpipe generate my-project/project.toml --prompt 'a sks cup' --compare --count 4
  fluxpipe generate --flux flux1-dev.safetensors --ae ae.safetensors --clip-l clip_l.safetensors \\
      --t5xxl t5xxl_fp16.safetensors --prompt 'a red cup' --size 768x512 -o pictures")]
pub struct Generate {
    /// A manifest, or a folder with a project.toml: its models, and its newest checkpoint
    manifest: Option<PathBuf>,

    /// What is to be seen; may be given several times
    #[arg(long, value_name = "TEXT", required = true)]
    prompt: Vec<String>,

    /// What is not to be seen; takes --cfg
    #[arg(long, value_name = "TEXT")]
    negative: Option<String>,

    /// Width and height in pixels, multiples of 16
    #[arg(long, value_name = "WxH", default_value = "1024x1024", value_parser = size)]
    size: (usize, usize),

    /// How often the transformer is asked [default: 20 for dev, 4 for schnell]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    steps: Option<u32>,

    /// What dev is told of how closely to follow the prompt [default: 3.5]
    #[arg(long, value_name = "X", value_parser = factor)]
    guidance: Option<f64>,

    /// How far to go from the negative prompt, which takes twice the time; 1 is without
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = factor)]
    cfg: f64,

    /// Names the noise of each prompt's first picture
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,

    /// Pictures of each prompt, with one seed after the other
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,

    /// Pictures that are drawn together
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    batch: u32,

    /// Draw with this transformer instead of the newest checkpoint
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,

    /// Set the picture of the model before, --flux or that of the manifest, beside it on the left
    #[arg(long)]
    compare: bool,

    /// The transformer
    #[arg(long, value_name = "FILE")]
    flux: Option<PathBuf>,

    /// The autoencoder
    #[arg(long, value_name = "FILE")]
    ae: Option<PathBuf>,

    /// The CLIP-L text encoder
    #[arg(long, value_name = "FILE")]
    clip_l: Option<PathBuf>,

    /// The T5 text encoder
    #[arg(long, value_name = "FILE")]
    t5xxl: Option<PathBuf>,

    /// Folder of the pictures [default: `generated` in the output folder of the manifest]
    #[arg(long, short, value_name = "DIR", required_unless_present = "manifest")]
    out: Option<PathBuf>,

    /// Where networks run: auto, cpu, cuda or cuda:N; instead of the manifest's `device`
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,

    /// Use VALUE (as in TOML) for one setting of the manifest
    #[arg(long, value_name = "PATH=VALUE", value_parser = super::project::path_and_value, requires = "manifest")]
    set: Vec<(String, String)>,
}

fn size(word: &str) -> Result<(usize, usize), String> {
    let sides = word.split_once(['x', 'X', '×']);
    let side = |word: &str| word.trim().parse().ok().filter(|side| (1..=16_384).contains(side));
    let sides = sides.and_then(|(width, height)| Some((side(width)?, side(height)?)));
    sides.ok_or_else(|| "write width and height in pixels, as in 1024x768".to_owned())
}

fn factor(word: &str) -> Result<f64, String> {
    let factor = word.parse::<f64>().ok().filter(|factor| factor.is_finite() && *factor >= 0.0);
    factor.ok_or_else(|| "a number from 0 on, such as 3.5".to_owned())
}

impl Generate {
    pub(super) fn run(self) -> Outcome {
        device::memory::keep();
        let models = Models::of(&self)?;
        let (config, _) = FluxConfig::detect(&Checkpoint::open(&models.flux)?)?;
        let prompts = self.prompts(config.guidance_embed)?;
        let length = models.cache.t5xxl_max_token_length.map(|length| length as usize);
        let length = length.unwrap_or(if config.guidance_embed { 512 } else { 256 });
        let settings = TextSettings::of(&models.cache, length);
        let mut progress = Generating::new(Look::stderr());
        self.warn(config.guidance_embed, &settings, &prompts, &progress);
        let chosen = device::choose(&models.device)?;
        let stop = interrupt::listen()?;
        disk::create_folder(&models.out)
            .map_err(|source| CliError::Write { path: models.out.clone(), source })?;

        let mut layer = |layer, layers| {
            progress.layer(layer, layers);
            !stop.load(Ordering::SeqCst)
        };
        let texts = pictures::encode(
            &models.clip_l,
            &models.t5xxl,
            &prompts,
            &settings,
            &chosen.device,
            &mut layer,
        )?;
        device::memory::give_back();
        let Some(texts) = texts else { return Ok(Exit::Interrupted) };
        let together = self.batch as usize;
        let easel = Easel {
            models: &models,
            prompts,
            texts,
            device: &chosen.device,
            stop: &stop,
            together,
        };
        let all = easel.draw(config.guidance_embed, &mut progress)?;
        drop(progress);
        Ok(if all { Exit::Done } else { Exit::Interrupted })
    }

    /// Each prompt as often as is asked for, with its seeds.
    fn prompts(&self, takes_guidance: bool) -> miette::Result<Vec<Prompt>> {
        let usual = Drawing::usual(takes_guidance);
        let first = Drawing {
            width: self.size.0,
            height: self.size.1,
            steps: self.steps.map_or(usual.steps, |steps| steps as usize),
            guidance: self.guidance.unwrap_or(usual.guidance),
            cfg: self.cfg,
            seed: self.seed,
        };
        first.check()?;
        let prompts = self.prompt.iter().flat_map(|prompt| {
            (0..u64::from(self.count)).map(move |more| Prompt {
                prompt: prompt.clone(),
                negative: self.negative.clone(),
                drawing: Drawing { seed: first.seed.wrapping_add(more), ..first },
            })
        });
        Ok(prompts.collect())
    }

    /// Says what has no effect, and which prompts are cut.
    fn warn(
        &self,
        takes_guidance: bool,
        settings: &TextSettings,
        prompts: &[Prompt],
        progress: &Generating,
    ) {
        if self.guidance.is_some() && !takes_guidance {
            progress.warn("--guidance has no effect: the transformer takes none, as schnell");
        }
        if self.negative.is_some() && self.cfg == 1.0 {
            progress.warn("--negative has no effect where --cfg is 1");
        }
        let mut texts = prompts
            .iter()
            .flat_map(|prompt| std::iter::once(prompt.prompt.as_str()).chain(prompt.negative()))
            .collect::<Vec<_>>();
        texts.dedup();
        for text in texts {
            let cut = pictures::tokens_cut(text, settings);
            if cut > 0 {
                progress.cut(text, cut, settings.length);
            }
        }
    }
}

/// What is drawn, and with what.
struct Easel<'a> {
    models: &'a Models,
    prompts: Vec<Prompt>,
    texts: Encoded,
    device: &'a device::Device,
    stop: &'a AtomicBool,
    together: usize,
}

impl Easel<'_> {
    /// Draws all pictures and writes each as soon as it is done. Says whether all are.
    fn draw(&self, takes_guidance: bool, progress: &mut Generating) -> miette::Result<bool> {
        let models = self.models;
        // Digests take as long as reading the files, so others work meanwhile.
        let named = |path: &Path| {
            let path = path.to_owned();
            thread::spawn(move || Model::of(&path))
        };
        let (after, before) = (named(&models.flux), models.before.as_deref().map(named));
        let mut left = Vec::new();
        if let Some(before) = &models.before {
            let keep = |_, picture| {
                left.push(picture);
                Ok(())
            };
            if !self.draw_with(before, progress, keep)? {
                return Ok(false);
            }
            device::memory::give_back();
        }
        let mut identity = Identity::Pending(after, before);
        let mut files = Files::in_folder(&models.out);
        let keep = |index: usize, picture: RgbImage| {
            let (model, before) = identity.known()?;
            let prompt = &self.prompts[index];
            let mut parameters =
                Parameters { model, before, ..Parameters::of(prompt, takes_guidance) };
            if let Some(checkpoint) = &models.checkpoint {
                parameters.stage = Some(checkpoint.stage.clone());
                (parameters.epoch, parameters.step) = (checkpoint.epoch, checkpoint.step);
            }
            let picture = match left.get(index) {
                Some(left) => pictures::side_by_side(left, &picture),
                None => picture,
            };
            let path = files.next(prompt.drawing.seed, &prompt.prompt);
            atomic::write(&path, &pictures::png(&picture, &parameters))
                .map_err(|source| CliError::Write { path: path.clone(), source })?;
            super::print(&report::picture_written(&path))
        };
        self.draw_with(&models.flux, progress, keep)
    }

    fn draw_with(
        &self,
        flux: &Path,
        progress: &mut Generating,
        mut keep: impl FnMut(usize, RgbImage) -> Result<(), StageError>,
    ) -> miette::Result<bool> {
        let scratch = tempfile::tempdir_in(&self.models.out)
            .map_err(|source| CliError::Write { path: self.models.out.clone(), source })?;
        let painter = Painter {
            flux: flux.to_owned(),
            ae: self.models.ae.clone(),
            device: self.device,
            scratch: scratch.path(),
            together: self.together,
        };
        let all = self.prompts.len();
        painter.draw(&self.prompts, &self.texts, &mut |drawn| {
            match drawn {
                Drawn::Plan(plan) => progress.plan(&plan.to_string()),
                Drawn::Step { first, pictures, step, steps } => {
                    progress.step((first, pictures, all), step, steps);
                }
                Drawn::Picture { index, picture } => keep(index, picture)?,
            }
            Ok(!self.stop.load(Ordering::SeqCst))
        })
    }
}

type Reading = thread::JoinHandle<Result<Model, StageError>>;

/// The transformers as the files of pictures name them.
enum Identity {
    Pending(Reading, Option<Reading>),
    Known(Option<Model>, Option<Model>),
}

impl Identity {
    /// After, and before where there is one; waits for their digests.
    fn known(&mut self) -> Result<(Option<Model>, Option<Model>), StageError> {
        let read = |reading: Reading| match reading.join() {
            Ok(model) => model,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        let known = match std::mem::replace(self, Self::Known(None, None)) {
            Self::Pending(after, before) => (Some(read(after)?), before.map(read).transpose()?),
            Self::Known(after, before) => (after, before),
        };
        *self = Self::Known(known.0.clone(), known.1.clone());
        Ok(known)
    }
}
