//! The clean-ups of the training scripts for captions and booru tags (`clean_captions_and_tags`), to
//! be asked for: they are made for drawings of people, and other captions lose by them.

use std::collections::HashSet;

/// What a caption's words become, in this order, each until nothing changes any more.
const WORDS: [(&str, &str); 27] = [
    ("anime anime", "anime"),
    ("young ", ""),
    ("anime girl", "girl"),
    ("cartoon female", "girl"),
    ("cartoon lady", "girl"),
    ("cartoon character", "girl"),
    ("cartoon woman", "girl"),
    ("cartoon women", "girls"),
    ("cartoon girl", "girl"),
    ("anime female", "girl"),
    ("anime lady", "girl"),
    ("anime character", "girl"),
    ("anime woman", "girl"),
    ("anime women", "girls"),
    ("lady", "girl"),
    ("female", "girl"),
    ("woman", "girl"),
    ("women", "girls"),
    ("people", "girls"),
    ("person", "girl"),
    ("a cartoon figure", "a figure"),
    ("a cartoon image", "an image"),
    ("a cartoon picture", "a picture"),
    ("an anime cartoon image", "an image"),
    ("a cartoon anime drawing", "a drawing"),
    ("a cartoon drawing", "a drawing"),
    ("girl girl", "girl"),
];

/// Cleans a caption as the script does: words for people become `girl` and `girls`, and drawings lose
/// their `cartoon` and `anime`. Words are replaced wherever they stand, also inside of others
/// (`chairperson`).
#[must_use]
pub fn clean_caption(caption: &str) -> String {
    WORDS.iter().fold(caption.to_owned(), |mut text, (from, to)| {
        // Every replacement makes the text shorter, or takes a word away that it does not bring in.
        while text.contains(from) {
            text = text.replace(from, to);
        }
        text
    })
}

/// Cleans tags as the script does: `_` becomes a space (not in `^_^`); what follows a rating is cut
/// off; in pictures of several people, what is said twice of different ones (lengths and colours of
/// hair, eyes, sleeves) is left out; a word goes where another tag says it more exactly.
#[must_use]
pub fn clean_tags(tags: &[&str]) -> Vec<String> {
    let spaced = |tag: &&str| match *tag {
        "^_^" => "^_^".to_owned(),
        tag => tag.replace('_', " "),
    };
    let mut tags: Vec<String> = tags.iter().map(spaced).collect();
    // The script looks for a comma before the rating: one that comes first stays.
    if let Some(rating) = tags.iter().skip(1).position(|tag| tag.starts_with("rating")) {
        tags.truncate(rating + 1);
    }
    if tags.iter().any(|tag| tag.contains("girls") || tag.contains("boys")) {
        of_several_people(&mut tags);
    }
    // What tags of several words end with. Nothing that is taken out ends in a word for which no other does.
    let ends = tags.iter().filter_map(|tag| tag.rsplit_once(' ').map(|(_, end)| end.to_owned()));
    let ends: HashSet<String> = ends.collect();
    let ornament = tags.iter().any(|tag| tag.ends_with(" hair ornament"));
    tags.retain(|tag| match tag.as_str() {
        "hair ornament" => !ornament,
        tag => !(is_word(tag) && ends.contains(tag)),
    });
    tags
}

/// Leaves out what is said several times, since it is said of different people.
fn of_several_people(tags: &mut Vec<String>) {
    for kind in [is_hair_length, is_hair_cut, is_eyes, is_sleeves, is_hair_style] {
        drop_if_several(tags, kind);
    }
    // One length of hair is not one of its colours.
    let protected = tags.iter().find(|tag| is_hair_length(tag)).cloned();
    drop_if_several(tags, |tag| is_of(tag, "hair") && Some(tag) != protected.as_deref());
}

fn drop_if_several(tags: &mut Vec<String>, of_kind: impl Fn(&str) -> bool) {
    if tags.iter().filter(|tag| of_kind(tag)).count() > 1 {
        tags.retain(|tag| !of_kind(tag));
    }
}

fn is_word(text: &str) -> bool {
    let in_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    !text.is_empty() && text.chars().all(in_word)
}

/// One word and then this one.
fn is_of(tag: &str, noun: &str) -> bool {
    tag.strip_suffix(noun).and_then(|tag| tag.strip_suffix(' ')).is_some_and(is_word)
}

fn is_hair_length(tag: &str) -> bool {
    ["long hair", "short hair", "medium hair"].contains(&tag)
}

fn is_hair_cut(tag: &str) -> bool {
    ["bob cut", "hime cut"].contains(&tag)
}

fn is_eyes(tag: &str) -> bool {
    is_of(tag, "eyes")
}

fn is_sleeves(tag: &str) -> bool {
    tag == "sleeveless" || is_of(tag, "sleeves")
}

fn is_hair_style(tag: &str) -> bool {
    const STYLES: [&str; 9] = [
        "ponytail",
        "braid",
        "ahoge",
        "twintails",
        "single hair bun",
        "single side bun",
        "two side up",
        "two tails",
        "sidelocks",
    ];
    STYLES.contains(&tag) || is_of(tag, "bun") || is_of(tag, "braid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_inside_of_words_are_replaced_too_as_in_the_script() {
        assert_eq!(
            clean_caption("a chairperson and anime anime anime women"),
            "a chairgirl and girls"
        );
        assert_eq!(clean_caption("two young people"), "two girls");
    }

    #[test]
    fn a_picture_of_one_keeps_what_is_said_twice() {
        let tags =
            ["1girl", "blue_eyes", "red_eyes", "^_^", "shirt", "white_shirt", "rating:g", "x"];
        let expected = ["1girl", "blue eyes", "red eyes", "^_^", "white shirt"];
        assert_eq!(clean_tags(&tags), expected);
        assert_eq!(clean_tags(&[]), Vec::<String>::new());
        assert_eq!(clean_tags(&["rating:safe", "a"]), ["rating:safe", "a"]);
    }

    #[test]
    fn several_people_lose_what_differs() {
        let tags = ["2girls", "long hair", "blonde hair", "black hair", "hime cut", "side braid"];
        assert_eq!(clean_tags(&tags), ["2girls", "long hair", "hime cut", "side braid"]);
        let tags = ["2boys", "long hair", "short hair", "black hair", "braid", "double bun"];
        assert_eq!(clean_tags(&tags), ["2boys", "black hair"]);
    }
}
