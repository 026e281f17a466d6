//! A metadata file as a source of words: which of its entries is a picture's.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{DatasetError, Entry, Metadata, PictureFile, scan::is_same_file};

/// A metadata file that was read, with its entries by every name that a picture may have.
#[derive(Debug)]
pub struct InJson {
    /// The file.
    pub path: PathBuf,
    /// What it holds.
    pub metadata: Metadata,
    /// By key with forward slashes: the key as it is written.
    keys: HashMap<String, String>,
    /// Stems of all pictures: the one that has it, or none where several do.
    stems: HashMap<String, Option<PathBuf>>,
}

/// Fields that are read as words.
const WORDS: [&str; 2] = ["caption", "tags"];

impl InJson {
    /// Reads the file: a JSON object, or lines of JSON where it ends in `.jsonl`.
    ///
    /// # Errors
    /// It cannot be read, is no metadata file, or has a caption or tags that are no text.
    pub fn read(path: &Path) -> Result<Self, DatasetError> {
        let metadata = Metadata::read(path)?;
        for (key, entry) in metadata.entries() {
            for field in WORDS {
                let found = match entry.value(field) {
                    None | Some(Value::Null | Value::String(_)) => continue,
                    Some(Value::Array(_)) => "a list".to_owned(),
                    Some(Value::Object(_)) => "an object".to_owned(),
                    Some(value) => value.to_string(),
                };
                return Err(DatasetError::Metadata {
                    path: path.to_owned(),
                    reason: format!("`{field}` of `{key}` is {found}, and a text is wanted"),
                    help: "write words as one text: \"a cat on a mat\", or \"cat, mat\" for tags",
                });
            }
        }
        let keys = metadata.entries().map(|(key, _)| (key.replace('\\', "/"), key.to_owned()));
        let (path, keys) = (path.to_owned(), keys.collect());
        Ok(Self { path, keys, metadata, stems: HashMap::new() })
    }

