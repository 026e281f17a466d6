//! Pictures and captions: flags of `flux_train.py`, and keys of its data configuration. Most are both.

use super::{Fate::*, Flag, Takes::*, flag, switch};

const LORA: &str =
    "it speaks to a LoRA beside the model, and flux_train.py trains the model itself";

/// Flags of the command line. Those that are keys of the configuration too stand in for what it does not say.
pub(in super::super) const FLAGS: &[Flag] = &[
    flag("dataset_config", Path, "", Rule("[[dataset]]", "one for each subset")),
    flag(
        "train_data_dir",
        Path,
        "",
        Rule(
            "dataset.image_dir",
            "one for each folder `REPEATS_WORDS` in it; with --in_json the folder itself. Without effect beside --dataset_config",
        ),
    ),
    flag(
        "reg_data_dir",
        Path,
        "",
        Rule("dataset.image_dir", "the same, with is_reg. Without effect beside --dataset_config"),
    ),
    flag(
        "in_json",
        Path,
        "",
        Rule("stages.merge.in_json", "the same. Without effect beside --dataset_config"),
    ),
    flag(
        "dataset_class",
        Text,
        "",
        Missing("datasets written in Python are not run", "name the folders in [[dataset]]"),
    ),
    flag("dataset_repeats", Number, "1", Key("dataset.num_repeats")),
    flag(
        "train_batch_size",
        Number,
        "1",
        Rule("stages.finetune.train_batch_size", "the same; one for all datasets"),
    ),
    flag("resolution", Size, "", Key("dataset.resolution")),
    switch("enable_bucket", Key("dataset.enable_bucket")),
    flag("min_bucket_reso", Number, "256", Key("dataset.min_bucket_reso")),
    flag("max_bucket_reso", Number, "1024", Key("dataset.max_bucket_reso")),
    flag("bucket_reso_steps", Number, "64", Key("dataset.bucket_reso_steps")),
    switch("bucket_no_upscale", Key("dataset.bucket_no_upscale")),
    flag("resize_interpolation", Text, "", Key("dataset.resize_interpolation")),
    flag(
        "skip_image_resolution",
        Size,
        "",
        Missing(
            "small pictures are not left out",
            "take them out of the folder: `fluxpipe plan -v` names all that are enlarged much",
        ),
    ),
    flag(
        "caption_extension",
        Text,
        ".caption",
        Rule(
            "dataset.caption_extension",
            "the same where no stage writes these files; else it decides over `template` in [stages.merge]",
        ),
    ),
    flag("caption_extention", Text, "", Rule("dataset.caption_extension", "as caption_extension")),
    switch("shuffle_caption", Key("dataset.shuffle_caption")),
    flag("caption_separator", Text, ",", Key("dataset.caption_separator")),
    flag("keep_tokens", Number, "0", Key("dataset.keep_tokens")),
    flag("keep_tokens_separator", Text, "", Key("dataset.keep_tokens_separator")),
    flag("secondary_separator", Text, "", Key("dataset.secondary_separator")),
    switch("enable_wildcard", Key("dataset.enable_wildcard")),
    flag("caption_prefix", Text, "", Key("dataset.caption_prefix")),
    flag("caption_suffix", Text, "", Key("dataset.caption_suffix")),
    flag("caption_dropout_rate", Number, "0.0", Key("dataset.caption_dropout_rate")),
    flag(
        "caption_dropout_every_n_epochs",
        Number,
        "0",
        Key("dataset.caption_dropout_every_n_epochs"),
    ),
    flag("caption_tag_dropout_rate", Number, "0.0", Key("dataset.caption_tag_dropout_rate")),
    flag("token_warmup_min", Number, "1", Key("dataset.token_warmup_min")),
    flag("token_warmup_step", Number, "0", Key("dataset.token_warmup_step")),
    switch("flip_aug", Key("dataset.flip_aug")),
    switch("color_aug", Key("dataset.color_aug")),
    switch("random_crop", Key("dataset.random_crop")),
    flag("face_crop_aug_range", Text, "", Foreign),
    switch("alpha_mask", Key("dataset.alpha_mask")),
    switch("cache_info", Foreign),
    switch("cache_latents", Foreign),
    switch("cache_latents_to_disk", Foreign),
    switch("cache_text_encoder_outputs", Foreign),
    switch("cache_text_encoder_outputs_to_disk", Foreign),
    switch("skip_cache_check", Foreign),
    switch(
        "skip_latents_validity_check",
        Always("outputs are found by content, so a changed picture is noticed"),
    ),
    flag("vae_batch_size", Number, "1", Foreign),
    switch(
        "debug_dataset",
        Missing(
            "it shows pictures and trains nothing",
            "`fluxpipe plan -v` tells how pictures are cut and scaled",
        ),
    ),
    switch("train_inpainting", Missing("models for inpainting are not trained", "")),
];

