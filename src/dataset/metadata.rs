//! `meta_data.json`: captions and tags of all pictures in one file, as the merge tools of the
//! training scripts write it.

use std::{collections::HashMap, fmt, path::Path};

use rayon::prelude::*;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::{Value, error::Category};

use super::{DatasetError, PictureFile, scan::is_same_file};
use crate::base::disk;

/// What names the picture of a line in a `.jsonl` file.
const IMAGE_PATH: &str = "image_path";

const TWICE: &str = "is there twice";
const TAKE_ONE_OUT: &str = "take one of the two out";

/// What to do about a file that does not parse.
fn what_to_do(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        _ if error.to_string().contains(TWICE) => TAKE_ONE_OUT,
        Category::Data => {
            "it must be a JSON object that holds one object for each picture, or such objects line \
             by line in a .jsonl"
        }
        Category::Eof => "the end of it is missing: make it again, or take it from a backup",
        Category::Syntax | Category::Io => "look at that place in an editor: it is no JSON there",
    }
}

/// Entries in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metadata(Ordered<Entry>);

/// What is known of one picture: `caption`, `tags`, and whatever else the file held.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry(Ordered<Value>);

impl Metadata {
    /// Reads a file, to be carried on.
    ///
    /// # Errors
    /// The file cannot be read, or is not a JSON object of objects.
    pub fn read(path: &Path) -> Result<Self, DatasetError> {
        let text = disk::read(path)
            .map_err(|source| DatasetError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Parses the text of a file; where `path` ends in `.jsonl`, each line is the entry of its
    /// `image_path`. The order of entries and of their fields is kept.
    ///
    /// # Errors
    /// It is not a JSON object of objects, or not lines of objects that name their picture.
    pub fn parse(text: &[u8], path: &Path) -> Result<Self, DatasetError> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let wrong = |reason, help| DatasetError::Metadata { path: path.to_owned(), reason, help };
        if !Self::is_lines(path) {
            let parsed = serde_json::from_slice(text);
            return parsed.map_err(|error| wrong(error.to_string(), what_to_do(&error)));
        }
        let mut metadata = Self::default();
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let wrong = |reason: &str, help| wrong(format!("line {}: {reason}", index + 1), help);
            let entry = serde_json::from_slice::<Entry>(line);
            let mut entry = entry.map_err(|error| wrong(&error.to_string(), what_to_do(&error)))?;
            let Some(Value::String(key)) = entry.0.take(IMAGE_PATH) else {
                let help = "each line is an object whose `image_path` is the path of a picture";
                return Err(wrong("it has no `image_path`", help));
            };
            if metadata.get(&key).is_some() {
                return Err(wrong(&format!("`{key}` {TWICE}"), TAKE_ONE_OUT));
            }
            *metadata.entry(&key) = entry;
        }
        Ok(metadata)
    }

    /// Whether a file of this name holds lines of JSON.
    #[must_use]
    pub fn is_lines(path: &Path) -> bool {
        path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("jsonl"))
    }

    /// The entry `key`, if there is one.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.0.get(key)
    }

    /// The same entries in the same order under other keys; of two that get the same key the first
    /// is kept.
    #[must_use]
    pub fn renamed(self, key: impl Fn(&str) -> String) -> Self {
        let mut renamed = Self::default();
        for (old, entry) in self.0.fields {
            let key = key(&old);
            if renamed.get(&key).is_none() {
                *renamed.entry(&key) = entry;
            }
        }
        renamed
    }

    /// The entry `key`; a new, empty one at the end if there is none.
    pub fn entry(&mut self, key: &str) -> &mut Entry {
        self.0.entry(key)
    }

    /// Keys and entries, in order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.fields.iter().map(|(key, entry)| (key.as_str(), entry))
    }

    /// The text of a `.jsonl` file: a line for each picture, which `image_path` names.
    #[must_use]
    pub fn to_json_lines(&self) -> String {
        let line = |(key, entry): (&str, &Entry)| {
            let mut fields = Ordered::default();
            *fields.entry(IMAGE_PATH) = Value::from(key);
            for (name, value) in &entry.0.fields {
                *fields.entry(name) = value.clone();
            }
            let line = serde_json::to_string(&Entry(fields));
            line.expect("invariant: keys are strings and writing to memory cannot fail") + "\n"
        };
        self.entries().map(line).collect()
    }

    /// The file's text: two spaces of indent, nothing but ASCII, no line end after the last brace.
    /// Byte for byte what Python's `json.dumps(…, indent=2)` gives for texts, lists and whole numbers.
    #[must_use]
    pub fn to_json(&self) -> String {
        /// Entries that are written in one go.
        const PIECE: usize = 1024;
        if self.0.fields.is_empty() {
            return "{}".to_owned();
        }
        let piece = |fields: &[(String, Entry)]| {
            let mut piece = String::new();
            for (index, (key, entry)) in fields.iter().enumerate() {
                piece += if index == 0 { "\n  " } else { ",\n  " };
                write_ascii(&pretty(key), &mut piece);
                piece += ": ";
                write_ascii(&pretty(entry), &mut piece);
            }
            piece
        };
        let pieces: Vec<_> = self.0.fields.par_chunks(PIECE).map(piece).collect();
        format!("{{{}\n}}", pieces.join(","))
    }
}

