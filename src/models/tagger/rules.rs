//! From probabilities to text: which tags are written, how, and in which order.
//!
//! Where the public tagger script turns an order around (`character_tags_first`, `always_first_tags`),
//! tags come here in the order they are listed; and replacements, which have no effect there, have one
//! here. A name that rules make several tags of is several tags to all rules that follow, where the
//! script goes on with one text.

use std::collections::BTreeSet;

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
    /// Tags to be written in another way: source (as it would be written) and target. A target may be
    /// several tags with the separator between them, or none.
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
    /// The tags that each output is written as, mostly one, and its kind; none for an output that is
    /// never written.
    labels: Vec<(Vec<String>, Category)>,
    /// What replacements may write. Only of these a picture has none twice: two characters of one
    /// series, expanded, name it twice in the script's files too.
    targets: BTreeSet<String>,
}

impl Labels {
    /// Applies the rules about names to each tag once.
    #[must_use]
    pub fn new(table: &TagTable, rules: &TagRules) -> Self {
        let label = |name: &str, category| {
            let mut names = written(name, category, rules);
            names.retain(|name| rules.is_desired(name));
            (names, category)
        };
        let labels = table.tags.iter().map(|tag| label(&tag.name, tag.category)).collect();
        let targets = rules.tag_replacement.iter();
        let targets = targets.flat_map(|(_, target)| split(target, &rules.caption_separator));
        let targets = targets.map(str::to_owned).collect();
        Self { rules: rules.clone(), family: table.family, labels, targets }
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

        let names = order.into_iter().flat_map(|index| &self.labels[index].0);
        let mut tags: Vec<&str> = names.map(String::as_str).collect();
        let place = |tag: &&str| {
            let mut first = rules.always_first_tags.iter();
            first.position(|name| name.trim() == *tag).unwrap_or(usize::MAX)
        };
        tags.sort_by_key(place);
        let mut seen = BTreeSet::new();
        tags.retain(|tag| !self.targets.contains(*tag) || seen.insert(*tag));
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
    let mut all: Vec<&str> = split(existing, caption_separator).collect();
    for tag in tags {
        if !all.contains(tag) {
            all.push(tag);
        }
    }
    all.join(caption_separator)
}

/// The tags that a name is written as.
fn written(name: &str, category: Category, rules: &TagRules) -> Vec<String> {
    let mut names = match expanded(name) {
        Some(parts) if rules.character_tag_expand && category == Category::Character => {
            parts.map(str::to_owned).to_vec()
        }
        _ => vec![name.to_owned()],
    };
    // Whether it is long is asked of the whole name, as in the script: `x_y_(z)` becomes `x y`, `z`.
    if rules.remove_underscore && (names.len() > 1 || name.chars().count() > 3) {
        for name in &mut names {
            *name = name.replace('_', " ");
        }
    }
    for (source, target) in &rules.tag_replacement {
        let replaced = |name: String| {
            if name != *source {
                return vec![name];
            }
            split(target, &rules.caption_separator).map(str::to_owned).collect()
        };
        names = names.into_iter().flat_map(replaced).collect();
    }
    names
}

/// `name` and `series` of `name_(series)`.
fn expanded(name: &str) -> Option<[&str; 2]> {
    let (who, series) = name.strip_suffix(')')?.rsplit_once('(')?;
    let parts = [who.strip_suffix('_').unwrap_or(who), series];
    parts.iter().all(|part| !part.is_empty()).then_some(parts)
}

#[cfg(test)]
mod tests;
