//! A FLUX transformer out of a file, or out of random numbers.

use burn::{
    module::Param,
    tensor::{DType, Device, FloatDType, Tensor, TensorData},
};

use super::{
    config::{FluxConfig, Layout, Naming},
    double::DoubleBlock,
    embedders::{Embedders, SINUSOID},
    last::{AdaLn, LastLayer},
    layers::{Linear, Mlp, MlpEmbedder, Modulation, QkNorm, RmsNorm, SelfAttention},
    model::Flux,
    names::diffusers_places,
    single::SingleBlock,
};
use crate::{
    base::Stream,
    weights::{Checkpoint, Loader, WeightsError},
};

impl Flux {
    /// Loads the transformer of `checkpoint`, in any of the published layouts, onto `device` as
    /// `dtype` (f32 or bf16).
    ///
    /// # Errors
    /// The file is no FLUX transformer, or some of its tensors are missing, misshapen or unknown.
    pub fn load(
        checkpoint: &Checkpoint,
        device: &Device,
        dtype: FloatDType,
    ) -> Result<Self, WeightsError> {
        let (config, layout) = FluxConfig::detect(checkpoint)?;
        let loader = Loader::new(checkpoint, &layout.root, device, dtype);
        let flux = build(config, &Source::File { loader: &loader, layout: &layout });
        loader.finish("FLUX.1 transformer")?;
        Ok(flux)
    }

    /// A transformer of these sizes with random weights, the same for the same seed: normal with
    /// variance 1/in, biases small, so that a forward stays finite at any depth.
    #[must_use]
    pub fn random(config: FluxConfig, seed: u64, device: &Device, dtype: FloatDType) -> Self {
        build(config, &Source::Random { seed, device, dtype })
    }
}

/// Where weights come from.
enum Source<'a> {
    File { loader: &'a Loader<'a>, layout: &'a Layout },
    Random { seed: u64, device: &'a Device, dtype: FloatDType },
}

/// A place in the source: the top (`block` empty), or one block.
struct Place<'a> {
    source: &'a Source<'a>,
    block: Option<(&'static str, usize)>,
}

impl Place<'_> {
    /// The layer `name` (a BFL name below this place) with `parts` rows. Diffusers files keep the
    /// parts as layers of their own.
    fn linear(&self, name: &str, parts: &[usize], columns: usize) -> Linear {
        Linear {
            weight: Param::from_tensor(self.rows(name, "weight", parts, |rows| [rows, columns])),
            bias: Param::from_tensor(self.rows(name, "bias", parts, |rows| [rows])),
        }
    }

    fn mlp_embedder(&self, name: &str, columns: usize, hidden: usize) -> MlpEmbedder {
        MlpEmbedder {
            in_layer: self.linear(&format!("{name}.in_layer"), &[hidden], columns),
            out_layer: self.linear(&format!("{name}.out_layer"), &[hidden], hidden),
        }
    }

    fn qk_norm(&self, name: &str, head: usize) -> QkNorm {
        let norm = |which: &str| {
            let scale = self.rows(&format!("{name}.{which}"), "scale", &[head], |rows| [rows]);
            RmsNorm { scale: Param::from_tensor(scale) }
        };
        QkNorm { query_norm: norm("query_norm"), key_norm: norm("key_norm") }
    }

    /// The rows of the parameter `field` of layer `name`, out of one tensor or out of one per part.
    fn rows<const D: usize>(
        &self,
        name: &str,
        field: &str,
        parts: &[usize],
        shape: impl Fn(usize) -> [usize; D],
    ) -> Tensor<D> {
        let all = parts.iter().sum();
        match self.source {
            Source::File { loader, layout } if layout.naming == Naming::Bfl => {
                let block = self.block.map(|(kind, index)| format!("{kind}.{index}."));
                let name = format!("{}{name}.{field}", block.unwrap_or_default());
                loader.tensor(&name, shape(all))
            }
            Source::File { loader, .. } => {
                let kind = |kind| match kind {
                    "double_blocks" => "transformer_blocks",
                    _ => "single_transformer_blocks",
                };
                let block = self.block.map(|(name, index)| format!("{}.{index}.", kind(name)));
                let block = block.unwrap_or_default();
                let field = if field == "scale" { "weight" } else { field };
                let tensors =
                    diffusers_places(name).into_iter().zip(parts).map(|(place, &rows)| {
                        loader.tensor(&format!("{block}{place}.{field}"), shape(rows))
                    });
                Tensor::cat(tensors.collect(), 0)
            }
            Source::Random { seed, device, dtype } => {
                let block = self.block.map(|(kind, index)| format!("{kind}.{index}."));
                let name = format!("{}{name}.{field}", block.unwrap_or_default());
                let shape = shape(all);
                random(&name, *seed, shape, device).cast(*dtype)
            }
        }
    }

    fn swaps_last_layer(&self) -> bool {
        matches!(self.source, Source::File { layout, .. } if layout.naming == Naming::Diffusers)
    }
}

