//! A FLUX transformer out of a file, or out of random numbers.

use std::{cell::RefCell, collections::BTreeMap};

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{DType, Device, FloatDType, Tensor, TensorData},
};

use super::{
    config::{FluxConfig, Layout, Naming},
    double::DoubleBlock,
    embedders::{Embedders, SINUSOID},
    last::{AdaLn, LastLayer},
    layers::{Linear, Mlp, MlpEmbedder, Modulation, QkNorm, RmsNorm, SelfAttention},
    model::Flux,
    names::{checkpoint_name, diffusers_places},
    single::SingleBlock,
};
use crate::{
    base::Stream,
    device,
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
        let parts = FluxParts::open(checkpoint, device, dtype)?;
        let flux = parts.all();
        parts.finish()?;
        Ok(flux)
    }

    /// A transformer of these sizes with random weights, the same for the same seed: normal with
    /// variance 1/in, biases small, so that a forward stays finite at any depth.
    #[must_use]
    pub fn random(config: FluxConfig, seed: u64, device: &Device, dtype: FloatDType) -> Self {
        FluxParts::random(config, seed, device, dtype).all()
    }
}

/// The parts of a transformer, made one at a time: who needs no more than one at once never holds the
/// whole.
pub struct FluxParts<'a> {
    /// Sizes.
    pub config: FluxConfig,
    source: Source<'a>,
}

impl<'a> FluxParts<'a> {
    /// The parts of the transformer in `checkpoint`, in any of the published layouts. They arrive on
    /// `device` as `dtype` (f32 or bf16). Nothing but headers is read yet.
    ///
    /// # Errors
    /// The file is no FLUX transformer, or some of its tensors are missing, misshapen or unknown: all of
    /// them are named.
    pub fn open(
        checkpoint: &'a Checkpoint,
        device: &Device,
        dtype: FloatDType,
    ) -> Result<Self, WeightsError> {
        let (config, layout) = FluxConfig::detect(checkpoint)?;
        Self::audited(config, layout, checkpoint, device, dtype)
    }

    /// The same of a file that must have the sizes `config`.
    ///
    /// # Errors
    /// As [`FluxParts::open`].
    pub fn open_as(
        config: FluxConfig,
        checkpoint: &'a Checkpoint,
        device: &Device,
        dtype: FloatDType,
    ) -> Result<Self, WeightsError> {
        let (_, layout) = FluxConfig::detect(checkpoint)?;
        Self::audited(config, layout, checkpoint, device, dtype)
    }

    fn audited(
        config: FluxConfig,
        layout: Layout,
        checkpoint: &'a Checkpoint,
        device: &Device,
        dtype: FloatDType,
    ) -> Result<Self, WeightsError> {
        let loader = Loader::new(checkpoint, &layout.root, &device::cpu(), dtype);
        let source = Source::Audit { loader, layout: layout.clone() };
        let audit = Self { config: config.clone(), source };
        drop(audit.all());
        audit.finish()?;
        let loader = Loader::new(checkpoint, &layout.root, device, dtype);
        Ok(Self { config, source: Source::File { loader, layout } })
    }

    /// FluxParts with random weights, the same for the same seed: see [`Flux::random`].
    #[must_use]
    pub fn random(config: FluxConfig, seed: u64, device: &Device, dtype: FloatDType) -> Self {
        let (device, period) = (device.clone(), usize::MAX);
        Self { config, source: Source::Random { seed, device, dtype, period } }
    }

    /// The same for measurements: each tensor repeats its first million values, so that the 12 billion
    /// of FLUX.1 are there in less than two minutes.
    #[must_use]
    pub fn repeating(config: FluxConfig, seed: u64, device: &Device, dtype: FloatDType) -> Self {
        let (device, period) = (device.clone(), 1_000_003);
        Self { config, source: Source::Random { seed, device, dtype, period } }
    }

    /// FluxParts without values: what is there, and how it is called.
    #[must_use]
    pub fn empty(config: FluxConfig) -> FluxParts<'static> {
        FluxParts { config, source: Source::Shapes(RefCell::default()) }
    }

    /// The layers that bring the inputs to the hidden width.
    #[must_use]
    pub fn embedders(&self) -> Embedders {
        let (top, hidden) = (Place { source: &self.source, block: None }, self.config.hidden_size);
        Embedders {
            img_in: top.linear("img_in", &[hidden], self.config.in_channels),
            txt_in: top.linear("txt_in", &[hidden], self.config.context_in_dim),
            time_in: top.mlp_embedder("time_in", SINUSOID, hidden),
            vector_in: top.mlp_embedder("vector_in", self.config.vec_in_dim, hidden),
            guidance_in: self
                .config
                .guidance_embed
                .then(|| top.mlp_embedder("guidance_in", SINUSOID, hidden)),
        }
    }

    /// The double block `index`.
    #[must_use]
    pub fn double_block(&self, index: usize) -> DoubleBlock {
        let block = Some(("double_blocks", index));
        double_block(&Place { source: &self.source, block }, &self.config)
    }

    /// The single block `index`.
    #[must_use]
    pub fn single_block(&self, index: usize) -> SingleBlock {
        let block = Some(("single_blocks", index));
        single_block(&Place { source: &self.source, block }, &self.config)
    }

    /// The last layer.
    #[must_use]
    pub fn last_layer(&self) -> LastLayer {
        let (top, hidden) = (Place { source: &self.source, block: None }, self.config.hidden_size);
        let ada_ln = top.linear("final_layer.adaLN_modulation.1", &[2 * hidden], hidden);
        LastLayer {
            linear: top.linear("final_layer.linear", &[self.config.out_channels], hidden),
            ada_ln_modulation: AdaLn {
                layer_1: if top.swaps_last_layer() { swap_halves(&ada_ln) } else { ada_ln },
            },
        }
    }

    /// To be called after all parts were made.
    ///
    /// # Errors
    /// A tensor could not be read.
    pub fn finish(&self) -> Result<(), WeightsError> {
        match &self.source {
            Source::Audit { loader, .. } | Source::File { loader, .. } => loader.finish(NETWORK),
            Source::Shapes(_) | Source::Random { .. } => Ok(()),
        }
    }

    fn all(&self) -> Flux {
        Flux {
            embedders: self.embedders(),
            double_blocks: (0..self.config.depth).map(|index| self.double_block(index)).collect(),
            single_blocks: (0..self.config.depth_single_blocks)
                .map(|index| self.single_block(index))
                .collect(),
            final_layer: self.last_layer(),
            config: self.config.clone(),
        }
    }
}

