//! A checkpoint written by `finetune` is what other programs read: under the names and in the shapes and
//! types of the published files, and with the same numbers to the diffusers library.

mod diffusers;
mod published;

use std::{collections::BTreeMap, fs::File, path::PathBuf};

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Device, FloatDType, Tensor},
};
use fluxpipe::{
    models::flux::{Flux, FluxConfig, checkpoint_name},
    weights::{Checkpoint, Dtype, Entry, Writer},
};

use crate::{Project, project::networks};

const MANIFEST: &str = r#"
[project]
name = "tuned"
output = "out"
device = "cpu"

[models]
ae = "MODELS/ae.safetensors"
clip_l = "MODELS/clip_l.safetensors"
t5xxl = "MODELS/t5xxl.safetensors"
flux = "flux.safetensors"

[[dataset]]
image_dir = "pictures"
resolution = 64
min_bucket_reso = 32
bucket_reso_steps = 16

[stages.merge]

[stages.cache]
t5xxl_max_token_length = 16

[stages.finetune]
learning_rate = 1e-2
max_train_epochs = 2
"#;

/// A project with a fine-tuned small transformer.
struct Tuned {
    project: Project,
    /// Sizes of the transformer.
    config: FluxConfig,
}

impl Tuned {
    /// Trains a transformer of which no two sizes are equal, for the small text encoders.
    fn new(guidance_embed: bool) -> Self {
        let project = Project::with_manifest(MANIFEST);
        project.photograph("coffee.webp", "pictures/coffee.webp");
        project.file("pictures/coffee.caption", "a cup of coffee");
        let small = Checkpoint::open(&networks().join("flux1-dev.safetensors")).unwrap();
        let (small, _) = FluxConfig::detect(&small).unwrap();
        let config = FluxConfig {
            hidden_size: 80,
            // The diffusers library knows no other ratio.
            mlp_size: 4 * 80,
            num_heads: 4,
            axes_dim: FluxConfig::axes_of_head(20),
            depth: 2,
            depth_single_blocks: 3,
            guidance_embed,
            ..small
        };
        write(&config, project.path("flux.safetensors"));
        project.run().exits(0);
        Self { project, config }
    }

    /// The file as it was before.
    fn untrained(&self) -> Checkpoint {
        Checkpoint::open(&self.project.path("flux.safetensors")).unwrap()
    }

    /// Where the result lies.
    fn path(&self) -> PathBuf {
        self.project.path("out/tuned.safetensors")
    }

    /// The result.
    fn checkpoint(&self) -> Checkpoint {
        Checkpoint::open(&self.path()).unwrap()
    }
}

/// Writes random weights under the published names, as bf16.
fn write(config: &FluxConfig, path: PathBuf) {
    let flux = Flux::random(config.clone(), 5, &Device::flex(), FloatDType::F32);
    let values = Weights::of(&flux);
    let entries = config.parameters().into_iter();
    let entries = entries.map(|(name, shape)| Entry { name, dtype: Dtype::BF16, shape });
    let entries = entries.collect::<Vec<_>>();
    let mut writer = Writer::new(File::create(path).unwrap(), &entries, &BTreeMap::new()).unwrap();
    for entry in &entries {
        writer.tensor(&Dtype::BF16.encode(&values[&entry.name]).unwrap()).unwrap();
    }
    writer.finish().unwrap();
}

/// The values of a network's parameters by checkpoint name.
#[derive(Default)]
struct Weights {
    path: Vec<String>,
    values: BTreeMap<String, Vec<f32>>,
}

impl Weights {
    fn of(flux: &Flux) -> BTreeMap<String, Vec<f32>> {
        let mut weights = Self::default();
        flux.visit(&mut weights);
        weights.values
    }
}

impl ModuleVisitor for Weights {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let values = parameter.val().try_into_vec_as::<f32>().unwrap();
        self.values.insert(checkpoint_name(&self.path), values);
    }
}