fn pretty<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value)
        .expect("invariant: keys are strings and writing to memory cannot fail")
}

/// Adds JSON in ASCII, one level further in. What is beyond printable ASCII stands inside of strings;
/// control characters are escaped already, so the line ends are those of the layout.
fn write_ascii(pretty: &str, ascii: &mut String) {
    let mut rest = pretty;
    while let Some(end) = rest.bytes().position(|byte| !matches!(byte, b' '..=b'~')) {
        ascii.push_str(&rest[..end]);
        let mut characters = rest[end..].chars();
        match characters.next() {
            Some('\n') => ascii.push_str("\n  "),
            Some(character) => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    *ascii += &format!("\\u{unit:04x}");
                }
            }
            None => {}
        }
        rest = characters.as_str();
    }
    ascii.push_str(rest);
}

impl Entry {
    /// Sets a field; a new field comes last.
    pub fn set(&mut self, field: &str, text: &str) {
        *self.0.entry(field) = Value::from(text);
    }

    /// What a field holds.
    #[must_use]
    pub fn value(&self, field: &str) -> Option<&Value> {
        self.0.get(field)
    }

    /// The text of a field, if it is there and is a text.
    #[must_use]
    pub fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field)?.as_str()
    }
}

/// The key of each picture's entry: its whole path, or its file name without extension. A picture
/// that is there twice, as in two datasets, has one entry.
///
/// # Errors
/// A name is not UTF-8; two pictures in different folders have the same file name and `full_path` is
/// off.
pub fn metadata_keys(
    pictures: &[PictureFile],
    full_path: bool,
) -> Result<Vec<String>, DatasetError> {
    let mut owners: HashMap<String, &Path> = HashMap::new();
    let mut keys = Vec::with_capacity(pictures.len());
    for PictureFile { path, .. } in pictures {
        let name = if full_path { Some(path.as_os_str()) } else { path.file_stem() };
        let name = name.and_then(|name| name.to_str());
        let key = name.ok_or_else(|| DatasetError::FileName { path: path.clone() })?;
        if let Some(first) = owners.insert(key.to_owned(), path)
            && !is_same_file(first, path)
        {
            let (key, first, second) = (key.to_owned(), first.to_owned(), path.clone());
            return Err(DatasetError::SharedKey { key, first, second });
        }
        keys.push(key.to_owned());
    }
    Ok(keys)
}

/// A JSON object that keeps the order of its fields.
#[derive(Clone, Debug, Default)]
struct Ordered<T> {
    fields: Vec<(String, T)>,
    /// Where each field is, if there are more than [`FEW`].
    places: HashMap<String, usize>,
}

/// So many fields are looked through sooner than looked up.
const FEW: usize = 8;

impl<T: PartialEq> PartialEq for Ordered<T> {
    fn eq(&self, other: &Self) -> bool {
        self.fields == other.fields
    }
}

impl<T: Default> Ordered<T> {
    fn place(&self, key: &str) -> Option<usize> {
        match self.fields.len() <= FEW {
            true => self.fields.iter().position(|(field, _)| field == key),
            false => self.places.get(key).copied(),
        }
    }

    fn get(&self, key: &str) -> Option<&T> {
        Some(&self.fields[self.place(key)?].1)
    }

    fn take(&mut self, key: &str) -> Option<T> {
        let place = self.place(key)?;
        let (_, taken) = self.fields.remove(place);
        self.places.clear();
        if self.fields.len() > FEW {
            self.keep_places(0);
        }
        Some(taken)
    }

    fn entry(&mut self, key: &str) -> &mut T {
        let place = self.place(key).unwrap_or_else(|| {
            self.fields.push((key.to_owned(), T::default()));
            let last = self.fields.len() - 1;
            match last {
                FEW => self.keep_places(0),
                _ if last > FEW => self.keep_places(last),
                _ => {}
            }
            last
        });
        &mut self.fields[place].1
    }

