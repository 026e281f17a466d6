//! What becomes of a training caption where the dataset asks for more than the plain text: prefix and
//! suffix, wildcards, shuffled and dropped parts. A pure function of a text, the rules and the draws;
//! where draws come from it does not know.

use crate::base::Stream;

/// Rules of one dataset, under the training scripts' names.
#[derive(Clone, Debug, PartialEq)]
pub struct CaptionRules {
    /// Words before the text, joined by a space.
    pub caption_prefix: Option<String>,
    /// Words behind it.
    pub caption_suffix: Option<String>,
    /// Stands between two parts; never empty.
    pub caption_separator: String,
    /// Stands for `caption_separator` inside of a part that stays together.
    pub secondary_separator: Option<String>,
    /// Whether the free parts are put into random order.
    pub shuffle_caption: bool,
    /// How many parts at the front are fixed, where no `keep_tokens_separator` stands in the text.
    pub keep_tokens: usize,
    /// Ends the fixed front, and where it stands twice begins a fixed end.
    pub keep_tokens_separator: Option<String>,
    /// Whether one line is drawn, and one of `{a|b|c}`.
    pub enable_wildcard: bool,
    /// Probability with which a free part is left out.
    pub caption_tag_dropout_rate: f64,
    /// Whether the free parts come in one after the other.
    pub token_warmup: Option<TokenWarmup>,
}

/// The training begins with few free parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenWarmup {
    /// With so many.
    pub min: usize,
    /// After this share of the training, above 0, all are there.
    pub step: f64,
}

/// Where draws come from.
pub trait Draws {
    /// One of `0..count`; `count` is not 0.
    fn choice(&mut self, count: usize) -> usize;

    /// The numbers `0..count` in random order.
    fn order(&mut self, count: usize) -> Vec<usize>;

    /// A number in `[0, 1)`.
    fn uniform(&mut self) -> f64;
}

impl Draws for Stream {
    fn choice(&mut self, count: usize) -> usize {
        self.below(count)
    }

    fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        self.shuffle(&mut order);
        order
    }

    fn uniform(&mut self) -> f64 {
        Self::uniform(self)
    }
}

impl Default for CaptionRules {
    /// Those that change nothing.
    fn default() -> Self {
        Self {
            caption_prefix: None,
            caption_suffix: None,
            caption_separator: ",".to_owned(),
            secondary_separator: None,
            shuffle_caption: false,
            keep_tokens: 0,
            keep_tokens_separator: None,
            enable_wildcard: false,
            caption_tag_dropout_rate: 0.0,
            token_warmup: None,
        }
    }
}

impl CaptionRules {
    /// The text that an encoder reads. `progress` is the share of the training that is over, in
    /// `[0, 1)`; only a token warm-up looks at it.
    ///
    /// In this order: a line is drawn (without wildcards all lines are joined), prefix and suffix are
    /// added, wildcards are drawn, parts are split, kept, shuffled and dropped, and the secondary
    /// separator becomes the separator.
    pub fn apply(&self, text: &str, progress: f64, draws: &mut dyn Draws) -> String {
        let mut text = self.one_line(text, draws);
        if let Some(prefix) = &self.caption_prefix {
            text = format!("{prefix} {text}");
        }
        if let Some(suffix) = &self.caption_suffix {
            text = format!("{text} {suffix}");
        }
        if self.enable_wildcard {
            text = wildcards(&text, draws);
        }
        if let Some(parts) = self.split(&text) {
            text = self.rearranged(parts, progress, draws).join(", ");
        }
        match &self.secondary_separator {
            Some(secondary) => text.replace(secondary.as_str(), &self.caption_separator),
            None => text,
        }
    }

    fn one_line(&self, text: &str, draws: &mut dyn Draws) -> String {
        let lines: Vec<&str> = text.split('\n').collect();
        match &lines[..] {
            [one] => (*one).to_owned(),
            lines if self.enable_wildcard => lines[draws.choice(lines.len())].to_owned(),
            lines => {
                let lines = lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty());
                lines.collect::<Vec<_>>().join(" ")
            }
        }
    }

    /// The parts of a text, if it has to be taken apart: to be rearranged, or to take the separator
    /// of its fixed parts out.
    fn split<'a>(&self, text: &'a str) -> Option<Parts<'a>> {
        let separator = self.caption_separator.as_str();
        let parts = |text: &'a str| text.split(separator).map(str::trim);
        let keep = self.keep_tokens_separator.as_deref().filter(|keep| !keep.is_empty());
        if let Some(keep) = keep
            && let Some((front, rest)) = text.split_once(keep)
        {
            let filled = |text| parts(text).filter(|part| !part.is_empty());
            let (free, end) = rest.split_once(keep).unwrap_or((rest, ""));
            // A third mark has no meaning, and no encoder shall read it.
            let end = end.split(keep).flat_map(filled);
            return Some(Parts {
                front: filled(front).collect(),
                free: filled(free).collect(),
                end: end.collect(),
            });
        }
        if !self.rearranges() {
            return None;
        }
        let mut front: Vec<_> = parts(text.trim()).collect();
        let free = front.split_off(self.keep_tokens.min(front.len()));
        Some(Parts { front, free, end: Vec::new() })
    }

    /// Whether parts move or are left out.
    fn rearranges(&self) -> bool {
        self.shuffle_caption || self.caption_tag_dropout_rate > 0.0 || self.token_warmup.is_some()
    }

    fn rearranged<'a>(
        &self,
        parts: Parts<'a>,
        progress: f64,
        draws: &mut dyn Draws,
    ) -> Vec<&'a str> {
        let Parts { front, mut free, end } = parts;
        if let Some(TokenWarmup { min, step }) = self.token_warmup
            && progress < step
        {
            let more = (progress / step) * (free.len() as f64 - min as f64);
            free.truncate((more.floor() + min as f64) as usize);
        }
        if self.shuffle_caption {
            free = draws.order(free.len()).into_iter().map(|index| free[index]).collect();
        }
        if self.caption_tag_dropout_rate > 0.0 {
            free.retain(|_| draws.uniform() >= self.caption_tag_dropout_rate);
        }
        [front, free, end].concat()
    }
}