fn random<const D: usize>(name: &str, seed: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
    let mut values = Stream::new(seed, name, None, &[]).normals(shape.iter().product());
    let (offset, size) = match name.rsplit('.').next() {
        Some("scale") => (1.0, 0.1),
        Some("bias") => (0.0, 0.02),
        _ => (0.0, 1.0 / (shape[D - 1] as f32).sqrt()),
    };
    values.iter_mut().for_each(|value| *value = offset + size * *value);
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
}

fn build(config: FluxConfig, source: &Source<'_>) -> Flux {
    let top = Place { source, block: None };
    let place = |kind, index| Place { source, block: Some((kind, index)) };
    let hidden = config.hidden_size;
    let ada_ln = top.linear("final_layer.adaLN_modulation.1", &[2 * hidden], hidden);
    Flux {
        embedders: Embedders {
            img_in: top.linear("img_in", &[hidden], config.in_channels),
            txt_in: top.linear("txt_in", &[hidden], config.context_in_dim),
            time_in: top.mlp_embedder("time_in", SINUSOID, hidden),
            vector_in: top.mlp_embedder("vector_in", config.vec_in_dim, hidden),
            guidance_in: config
                .guidance_embed
                .then(|| top.mlp_embedder("guidance_in", SINUSOID, hidden)),
        },
        double_blocks: (0..config.depth)
            .map(|index| double_block(&place("double_blocks", index), &config))
            .collect(),
        single_blocks: (0..config.depth_single_blocks)
            .map(|index| single_block(&place("single_blocks", index), &config))
            .collect(),
        final_layer: LastLayer {
            linear: top.linear("final_layer.linear", &[config.out_channels], hidden),
            ada_ln_modulation: AdaLn {
                layer_1: if top.swaps_last_layer() { swap_halves(&ada_ln) } else { ada_ln },
            },
        },
        config,
    }
}

fn double_block(place: &Place<'_>, config: &FluxConfig) -> DoubleBlock {
    let (hidden, mlp) = (config.hidden_size, config.mlp_size);
    let modulation = |side: &str| Modulation {
        lin: place.linear(&format!("{side}_mod.lin"), &[6 * hidden], hidden),
    };
    let attn = |side: &str| SelfAttention {
        qkv: place.linear(&format!("{side}_attn.qkv"), &[hidden; 3], hidden),
        norm: place.qk_norm(&format!("{side}_attn.norm"), config.head()),
        proj: place.linear(&format!("{side}_attn.proj"), &[hidden], hidden),
    };
    let mlp = |side: &str| Mlp {
        layer_0: place.linear(&format!("{side}_mlp.0"), &[mlp], hidden),
        layer_2: place.linear(&format!("{side}_mlp.2"), &[hidden], mlp),
    };
    DoubleBlock {
        img_mod: modulation("img"),
        img_attn: attn("img"),
        img_mlp: mlp("img"),
        txt_mod: modulation("txt"),
        txt_attn: attn("txt"),
        txt_mlp: mlp("txt"),
    }
}

fn single_block(place: &Place<'_>, config: &FluxConfig) -> SingleBlock {
    let (hidden, mlp) = (config.hidden_size, config.mlp_size);
    SingleBlock {
        linear1: place.linear("linear1", &[hidden, hidden, hidden, mlp], hidden),
        linear2: place.linear("linear2", &[hidden], hidden + mlp),
        norm: place.qk_norm("norm", config.head()),
        modulation: Modulation { lin: place.linear("modulation.lin", &[3 * hidden], hidden) },
    }
}

/// Diffusers keeps the final modulation as scale, shift; BFL as shift, scale.
fn swap_halves(linear: &Linear) -> Linear {
    fn swapped<const D: usize>(rows: Tensor<D>) -> Tensor<D> {
        let half = rows.dims()[0] / 2;
        Tensor::cat(vec![rows.clone().narrow(0, half, half), rows.narrow(0, 0, half)], 0)
    }
    Linear {
        weight: Param::from_tensor(swapped(linear.weight.val())),
        bias: Param::from_tensor(swapped(linear.bias.val())),
    }
}
