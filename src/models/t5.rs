//! The T5 v1.1 text encoder, one layer in memory at a time.
//!
//! T5-XXL has 4.7 billion parameters and is needed once per caption, so it is not held whole: all
//! texts of a set go through layer 0, then through layer 1, and so on, and each layer's weights are
//! dropped before the next are read. Of the table of embeddings only the rows that occur are read. So
//! memory is one layer, the hidden states of the set, and what one group of rows makes within a layer.
//! Where there is room, layers can stay for the next sets ([`T5Stream::keep_layers`]).
//!
//! The rows of several texts are multiplied together, whatever the lengths of the texts, and attention
//! is computed text by text: no text is padded for another's sake, and none changes another's numbers.

use std::cell::OnceCell;

use burn::tensor::{FloatDType, Tensor, TensorData};

use super::{layers::weight_for_many_rows, tokenizer::T5Tokenizer};
use crate::{
    device::kernels::{self, Activation, gated_gelu, rms_norm},
    weights::{Loader, WeightsError},
};

/// Distances from here on share the last bucket.
const MAX_DISTANCE: usize = 128;
const EPSILON: f64 = 1e-6;

/// Rows (tokens) that go through a layer together: of wide products some thousand are as quick as any
/// number, and what a layer makes of them on the way takes 0.3 GB in T5-XXL.
const ROWS: usize = 2048;
/// Bytes of the hidden states of a set, in f32.
const STATES: usize = 256 << 20;
/// Products of fewer rows may be computed in another order, so there are never fewer.
const FEWEST_ROWS: usize = 32;

/// Of texts of so many rows in all: how many go through a layer together, and how many are in a set, for
/// hidden states of this width.
#[must_use]
pub fn rows(all: u64, width: u64) -> (u64, u64) {
    let set = (STATES as u64 / (4 * width.max(1))).min(all);
    (set.min(ROWS as u64), set)
}

/// One text.
#[derive(Clone, Debug)]
pub struct T5Text {
    /// Ids `[L]` (at least one), padding included, all below the vocabulary's size.
    pub ids: Vec<u32>,
    /// How many leading ids may be attended to (at least one); `None` is all of them, padding
    /// included, as FLUX.1 was trained.
    pub attend: Option<usize>,
}

/// A T5 encoder whose weights stay in their file.
pub struct T5Stream<'a> {
    loader: Loader<'a>,
    table: String,
    sizes: Sizes,
    /// The first layers, which stay once they are read.
    kept: Vec<OnceCell<Layer>>,
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
        Ok(Self { loader, table, sizes, kept: Vec::new() })
    }

    /// Lets the first `layers` (or all, if there are fewer) stay on the device once they are read, 0.77 GB
    /// each in T5-XXL in f32: sets after the first do not read them again. The numbers are the same.
    #[must_use]
    pub fn keep_layers(mut self, layers: usize) -> Self {
        self.kept.resize_with(layers.min(self.sizes.layers), OnceCell::new);
        self
    }

    /// Width of the hidden states, 4096 in T5-XXL.
    #[must_use]
    pub fn width(&self) -> usize {
        self.sizes.model
    }

    /// How many rows (tokens, padding included) a set should have: their hidden states take 256 MB, which
    /// is 32 texts of 512 tokens in T5-XXL. Each layer is then read from the file once in so many, which
    /// costs little beside the work on them.
    #[must_use]
    pub fn rows_of_set(&self) -> usize {
        (STATES / (size_of::<f32>() * self.sizes.model)).max(1)
    }

    /// Encodes a set of texts to `[L, 4096]` each, in order. `go_on` is asked after each layer, with the
    /// number of layers behind and in all; where it says no, there is no result. The numbers of a text do
    /// not depend on the others.
    ///
    /// # Errors
    /// A tensor could not be read.
    pub fn encode(
        &self,
        texts: &[T5Text],
        mut go_on: impl FnMut(usize, usize) -> bool,
    ) -> Result<Option<Vec<Tensor<2>>>, WeightsError> {
        let groups = groups(texts);
        let mut hidden = groups.iter().map(|group| self.embed(group)).collect::<Vec<_>>();
        let bias = self.bias(texts.iter().map(|text| text.ids.len()).max().unwrap_or(0));
        for index in 0..self.sizes.layers {
            let layer = self.layer(index)?;
            hidden = hidden
                .into_iter()
                .zip(&groups)
                .map(|(x, group)| layer.forward(x, group, &bias))
                .collect();
            if !go_on(index + 1, self.sizes.layers) {
                return Ok(None);
            }
        }
        let norm = self.loader.at("encoder").tensor("final_layer_norm.weight", [self.sizes.model]);
        self.loader.finish(NETWORK)?;
        let mut encoded = Vec::with_capacity(texts.len());
        for (x, group) in hidden.into_iter().zip(groups) {
            let x = rms_norm(x, norm.clone(), EPSILON);
            let mut first = 0;
            for text in group {
                let length = text.ids.len();
                encoded.push(x.clone().narrow(0, first, length));
                first += length;
            }
        }
        Ok(Some(encoded))
    }

    /// The layer `index`, out of the file or as it was kept.
    fn layer(&self, index: usize) -> Result<Layer, WeightsError> {
        let place = self.kept.get(index);
        if let Some(layer) = place.and_then(OnceCell::get) {
            return Ok(layer.clone());
        }
        let layer = Layer::load(&self.loader.at("encoder").at("block").at(index), self.sizes);
        self.loader.finish(NETWORK)?;
        Ok(match place {
            Some(place) => place.get_or_init(|| layer).clone(),
            None => layer,
        })
    }

    /// Vectors of all ids of a group, `[rows, C]`, and of padding where there are too few.
    fn embed(&self, group: &[T5Text]) -> Tensor<2> {
        let mut ids = group.iter().flat_map(|text| text.ids.iter().copied()).collect::<Vec<_>>();
        ids.resize(ids.len().max(FEWEST_ROWS), 0);
        self.loader.rows(&self.table, [self.sizes.vocabulary, self.sizes.model], &ids)
    }

    /// What the distance of two tokens adds to their score, `[1, heads, L, L]` in f32. All layers share
    /// it, and since only distances count, its corner is that of a shorter text.
    fn bias(&self, length: usize) -> Tensor<4> {
        let Sizes { buckets, heads, .. } = self.sizes;
        let name = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
        let all = (0..u32::try_from(buckets).unwrap_or(0)).collect::<Vec<_>>();
        let table = self.loader.rows(name, [buckets, heads], &all).cast(FloatDType::F32);
        let table = table.into_data().iter::<f32>().collect::<Vec<_>>();
        let mut values = Vec::with_capacity(heads * length * length);
        for head in 0..heads {
            // By `key - query + length - 1`.
            let distances = (0..2 * length).map(|place| {
                let (query, key) =
                    (length.saturating_sub(place + 1), (place + 1).saturating_sub(length));
                table[bucket(query, key, buckets) as usize * heads + head]
            });
            let distances = distances.collect::<Vec<_>>();
            for query in 0..length {
                values.extend_from_slice(&distances[length - 1 - query..][..length]);
            }
        }
        let data = TensorData::new(values, [1, heads, length, length]);
        Tensor::from_data(data, self.loader.device())
    }
}

