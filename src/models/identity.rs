//! Which networks a checkpoint holds, by the names and shapes of its tensors, and where in it they are.
//!
//! People have a network in a file of its own, or several of a pipeline in one file, each below a prefix.
//! A file is said to be another network's before its hundreds of tensors are listed as missing.

use crate::{
    base::plural,
    weights::{Checkpoint, WeightsError},
};

/// A network in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// What [models] in a manifest calls it.
    pub role: &'static str,
    /// In words: `FLUX.1 dev transformer`.
    pub name: String,
    /// Its size, in the words of its family.
    pub size: String,
    /// Whose tensor names it has, where there are several.
    pub names: Option<String>,
    /// What stands before the names of all its tensors: empty in a file of its own.
    pub prefix: &'static str,
    /// Why it cannot be loaded as it is, and what to take instead.
    pub refused: Option<&'static str>,
}

/// What the programs that put several networks into one file write before the names of each.
const PREFIXES: &[&str] = &[
    "",
    "model.diffusion_model.",
    "model.",
    "first_stage_model.",
    "vae.",
    "text_encoders.clip_l.transformer.",
    "text_encoders.clip_l.",
    "clip_l.transformer.",
    "clip_l.",
    "cond_stage_model.transformer.",
    "conditioner.embedders.0.transformer.",
    "text_encoders.t5xxl.transformer.",
    "text_encoders.t5xxl.",
    "t5xxl.transformer.",
    "t5xxl.",
];

/// All networks of the file that fluxpipe works with, and their closest relatives.
#[must_use]
pub fn networks(checkpoint: &Checkpoint) -> Vec<Network> {
    let found = PREFIXES.iter().filter_map(|prefix| {
        let tensors = Tensors { checkpoint, prefix };
        let found =
            FAMILIES.iter().find(|family| family.marks.iter().all(|mark| tensors.has(mark)))?;
        let mut network = (found.describe)(&tensors);
        network.prefix = prefix;
        if !prefix.is_empty() {
            let names = network.names.map_or_else(String::new, |names| format!("{names}, "));
            network.names = Some(format!("{names}with the prefix `{prefix}`"));
        }
        Some(network)
    });
    found.collect()
}

/// The prefix of the network with this role (as [models] calls it), to be loaded from there.
///
/// # Errors
/// The file holds other networks alone, or this one as it cannot be loaded. Of a file in which none is
/// recognised the prefix is empty: the audit of the network tells what is missing.
pub fn prefix(checkpoint: &Checkpoint, role: &str) -> Result<&'static str, WeightsError> {
    let networks = networks(checkpoint);
    let other = |found: String, help: String| {
        let path = checkpoint.path().to_owned();
        WeightsError::Other { path, found, help }
    };
    match networks.iter().find(|network| network.role == role) {
        Some(Network { prefix, refused: None, .. }) => Ok(prefix),
        Some(Network { name, refused: Some(reason), .. }) => {
            let help = format!("take another file for {role} in [models]");
            Err(other(format!("a {name}, {reason}"), help))
        }
        None if networks.is_empty() => Ok(""),
        None => {
            let names = networks.iter().map(|network| format!("a {}", network.name));
            let names = names.collect::<Vec<_>>().join(" and ");
            let named = networks.iter().map(|network| format!("{} =", network.role));
            let named = named.collect::<Vec<_>>().join(" or ");
            let help =
                format!("{role} in [models] names another network: the file belongs to {named}");
            Err(other(format!("{names}, not what {role} names"), help))
        }
    }
}

/// A family of networks: tensors that all of it have, and how to describe one.
struct Family {
    marks: &'static [&'static str],
    describe: fn(&Tensors<'_>) -> Network,
}

const FAMILIES: &[Family] = &[
    Family { marks: &["double_blocks.0.img_attn.qkv.weight", "img_in.weight"], describe: flux },
    Family {
        marks: &["transformer_blocks.0.attn.add_q_proj.weight", "x_embedder.weight"],
        describe: flux_diffusers,
    },
    Family {
        marks: &["decoder.conv_in.weight", "decoder.mid.block_1.norm1.weight"],
        describe: autoencoder,
    },
    Family {
        marks: &["encoder.conv_in.weight", "encoder.mid.block_1.norm1.weight"],
        describe: autoencoder,
    },
    Family {
        marks: &["encoder.conv_in.weight", "encoder.mid_block.resnets.0.norm1.weight"],
        describe: autoencoder_diffusers,
    },
    Family { marks: &["text_model.embeddings.token_embedding.weight"], describe: clip },
    Family { marks: &["encoder.block.0.layer.0.SelfAttention.q.weight"], describe: t5 },
    Family {
        marks: &[
            "visual_encoder.patch_embed.proj.weight",
            "text_decoder.bert.embeddings.word_embeddings.weight",
        ],
        describe: blip,
    },
    Family {
        marks: &[
            "vision_model.embeddings.patch_embedding.weight",
            "text_decoder.bert.embeddings.word_embeddings.weight",
        ],
        describe: blip_transformers,
    },
];

