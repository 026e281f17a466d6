//! Keys that people bring along from other trainers, and what to do instead. Who reads scripts of other trainers
//! (`migrate/`) asks here too, so that both say the same.

use super::error::Mistake;

const ATTENTION: &str = "attention never holds all scores at once here, on any device";
const FUSED: &str = "each block is updated as soon as its gradients are there, always";
const NO_READER: &str = "no part of a FLUX training reads it";
const CACHED: &str = "the cache stage always stores latents and text encodings";
const NO_FACES: &str =
    "faces would have to be marked in the names of the files, as one old tool did";
const NO_NETWORK: &str =
    "it speaks to a network beside the model, and here the model itself is trained";
const ONE_BY_ONE: &str = "pictures are encoded one by one, since several at once take as long";
const PRECISION: &str = "the number format of the weights is all there is to choose";
const MEMORY: &str =
    "what stays on the device and what is computed anew is chosen for each block by itself";
const CHOSEN: &str = "say memory, blocks_to_swap or gradient_checkpointing in [stages.finetune]";
const STATES: &str = "only the newest state of a training is kept, whatever models are";
const EVENTS: &str = "events for TensorBoard are always written, into logs in the output folder";

/// A flag of another trainer that no manifest has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Why no manifest has it.
    pub standing: Standing,
    /// The same in words.
    pub why: &'static str,
    /// What to do instead; empty where there is nothing to do.
    pub instead: &'static str,
}

/// Why no manifest has a flag of another trainer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has no effect there, in a full fine-tuning of FLUX.1.
    Unread,
    /// What it asks for is always so here.
    Always,
    /// There is nothing for it here.
    Missing,
}
use Standing::{Always, Missing, Unread};

/// What is known of a flag that no manifest has; `None` where it is called otherwise here, or not known.
#[must_use]
pub fn foreign(flag: &str) -> Option<Foreign> {
    let (_, standing, why, instead) = *IGNORED.iter().find(|(name, ..)| *name == flag)?;
    Some(Foreign { standing, why, instead })
}

/// Flags that other trainers accept and then leave without effect for a full fine-tuning of FLUX,
/// or that ask for what is always so here: `(flag, why in a word, why, what to do)`.
const IGNORED: &[(&str, Standing, &str, &str)] = &[
    ("fp8_base", Unread, PRECISION, "say weights = \"bf16\" or \"f32\" in [stages.finetune]"),
    ("fp8_base_unet", Unread, PRECISION, "say weights = \"bf16\" or \"f32\" in [stages.finetune]"),
    (
        "full_bf16",
        Unread,
        PRECISION,
        "say weights = \"bf16\" in [stages.finetune], or leave the default",
    ),
    ("full_fp16", Missing, PRECISION, "say weights = \"bf16\" or \"f32\" in [stages.finetune]"),
    ("sdpa", Always, ATTENTION, ""),
    ("xformers", Always, ATTENTION, ""),
    ("mem_eff_attn", Always, ATTENTION, ""),
    ("highvram", Unread, MEMORY, CHOSEN),
    ("lowram", Unread, MEMORY, CHOSEN),
    ("cpu_offload_checkpointing", Always, MEMORY, CHOSEN),
    ("mem_eff_save", Always, "models are always saved tensor by tensor", ""),
    ("fused_backward_pass", Always, FUSED, ""),
    ("blockwise_fused_optimizers", Always, FUSED, ""),
    ("fused_optimizer_groups", Always, FUSED, ""),
    ("disable_mmap_load_safetensors", Always, "models are read tensor by tensor", ""),
    ("torch_compile", Always, "nothing is compiled by Python", ""),
    ("save_last_n_epochs_state", Always, STATES, ""),
    ("save_last_n_steps_state", Always, STATES, ""),
    ("logging_dir", Always, EVENTS, ""),
    ("log_with", Always, EVENTS, ""),
    ("log_prefix", Always, EVENTS, ""),
    ("log_tracker_name", Always, EVENTS, ""),
    (
        "ip_noise_gamma_random_strength",
        Missing,
        "`ip_noise_gamma` is the strength of every step",
        "say ip_noise_gamma in [stages.finetune]",
    ),
    ("sample_sampler", Always, "FLUX.1 is drawn by Euler steps alone", ""),
    ("save_model_as", Always, "models are always saved as safetensors", ""),
    ("cache_latents", Always, CACHED, ""),
    ("cache_latents_to_disk", Always, CACHED, ""),
    ("cache_text_encoder_outputs", Always, CACHED, ""),
    ("cache_text_encoder_outputs_to_disk", Always, CACHED, ""),
    (
        "skip_cache_check",
        Always,
        "outputs are found by content, so a changed picture is noticed",
        "",
    ),
    ("latent_batch_size", Always, ONE_BY_ONE, ""),
    ("vae_batch_size", Always, ONE_BY_ONE, ""),
    ("cache_info", Always, "a caption is read anew as soon as its file has changed", ""),
    ("tokenizer_cache_dir", Always, "the tokenizers are part of the program", ""),
    ("noise_offset", Unread, NO_READER, ""),
    ("noise_offset_random_strength", Unread, NO_READER, ""),
    ("multires_noise_iterations", Unread, NO_READER, ""),
    ("multires_noise_discount", Unread, NO_READER, ""),
    ("adaptive_noise_scale", Unread, NO_READER, ""),
    ("min_snr_gamma", Unread, NO_READER, ""),
    ("debiased_estimation_loss", Unread, NO_READER, ""),
    ("zero_terminal_snr", Unread, NO_READER, ""),
    ("scale_v_pred_loss_like_noise_pred", Unread, NO_READER, ""),
    ("v_pred_like_loss", Unread, NO_READER, ""),
    ("weighted_captions", Unread, NO_READER, ""),
    ("clip_skip", Unread, NO_READER, ""),
    (
        "face_crop_aug_range",
        Missing,
        NO_FACES,
        "say random_crop = true in [[dataset]], which crops anywhere",
    ),
    ("network_multiplier", Unread, NO_NETWORK, ""),
    ("custom_attributes", Unread, NO_NETWORK, ""),
    ("debug_dataset", Missing, "`fluxpipe plan -v` tells how pictures are cut and scaled", ""),
    ("max_token_length", Unread, NO_READER, "say t5xxl_max_token_length in [stages.cache]"),
];

