//! The T5 v1.1 text encoder, one layer in memory at a time.
//!
//! T5-XXL has 4.7 billion parameters and is needed once per caption, so it is never held whole: all
//! texts of a set go through layer 0, then through layer 1, and so on, and each layer's weights are
//! dropped before the next are read. Memory is one layer and the hidden states of the set.

use std::collections::BTreeMap;

use burn::tensor::{
    Bool, Device, FloatDType, Int, Tensor, TensorData,
    activation::{gelu_approximate, softmax},
    module::linear,
};

use super::tokenizer::T5Tokenizer;
use crate::weights::{Loader, WeightsError};

/// Distances from here on share the last bucket.
const MAX_DISTANCE: usize = 128;
const EPSILON: f64 = 1e-6;

/// Texts of equal length that go through the network together.
#[derive(Clone, Debug)]
pub struct T5Batch {
    /// Ids `[B, L]`, padding included, all below the vocabulary's size.
    pub ids: Vec<Vec<u32>>,
    /// How many leading ids of each text may be attended to (at least one); `None` is all of them,
    /// padding included, as FLUX.1 was trained.
    pub attend: Option<Vec<usize>>,
}

/// A T5 encoder whose weights stay in their file.
pub struct T5Stream<'a> {
    loader: Loader<'a>,
    table: String,
    sizes: Sizes,
}

#[derive(Clone, Copy, Debug)]
struct Sizes {
    vocabulary: usize,
    /// Width of the hidden states.
    model: usize,
    /// Width of one head.
    head: usize,
    heads: usize,
    inner: usize,
    buckets: usize,
    layers: usize,
}

impl Sizes {
    fn detect(loader: &Loader, table: &str, least: usize) -> Self {
        let first = loader.at("encoder").at("block").at(0);
        // A missing tensor counts as one of ones: the audit reports the lack.
        let shape = |loader: &Loader, name: &str| match loader.shape(name).as_deref() {
            Some(&[rows, columns]) if rows > 0 && columns > 0 => (rows, columns),
            _ => (1, 1),
        };
        let (vocabulary, model) = shape(loader, table);
        let attention = first.at("layer.0.SelfAttention");
        let (buckets, heads) = shape(&attention, "relative_attention_bias.weight");
        Self {
            vocabulary: vocabulary.max(least),
            model,
            head: shape(&attention, "q.weight").0.div_ceil(heads),
            heads,
            inner: shape(&first, "layer.1.DenseReluDense.wi_0.weight").0,
            // Half for each direction, and half of those for single distances.
            buckets: buckets.next_multiple_of(4),
            layers: loader.at("encoder").count("block").clamp(1, 256),
        }
    }
}

impl<'a> T5Stream<'a> {
    /// Checks that the file holds such an encoder, without reading weights. Names are
    /// `encoder.block.N…` and `shared.weight` (or `encoder.embed_tokens.weight`, the same table);
    /// a decoder beside it is not looked at. Tensors will arrive in the loader's type: f32 or bf16,
    /// since f16 cannot hold T5's hidden states.
    ///
    /// # Errors
    /// The file is not that of such an encoder.
    pub fn open(loader: Loader<'a>) -> Result<Self, WeightsError> {
        // All that the tokenizer says must be known.
        Self::with_vocabulary(loader, T5Tokenizer::VOCABULARY)
    }

    /// The same for ids that are not the tokenizer's: all below `least`.
    ///
    /// # Errors
    /// The file is not that of such an encoder.
    pub fn with_vocabulary(loader: Loader<'a>, least: usize) -> Result<Self, WeightsError> {
        const TABLES: [&str; 2] = ["shared.weight", "encoder.embed_tokens.weight"];
        loader.ignore_below("decoder");
        loader.ignore("lm_head.weight");
        let table = TABLES.into_iter().find(|name| loader.shape(name).is_some());
        let table = table.unwrap_or(TABLES[0]).to_owned();
        TABLES.iter().for_each(|name| loader.ignore(name));
        let sizes = Sizes::detect(&loader, &table, least);
        loader.expect(&table, &[sizes.vocabulary, sizes.model]);
        let encoder = loader.at("encoder");
        encoder.expect("final_layer_norm.weight", &[sizes.model]);
        let bias = "layer.0.SelfAttention.relative_attention_bias.weight";
        encoder.at("block").at(0).expect(bias, &[sizes.buckets, sizes.heads]);
        for index in 0..sizes.layers {
            let block = encoder.at("block").at(index);
            for (name, shape) in Layer::shapes(sizes) {
                block.expect(name, &shape);
            }
        }
        loader.finish(NETWORK)?;
        Ok(Self { loader, table, sizes })
    }