/// Keys of a subset that are no flags, or are called otherwise there. Those of [`FLAGS`] are the others.
const DATASET: &[Flag] = &[
    flag(
        "batch_size",
        Number,
        "1",
        Rule("stages.finetune.train_batch_size", "the same; one for all datasets"),
    ),
    flag("image_dir", Path, "", Key("dataset.image_dir")),
    flag(
        "metadata_file",
        Path,
        "",
        Rule("stages.merge.in_json", "one file; captions and tags come from it"),
    ),
    flag("num_repeats", Number, "1", Key("dataset.num_repeats")),
    flag("class_tokens", Text, "", Key("dataset.class_tokens")),
    flag("is_reg", Switch, "", Key("dataset.is_reg")),
    flag("validation_split", Number, "0.0", Key("dataset.validation_split")),
    flag("validation_seed", Number, "", Key("dataset.validation_seed")),
    flag("network_multiplier", Number, "1.0", NoEffect(LORA)),
    flag("custom_attributes", Text, "", NoEffect(LORA)),
    flag(
        "conditioning_data_dir",
        Path,
        "",
        Missing(
            "masks are read from the transparency of a picture, not from other files",
            "make the mask the alpha channel, and say alpha_mask in [[dataset]]",
        ),
    ),
];

/// How far down a key may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Level {
    /// In `[[datasets]]` and above.
    Dataset,
    /// In `[[datasets.subsets]]` alone.
    Subset,
    /// In all.
    Any,
}

const OF_DATASETS: [&str; 9] = [
    "batch_size",
    "resolution",
    "enable_bucket",
    "min_bucket_reso",
    "max_bucket_reso",
    "bucket_reso_steps",
    "bucket_no_upscale",
    "network_multiplier",
    "validation_split",
];
const OF_SUBSETS: [&str; 4] = ["image_dir", "metadata_file", "is_reg", "conditioning_data_dir"];

/// How far down a key of the configuration may stand.
pub(in super::super) fn level(name: &str) -> Level {
    if OF_DATASETS.contains(&name) || name == "validation_seed" || name == "skip_image_resolution" {
        Level::Dataset
    } else if OF_SUBSETS.contains(&name) {
        Level::Subset
    } else {
        Level::Any
    }
}

/// Flags that the configuration has no key for.
const ONLY_FLAGS: [&str; 17] = [
    "dataset_config",
    "train_data_dir",
    "reg_data_dir",
    "in_json",
    "dataset_class",
    "dataset_repeats",
    "train_batch_size",
    "caption_extention",
    "cache_latents",
    "cache_latents_to_disk",
    "cache_text_encoder_outputs",
    "cache_text_encoder_outputs_to_disk",
    "skip_cache_check",
    "skip_latents_validity_check",
    "vae_batch_size",
    "debug_dataset",
    "train_inpainting",
];

/// Every key of the configuration.
pub(in super::super) fn dataset_keys() -> Vec<Flag> {
    let both = FLAGS.iter().filter(|flag| !ONLY_FLAGS.contains(&flag.name));
    DATASET.iter().chain(both).copied().collect()
}
