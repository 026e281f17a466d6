//! Flags of the programs that make captions, tags and metadata files, and of those that are for other models.

use super::{Fate::*, Flag, Takes::*, flag, switch};

const CORES: &str = "all cores read pictures";
const SEEN: &str = "captions and tags lie beside the pictures; `fluxpipe captions` lists them";
const OTHER_MODEL: &str =
    "what it prepares is for Stable Diffusion: flux_train.py makes buckets and latents by itself";
const FOLDER: Fate = Rule("dataset.image_dir", "all stages read the pictures of every [[dataset]]");
const RECURSIVE: Fate = Rule(
    "dataset.recursive",
    "only where nothing is trained: the original's training never looks into folders below",
);

use super::Fate;

/// `make_captions.py`.
pub(in super::super) const CAPTION: &[Flag] = &[
    flag("train_data_dir", Path, "", FOLDER),
    flag("caption_weights", Path, "a URL", Rule("models.blip", "the path; nothing is downloaded")),
    flag("caption_extension", Text, ".caption", Key("stages.label.caption_extension")),
    flag(
        "caption_extention",
        Text,
        "",
        Rule("stages.label.caption_extension", "as caption_extension, before which it counts"),
    ),
    switch("beam_search", Key("stages.label.beam_search")),
    flag("num_beams", Number, "1", Key("stages.label.num_beams")),
    flag("top_p", Number, "0.9", Key("stages.label.top_p")),
    flag("min_length", Number, "5", Key("stages.label.min_length")),
    flag("max_length", Number, "75", Key("stages.label.max_length")),
    flag("seed", Number, "42", Key("stages.label.seed")),
    flag("batch_size", Number, "1", Key("stages.label.batch_size")),
    switch("recursive", RECURSIVE),
    flag("max_data_loader_n_workers", Number, "", Always(CORES)),
    switch("pin_memory", Always(CORES)),
    switch("debug", Always(SEEN)),
];

/// `tag_images_by_wd14_tagger.py`.
pub(in super::super) const TAG: &[Flag] = &[
    flag("train_data_dir", Path, "", FOLDER),
    flag(
        "repo_id",
        Text,
        "SmilingWolf/wd-v1-4-convnext-tagger-v2",
        Rule("models.tagger", "its folder in --model_dir; nothing is downloaded"),
    ),
    flag(
        "model_dir",
        Path,
        "wd14_tagger_model",
        Rule("models.tagger", "the folder of --repo_id in it"),
    ),
    switch("onnx", Always("a tagger is always an ONNX graph")),
    switch(
        "force_download",
        Missing("nothing is downloaded", "put model.onnx and selected_tags.csv into the folder"),
    ),
    flag("thresh", Number, "0.35", Key("stages.tag.thresh")),
    flag("general_threshold", Number, "", Key("stages.tag.general_threshold")),
    flag("character_threshold", Number, "", Key("stages.tag.character_threshold")),
    flag("meta_threshold", Number, "", Key("stages.tag.meta_threshold")),
    flag("model_threshold", Number, "", Key("stages.tag.model_threshold")),
    flag("copyright_threshold", Number, "", Key("stages.tag.copyright_threshold")),
    flag("artist_threshold", Number, "", Key("stages.tag.artist_threshold")),
    switch("remove_underscore", Key("stages.tag.remove_underscore")),
    switch("character_tag_expand", Key("stages.tag.character_tag_expand")),
    flag("tag_replacement", Text, "", Key("stages.tag.tag_replacement")),
    flag("undesired_tags", Text, "", Key("stages.tag.undesired_tags")),
    switch("character_tags_first", Key("stages.tag.character_tags_first")),
    flag("always_first_tags", Text, "", Key("stages.tag.always_first_tags")),
    switch("use_rating_tags", Key("stages.tag.use_rating_tags")),
    switch("use_rating_tags_as_last_tag", Key("stages.tag.use_rating_tags_as_last_tag")),
    switch("use_quality_tags", Key("stages.tag.use_quality_tags")),
    switch("use_quality_tags_as_last_tag", Key("stages.tag.use_quality_tags_as_last_tag")),
    flag("caption_separator", Text, ", ", Key("stages.tag.caption_separator")),
    switch("frequency_tags", Key("stages.tag.frequency_tags")),
    flag("batch_size", Number, "1", Key("stages.tag.batch_size")),
    flag("caption_extension", Text, ".txt", Key("stages.tag.caption_extension")),
    flag(
        "caption_extention",
        Text,
        "",
        Rule("stages.tag.caption_extension", "as caption_extension, before which it counts"),
    ),
    switch("append_tags", Rule("stages.tag.existing", "`append`")),
    flag(
        "output_path",
        Path,
        "",
        Missing(
            "tags are written beside the pictures, and with the captions into one metadata file",
            "say out_json in [stages.merge]",
        ),
    ),
    switch("recursive", RECURSIVE),
    flag("max_data_loader_n_workers", Number, "", Always(CORES)),
    switch("pin_memory", Always(CORES)),
    switch("debug", Always(SEEN)),
];

