//! Rules that a schema cannot say: what holds between values, and what texts must look like.

use std::path::{Component, Path};

use super::{
    Cache, ClipActivation, Dataset, Existing, Finetune, Label, Latent, LrScheduler, Merge, Models,
    Project, StageConfig, Tag, TagReplacement, TimestepSampling,
    check::Check,
    error::{ManifestError, Mistake},
    source::Place,
};
use crate::base::did_you_mean;

/// The rules of one table. A rule that reads a value already reported says nothing.
pub(super) struct Rules<'a> {
    pub(super) check: &'a mut Check,
    /// Dotted path of the table.
    pub(super) path: String,
    /// Where the table stands.
    pub(super) place: Place,
}

impl Rules<'_> {
    fn of(&self, field: &str) -> String {
        format!("{}.{field}", self.path)
    }

    /// Whether the manifest states the field.
    pub(super) fn states(&self, field: &str) -> bool {
        self.check.places.get(&self.of(field)).is_some()
    }

    /// Reports a mistake that lies in these fields; those that are stated are pointed at, else the
    /// table is.
    fn broken(&mut self, fields: &[&str], labels: &[&str], mistake: Mistake) {
        if fields.iter().any(|field| self.check.is_bad(&self.of(field))) {
            return;
        }
        let stated: Vec<(Place, &str)> = fields
            .iter()
            .zip(labels)
            .filter_map(|(field, label)| {
                Some((self.check.places.get(&self.of(field))?.clone(), *label))
            })
            .collect();
        let error = match stated.split_first() {
            None => ManifestError::at(&self.place, "in this table", mistake),
            Some(((first, label), rest)) => {
                let error = ManifestError::at(first, *label, mistake);
                rest.iter().fold(error, |error, (place, label)| error.and_at(place, *label))
            }
        };
        self.check.errors.push(error);
    }

    fn out_of_range(&mut self, field: &str, rule: &str, help: &str) {
        let label = format!("must be {rule}");
        let (path, rule, help) = (self.of(field), rule.to_owned(), help.to_owned());
        self.broken(&[field], &[&label], Mistake::OutOfRange { path, rule, help });
    }

    pub(super) fn no_effect(&mut self, field: &str, because: &str, reason: &str) {
        let help = format!("take `{field}` out, or change `{because}`");
        let mistake = Mistake::NoEffect { path: self.of(field), reason: reason.to_owned(), help };
        self.broken(&[field, because], &["has no effect", "because of this"], mistake);
    }

    pub(super) fn project(&mut self, project: &Project) {
        if !is_device(&project.device) {
            let help = "\"auto\" takes the first CUDA device, else the CPU; \"cuda:1\" the second";
            self.out_of_range("device", "\"auto\", \"cpu\", \"cuda\" or \"cuda:N\"", help);
        }
        if !project.name.is_empty() {
            self.file_name("name", &project.name);
        }
    }

    pub(super) fn dataset(&mut self, dataset: &Dataset) {
        self.captions(dataset);
        self.views(dataset);
        self.buckets(dataset);
    }

    /// Keys about pictures that change nothing as they stand.
    fn views(&mut self, dataset: &Dataset) {
        if self.states("image_variants") && !dataset.random_crop && !dataset.color_aug {
            let reason = "nothing is drawn: neither `random_crop` nor `color_aug` is on";
            self.no_effect("image_variants", "random_crop", reason);
        }
        if self.states("validation_seed") && dataset.validation_split == 0.0 {
            let reason = "no picture is held out";
            self.no_effect("validation_seed", "validation_split", reason);
        }
        if dataset.is_reg && dataset.validation_split > 0.0 {
            let reason = "regularisation pictures are never held out";
            self.no_effect("validation_split", "is_reg", reason);
        }
    }

    fn buckets(&mut self, dataset: &Dataset) {
        let (step, min, max) =
            (dataset.bucket_reso_steps, dataset.min_bucket_reso, dataset.max_bucket_reso());
        let (shorter, longer) = (dataset.resolution.shorter(), dataset.resolution.longer());
        if !dataset.enable_bucket {
            if shorter % 16 != 0 || longer % 16 != 0 {
                let help = "without buckets every picture is brought to exactly this size";
                self.out_of_range("resolution", "a multiple of 16", help);
            }
            for field in [
                "min_bucket_reso",
                "max_bucket_reso",
                "bucket_reso_steps",
                "bucket_no_upscale",
                "aspect",
            ] {
                if self.states(field) {
                    self.no_effect(field, "enable_bucket", "there are no buckets");
                }
            }
            return;
        }
        if dataset.bucket_no_upscale {
            for field in ["min_bucket_reso", "max_bucket_reso"] {
                if self.states(field) {
                    let reason = "each picture gets a bucket of its own size";
                    self.no_effect(field, "bucket_no_upscale", reason);
                }
            }
            if shorter < step {
                self.smaller("resolution", shorter, "bucket_reso_steps", step);
            }
            return;
        }
        if min > max {
            self.smaller("max_bucket_reso", max, "min_bucket_reso", min);
        } else if shorter < min {
            self.smaller("resolution", shorter, "min_bucket_reso", min);
        } else if longer > max {
            self.smaller("max_bucket_reso", max, "resolution", longer);
        } else if step > shorter {
            self.smaller("resolution", shorter, "bucket_reso_steps", step);
        }
    }

    /// One size is smaller than another that it must reach.
    fn smaller(&mut self, small: &str, size: u32, large: &str, least: u32) {
        let mistake = Mistake::Conflict {
            what: format!("`{small}` of {size} is smaller than `{large}` of {least}"),
            help: format!("raise `{small}` or lower `{large}`"),
        };
        let labels = [format!("{size} pixels"), format!("{least} pixels")];
        self.broken(&[small, large], &[&labels[0], &labels[1]], mistake);
    }

    pub(super) fn stage(&mut self, config: &StageConfig) {
        match config {
            StageConfig::Label(label) => self.label(label),
            StageConfig::Tag(tag) => self.tag(tag),
            StageConfig::Merge(merge) => self.merge(merge),
            StageConfig::Cache(cache) => self.cache(cache),
            StageConfig::Finetune(finetune) => self.finetune(finetune),
        }
    }

    fn cache(&mut self, cache: &Cache) {
        if cache.import_cache && cache.clip_activation != ClipActivation::Gelu {
            let mistake = Mistake::Conflict {
                what: "caches of sd-scripts hold CLIP-L's vectors by the exact GELU".to_owned(),
                help: "say clip_activation = \"gelu\", so that what is encoded anew is of one kind with \
                       them, or take `import_cache` out"
                    .to_owned(),
            };
            let labels = ["takes such caches", "another activation"];
            self.broken(&["import_cache", "clip_activation"], &labels, mistake);
        }
        if cache.import_cache && !cache.attend_padding {
            let mistake = Mistake::Conflict {
                what: "caches of sd-scripts hold T5's states of the padding, which is attended"
                    .to_owned(),
                help: "take `attend_padding` out, or `import_cache`".to_owned(),
            };
            let labels = ["takes such caches", "not attended"];
            self.broken(&["import_cache", "attend_padding"], &labels, mistake);
        }
        if cache.import_cache && cache.latent != Latent::Sample {
            let mistake = Mistake::Conflict {
                what: "caches of sd-scripts hold one draw of each latent, no mean and no deviation"
                    .to_owned(),
                help: "take `latent` out, or `import_cache`".to_owned(),
            };
            self.broken(&["import_cache", "latent"], &["takes such caches", "not a draw"], mistake);
        }
    }

    fn label(&mut self, label: &Label) {
        self.sidecar_ending(&label.caption_extension);
        if label.existing == Existing::Append {
            let mistake = Mistake::UnknownValue {
                path: self.of("existing"),
                value: "append".to_owned(),
                help: "a caption is a sentence, and nothing can be appended to one: it can be \"keep\" or \
                       \"overwrite\""
                    .to_owned(),
            };
            self.broken(&["existing"], &["not for captions"], mistake);
        }
        if label.min_length > label.max_length {
            let mistake = Mistake::Conflict {
                what: format!(
                    "a caption cannot have at least {} and at most {} tokens",
                    label.min_length, label.max_length
                ),
                help: "lower `min_length` or raise `max_length`; both count the prompt".to_owned(),
            };
            self.broken(&["min_length", "max_length"], &["at least", "at most"], mistake);
        }
        let (search, draws) = ("say `beam_search = true`", "say `beam_search = false`");
        let (without_effect, reason, otherwise): (&[&str], _, _) = match label.beam_search {
            true => (&["top_p", "top_k", "seed"], "nothing is drawn in a search", draws),
            false => (&["num_beams"], "words are drawn, without beams", search),
        };
        for field in without_effect {
            if self.states(field) {
                let (path, reason) = (self.of(field), reason.to_owned());
                let help = format!("take `{field}` out, or {otherwise}");
                let labels = ["has no effect", "because of this"];
                let mistake = Mistake::NoEffect { path, reason, help };
                self.broken(&[field, "beam_search"], &labels, mistake);
            }
        }
    }

    fn tag(&mut self, tag: &Tag) {
        self.sidecar_ending(&tag.caption_extension);
        let kinds = [
            tag.general_threshold,
            tag.character_threshold,
            tag.copyright_threshold,
            tag.meta_threshold,
            tag.model_threshold,
            tag.artist_threshold,
        ];
        if kinds.iter().all(Option::is_some) && self.states("thresh") {
            let reason = "every kind of tags has a threshold of its own";
            self.no_effect("thresh", "general_threshold", reason);
        }
        for (first, last, field, because) in [
            (
                tag.use_rating_tags,
                tag.use_rating_tags_as_last_tag,
                "use_rating_tags_as_last_tag",
                "use_rating_tags",
            ),
            (
                tag.use_quality_tags,
                tag.use_quality_tags_as_last_tag,
                "use_quality_tags_as_last_tag",
                "use_quality_tags",
            ),
        ] {
            if first && last {
                self.no_effect(field, because, "it is written once, at the front");
            }
        }
        self.pairs("tag_replacement", &tag.tag_replacement);
    }

    fn pairs(&mut self, field: &str, pairs: &TagReplacement) {
        if let Err(pair) = pairs.pairs() {
            let mistake = Mistake::UnknownValue {
                path: self.of(field),
                value: pair,
                help: "write pairs, [[\"source\", \"target\"]], or a text \"source,target;source2,target2\" in \
                       which `\\,` and `\\;` stand for a comma and a semicolon inside a tag"
                    .to_owned(),
            };
            self.broken(&[field], &["a pair of a source and a target is wanted"], mistake);
        }
    }

    fn merge(&mut self, merge: &Merge) {
        for (field, tags) in
            [("prepend_tags", &merge.prepend_tags), ("append_tags", &merge.append_tags)]
        {
            for (index, tag) in tags.iter().enumerate() {
                if tag.contains(',') || tag.trim().is_empty() {
                    let help = "a comma ends a tag: write several tags as [\"one\", \"two\"]";
                    self.out_of_range(
                        &format!("{field}.{index}"),
                        "one tag, without a comma",
                        help,
                    );
                }
            }
        }
        self.pairs("replace_tags", &merge.replace_tags);
        if let Some((value, help)) = bad_placeholder(&merge.template) {
            let mistake = Mistake::UnknownValue { path: self.of("template"), value, help };
            self.broken(&["template"], &["look at the braces"], mistake);
        }
        let inside = merge.out_json.components().all(|part| matches!(part, Component::Normal(_)));
        let is_json = |ending: &std::ffi::OsStr| ending == "json" || ending == "jsonl";
        if !inside || !merge.out_json.extension().is_some_and(is_json) {
            let help = "it lies in the output folder of the project, such as \"meta_data.json\"";
            self.out_of_range(
                "out_json",
                "the name of a .json or .jsonl file inside the output folder",
                help,
            );
        }
    }

    fn finetune(&mut self, finetune: &Finetune) {
        if let Some(name) = &finetune.output_name {
            self.file_name("output_name", name);
        }
        let warms_up = finetune.lr_scheduler != LrScheduler::Constant;
        if finetune.lr_warmup_steps > 0 && !warms_up {
            let reason = "a constant learning rate has no warm-up; \"constant_with_warmup\" has";
            self.no_effect("lr_warmup_steps", "lr_scheduler", reason);
        }
        let sampling = finetune.timestep_sampling;
        let shifts = matches!(sampling, TimestepSampling::Shift | TimestepSampling::Sigma);
        if self.states("discrete_flow_shift") && !shifts {
            let reason = "only \"shift\" and \"sigma\" read it";
            self.no_effect("discrete_flow_shift", "timestep_sampling", reason);
        }
        let spreads = !matches!(sampling, TimestepSampling::Uniform | TimestepSampling::Sigma);
        if self.states("sigmoid_scale") && !spreads {
            let reason = "only \"sigmoid\", \"shift\" and \"flux_shift\" read it";
            self.no_effect("sigmoid_scale", "timestep_sampling", reason);
        }
        let (every, epochs) = (finetune.save_every_n_epochs, finetune.max_train_epochs);
        if every.is_some_and(|every| every > epochs) {
            let reason = "the training ends before";
            self.no_effect("save_every_n_epochs", "max_train_epochs", reason);
        }
    }

    /// A sidecar must not be taken for a picture, nor lie in another folder.
    fn sidecar_ending(&mut self, ending: &str) {
        const PICTURES: [&str; 9] =
            [".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tiff", ".tif"];
        let named = ending.strip_prefix('.').is_some_and(|name| !name.is_empty());
        if !named || ending.contains(['/', '\\']) {
            let help = "it takes the place of the picture's own ending: cat.jpg, cat.txt";
            self.out_of_range("caption_extension", "a dot and letters, such as \".txt\"", help);
        } else if PICTURES.contains(&ending.to_lowercase().as_str()) {
            let help = "the text would be written over the picture itself";
            self.out_of_range("caption_extension", "the ending of a text file", help);
        }
    }

    fn file_name(&mut self, field: &str, name: &str) {
        let plain = Path::new(name).file_name().is_some_and(|file| file == name);
        if !plain || name.contains(['/', '\\', ':']) {
            let help = "saved models are called by it; where they lie is `output` in [project]";
            self.out_of_range(field, "a plain name without / \\ and :", help);
        }
    }
}