impl Network {
    fn of(role: &'static str) -> Self {
        let (name, size) = (String::new(), String::new());
        Self { role, name, size, names: None, prefix: "", refused: None }
    }
}

struct Tensors<'a> {
    checkpoint: &'a Checkpoint,
    prefix: &'a str,
}

impl Tensors<'_> {
    fn has(&self, name: &str) -> bool {
        self.checkpoint.info(&format!("{}{name}", self.prefix)).is_some()
    }

    /// One size of a tensor; 0 where there is no such tensor or dimension.
    fn size(&self, name: &str, dimension: usize) -> usize {
        let info = self.checkpoint.info(&format!("{}{name}", self.prefix));
        info.and_then(|info| info.shape.get(dimension)).copied().unwrap_or(0)
    }

    /// How many of `{stem}.0.…`, `{stem}.1.…` there are.
    fn count(&self, stem: &str) -> usize {
        let begin = format!("{}{stem}.", self.prefix);
        let numbers = self
            .checkpoint
            .names()
            .filter_map(|name| name.strip_prefix(&begin)?.split('.').next()?.parse::<usize>().ok());
        numbers.max().map_or(0, |last| last + 1)
    }
}

fn flux(tensors: &Tensors<'_>) -> Network {
    let guided = tensors.has("guidance_in.in_layer.weight");
    let head = tensors.size("double_blocks.0.img_attn.norm.query_norm.scale", 0);
    let width = tensors.size("img_in.weight", 0);
    flux_network(
        guided,
        tensors.count("double_blocks"),
        tensors.count("single_blocks"),
        width,
        head,
        "BFL",
    )
}

fn flux_diffusers(tensors: &Tensors<'_>) -> Network {
    let guided = tensors.has("time_text_embed.guidance_embedder.linear_1.weight");
    let (double, single) =
        (tensors.count("transformer_blocks"), tensors.count("single_transformer_blocks"));
    let head = tensors.size("transformer_blocks.0.attn.norm_q.weight", 0);
    flux_network(guided, double, single, tensors.size("x_embedder.weight", 0), head, "diffusers")
}

fn flux_network(
    guided: bool,
    double: usize,
    single: usize,
    width: usize,
    head: usize,
    names: &str,
) -> Network {
    // Only the distilled dev model takes the guidance as an input.
    let variant = if guided { "dev" } else { "schnell" };
    let heads = width.checked_div(head).unwrap_or(0);
    Network {
        name: format!("FLUX.1 {variant} transformer"),
        size: format!(
            "{double} double and {single} single blocks, width {width}, {}",
            plural(heads, "head")
        ),
        names: Some(names.to_owned()),
        ..Network::of("flux")
    }
}

fn autoencoder(tensors: &Tensors<'_>) -> Network {
    let half = |half: &str| tensors.has(&format!("{half}.conv_in.weight"));
    let parts = match (half("encoder"), half("decoder")) {
        (true, true) => "encoder and decoder",
        (true, false) => "encoder only",
        _ => "decoder only",
    };
    // The encoder gives mean and variance, so twice the channels.
    let latent = tensors
        .size("decoder.conv_in.weight", 1)
        .max(tensors.size("encoder.conv_out.weight", 0) / 2);
    Network {
        name: "FLUX.1 autoencoder".to_owned(),
        size: format!("{parts}, {latent} latent channels"),
        ..Network::of("ae")
    }
}

fn autoencoder_diffusers(tensors: &Tensors<'_>) -> Network {
    let latent = tensors.size("encoder.conv_out.weight", 0) / 2;
    Network {
        name: "FLUX.1 autoencoder".to_owned(),
        size: format!("{latent} latent channels"),
        names: Some("diffusers".to_owned()),
        refused: Some(
            "with the names of diffusers, which are not read; ae.safetensors has the others",
        ),
        ..Network::of("ae")
    }
}

fn clip(tensors: &Tensors<'_>) -> Network {
    let (layers, table) = (
        tensors.count("text_model.encoder.layers"),
        "text_model.embeddings.token_embedding.weight",
    );
    let (words, width) = (tensors.size(table, 0), tensors.size(table, 1));
    Network {
        name: "CLIP text encoder".to_owned(),
        size: format!("{layers} layers, width {width}, {words} tokens"),
        ..Network::of("clip_l")
    }
}

