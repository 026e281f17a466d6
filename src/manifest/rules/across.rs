//! Rules between tables: stages and the networks, datasets and other stages that they need or disturb.

use super::{
    super::{Cache, Dataset, Latent, Models, StageConfig, TagList},
    Check, ManifestError, Mistake, Place,
};

/// The networks that stages use are named.
pub(in super::super) fn models_are_named(
    check: &mut Check,
    models: &Models,
    stage: &str,
    place: &Place,
    config: &StageConfig,
) {
    let absent: Vec<&'static str> = config
        .kind()
        .models()
        .iter()
        .copied()
        .filter(|name| models.get(name).is_none() && !check.is_bad(&format!("models.{name}")))
        .collect();
    if absent.is_empty() {
        return;
    }
    let lines: Vec<String> = absent.iter().map(|name| format!("{name} = \"FILE\"")).collect();
    let help = format!("add to [models]: {}", lines.join(", "));
    let mistake = Mistake::MissingModel { stage: stage.to_owned(), models: absent, help };
    check.report(place, "uses networks that are not named", mistake);
}

/// Regularisation pictures stand beside others, and their weight beside them.
pub(in super::super) fn regularisation(
    check: &mut Check,
    datasets: &[Dataset],
    stages: &[(&str, &Place, &StageConfig)],
) {
    let is_reg = datasets.iter().position(|dataset| dataset.is_reg);
    if let Some(index) = is_reg.filter(|_| datasets.iter().all(|dataset| dataset.is_reg)) {
        let path = format!("dataset.{index}.is_reg");
        if let Some(place) = check.places.get(&path).cloned() {
            let mistake = Mistake::Conflict {
                what: "all pictures are regularisation pictures".to_owned(),
                help: "add a `[[dataset]]` of what is to be learnt, or take `is_reg` out"
                    .to_owned(),
            };
            check.report(&place, "of these too", mistake);
        }
    }
    if is_reg.is_some() {
        return;
    }
    for (name, ..) in stages {
        let path = format!("stages.{name}.prior_loss_weight");
        let Some(place) = check.places.get(&path).cloned() else { continue };
        if check.is_bad(&path) {
            continue;
        }
        let mistake = Mistake::NoEffect {
            path,
            reason: "there are no regularisation pictures".to_owned(),
            help: "take `prior_loss_weight` out, or say `is_reg = true` in a [[dataset]]"
                .to_owned(),
        };
        check.report(&place, "has no effect", mistake);
    }
}

/// A `seed` of a merge stage is for draws, and some dataset must draw.
pub(in super::super) fn merge_seed_draws(
    check: &mut Check,
    datasets: &[Dataset],
    stages: &[(&str, &Place, &StageConfig)],
) {
    let draws = |dataset: &Dataset| {
        !dataset.caption_rules().iter().all(|(name, _)| name != "caption_variants")
    };
    if datasets.iter().any(draws) {
        return;
    }
    for (name, ..) in stages.iter().filter(|(.., config)| matches!(config, StageConfig::Merge(_))) {
        let path = format!("stages.{name}.seed");
        let Some(place) = check.places.get(&path).cloned() else { continue };
        if check.is_bad(&path) {
            continue;
        }
        let mistake = Mistake::NoEffect {
            path,
            reason: "no dataset draws anything in its captions".to_owned(),
            help: "take `seed` out, or say `shuffle_caption` or another random rule in [[dataset]]"
                .to_owned(),
        };
        check.report(&place, "has no effect", mistake);
    }
}

/// A `seed` of a cache stage draws latents and views, and something of that must be drawn.
pub(in super::super) fn cache_seed_draws(
    check: &mut Check,
    datasets: &[Dataset],
    stages: &[(&str, &Place, &StageConfig)],
) {
    if datasets.iter().any(|dataset| dataset.random_crop || dataset.color_aug) {
        return;
    }
    for (name, _, config) in stages {
        let StageConfig::Cache(Cache { latent: Latent::Mean | Latent::Moments, .. }) = config
        else {
            continue;
        };
        let [seed, latent] = ["seed", "latent"].map(|field| format!("stages.{name}.{field}"));
        let (Some(place), Some(because)) = (check.places.get(&seed), check.places.get(&latent))
        else {
            continue;
        };
        if check.is_bad(&seed) || check.is_bad(&latent) {
            continue;
        }
        let mistake = Mistake::NoEffect {
            path: seed,
            reason: "neither latents nor views are drawn".to_owned(),
            help: "take `seed` out, or say `random_crop` or `color_aug` in a [[dataset]]"
                .to_owned(),
        };
        let error = ManifestError::at(place, "has no effect", mistake)
            .and_at(because, "nothing is drawn of it");
        check.errors.push(error);
    }
}

