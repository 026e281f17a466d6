//! From probabilities to text: which tags are written, how, and in which order.
//!
//! Where the public tagger script turns an order around (`character_tags_first`, `always_first_tags`),
//! tags come here in the order they are listed; and replacements, which have no effect there, have one
//! here.

use super::tags::{Category, Family, TagTable};

/// In which order general tags, characters and the like are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagOrder {
    /// As in the list of tags, which is that of the network's outputs.
    List,
    /// The most probable first.
    Confidence,
}

/// The choices a user has; the names are those of the public tagger script.
#[derive(Clone, Debug, PartialEq)]
pub struct TagRules {
    /// General tags at least this probable are written.
    pub general_threshold: f32,
    /// Character tags at least this probable are written.
    pub character_threshold: f32,
    /// Copyright tags at least this probable are written.
    pub copyright_threshold: f32,
    /// Meta tags at least this probable are written.
    pub meta_threshold: f32,
    /// Model tags at least this probable are written.
    pub model_threshold: f32,
    /// Artist tags at least this probable are written.
    pub artist_threshold: f32,
    /// Writes spaces for underscores, in tags of more than three characters: `^_^` stays.
    pub remove_underscore: bool,
    /// Tags never written, as they would be written.
    pub undesired_tags: Vec<String>,
    /// Writes the most probable rating, at the front.
    pub use_rating_tags: bool,
    /// Writes the most probable rating, at the end.
    pub use_rating_tags_as_last_tag: bool,
    /// Writes the most probable quality, at the front, after the rating.
    pub use_quality_tags: bool,
    /// Writes the most probable quality, at the end, before the rating.
    pub use_quality_tags_as_last_tag: bool,
    /// In which order tags are written; where it is not said, that of the list for a
    /// `selected_tags.csv`, and of their probability for a `tag_mapping.json`, as the script does.
    pub order: Option<TagOrder>,
    /// Writes characters before all other tags.
    pub character_tags_first: bool,
    /// Writes `name_(series)` as `name` and `series`.
    pub character_tag_expand: bool,
    /// Tags to be written in another way: source (as it would be written) and target.
    pub tag_replacement: Vec<(String, String)>,
    /// Tags moved to the front, in this order, where they are present.
    pub always_first_tags: Vec<String>,
    /// Stands between two tags.
    pub caption_separator: String,
}

impl Default for TagRules {
    fn default() -> Self {
        Self {
            general_threshold: 0.35,
            character_threshold: 0.35,
            copyright_threshold: 0.35,
            meta_threshold: 0.35,
            model_threshold: 0.35,
            artist_threshold: 0.35,
            remove_underscore: false,
            undesired_tags: Vec::new(),
            use_rating_tags: false,
            use_rating_tags_as_last_tag: false,
            use_quality_tags: false,
            use_quality_tags_as_last_tag: false,
            order: None,
            character_tags_first: false,
            character_tag_expand: false,
            tag_replacement: Vec::new(),
            always_first_tags: Vec::new(),
            caption_separator: ", ".to_owned(),
        }
    }
}

impl TagRules {
    /// From which probability on a tag of this kind is written; `None` for kinds of which the most
    /// probable tag alone applies.
    fn threshold(&self, category: Category) -> Option<f32> {
        match category {
            Category::General => Some(self.general_threshold),
            Category::Character => Some(self.character_threshold),
            Category::Copyright => Some(self.copyright_threshold),
            Category::Meta => Some(self.meta_threshold),
            Category::Model => Some(self.model_threshold),
            Category::Artist => Some(self.artist_threshold),
            Category::Rating | Category::Quality => None,
        }
    }

    /// The lowest of the thresholds.
    fn least(&self) -> f32 {
        use Category::{Artist, Character, Copyright, General, Meta, Model};
        let all = [General, Character, Copyright, Meta, Model, Artist];
        all.into_iter().filter_map(|kind| self.threshold(kind)).fold(f32::INFINITY, f32::min)
    }

    fn is_desired(&self, name: &str) -> bool {
        !self.undesired_tags.iter().any(|tag| tag.trim() == name)
    }
}

/// The tags as they are written under some rules.
pub struct Labels {
    rules: TagRules,
    family: Family,
    /// Name and kind of each output; `None` for one that is never written.
    labels: Vec<(Option<String>, Category)>,
}

impl Labels {
    /// Applies the rules about names to each tag once.
    #[must_use]
    pub fn new(table: &TagTable, rules: &TagRules) -> Self {
        let label = |name: &str, category| {
            let name = written(name, category, rules);
            (rules.is_desired(&name).then_some(name), category)
        };
        let labels = table.tags.iter().map(|tag| label(&tag.name, tag.category)).collect();
        Self { rules: rules.clone(), family: table.family, labels }
    }

