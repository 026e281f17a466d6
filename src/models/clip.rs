//! The CLIP-L text encoder: 77 ids to one pooled vector (and a vector per token).

use burn::{
    module::{Module, Param},
    tensor::{Int, Tensor, TensorData},
};

use super::{
    layers::{LayerNorm, Linear},
    tokenizer::ClipTokenizer,
};
use crate::{
    device::kernels,
    weights::{Loader, WeightsError},
};

/// Of all layer norms.
const EPSILON: f64 = 1e-5;

/// The function between the two linear layers of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Activation {
    /// `x * sigmoid(1.702 x)`: what the network was trained with.
    #[default]
    QuickGelu,
    /// The exact function, with which sd-scripts runs this network.
    Gelu,
}

/// What the file does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClipConfig {
    /// Attention heads per block.
    pub heads: usize,
    /// The function between the linear layers.
    pub activation: Activation,
    /// The least number of ids the network must know.
    pub vocabulary: usize,
}

impl ClipConfig {
    /// The published network has heads of 64, and must know all that the tokenizer says.
    #[must_use]
    pub fn detect(loader: &Loader) -> Self {
        Self {
            heads: (width(loader) / 64).max(1),
            activation: Activation::default(),
            vocabulary: ClipTokenizer::END as usize + 1,
        }
    }
}

/// Width of the pooled vector of the network in this file, 768 in CLIP-L.
#[must_use]
pub fn width(loader: &Loader) -> usize {
    table(loader, "token_embedding").1
}

/// The text half of CLIP-L.
#[derive(Module, Debug)]
pub struct ClipText {
    token_embedding: Param<Tensor<2>>,
    position_embedding: Param<Tensor<2>>,
    layers: Vec<ClipLayer>,
    final_layer_norm: LayerNorm,
}

/// What the encoder makes of a batch.
#[derive(Clone, Debug)]
pub struct ClipOutput {
    /// The vector at the end of each text, `[B, 768]`. No projection.
    pub pooled: Tensor<2>,
    /// The vectors of all tokens after the last norm, `[B, 77, 768]`.
    pub last: Tensor<3>,
}

impl ClipText {
    /// Takes `text_model.*`. Widths and depth come from the file. Position numbers, projection,
    /// temperature and the half that looks at pictures, which some files carry, are not needed.
    ///
    /// # Errors
    /// The file is not that of such an encoder.
    pub fn load(loader: &Loader, config: ClipConfig) -> Result<Self, WeightsError> {
        const NOT_NEEDED: [&str; 4] = [
            "text_projection.weight",
            "text_projection",
            "visual_projection.weight",
            "logit_scale",
        ];
        NOT_NEEDED.iter().for_each(|name| loader.ignore(name));
        loader.ignore_below("vision_model");
        let text = loader.at("text_model");
        text.at("embeddings").ignore("position_ids");
        let (vocabulary, width) = table(loader, "token_embedding");
        let (positions, _) = table(loader, "position_embedding");
        let vocabulary = vocabulary.max(config.vocabulary);
        // A width that the heads do not divide fails the audit instead of a tensor operation.
        let width = width.next_multiple_of(config.heads.max(1));
        let embeddings = text.at("embeddings");
        let layers = text.at("encoder");
        let layers = (0..layers.count("layers").clamp(1, 64))
            .map(|index| ClipLayer::load(&layers.at("layers").at(index), width, config));
        let clip = Self {
            token_embedding: embeddings.param("token_embedding.weight", [vocabulary, width]),
            position_embedding: embeddings.param("position_embedding.weight", [positions, width]),
            layers: layers.collect(),
            final_layer_norm: LayerNorm::load(&text.at("final_layer_norm"), width, EPSILON),
        };
        loader.finish("CLIP-L text encoder")?;
        Ok(clip)
    }

