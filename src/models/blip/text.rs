//! The text decoder: BERT with causal self-attention and, in every layer, attention to the picture.
//!
//! Post-norm, no token types. What earlier tokens left behind is kept in a [`TextState`], so that each
//! step computes one token. Several texts of one picture (beams) lie next to each other as rows; they
//! share the picture's keys and values.

use burn::{
    module::{Module, Param},
    tensor::{DType, Device, FloatDType, Int, Tensor, TensorData, module::embedding},
};

use super::{
    config::TextConfig,
    layers::{attend, join_heads, split_heads},
};
use crate::{
    device::kernels::{self, Activation},
    models::layers::{LayerNorm, Linear},
    weights::Loader,
};

const EPSILON: f64 = 1e-12;

/// A BERT that continues texts about pictures.
#[derive(Module, Debug)]
pub struct TextDecoder {
    /// `[vocabulary, width]`
    pub word_embeddings: Param<Tensor<2>>,
    /// `[positions, width]`
    pub position_embeddings: Param<Tensor<2>>,
    /// Over the embeddings.
    pub norm: LayerNorm,
    /// The layers.
    pub layers: Vec<Layer>,
    /// `[width, width]`, before the logits.
    pub transform: Linear,
    /// Behind `transform`.
    pub transform_norm: LayerNorm,
    /// `[vocabulary, width]`, makes the logits. The published captioner ties it to the word
    /// embeddings; what was trained further with transformers may have it apart.
    pub decoder: Param<Tensor<2>>,
    /// `[vocabulary]`, added to the logits.
    pub bias: Param<Tensor<1>>,
}

impl TextDecoder {
    pub(super) fn load(loader: &Loader<'_>, config: &TextConfig) -> Self {
        let &TextConfig { width, vocabulary, positions, .. } = config;
        let (bert, head) = (loader.at("bert"), loader.at("cls").at("predictions"));
        let embeddings = bert.at("embeddings");
        let layers = bert.at("encoder").at("layer");
        let transform = head.at("transform");
        // The second name of the bias, a constant, and a part that only training has.
        head.ignore("decoder.bias");
        embeddings.ignore("position_ids");
        bert.ignore_below("pooler");
        let words = embeddings.tensor("word_embeddings.weight", [vocabulary, width]);
        // Tied tensors are in a file once or twice; in memory they are once.
        let twice = ["bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"];
        let decoder = if head.has("decoder.weight") && !loader.equal(twice) {
            head.tensor("decoder.weight", [vocabulary, width])
        } else {
            head.ignore("decoder.weight");
            words.clone()
        };
        Self {
            word_embeddings: Param::from_tensor(words),
            position_embeddings: embeddings.param("position_embeddings.weight", [positions, width]),
            norm: LayerNorm::load(&embeddings.at("LayerNorm"), width, EPSILON),
            layers: (0..config.depth).map(|i| Layer::load(&layers.at(i), config)).collect(),
            transform: Linear::load(&transform.at("dense"), width, width),
            transform_norm: LayerNorm::load(&transform.at("LayerNorm"), width, EPSILON),
            decoder: Param::from_tensor(decoder),
            bias: head.param("bias", [vocabulary]),
        }
    }

    /// Begins one text for each of the picture encoder's outputs `[P, N, cross]`.
    #[must_use]
    pub fn begin(&self, pictures: &Tensor<3>) -> TextState {
        let layers = self.layers.iter().map(|layer| LayerState {
            past: None,
            picture: layer.crossattention.keys_values(pictures.clone()),
        });
        TextState { layers: layers.collect(), length: 0, pictures: pictures.dims()[0] }
    }

    /// Appends the ids `[R, T]` to the `R` texts of `state`, which are `R / P` for each of `P`
    /// pictures, and gives the last layer's output `[R, T, width]`.
    #[must_use]
    pub fn forward(&self, ids: Tensor<2, Int>, state: &mut TextState) -> Tensor<3> {
        let [_, length] = ids.dims();
        let positions = self.position_embeddings.val().narrow(0, state.length, length);
        let words = embedding(self.word_embeddings.val(), ids);
        let mut x = self.norm.forward(words + positions.unsqueeze());
        let dtype = FloatDType::from(x.dtype());
        let unseen = (length > 1).then(|| unseen(length, state.length, &x.device()).cast(dtype));
        for (layer, layer_state) in self.layers.iter().zip(&mut state.layers) {
            x = layer.forward(x, layer_state, state.pictures, unseen.clone());
        }
        state.length += length;
        x
    }

    /// `[R, width]` → how much each token is expected next, `[R, vocabulary]`.
    #[must_use]
    pub fn logits(&self, x: Tensor<2>) -> Tensor<2> {
        let x = self.transform_norm.forward(self.transform.then(x, Activation::Gelu));
        kernels::linear(x, self.decoder.val(), Some(self.bias.val()), Activation::None)
    }

    /// The longest text, in tokens.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.position_embeddings.dims()[0]
    }
}

/// What the layers keep of the texts so far.
pub struct TextState {
    layers: Vec<LayerState>,
    length: usize,
    pictures: usize,
}

struct LayerState {
    /// Keys and values of the tokens so far, `[R, heads, T, head]`.
    past: Option<[Tensor<4>; 2]>,
    /// Keys and values of the pictures, `[P, heads, N, head]`.
    picture: [Tensor<4>; 2],
}