/// Keys that have another name or another place here: `(key, what to do)`.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "double_blocks_to_swap",
        "say blocks_to_swap in [stages.finetune], which counts blocks of both sorts",
    ),
    (
        "single_blocks_to_swap",
        "say blocks_to_swap in [stages.finetune], which counts blocks of both sorts",
    ),
    ("masked_loss", "say alpha_mask in [[dataset]]"),
    ("resume", "take the line out: a training goes on from its last state by itself"),
    (
        "save_state",
        "take the line out: the state is kept by itself; how often is save_state_every_n_minutes",
    ),
    ("save_state_on_train_end", "say keep_state in [stages.finetune]"),
    ("save_n_epoch_ratio", "say save_every_n_epochs in [stages.finetune]"),
    ("use_8bit_adam", "say optimizer_type in [stages.finetune]: \"adafactor\" takes less yet"),
    ("persistent_data_loader_workers", "take the line out: pictures are read ahead by themselves"),
    ("apply_t5_attn_mask", "say attend_padding = false in [stages.cache]"),
    ("caption_extention", "say caption_extension, in [stages.label], [stages.tag] or [[dataset]]"),
    ("caption_weights", "say blip in [models]"),
    ("sample_prompts", "say prompts_file in [stages.finetune.samples], or in [stages.sample]"),
    ("sample_every_n_steps", "say every_n_steps in [stages.finetune.samples]"),
    ("sample_every_n_epochs", "say every_n_epochs in [stages.finetune.samples]"),
    ("sample_at_first", "say at_first in [stages.finetune.samples]"),
    ("datasets", "each folder of pictures is a `[[dataset]]`"),
    ("general", "say it in each `[[dataset]]`"),
    ("dataset_repeats", "say num_repeats in [[dataset]]"),
    ("metadata_file", "say in_json in [stages.merge]"),
    ("max_data_loader_n_workers", "take the line out: pictures are read by all cores"),
    ("max_train_steps", "say max_train_epochs in [stages.finetune]"),
    ("mixed_precision", "say weights in [stages.finetune]"),
    ("model_dir", "say tagger in [models]"),
    ("onnx", "take the line out: a tagger is always an ONNX graph"),
    ("output_dir", "say output in [project]"),
    ("pretrained_model_name_or_path", "say flux in [models]"),
    ("repo_id", "say tagger in [models]"),
    ("subsets", "each folder of pictures is a `[[dataset]]` of its own"),
    (
        "skip_image_resolution",
        "take small pictures out of the folder: `fluxpipe plan -v` names all that are enlarged much",
    ),
    ("text_encoder_batch_size", "say text_batch_size in [stages.cache]"),
    ("train_data_dir", "say image_dir in [[dataset]]"),
    ("vae", "say ae in [models]"),
];

