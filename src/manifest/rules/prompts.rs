//! The rules of prompts, in `[stages.sample]` and `[stages.finetune.samples]`.

use super::{
    super::{Asked, Finetune, prompts::PromptLine},
    Mistake, Rules,
};

impl Rules<'_> {
    /// `below` is what stands between the table and its keys: nothing, or `samples.`.
    pub(super) fn prompts(&mut self, below: &str, asked: &Asked<'_>) {
        let [prompts, file, negative, cfg] =
            ["prompts", "prompts_file", "negative", "cfg"].map(|key| format!("{below}{key}"));
        match (asked.prompts.is_empty(), asked.prompts_file) {
            (true, None) => {
                let mistake = Mistake::MissingKey {
                    table: format!("[{}]", self.of(below).trim_end_matches('.')),
                    key: "prompts".to_owned(),
                    help: "add `prompts = [\"…\"]`, or name a file in `prompts_file`".to_owned(),
                };
                let table = below.trim_end_matches('.');
                self.broken(&[&prompts, table], &["there is none", "in this table"], mistake);
            }
            (false, Some(_)) => {
                let mistake = Mistake::Conflict {
                    what: "there are prompts here and in a file".to_owned(),
                    help: "take `prompts_file` out, or `prompts`".to_owned(),
                };
                self.broken(&[&prompts, &file], &["these", "and those"], mistake);
            }
            _ => {}
        }
        let mut leads_away = asked.cfg != 1.0 || asked.prompts_file.is_some();
        for (index, text) in asked.prompts.iter().enumerate() {
            match text.parse::<PromptLine>() {
                Ok(line) => leads_away |= line.cfg.is_some_and(|cfg| cfg != 1.0),
                Err(reason) => {
                    let mistake = Mistake::Conflict {
                        what: format!("the prompt cannot be read: {reason}"),
                        help:
                            "correct the option, or take it out; two dashes before a word begin one"
                                .to_owned(),
                    };
                    self.broken(&[&format!("{prompts}.{index}")], &["this prompt"], mistake);
                }
            }
        }
        if asked.negative.is_some() && !leads_away {
            let reason = "with a `cfg` of 1 the picture is not led away from anything";
            self.no_effect(&negative, &cfg, reason);
        }
    }

    pub(super) fn samples(&mut self, finetune: &Finetune) {
        let Some(samples) = &finetune.samples else { return };
        self.prompts("samples.", &samples.asked());
        let every = samples.every_n_epochs;
        if every.is_none() && samples.every_n_steps.is_none() && !samples.at_first {
            let mistake = Mistake::Conflict {
                what: "it is not said when pictures are drawn".to_owned(),
                help: "say `every_n_epochs = 1`, `every_n_steps = 500` or `at_first = true`"
                    .to_owned(),
            };
            self.broken(&["samples"], &["in this table"], mistake);
        }
        if every.is_some_and(|every| every > finetune.max_train_epochs) {
            let reason = "the training ends before";
            self.no_effect("samples.every_n_epochs", "max_train_epochs", reason);
        }
    }
}
