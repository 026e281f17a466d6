//! From the inputs to the hidden width.

use burn::{module::Module, optim::GradientsParams, tensor::Tensor};

use super::{
    layers::{Linear, MlpEmbedder, MlpEmbedderKept, float_dtype},
    model::FluxInput,
    positions::sinusoid,
};
use crate::models::gradients::Collected;

/// The width of the sinusoids of time and guidance.
pub(super) const SINUSOID: usize = 256;

/// The layers that bring the inputs to the hidden width.
#[derive(Module, Debug)]
pub struct Embedders {
    /// Picture tokens.
    pub img_in: Linear,
    /// Text tokens.
    pub txt_in: Linear,
    /// Time step.
    pub time_in: MlpEmbedder,
    /// Pooled text.
    pub vector_in: MlpEmbedder,
    /// Guidance; schnell has none.
    pub guidance_in: Option<MlpEmbedder>,
}

/// The inputs at hidden width, or gradients there.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// `[B, N, hidden]`
    pub img: Tensor<3>,
    /// `[B, L, hidden]`
    pub txt: Tensor<3>,
    /// `[B, hidden]`: time, guidance and pooled text.
    pub vec: Tensor<2>,
}

/// What the [`Embedders`] keep for their backward pass.
#[derive(Clone, Debug)]
pub struct EmbeddersKept {
    img: Tensor<3>,
    txt: Tensor<3>,
    time: MlpEmbedderKept,
    vector: MlpEmbedderKept,
    guidance: Option<MlpEmbedderKept>,
}

/// Gradients at the inputs of the network.
#[derive(Clone, Debug)]
pub struct InputGradients {
    /// `[B, N, 64]`
    pub img: Tensor<3>,
    /// `[B, L, context]`
    pub txt: Tensor<3>,
    /// `[B, vector]`
    pub y: Tensor<2>,
}

impl Embedders {
    /// Embeds picture tokens, text tokens, pooled text, time and guidance.
    #[must_use]
    pub fn forward(&self, input: &FluxInput) -> Embedded {
        self.forward_keeping(input).0
    }

    /// The same, and what [`backward`](Self::backward) needs of it.
    #[must_use]
    pub fn forward_keeping(&self, input: &FluxInput) -> (Embedded, EmbeddersKept) {
        let dtype = float_dtype(&self.img_in.weight);
        let device = input.img.device();
        let wave = |values: &[f32]| sinusoid(values, SINUSOID, &device).cast(dtype);
        let (mut vec, time) = self.time_in.forward(wave(&input.timesteps));
        let guidance = self.guidance_in.as_ref().map(|guidance_in| {
            let (guidance, kept) = guidance_in.forward(wave(&input.guidance));
            vec = vec.clone() + guidance;
            kept
        });
        let (pooled, vector) = self.vector_in.forward(input.y.clone().cast(dtype));
        let (img, txt) = (input.img.clone().cast(dtype), input.txt.clone().cast(dtype));
        let embedded = Embedded {
            img: self.img_in.forward(img.clone()),
            txt: self.txt_in.forward(txt.clone()),
            vec: vec + pooled,
        };
        (embedded, EmbeddersKept { img, txt, time, vector, guidance })
    }

    /// Gradients at the inputs, for the gradients `d` of the embedded ones. Adds those of the parameters
    /// to `gradients`; where that is `None` they are not computed.
    #[must_use]
    pub fn backward(
        &self,
        kept: EmbeddersKept,
        d: Embedded,
        gradients: Option<&mut GradientsParams>,
    ) -> InputGradients {
        let mut gradients = Collected::new(gradients);
        let EmbeddersKept { img, txt, time, vector, guidance } = kept;
        let d_vec = d.vec.cast(float_dtype(&self.img_in.weight));
        // The sinusoids of time and guidance have no gradient that anybody wants.
        let _ = self.time_in.backward(time, d_vec.clone(), &mut gradients);
        if let (Some(guidance_in), Some(kept)) = (&self.guidance_in, guidance) {
            let _ = guidance_in.backward(kept, d_vec.clone(), &mut gradients);
        }
        InputGradients {
            img: self.img_in.backward(img, d.img, &mut gradients),
            txt: self.txt_in.backward(txt, d.txt, &mut gradients),
            y: self.vector_in.backward(vector, d_vec, &mut gradients),
        }
    }
}