    /// Makes all pictures of the project known, so that one in a folder below is found by its stem
    /// where no other picture has it, as the written file names it.
    #[must_use]
    pub fn for_pictures<'a>(mut self, pictures: impl Iterator<Item = &'a PictureFile>) -> Self {
        for PictureFile { path, .. } in pictures {
            let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
            match self.stems.get_mut(stem) {
                None => {
                    self.stems.insert(stem.to_owned(), Some(path.clone()));
                }
                Some(owner) => {
                    if owner.as_ref().is_some_and(|owner| !is_same_file(owner, path)) {
                        *owner = None;
                    }
                }
            }
        }
        self
    }

    /// The key of a picture's entry. It may be its path (from here, from the root or from its
    /// dataset's folder), or that without its extension; so a picture that lies directly in the
    /// folder is found by its stem too, and one below where the stem is its alone.
    #[must_use]
    pub fn key(&self, picture: &PictureFile) -> Option<&str> {
        let absolute = std::path::absolute(&picture.path).ok();
        let whole = [Some(picture.path.as_path()), absolute.as_deref()];
        let whole = whole.into_iter().flatten().filter_map(Path::to_str).map(str::to_owned);
        let relative = picture.relative.clone();
        let stem = Path::new(&relative).with_extension("").to_str().map(str::to_owned);
        let alone = picture.path.file_stem().and_then(|stem| stem.to_str());
        let alone = alone.filter(|stem| matches!(self.stems.get(*stem), Some(Some(_))));
        let names = whole.chain([relative]).chain(stem).chain(alone.map(str::to_owned));
        names
            .map(|name| name.replace('\\', "/"))
            .find_map(|name| self.keys.get(&name))
            .map(String::as_str)
    }

    /// What the file says of a picture.
    #[must_use]
    pub fn entry(&self, picture: &PictureFile) -> Option<&Entry> {
        self.metadata.get(self.key(picture)?)
    }

    /// Keys that are of none of these pictures, in the file's order.
    #[must_use]
    pub fn of_no_picture<'a>(&self, pictures: impl Iterator<Item = &'a PictureFile>) -> Vec<&str> {
        let found: HashSet<&str> = pictures.filter_map(|picture| self.key(picture)).collect();
        let keys = self.metadata.entries().map(|(key, _)| key);
        keys.filter(|key| !found.contains(key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(relative: &str) -> PictureFile {
        PictureFile { path: Path::new("data").join(relative), relative: relative.to_owned() }
    }

    fn read(name: &str, text: &str) -> Result<InJson, DatasetError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs_err::write(&path, text).unwrap();
        InJson::read(&path)
    }

    #[test]
    fn a_picture_is_found_by_each_of_its_names() {
        let absolute = std::path::absolute("data/e.png").unwrap();
        let text = format!(
            r#"{{"a": {{}}, "b.png": {{}}, "sub/c": {{}}, "sub\\d.png": {{}}, "data/f.png": {{}},
                {:?}: {{}}, "gone": {{}}}}"#,
            absolute.to_str().unwrap()
        );
        let file = read("in.json", &text).unwrap();
        let key = |relative: &str| file.key(&picture(relative));
        assert_eq!(
            [key("a.png"), key("a.webp"), key("b.png")],
            [Some("a"), Some("a"), Some("b.png")]
        );
        assert_eq!([key("sub/c.png"), key("sub/d.png")], [Some("sub/c"), Some("sub\\d.png")]);
        assert_eq!([key("f.png"), key("e.png")], [Some("data/f.png"), absolute.to_str()]);
        // A stem alone is the name of a picture in the folder, not of one below it.
        assert_eq!([key("sub/a.png"), key("b.jpg")], [None, None]);
        let pictures = ["a.png", "b.png", "sub/c.png", "sub/d.png", "e.png", "f.png"].map(picture);
        // Unless no other picture has it.
        let known = [
            picture("sub/a.png"),
            picture("sub/gone.png"),
            picture("gone.png"),
            picture("a/b.png"),
        ];
        let file = file.for_pictures(known.iter());
        let keys = known.each_ref().map(|picture| file.key(picture));
        assert_eq!(keys, [Some("a"), None, Some("gone"), None]);
        assert_eq!(file.of_no_picture(pictures.iter()), ["gone"]);
    }

    #[test]
    fn words_that_are_no_text_are_an_error() {
        for (words, said) in [
            (r#"{"caption": 3}"#, "`caption` of `a` is 3,"),
            (r#"{"tags": ["x", "y"]}"#, "`tags` of `a` is a list,"),
            (r#"{"caption": {}}"#, "`caption` of `a` is an object,"),
        ] {
            let error = read("in.json", &format!(r#"{{"a": {words}}}"#)).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
        let file = read("in.json", r#"{"a": {"caption": null, "note": 3}}"#).unwrap();
        assert_eq!(file.entry(&picture("a.png")).unwrap().text("caption"), None);
    }

    #[test]
    fn lines_of_json_are_read_and_written() {
        let text = "{\"image_path\": \"data/a.png\", \"caption\": \"caf\u{e9}\", \"image_size\": [8, 8]}\n\n\
                    {\"image_path\": \"b\", \"tags\": \"x\"}\n";
        let file = read("in.jsonl", text).unwrap();
        assert_eq!(file.entry(&picture("a.png")).unwrap().text("caption"), Some("caf\u{e9}"));
        assert_eq!(file.entry(&picture("b.png")).unwrap().text("tags"), Some("x"));
        let lines = file.metadata.to_json_lines();
        let first =
            "{\"image_path\":\"data/a.png\",\"caption\":\"caf\u{e9}\",\"image_size\":[8,8]}\n";
        assert!(lines.starts_with(first), "{lines}");
        assert_eq!(read("out.jsonl", &lines).unwrap().metadata, file.metadata);
        for wrong in
            ["[]", "{\"caption\": \"no path\"}", "{\"image_path\": \"a\"}\n{\"image_path\": \"a\"}"]
        {
            let error = read("in.jsonl", wrong).unwrap_err();
            assert!(matches!(error, DatasetError::Metadata { .. }), "{wrong}");
        }
    }
}
