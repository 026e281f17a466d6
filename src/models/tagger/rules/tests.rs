//! Each rule on a few tags.

use super::{super::tags::Tag, *};

const PROBABILITIES: [f32; 7] = [0.2, 0.7, 0.9, 0.35, 0.1, 0.6, 0.8];

fn table(rows: &[(&str, Category)], family: Family) -> TagTable {
    let tag = |&(name, category): &(&str, Category)| Tag { name: name.to_owned(), category };
    TagTable { tags: rows.iter().map(tag).collect(), family }
}

fn text(change: impl FnOnce(&mut TagRules)) -> String {
    use Category::{Character, General, Rating};
    let rows = [
        ("general", Rating),
        ("explicit", Rating),
        ("long_hair", General),
        ("^_^", General),
        ("sky", General),
        ("rem_(re:zero)", Character),
        ("saber_(swimsuit)_(fate)", Character),
    ];
    let mut rules = TagRules::default();
    change(&mut rules);
    Labels::new(&table(&rows, Family::SelectedTags), &rules).text(&PROBABILITIES)
}

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

#[test]
fn tags_come_in_the_order_of_the_list() {
    assert_eq!(text(|_| {}), "long_hair, ^_^, rem_(re:zero), saber_(swimsuit)_(fate)");
    assert_eq!(
        text(|rules| rules.general_threshold = 0.36),
        "long_hair, rem_(re:zero), saber_(swimsuit)_(fate)"
    );
    assert_eq!(
        text(|rules| rules.character_threshold = 0.7),
        "long_hair, ^_^, saber_(swimsuit)_(fate)"
    );
}

#[test]
fn or_the_most_probable_first() {
    let confidence = |rules: &mut TagRules| rules.order = Some(TagOrder::Confidence);
    assert_eq!(text(confidence), "long_hair, saber_(swimsuit)_(fate), rem_(re:zero), ^_^");
    let characters = text(|rules| {
        confidence(rules);
        rules.character_tags_first = true;
    });
    assert_eq!(characters, "saber_(swimsuit)_(fate), rem_(re:zero), long_hair, ^_^");
}

/// One tag of each kind, and two of those of which one applies.
fn mapped(probabilities: &[f32], change: impl FnOnce(&mut TagRules)) -> String {
    use Category::{Artist, Character, Copyright, General, Meta, Model, Quality, Rating};
    let rows = [
        ("safe", Rating),
        ("explicit", Rating),
        ("best", Quality),
        ("worst", Quality),
        ("general", General),
        ("character", Character),
        ("copyright", Copyright),
        ("meta", Meta),
        ("model", Model),
        ("artist", Artist),
    ];
    let mut rules = TagRules::default();
    change(&mut rules);
    Labels::new(&table(&rows, Family::TagMapping), &rules).text(probabilities)
}