impl TextState {
    /// Goes on with the texts `rows`, in this order, and with the `pictures`, likewise. A row may be
    /// taken several times: that is how one text becomes several.
    pub fn keep(&mut self, rows: &[usize], pictures: &[usize]) {
        let all_pictures = pictures.iter().copied().eq(0..self.pictures);
        self.pictures = pictures.len();
        for layer in &mut self.layers {
            if let Some(past) = layer.past.take() {
                layer.past = Some(past.map(|tensor| select(tensor, rows)));
            }
            if !all_pictures {
                layer.picture = layer.picture.clone().map(|tensor| select(tensor, pictures));
            }
        }
    }
}

fn select(tensor: Tensor<4>, rows: &[usize]) -> Tensor<4> {
    let rows = rows.iter().map(|&row| row as i32).collect::<Vec<_>>();
    let device = tensor.device();
    tensor.select(0, Tensor::<1, Int>::from_data(rows.as_slice(), &device))
}

/// `[1, 1, length, past + length]`: minus infinity where a key lies behind its query.
fn unseen(length: usize, past: usize, device: &Device) -> Tensor<4> {
    let keys = past + length;
    let entry =
        |index: usize| if index % keys > past + index / keys { f32::NEG_INFINITY } else { 0.0 };
    let entries = (0..length * keys).map(entry).collect::<Vec<_>>();
    Tensor::from_data(TensorData::new(entries, [1, 1, length, keys]), (device, DType::F32))
}

/// One layer: attention to the text so far, attention to the picture, feed-forward.
#[derive(Module, Debug)]
pub struct Layer {
    /// To the text so far.
    pub attention: Attention,
    /// To the picture.
    pub crossattention: Attention,
    /// `[hidden, width]`
    pub intermediate: Linear,
    /// `[width, hidden]`
    pub output: Linear,
    /// Behind the feed-forward.
    pub norm: LayerNorm,
}

impl Layer {
    fn load(loader: &Loader<'_>, config: &TextConfig) -> Self {
        let &TextConfig { width, hidden, heads, cross, .. } = config;
        let output = loader.at("output");
        Self {
            attention: Attention::load(&loader.at("attention"), width, width, heads),
            crossattention: Attention::load(&loader.at("crossattention"), width, cross, heads)
                .looking_at_pictures(),
            intermediate: Linear::load(&loader.at("intermediate").at("dense"), width, hidden),
            output: Linear::load(&output.at("dense"), hidden, width),
            norm: LayerNorm::load(&output.at("LayerNorm"), width, EPSILON),
        }
    }

    fn forward(
        &self,
        x: Tensor<3>,
        state: &mut LayerState,
        pictures: usize,
        unseen: Option<Tensor<4>>,
    ) -> Tensor<3> {
        let [rows, length, width] = x.dims();
        let mut seen = self.attention.keys_values(x.clone());
        if let Some([keys, values]) = state.past.take() {
            let [new_keys, new_values] = seen;
            seen = [Tensor::cat(vec![keys, new_keys], 2), Tensor::cat(vec![values, new_values], 2)];
        }
        state.past = Some(seen.clone());
        let x = self.attention.forward(x, seen, unseen);
        // To a picture all tokens of its texts are queries alike.
        let x = x.reshape([pictures, rows / pictures * length, width]);
        let x = self.crossattention.forward(x, state.picture.clone(), None);
        let x = x.reshape([rows, length, width]);
        let hidden = self.intermediate.then(x.clone(), Activation::Gelu);
        self.norm.forward(self.output.onto(x, hidden))
    }
}

/// Attention with everything around it: projections, the sum with its input, the norm.
#[derive(Module, Debug)]
pub struct Attention {
    /// `[width, width]`
    pub query: Linear,
    /// `[width, source]`
    pub key: Linear,
    /// `[width, source]`
    pub value: Linear,
    /// `[width, width]`
    pub output: Linear,
    /// Over the sum.
    pub norm: LayerNorm,
    heads: usize,
}

impl Attention {
    fn load(loader: &Loader<'_>, width: usize, source: usize, heads: usize) -> Self {
        let (projections, output) = (loader.at("self"), loader.at("output"));
        Self {
            query: Linear::load(&projections.at("query"), width, width),
            key: Linear::load(&projections.at("key"), source, width),
            value: Linear::load(&projections.at("value"), source, width),
            output: Linear::load(&output.at("dense"), width, width),
            norm: LayerNorm::load(&output.at("LayerNorm"), width, EPSILON),
            heads,
        }
    }

    /// With keys and values laid out for the many tokens of a picture.
    fn looking_at_pictures(self) -> Self {
        Self { key: self.key.for_many_rows(), value: self.value.for_many_rows(), ..self }
    }

    /// `[B, N, source]` → keys and values, each `[B, heads, N, head]`.
    fn keys_values(&self, source: Tensor<3>) -> [Tensor<4>; 2] {
        let keys = self.key.infer(source.clone());
        [keys, self.value.infer(source)].map(|x| split_heads(x, self.heads))
    }

    /// `[B, N, width]` → `[B, N, width]`
    fn forward(
        &self,
        x: Tensor<3>,
        [k, v]: [Tensor<4>; 2],
        unseen: Option<Tensor<4>>,
    ) -> Tensor<3> {
        let q = split_heads(self.query.infer(x.clone()), self.heads);
        let attended = join_heads(attend(q, k, v, unseen));
        self.norm.forward(self.output.onto(x, attended))
    }
}
