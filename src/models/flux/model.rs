//! The whole transformer.

use burn::{
    module::Module,
    tensor::{Bool, DType, Device, FloatDType, Tensor},
};

use super::{
    blocks::Block,
    config::FluxConfig,
    double::DoubleBlock,
    embedders::{Embedded, Embedders},
    last::LastLayer,
    layers::float_dtype,
    positions::rotation,
    single::SingleBlock,
};
use crate::device::kernels::Rotation;

/// FLUX.1 dev or schnell.
#[derive(Module, Debug)]
pub struct Flux {
    /// What brings the inputs to the hidden width. The checkpoint has these layers at its top level.
    pub embedders: Embedders,
    /// Blocks over text and picture apart.
    pub double_blocks: Vec<DoubleBlock>,
    /// Blocks over both as one sequence.
    pub single_blocks: Vec<SingleBlock>,
    /// From the hidden width to a velocity.
    pub final_layer: LastLayer,
    /// Sizes, as the checkpoint's shapes tell them.
    #[module(skip)]
    pub config: FluxConfig,
}

/// One batch of inputs. Float tensors may come in any type; they are cast to the weights'.
#[derive(Clone, Debug)]
pub struct FluxInput {
    /// Picture tokens `[B, N, 64]`, see [`super::pack`].
    pub img: Tensor<3>,
    /// Text tokens `[B, L, context]` from T5.
    pub txt: Tensor<3>,
    /// Pooled text `[B, vector]` from CLIP.
    pub y: Tensor<2>,
    /// Time steps in `[0, 1]`, one per sample.
    pub timesteps: Vec<f32>,
    /// Guidance, one per sample; schnell ignores it.
    pub guidance: Vec<f32>,
    /// Places of the `L + N` tokens, text first, see [`super::position_ids`].
    pub ids: Vec<[f32; 3]>,
    /// `[B, L]`, true for text tokens that are real; `None` lets the padding take part, as the
    /// published pipelines do.
    pub txt_attention_mask: Option<Tensor<2, Bool>>,
}

/// What every block needs besides its streams, the same for all.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Rotations of the tokens.
    pub rope: Rotation,
    /// `[B, 1, 1, L+N]`, true for tokens that nobody attends to.
    pub masked: Option<Tensor<4, Bool>>,
}

impl Surroundings {
    /// Rotations and mask for the tokens of `input`.
    #[must_use]
    pub fn new(config: &FluxConfig, input: &FluxInput) -> Self {
        let FluxConfig { axes_dim, theta, .. } = config;
        let device = input.img.device().without_autodiff();
        let rope = rotation(&input.ids, *axes_dim, *theta, &device);
        let masked = input.txt_attention_mask.as_ref().map(|real| {
            let [batch, _] = real.dims();
            let picture = [batch, input.img.dims()[1]];
            let picture = Tensor::<2, Bool>::full(picture, false, &device);
            let masked = Tensor::cat(vec![real.clone().bool_not(), picture], 1);
            masked.unsqueeze_dims::<4>(&[1, 2])
        });
        Self { rope, masked }
    }
}

impl Flux {
    /// The velocity of the picture's tokens: `[B, N, 64]`.
    ///
    /// Off the tape nothing of size N×N is made. On a tape the whole graph is kept; training goes back
    /// block by block instead, without one.
    #[must_use]
    pub fn forward(&self, input: &FluxInput) -> Tensor<3> {
        let surroundings = self.surroundings(input);
        let Embedded { img, txt, vec } = self.embedders.forward(input);
        let mut streams = vec![txt, img];
        for block in &self.double_blocks {
            streams = block.forward(streams, vec.clone(), &surroundings);
        }
        let text = streams[0].dims()[1];
        let mut streams = vec![Tensor::cat(streams, 1)];
        for block in &self.single_blocks {
            streams = block.forward(streams, vec.clone(), &surroundings);
        }
        let x = Tensor::cat(streams, 1);
        let length = x.dims()[1] - text;
        self.final_layer.forward(x.narrow(1, text, length), vec)
    }

    /// Rotations and mask for this batch.
    #[must_use]
    pub fn surroundings(&self, input: &FluxInput) -> Surroundings {
        Surroundings::new(&self.config, input)
    }

    /// The type of the weights: f32 or bf16.
    #[must_use]
    pub fn dtype(&self) -> FloatDType {
        float_dtype(&self.embedders.img_in.weight)
    }

    /// Whether this is dev, which takes a guidance.
    #[must_use]
    pub fn takes_guidance(&self) -> bool {
        self.embedders.guidance_in.is_some()
    }

    /// Where the weights are.
    #[must_use]
    pub fn device(&self) -> Device {
        self.embedders.img_in.weight.device()
    }

    /// [`Flux::dtype`] as a tensor option.
    #[must_use]
    pub fn options(&self) -> (Device, DType) {
        (self.device(), self.dtype().into())
    }
}
