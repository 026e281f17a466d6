//! The list of a tagger: what each of its outputs stands for.
//!
//! Two forms are published. `selected_tags.csv` comes with the WD taggers, whose graphs end in
//! probabilities; `tag_mapping.json` comes with another family, whose graphs end before the sigmoid and
//! take pictures scaled to -1..1. The form of the list is what tells the families apart ([`Family`]).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::error::TagsError;
use crate::base::{disk, escape};

/// The kinds of tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// What is to be seen.
    General,
    /// Who is to be seen.
    Character,
    /// From which work they are.
    Copyright,
    /// What is known of the picture as a file: its medium, its resolution.
    Meta,
    /// The generator of a generated picture.
    Model,
    /// Who made it.
    Artist,
    /// For whom it is; exactly one applies to a picture.
    Rating,
    /// How good it is; exactly one applies to a picture.
    Quality,
}

impl Category {
    /// The kind of this number in `selected_tags.csv`, where numbers are those of the Danbooru site.
    fn numbered(number: &str) -> Option<Self> {
        Some(match number {
            "0" => Self::General,
            "1" => Self::Artist,
            "3" => Self::Copyright,
            "4" => Self::Character,
            "5" => Self::Meta,
            "9" => Self::Rating,
            _ => return None,
        })
    }

    /// The kind of this name in `tag_mapping.json`.
    fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "general" => Self::General,
            "character" => Self::Character,
            "copyright" => Self::Copyright,
            "meta" => Self::Meta,
            "model" => Self::Model,
            "artist" => Self::Artist,
            "rating" => Self::Rating,
            "quality" => Self::Quality,
            _ => return None,
        })
    }
}

/// Which taggers a list belongs to, and so what their graphs take and give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `selected_tags.csv`: colours 0..255, probabilities.
    SelectedTags,
    /// `tag_mapping.json`: colours `x / 127.5 - 1`, logits.
    TagMapping,
}

impl Family {
    /// What is done to a picture's bytes before, and to the graph's results after; part of keys.
    #[must_use]
    pub fn preprocessing(self) -> &'static str {
        match self {
            Self::SelectedTags => "BGR 0..255",
            Self::TagMapping => "BGR -1..1, sigmoid",
        }
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// As written in the file, with underscores.
    pub name: String,
    /// Its kind.
    pub category: Category,
}

/// All rows: row `i` names output `i`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagTable {
    /// In the order of the outputs.
    pub tags: Vec<Tag>,
    /// Which taggers it belongs to.
    pub family: Family,
}

impl TagTable {
    /// Name of the list of a WD tagger.
    pub const FILE: &str = "selected_tags.csv";

    /// Name of the list of the other family.
    pub const MAPPING: &str = "tag_mapping.json";

    /// Where the list of the tagger with this graph lies. Where both are there, `selected_tags.csv`
    /// counts.
    #[must_use]
    pub fn beside(graph: &Path) -> PathBuf {
        let (csv, mapping) =
            (graph.with_file_name(Self::FILE), graph.with_file_name(Self::MAPPING));
        if !csv.exists() && mapping.exists() { mapping } else { csv }
    }

    /// Reads a list; a file that ends in `.json` is a `tag_mapping.json`.
    ///
    /// # Errors
    /// The file cannot be read, it has another form, or a row has a category that has no place here.
    /// A row that were left out would shift the names of all that follow.
    pub fn read(path: &Path) -> Result<Self, TagsError> {
        let read = disk::read(path);
        let text = read.map_err(|source| TagsError::Read { path: path.to_owned(), source })?;
        Self::from_bytes(path, &text)
    }

