//! The optimizer and its schedule: what Adafactor and AdamW are told there, as keys of `[stages.finetune]`.

use super::*;

/// What an optimizer can be told here.
const KNOWN: [&str; 9] = [
    "relative_step",
    "scale_parameter",
    "warmup_init",
    "clip_threshold",
    "decay_rate",
    "beta1",
    "betas",
    "eps",
    "weight_decay",
];

impl Training<'_> {
    pub(super) fn optimizer(&self, draft: &mut Draft, findings: &mut Findings) {
        let (kind, id) = match (
            self.given("optimizer_type"),
            self.given("use_8bit_adam"),
            self.given("use_lion_optimizer"),
        ) {
            (Some(given), ..) if !given.text().is_empty() => (given.text(), Some(given.id)),
            (_, Some(given), _) => ("AdamW8bit".to_owned(), Some(given.id)),
            (.., Some(given)) => ("Lion".to_owned(), Some(given.id)),
            _ => ("AdamW".to_owned(), None),
        };
        for name in ["use_8bit_adam", "use_lion_optimizer"] {
            if let Some(given) = self.given(name).filter(|given| Some(given.id) != id) {
                findings.say(given.id, Verdict::NoEffect, "--optimizer_type counts before it", "");
            }
        }
        let lower = kind.to_ascii_lowercase();
        let ours = match lower.as_str() {
            "adafactor" => Some("adafactor"),
            "adamw" | "adamw8bit" | "pagedadamw" | "pagedadamw8bit" | "pagedadamw32bit" => {
                Some("adamw")
            }
            _ => None,
        };
        let path = "stages.finetune.optimizer_type";
        match (ours, id) {
            (Some(ours), Some(id)) => {
                if lower != ours {
                    findings.remark(id, "its moments are f32 here, which take 8 bytes for each weight; \"adafactor\" takes next to none");
                }
                draft.set(path, Line::of(quoted(ours), id).comment("--optimizer_type"));
            }
            (Some(ours), None) => draft.set(
                path,
                Line::default(quoted(ours), FROM, "--optimizer_type", "the original's default"),
            ),
            (None, Some(id)) => {
                findings.say(id, Verdict::NotSupported, &format!("there is no {kind}"), "the manifest says adafactor and a learning rate that is usual for it: look at both");
                draft.set(
                    path,
                    Line::default(
                        "\"adafactor\"",
                        FROM,
                        "optimizer",
                        "look at this: the original's optimizer is not there",
                    ),
                );
            }
            (None, None) => {}
        }
        let relative = self.arguments(ours, draft, findings);
        let rate = self.given("learning_rate");
        let path = "stages.finetune.learning_rate";
        match (rate, ours, relative) {
            (Some(given), _, true) => {
                findings.say(given.id, Verdict::NoEffect, "with relative_step Adafactor sets the learning rate by itself", "say relative_step=False there, or relative_step = false here, to have your own");
            }
            (None, _, true) => {}
            (Some(given), None, _) => {
                findings.say(
                    given.id,
                    Verdict::NotSupported,
                    "it was meant for another optimizer",
                    "look at learning_rate in the manifest",
                );
                draft.set(
                    path,
                    Line::default(
                        "1e-5",
                        FROM,
                        "learning rate",
                        "look at this: usual for adafactor",
                    ),
                );
            }
            (None, None, _) => draft.set(
                path,
                Line::default("1e-5", FROM, "learning rate", "look at this: usual for adafactor"),
            ),
            (Some(given), ..) => match literal::number(&given.text()) {
                Some(value) => {
                    if ours == Some("adafactor")
                        && given.text().parse().is_ok_and(|rate: f64| rate > 2e-5)
                    {
                        findings.remark(given.id, "very high for a full fine-tuning with Adafactor; 4e-6 to 1e-5 is usual");
                    }
                    draft.set(
                        path,
                        Line::of(value, given.id).fallback("1e-5").comment("--learning_rate"),
                    );
                }
                None => {
                    findings.say(given.id, Verdict::NotSupported, "it is no number", "correct it");
                    draft.set(
                        path,
                        Line::default(
                            "1e-5",
                            FROM,
                            "learning rate",
                            "look at this: the script's is no number",
                        ),
                    );
                }
            },
            (None, ..) => draft.set(
                path,
                Line::default("2e-6", FROM, "--learning_rate", "the original's default"),
            ),
        }
    }

    /// `--optimizer_args`: one key each. Whether Adafactor sets its learning rate by itself.
    fn arguments(
        &self,
        optimizer: Option<&str>,
        draft: &mut Draft,
        findings: &mut Findings,
    ) -> bool {
        let given = self.given("optimizer_args");
        let stated: Vec<(String, String)> = given
            .map(|given| given.values.clone())
            .unwrap_or_default()
            .iter()
            .flat_map(|value| {
                // One quoted word may hold several.
                value.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
            })
            .filter_map(|argument| {
                argument.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
            })
            .collect();
        let Some(optimizer) = optimizer else {
            if let Some(given) = given {
                findings.say(given.id, Verdict::NotSupported, "they are of another optimizer", "");
            }
            return false;
        };
        let is = |name: &str| {
            stated
                .iter()
                .rev()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.eq_ignore_ascii_case("true"))
        };
        let adafactor = optimizer == "adafactor";
        let warmup = adafactor && is("warmup_init") == Some(true);
        let relative = adafactor && (is("relative_step").unwrap_or(true) || warmup);
        let path = |name: &str| format!("stages.finetune.optimizer_args.{name}");
        let mut refused = Vec::new();
        for (name, value) in &stated {
            if value == "None" {
                continue;
            }
            let Some(given) = given else { continue };
            let value = if name == "relative_step" {
                Some(relative.to_string())
            } else {
                literal::of_python(value)
            };
            match value.filter(|_| KNOWN.contains(&name.as_str())) {
                Some(value) => {
                    draft.set(&path(name), Line::of(value, given.id).comment("--optimizer_args"))
                }
                None => refused.push(format!(
                    "{name}={}",
                    stated
                        .iter()
                        .rev()
                        .find(|(known, _)| known == name)
                        .map_or("", |(_, value)| value)
                )),
            }
        }
        if let Some(given) = given.filter(|_| !refused.is_empty()) {
            let because = format!("{} cannot be said here", refused.join(", "));
            findings.say(
                given.id,
                Verdict::NotSupported,
                &because,
                "leave it out, or look for another setting",
            );
        }
        if adafactor {
            let assumed = [("relative_step", relative, relative), ("scale_parameter", true, true)];
            for (name, value, differs) in assumed {
                if differs && is(name).is_none() {
                    draft.set(
                        &path(name),
                        Line::default(
                            value.to_string(),
                            FROM,
                            &format!("--optimizer_args {name}"),
                            "Adafactor assumes it where it is not said",
                        ),
                    );
                }
            }
            if warmup
                && is("relative_step") == Some(false)
                && let Some(given) = given
            {
                findings.remark(
                    given.id,
                    "warmup_init switches relative_step on, silently in the original",
                );
            }
        }
        relative
    }

    pub(super) fn schedule(&self, draft: &mut Draft, findings: &mut Findings) {
        let relative = draft.get("stages.finetune.optimizer_args.relative_step") == Some("true");
        let mut scheduler = "constant".to_owned();
        if let Some(given) = self.given("lr_scheduler") {
            let name = given.text();
            let (ours, remark) = match name.as_str() {
                "cosine_with_min_lr" => (
                    "cosine",
                    "cosine_with_min_lr is not there; the manifest says cosine, which falls to 0",
                ),
                "inverse_sqrt" => (
                    "constant_with_warmup",
                    "inverse_sqrt is not there; the manifest says constant_with_warmup",
                ),
                "piecewise_constant" => {
                    ("constant", "piecewise_constant is not there; the manifest says constant")
                }
                _ if name.starts_with("adafactor") => {
                    ("constant", "with relative_step Adafactor sets the learning rate by itself")
                }
                name => (name, ""),
            };
            if !remark.is_empty() {
                findings.remark(given.id, remark);
            }
            ours.clone_into(&mut scheduler);
            if relative {
                findings.say(
                    given.id,
                    Verdict::NoEffect,
                    "with relative_step Adafactor sets the learning rate by itself",
                    "",
                );
            } else {
                draft.set(
                    "stages.finetune.lr_scheduler",
                    Line::of(quoted(ours), given.id).comment("--lr_scheduler"),
                );
            }
        }
        for name in ["lr_warmup_steps", "lr_decay_steps"] {
            let Some(given) = self.given(name) else { continue };
            let text = given.text();
            let path = format!("{TABLE}.{name}");
            let none = text.trim_end_matches('%').parse() == Ok(0.0);
            if none {
                findings.say(given.id, Verdict::NoEffect, "0 is none", "");
            } else if relative {
                findings.say(
                    given.id,
                    Verdict::NoEffect,
                    "with relative_step Adafactor sets the learning rate by itself",
                    "",
                );
            } else if name == "lr_warmup_steps" && scheduler == "constant" {
                let because =
                    "a constant learning rate has no warm-up: the original ends with an error";
                findings.say(
                    given.id,
                    Verdict::NotSupported,
                    because,
                    "say lr_scheduler = \"constant_with_warmup\" with it",
                );
            } else {
                let value =
                    if text.ends_with('%') { Some(quoted(&text)) } else { literal::number(&text) };
                match value {
                    Some(value) => {
                        if self.launch.count() > 1
                            && name == "lr_warmup_steps"
                            && !text.contains(['.', '%'])
                        {
                            findings.remark(given.id, "the original's schedule goes on once for each process, so there the warm-up took fewer steps");
                        }
                        draft.set(&path, Line::of(value, given.id).comment(format!("--{name}")));
                    }
                    None => findings.say(
                        given.id,
                        Verdict::NotSupported,
                        "it is neither a count nor a share",
                        "correct it",
                    ),
                }
            }
        }
    }
}