/// `auto`, `cpu`, `cuda` or `cuda:N`.
fn is_device(device: &str) -> bool {
    match device.strip_prefix("cuda:") {
        Some(index) => !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit()),
        None => ["auto", "cpu", "cuda"].contains(&device),
    }
}

/// The first brace of a template that is none of the known placeholders, and what to do about it.
fn bad_placeholder(template: &str) -> Option<(String, String)> {
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        let name = rest[at..].strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let Some((name, after)) = name.filter(|(name, _)| !name.contains('{')) else {
            let help = "write {caption} or {tags}, each with both braces".to_owned();
            return Some((rest[at..].to_owned(), help));
        };
        if !Merge::PLACEHOLDERS.contains(&name) {
            let help = match did_you_mean(name, Merge::PLACEHOLDERS) {
                Some(near) => format!("did you mean {{{near}}}?"),
                None => "write {caption} or {tags}, and no other braces".to_owned(),
            };
            return Some((format!("{{{name}}}"), help));
        }
        rest = after;
    }
    None
}

/// The networks that stages use are named.
pub(super) fn models_are_named(
    check: &mut Check,
    models: &Models,
    stage: &str,
    place: &Place,
    config: &StageConfig,
) {
    let absent: Vec<&'static str> = config
        .kind()
        .models()
        .iter()
        .copied()
        .filter(|name| models.get(name).is_none() && !check.is_bad(&format!("models.{name}")))
        .collect();
    if absent.is_empty() {
        return;
    }
    let lines: Vec<String> = absent.iter().map(|name| format!("{name} = \"FILE\"")).collect();
    let help = format!("add to [models]: {}", lines.join(", "));
    let mistake = Mistake::MissingModel { stage: stage.to_owned(), models: absent, help };
    check.report(place, "uses networks that are not named", mistake);
}

