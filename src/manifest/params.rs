//! Which parameters count: the values of a table that go into keys.

use serde::{Serialize, de::DeserializeOwned};

use crate::base::Value;

/// A table of parameters that take part in keys.
///
/// A new field is in the key by default. One that cannot change the output is named in
/// [`NOT_IN_KEY`](Self::NOT_IN_KEY), with the reason beside it.
pub trait Params: Serialize + Clone {
    /// Fields that cannot change what an item makes.
    const NOT_IN_KEY: &'static [&'static str];

    /// Fields whose value, where the manifest does not state it, is that of another field:
    /// `(field, other)`.
    const STANDS_FOR: &'static [(&'static str, &'static str)] = &[];

    /// The same parameters with every default that depends on another field written out, so that
    /// stating such a default by hand changes no key.
    #[must_use]
    fn resolved(&self) -> Self {
        self.clone()
    }

    /// Whether a field has a value of its own, rather than that of the field that it follows.
    fn states(&self, field: &str) -> bool {
        fields(self).iter().any(|(name, value)| name == field && *value != Value::None)
    }

    /// Name and value of every field that counts, sorted by name. Values are typed: `1e-4` and
    /// `0.0001` are one value, and so are a default and the same value stated.
    fn key_values(&self) -> Vec<(String, Value)> {
        fields(&self.resolved())
            .into_iter()
            .filter(|(name, _)| !Self::NOT_IN_KEY.contains(&name.as_str()))
            .collect()
    }
}

/// Every field of a table, sorted by name.
pub(super) fn fields(table: &impl Serialize) -> Vec<(String, Value)> {
    let json = serde_json::to_value(table)
        .expect("invariant: tables hold finite numbers, texts and lists of them");
    match Value::from(json) {
        Value::Map(fields) => fields.into_iter().collect(),
        other => unreachable!("a table serialises as a map, not as {other}"),
    }
}

/// The table with one field at its default; the same table where it has no such field.
#[must_use]
pub fn without<T: Serialize + DeserializeOwned>(table: &T, field: &str) -> T {
    let mut json = serde_json::to_value(table)
        .expect("invariant: tables hold finite numbers, texts and lists of them");
    if let Some(fields) = json.as_object_mut() {
        fields.remove(field);
    }
    serde_json::from_value(json).expect("invariant: a field that is not there has its default")
}

#[cfg(test)]
mod tests {
    use super::super::{Cache, Dataset, Finetune, Label, Merge, Sample, Tag};
    use super::*;

    fn names<P: Params + Default>() -> Vec<String> {
        fields(&P::default()).into_iter().map(|(name, _)| name).collect()
    }

    fn exceptions_are_fields<P: Params + Default>() {
        let names = names::<P>();
        let referred = P::STANDS_FOR.iter().flat_map(|(field, other)| [field, other]);
        for name in P::NOT_IN_KEY.iter().chain(referred) {
            assert!(names.iter().any(|known| known == name), "no field is called {name}");
        }
        assert_eq!(P::default().key_values().len(), names.len() - P::NOT_IN_KEY.len());
    }

    #[test]
    fn a_field_can_be_left_out() {
        let table = Merge { seed: 7, template: "x".to_owned(), ..Merge::default() };
        assert_eq!(without(&table, "seed"), Merge { seed: 42, ..table.clone() });
        assert_eq!(without(&table, "shuffle_caption"), table);
    }

    #[test]
    fn every_exception_names_a_field() {
        exceptions_are_fields::<Label>();
        exceptions_are_fields::<Tag>();
        exceptions_are_fields::<Merge>();
        exceptions_are_fields::<Cache>();
        exceptions_are_fields::<Finetune>();
        exceptions_are_fields::<Sample>();
        exceptions_are_fields::<Dataset>();
    }

    #[test]
    fn every_parameter_of_the_cache_belongs_to_one_of_its_outputs() {
        let mut grouped: Vec<_> =
            [Cache::LATENT, Cache::TEXT, Cache::NOT_IN_KEY].concat().into_iter().collect();
        grouped.sort_unstable();
        assert_eq!(grouped, names::<Cache>());
    }

    #[test]
    fn a_stated_default_is_the_same_key() {
        let stated = Tag { general_threshold: Some(0.35), ..Tag::default() };
        assert_eq!(stated.key_values(), Tag::default().key_values());
        let other = Tag { thresh: 0.5, ..Tag::default() };
        assert_ne!(other.key_values(), Tag::default().key_values());

        let stated = Dataset { max_bucket_reso: Some(2048), ..Dataset::default() };
        assert_eq!(stated.key_values(), Dataset::default().key_values());
    }
}
