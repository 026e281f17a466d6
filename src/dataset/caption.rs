//! What a picture is trained with: caption and tags put together.

use super::DatasetError;

/// How caption and tags are put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeRules {
    /// Tags that come first, in this order. One that the picture already has moves to the front.
    pub prepend_tags: Vec<String>,
    /// The training caption, with `{caption}` and `{tags}`. What stands between two placeholders is
    /// left out where one of them is empty, and so are commas left over at the ends.
    pub template: String,
}

/// The words of one picture after the merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The caption without white space around it, or `None` if the picture has none.
    pub caption: Option<String>,
    /// The tags, joined by `, `, or `None` if the picture has none and none are prepended.
    pub tags: Option<String>,
    /// The training caption, in one line.
    pub text: String,
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
}

/// The tags of a list separated by commas, without white space around them and without empty ones.
pub fn split_tags(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|tag| !tag.is_empty())
}

/// Puts a picture's caption and tags together.
#[must_use]
pub fn training_caption(caption: Option<&str>, tags: Option<&str>, rules: &MergeRules) -> Merged {
    let caption = caption.map(|caption| caption.trim().to_owned());
    let tags = merge_tags(tags, &rules.prepend_tags);
    let text = render(
        &rules.template,
        &one_line(caption.as_deref().unwrap_or_default()),
        &one_line(tags.as_deref().unwrap_or_default()),
    );
    Merged { caption, tags, text }
}

fn merge_tags(tags: Option<&str>, prepend: &[String]) -> Option<String> {
    let mut merged: Vec<&str> = Vec::new();
    for tag in prepend.iter().flat_map(|tags| split_tags(tags)) {
        if !merged.contains(&tag) {
            merged.push(tag);
        }
    }
    if tags.is_none() && merged.is_empty() {
        return None;
    }
    let first = merged.len();
    for tag in split_tags(tags.unwrap_or_default()) {
        if !merged[..first].contains(&tag) {
            merged.push(tag);
        }
    }
    Some(merged.join(", "))
}

/// Joins the lines by a space: to the tokenizers a line end is no more than that.
fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" ")
}

/// Fills the template in one go, so that a caption that contains `{tags}` is taken as it is.
fn render(template: &str, caption: &str, tags: &str) -> String {
    let mut text = String::new();
    let mut filled = false;
    let mut rest = template;
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
    text.trim_matches(|c: char| c.is_whitespace() || c == ',').to_owned()
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

    fn rules(prepend: &[&str], template: &str) -> MergeRules {
        let prepend_tags = prepend.iter().map(|&tag| tag.to_owned()).collect();
        MergeRules { prepend_tags, template: template.to_owned() }
    }

    fn text(caption: Option<&str>, tags: Option<&str>, template: &str) -> String {
        training_caption(caption, tags, &rules(&[], template)).text
    }

    #[test]
    fn prepended_tags_come_first_and_only_once() {
        let rules = rules(&["sks", "red, sks"], "{caption}, {tags}");
        let merged = training_caption(Some(" a cat\n"), Some("cat,red ,, dog, cat"), &rules);
        assert_eq!(merged.caption.as_deref(), Some("a cat"));
        assert_eq!(merged.tags.as_deref(), Some("sks, red, cat, dog, cat"));
        assert_eq!(merged.text, "a cat, sks, red, cat, dog, cat");
        // A picture without tags gets them too.
        assert_eq!(training_caption(None, None, &rules).text, "sks, red");
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
            let rules = MergeRules { prepend_tags: prepend.clone(), template: "{caption}, {tags}".to_owned() };
            let once = training_caption(Some("x"), Some(&tags), &rules);
            let twice = training_caption(Some("x"), once.tags.as_deref(), &rules);
            prop_assert_eq!(&once, &twice);
            // No tag is lost, none is made up, and those in front stand there once.
            let (merged, own): (Vec<_>, Vec<_>) =
                (split_tags(once.tags.as_deref().unwrap()).collect(), split_tags(&tags).collect());
            for tag in ["a", "b", "c", "d"] {
                let count = |tags: &[&str]| tags.iter().filter(|&&found| found == tag).count();
                let wanted = if prepend.iter().any(|p| p == tag) { 1 } else { count(&own) };
                prop_assert_eq!(count(&merged), wanted);
            }
        }

        #[test]
        fn no_comma_stands_at_an_end_or_twice(caption in "[a-b ]{0,5}", tags in "[a-b ,]{0,9}") {
            let text = text(Some(&caption), Some(&tags), "{caption}, {tags}");
            prop_assert!(!text.starts_with([',', ' ']) && !text.ends_with([',', ' ']), "{text:?}");
            prop_assert!(!text.contains(", ,") && !text.contains(",,"), "{text:?}");
        }
    }
}
