//! From text to a [`Manifest`], or to everything that is wrong with it.

use std::{path::Path, sync::Arc};

use miette::NamedSource;

use super::{
    Cache, Dataset, Finetune, Kind, Label, Manifest, Merge, Sample, Source, StageConfig, StageDecl,
    Tag,
    check::{Check, Table},
    error::{ManifestError, ManifestErrors, Mistake},
    needs::{self, Declared, Stated},
    rules::{self, Rules},
    schema,
    set::set,
    source::{Place, Text},
    syntax::{self, Parsed},
    tree::{Content, Entry, Node, below},
};
use crate::base::{did_you_mean, disk};

/// What the manifest itself holds.
const TABLES: [&str; 5] = ["project", "models", "store", "dataset", "stages"];

/// What every stage has, whatever its kind.
const OF_ALL_STAGES: [&str; 2] = ["kind", "needs"];

impl Manifest {
    /// Reads the manifest at `path`.
    ///
    /// # Errors
    /// The file cannot be read, or something is wrong with it: see [`Manifest::parse`].
    pub fn read(path: &Path) -> Result<Self, ManifestErrors> {
        Self::read_with_overrides(path, &[])
    }

    /// Reads the manifest at `path` and sets values as [`Manifest::with_overrides`] does.
    ///
    /// # Errors
    /// The file cannot be read, or something is wrong with it or with an override.
    pub fn read_with_overrides(
        path: &Path,
        overrides: &[(String, String)],
    ) -> Result<Self, ManifestErrors> {
        // The message names the path, so the bare words of the system are wanted here.
        match disk::read(path).map(String::from_utf8) {
            Ok(Ok(text)) => Self::with_overrides(path, &text, overrides),
            Ok(Err(_)) => {
                let reason = "it is not UTF-8 text".to_owned();
                Err(unreadable(path, reason, "save it as UTF-8 in your editor"))
            }
            Err(error) => {
                let help = "check the path; `fluxpipe init DIR` writes a manifest to start from";
                Err(unreadable(path, error.to_string(), help))
            }
        }
    }

    /// Reads a manifest from its text; relative paths in it start at the folder of `path`.
    ///
    /// # Errors
    /// All mistakes at once, each at its place. Files that the manifest names are not looked at: see
    /// [`Manifest::check_files`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ManifestErrors> {
        Self::with_overrides(path, text, &[])
    }

    /// The same after setting values: `(dotted path, value)`, as in `--set stages.label.num_beams=4`.
    /// A value is TOML; a word that is not TOML is taken as a text.
    ///
    /// # Errors
    /// As [`Manifest::parse`]; a mistake in an override points at the command line.
    pub fn with_overrides(
        path: &Path,
        text: &str,
        overrides: &[(String, String)],
    ) -> Result<Self, ManifestErrors> {
        let source = Source { path: path.to_owned(), text: Arc::from(text), in_place_of: None };
        let file: Text =
            Arc::new(NamedSource::new(path.to_string_lossy(), Arc::clone(&source.text)));
        let Parsed { mut root, mut errors, unsure } = syntax::parse(&file);
        for (path, value) in overrides {
            errors.extend(set(&mut root, path, value).err().map(|error| *error));
        }
        match typed(&source, &file, &root) {
            Ok(manifest) if errors.is_empty() => return Ok(manifest),
            Ok(_) => {}
            // Neither a broken line nor what may be missing because of it is spoken of again.
            Err(mistakes) => errors.extend(mistakes.into_iter().filter(|error| {
                let start = error.span().map_or(0, |span| span.start);
                unsure.is_empty()
                    || error.stands_alone() && !unsure.iter().any(|range| range.contains(&start))
            })),
        }
        Err(ManifestErrors::in_order(&source, errors))
    }
}

fn unreadable(path: &Path, reason: String, help: &'static str) -> ManifestErrors {
    let mistake = Mistake::Read { path: path.to_owned(), reason, help };
    ManifestErrors { path: path.to_owned(), errors: vec![ManifestError::nowhere(mistake)] }
}

