//! What two manifests say differently, value by value: for people who compare two runs. Defaults are not
//! filled in: only what is written counts.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

/// A value that one of two manifests has, or that they have differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Setting {
    /// Dotted path: `stages.finetune.learning_rate`.
    pub path: String,
    /// As the first one writes it; `null` where it does not.
    pub old: Option<String>,
    /// As the second one writes it; `null` where it does not.
    pub new: Option<String>,
}

/// The differences between two manifests, by their paths; `None` where one of them is no TOML.
#[must_use]
pub fn compare(old: &str, new: &str) -> Option<Vec<Setting>> {
    let [old, new] = [old, new].map(|text| {
        let mut values = BTreeMap::new();
        flatten("", &toml::Value::Table(text.parse().ok()?), &mut values);
        Some(values)
    });
    let (old, new) = (old?, new?);
    let mut found = BTreeMap::new();
    for path in old.keys().chain(new.keys()) {
        let (was, is) = (old.get(path), new.get(path));
        if was != is {
            let (old, new) = (was.cloned(), is.cloned());
            found.insert(path.clone(), Setting { path: path.clone(), old, new });
        }
    }
    Some(found.into_values().collect())
}

/// Values by their paths; tables of an array are numbered as the manifest's other paths number them.
fn flatten(path: &str, value: &toml::Value, values: &mut BTreeMap<String, String>) {
    let below =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        toml::Value::Table(table) => {
            table.iter().for_each(|(name, value)| flatten(&below(name), value, values));
        }
        toml::Value::Array(all) if all.iter().any(toml::Value::is_table) => {
            for (index, value) in all.iter().enumerate() {
                flatten(&below(&index.to_string()), value, values);
            }
        }
        value => drop(values.insert(path.to_owned(), value.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_count_and_not_how_they_are_written_down() {
        let old = "a = 1\n[stages.train]\nrate = 1e-4\nlist = [1,2]\n[[dataset]]\nx = 'y'\n";
        let new = "[stages]\ntrain = { rate = 2e-4, list = [ 1, 2 ] } # quick\n[[dataset]]\nx = \"y\"\n\
                   [[dataset]]\nx = 'z'\n";
        let told = |old: &str, new: &str| {
            let said = |value: Option<String>| value.unwrap_or_default();
            let found = compare(old, new)?.into_iter();
            Some(found.map(|s| (s.path, said(s.old), said(s.new))).collect::<Vec<_>>())
        };
        let expected = [
            ("a", "1", ""),
            ("dataset.1.x", "", "\"z\""),
            ("stages.train.rate", "0.0001", "0.0002"),
        ];
        let expected = expected.map(|(path, old, new)| (path.into(), old.into(), new.into()));
        assert_eq!(told(old, new).unwrap(), expected);
        assert_eq!(told(old, old).unwrap(), []);
        assert_eq!(told(old, "a = ["), None);
    }
}