/// `merge_captions_to_metadata.py`, `merge_dd_tags_to_metadata.py` and `merge_all_to_metadata.py`.
pub(in super::super) const MERGE: &[Flag] = &[
    flag("train_data_dir", Path, "", FOLDER),
    flag(
        "out_json",
        Path,
        "",
        Rule("stages.merge.out_json", "its name: the file lies in the output folder"),
    ),
    flag("in_json", Path, "", Key("stages.merge.in_json")),
    switch("full_path", Key("stages.merge.full_path")),
    flag(
        "caption_extension",
        Text,
        "",
        Always("the ending of the stage that makes the text, else that of [[dataset]]"),
    ),
    flag(
        "caption_extention",
        Text,
        "",
        Always("the ending of the stage that makes the text, else that of [[dataset]]"),
    ),
    switch(
        "clean_caption",
        Rule("stages.merge.clean_captions", "with clean_tags, where the training reads the file"),
    ),
    switch("recursive", RECURSIVE),
    switch("debug", Always(SEEN)),
];

/// `clean_captions_and_tags.py`.
pub(in super::super) const CLEAN: &[Flag] = &[
    flag(
        "in_json",
        Path,
        "",
        Rule("stages.merge.clean_captions", "with clean_tags, where the training reads the file"),
    ),
    flag(
        "out_json",
        Path,
        "",
        Rule("stages.merge.out_json", "its name: the file lies in the output folder"),
    ),
    switch("debug", Always(SEEN)),
];

/// `prepare_buckets_latents.py`.
pub(in super::super) const BUCKETS: &[Flag] = &[
    flag("train_data_dir", Path, "", NoEffect(OTHER_MODEL)),
    flag("in_json", Path, "", NoEffect(OTHER_MODEL)),
    flag("out_json", Path, "", NoEffect(OTHER_MODEL)),
    flag("model_name_or_path", Path, "", NoEffect(OTHER_MODEL)),
    switch("v2", NoEffect(OTHER_MODEL)),
    flag("batch_size", Number, "1", NoEffect(OTHER_MODEL)),
    flag("max_data_loader_n_workers", Number, "", NoEffect(OTHER_MODEL)),
    flag("max_resolution", Size, "512,512", NoEffect(OTHER_MODEL)),
    flag("min_bucket_reso", Number, "256", NoEffect(OTHER_MODEL)),
    flag("max_bucket_reso", Number, "1024", NoEffect(OTHER_MODEL)),
    flag("bucket_reso_steps", Number, "64", NoEffect(OTHER_MODEL)),
    switch("bucket_no_upscale", NoEffect(OTHER_MODEL)),
    flag("mixed_precision", Text, "no", NoEffect(OTHER_MODEL)),
    switch("full_path", NoEffect(OTHER_MODEL)),
    switch("flip_aug", NoEffect(OTHER_MODEL)),
    flag("alpha_mask", Text, "", NoEffect(OTHER_MODEL)),
    switch("skip_existing", NoEffect(OTHER_MODEL)),
    switch("recursive", NoEffect(OTHER_MODEL)),
];