/// Regularisation pictures stand beside others, and their weight beside them.
pub(super) fn regularisation(
    check: &mut Check,
    datasets: &[Dataset],
    stages: &[(&str, &Place, &StageConfig)],
) {
    let is_reg = datasets.iter().position(|dataset| dataset.is_reg);
    if let Some(index) = is_reg.filter(|_| datasets.iter().all(|dataset| dataset.is_reg)) {
        let path = format!("dataset.{index}.is_reg");
        if let Some(place) = check.places.get(&path).cloned() {
            let mistake = Mistake::Conflict {
                what: "all pictures are regularisation pictures".to_owned(),
                help: "add a `[[dataset]]` of what is to be learnt, or take `is_reg` out"
                    .to_owned(),
            };
            check.report(&place, "of these too", mistake);
        }
    }
    if is_reg.is_some() {
        return;
    }
    for (name, ..) in stages {
        let path = format!("stages.{name}.prior_loss_weight");
        let Some(place) = check.places.get(&path).cloned() else { continue };
        if check.is_bad(&path) {
            continue;
        }
        let mistake = Mistake::NoEffect {
            path,
            reason: "there are no regularisation pictures".to_owned(),
            help: "take `prior_loss_weight` out, or say `is_reg = true` in a [[dataset]]"
                .to_owned(),
        };
        check.report(&place, "has no effect", mistake);
    }
}

