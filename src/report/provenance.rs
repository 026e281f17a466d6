//! A file with where it comes from.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::{PictureFile, WeightFile, theme, words};
use crate::{
    base::plural,
    pipeline::{Known, Model, Provenance, Source},
};

/// What `inspect` tells of a file.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Inspected {
    /// What it is.
    #[serde(flatten)]
    pub file: InspectedFile,
    /// Where it comes from; `null` where no store near it knows.
    pub provenance: Option<Provenance>,
}

/// What a file is.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum InspectedFile {
    /// Weights or a graph.
    Weights(WeightFile),
    /// A picture.
    Picture(PictureFile),
    /// Anything else that fluxpipe made.
    Plain(PlainFile),
}

/// A file of which there is no more to say than where it comes from.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PlainFile {
    /// The file.
    pub path: PathBuf,
    /// Bytes on disk.
    pub bytes: u64,
}

impl Inspected {
    /// For a person.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = match &self.file {
            InspectedFile::Weights(file) => file.text(),
            InspectedFile::Picture(file) => file.text(),
            InspectedFile::Plain(PlainFile { path, bytes }) => {
                format!(
                    "{}\n  size       {}\n",
                    theme::strong(path.display()),
                    words::bytes(*bytes)
                )
            }
        };
        if let Some(provenance) = &self.provenance {
            text += &format!("\n{}\n", theme::strong("where it comes from"));
            for (name, value) in rows(provenance) {
                text += &format!("  {name:<10} {value}\n");
            }
        }
        text
    }
}

fn rows(provenance: &Provenance) -> Vec<(&'static str, String)> {
    let Provenance { kind, item, items, blob, run, .. } = provenance;
    let stage = provenance.stage.as_ref().filter(|stage| *stage != kind);
    let stage = match (stage, kind.as_str()) {
        (Some(stage), "") => format!("stage {stage}"),
        (Some(stage), kind) => format!("stage {stage} ({kind})"),
        (None, kind) => format!("stage {kind}"),
    };
    let mut rows = Vec::new();
    rows.push((
        "made by",
        match item {
            Some(item) => format!("{stage}, item {item}"),
            None => format!("{stage}, from {}", plural(*items, "item")),
        },
    ));
    if let Some(blob) = blob {
        rows.push(("output", blob.clone()));
    }
    rows.push((
        "state",
        match (provenance.known, provenance.current) {
            (Known::Changed, _) => theme::busy(
                "fluxpipe wrote it, and somebody changed it since; this is of what it wrote",
            ),
            (Known::Published, _) => theme::good("as it was published"),
            (Known::Header, _) => theme::busy(format!(
                "no output that is stored; its header names the network and the samples of {}",
                plural(*items, "stored training")
            )),
            (Known::Output, Some(true)) => theme::good("what the last run of the stage left"),
            (Known::Output, Some(false)) => {
                theme::busy("not what the last run of the stage left: that has another key")
            }
            (Known::Output, None) => "an output of the store".to_owned(),
        },
    ));
    if let Some(blessed) = &provenance.blessed {
        let made = blessed.from.short();
        let told = format!("{} ({}; made under the key {made})", blessed.reason, blessed.at);
        rows.push(("blessed", theme::busy(told)));
    }
    if let Some(run) = run {
        rows.push(("run", words::run_at(run)));
    }
    if let Some(request) = &provenance.request {
        let manifest = request.manifest.display();
        rows.push(("manifest", format!("{manifest}, digest {}", request.digest.short())));
        rows.extend(request.set.iter().map(|set| ("--set", set.clone())));
    }
    if let (Some(key), Some(recipe)) = (&provenance.key, &provenance.recipe_key) {
        rows.push(("key", format!("{} (recipe {})", key.short(), recipe.short())));
    }
    let mut name = "models";
    for told in models(&provenance.models()) {
        rows.push((name, told));
        name = "";
    }
    let mut name = "from";
    for source in &provenance.from {
        rows.push((name, of_source(source)));
        rows.extend(models(&source.models).into_iter().map(|model| ("", format!("  {model}"))));
        name = "";
    }
    rows.push(("store", theme::faint(provenance.store.display())));
    rows
}

/// `5 latents of cache: a.jpg, b.jpg, c.jpg and 2 more`.
fn of_source(source: &Source) -> String {
    let Source { kind, recipe, items, first, .. } = source;
    let what = if recipe == kind { String::new() } else { format!(" ({recipe})") };
    let more = match items.saturating_sub(first.len()) {
        0 => String::new(),
        more => format!(" and {} more", words::grouped(more as u64)),
    };
    format!("{kind}{what}: {}{more}", first.join(", "))
}

/// `flux  models/flux1-dev.safetensors  0123456789ab`, in columns.
fn models(models: &[Model]) -> Vec<String> {
    let told = models.iter().map(|model| {
        let digest = model.digest.chars().take(12).collect::<String>();
        (model.name.clone(), format!("{}, digest {digest}", model.path.display()))
    });
    let told = told.collect::<BTreeMap<_, _>>();
    told.into_iter().map(|(name, file)| format!("{name}: {file}")).collect()
}