fn typed(source: &Source, file: &Text, root: &Node) -> Result<Manifest, Vec<ManifestError>> {
    let mut check = Check::new(root);
    for entry in root.entries().into_iter().flatten() {
        if !TABLES.contains(&entry.name.as_str()) {
            top_level(&mut check, entry);
        }
    }
    let project = match top(root, "project") {
        Some(node) => one_table(&mut check, node, "project"),
        None => {
            let mistake = Mistake::MissingKey {
                table: "the manifest".to_owned(),
                key: "[project]".to_owned(),
                help: "add `[project]` with `name = \"…\"`".to_owned(),
            };
            check.report(&root.place, "`[project]` belongs here", mistake);
            super::Project::default()
        }
    };
    if let Some(node) = top(root, "project") {
        rules(&mut check, node, "project").project(&project);
    }
    let models = match top(root, "models") {
        Some(node) => one_table(&mut check, node, "models"),
        None => super::Models::default(),
    };
    let store = match top(root, "store") {
        Some(node) => one_table(&mut check, node, "store"),
        None => super::StoreSettings::default(),
    };
    let dataset = datasets(&mut check, root);
    let stages = stages(&mut check, root, &models, &dataset);
    if !check.errors.is_empty() {
        return Err(check.errors);
    }
    let spans = check.places.spans(file);
    let source = source.clone();
    let places = check.places;
    Ok(Manifest { source, spans, project, models, store, dataset, stages, places })
}

fn one_table<T>(check: &mut Check, node: &Node, name: &str) -> T
where
    T: schemars::JsonSchema + serde::de::DeserializeOwned + Default + 'static,
{
    check.table(&Table { node, path: name.to_owned(), words: format!("[{name}]") }, &[])
}

fn rules<'a>(check: &'a mut Check, node: &Node, path: &str) -> Rules<'a> {
    Rules { check, path: path.to_owned(), place: node.place.clone() }
}

/// One of the manifest's own tables. A misspelt one is reported as an unknown key, and stands in here,
/// so that nothing is reported as missing because of it.
fn top<'a>(root: &'a Node, name: &str) -> Option<&'a Node> {
    let misspelt = |entry: &&Entry| {
        !TABLES.contains(&entry.name.as_str()) && did_you_mean(&entry.name, TABLES) == Some(name)
    };
    let stand_in = || root.entries()?.iter().find(misspelt).map(|entry| &entry.value);
    root.get(name).or_else(stand_in)
}

/// A table or key that the manifest itself does not have.
fn top_level(check: &mut Check, entry: &Entry) {
    if Kind::named(&entry.name).is_some() && matches!(entry.value.content, Content::Table(_)) {
        let mistake = Mistake::UnknownKey {
            key: entry.name.clone(),
            table: "the manifest".to_owned(),
            help: format!("a stage is written `[stages.{}]`", entry.name),
        };
        check.report(&entry.key, "a stage, but not among the stages", mistake);
    } else {
        check.unknown_key(entry, &TABLES, "the manifest");
    }
}

fn datasets(check: &mut Check, root: &Node) -> Vec<Dataset> {
    let nodes = match top(root, "dataset") {
        Some(Node { content: Content::List(nodes), .. }) if !nodes.is_empty() => nodes,
        Some(node) if !matches!(node.content, Content::List(_)) => {
            let schema = schema::schema();
            check.value(node, &schema["properties"]["dataset"], "dataset");
            return Vec::new();
        }
        found => {
            let place = found.map_or(&root.place, |node| &node.place);
            check.report(place, "no `[[dataset]]`", Mistake::NoDataset);
            return Vec::new();
        }
    };
    let mut datasets = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let path = format!("dataset.{index}");
        let table = Table { node, path: path.clone(), words: "[[dataset]]".to_owned() };
        let dataset: Dataset = check.table(&table, &[]);
        rules(check, node, &path).dataset(&dataset);
        datasets.push(dataset);
    }
    datasets
}

/// A stage whose table has been read; `config` is `None` where its kind is unknown.
struct Read {
    declared: Declared,
    config: Option<StageConfig>,
}

fn stages(
    check: &mut Check,
    root: &Node,
    models: &super::Models,
    datasets: &[Dataset],
) -> Vec<StageDecl> {
    let node = top(root, "stages");
    let entries = match node.map(|node| (node, node.entries())) {
        Some((_, Some(entries))) if !entries.is_empty() => entries,
        Some((node, None)) => {
            let schema = schema::schema();
            check.value(node, &schema["properties"]["stages"], "stages");
            return Vec::new();
        }
        found => {
            let place = found.map_or(&root.place, |(node, _)| &node.place);
            check.report(place, "no `[stages.NAME]`", Mistake::NoStages);
            return Vec::new();
        }
    };
    let mut read: Vec<Read> = entries.iter().filter_map(|entry| stage(check, entry)).collect();
    for stage in &read {
        if let Some(config) = &stage.config {
            let Declared { name, place, .. } = &stage.declared;
            rules::models_are_named(check, models, name, place, config);
        }
    }
    let writers: Vec<_> = read
        .iter()
        .filter_map(|stage| {
            let config = stage.config.as_ref()?;
            Some((stage.declared.name.as_str(), &stage.declared.place, config))
        })
        .collect();
    rules::sidecars_differ(check, &writers);
    rules::regularisation(check, datasets, &writers);
    rules::merge_seed_draws(check, datasets, &writers);
    rules::cache_seed_draws(check, datasets, &writers);
    rules::captions_by_hand(check, datasets, &writers);
    rules::removed_tags(check, &writers);
    let (declared, configs): (Vec<_>, Vec<_>) =
        read.drain(..).map(|stage| (stage.declared, stage.config)).unzip();
    let needs = needs::resolve(&declared, &mut check.errors);
    declared
        .into_iter()
        .zip(configs)
        .zip(needs)
        .filter_map(|((stage, config), needs)| {
            Some(StageDecl { name: stage.name, needs, config: config? })
        })
        .collect()
}

