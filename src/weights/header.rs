//! A look into the header of a safetensors file before the library reads it, which keeps the last of two
//! tensors of one name and drops the first without a word.
//!
//! Knows that a header is a JSON object behind its length; not what stands in it.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};

/// How the complaint of this module begins, by which it is told from those of the parser.
const TWICE: &str = "names a tensor twice";

/// Whether every tensor of the file has a name of its own. What is wrong with the header otherwise is left
/// to the library to say.
///
/// # Errors
/// Says in words which name is there twice.
pub(super) fn names_are_single(file: &[u8]) -> Result<(), String> {
    let header = file
        .split_first_chunk::<8>()
        .and_then(|(length, rest)| rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?));
    match header.map(serde_json::from_slice::<Names>) {
        Some(Err(error)) if error.to_string().starts_with(TWICE) => Err(format!("it {error}")),
        _ => Ok(()),
    }
}

/// The names of an object, each once.
struct Names;

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut seen = HashSet::new();
                while let Some((name, _)) = map.next_entry::<String, IgnoredAny>()? {
                    if seen.contains(&name) {
                        return Err(A::Error::custom(format!("{TWICE}: `{name}`")));
                    }
                    seen.insert(name);
                }
                Ok(Names)
            }
        }
        deserializer.deserialize_map(Each)
    }
}
