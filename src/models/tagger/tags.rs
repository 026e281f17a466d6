//! `selected_tags.csv`: what each output of a tagger stands for.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::error::TagsError;

/// The kinds of tags, by their number in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// 0: what is to be seen.
    General,
    /// 4: who is to be seen.
    Character,
    /// 9: for whom it is; exactly one applies to a picture.
    Rating,
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
    /// In the order of the file.
    pub tags: Vec<Tag>,
}

impl TagTable {
    /// Name of the file beside a tagger's graph.
    pub const FILE: &str = "selected_tags.csv";

    /// Where the list of the tagger with this graph lies.
    #[must_use]
    pub fn beside(graph: &Path) -> PathBuf {
        graph.with_file_name(Self::FILE)
    }

    /// Reads a list.
    ///
    /// # Errors
    /// The file cannot be read, its header is another, or a row has a category that has no place here.
    /// The line is named: a row that were left out would shift the names of all that follow.
    pub fn read(path: &Path) -> Result<Self, TagsError> {
        let text =
            fs::read(path).map_err(|source| TagsError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|(line, reason)| TagsError::Format {
            path: path.to_owned(),
            line,
            reason,
        })
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
            let category = match &row[2] {
                "0" => Category::General,
                "4" => Category::Character,
                "9" => Category::Rating,
                other => {
                    return Err((line, format!("category `{other}` of `{}` is unknown", &row[1])));
                }
            };
            tags.push(Tag { name: row[1].to_owned(), category });
        }
        if tags.is_empty() {
            return Err((1, "it lists no tags".to_owned()));
        }
        Ok(Self { tags })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_tags() {
        let table = TagTable::parse(b"tag_id,name,category,count\n1,general,9,5\n2,\"a,b\",0,3\n");
        let tags = table.unwrap().tags;
        assert_eq!(tags[0], Tag { name: "general".to_owned(), category: Category::Rating });
        assert_eq!(tags[1], Tag { name: "a,b".to_owned(), category: Category::General });
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_line() {
        let line = |text: &str| TagTable::parse(text.as_bytes()).unwrap_err();
        assert_eq!(line("id,tag,kind\n").0, 1);
        let (at, reason) = line("tag_id,name,category\n1,x,0\n2,y,3\n");
        assert_eq!((at, reason.as_str()), (3, "category `3` of `y` is unknown"));
        assert_eq!(line("tag_id,name,category\n1,x,0\n2,y\n").0, 3);
    }
}