/// Words of other trainers for values that there is no word for here: `(key, word, why and what to do)`.
const VALUES: &[(&str, &str, &str)] = &[
    (
        "huber_schedule",
        "snr",
        "it is made from the noise table of a diffusion model, which FLUX.1 has not: say \"constant\" or \
         \"exponential\"",
    ),
    ("weighting_scheme", "none", "say \"uniform\", which is the same"),
    ("optimizer_type", "AdamW8bit", EIGHT_BIT),
    ("optimizer_type", "PagedAdamW8bit", EIGHT_BIT),
    ("weights", "fp16", HALF),
    ("save_precision", "fp16", HALF),
    ("save_precision", "float", "say \"f32\""),
];
const EIGHT_BIT: &str =
    "say \"adafactor\", whose state takes less than 8 bits of AdamW, or \"adamw\"";
const HALF: &str = "FLUX.1 leaves the range of fp16: say \"bf16\" or \"f32\"";

/// What to do about a word that another trainer knows.
pub(super) fn known_value(key: &str, word: &str) -> Option<&'static str> {
    let known = VALUES.iter().find(|(of, value, _)| *of == key && value.eq_ignore_ascii_case(word));
    known.map(|(.., help)| *help).or(match key {
        "memory" => Some("write a number of gigabytes, as in `memory = 24`, or \"auto\""),
        "gradient_checkpointing" => Some("write true, false (both without quotes) or \"auto\""),
        _ => None,
    })
}

/// The same for keys that are here in other tables: `(key, what to do)` where a `[[dataset]]` has one.
const IN_DATASET: &[(&str, &str)] = &[("batch_size", "say train_batch_size in [stages.finetune]")];

/// What the tagger script calls by the name of a key that is ours in another table.
const OF_THE_TAGGER: (&str, &str) = (
    "append_tags",
    "say existing = \"append\" in [stages.tag], or append_tags = [\"…\"] in [stages.merge] for tags of all \
     pictures",
);

/// The mistake of a key that another trainer knows, if one does.
pub(super) fn known_elsewhere(key: &str, table: &str) -> Option<Mistake> {
    if let Some((_, help)) =
        IN_DATASET.iter().find(|(name, _)| *name == key && table == "[[dataset]]")
    {
        let (key, table, help) = (key.to_owned(), table.to_owned(), (*help).to_owned());
        return Some(Mistake::UnknownKey { key, table, help });
    }
    if key == OF_THE_TAGGER.0 && table != "[stages.merge]" {
        let (key, help) = (key.to_owned(), OF_THE_TAGGER.1.to_owned());
        return Some(Mistake::UnknownKey { key, table: table.to_owned(), help });
    }
    if let Some(Foreign { why: reason, instead, .. }) = foreign(key) {
        let help = if instead.is_empty() {
            "take the line out".to_owned()
        } else {
            format!("take the line out; {instead}")
        };
        return Some(Mistake::IgnoredFlag { flag: key.to_owned(), reason, help });
    }
    let (_, help) = ELSEWHERE.iter().find(|(name, _)| *name == key)?;
    let (key, table, help) = (key.to_owned(), table.to_owned(), (*help).to_owned());
    Some(Mistake::UnknownKey { key, table, help })
}

#[cfg(test)]
mod tests {
    use super::{super::schema::tables, *};

    #[test]
    fn no_key_of_ours_is_called_foreign() {
        for (table, schema) in tables() {
            for key in schema["properties"].as_object().unwrap().keys() {
                assert_eq!(known_elsewhere(key, table), None, "{key} of {table}");
            }
        }
    }

    #[test]
    fn every_key_that_a_help_names_exists() {
        let tables = tables();
        let helps =
            IGNORED.iter().map(|entry| entry.3).chain(ELSEWHERE.iter().map(|entry| entry.1));
        let helps = helps.chain([OF_THE_TAGGER.1]);
        let named = helps
            .filter_map(|help| help.strip_prefix("say ")?.split_once(" in ["))
            .filter(|(_, table)| !table.starts_with('['));
        let mut seen = 0;
        for (said, table) in named {
            let key = said.split([' ', ',']).next().unwrap();
            let table = format!("[{}]", table.split(']').next().unwrap());
            let (_, schema) = tables.iter().find(|(name, _)| *name == table).expect(&table);
            assert!(schema["properties"].get(key).is_some(), "{key} in {table}");
            seen += 1;
        }
        assert!(seen > 10, "the helps are worded otherwise: look at this test");
    }
}
