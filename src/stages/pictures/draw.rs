//! Drawing: prompts, encoded before, into pictures, one after the other or several together.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType};
use image::RgbImage;

use super::{Encoded, Prompt, decode};
use crate::{
    device::is_cpu,
    models::flux::FluxConfig,
    pipeline::StageError,
    train::{
        memory::Plan,
        network::Network,
        sampling::{self, Conditioning, SamplingError, Wanted},
    },
    weights::{Checkpoint, Dtype},
};

/// What is told while pictures are drawn.
#[derive(Debug)]
pub enum Drawn {
    /// Where the blocks of the transformer will be; told before it is loaded.
    Plan(Plan),
    /// A step of the drawing of these pictures is done.
    Step {
        /// Index of the first of them.
        first: usize,
        /// How many are drawn together.
        pictures: usize,
        /// Steps behind them.
        step: usize,
        /// Steps in all.
        steps: usize,
    },
    /// A picture is there.
    Picture {
        /// Index of its prompt.
        index: usize,
        /// The picture.
        picture: RgbImage,
    },
}

/// What draws.
#[derive(Clone, Debug)]
pub struct Painter<'a> {
    /// File, or folder of shards, of the transformer.
    pub flux: PathBuf,
    /// File of the autoencoder.
    pub ae: PathBuf,
    /// Where networks run.
    pub device: &'a Device,
    /// A folder for blocks that find no room in memory.
    pub scratch: &'a Path,
    /// Pictures that go through the transformer together, where size and steps are the same.
    pub together: usize,
}

impl Painter<'_> {
    /// Sizes of the transformer.
    ///
    /// # Errors
    /// It is none, or cannot be read.
    pub fn config(&self) -> Result<FluxConfig, StageError> {
        Ok(FluxConfig::detect(&Checkpoint::open(&self.flux)?)?.0)
    }

    /// Draws the prompts in their order. `tell` says whether to go on; the result says whether all were
    /// drawn.
    ///
    /// # Errors
    /// A file cannot be used, there is not enough memory, a text is not encoded, numbers are not finite,
    /// or what `tell` gives.
    pub fn draw(
        &self,
        prompts: &[Prompt],
        texts: &Encoded,
        tell: &mut dyn FnMut(Drawn) -> Result<bool, StageError>,
    ) -> Result<bool, StageError> {
        let wanted =
            prompts.iter().map(|prompt| wanted(prompt, texts)).collect::<Result<Vec<_>, _>>()?;
        let groups = groups(&wanted, self.together);
        let Some(plan) = self.plan(&wanted, &groups)? else { return Ok(true) };
        if !tell(Drawn::Plan(plan.clone()))? {
            return Ok(false);
        }
        let decoder = decode::Decoder::load(&self.ae, self.device)?;
        let file = Checkpoint::open(&self.flux)?;
        let stored = self.stored(&file);
        let mut network = Network::load(&file, plan, self.device, stored, self.scratch)?;
        let mut first = 0;
        for group in groups {
            let (of_group, mut failed) = (&wanted[first..first + group], None);
            let latents =
                sampling::denoise_together(&mut network, of_group, &mut |step, steps| {
                    let told = tell(Drawn::Step { first, pictures: group, step, steps });
                    told.unwrap_or_else(|error| {
                        failed = Some(error);
                        false
                    })
                })?;
            if let Some(error) = failed {
                return Err(error);
            }
            let Some(latents) = latents else { return Ok(false) };
            for (place, latent) in latents.into_iter().enumerate() {
                let (index, picture) = (first + place, decoder.decode(latent)?);
                if !tell(Drawn::Picture { index, picture })? {
                    return Ok(false);
                }
            }
            first += group;
        }
        Ok(true)
    }

    /// The plan for the largest group; none where nothing is to be drawn.
    fn plan(&self, wanted: &[Wanted<'_>], groups: &[usize]) -> Result<Option<Plan>, StageError> {
        let file = Checkpoint::open(&self.flux)?;
        let (config, _) = FluxConfig::detect(&file)?;
        let rows = |wanted: &Wanted<'_>| if wanted.drawing.cfg == 1.0 { 1 } else { 2 };
        let (mut largest, mut first) = (None, 0);
        for group in groups {
            let of_group = &wanted[first..first + group];
            let rows = of_group.iter().map(rows).sum::<usize>();
            let drawing = of_group[0].drawing;
            drawing.check()?;
            if largest.is_none_or(|(_, _, most)| rows * drawing.tokens() > most) {
                largest = Some((drawing, rows, rows * drawing.tokens()));
            }
            first += group;
        }
        let Some((drawing, rows, _)) = largest else { return Ok(None) };
        let pixels = wanted.iter().map(|it| it.drawing.width * it.drawing.height).max();
        let beside = decode::takes(&self.ae, pixels.unwrap_or_default())?;
        let longest = wanted.iter().map(|wanted| wanted.text.t5.len()).max().unwrap_or_default();
        let text_tokens = longest / config.context_in_dim.max(1);
        let stored = self.stored(&file);
        let plan =
            sampling::plan(&config, drawing, (rows, text_tokens), stored, self.device, beside)?;
        Ok(Some(plan))
    }

    /// The type that weights are stored in: bf16 on a card. The CPU computes in f32, and bf16 takes less
    /// room there where the file has no more.
    fn stored(&self, file: &Checkpoint) -> FloatDType {
        let is_wide = |dtype: Dtype| matches!(dtype, Dtype::F32 | Dtype::F16);
        let mut dtypes = file.names().filter_map(|name| file.info(name)).map(|info| info.dtype);
        match is_cpu(self.device) && dtypes.any(is_wide) {
            true => FloatDType::F32,
            false => FloatDType::BF16,
        }
    }
}

fn wanted<'a>(prompt: &'a Prompt, texts: &'a Encoded) -> Result<Wanted<'a>, SamplingError> {
    let text = |text: &str| -> Result<&Conditioning, SamplingError> {
        let missing = || SamplingError::Text { reason: format!("`{text}` was not encoded") };
        texts.get(text).ok_or_else(missing)
    };
    Ok(Wanted {
        drawing: &prompt.drawing,
        text: text(&prompt.prompt)?,
        negative: prompt.negative().map(text).transpose()?,
    })
}

/// How many of the pictures, one after the other, go together each time.
fn groups(wanted: &[Wanted<'_>], together: usize) -> Vec<usize> {
    let alike = |a: &Wanted<'_>, b: &Wanted<'_>| {
        let kind = |it: &Wanted<'_>| (it.drawing.width, it.drawing.height, it.drawing.steps);
        kind(a) == kind(b)
    };
    let runs = wanted.chunk_by(alike);
    runs.flat_map(|run| run.chunks(together.max(1)).map(<[_]>::len)).collect()
}
