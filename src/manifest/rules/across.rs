//! Rules between tables: stages and the networks, datasets and other stages that they need or disturb.

use super::{
    super::{Cache, Dataset, Latent, Models, StageConfig},
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
