//! `[stages.finetune]`, `[stages.cache]` and their networks: the flags of `flux_train.py` that are not plain keys.

mod optimizer;

use std::path::Path;

use super::{
    Verdict,
    accelerate::Launch,
    argv::{Given, Settings},
    datasets::Subset,
    defaults::Defaults,
    draft::{Draft, Line},
    finding::{Findings, Id},
    flags::{Fate, TRAIN, Takes},
    literal::{self, quoted},
    paths::Paths,
    texts,
};

const FROM: &str = "flux_train.py";
const TABLE: &str = "stages.finetune";

/// All that a training is made of.
pub(super) struct Training<'a> {
    pub(super) settings: &'a Settings,
    pub(super) launch: &'a Launch,
    pub(super) subsets: &'a [Subset],
    /// Pictures that an epoch shows, where they can be counted.
    pub(super) shown: Option<usize>,
    pub(super) paths: &'a Paths,
    pub(super) folder: &'a Path,
    pub(super) defaults: &'a Defaults,
}

impl Training<'_> {
    pub(super) fn write(&self, draft: &mut Draft, findings: &mut Findings) {
        draft.table("stages.cache", &["Latents of pictures and encodings of captions, made once."]);
        draft.table(TABLE, &["Full fine-tuning of FLUX.1."]);
        if self.settings.has("sample_prompts") {
            draft.table("stages.finetune.samples", &["Pictures drawn while it trains."]);
        }
        self.models(draft);
        self.precision(draft, findings);
        self.steps(draft, findings);
        self.optimizer(draft, findings);
        self.schedule(draft, findings);
        self.noise(draft, findings);
        self.memory(draft, findings);
        self.saving(draft, findings);
        self.samples(draft, findings);
        self.cache(draft);
        self.plain(draft, findings);
    }

    fn given(&self, name: &str) -> Option<&Given> {
        self.settings.get(name)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.settings.text(name)
    }

    fn path(&self, path: &str) -> String {
        quoted(&self.paths.written(self.folder, path))
    }

    /// Flags that are keys, and those of which all is known.
    fn plain(&self, draft: &mut Draft, findings: &mut Findings) {
        let samples = draft.has("stages.finetune.samples");
        for flag in TRAIN.flags() {
            let Fate::Key(path) = flag.fate else {
                if let (Some(given), Some((verdict, because, instead))) =
                    (self.given(flag.name), flag.fate.known(flag.name))
                {
                    findings.say(given.id, verdict, &because, &instead);
                }
                continue;
            };
            // Pictures and captions are written with each folder.
            if path.starts_with("dataset.") {
                continue;
            }
            if path.contains(".samples.") && !samples {
                if let Some(given) = self.given(flag.name) {
                    findings.say(
                        given.id,
                        Verdict::NoEffect,
                        "without --sample_prompts nothing is drawn",
                        "",
                    );
                }
                continue;
            }
            // A rule may have said it already.
            if draft.get(path).is_some() {
                continue;
            }
            let words = format!("--{}", flag.name);
            match self.given(flag.name) {
                None => {
                    if let Some(value) = self.defaults.other(&flag, path) {
                        draft.set(
                            path,
                            Line::default(value, FROM, &words, "the original's default"),
                        );
                    }
                }
                Some(given) => {
                    let text = given.text();
                    let value = if flag.takes == Takes::Path {
                        Ok(self.path(&text))
                    } else {
                        literal::of_text(flag.takes, &text)
                    };
                    match value {
                        Ok(value) => draft.set(path, Line::of(value, given.id).comment(words)),
                        Err(reason) => {
                            findings.say(given.id, Verdict::NotSupported, &reason, "correct it")
                        }
                    }
                }
            }
        }
    }

    fn models(&self, draft: &mut Draft) {
        let usual = [
            ("flux", "pretrained_model_name_or_path", "models/flux1-dev.safetensors"),
            ("ae", "ae", "models/ae.safetensors"),
            ("clip_l", "clip_l", "models/clip_l.safetensors"),
            ("t5xxl", "t5xxl", "models/t5xxl_fp16.safetensors"),
        ];
        for (key, flag, file) in usual {
            let path = format!("models.{key}");
            let words = format!("--{flag}");
            let Some(given) = self.given(flag) else {
                let because = "the script does not name it: put your path here";
                draft.set(
                    &path,
                    Line::default(quoted(file), FROM, &format!("--{flag} (not said)"), because),
                );
                continue;
            };
            let mut text = given.text();
            let is_file = [".safetensors", ".sft", ".ckpt", ".pt", ".pth"]
                .iter()
                .any(|ending| text.ends_with(ending));
            if key == "flux" && !is_file {
                // There the original looks in a folder of diffusers.
                text = format!("{}/transformer", text.trim_end_matches(['/', '\\']));
            }
            draft.set(&path, Line::of(self.path(&text), given.id).comment(words));
        }
    }

    /// `weights`, and formats that follow from it.
    fn precision(&self, draft: &mut Draft, findings: &mut Findings) {
        let weights = match self.given("mixed_precision") {
            None => {
                let because = "without --mixed_precision the original trains in f32, whatever accelerate was told; \"bf16\" takes half the memory";
                draft.set(
                    "stages.finetune.weights",
                    Line::default("\"f32\"", FROM, "--mixed_precision", because)
                        .comment("the original's default; \"bf16\" takes half the memory"),
                );
                "f32"
            }
            Some(given) => {
                let weights = if given.text() == "no" { "f32" } else { "bf16" };
                if given.text() != "no" && given.text() != "bf16" {
                    findings.remark(
                        given.id,
                        "FLUX.1 leaves the range of fp16, so the manifest says bf16",
                    );
                }
                draft.set(
                    "stages.finetune.weights",
                    Line::of(quoted(weights), given.id).comment("--mixed_precision"),
                );
                weights
            }
        };
        let path = "stages.finetune.save_precision";
        match self.given("save_precision") {
            Some(given) => {
                let saved = if given.text() == "float" { "f32" } else { "bf16" };
                if given.text() == "fp16" {
                    findings.remark(
                        given.id,
                        "FLUX.1 leaves the range of fp16, so the manifest says bf16",
                    );
                }
                draft.set(path, Line::of(quoted(saved), given.id).comment("--save_precision"));
            }
            None if weights == "f32" => {
                let because = "models are saved as they were trained";
                draft.set(path, Line::default(quoted(weights), FROM, "--save_precision", because));
            }
            None => {}
        }
        if weights == "f32" {
            for key in ["stages.cache.latent_dtype", "stages.cache.text_dtype"] {
                let because = "without --mixed_precision bf16 the original encodes in f32";
                draft.set(
                    key,
                    Line::default("\"f32\"", FROM, "number format of latents and texts", because),
                );
            }
        }
    }

    /// Epochs, batches and how many of them make a step.
    fn steps(&self, draft: &mut Draft, findings: &mut Findings) {
        let batch = self.batch(draft, findings);
        let accumulated = self.given("gradient_accumulation_steps");
        let own: u32 = accumulated.and_then(|given| given.text().parse().ok()).unwrap_or(1);
        let path = "stages.finetune.gradient_accumulation_steps";
        let all = own.saturating_mul(self.launch.count());
        let processes = self.launch.processes.filter(|(count, _)| *count > 1);
        if let Some((count, id)) = processes {
            findings.remark(id, &format!("one step of the original sees a batch of each of {count} processes; here one device takes them one after the other"));
        }
        match (accumulated, processes) {
            (Some(given), None) => match literal::number(&given.text()) {
                Some(value) => draft
                    .set(path, Line::of(value, given.id).comment("--gradient_accumulation_steps")),
                None => {
                    findings.say(given.id, Verdict::NotSupported, "it is no number", "correct it")
                }
            },
            (Some(given), Some((_, id))) => {
                draft.set(path, Line::of(all.to_string(), given.id).and(id))
            }
            (None, Some((_, id))) => draft.set(path, Line::of(all.to_string(), id)),
            (None, None) => {}
        }
        self.epochs(batch, all, draft, findings);
    }

    fn batch(&self, draft: &mut Draft, findings: &mut Findings) -> usize {
        let path = "stages.finetune.train_batch_size";
        let stated: Vec<_> = self.subsets.iter().map(|subset| subset.get("batch_size")).collect();
        let value =
            |index: usize| stated[index].and_then(|stated| stated.value.as_u64()).unwrap_or(1);
        for (index, one) in stated.iter().enumerate() {
            let Some(one) = one else { continue };
            if value(index) != value(0) {
                let because = format!(
                    "one training has one train_batch_size; the first folder has {}",
                    value(0)
                );
                findings.say(one.id, Verdict::NotSupported, &because, "choose one for all");
            } else if draft.get(path).is_some() {
                draft.attach(path, one.id);
            } else {
                match literal::of_json(&one.value) {
                    Ok(value) => draft.set(path, Line::of(value, one.id).comment("batch_size")),
                    Err(reason) => {
                        findings.say(one.id, Verdict::NotSupported, &reason, "correct it")
                    }
                }
            }
        }
        let first = if stated.is_empty() { 1 } else { value(0) };
        usize::try_from(first.max(1)).unwrap_or(1)
    }

    fn epochs(&self, batch: usize, accumulated: u32, draft: &mut Draft, findings: &mut Findings) {
        let path = "stages.finetune.max_train_epochs";
        let steps = self.given("max_train_steps");
        if let Some(given) = self.given("max_train_epochs") {
            if let Some(steps) = steps {
                findings.say(
                    steps.id,
                    Verdict::NoEffect,
                    "--max_train_epochs counts before it",
                    "",
                );
            }
            match literal::number(&given.text()) {
                Some(value) => draft.set(
                    path,
                    Line::of(value, given.id).fallback("1").comment("--max_train_epochs"),
                ),
                None => {
                    findings.say(
                        given.id,
                        Verdict::NotSupported,
                        "it is no number",
                        "say max_train_epochs in [stages.finetune]",
                    );
                    draft.set(
                        path,
                        Line::default(
                            "1",
                            FROM,
                            "length of the training",
                            "look at this: how often all pictures are shown",
                        ),
                    );
                }
            }
            return;
        }
        let count: usize =
            steps.map_or(Some(1600), |given| given.text().parse().ok()).unwrap_or(1600);
        let epochs = self.shown.map(|pictures| {
            let per_epoch = pictures.div_ceil(batch).div_ceil(accumulated.max(1) as usize).max(1);
            (count.div_ceil(per_epoch).max(1), per_epoch)
        });
        let (value, because) = match epochs {
            Some((epochs, per_epoch)) => (
                epochs,
                format!(
                    "{count} steps are {epochs} epochs of about {per_epoch} steps, the last of which is finished here"
                ),
            ),
            None => (
                1,
                format!(
                    "{count} steps there; how many epochs they are depends on the pictures, which are not where the script says: set max_train_epochs to steps × train_batch_size × gradient_accumulation_steps / (pictures × num_repeats)"
                ),
            ),
        };
        match steps {
            Some(given) => {
                findings.remark(given.id, &because);
                // One epoch may be far too short, and must not be found out after the training.
                if epochs.is_none() {
                    let given = findings.get(given.id);
                    let (from, line) = (given.from.clone(), given.line);
                    let why = format!("max_train_epochs = 1 stands there for {count} steps");
                    findings.note(&from, "--max_train_steps", line, &why);
                }
                draft.set(
                    path,
                    Line::of(value.to_string(), given.id).comment(if epochs.is_some() {
                        "--max_train_steps"
                    } else {
                        "look at this"
                    }),
                );
            }
            None => {
                let comment = if epochs.is_some() {
                    "the original's 1600 steps"
                } else {
                    "look at this: the original's 1600 steps"
                };
                draft.set(
                    path,
                    Line::default(value.to_string(), FROM, "--max_train_steps", &because)
                        .comment(comment),
                );
            }
        }
    }

    fn noise(&self, draft: &mut Draft, findings: &mut Findings) {
        if let Some(given) = self.given("weighting_scheme") {
            let text = given.text();
            let ours = if text == "none" { "uniform" } else { &text };
            draft.set(
                "stages.finetune.weighting_scheme",
                Line::of(quoted(ours), given.id).comment("--weighting_scheme"),
            );
        }
        if let Some(given) = self.given("huber_schedule") {
            let path = "stages.finetune.huber_schedule";
            if given.text() == "snr" {
                let because = "the original ends with an error at it, for FLUX.1";
                findings.say(
                    given.id,
                    Verdict::NotSupported,
                    because,
                    "say \"constant\", as the manifest does, or \"exponential\"",
                );
            } else {
                draft.set(
                    path,
                    Line::of(quoted(&given.text()), given.id).comment("--huber_schedule"),
                );
            }
        }
        if self.given("model_prediction_type").is_none() {
            let because = "the original's default; FLUX.1 was trained with \"raw\", to which alone its target fits";
            draft.set(
                "stages.finetune.model_prediction_type",
                Line::default("\"sigma_scaled\"", FROM, "--model_prediction_type", because)
                    .comment("the original's default; FLUX.1 was trained with \"raw\""),
            );
        }
    }

    fn memory(&self, draft: &mut Draft, findings: &mut Findings) {
        if let Some(given) = self.given("gradient_checkpointing") {
            findings.remark(given.id, "\"auto\" computes no more blocks twice than the memory asks for, and changes no number");
            draft.set(
                "stages.finetune.gradient_checkpointing",
                Line::of("true", given.id).comment("--gradient_checkpointing"),
            );
        }
        let number = |name: &str| self.text(name).and_then(|text| text.parse::<u32>().ok());
        let old = number("double_blocks_to_swap")
            .unwrap_or(0)
            .saturating_add(number("single_blocks_to_swap").unwrap_or(0) / 2);
        let olds = ["double_blocks_to_swap", "single_blocks_to_swap"].map(|name| self.given(name));
        let (pairs, ids): (Option<u32>, Vec<Id>) = match self.given("blocks_to_swap") {
            Some(given) => {
                for old in olds.iter().flatten() {
                    findings.say(
                        old.id,
                        Verdict::NoEffect,
                        "--blocks_to_swap counts before it",
                        "",
                    );
                }
                (number("blocks_to_swap"), vec![given.id])
            }
            None => (Some(old), olds.iter().flatten().map(|given| given.id).collect()),
        };
        let Some((first, rest)) = ids.split_first() else { return };
        let Some(pairs) = pairs else {
            findings.say(
                *first,
                Verdict::NotSupported,
                "it is no number",
                "leave it out: memory = \"auto\" swaps what must be",
            );
            return;
        };
        let double = pairs / 2;
        let single = (pairs - double).saturating_mul(2);
        if double > 17 || single > 36 {
            let because = "the original takes at most 35";
            ids.iter().for_each(|id| {
                findings.say(
                    *id,
                    Verdict::NotSupported,
                    because,
                    "leave it out: memory = \"auto\" swaps what must be",
                )
            });
            return;
        }
        findings.remark(*first, &format!("{double} double and {single} single blocks; leave the line out to swap no more than must be"));
        let line = Line::of((double + single).to_string(), *first).comment("--blocks_to_swap");
        draft.set(
            "stages.finetune.blocks_to_swap",
            rest.iter().fold(line, |line, id| line.and(*id)),
        );
    }

    fn saving(&self, draft: &mut Draft, findings: &mut Findings) {
        if let Some(given) = self.given("output_name") {
            draft.set(
                "stages.finetune.output_name",
                Line::of(quoted(&given.text()), given.id).comment("--output_name"),
            );
        }
        let Some(given) = self.given("save_n_epoch_ratio") else { return };
        let ratio: Option<u32> = given.text().parse().ok().filter(|ratio| *ratio > 0);
        let epochs =
            draft.get("stages.finetune.max_train_epochs").and_then(|text| text.parse::<u32>().ok());
        match (ratio, epochs) {
            (Some(ratio), Some(epochs)) => {
                findings.remark(
                    given.id,
                    "every so many epochs that at least so many models are saved",
                );
                let every = (epochs / ratio).max(1);
                draft.set(
                    "stages.finetune.save_every_n_epochs",
                    Line::of(every.to_string(), given.id).comment("--save_n_epoch_ratio"),
                );
                if let Some(other) = self.given("save_every_n_epochs") {
                    findings.say(
                        other.id,
                        Verdict::NoEffect,
                        "--save_n_epoch_ratio counts before it",
                        "",
                    );
                }
            }
            _ => findings.say(
                given.id,
                Verdict::NotSupported,
                "it is no number above 0",
                "say save_every_n_epochs in [stages.finetune]",
            ),
        }
    }

    fn samples(&self, draft: &mut Draft, findings: &mut Findings) {
        const SAMPLES: &str = "stages.finetune.samples";
        let steps = self.given("sample_every_n_steps");
        match (steps, self.given("sample_every_n_epochs"), draft.has(SAMPLES)) {
            (Some(given), _, false) => {
                findings.say(
                    given.id,
                    Verdict::NoEffect,
                    "without --sample_prompts nothing is drawn",
                    "",
                );
            }
            (Some(given), Some(_), true) => {
                let because = "--sample_every_n_epochs counts before it";
                findings.say(
                    given.id,
                    Verdict::NoEffect,
                    because,
                    "here both work: say every_n_steps in [stages.finetune.samples]",
                );
            }
            (Some(given), None, true) => match literal::number(&given.text()) {
                Some(value) => draft.set(
                    "stages.finetune.samples.every_n_steps",
                    Line::of(value, given.id).comment("--sample_every_n_steps"),
                ),
                None => {
                    findings.say(given.id, Verdict::NotSupported, "it is no number", "correct it")
                }
            },
            (None, ..) => {}
        }
        let because =
            "the original draws with 20 steps where a prompt says nothing, with schnell too";
        draft.set(
            "stages.finetune.samples.steps",
            Line::default("20", FROM, "steps of drawing", because),
        );
    }

    fn cache(&self, draft: &mut Draft) {
        let because = "sd-scripts runs CLIP-L with the exact GELU; \"quick_gelu\" is what it was trained with";
        draft.set(
            "stages.cache.clip_activation",
            Line::default("\"gelu\"", FROM, "CLIP-L's activation", because),
        );
        if let Some(given) = self.given("apply_t5_attn_mask") {
            draft.set(
                "stages.cache.attend_padding",
                Line::of("false", given.id).comment("--apply_t5_attn_mask"),
            );
        }
    }
}

/// The name of the project: that of its models, else that of its script.
pub(super) fn project_name(settings: Option<&Settings>, script: &str) -> String {
    let name = settings.and_then(|settings| settings.text("output_name"));
    let stem = texts::name(script).trim_end_matches(".sh").to_owned();
    let name = name.unwrap_or(stem).trim().replace(['/', '\\', ':'], "-");
    if name.is_empty() || name == "." || name == ".." { "project".to_owned() } else { name }
}