/// Parts of the set, of [`ROWS`] rows at most where one text has no more.
fn groups(texts: &[T5Text]) -> Vec<&[T5Text]> {
    let mut groups = Vec::new();
    let (mut first, mut rows) = (0, 0);
    for (index, text) in texts.iter().enumerate() {
        if index > first && rows + text.ids.len() > ROWS {
            groups.push(&texts[first..index]);
            (first, rows) = (index, 0);
        }
        rows += text.ids.len();
    }
    if first < texts.len() {
        groups.push(&texts[first..]);
    }
    groups
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

/// One layer: attention without scaling of scores, then a gated pair of linear layers. No biases.
#[derive(Clone)]
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
        let wide = weight_for_many_rows;
        Self {
            q: wide(&attention, "q.weight", [all, model]),
            k: wide(&attention, "k.weight", [all, model]),
            v: wide(&attention, "v.weight", [all, model]),
            o: wide(&attention, "o.weight", [model, all]),
            norm_0: loader.tensor("layer.0.layer_norm.weight", [model]),
            wi_0: wide(&dense, "wi_0.weight", [inner, model]),
            wi_1: wide(&dense, "wi_1.weight", [inner, model]),
            wo: wide(&dense, "wo.weight", [model, inner]),
            norm_1: loader.tensor("layer.1.layer_norm.weight", [model]),
            heads: sizes.heads,
        }
    }

    /// `x` `[rows, C]` of the texts of a group, `bias` `[1, heads, L, L]`.
    fn forward(&self, x: Tensor<2>, group: &[T5Text], bias: &Tensor<4>) -> Tensor<2> {
        let h = rms_norm(x.clone(), self.norm_0.clone(), EPSILON);
        let attended = self.attend(h, group, bias);
        let x = kernels::linear_onto(x, attended, self.o.clone(), None);
        let h = rms_norm(x.clone(), self.norm_1.clone(), EPSILON);
        let h = gated_gelu(times(&h, &self.wi_0), times(&h, &self.wi_1));
        kernels::linear_onto(x, h, self.wo.clone(), None)
    }

    fn attend(&self, x: Tensor<2>, group: &[T5Text], bias: &Tensor<4>) -> Tensor<2> {
        let joint = [times(&x, &self.q), times(&x, &self.k), times(&x, &self.v)];
        let [rows, all] = joint[0].dims();
        let (mut parts, mut first) = (Vec::new(), 0);
        // Neighbours of one length and without a mask are one computation.
        let alike = |a: &T5Text, b: &T5Text| {
            a.ids.len() == b.ids.len() && a.attend.is_none() && b.attend.is_none()
        };
        for texts in group.chunk_by(alike) {
            let (count, length) = (texts.len(), texts[0].ids.len());
            let heads = |x: &Tensor<2>| {
                let shape = [count, length, self.heads, all / self.heads];
                x.clone().narrow(0, first, count * length).reshape(shape).swap_dims(1, 2)
            };
            let seen = texts[0].attend.map_or(length, |real| real.clamp(1, length));
            let [q, k, v] = joint.each_ref().map(heads);
            let [k, v] = [k, v].map(|x| x.narrow(2, 0, seen));
            let bias = bias.clone().narrow(2, 0, length).narrow(3, 0, seen);
            let x = kernels::attention(q, k, v, Some(bias), 1.0);
            parts.push(x.swap_dims(1, 2).reshape([count * length, all]));
            first += count * length;
        }
        if first < rows {
            parts.push(Tensor::zeros([rows - first, all], (&x.device(), x.dtype())));
        }
        if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, 0) }
    }
}

fn times(x: &Tensor<2>, weight: &Tensor<2>) -> Tensor<2> {
    kernels::linear(x.clone(), weight.clone(), None, Activation::None)
}
