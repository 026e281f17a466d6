//! The canonical form of values that go into keys.
//!
//! A key must not change when a person reformats the manifest, so keys are made of typed values, not
//! of text: `1e-4` and `0.0001` are one value. Every value is written with its type tag and its
//! length, so no two different values share an encoding. A change of this encoding changes every
//! key of every user: [`ENCODING`] is part of each digest for that reason.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Digest;

/// The version of the encoding below.
pub const ENCODING: u8 = 1;

/// A value as it stands in a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Value {
    /// An option that is not set.
    None,
    /// A switch.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A real number, by its bits; `-0.0` counts as `0.0`.
    Float(#[serde(with = "exact")] f64),
    /// A text.
    Text(String),
    /// The digest of a file or of an output.
    Digest(Digest),
    /// Values in order.
    List(Vec<Value>),
    /// Named values; order does not matter.
    Map(BTreeMap<String, Value>),
}

impl Value {
    /// The digest of the canonical encoding.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut bytes = vec![ENCODING];
        self.encode(&mut bytes);
        Digest::of(&bytes)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::None => out.push(b'n'),
            Self::Bool(value) => out.extend([b'b', u8::from(*value)]),
            Self::Int(value) => {
                out.push(b'i');
                out.extend(value.to_le_bytes());
            }
            Self::Float(value) => {
                // `+ 0.0` turns -0.0 into 0.0.
                out.push(b'f');
                out.extend((value + 0.0).to_bits().to_le_bytes());
            }
            Self::Text(text) => {
                out.push(b't');
                length_prefixed(text.as_bytes(), out);
            }
            Self::Digest(digest) => {
                out.push(b'd');
                out.extend(digest.as_bytes());
            }
            Self::List(values) => {
                head(b'l', values.len(), out);
                values.iter().for_each(|value| value.encode(out));
            }
            Self::Map(values) => {
                head(b'm', values.len(), out);
                for (name, value) in values {
                    length_prefixed(name.as_bytes(), out);
                    value.encode(out);
                }
            }
        }
    }
}

/// The digest of `[seed, {name: value}]`, a list and a map of fields whose names differ, without making
/// that value: keys are computed by the 100 000.
#[must_use]
pub fn digest_named(seed: &[Digest], mut fields: Vec<(&str, &Value)>) -> Digest {
    fields.sort_unstable_by_key(|(name, _)| *name);
    /// What most keys take.
    const USUAL: usize = 512;
    let mut bytes = Vec::with_capacity(USUAL);
    bytes.push(ENCODING);
    head(b'l', 2, &mut bytes);
    head(b'l', seed.len(), &mut bytes);
    seed.iter().for_each(|digest| Value::Digest(*digest).encode(&mut bytes));
    head(b'm', fields.len(), &mut bytes);
    for (name, value) in fields {
        length_prefixed(name.as_bytes(), &mut bytes);
        value.encode(&mut bytes);
    }
    Digest::of(&bytes)
}

/// The head of a list or a map.
fn head(tag: u8, length: usize, out: &mut Vec<u8>) {
    out.push(tag);
    out.extend((length as u64).to_le_bytes());
}

fn length_prefixed(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend(bytes);
}

impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match value {
            Json::Null => Self::None,
            Json::Bool(value) => Self::Bool(value),
            Json::Number(number) => match number.as_i64() {
                Some(value) => Self::Int(value),
                None => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::Text(text),
            Json::Array(values) => Self::List(values.into_iter().map(Self::from).collect()),
            Json::Object(fields) => {
                Self::Map(fields.into_iter().map(|(name, value)| (name, value.into())).collect())
            }
        }
    }
}

impl From<Digest> for Value {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Floats in stored keys are texts: Rust prints the shortest text that reads back to the same bits,
/// while a JSON parser may be off by the last bit.
mod exact {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:?}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// How a person reads the value in a plan or in `why`.
impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("not set"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Digest(digest) => f.write_str(&digest.short()),
            Self::List(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().take(4).enumerate() {
                    write!(f, "{}{value}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str(if values.len() > 4 { ", …]" } else { "]" })
            }
            Self::Map(values) => {
                f.write_str("{")?;
                for (index, (name, value)) in values.iter().enumerate() {
                    write!(f, "{}{name}: {value}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str("}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        serde_json::from_str::<serde_json::Value>(text).unwrap().into()
    }

    #[test]
    fn spelling_does_not_matter_but_type_and_order_do() {
        assert_eq!(json("1e-4").digest(), json("0.0001").digest());
        assert_eq!(json(r#"{"a":1,"b":2}"#).digest(), json(r#"{"b":2,"a":1}"#).digest());
        assert_ne!(json("1").digest(), json("\"1\"").digest());
        assert_ne!(json("[1,2]").digest(), json("[2,1]").digest());
        assert_ne!(json(r#"["ab","c"]"#).digest(), json(r#"["a","bc"]"#).digest());
        assert_eq!(Value::Float(-0.0).digest(), Value::Float(0.0).digest());
    }

    #[test]
    fn named_values_have_the_digest_of_the_map_that_holds_them() {
        let seed = [Digest::of(b"a"), Digest::of(b"b")];
        let fields = [("steps", json("[64, 1.5]")), ("", json("null")), ("area", json("true"))];
        let map = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let list = Value::List(seed.map(Value::Digest).to_vec());
        let whole = Value::List(vec![list, Value::Map(map)]).digest();
        let named = fields.iter().map(|(name, value)| (*name, value)).collect();
        assert_eq!(digest_named(&seed, named), whole);
    }

    #[test]
    fn a_stored_float_is_read_back_to_the_bit() {
        for value in [0.1 + 0.2, 3.1582, 5e-5, f64::MIN_POSITIVE, f64::NAN] {
            let text = serde_json::to_string(&Value::Float(value)).unwrap();
            let back: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(back.digest(), Value::Float(value).digest(), "{text}");
        }
    }
}