    /// Width of the hidden states, 4096 in T5-XXL.
    #[must_use]
    pub fn width(&self) -> usize {
        self.sizes.model
    }

    /// Encodes a set of batches to `[B, L, 4096]` each, in order. `done` is called after each layer
    /// with the number of layers behind and in all.
    ///
    /// # Errors
    /// A tensor could not be read.
    pub fn encode(
        &self,
        batches: &[T5Batch],
        mut done: impl FnMut(usize, usize),
    ) -> Result<Vec<Tensor<3>>, WeightsError> {
        let mut hidden = self.embed(batches);
        let biases = self.biases(batches);
        for index in 0..self.sizes.layers {
            let layer = Layer::load(&self.loader.at("encoder").at("block").at(index), self.sizes);
            self.loader.finish(NETWORK)?;
            for (x, batch) in hidden.iter_mut().zip(batches) {
                let length = x.dims()[1];
                let mask = batch.attend.as_ref().map(|real| padding(real, length, &x.device()));
                *x = layer.forward(x.clone(), &biases[&length], mask);
            }
            done(index + 1, self.sizes.layers);
        }
        let norm = self.loader.at("encoder").tensor("final_layer_norm.weight", [self.sizes.model]);
        self.loader.finish(NETWORK)?;
        Ok(hidden.into_iter().map(|x| rms_norm(x, norm.clone())).collect())
    }

    fn embed(&self, batches: &[T5Batch]) -> Vec<Tensor<3>> {
        let Sizes { vocabulary, model, .. } = self.sizes;
        let table = self.loader.tensor::<2>(&self.table, [vocabulary, model]);
        let embed = |batch: &T5Batch| {
            let ids = batch.ids.iter().flatten();
            let ids = ids.map(|&id| i32::try_from(id).unwrap_or(i32::MAX)).collect::<Vec<_>>();
            let (rows, all) = (batch.ids.len(), ids.len());
            let ids =
                Tensor::<1, Int>::from_data(TensorData::new(ids, [all]), self.loader.device());
            table.clone().select(0, ids).reshape([rows, all / rows.max(1), model])
        };
        batches.iter().map(embed).collect()
    }

    /// What the distance of two tokens adds to their score, `[1, heads, L, L]` in f32, for each
    /// length that occurs. All layers share it.
    fn biases(&self, batches: &[T5Batch]) -> BTreeMap<usize, Tensor<4>> {
        let Sizes { buckets, heads, .. } = self.sizes;
        let name = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
        let table = self.loader.tensor::<2>(name, [buckets, heads]).cast(FloatDType::F32);
        let lengths = batches.iter().map(|batch| batch.ids.first().map_or(0, Vec::len));
        let bias = |length: usize| {
            let mut chosen = Vec::with_capacity(length * length);
            for query in 0..length {
                chosen.extend((0..length).map(|key| bucket(query, key, buckets)));
            }
            let data = TensorData::new(chosen, [length * length]);
            let chosen = Tensor::<1, Int>::from_data(data, self.loader.device());
            let bias = table.clone().select(0, chosen).reshape([1, length, length, heads]);
            (length, bias.permute([0, 3, 1, 2]))
        };
        let lengths = lengths.collect::<std::collections::BTreeSet<_>>();
        lengths.into_iter().map(bias).collect()
    }
}

const NETWORK: &str = "T5 v1.1 text encoder";

/// The bucket of a key's distance from a query: a half for each direction; in each, single distances
/// first, then ranges that grow with the logarithm of the distance.
#[must_use]
pub fn bucket(query: usize, key: usize, buckets: usize) -> i32 {
    let half = buckets / 2;
    let exact = half / 2;
    let distance = query.abs_diff(key);
    let near = if distance < exact {
        distance
    } else {
        // In f32 as the network was trained: at the borders the rounding decides.
        let ratio = (distance as f32 / exact as f32).ln();
        let span = (MAX_DISTANCE as f64 / exact as f64).ln() as f32;
        let beyond = (ratio / span * (half - exact) as f32) as usize;
        (exact + beyond).min(half - 1)
    };
    let after = if key > query { half } else { 0 };
    i32::try_from(after + near).unwrap_or(i32::MAX)
}

/// True for the keys that no query may attend to, `[B, 1, 1, L]`.
fn padding(real: &[usize], length: usize, device: &Device) -> Tensor<4, Bool> {
    let hidden = real.iter().flat_map(|&real| (0..length).map(move |at| at >= real.max(1)));
    let data = TensorData::new(hidden.collect::<Vec<_>>(), [real.len(), 1, 1, length]);
    Tensor::from_data(data, device)
}

