//! What a picture is trained with: caption and tags put together.

use std::collections::HashSet;

use super::{DatasetError, clean};

/// How caption and tags are put together. [`training_caption`] says in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeRules {
    /// Whether captions are cleaned as the training scripts do ([`clean::clean_caption`]).
    pub clean_captions: bool,
    /// Whether tags are ([`clean::clean_tags`]).
    pub clean_tags: bool,
    /// A tag, and what stands for it: one tag, several with separators between them, or none.
    pub replace_tags: Vec<[String; 2]>,
    /// Tags that are left out.
    pub remove_tags: Vec<String>,
    /// Whether a tag that a picture has twice is written once, at its first place.
    pub deduplicate_tags: bool,
    /// Tags that come first, in this order. One that the picture already has moves to the front.
    pub prepend_tags: Vec<String>,
    /// Tags that come last, in this order, where the picture does not have them.
    pub append_tags: Vec<String>,
    /// What stands between two tags, in what is read and in what is written: `, `. Blanks around a
    /// separator do not count when a text is taken apart.
    pub tag_separator: String,
    /// The training caption, with `{caption}` and `{tags}`. What stands between two placeholders is
    /// left out where one of them is empty, and so are separators left over at the ends.
    pub template: String,
    /// Stands in the text for the caption of a picture whose words come to nothing; for its tags where
    /// the template has no `{caption}`. Taken as it is.
    pub class_tokens: Option<String>,
    /// Whether each line is a text of its own, of which one is drawn later.
    pub lines: bool,
}

/// The words of one picture after the merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The caption, or `None` if the picture has none.
    pub caption: Option<String>,
    /// The tags, or `None` if the picture has none and none are added.
    pub tags: Option<String>,
    /// The training caption: one line, or several of which one is to be drawn.
    pub text: String,
}

impl Default for MergeRules {
    fn default() -> Self {
        Self {
            clean_captions: false,
            clean_tags: false,
            replace_tags: Vec::new(),
            remove_tags: Vec::new(),
            deduplicate_tags: true,
            prepend_tags: Vec::new(),
            append_tags: Vec::new(),
            tag_separator: ", ".to_owned(),
            template: "{caption}, {tags}".to_owned(),
            class_tokens: None,
            lines: false,
        }
    }
}