fn stage(check: &mut Check, entry: &Entry) -> Option<Read> {
    let (name, node) = (&entry.name, &entry.value);
    let path = below("stages", name);
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    if name.is_empty() || !name.bytes().all(allowed) {
        check.report(&entry.key, "this name", Mistake::StageName { name: name.clone() });
    }
    if node.entries().is_none() {
        check.value(node, &serde_json::json!({ "type": "object" }), &path);
        return None;
    }
    let kind = kind(check, entry);
    let needs = node.get("needs").and_then(|node| stated_needs(check, node, &path));
    let config = kind.map(|kind| {
        let table = Table { node, path: path.clone(), words: format!("[{path}]") };
        let config = config(check, kind, &table);
        rules(check, node, &path).stage(&config);
        config
    });
    let declared = Declared { name: name.clone(), kind, place: node.place.clone(), needs };
    Some(Read { declared, config })
}

fn config(check: &mut Check, kind: Kind, table: &Table<'_>) -> StageConfig {
    match kind {
        Kind::Label => StageConfig::Label(check.table::<Label>(table, &OF_ALL_STAGES)),
        Kind::Tag => StageConfig::Tag(check.table::<Tag>(table, &OF_ALL_STAGES)),
        Kind::Merge => StageConfig::Merge(check.table::<Merge>(table, &OF_ALL_STAGES)),
        Kind::Cache => StageConfig::Cache(check.table::<Cache>(table, &OF_ALL_STAGES)),
        Kind::Finetune => StageConfig::Finetune(check.table::<Finetune>(table, &OF_ALL_STAGES)),
        Kind::Sample => StageConfig::Sample(check.table::<Sample>(table, &OF_ALL_STAGES)),
    }
}

/// The kind of a stage: as stated, or by its name. Where that is a mistake it is reported, and the
/// likeliest kind is taken to check the rest.
fn kind(check: &mut Check, entry: &Entry) -> Option<Kind> {
    let all = Kind::ALL.map(Kind::as_str);
    let by_name = Kind::named(&entry.name);
    let near_kind = |word: &str| did_you_mean(word, all).and_then(Kind::named);
    let Some(stated) = entry.value.get("kind") else {
        if by_name.is_none() {
            let help = match near_kind(&entry.name) {
                Some(near) => format!("did you mean `[stages.{near}]`? If not, add `kind = \"…\"`"),
                None => format!("add `kind = \"…\"`: {}", all.join(", ")),
            };
            let reason =
                format!("`{}` is no kind of stage, and its `kind` is not said", entry.name);
            check.report(
                &entry.value.place,
                "of what kind?",
                Mistake::UnknownKind { reason, help },
            );
        }
        return by_name.or_else(|| near_kind(&entry.name));
    };
    let Content::Scalar(serde_json::Value::String(word)) = &stated.content else {
        let schema = serde_json::json!({ "enum": all });
        check.value(stated, &schema, &format!("stages.{}.kind", entry.name));
        return by_name;
    };
    let stated_kind = Kind::named(word);
    let (reason, help) = match (stated_kind, by_name) {
        (None, _) => {
            let help = match near_kind(word) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("the kinds are {}", all.join(", ")),
            };
            (format!("there is no kind of stage called \"{word}\""), help)
        }
        (Some(kind), Some(other)) if kind != other => {
            let reason = format!("a stage called `{other}` cannot be of kind {kind}");
            (reason, format!("call it something else, such as `[stages.my-{kind}]`"))
        }
        _ => return stated_kind,
    };
    check.report(&stated.place, "this kind", Mistake::UnknownKind { reason, help });
    by_name.or_else(|| near_kind(word))
}

fn stated_needs(check: &mut Check, node: &Node, path: &str) -> Option<Stated> {
    if !check.value(node, &schema::needs(), &below(path, "needs")) {
        return None;
    }
    let Content::List(items) = &node.content else { return None };
    let name = |item: &Node| -> Option<(String, Place)> {
        Some((item.json().as_str()?.to_owned(), item.place.clone()))
    };
    Some(Stated { place: node.place.clone(), names: items.iter().filter_map(name).collect() })
}