/// Divides by the root of the mean square, in f32, and multiplies by `weight`.
fn rms_norm(x: Tensor<3>, weight: Tensor<1>) -> Tensor<3> {
    let dtype = FloatDType::from(x.dtype());
    let x = x.cast(FloatDType::F32);
    let scale = (x.clone().square().mean_dim(2) + EPSILON).sqrt().recip();
    (x * scale).cast(dtype) * weight.unsqueeze::<3>()
}

/// One layer: attention without scaling of scores, then a gated pair of linear layers. No biases.
struct Layer {
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    o: Tensor<2>,
    norm_0: Tensor<1>,
    wi_0: Tensor<2>,
    wi_1: Tensor<2>,
    wo: Tensor<2>,
    norm_1: Tensor<1>,
    heads: usize,
}

impl Layer {
    fn shapes(sizes: Sizes) -> [(&'static str, Vec<usize>); 9] {
        let Sizes { model, inner, .. } = sizes;
        let all = sizes.heads * sizes.head;
        [
            ("layer.0.SelfAttention.q.weight", vec![all, model]),
            ("layer.0.SelfAttention.k.weight", vec![all, model]),
            ("layer.0.SelfAttention.v.weight", vec![all, model]),
            ("layer.0.SelfAttention.o.weight", vec![model, all]),
            ("layer.0.layer_norm.weight", vec![model]),
            ("layer.1.DenseReluDense.wi_0.weight", vec![inner, model]),
            ("layer.1.DenseReluDense.wi_1.weight", vec![inner, model]),
            ("layer.1.DenseReluDense.wo.weight", vec![model, inner]),
            ("layer.1.layer_norm.weight", vec![model]),
        ]
    }

    fn load(loader: &Loader, sizes: Sizes) -> Self {
        let Sizes { model, inner, .. } = sizes;
        let all = sizes.heads * sizes.head;
        let (attention, dense) =
            (loader.at("layer.0.SelfAttention"), loader.at("layer.1.DenseReluDense"));
        Self {
            q: attention.tensor("q.weight", [all, model]),
            k: attention.tensor("k.weight", [all, model]),
            v: attention.tensor("v.weight", [all, model]),
            o: attention.tensor("o.weight", [model, all]),
            norm_0: loader.tensor("layer.0.layer_norm.weight", [model]),
            wi_0: dense.tensor("wi_0.weight", [inner, model]),
            wi_1: dense.tensor("wi_1.weight", [inner, model]),
            wo: dense.tensor("wo.weight", [model, inner]),
            norm_1: loader.tensor("layer.1.layer_norm.weight", [model]),
            heads: sizes.heads,
        }
    }

    /// `x` `[B, L, C]`, `bias` `[1, heads, L, L]`, `mask` `[B, 1, 1, L]` (true is hidden).
    fn forward(&self, x: Tensor<3>, bias: &Tensor<4>, mask: Option<Tensor<4, Bool>>) -> Tensor<3> {
        let h = rms_norm(x.clone(), self.norm_0.clone());
        let x = x + self.attend(h, bias, mask);
        let h = rms_norm(x.clone(), self.norm_1.clone());
        let h = gelu_approximate(times(h.clone(), &self.wi_0)) * times(h, &self.wi_1);
        x + times(h, &self.wo)
    }

    fn attend(&self, x: Tensor<3>, bias: &Tensor<4>, mask: Option<Tensor<4, Bool>>) -> Tensor<3> {
        let [batch, length, _] = x.dims();
        let dtype = FloatDType::from(x.dtype());
        let split = |weight: &Tensor<2>| {
            let x = times(x.clone(), weight);
            let width = x.dims()[2] / self.heads;
            x.reshape([batch, length, self.heads, width]).swap_dims(1, 2)
        };
        let (q, k, v) = (split(&self.q), split(&self.k), split(&self.v));
        let mut scores = q.matmul(k.swap_dims(2, 3)).cast(FloatDType::F32) + bias.clone();
        if let Some(mask) = mask {
            scores = scores.mask_fill(mask.expand([batch, self.heads, length, length]), f32::MIN);
        }
        let x = softmax(scores, 3).cast(dtype).matmul(v).swap_dims(1, 2);
        let all = self.o.dims()[1];
        times(x.reshape([batch, length, all]), &self.o)
    }
}

fn times(x: Tensor<3>, weight: &Tensor<2>) -> Tensor<3> {
    linear(x, weight.clone().swap_dims(0, 1), None)
}
