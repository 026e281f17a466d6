//! What differs between two lists of samples, as they stand in two keys of a training: which sample,
//! and which value of the manifest or which record of it.

use std::collections::{BTreeMap, HashMap};

use super::{Finetune, samples::Cached};
use crate::{
    base::{Digest, Value},
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

/// A sample as it is now; what has still to be made of it is not known.
struct Now<'c, 'a> {
    sample: &'c Cached<'a>,
    whole: Option<Value>,
    views: Option<Value>,
    texts: Option<Value>,
}

/// The differences between a list of samples as a key has it and the samples as they are, each once for all
/// samples that share it. A sample that is new or gone is a part `sample` of its own.
pub fn within(stage: &Finetune, cached: &[Cached<'_>], old: &[Value]) -> Vec<Difference> {
    let mut left = HashMap::<Digest, (&Value, usize)>::new();
    for value in old {
        left.entry(value.digest()).or_insert((value, 0)).1 += 1;
    }
    let mut changed = Vec::new();
    for sample in cached {
        let whole = sample.value(stage.config.prior_loss_weight);
        let known = whole.as_ref().and_then(|value| left.get_mut(&value.digest()));
        if let Some((_, count @ 1..)) = known {
            *count -= 1;
            continue;
        }
        let (views, texts) = (sample.views_value(), sample.texts_value());
        changed.push(Now { sample, whole, views, texts });
    }
    let gone = left.into_values().flat_map(|(value, count)| std::iter::repeat_n(value, count));
    let mut gone = gone.filter_map(Entry::of).map(|entry| (entry, None)).collect::<Vec<_>>();
    gone.sort_by_key(|(was, _)| was.views.digest());
    // The likest one is what it was: the same records, else the same picture, else the same text.
    let mut pairs = Vec::new();
    let both = |views: &Value, texts: &Value| Value::List(vec![views.clone(), texts.clone()]);
    pair(
        &mut changed,
        &mut gone,
        &mut pairs,
        |(was, _)| Some(both(was.views, was.texts)),
        |is| Some(both(is.views.as_ref()?, is.texts.as_ref()?)),
    );
    let views = |is: &Now<'_, '_>| is.views.clone();
    pair(&mut changed, &mut gone, &mut pairs, |(was, _)| Some(was.views.clone()), views);
    let texts = |is: &Now<'_, '_>| is.texts.clone();
    pair(&mut changed, &mut gone, &mut pairs, |(was, _)| Some(was.texts.clone()), texts);
    // Where nothing of it is as it was, or is known, its name tells.
    name_gone(stage, cached, &mut gone);
    let name = |is: &Now<'_, '_>| Some(Value::Text(is.sample.sample.id.clone()));
    pair(&mut changed, &mut gone, &mut pairs, |(_, name)| name.clone().map(Value::Text), name);
    let mut found = Vec::<Difference>::new();
    for difference in pairs.iter().flat_map(|(was, is)| changes(stage, was, is)) {
        if !found.contains(&difference) {
            found.push(difference);
        }
    }
    let new = changed.iter();
    found.extend(new.map(|is| Difference {
        pending: is.whole.is_none(),
        ..record(is.sample, "sample", None, Some(&Value::Bool(true)))
    }));
    let stage_of = cached.first().map_or("", |first| first.views[0].stage);
    gone.sort_by(|one, other| one.1.cmp(&other.1));
    found.extend(gone.into_iter().map(|(was, name)| Difference {
        part: "sample".to_owned(),
        origin: Origin::Upstream {
            stage: stage_of.to_owned(),
            item: name.unwrap_or_else(|| was.views.digest().short()),
        },
        old: Some(was.views.clone()),
        new: None,
        pending: false,
    }));
    found
}

/// An entry that is no more, and its name, where it is known.
type Gone<'v> = (Entry<'v>, Option<String>);

/// Takes those of which something is equal out of both lists.
fn pair<'c, 'a, 'v>(
    changed: &mut Vec<Now<'c, 'a>>,
    gone: &mut Vec<Gone<'v>>,
    pairs: &mut Vec<(Entry<'v>, Now<'c, 'a>)>,
    of_gone: impl Fn(&Gone<'v>) -> Option<Value>,
    of_now: impl Fn(&Now<'c, 'a>) -> Option<Value>,
) {
    let mut places = HashMap::<Digest, Vec<usize>>::new();
    // From the end, so that the first of several is taken first.
    for (place, was) in gone.iter().enumerate().rev() {
        if let Some(value) = of_gone(was) {
            places.entry(value.digest()).or_default().push(place);
        }
    }
    let mut all = std::mem::take(gone).into_iter().map(Some).collect::<Vec<_>>();
    for is in std::mem::take(changed) {
        let place = of_now(&is).and_then(|value| places.get_mut(&value.digest())?.pop());
        match place.and_then(|place| all[place].take()) {
            Some((was, _)) => pairs.push((was, is)),
            None => changed.push(is),
        }
    }
    gone.extend(all.into_iter().flatten());
}

/// Names the samples that are gone, by the items that made their latents.
fn name_gone(stage: &Finetune, cached: &[Cached<'_>], gone: &mut [Gone<'_>]) {
    let first = |views: &Value| match views {
        Value::Digest(digest) => Some(*digest),
        Value::List(all) => match all.first() {
            Some(Value::Digest(digest)) => Some(*digest),
            _ => None,
        },
        _ => None,
    };
    let wanted = gone.iter().filter_map(|(was, _)| first(was.views)).collect();
    let kind = cached.first().map_or("", |first| first.views[0].kind);
    let names = stage.site.store.makers(kind, &wanted);
    for (was, name) in gone {
        *name = first(was.views).and_then(|digest| names.get(&digest).cloned());
    }
}

/// A record of a sample that is another one, or a whole sample that is new.
fn record(sample: &Cached<'_>, part: &str, old: Option<&Value>, new: Option<&Value>) -> Difference {
    let origin = Origin::Upstream {
        stage: sample.views[0].stage.to_owned(),
        item: sample.sample.id.clone(),
    };
    let pending = new.is_none();
    Difference { part: part.to_owned(), origin, old: old.cloned(), new: new.cloned(), pending }
}

fn changes(stage: &Finetune, was: &Entry<'_>, now: &Now<'_, '_>) -> Vec<Difference> {
    let sample = now.sample;
    let mut found = Vec::new();
    for (part, old, new) in [("latent", was.views, &now.views), ("text", was.texts, &now.texts)] {
        if Some(old) != new.as_ref() {
            found.push(record(sample, part, Some(old), new.as_ref()));
        }
    }
    // The rest is told once the records are there.
    let Some(is) = now.whole.as_ref().and_then(Entry::of) else { return found };
    let dataset = format!("dataset.{}", sample.sample.dataset);
    let mut stated = |path: String, old: Option<&Value>, new: Option<&Value>| {
        let part = path.rsplit('.').next().unwrap_or_default().to_owned();
        let origin = stage.site.origin(path);
        let (old, new) = (old.cloned(), new.cloned());
        found.push(Difference { part, origin, old, new, pending: false });
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
        let (old, new) = (value(was, name), value(&is, name));
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