    /// The same of a list that is in memory; `path` says which form it has, and is named in errors.
    ///
    /// # Errors
    /// As [`TagTable::read`], except that nothing is read.
    pub fn from_bytes(path: &Path, text: &[u8]) -> Result<Self, TagsError> {
        let path = path.to_owned();
        if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json")) {
            Self::parse_mapping(text).map_err(|reason| TagsError::Mapping { path, reason })
        } else {
            Self::parse(text).map_err(|(line, reason)| TagsError::Format { path, line, reason })
        }
    }

    fn parse(text: &[u8]) -> Result<Self, (u64, String)> {
        let mut reader = csv::ReaderBuilder::new().from_reader(text);
        let failed = |error: csv::Error| {
            let line = error.position().map_or(1, csv::Position::line);
            (line, error.to_string())
        };
        let header = reader.headers().map_err(failed)?;
        if header.iter().take(3).ne(["tag_id", "name", "category"]) {
            let header = header.iter().collect::<Vec<_>>().join(",");
            return Err((1, format!("the header is `{header}`, not `tag_id,name,category`")));
        }
        let mut tags = Vec::new();
        for row in reader.records() {
            let row = row.map_err(failed)?;
            let line = row.position().map_or(0, csv::Position::line);
            let category = Category::numbered(&row[2]).ok_or_else(|| {
                (line, format!("category `{}` of `{}` is unknown", &row[2], &row[1]))
            })?;
            plain(&row[1]).map_err(|reason| (line, reason))?;
            tags.push(Tag { name: row[1].to_owned(), category });
        }
        if tags.is_empty() {
            return Err((1, "it lists no tags".to_owned()));
        }
        Ok(Self { tags, family: Family::SelectedTags })
    }

    /// `{"0": {"tag": "1girl", "category": "General"}, …}`: the keys are the numbers of the outputs.
    fn parse_mapping(text: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Row {
            tag: String,
            category: String,
        }
        let rows: BTreeMap<String, Row> =
            serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let mut tags = BTreeMap::new();
        for (id, Row { tag: name, category }) in rows {
            let index = id.parse::<usize>();
            let index = index.map_err(|_| format!("`{id}` is not the number of an output"))?;
            plain(&name)?;
            let category = Category::named(&category)
                .ok_or_else(|| format!("category `{category}` of `{name}` is unknown"))?;
            if tags.insert(index, Tag { name, category }).is_some() {
                return Err(format!("output {index} is named twice"));
            }
        }
        if tags.is_empty() {
            return Err("it lists no tags".to_owned());
        }
        if let Some(missing) = (0..tags.len()).find(|index| !tags.contains_key(index)) {
            return Err(format!("it lists {} tags and none for output {missing}", tags.len()));
        }
        Ok(Self { tags: tags.into_values().collect(), family: Family::TagMapping })
    }
}

/// Refuses a tag that would be several lines of a sidecar, or act on a terminal.
fn plain(name: &str) -> Result<(), String> {
    match name.contains(escape::acts) {
        true => Err(format!(
            "the tag `{}` holds a character that is none to see",
            escape::in_line(name)
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_tags() {
        let table = TagTable::parse(b"tag_id,name,category,count\n1,general,9,5\n2,\"a,b\",0,3\n");
        let table = table.unwrap();
        let tags = table.tags;
        assert_eq!(tags[0], Tag { name: "general".to_owned(), category: Category::Rating });
        assert_eq!(tags[1], Tag { name: "a,b".to_owned(), category: Category::General });
        assert_eq!(table.family, Family::SelectedTags);
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_line() {
        let line = |text: &str| TagTable::parse(text.as_bytes()).unwrap_err();
        assert_eq!(line("id,tag,kind\n").0, 1);
        let (at, reason) = line("tag_id,name,category\n1,x,0\n2,y,2\n");
        assert_eq!((at, reason.as_str()), (3, "category `2` of `y` is unknown"));
        assert_eq!(line("tag_id,name,category\n1,x,0\n2,y\n").0, 3);
    }

    #[test]
    fn a_mapping_is_sorted_by_number() {
        let entry =
            |id: usize| format!(r#""{id}": {{"tag": "t{id}", "category": "Meta", "n": 1}}"#);
        // As texts, "10" stands before "9".
        let rows: Vec<_> = (0..12).rev().map(entry).collect();
        let table = TagTable::parse_mapping(format!("{{{}}}", rows.join(",")).as_bytes()).unwrap();
        let names: Vec<_> = table.tags.iter().map(|tag| tag.name.clone()).collect();
        assert_eq!(names, (0..12).map(|id| format!("t{id}")).collect::<Vec<_>>());
        assert_eq!(table.tags[0].category, Category::Meta);
        assert_eq!(table.family, Family::TagMapping);
    }

    #[test]
    fn a_mapping_that_would_shift_names_is_refused() {
        let reason = |text: &str| TagTable::parse_mapping(text.as_bytes()).unwrap_err();
        let row = |category: &str| format!(r#"{{"tag": "x", "category": "{category}"}}"#);
        let general = row("General");
        assert!(reason(&format!(r#"{{"0": {general}, "2": {general}}}"#)).contains("output 1"));
        assert!(reason(&format!(r#"{{"1": {general}, "01": {general}}}"#)).contains("twice"));
        assert!(reason(&format!(r#"{{"a": {general}}}"#)).contains("`a` is not the number"));
        assert!(reason(&format!(r#"{{"0": {}}}"#, row("Mood"))).contains("`Mood` of `x`"));
        assert!(reason("{}").contains("no tags"));
        assert!(reason("[1]").contains("line 1"));
    }
}