fn t5(tensors: &Tensors<'_>) -> Network {
    let layers = tensors.count("encoder.block");
    let width = tensors.size("encoder.block.0.layer.0.SelfAttention.q.weight", 1);
    let words =
        ["shared.weight", "encoder.embed_tokens.weight"].map(|table| tensors.size(table, 0));
    Network {
        name: "T5 encoder".to_owned(),
        size: format!("{layers} layers, width {width}, {} tokens", words[0].max(words[1])),
        ..Network::of("t5xxl")
    }
}

fn blip(tensors: &Tensors<'_>) -> Network {
    let patches = "visual_encoder.patch_embed.proj.weight";
    blip_network(tensors, "visual_encoder.blocks", patches, "published")
}

fn blip_transformers(tensors: &Tensors<'_>) -> Network {
    let patches = "vision_model.embeddings.patch_embedding.weight";
    blip_network(tensors, "vision_model.encoder.layers", patches, "transformers")
}

fn blip_network(tensors: &Tensors<'_>, blocks: &str, patches: &str, names: &str) -> Network {
    let (vision, text) = (tensors.count(blocks), tensors.count("text_decoder.bert.encoder.layer"));
    let (width, patch) = (tensors.size(patches, 0), tensors.size(patches, 3));
    Network {
        name: "BLIP captioner".to_owned(),
        size: format!(
            "{vision} vision layers of width {width} on patches of {patch}, {text} text layers"
        ),
        names: Some(names.to_owned()),
        ..Network::of("blip")
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use super::*;
    use crate::weights::{Dtype, Entry, Writer};

    /// A file with these tensors of one element each.
    fn file(names: &[&str]) -> Checkpoint {
        let entry =
            |name: &&str| Entry { name: (*name).to_owned(), dtype: Dtype::F32, shape: vec![1] };
        let entries = names.iter().map(entry).collect::<Vec<_>>();
        let mut writer = Writer::new(Vec::new(), &entries, &BTreeMap::new()).unwrap();
        entries.iter().for_each(|_| writer.tensor(&[0; 4]).unwrap());
        Checkpoint::from_bytes(Path::new("x.safetensors"), writer.finish().unwrap()).unwrap()
    }

    const CLIP: &str = "text_model.embeddings.token_embedding.weight";
    const T5: &str = "encoder.block.0.layer.0.SelfAttention.q.weight";

    #[test]
    fn each_network_of_a_file_with_several_is_found_below_its_prefix() {
        let names = [
            "model.diffusion_model.double_blocks.0.img_attn.qkv.weight".to_owned(),
            "model.diffusion_model.img_in.weight".to_owned(),
            format!("text_encoders.clip_l.transformer.{CLIP}"),
            format!("text_encoders.t5xxl.transformer.{T5}"),
            "vae.encoder.conv_in.weight".to_owned(),
            "vae.encoder.mid.block_1.norm1.weight".to_owned(),
        ];
        let file = file(&names.each_ref().map(String::as_str));
        let roles = networks(&file).iter().map(|network| network.role).collect::<Vec<_>>();
        assert_eq!(roles, ["flux", "ae", "clip_l", "t5xxl"]);
        for (role, expected) in [
            ("flux", "model.diffusion_model."),
            ("ae", "vae."),
            ("clip_l", "text_encoders.clip_l.transformer."),
            ("t5xxl", "text_encoders.t5xxl.transformer."),
        ] {
            assert_eq!(prefix(&file, role).unwrap(), expected, "{role}");
        }
        let error = prefix(&file, "blip").unwrap_err().to_string();
        assert!(error.contains("a CLIP text encoder and a T5 encoder"), "{error}");
    }

    #[test]
    fn a_file_of_another_network_is_named_and_an_unknown_one_left_to_the_audit() {
        let error = prefix(&file(&[CLIP]), "t5xxl").unwrap_err().to_string();
        assert_eq!(error, "x.safetensors holds a CLIP text encoder, not what t5xxl names");
        let error = prefix(&file(&[T5]), "clip_l").unwrap_err().to_string();
        assert!(error.contains("a T5 encoder"), "{error}");
        assert_eq!(prefix(&file(&[CLIP]), "clip_l").unwrap(), "");
        assert_eq!(prefix(&file(&["weight"]), "t5xxl").unwrap(), "");
    }

    #[test]
    fn an_autoencoder_with_the_names_of_diffusers_is_refused_in_words() {
        let names = ["encoder.conv_in.weight", "encoder.mid_block.resnets.0.norm1.weight"];
        let error = prefix(&file(&names), "ae").unwrap_err().to_string();
        assert!(error.contains("names of diffusers"), "{error}");
    }
}
