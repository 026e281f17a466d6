//! Which network a checkpoint holds, by the names and shapes of its tensors.

use crate::{base::plural, weights::Checkpoint};

/// What was recognised.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) struct Network {
    /// What [models] in a manifest calls it.
    pub role: &'static str,
    /// In words: `FLUX.1 dev transformer`.
    pub name: String,
    /// Its size, in the words of its family.
    pub size: String,
    /// Whose tensor names it has, where there are several.
    pub names: Option<String>,
}

/// Recognises the networks that fluxpipe works with, and their closest relatives.
pub(in crate::cli) fn recognise(checkpoint: &Checkpoint) -> Option<Network> {
    // Collections of several networks put a prefix before each.
    let prefixes = ["", "model.diffusion_model.", "model.", "first_stage_model.", "vae."];
    prefixes.iter().find_map(|prefix| {
        let tensors = Tensors { checkpoint, prefix };
        let found =
            FAMILIES.iter().find(|family| family.marks.iter().all(|mark| tensors.has(mark)))?;
        let mut network = (found.describe)(&tensors);
        if !prefix.is_empty() {
            let names = network.names.map_or_else(String::new, |names| format!("{names}, "));
            network.names = Some(format!("{names}with the prefix `{prefix}`"));
        }
        Some(network)
    })
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
        role: "flux",
        name: format!("FLUX.1 {variant} transformer"),
        size: format!(
            "{double} double and {single} single blocks, width {width}, {}",
            plural(heads, "head")
        ),
        names: Some(names.to_owned()),
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
        role: "ae",
        name: "FLUX.1 autoencoder".to_owned(),
        size: format!("{parts}, {latent} latent channels"),
        names: None,
    }
}

fn clip(tensors: &Tensors<'_>) -> Network {
    let (layers, table) = (
        tensors.count("text_model.encoder.layers"),
        "text_model.embeddings.token_embedding.weight",
    );
    let (words, width) = (tensors.size(table, 0), tensors.size(table, 1));
    Network {
        role: "clip_l",
        name: "CLIP text encoder".to_owned(),
        size: format!("{layers} layers, width {width}, {words} tokens"),
        names: None,
    }
}

fn t5(tensors: &Tensors<'_>) -> Network {
    let layers = tensors.count("encoder.block");
    let width = tensors.size("encoder.block.0.layer.0.SelfAttention.q.weight", 1);
    let words =
        ["shared.weight", "encoder.embed_tokens.weight"].map(|table| tensors.size(table, 0));
    Network {
        role: "t5xxl",
        name: "T5 encoder".to_owned(),
        size: format!("{layers} layers, width {width}, {} tokens", words[0].max(words[1])),
        names: None,
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
        role: "blip",
        name: "BLIP captioner".to_owned(),
        size: format!(
            "{vision} vision layers of width {width} on patches of {patch}, {text} text layers"
        ),
        names: Some(names.to_owned()),
    }
}