/// A text taken apart.
struct Parts<'a> {
    front: Vec<&'a str>,
    free: Vec<&'a str>,
    end: Vec<&'a str>,
}

/// A piece of a text with wildcards.
#[derive(Clone, Copy, PartialEq)]
enum Piece {
    Open,
    Close,
    Plain(char),
}

/// Draws one of each `{a|b|c}`; a doubled brace is a brace. What has no end, or nothing between its
/// braces, stays as it is.
fn wildcards(text: &str, draws: &mut dyn Draws) -> String {
    let pieces = pieces(text);
    let (mut drawn, mut at) = (String::new(), 0);
    while at < pieces.len() {
        let end = match pieces[at] {
            Piece::Open => pieces[at..].iter().position(|piece| *piece == Piece::Close),
            _ => None,
        };
        match end.filter(|end| *end > 1) {
            Some(end) => {
                let inside: String =
                    pieces[at + 1..at + end].iter().map(Piece::character).collect();
                let choices: Vec<&str> = inside.split('|').collect();
                drawn += choices[draws.choice(choices.len())];
                at += end + 1;
            }
            None => {
                drawn.push(pieces[at].character());
                at += 1;
            }
        }
    }
    drawn
}

fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        pieces.push(match character {
            '{' | '}' if characters.next_if_eq(&character).is_some() => Piece::Plain(character),
            '{' => Piece::Open,
            '}' => Piece::Close,
            other => Piece::Plain(other),
        });
    }
    pieces
}

impl Piece {
    fn character(&self) -> char {
        match self {
            Self::Open => '{',
            Self::Close => '}',
            Self::Plain(character) => *character,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(rules: &CaptionRules, text: &str, variant: u64) -> String {
        rules.apply(text, 0.0, &mut Stream::new(1, "test", None, &[variant]))
    }

    #[test]
    fn without_rules_a_text_stays_as_it_is_in_one_line() {
        let rules = CaptionRules::default();
        assert_eq!(drawn(&rules, "a, b ||| {c|d}", 0), "a, b ||| {c|d}");
        assert_eq!(drawn(&rules, "a cat\n\n on a mat ", 0), "a cat on a mat");
        assert_eq!(drawn(&rules, "", 0), "");
    }

    #[test]
    fn the_mark_of_fixed_parts_never_reaches_an_encoder() {
        let keep = Some("|||".to_owned());
        let rules = CaptionRules { keep_tokens_separator: keep, ..CaptionRules::default() };
        assert_eq!(drawn(&rules, "sks ||| a, b ||| best", 0), "sks, a, b, best");
        assert_eq!(drawn(&rules, "sks ||| a ||| b ||| c", 0), "sks, a, b, c");
        assert_eq!(drawn(&rules, "|||a", 0), "a");
        assert_eq!(drawn(&rules, "no mark,here", 0), "no mark,here");
    }

    #[test]
    fn prefix_and_suffix_stand_around_the_drawn_line() {
        let rules = CaptionRules {
            caption_prefix: Some("{photo|picture} of".to_owned()),
            caption_suffix: Some("outside".to_owned()),
            enable_wildcard: true,
            ..CaptionRules::default()
        };
        let texts: std::collections::BTreeSet<_> =
            (0..64).map(|variant| drawn(&rules, "a cat\na dog", variant)).collect();
        let expected = [
            "photo of a cat outside",
            "photo of a dog outside",
            "picture of a cat outside",
            "picture of a dog outside",
        ];
        assert_eq!(texts.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn braces_that_are_no_wildcard_stay() {
        let rules = CaptionRules { enable_wildcard: true, ..CaptionRules::default() };
        for (text, expected) in [
            ("{a", "{a"),
            ("a} {", "a} {"),
            ("{} {a}", "{} a"),
            ("{{a|b}}", "{a|b}"),
            ("{猫}", "猫"),
        ] {
            assert_eq!(drawn(&rules, text, 0), expected, "{text}");
        }
    }

    #[test]
    fn a_warm_up_adds_parts_as_the_training_goes_on() {
        let token_warmup = Some(TokenWarmup { min: 1, step: 0.5 });
        let rules = CaptionRules { token_warmup, keep_tokens: 1, ..CaptionRules::default() };
        let at = |progress| rules.apply("k, a, b, c", progress, &mut Stream::new(0, "", None, &[]));
        assert_eq!([at(0.0), at(0.25), at(0.49)], ["k, a", "k, a, b", "k, a, b"]);
        assert_eq!(at(0.5), "k, a, b, c");
        assert_eq!(rules.apply("k", 0.0, &mut Stream::new(0, "", None, &[])), "k");
    }
}
