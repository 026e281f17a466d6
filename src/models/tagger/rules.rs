//! From probabilities to text: which tags are written, how, and in which order.
//!
//! The order is that of the tag list, not of the probabilities. Where the public tagger script turns
//! an order around (`character_tags_first`, `always_first_tags`), tags come here in the order they are
//! listed; and replacements, which have no effect there, have one here.

use super::tags::{Category, TagTable};

/// The choices a user has; the names are those of the public tagger script.
#[derive(Clone, Debug, PartialEq)]
pub struct TagRules {
    /// General tags at least this probable are written.
    pub general_threshold: f32,
    /// Character tags at least this probable are written.
    pub character_threshold: f32,
    /// Writes spaces for underscores, in tags of more than three characters: `^_^` stays.
    pub remove_underscore: bool,
    /// Tags never written, as they would be written.
    pub undesired_tags: Vec<String>,
    /// Writes the most probable rating, at the front.
    pub use_rating_tags: bool,
    /// Writes the most probable rating, at the end.
    pub use_rating_tags_as_last_tag: bool,
    /// Writes characters before general tags.
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
            remove_underscore: false,
            undesired_tags: Vec::new(),
            use_rating_tags: false,
            use_rating_tags_as_last_tag: false,
            character_tags_first: false,
            character_tag_expand: false,
            tag_replacement: Vec::new(),
            always_first_tags: Vec::new(),
            caption_separator: ", ".to_owned(),
        }
    }
}

/// The tags as they are written under some rules.
pub struct Labels {
    rules: TagRules,
    /// Name and kind of each output; `None` for one that is never written.
    labels: Vec<(Option<String>, Category)>,
}

impl Labels {
    /// Applies the rules about names to each tag once.
    #[must_use]
    pub fn new(table: &TagTable, rules: &TagRules) -> Self {
        let label = |name: &str, category| {
            let name = written(name, category, rules);
            let wanted = !rules.undesired_tags.iter().any(|tag| tag.trim() == name);
            (wanted.then_some(name), category)
        };
        let labels = table.tags.iter().map(|tag| label(&tag.name, tag.category)).collect();
        Self { rules: rules.clone(), labels }
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
        let count = self.labels.len().min(probabilities.len());
        let all = (0..count).map(|index| (index, self.labels[index].1));
        let chosen = all.clone().filter(|&(index, category)| match category {
            Category::General => probabilities[index] >= rules.general_threshold,
            Category::Character => probabilities[index] >= rules.character_threshold,
            Category::Rating => false,
        });
        let mut order: Vec<usize> = chosen.map(|(index, _)| index).collect();
        if rules.character_tags_first {
            order.sort_by_key(|&index| self.labels[index].1 != Category::Character);
        }

        let ratings = all.filter(|(_, category)| *category == Category::Rating);
        let larger = |best: usize, next: usize| {
            if probabilities[next] > probabilities[best] { next } else { best }
        };
        let rating = ratings.map(|(index, _)| index).reduce(larger);
        match rating {
            Some(rating) if rules.use_rating_tags => order.insert(0, rating),
            Some(rating) if rules.use_rating_tags_as_last_tag => order.push(rating),
            _ => {}
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

    /// The tags of a picture as one line, without its end.
    #[must_use]
    pub fn text(&self, probabilities: &[f32]) -> String {
        self.tags(probabilities).join(&self.rules.caption_separator)
    }
}

/// Adds `tags` to those of a text that is there already, each once.
#[must_use]
pub fn append(existing: &str, tags: &[&str], caption_separator: &str) -> String {
    // A separator of blanks alone separates as it is.
    let stripped = match caption_separator.trim() {
        "" => caption_separator,
        stripped => stripped,
    };
    let known = existing.trim_matches('\n').split(stripped).map(str::trim);
    let mut all: Vec<&str> = known.filter(|tag| !tag.is_empty()).collect();
    let known = all.len();
    all.extend(tags.iter().filter(|tag| !all[..known].contains(*tag)).copied().collect::<Vec<_>>());
    all.join(caption_separator)
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

    const PROBABILITIES: [f32; 7] = [0.2, 0.7, 0.9, 0.35, 0.1, 0.8, 0.6];

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
        let tag = |(name, category): (&str, Category)| Tag { name: name.to_owned(), category };
        let table = TagTable { tags: rows.map(tag).to_vec() };
        let mut rules = TagRules::default();
        change(&mut rules);
        Labels::new(&table, &rules).text(&PROBABILITIES)
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
        assert_eq!(text(|rules| rules.character_threshold = 0.7), "long_hair, ^_^, rem_(re:zero)");
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