/// The ending of captions by hand has an effect, and no tag stage writes there.
pub(in super::super) fn captions_by_hand(
    check: &mut Check,
    datasets: &[Dataset],
    stages: &[(&str, &Place, &StageConfig)],
) {
    let label =
        stages.iter().find(|(.., config)| matches!(config, StageConfig::Label(_))).map(|s| s.0);
    let tags = stages.iter().filter_map(|(name, _, config)| match config {
        StageConfig::Tag(tag) => Some((*name, tag.caption_extension.as_str())),
        _ => None,
    });
    let tags: Vec<_> = tags.collect();
    for (index, dataset) in datasets.iter().enumerate() {
        let path = format!("dataset.{index}.caption_extension");
        let ending = &dataset.caption_extension;
        let place = check.places.get(&path).cloned();
        if check.is_bad(&path) {
            continue;
        }
        match (label, tags.iter().find(|(_, written)| written == ending)) {
            (Some(label), _) => {
                let Some(place) = place else { continue };
                let mistake = Mistake::NoEffect {
                    path,
                    reason: format!("the stage `{label}` makes the captions"),
                    help: format!(
                        "take `caption_extension` out, or say it in [stages.{label}]: captions that \
                         people write there are kept"
                    ),
                };
                check.report(&place, "has no effect", mistake);
            }
            (None, Some((tag, _))) => {
                let stated = format!("stages.{tag}.caption_extension");
                let Some(place) = place.or_else(|| check.places.get(&stated).cloned()) else {
                    continue;
                };
                let mistake = Mistake::Conflict {
                    what: format!(
                        "captions would be read from *{ending}, where `{tag}` writes tags"
                    ),
                    help: format!(
                        "give one of the two another `caption_extension`; `{tag}` has one too"
                    ),
                };
                check.report(&place, "the same ending", mistake);
            }
            (None, None) => {}
        }
    }
}

/// Tags that a merge stage removes are single tags: one with a separator in it matches none.
pub(in super::super) fn removed_tags(check: &mut Check, stages: &[(&str, &Place, &StageConfig)]) {
    let separator = stages.iter().find_map(|(.., config)| match config {
        StageConfig::Tag(tag) => Some(tag.caption_separator.trim()),
        _ => None,
    });
    let separator = separator.filter(|separator| !separator.is_empty()).unwrap_or(",");
    for (name, _, config) in stages {
        let StageConfig::Merge(merge) = config else { continue };
        let TagList::Tags(tags) = &merge.remove_tags else { continue };
        for (index, _) in tags.iter().enumerate().filter(|(_, tag)| tag.contains(separator)) {
            let path = format!("stages.{name}.remove_tags.{index}");
            let Some(place) = check.places.get(&path).cloned() else { continue };
            let mistake = Mistake::OutOfRange {
                path,
                rule: format!("one tag, without `{separator}`"),
                help: "write several tags as [\"one\", \"two\"]; this matches none".to_owned(),
            };
            check.report(&place, "one tag is wanted", mistake);
        }
    }
}

/// Two stages do not write to the same sidecar.
pub(in super::super) fn sidecars_differ(
    check: &mut Check,
    stages: &[(&str, &Place, &StageConfig)],
) {
    let endings: Vec<(&str, &Place, &str)> = stages
        .iter()
        .filter_map(|(name, place, config)| match config {
            StageConfig::Label(label) => Some((*name, *place, label.caption_extension.as_str())),
            StageConfig::Tag(tag) => Some((*name, *place, tag.caption_extension.as_str())),
            _ => None,
        })
        .collect();
    for (index, (name, place, ending)) in endings.iter().enumerate() {
        let Some((other, other_place, _)) =
            endings[..index].iter().find(|(.., other)| other == ending)
        else {
            continue;
        };
        let mistake = Mistake::Conflict {
            what: format!("`{other}` and `{name}` write to the same sidecar *{ending}"),
            help: format!("give `{name}` a `caption_extension` of its own"),
        };
        let stated = |stage: &str, header: &Place| {
            let path = format!("stages.{stage}.caption_extension");
            check.places.get(&path).unwrap_or(header).clone()
        };
        let error = ManifestError::at(&stated(name, place), "writes here too", mistake)
            .and_at(&stated(other, other_place), "writes here");
        check.errors.push(error);
    }
}