    /// Reads `ids` `[B, L]`: rows of equal length, at most 77, ids below the vocabulary's size.
    #[must_use]
    pub fn forward(&self, ids: &[Vec<u32>]) -> ClipOutput {
        let (batch, length) = (ids.len(), ids.first().map_or(0, Vec::len));
        let device = self.token_embedding.device();
        let width = self.token_embedding.dims()[1];
        let x = self.token_embedding.val().select(0, indices(ids.iter().flatten(), &device));
        let positions = self.position_embedding.val().narrow(0, 0, length);
        let mut x = x.reshape([batch, length, width]) + positions.unsqueeze::<3>();
        let causal = causal(length, &device);
        for layer in &self.layers {
            x = layer.forward(x, &causal);
        }
        let last = self.final_layer_norm.forward(x);
        // The end mark has the largest id; padding repeats it, so the first one counts.
        let ends = ids.iter().enumerate().map(|(row, ids)| {
            let largest = ids.iter().max();
            let end = ids.iter().position(|id| Some(id) == largest).unwrap_or(0);
            u32::try_from(row * length + end).unwrap_or(u32::MAX)
        });
        let ends = ends.collect::<Vec<_>>();
        let pooled = last.clone().reshape([batch * length, width]);
        ClipOutput { pooled: pooled.select(0, indices(ends.iter(), &device)), last }
    }
}

fn indices<'a>(
    ids: impl Iterator<Item = &'a u32>,
    device: &burn::tensor::Device,
) -> Tensor<1, Int> {
    let ids = ids.map(|&id| i32::try_from(id).unwrap_or(i32::MAX)).collect::<Vec<_>>();
    let length = ids.len();
    Tensor::from_data(TensorData::new(ids, [length]), device)
}

/// What is added to scores so that no token sees a later one, `[1, 1, L, L]`.
fn causal(length: usize, device: &burn::tensor::Device) -> Tensor<4> {
    let later = |at: usize| at % length > at / length;
    let values = (0..length * length).map(|at| if later(at) { f32::NEG_INFINITY } else { 0.0 });
    let data = TensorData::new(values.collect::<Vec<_>>(), [1, 1, length, length]);
    Tensor::from_data(data, device)
}

/// Rows and width of an embedding table, or harmless numbers: the audit reports the lack.
fn table(loader: &Loader, name: &str) -> (usize, usize) {
    let loader = loader.at("text_model").at("embeddings").at(name);
    match loader.shape("weight").as_deref() {
        Some(&[rows, width]) if rows > 0 && width > 0 => (rows, width),
        _ => (1, 1),
    }
}

/// One block: causal attention, then two linear layers, each around a shortcut.
#[derive(Module, Debug)]
struct ClipLayer {
    layer_norm1: LayerNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    layer_norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    heads: usize,
    #[module(skip)]
    activation: Activation,
}

impl ClipLayer {
    fn load(loader: &Loader, width: usize, config: ClipConfig) -> Self {
        let (attention, mlp) = (loader.at("self_attn"), loader.at("mlp"));
        let inner = mlp.shape("fc1.weight").and_then(|sizes| sizes.first().copied());
        let inner = inner.filter(|&size| size > 0).unwrap_or(1);
        let project = |name| Linear::load_for_many_rows(&attention.at(name), width, width);
        Self {
            layer_norm1: LayerNorm::load(&loader.at("layer_norm1"), width, EPSILON),
            q_proj: project("q_proj"),
            k_proj: project("k_proj"),
            v_proj: project("v_proj"),
            out_proj: project("out_proj"),
            layer_norm2: LayerNorm::load(&loader.at("layer_norm2"), width, EPSILON),
            fc1: Linear::load_for_many_rows(&mlp.at("fc1"), width, inner),
            fc2: Linear::load_for_many_rows(&mlp.at("fc2"), inner, width),
            heads: config.heads.max(1),
            activation: config.activation,
        }
    }

    /// `[B, L, C]` to the same.
    fn forward(&self, x: Tensor<3>, causal: &Tensor<4>) -> Tensor<3> {
        let attended = self.attend(&self.layer_norm1.forward(x.clone()), causal);
        let x = self.out_proj.onto(x, attended);
        let then = match self.activation {
            Activation::QuickGelu => kernels::Activation::QuickGelu,
            Activation::Gelu => kernels::Activation::Gelu,
        };
        let h = self.fc1.then(self.layer_norm2.forward(x.clone()), then);
        self.fc2.onto(x, h)
    }

    fn attend(&self, x: &Tensor<3>, causal: &Tensor<4>) -> Tensor<3> {
        let [batch, length, width] = x.dims();
        let head = width / self.heads;
        let split = |projection: &Linear| {
            let x = projection.infer(x.clone());
            x.reshape([batch, length, self.heads, head]).swap_dims(1, 2)
        };
        let (q, k, v) = (split(&self.q_proj), split(&self.k_proj), split(&self.v_proj));
        let scale = (head as f64).powf(-0.5);
        let x = kernels::attention(q, k, v, Some(causal.clone()), scale);
        x.swap_dims(1, 2).reshape([batch, length, width])
    }
}