    /// Number of outputs that are named.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether no output is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The tags of a picture, in order; `probabilities` has one number per row of the tag list.
    #[must_use]
    pub fn tags(&self, probabilities: &[f32]) -> Vec<&str> {
        let rules = &self.rules;
        let mut order = self.above_thresholds(probabilities);
        let best = |category| self.most_probable(category, probabilities);
        // Quality goes first, so that the rating comes to stand outside of it.
        for (category, first, last) in [
            (Category::Quality, rules.use_quality_tags, rules.use_quality_tags_as_last_tag),
            (Category::Rating, rules.use_rating_tags, rules.use_rating_tags_as_last_tag),
        ] {
            match best(category) {
                Some(index) if first => order.insert(0, index),
                Some(index) if last => order.push(index),
                _ => {}
            }
        }

        let mut tags: Vec<&str> =
            order.into_iter().filter_map(|index| self.labels[index].0.as_deref()).collect();
        let place = |tag: &&str| {
            let mut first = rules.always_first_tags.iter();
            first.position(|name| name.trim() == *tag).unwrap_or(usize::MAX)
        };
        tags.sort_by_key(place);
        tags
    }

    /// The outputs that reach their threshold, in the order in which they are written.
    fn above_thresholds(&self, probabilities: &[f32]) -> Vec<usize> {
        let chosen = |index: &usize| {
            let threshold = self.rules.threshold(self.labels[*index].1);
            threshold.is_some_and(|threshold| probabilities[*index] >= threshold)
        };
        let count = self.labels.len().min(probabilities.len());
        let mut order: Vec<usize> = (0..count).filter(chosen).collect();
        let usual = match self.family {
            Family::SelectedTags => TagOrder::List,
            Family::TagMapping => TagOrder::Confidence,
        };
        if self.rules.order.unwrap_or(usual) == TagOrder::Confidence {
            // Stable: equal probabilities stay in the order of the list.
            order.sort_by(|&one, &other| probabilities[other].total_cmp(&probabilities[one]));
        }
        if self.rules.character_tags_first {
            order.sort_by_key(|&index| self.labels[index].1 != Category::Character);
        }
        order
    }

    /// The likeliest output of a kind of which one applies; the first of equal ones.
    ///
    /// Outputs of a `tag_mapping.json` tagger are probabilities each by itself: one below every
    /// threshold says that none of its kind applies.
    fn most_probable(&self, category: Category, probabilities: &[f32]) -> Option<usize> {
        let count = self.labels.len().min(probabilities.len());
        let of_kind = (0..count).filter(|&index| self.labels[index].1 == category);
        let larger = |best: usize, next: usize| {
            if probabilities[next] > probabilities[best] { next } else { best }
        };
        let best = of_kind.reduce(larger)?;
        let applies = match self.family {
            Family::SelectedTags => true,
            Family::TagMapping => probabilities[best] >= self.rules.least(),
        };
        applies.then_some(best)
    }

    /// The tags of a picture as one line, without its end.
    #[must_use]
    pub fn text(&self, probabilities: &[f32]) -> String {
        self.tags(probabilities).join(&self.rules.caption_separator)
    }
}

/// The tags of a text: what stands between separators, without blanks around it.
pub fn split<'a>(text: &'a str, caption_separator: &'a str) -> impl Iterator<Item = &'a str> {
    // A separator of blanks alone separates as it is.
    let stripped = match caption_separator.trim() {
        "" => caption_separator,
        stripped => stripped,
    };
    text.trim_matches('\n').split(stripped).map(str::trim).filter(|tag| !tag.is_empty())
}

/// Adds `tags` to those of a text that is there already, each once.
#[must_use]
pub fn append(existing: &str, tags: &[&str], caption_separator: &str) -> String {
    let known: Vec<&str> = split(existing, caption_separator).collect();
    let new = tags.iter().filter(|tag| !known.contains(*tag));
    known.iter().chain(new).copied().collect::<Vec<_>>().join(caption_separator)
}

/// A tag as it is written.
fn written(name: &str, category: Category, rules: &TagRules) -> String {
    let mut name = name.to_owned();
    if rules.character_tag_expand && category == Category::Character {
        name = expanded(&name, &rules.caption_separator);
    }
    if rules.remove_underscore && name.chars().count() > 3 {
        name = name.replace('_', " ");
    }
    for (source, target) in &rules.tag_replacement {
        if name == *source {
            name.clone_from(target);
        }
    }
    name
}

/// `name_(series)` as `name`, separator, `series`.
fn expanded(name: &str, separator: &str) -> String {
    let Some((who, series)) = name.strip_suffix(')').and_then(|name| name.rsplit_once('(')) else {
        return name.to_owned();
    };
    format!("{}{separator}{series}", who.strip_suffix('_').unwrap_or(who))
}

#[cfg(test)]
mod tests {
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
        let found =
            text(|rules| rules.always_first_tags = owned(&["rem_(re:zero)", " ^_^", "sky"]));
        assert_eq!(found, "rem_(re:zero), ^_^, long_hair, saber_(swimsuit)_(fate)");
    }

    #[test]
    fn appended_tags_are_not_repeated() {
        let found = append("a man, sky,, hat \n", &["sky", "cloud"], ", ");
        assert_eq!(found, "a man, sky, hat, cloud");
    }
}