impl MergeRules {
    /// Checks the template.
    ///
    /// # Errors
    /// It has a placeholder other than `{caption}` and `{tags}`.
    pub fn check(&self) -> Result<(), DatasetError> {
        let mut rest = self.template.as_str();
        while let Some((_, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else { break };
            if !matches!(name, "caption" | "tags") {
                return Err(DatasetError::Placeholder { name: name.to_owned() });
            }
            rest = after;
        }
        Ok(())
    }

    /// The tags of a text, without white space around them and without empty ones. The end of a line
    /// ends a tag too.
    fn split<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a str> {
        // A separator of blanks alone separates as it is.
        let separator = match self.tag_separator.trim() {
            "" => self.tag_separator.as_str(),
            stripped => stripped,
        };
        let parts = text.lines().flat_map(move |line| line.split(separator));
        parts.map(str::trim).filter(|tag| !tag.is_empty())
    }

    /// What is left of a picture's tags after cleaning, replacing and removing.
    fn own_tags(&self, text: &str) -> Vec<String> {
        let mut tags: Vec<String> = self.split(text).map(str::to_owned).collect();
        if self.clean_tags {
            let given: Vec<&str> = tags.iter().map(String::as_str).collect();
            tags = clean::clean_tags(&given);
        }
        for [source, target] in &self.replace_tags {
            let replaced = |tag: String| match tag == *source {
                true => self.split(target).map(str::to_owned).collect(),
                false => vec![tag],
            };
            tags = tags.into_iter().flat_map(replaced).collect();
        }
        tags.retain(|tag| !self.remove_tags.contains(tag));
        tags
    }

    /// One line of tags after all operations on tags.
    fn tags(&self, text: &str) -> String {
        self.with_added(&self.own_tags(text))
    }

    /// One line of a picture's tags and of those that all pictures have.
    fn with_added(&self, tags: &[String]) -> String {
        let mut merged: Vec<&str> = Vec::with_capacity(tags.len());
        // A set, since a file of words may have a hundred thousand of them.
        let mut seen: HashSet<&str> = HashSet::new();
        merged
            .extend(self.prepend_tags.iter().map(|tag| tag.trim()).filter(|tag| seen.insert(tag)));
        if self.deduplicate_tags {
            merged.extend(tags.iter().map(String::as_str).filter(|tag| seen.insert(tag)));
        } else {
            merged.extend(tags.iter().map(String::as_str).filter(|tag| !seen.contains(tag)));
            seen.extend(tags.iter().map(String::as_str));
        }
        merged.extend(self.append_tags.iter().map(|tag| tag.trim()).filter(|tag| seen.insert(tag)));
        merged.join(&self.tag_separator)
    }
}

/// Puts a picture's caption and tags together: clean-ups, replacing, removing, deduplicating,
/// prepending and appending, in this order; class tokens, where nothing is left that the template
/// shows; then the template.
#[must_use]
pub fn training_caption(caption: Option<&str>, tags: Option<&str>, rules: &MergeRules) -> Merged {
    let caption = caption.map(|caption| match rules.clean_captions {
        true => clean::clean_caption(caption.trim()),
        false => caption.trim().to_owned(),
    });
    let adds = !rules.prepend_tags.is_empty() || !rules.append_tags.is_empty();
    let tags = (tags.is_some() || adds).then(|| tags.unwrap_or_default());
    let lines = |text: Option<&str>| {
        let lines = text.unwrap_or_default().lines().map(str::trim);
        lines.filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let class =
        rules.class_tokens.as_deref().filter(|_| !shows_words(rules, caption.as_deref(), tags));
    let shows_caption = rules.template.contains("{caption}");
    let shown = class.filter(|_| shows_caption).or(caption.as_deref());
    let captions = match rules.lines {
        true => lines(shown),
        false => vec![one_line(shown.unwrap_or_default())],
    };
    // Lines of tags are texts of their own only where no line of a caption is.
    let tag_lines = match (rules.lines && captions.is_empty(), tags) {
        (_, None) => vec![String::new()],
        (true, Some(tags)) if lines(Some(tags)).len() > 1 => {
            lines(Some(tags)).iter().map(|line| rules.tags(line)).collect()
        }
        (_, Some(tags)) => vec![rules.tags(tags)],
    };
    let tags = tags.map(|_| tag_lines.join("\n"));
    let tag_lines = match class.filter(|_| !shows_caption) {
        Some(class) => {
            let class: Vec<String> = rules.split(class).map(str::to_owned).collect();
            vec![rules.with_added(&class)]
        }
        None => tag_lines,
    };
    let texts: Vec<String> = match &captions[..] {
        [] => tag_lines.iter().map(|tags| render(rules, "", tags)).collect(),
        lines => lines.iter().map(|line| render(rules, line, &tag_lines[0])).collect(),
    };
    Merged { caption, tags, text: texts.join("\n") }
}

/// Whether something of a picture's own is left in what the template shows.
fn shows_words(rules: &MergeRules, caption: Option<&str>, tags: Option<&str>) -> bool {
    let shows = |placeholder| rules.template.contains(placeholder);
    (shows("{caption}") && caption.is_some_and(|caption| !caption.is_empty()))
        || (shows("{tags}") && tags.is_some_and(|tags| !rules.own_tags(tags).is_empty()))
}

/// Joins the lines by a space: to the tokenizers a line end is no more than that.
fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" ")
}

/// Fills the template in one go, so that a caption that contains `{tags}` is taken as it is.
fn render(rules: &MergeRules, caption: &str, tags: &str) -> String {
    let mut text = String::new();
    let mut filled = false;
    let mut rest = rules.template.as_str();
    // The literal before the first placeholder is always kept; a later one only between two values.
    let mut first = true;
    while let Some((literal, value, after)) = next_placeholder(rest, caption, tags) {
        if first || (filled && !value.is_empty()) {
            text += literal;
        }
        text += value;
        filled |= !value.is_empty();
        first = false;
        rest = after;
    }
    text += rest;
    let separator = rules.tag_separator.trim();
    let left_over = |c: char| c.is_whitespace() || c == ',' || separator.contains(c);
    text.trim_matches(left_over).to_owned()
}