    /// Keeps where the fields from this one on are.
    fn keep_places(&mut self, from: usize) {
        let places = (from..).zip(&self.fields[from..]);
        self.places.extend(places.map(|(place, (key, _))| (key.clone(), place)));
    }
}

impl<T: Serialize> Serialize for Ordered<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.fields.len()))?;
        self.fields.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
        map.end()
    }
}

impl<'de, T: Default + Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(Ordered<T>);
        impl<'de, T: Default + Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Ordered<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
                while let Some((key, value)) = map.next_entry::<String, T>()? {
                    if self.0.get(&key).is_some() {
                        return Err(A::Error::custom(format!("`{key}` {TWICE}")));
                    }
                    *self.0.entry(&key) = value;
                }
                Ok(self.0)
            }
        }
        deserializer.deserialize_map(Fields(Self::default()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Metadata, DatasetError> {
        Metadata::parse(text.as_bytes(), Path::new("meta_data.json"))
    }

    #[test]
    fn the_text_is_what_python_writes() {
        let mut metadata = Metadata::default();
        metadata.entry("b").set("tags", "caf\u{e9} \u{1f408}\u{7f}\t\"\\");
        metadata.entry("a");
        let expected = r#"{
  "b": {
    "tags": "caf\u00e9 \ud83d\udc08\u007f\t\"\\"
  },
  "a": {}
}"#;
        assert_eq!(metadata.to_json(), expected);
        assert_eq!(Metadata::default().to_json(), "{}");
    }

    #[test]
    fn what_the_file_held_stays_in_its_order() {
        let text = r#"{
  "z": {
    "caption": "old",
    "train_resolution": [
      64,
      128
    ]
  },
  "a": {}
}"#;
        let mut metadata = parse(text).unwrap();
        assert_eq!(metadata.to_json(), text);
        metadata.entry("z").set("caption", "new");
        metadata.entry("a").set("tags", "x");
        let expected = text.replace("old", "new").replace("{}", "{\n    \"tags\": \"x\"\n  }");
        assert_eq!(metadata.to_json(), expected);
        assert_eq!(metadata.entry("z").text("caption"), Some("new"));
        assert_eq!(metadata.entry("z").text("train_resolution"), None);
    }

    #[test]
    fn many_fields_are_found_as_few_are() {
        for count in [1, FEW - 1, FEW, FEW + 1, FEW + 2, 3000] {
            let names: Vec<_> = (0..count).map(|number| format!("n{number}")).collect();
            let mut metadata = Metadata::default();
            for name in &names {
                metadata.entry(name).set("caption", name);
            }
            let text = |metadata: &Metadata, name: &str| {
                metadata.get(name).and_then(|entry| entry.text("caption")).map(str::to_owned)
            };
            assert!(names.iter().all(|name| text(&metadata, name).as_ref() == Some(name)));
            assert_eq!(metadata.get("n"), None);
            assert_eq!(parse(&metadata.to_json()).unwrap(), metadata);
            // Without the first, the others are still where they are looked for.
            assert!(metadata.0.take("n0").is_some() && metadata.get("n0").is_none());
            assert!(names[1..].iter().all(|name| text(&metadata, name).as_ref() == Some(name)));
            metadata.entry("more").set("caption", "more");
            assert_eq!(text(&metadata, "more").as_deref(), Some("more"));
            assert_eq!(metadata.entries().count(), count);
        }
    }

    #[test]
    fn what_is_no_metadata_is_an_error() {
        for text in ["", "[]", "{\"a\": 1}", "{\"a\": {}, \"a\": {}}", "{\"a\": {}"] {
            assert!(matches!(parse(text), Err(DatasetError::Metadata { .. })), "{text}");
        }
    }

    #[test]
    fn keys_are_stems_or_whole_paths() {
        let picture = |relative: &str| PictureFile {
            path: Path::new("data").join(relative),
            relative: relative.to_owned(),
        };
        let pictures = [picture("a.b.png"), picture("sub/a.b.png")];
        assert_eq!(metadata_keys(&pictures[..1], false).unwrap(), ["a.b"]);
        assert_eq!(metadata_keys(&pictures, true).unwrap().len(), 2);
        let error = metadata_keys(&pictures, false).unwrap_err();
        assert!(matches!(error, DatasetError::SharedKey { key, .. } if key == "a.b"));
    }

    proptest! {
        #[test]
        fn any_text_comes_back(fields in prop::collection::vec((".*", ".*"), 0..6)) {
            let mut metadata = Metadata::default();
            for (key, text) in &fields {
                metadata.entry(key).set("caption", text);
            }
            let written = metadata.to_json();
            prop_assert!(written.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')));
            prop_assert_eq!(parse(&written).unwrap(), metadata);
        }
    }
}