impl FluxConfig {
    /// The names and shapes of all parameters, in the order in which [`Flux`] holds them.
    #[must_use]
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let parts = FluxParts::empty(self.clone());
        let mut names = Names::default();
        parts.all().visit(&mut names);
        let Source::Shapes(shapes) = parts.source else { unreachable!("it was made of these") };
        let mut shapes = shapes.into_inner();
        let shape = |name: &String| shapes.remove(name).unwrap_or_default();
        let shapes = names.found.iter().map(shape).collect::<Vec<_>>();
        names.found.into_iter().zip(shapes).collect()
    }
}

/// Notes the names of parameters.
#[derive(Default)]
struct Names {
    path: Vec<String>,
    found: Vec<String>,
}

impl ModuleVisitor for Names {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, _parameter: &Param<Tensor<D>>) {
        self.found.push(checkpoint_name(&self.path));
    }
}

const NETWORK: &str = "FLUX.1 transformer";

/// Where weights come from.
enum Source<'a> {
    /// From nowhere: the parts are empty, and the shapes that were asked for are noted.
    Shapes(RefCell<BTreeMap<String, Vec<usize>>>),
    /// The file is only looked through; the parts are empty.
    Audit {
        loader: Loader<'a>,
        layout: Layout,
    },
    File {
        loader: Loader<'a>,
        layout: Layout,
    },
    /// No more than `period` values are drawn for a tensor, and then come again.
    Random {
        seed: u64,
        device: Device,
        dtype: FloatDType,
        period: usize,
    },
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
        match self.source {
            Source::Shapes(shapes) => {
                let name = format!("{}{name}.{field}", self.prefix());
                shapes.borrow_mut().insert(name, shape(parts.iter().sum()).to_vec());
                Tensor::zeros([0; D], &device::cpu())
            }
            Source::Audit { loader, layout } => {
                for (name, rows) in self.stored(layout.naming, name, field, parts) {
                    loader.expect(&name, &shape(rows));
                }
                Tensor::zeros([0; D], &device::cpu())
            }
            Source::File { loader, layout } => {
                let stored = self.stored(layout.naming, name, field, parts).into_iter();
                let mut tensors = stored.map(|(name, rows)| loader.tensor(&name, shape(rows)));
                match (tensors.next(), tensors.next()) {
                    (Some(only), None) => only,
                    (first, second) => {
                        Tensor::cat(first.into_iter().chain(second).chain(tensors).collect(), 0)
                    }
                }
            }
            Source::Random { seed, device, dtype, period } => {
                let name = format!("{}{name}.{field}", self.prefix());
                let values = random(&name, *seed, shape(parts.iter().sum()), *period);
                Tensor::<D>::from_data(values, (device, DType::F32)).cast(*dtype)
            }
        }
    }

    /// What stands before the published names of this place.
    fn prefix(&self) -> String {
        self.block.map(|(kind, index)| format!("{kind}.{index}.")).unwrap_or_default()
    }

    /// The tensors of a file that hold the rows of a parameter, in order, with the rows of each.
    fn stored(
        &self,
        naming: Naming,
        name: &str,
        field: &str,
        parts: &[usize],
    ) -> Vec<(String, usize)> {
        if naming == Naming::Bfl {
            let name = format!("{}{name}.{field}", self.prefix());
            return vec![(name, parts.iter().sum())];
        }
        let kind = |kind| match kind {
            "double_blocks" => "transformer_blocks",
            _ => "single_transformer_blocks",
        };
        let block = self.block.map(|(name, index)| format!("{}.{index}.", kind(name)));
        let block = block.unwrap_or_default();
        let field = if field == "scale" { "weight" } else { field };
        let places = diffusers_places(name).into_iter().zip(parts);
        places.map(|(place, &rows)| (format!("{block}{place}.{field}"), rows)).collect()
    }

    fn swaps_last_layer(&self) -> bool {
        matches!(self.source, Source::File { layout, .. } if layout.naming == Naming::Diffusers)
    }
}

fn random<const D: usize>(name: &str, seed: u64, shape: [usize; D], period: usize) -> TensorData {
    let count = shape.iter().product::<usize>();
    let mut values = Stream::new(seed, name, None, &[]).normals(count.min(period));
    let (offset, size) = match name.rsplit('.').next() {
        Some("scale") => (1.0, 0.1),
        Some("bias") => (0.0, 0.02),
        _ => (0.0, 1.0 / (shape[D - 1] as f32).sqrt()),
    };
    values.iter_mut().for_each(|value| *value = offset + size * *value);
    while values.len() < count {
        values.extend_from_within(..period.min(count - values.len()));
    }
    TensorData::new(values, shape)
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