/// What stands before the first placeholder, its value, and what stands behind it.
fn next_placeholder<'a>(
    template: &'a str,
    caption: &'a str,
    tags: &'a str,
) -> Option<(&'a str, &'a str, &'a str)> {
    let found =
        |name, value| template.split_once(name).map(|(before, after)| (before, value, after));
    let both = [found("{caption}", caption), found("{tags}", tags)];
    both.into_iter().flatten().min_by_key(|(before, ..)| before.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owned(tags: &[&str]) -> Vec<String> {
        tags.iter().map(|&tag| tag.to_owned()).collect()
    }

    fn rules(prepend: &[&str], template: &str) -> MergeRules {
        let (prepend_tags, template) = (owned(prepend), template.to_owned());
        MergeRules { prepend_tags, template, ..MergeRules::default() }
    }

    fn text(caption: Option<&str>, tags: Option<&str>, template: &str) -> String {
        training_caption(caption, tags, &rules(&[], template)).text
    }

    fn tags(tags: &str, rules: &MergeRules) -> String {
        training_caption(None, Some(tags), rules).tags.unwrap()
    }

    #[test]
    fn prepended_tags_come_first_and_only_once() {
        let rules = rules(&["sks", "red", "sks"], "{caption}, {tags}");
        let merged = training_caption(Some(" a cat\n"), Some("cat,red ,, dog, cat"), &rules);
        assert_eq!(merged.caption.as_deref(), Some("a cat"));
        assert_eq!(merged.tags.as_deref(), Some("sks, red, cat, dog"));
        assert_eq!(merged.text, "a cat, sks, red, cat, dog");
        // A picture without tags gets them too.
        assert_eq!(training_caption(None, None, &rules).text, "sks, red");
    }

    #[test]
    fn operations_on_tags_come_in_their_order() {
        let rules = MergeRules {
            clean_tags: true,
            replace_tags: vec![
                ["long hair".to_owned(), "hair, gone".to_owned()],
                ["solo".to_owned(), String::new()],
                ["x".to_owned(), "last".to_owned()],
            ],
            remove_tags: owned(&["gone", "first"]),
            prepend_tags: owned(&["first"]),
            append_tags: owned(&["last", "best", "first"]),
            ..MergeRules::default()
        };
        // Cleaned, then replaced, then removed; what is added is not removed again.
        assert_eq!(tags("solo, long_hair, x, hair, first", &rules), "first, hair, last, best");
        let rules = MergeRules { deduplicate_tags: false, ..MergeRules::default() };
        assert_eq!(tags("a, b, a", &rules), "a, b, a");
        assert_eq!(tags("a, b, a", &MergeRules::default()), "a, b");
    }

    #[test]
    fn tags_are_separated_as_the_tag_stage_separates_them() {
        let rules = |separator: &str| MergeRules {
            tag_separator: separator.to_owned(),
            append_tags: owned(&["z"]),
            ..MergeRules::default()
        };
        assert_eq!(tags("a; b,c ;;d;", &rules("; ")), "a; b,c; d; z");
        assert_eq!(tags("a b", &rules(" ")), "a b z");
        let both = training_caption(Some(""), Some("a;"), &rules("; "));
        assert_eq!(both.text, "a; z");
        // The end of a line ends a tag.
        assert_eq!(tags("a, b\nc,\n\nd", &rules(", ")), "a, b, c, d, z");
    }

    #[test]
    fn lines_are_one_text_or_texts_of_their_own() {
        let mut rules = MergeRules::default();
        let merge = |caption, tags, rules: &MergeRules| training_caption(caption, tags, rules).text;
        let caption = Some("a cat\n\n a dog ");
        assert_eq!(merge(caption, Some("x\ny"), &rules), "a cat a dog, x, y");
        rules.lines = true;
        assert_eq!(merge(caption, Some("x\ny"), &rules), "a cat, x, y\na dog, x, y");
        assert_eq!(merge(None, Some("x\ny, z"), &rules), "x\ny, z");
        assert_eq!(merge(None, None, &rules), "");
        assert_eq!(merge(Some("a"), None, &rules), "a");
    }

    #[test]
    fn class_tokens_stand_in_where_there_are_no_words() {
        let mut rules = rules(&["sks"], "{caption}, {tags}");
        rules.class_tokens = Some("cat".to_owned());
        assert_eq!(training_caption(None, None, &rules).text, "cat, sks");
        assert_eq!(training_caption(Some(" \n"), Some(""), &rules).text, "cat, sks");
        assert_eq!(training_caption(None, Some("x"), &rules).text, "sks, x");
        // Words that come to nothing are none; and what stands in is no caption of the picture.
        let merged = training_caption(None, Some(" ,, , "), &rules);
        assert_eq!((merged.text.as_str(), merged.caption), ("cat, sks", None));
        rules.remove_tags = owned(&["x", "cat"]);
        assert_eq!(training_caption(None, Some("x"), &rules).text, "cat, sks");
        rules.template = "{caption}".to_owned();
        assert_eq!(training_caption(None, Some("y"), &rules).text, "cat");
        assert_eq!(training_caption(Some("z"), None, &rules).text, "z");
        rules.template = "photo, {tags}".to_owned();
        let merged = training_caption(Some("not shown"), None, &rules);
        assert_eq!(
            (merged.text.as_str(), merged.tags.as_deref()),
            ("photo, sks, cat", Some("sks"))
        );
        rules.template = "fixed".to_owned();
        assert_eq!(training_caption(None, None, &rules).text, "fixed");
    }

    #[test]
    fn unicode_and_marks_are_words_like_others() {
        let merged =
            training_caption(Some("一只猫 😀"), Some("猫, e\u{301}"), &MergeRules::default());
        assert_eq!(merged.text, "一只猫 😀, 猫, e\u{301}");
        // What the mark of fixed parts means is for the rules of captions.
        assert_eq!(text(Some("sks ||| a"), None, "{caption}, {tags}"), "sks ||| a");
    }

    #[test]
    fn nothing_is_left_of_a_separator_beside_an_empty_value() {
        const BOTH: &str = "{caption}, {tags}";
        assert_eq!(text(Some("a cat"), Some("cat"), BOTH), "a cat, cat");
        assert_eq!(text(Some("a cat"), None, BOTH), "a cat");
        assert_eq!(text(Some(""), Some("cat"), BOTH), "cat");
        assert_eq!(text(None, None, BOTH), "");
        assert_eq!(text(None, None, "sks style, {caption}"), "sks style");
        assert_eq!(text(Some("a"), None, "{tags}. {caption}."), "a.");
        assert_eq!(text(Some("a"), None, "{caption}; {tags}; {caption}"), "a; a");
    }

    #[test]
    fn values_are_taken_as_they_are_and_in_one_line() {
        assert_eq!(text(Some("a {tags}\r\n\n b"), Some("x"), "{caption}: {tags}"), "a {tags} b: x");
        assert_eq!(text(Some("a"), Some("x"), "{ {tags} {"), "{ x {");
    }

    #[test]
    fn an_unknown_placeholder_is_an_error() {
        assert!(rules(&[], "{caption}, {tags}, {").check().is_ok());
        let error = rules(&[], "{caption}, {tag}").check().unwrap_err();
        assert!(matches!(error, DatasetError::Placeholder { name } if name == "tag"));
    }

    proptest! {
        #[test]
        fn merging_again_changes_nothing(tags in "[a-c ,]{0,20}", prepend in prop::collection::vec("[a-d]", 0..3)) {
            let rules = MergeRules { prepend_tags: prepend.clone(), ..MergeRules::default() };
            let once = training_caption(Some("x"), Some(&tags), &rules);
            let twice = training_caption(Some("x"), once.tags.as_deref(), &rules);
            prop_assert_eq!(&once, &twice);
            // No tag is lost, none is made up, and none stands there twice.
            let (merged, own): (Vec<_>, Vec<_>) =
                (rules.split(once.tags.as_deref().unwrap()).collect(), rules.split(&tags).collect());
            for tag in own.iter().copied().chain(prepend.iter().map(String::as_str)) {
                prop_assert_eq!(merged.iter().filter(|&&found| found == tag).count(), 1);
            }
            prop_assert!(merged.iter().all(|tag| own.contains(tag) || prepend.iter().any(|p| p == tag)));
        }

        #[test]
        fn no_comma_stands_at_an_end_or_twice(caption in "[a-b ]{0,5}", tags in "[a-b ,]{0,9}") {
            let text = text(Some(&caption), Some(&tags), "{caption}, {tags}");
            prop_assert!(!text.starts_with([',', ' ']) && !text.ends_with([',', ' ']), "{text:?}");
            prop_assert!(!text.contains(", ,") && !text.contains(",,"), "{text:?}");
        }
    }
}