#[test]
fn a_mapping_has_a_threshold_for_each_kind_and_an_order_of_its_own() {
    let rising = [0.0, 0.0, 0.0, 0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
    let all = "artist, model, meta, copyright, character, general";
    assert_eq!(mapped(&rising, |_| {}), all);
    assert_eq!(
        mapped(&rising, |rules| rules.order = Some(TagOrder::List)),
        "general, character, copyright, meta, model, artist"
    );
    type Set = fn(&mut TagRules);
    let each: [(Set, &str); 6] = [
        (|rules| rules.general_threshold = 1.1, "artist, model, meta, copyright, character"),
        (|rules| rules.character_threshold = 1.1, "artist, model, meta, copyright, general"),
        (|rules| rules.copyright_threshold = 1.1, "artist, model, meta, character, general"),
        (|rules| rules.meta_threshold = 1.1, "artist, model, copyright, character, general"),
        (|rules| rules.model_threshold = 1.1, "artist, meta, copyright, character, general"),
        (|rules| rules.artist_threshold = 1.1, "model, meta, copyright, character, general"),
    ];
    for (set, expected) in each {
        assert_eq!(mapped(&rising, set), expected);
    }
}

#[test]
fn the_rating_stands_outside_of_the_quality() {
    let probabilities = [0.4, 0.9, 0.8, 0.7, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0];
    let front = |rules: &mut TagRules| {
        (rules.use_rating_tags, rules.use_quality_tags) = (true, true);
    };
    assert_eq!(mapped(&probabilities, front), "explicit, best, general");
    let back = |rules: &mut TagRules| {
        (rules.use_rating_tags_as_last_tag, rules.use_quality_tags_as_last_tag) = (true, true);
    };
    assert_eq!(mapped(&probabilities, back), "general, best, explicit");
    // A kind of which no output reaches the lowest threshold has nothing to say.
    let lower = [0.2, 0.1, 0.3, 0.2, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0];
    assert_eq!(mapped(&lower, front), "general");
    let least = |rules: &mut TagRules| {
        front(rules);
        rules.meta_threshold = 0.25;
    };
    assert_eq!(mapped(&lower, least), "best, general");
}

#[test]
fn characters_come_first_in_the_order_of_the_list() {
    let found = text(|rules| rules.character_tags_first = true);
    assert_eq!(found, "rem_(re:zero), saber_(swimsuit)_(fate), long_hair, ^_^");
}

#[test]
fn names_are_rewritten() {
    let found = text(|rules| {
        rules.remove_underscore = true;
        rules.character_tag_expand = true;
    });
    assert_eq!(found, "long hair, ^_^, rem, re:zero, saber (swimsuit), fate");
}

#[test]
fn the_parts_of_an_expanded_name_are_tags_of_their_own() {
    let expanded = |change: fn(&mut TagRules)| {
        text(|rules| {
            rules.character_tag_expand = true;
            rules.general_threshold = 1.1;
            change(rules);
        })
    };
    assert_eq!(expanded(|_| {}), "rem, re:zero, saber_(swimsuit), fate");
    let undesired = |rules: &mut TagRules| rules.undesired_tags = owned(&["re:zero", "fate"]);
    assert_eq!(expanded(undesired), "rem, saber_(swimsuit)");
    let first = |rules: &mut TagRules| rules.always_first_tags = owned(&["fate", "rem"]);
    assert_eq!(expanded(first), "fate, rem, re:zero, saber_(swimsuit)");
    let replaced = |rules: &mut TagRules| {
        rules.tag_replacement = vec![("re:zero".to_owned(), "anime".to_owned())];
    };
    assert_eq!(expanded(replaced), "rem, anime, saber_(swimsuit), fate");
}

#[test]
fn a_series_of_two_characters_is_written_with_each_and_appended_once() {
    let rows = [("a_(x)", Category::Character), ("b_(x)", Category::Character)];
    let rules = TagRules { character_tag_expand: true, ..TagRules::default() };
    let labels = Labels::new(&table(&rows, Family::SelectedTags), &rules);
    assert_eq!(labels.text(&[1.0, 1.0]), "a, x, b, x");
    assert_eq!(append("a", &labels.tags(&[1.0, 1.0]), ", "), "a, x, b");
}

#[test]
fn an_underscore_goes_by_the_length_of_the_whole_name() {
    let rows = [("x_y_(z)", Category::Character), ("_(z)", Category::Character)];
    let rules =
        TagRules { character_tag_expand: true, remove_underscore: true, ..TagRules::default() };
    let labels = Labels::new(&table(&rows, Family::SelectedTags), &rules);
    assert_eq!(labels.tags(&[1.0, 1.0]), ["x y", "z", " (z)"]);
}

/// The tags of `1girl, day, sky` under these replacements and undesired tags.
fn replaced(pairs: &[(&str, &str)], undesired: &[&str]) -> String {
    let rows = ["1girl", "day", "sky"].map(|name| (name, Category::General));
    let pairs = pairs.iter().map(|(source, target)| ((*source).to_owned(), (*target).to_owned()));
    let rules = TagRules {
        tag_replacement: pairs.collect(),
        undesired_tags: owned(undesired),
        ..TagRules::default()
    };
    Labels::new(&table(&rows, Family::SelectedTags), &rules).text(&[1.0; 3])
}

#[test]
fn a_replacement_may_be_several_tags_or_none() {
    assert_eq!(replaced(&[("day", "")], &[]), "1girl, sky");
    assert_eq!(replaced(&[("day", "sun, noon")], &["noon"]), "1girl, sun, sky");
    assert_eq!(replaced(&[("day", "sun,noon"), ("noon", "late")], &[]), "1girl, sun, late, sky");
}

#[test]
fn what_a_replacement_writes_stands_there_once() {
    assert_eq!(replaced(&[("day", "sky")], &[]), "1girl, sky");
    assert_eq!(replaced(&[("sky", "1girl")], &[]), "1girl, day");
    assert_eq!(replaced(&[("day", "x"), ("sky", "x")], &[]), "1girl, x");
}

#[test]
fn a_rating_is_written_once() {
    let both = text(|rules| {
        rules.use_rating_tags = true;
        rules.use_rating_tags_as_last_tag = true;
        rules.character_threshold = 1.1;
    });
    assert_eq!(both, "explicit, long_hair, ^_^");
    let undesired = text(|rules| {
        rules.use_rating_tags_as_last_tag = true;
        rules.undesired_tags = owned(&["explicit", "^_^"]);
        rules.character_threshold = 1.1;
    });
    assert_eq!(undesired, "long_hair");
}

#[test]
fn replacements_see_the_name_as_written() {
    let found = text(|rules| {
        rules.remove_underscore = true;
        rules.tag_replacement = vec![("long hair".to_owned(), "mane".to_owned())];
        rules.undesired_tags = owned(&["long hair", "rem (re:zero)"]);
        rules.caption_separator = " | ".to_owned();
    });
    assert_eq!(found, "mane | ^_^ | saber (swimsuit) (fate)");
}

#[test]
fn some_tags_always_come_first_in_the_order_given() {
    let found = text(|rules| rules.always_first_tags = owned(&["rem_(re:zero)", " ^_^", "sky"]));
    assert_eq!(found, "rem_(re:zero), ^_^, long_hair, saber_(swimsuit)_(fate)");
}

#[test]
fn appended_tags_are_not_repeated() {
    let found = append("a man, sky,, hat \n", &["sky", "cloud"], ", ");
    assert_eq!(found, "a man, sky, hat, cloud");
}
