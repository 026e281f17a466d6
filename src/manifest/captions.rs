//! The rules of captions in a `[[dataset]]`: which of them have an effect, and mistakes among them.

use super::{Dataset, rules::Rules};
use crate::base::Value;

impl Dataset {
    /// Whether parts of a caption move or are left out.
    fn rearranges_captions(&self) -> bool {
        self.shuffle_caption || self.caption_tag_dropout_rate > 0.0 || self.token_warmup_step > 0.0
    }

    /// Whether anything in a caption is drawn, or changes as the training goes on.
    fn draws_captions(&self) -> bool {
        self.rearranges_captions() || self.enable_wildcard
    }

    /// Whether `caption_separator` is looked at.
    fn separates_captions(&self) -> bool {
        self.rearranges_captions()
            || self.keep_tokens_separator.is_some()
            || self.secondary_separator.is_some()
    }

    /// Name and value of every rule that can change a training text: a dataset without any of them
    /// has an empty list.
    #[must_use]
    pub fn caption_rules(&self) -> Vec<(String, Value)> {
        let plain = Self::default();
        let moves = self.rearranges_captions();
        let counts = [
            ("class_tokens", self.class_tokens != plain.class_tokens),
            ("caption_prefix", self.caption_prefix != plain.caption_prefix),
            ("caption_suffix", self.caption_suffix != plain.caption_suffix),
            (
                "caption_separator",
                self.caption_separator != plain.caption_separator && self.separates_captions(),
            ),
            ("secondary_separator", self.secondary_separator != plain.secondary_separator),
            ("shuffle_caption", self.shuffle_caption),
            ("keep_tokens", self.keep_tokens > 0 && moves),
            ("keep_tokens_separator", self.keep_tokens_separator != plain.keep_tokens_separator),
            ("enable_wildcard", self.enable_wildcard),
            ("caption_tag_dropout_rate", self.caption_tag_dropout_rate > 0.0),
            ("token_warmup_min", self.token_warmup_step > 0.0),
            ("token_warmup_step", self.token_warmup_step > 0.0),
            ("caption_variants", self.draws_captions()),
        ];
        let values = super::params::fields(self);
        let counting = |name: &str| counts.iter().any(|(rule, counts)| *rule == name && *counts);
        values.into_iter().filter(|(name, _)| counting(name)).collect()
    }
}

impl Rules<'_> {
    /// Rules of captions that have no effect as the others are.
    pub(super) fn captions(&mut self, dataset: &Dataset) {
        let still = "parts of a caption neither move nor are left out";
        if dataset.keep_tokens > 0 && !dataset.rearranges_captions() {
            self.no_effect("keep_tokens", "shuffle_caption", still);
        }
        if self.states("caption_separator") && !dataset.separates_captions() {
            self.no_effect("caption_separator", "shuffle_caption", still);
        }
        if self.states("token_warmup_min") && dataset.token_warmup_step == 0.0 {
            self.no_effect("token_warmup_min", "token_warmup_step", "there is no token warm-up");
        }
        if self.states("caption_variants") && !dataset.draws_captions() {
            let reason = "nothing in its captions is drawn";
            self.no_effect("caption_variants", "shuffle_caption", reason);
        }
    }
}