/// A `seed` of a merge stage is for draws, and some dataset must draw.
pub(super) fn merge_seed_draws(
    check: &mut Check,
    datasets: &[Dataset],
    stages: &[(&str, &Place, &StageConfig)],
) {
    let draws = |dataset: &Dataset| {
        !dataset.caption_rules().iter().all(|(name, _)| name != "caption_variants")
    };
    if datasets.iter().any(draws) {
        return;
    }
    for (name, ..) in stages.iter().filter(|(.., config)| matches!(config, StageConfig::Merge(_))) {
        let path = format!("stages.{name}.seed");
        let Some(place) = check.places.get(&path).cloned() else { continue };
        if check.is_bad(&path) {
            continue;
        }
        let mistake = Mistake::NoEffect {
            path,
            reason: "no dataset draws anything in its captions".to_owned(),
            help: "take `seed` out, or say `shuffle_caption` or another random rule in [[dataset]]"
                .to_owned(),
        };
        check.report(&place, "has no effect", mistake);
    }
}

/// Two stages do not write to the same sidecar.
pub(super) fn sidecars_differ(check: &mut Check, stages: &[(&str, &Place, &StageConfig)]) {
    let endings: Vec<(&str, &Place, &str)> = stages
        .iter()
        .filter_map(|(name, place, config)| match config {
            StageConfig::Label(label) => Some((*name, *place, label.caption_extension.as_str())),
            StageConfig::Tag(tag) => Some((*name, *place, tag.caption_extension.as_str())),
            _ => None,
        })
        .collect();
    for (index, (name, place, ending)) in endings.iter().enumerate() {
        let Some((other, other_place, _)) =
            endings[..index].iter().find(|(.., other)| other == ending)
        else {
            continue;
        };
        let mistake = Mistake::Conflict {
            what: format!("`{other}` and `{name}` write to the same sidecar *{ending}"),
            help: format!("give `{name}` a `caption_extension` of its own"),
        };
        let stated = |stage: &str, header: &Place| {
            let path = format!("stages.{stage}.caption_extension");
            check.places.get(&path).unwrap_or(header).clone()
        };
        let error = ManifestError::at(&stated(name, place), "writes here too", mistake)
            .and_at(&stated(other, other_place), "writes here");
        check.errors.push(error);
    }
}
