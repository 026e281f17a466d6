//! The manifest that `fluxpipe init` writes.

use toml::Value;

/// A commented manifest for a project of this name whose pictures lie in `image_dir`. Every key is
/// in it; what has a default is commented out.
#[must_use]
pub fn template(name: &str, image_dir: &str) -> String {
    include_str!("template.toml")
        .replace("\"{{name}}\"", &quoted(&file_name(name)))
        .replace("\"a picture of {{name}}\"", &quoted(&format!("a picture of {}", name.trim())))
        .replace("\"{{image_dir}}\"", &quoted(image_dir))
}

/// The project's name is that of its models too, which not every folder's name can be.
fn file_name(name: &str) -> String {
    let name = name.trim().replace(['/', '\\', ':'], "-");
    if name.is_empty() || name == "." || name == ".." { "project".to_owned() } else { name }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value as Json;

    use super::{super::*, *};

    /// With every commented key and table switched on.
    fn with_all_keys() -> String {
        let is_key = |line: &&str| {
            if line.starts_with("# [") {
                return true;
            }
            let word = line.trim_start_matches("# ").split(' ').next().unwrap_or_default();
            line.starts_with("# ") && line.contains(&format!("# {word} = "))
        };
        template("cats", "pictures")
            .lines()
            .map(|line| if is_key(&line) { &line[2..] } else { line })
            .fold(String::new(), |text, line| text + line + "\n")
    }

    fn show(errors: &ManifestErrors) -> String {
        errors.errors.iter().map(|error| format!("{error}\n")).collect()
    }

    #[test]
    fn it_is_a_manifest_also_with_an_awkward_name() {
        let cases = [
            ("cats", "cats"),
            ("my \"best\" cats", "my \"best\" cats"),
            ("Katzen ☂", "Katzen ☂"),
            ("c:\\cats", "c--cats"),
            ("..", "project"),
        ];
        for (name, expected) in cases {
            let text = template(name, "pictures");
            let manifest = Manifest::parse(Path::new("p/project.toml"), &text).unwrap();
            assert_eq!(manifest.project.name, expected);
            assert_eq!(manifest.stages.len(), Kind::ALL.len());
        }
    }

    #[test]
    fn it_shows_every_key_with_its_default() {
        let text = with_all_keys();
        let all: toml::Table = text.parse().unwrap();
        let places = [
            ("project", &all["project"]),
            ("models", &all["models"]),
            ("dataset", &all["dataset"][0]),
        ];
        let stages = all["stages"].as_table().unwrap().iter();
        let stages = stages.map(|(name, table)| (name.as_str(), table));
        let samples = [("finetune.samples", &all["stages"]["finetune"]["samples"])];
        for ((name, table), (words, schema)) in
            places.into_iter().chain(stages).chain(samples).map(|(name, table)| {
                let found = schema::tables()
                    .iter()
                    .find(|(words, _)| words.trim_matches(['[', ']']).ends_with(name));
                ((name, table), found.unwrap())
            })
        {
            for (key, field) in schema["properties"].as_object().unwrap() {
                let shown = table.get(key).unwrap_or_else(|| panic!("{words} lacks {key}"));
                let default: &Json = &field["default"];
                // Somebody who draws says what, so the template has an example.
                if !default.is_null() && key != "prompts" {
                    let shown = serde_json::to_value(shown).unwrap();
                    assert_eq!(&shown, default, "{key} of {name}");
                }
            }
        }
    }

    #[test]
    fn every_key_that_it_shows_can_be_switched_on() {
        let errors = Manifest::parse(Path::new("project.toml"), &with_all_keys()).unwrap_err();
        // Nothing is drawn in a search, and `thresh` has no effect beside both thresholds.
        // A stage makes the captions. Nothing in captions or views is drawn, no picture is held out, and none is for regularisation.
        // Schedules, samplings and losses that are not chosen read nothing.
        let without_effect = [
            "dataset.0.caption_extension",
            "dataset.0.image_variants",
            "dataset.0.validation_seed",
            "dataset.0.token_warmup_min",
            "dataset.0.caption_variants",
            "stages.label.top_p",
            "stages.label.top_k",
            "stages.label.seed",
            "stages.tag.thresh",
            "stages.merge.seed",
            "stages.finetune.lr_decay_steps",
            "stages.finetune.lr_scheduler_num_cycles",
            "stages.finetune.lr_scheduler_power",
            "stages.finetune.lr_scheduler_min_lr_ratio",
            "stages.finetune.weighting_scheme",
            "stages.finetune.logit_mean",
            "stages.finetune.logit_std",
            "stages.finetune.mode_scale",
            "stages.finetune.huber_schedule",
            "stages.finetune.huber_c",
            "stages.finetune.huber_scale",
            "stages.finetune.prior_loss_weight",
            // Prompts are either in the manifest or in a file.
            "there are prompts here and in a file",
            "there are prompts here and in a file",
        ];
        assert_eq!(errors.errors.len(), without_effect.len(), "{}", show(&errors));
        for (error, key) in errors.errors.iter().zip(without_effect) {
            assert!(error.to_string().contains(key), "{}", show(&errors));
        }
    }
}
