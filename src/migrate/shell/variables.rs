//! Variables of a script: what earlier lines assigned.

use std::collections::BTreeMap;

/// A value longer than this is no setting: lines such as `A=$A$A` double it each time.
const LONGEST: usize = 1 << 16;

/// Names and values; a list has several.
#[derive(Default)]
pub(super) struct Variables(BTreeMap<String, Vec<String>>);

impl Variables {
    /// Whether the value is short enough; else nothing is assigned.
    pub(super) fn assign(&mut self, name: &str, values: Vec<String>, adds: bool) -> bool {
        let mut all = if adds { self.0.get(name).cloned().unwrap_or_default() } else { Vec::new() };
        all.extend(values);
        if all.iter().map(|value| value.len() + 1).sum::<usize>() > LONGEST {
            return false;
        }
        self.0.insert(name.to_owned(), all);
        true
    }

    /// The values of a name; one but for lists.
    pub(super) fn get(&self, name: &str) -> Option<&[String]> {
        self.0.get(name).map(Vec::as_slice)
    }
}

/// `NAME=` or `NAME+=` at the beginning of a word: the name, and whether the value is added.
pub(super) fn assignment(word: &str) -> Option<(&str, bool, &str)> {
    let (name, value) = word.split_once('=')?;
    let (name, adds) = name.strip_suffix('+').map_or((name, false), |name| (name, true));
    is_name(name).then_some((name, adds, value))
}

pub(super) fn is_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(letter) && !name.as_bytes()[0].is_ascii_digit()
}
