//! What differs between two lists of samples, as they stand in two keys of a training: which sample,
//! and which value of the manifest or which record of it.

use std::collections::{BTreeMap, HashMap};

use super::{Finetune, samples::Cached};
use crate::{
    base::{Digest, Value, plural},
    pipeline::{Difference, Origin},
};

/// A sample in a key: views, texts, repeats, and what else is done with it.
struct Entry<'v> {
    views: &'v Value,
    texts: &'v Value,
    repeats: &'v Value,
    special: Option<&'v BTreeMap<String, Value>>,
}

impl<'v> Entry<'v> {
    fn of(value: &'v Value) -> Option<Self> {
        let Value::List(parts) = value else { return None };
        let [views, texts, repeats, rest @ ..] = &parts[..] else { return None };
        let special = match rest {
            [Value::Map(special)] => Some(special),
            _ => None,
        };
        Some(Self { views, texts, repeats, special })
    }
}

/// The differences between two lists of samples, each once for all samples that share it.
pub fn within(
    stage: &Finetune,
    cached: &[Cached<'_>],
    old: &[Value],
    new: &[Value],
) -> Vec<Difference> {
    let mut left = HashMap::<Digest, (&Value, usize)>::new();
    for value in old {
        left.entry(value.digest()).or_insert((value, 0)).1 += 1;
    }
    let mut changed = Vec::new();
    let weight = stage.config.prior_loss_weight;
    let mut names = HashMap::<Digest, Vec<&Cached<'_>>>::new();
    for sample in cached {
        if let Some(value) = sample.value(weight) {
            names.entry(value.digest()).or_default().push(sample);
        }
    }
    for value in new {
        let digest = value.digest();
        let sample = names.get_mut(&digest).and_then(Vec::pop);
        match left.get_mut(&digest) {
            Some((_, count @ 1..)) => *count -= 1,
            _ => changed.extend(sample.map(|sample| (sample, value))),
        }
    }
    let gone = left.into_values().flat_map(|(value, count)| std::iter::repeat_n(value, count));
    let mut gone = gone.filter_map(Entry::of).collect::<Vec<_>>();
    let mut found = Vec::<Difference>::new();
    for (sample, value) in changed {
        let Some(entry) = Entry::of(value) else { continue };
        // The likest one is what it was: the same records, else the same picture, else the same text.
        let alike: [&dyn Fn(&Entry<'_>) -> bool; 3] = [
            &|was| was.views == entry.views && was.texts == entry.texts,
            &|was| was.views == entry.views,
            &|was| was.texts == entry.texts,
        ];
        let was = alike.iter().find_map(|alike| gone.iter().position(alike));
        let differences = match was.map(|place| gone.swap_remove(place)) {
            Some(was) => changes(stage, sample, &was, &entry),
            None => vec![record(sample, "sample", None, Some(&Value::Bool(true)))],
        };
        for difference in differences {
            if !found.contains(&difference) {
                found.push(difference);
            }
        }
    }
    if let (false, Some(first)) = (gone.is_empty(), cached.first()) {
        found.push(Difference {
            part: "samples".to_owned(),
            origin: Origin::Upstream {
                stage: first.views[0].stage.to_owned(),
                item: plural(gone.len(), "sample"),
            },
            old: Some(Value::Int(gone.len() as i64)),
            new: None,
        });
    }
    found
}

/// A record of a sample that is another one, or a whole sample that is new.
fn record(sample: &Cached<'_>, part: &str, old: Option<&Value>, new: Option<&Value>) -> Difference {
    let origin = Origin::Upstream {
        stage: sample.views[0].stage.to_owned(),
        item: sample.sample.id.clone(),
    };
    Difference { part: part.to_owned(), origin, old: old.cloned(), new: new.cloned() }
}

fn changes(
    stage: &Finetune,
    sample: &Cached<'_>,
    was: &Entry<'_>,
    is: &Entry<'_>,
) -> Vec<Difference> {
    let mut found = Vec::new();
    for (part, old, new) in [("latent", was.views, is.views), ("text", was.texts, is.texts)] {
        if old != new {
            found.push(record(sample, part, Some(old), Some(new)));
        }
    }
    let dataset = format!("dataset.{}", sample.sample.dataset);
    let mut stated = |path: String, old: Option<&Value>, new: Option<&Value>| {
        let part = path.rsplit('.').next().unwrap_or_default().to_owned();
        let origin = stage.site.origin(path);
        found.push(Difference { part, origin, old: old.cloned(), new: new.cloned() });
    };
    if was.repeats != is.repeats {
        stated(format!("{dataset}.num_repeats"), Some(was.repeats), Some(is.repeats));
    }
    let value =
        |entry: &Entry<'_>, name: &str| entry.special.and_then(|all| all.get(name)).cloned();
    for name in [
        "held_out",
        "caption_dropout_rate",
        "caption_dropout_every_n_epochs",
        "prior_loss_weight",
        "in_order",
    ] {
        let (old, new) = (value(was, name), value(is, name));
        if old == new {
            continue;
        }
        let path = match name {
            "held_out" => format!("{dataset}.validation_split"),
            "in_order" => format!("{dataset}.token_warmup_step"),
            "prior_loss_weight" if old.is_none() || new.is_none() => format!("{dataset}.is_reg"),
            "prior_loss_weight" => format!("stages.{}.{name}", stage.name),
            _ => format!("{dataset}.{name}"),
        };
        stated(path, old.as_ref(), new.as_ref());
    }
    found
}
