//! Stage `merge`: captions and tags become the training texts of each sample, and `meta_data.json`.
//!
//! Reads what `label` and `tag` made, or, where the project has no such stage, the sidecars that
//! people wrote and the metadata file that the manifest names. A sample is what it holds: its path is
//! in no key, so a renamed picture changes nothing but `meta_data.json`.

pub(super) mod words;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, OnceLock},
};

use rayon::prelude::*;

use self::words::{Found, Rules, Texts};
use super::{Sample, Site, cache::header, sidecar, variants};
use crate::{
    base::plural,
    dataset::{self, InJson, Metadata, PictureFile},
    manifest::{self, StageConfig, StageDecl},
    pipeline::{
        Finished, ItemFailure, ItemSpec, KeyPart, Owner, Publication, Published, Recipe, Seen,
        Stage, StageError, Store, Upstream, UpstreamItem, Warning, Work,
    },
};

/// Raised with a reason whenever training captions change for equal inputs.
const ALGORITHM: (i64, &str) = (
    3,
    "class tokens stand in also where words come to nothing and are no caption; drawn texts repeat only \
     where there are no others",
);

/// Name of the recipe.
pub(super) const RECIPE: &str = "training caption";

/// Names that a warning gives.
const EXAMPLES: usize = 5;

/// Upstream items by kind of stage and id.
pub(super) type Made<'a> = HashMap<(&'a str, &'a str), UpstreamItem<'a>>;

/// What the needed stages made.
pub(super) fn made<'a>(upstream: &Upstream<'a>) -> Made<'a> {
    upstream.items().map(|item| ((item.kind, item.id), item)).collect()
}

/// The stage.
pub struct Merge {
    pub(super) site: Arc<Site>,
    name: String,
    config: manifest::Merge,
    /// By dataset.
    rules: Vec<Rules>,
    /// By dataset: key parts for the rules of captions that have an effect.
    rule_parts: Vec<Arc<[KeyPart]>>,
    in_json: OnceLock<Option<InJson>>,
}

impl Merge {
    pub fn new(site: &Arc<Site>, name: &str, config: &manifest::Merge) -> Self {
        let separator = tag_separator(site, name).map_or(", ", |(_, separator)| separator);
        let datasets = site.manifest.dataset.iter();
        let rules = datasets.map(|dataset| Rules::new(config, dataset, separator)).collect();
        let rule_parts = (0..site.manifest.dataset.len()).map(|index| {
            rule_parts(site, index, &format!("stages.{name}.seed"), config.seed).into()
        });
        Self {
            site: site.clone(),
            name: name.to_owned(),
            config: config.clone(),
            rules,
            rule_parts: rule_parts.collect(),
            in_json: OnceLock::new(),
        }
    }

    /// Whether a needed stage makes texts of this kind.
    fn has_stage(&self, kind: &str) -> bool {
        needed(&self.site, &self.name).any(|stage| stage.config.kind().as_str() == kind)
    }

    /// The metadata file, read once: an item is made of what its key was made of.
    fn in_json(&self) -> Result<Option<&InJson>, StageError> {
        if let Some(read) = self.in_json.get() {
            return Ok(read.as_ref());
        }
        let file = self.config.in_json.as_ref().map(|file| self.site.resolve(file));
        let pictures = || self.site.samples.iter().map(|sample| &sample.file);
        let read = file.map(|file| InJson::read(&file).map(|read| read.for_pictures(pictures())));
        let read = read.transpose()?;
        Ok(self.in_json.get_or_init(|| read).as_ref())
    }

    /// Where a sample's caption or tags come from: a needed stage, else a sidecar, else the metadata
    /// file.
    pub(super) fn find<'a>(
        &'a self,
        made: &Made<'a>,
        sample: &Sample,
        word: words::Word,
    ) -> Result<Found<'a>, StageError> {
        if let Some(item) = made.get(&(word.kind, sample.id.as_str())) {
            return Ok(Found::Made(*item));
        }
        if self.has_stage(word.kind) {
            return Ok(Found::LeftOut);
        }
        let captions = self.site.dataset(sample).caption_extension.as_str();
        let is_caption = word.kind == words::CAPTION.kind;
        let path = sample.sidecar(if is_caption { captions } else { word.extension })?;
        // A file that is the caption holds no tags.
        let is_read = is_caption || captions != word.extension;
        let read = if is_read { self.site.store.read_sidecar(&path) } else { Ok(None) };
        match read {
            Ok(Some(bytes)) => return Ok(Found::Hand { path, bytes }),
            Ok(None) => {}
            // A pipe, a device, a folder: that of one picture, which is left out.
            Err(error) if !path.is_file() => return Ok(Found::NoFile(ItemFailure::of(&error))),
            Err(error) => return Err(error.into()),
        }
        let file = self.in_json()?;
        let entry = file.and_then(|file| Some((file, file.entry(&sample.file)?.text(word.name)?)));
        Ok(match entry {
            Some((file, text)) => Found::InJson { path: &file.path, text },
            None => Found::Nothing { path },
        })
    }

    /// The texts of a sample, from its caption and tags.
    pub(super) fn texts(
        &self,
        sample: &Sample,
        caption: Option<&str>,
        tags: Option<&str>,
    ) -> Texts {
        self.rules[sample.dataset].texts(caption, tags)
    }

    /// For a dataset: each of these keys of `[[dataset]]` and of the stage, and the rules as they would
    /// be without it.
    pub(super) fn without_each(&self, dataset: usize, keys: &[String]) -> Vec<(String, Rules)> {
        let declared = &self.site.manifest.dataset[dataset];
        let separator = tag_separator(&self.site, &self.name).map_or(", ", |(_, text)| text);
        let without = |key: &String| {
            let config = manifest::without(&self.config, key);
            let dataset = manifest::without(declared, key);
            (key.clone(), Rules::new(&config, &dataset, separator))
        };
        keys.iter().map(without).collect()
    }

    /// Caption and tags of a sample; `None` where they have still to be made.
    fn words(
        &self,
        made: &Made<'_>,
        sample: &Sample,
        store: &Store,
    ) -> Result<Option<[Option<String>; 2]>, StageError> {
        let mut read = [None, None];
        for (text, word) in read.iter_mut().zip(words::WORDS) {
            let found = self.find(made, sample, word)?;
            if found.is_pending() {
                return Ok(None);
            }
            *text = found.text(word, store, sample)?;
        }
        Ok(Some(read))
    }

    /// Entries of the metadata file that no picture has.
    fn unused_entries(&self) -> Result<Option<Warning>, StageError> {
        let Some(file) = self.in_json()? else { return Ok(None) };
        let unused = file.of_no_picture(self.site.samples.iter().map(|sample| &sample.file));
        if unused.is_empty() {
            return Ok(None);
        }
        Ok(Some(Warning {
            code: "fluxpipe::merge::unknown_pictures".to_owned(),
            message: format!(
                "{} of {} {} of no picture",
                plural(unused.len(), "entry"),
                file.path.display(),
                if unused.len() == 1 { "is" } else { "are" }
            ),
            help: Some(
                "entries are found by path, by path within image_dir, or by that without its \
                 extension; these are passed over, and kept in the file that is written"
                    .to_owned(),
            ),
            items: unused.len(),
            examples: unused.iter().take(EXAMPLES).map(|&key| key.to_owned()).collect(),
        }))
    }

    /// The keys of these samples in the file that is written. An entry of the metadata file keeps its
    /// key, unless full paths are asked for. In lines of JSON a new picture is named by its full path:
    /// the trainer of the scripts opens what stands there.
    fn metadata_keys(&self, samples: &[&Sample]) -> Result<Vec<String>, StageError> {
        let by_path = self.config.full_path || Metadata::is_lines(&self.config.out_json);
        let file = |sample: &&Sample| {
            let PictureFile { path, relative } = sample.file.clone();
            // Wherever the program was called from.
            let path = if by_path { std::path::absolute(&path).unwrap_or(path) } else { path };
            PictureFile { path, relative }
        };
        let files: Vec<_> = samples.iter().map(file).collect();
        let in_json = if self.config.full_path { None } else { self.in_json()? };
        let Some(file) = in_json else {
            return Ok(dataset::metadata_keys(&files, by_path)?);
        };
        let known: Vec<_> = samples.iter().map(|sample| file.key(&sample.file)).collect();
        let new = files.iter().zip(&known).filter(|(_, known)| known.is_none());
        let new: Vec<_> = new.map(|(picture, _)| picture.clone()).collect();
        let mut new = dataset::metadata_keys(&new, by_path)?.into_iter();
        let keys = known.into_iter().map(|known| known.map(str::to_owned).or_else(|| new.next()));
        Ok(keys.flatten().collect())
    }

    /// What the metadata file held before, under the keys that are written.
    fn metadata(&self, keyed: &HashMap<&str, &str>) -> Result<Metadata, StageError> {
        let Some(file) = self.in_json()? else { return Ok(Metadata::default()) };
        let new =
            |key: &str| keyed.get(key).map_or_else(|| key.to_owned(), |key| (*key).to_owned());
        Ok(file.metadata.clone().renamed(new))
    }
}

/// Key parts for the rules of a dataset that have an effect, and for the seed where it is drawn by.
fn rule_parts(site: &Site, dataset: usize, seed_path: &str, seed: u64) -> Vec<KeyPart> {
    let rules = site.manifest.dataset[dataset].caption_rules();
    let part = |(name, value): (String, _)| {
        let origin = site.origin(format!("dataset.{dataset}.{name}"));
        KeyPart::new(name, value, origin)
    };
    let draws = rules.iter().any(|(name, _)| name == "caption_variants");
    let mut parts: Vec<_> = rules.into_iter().map(part).collect();
    if draws {
        let seed = serde_json::Value::from(seed);
        parts.push(KeyPart::new("seed", seed, site.origin(seed_path.to_owned())));
    }
    parts
}

/// The stages of the manifest that the stage `name` needs.
fn needed<'a>(site: &'a Site, name: &str) -> impl Iterator<Item = &'a StageDecl> {
    let stages = &site.manifest.stages;
    let needs = stages.iter().find(|stage| stage.name == name).map(|stage| &stage.needs);
    let needs = needs.into_iter().flatten();
    needs.filter_map(|need| stages.iter().find(|stage| stage.name == *need))
}

/// The tag stage that the stage `name` needs, and what it writes between two tags.
fn tag_separator<'a>(site: &'a Site, name: &str) -> Option<(&'a str, &'a str)> {
    needed(site, name).find_map(|stage| match &stage.config {
        StageConfig::Tag(tag) => Some((stage.name.as_str(), tag.caption_separator.as_str())),
        _ => None,
    })
}

impl Stage for Merge {
    fn kind(&self) -> &'static str {
        "merge"
    }

    fn recipes(&self) -> Result<Vec<Recipe>, StageError> {
        let mut parts = self.site.parameters(&format!("stages.{}", self.name), &self.config);
        if let Some((stage, separator)) = tag_separator(&self.site, &self.name) {
            let origin = self.site.origin(format!("stages.{stage}.caption_separator"));
            parts.push(KeyPart::new("tag_separator", separator, origin));
        }
        parts.push(Site::algorithm(ALGORITHM.0, ALGORITHM.1));
        Ok(vec![Recipe { name: RECIPE, parts }])
    }

    fn items(&self, upstream: &Upstream<'_>) -> Result<Vec<ItemSpec>, StageError> {
        let made = made(upstream);
        // Read before the work is shared out, so that a mistake in it is told once; and names that
        // cannot be written are told before any work.
        self.in_json()?;
        self.metadata_keys(&self.site.samples.iter().collect::<Vec<_>>())?;
        let item = |sample: &Sample| {
            let mut parts = Vec::with_capacity(words::WORDS.len());
            for word in words::WORDS {
                let found = self.find(&made, sample, word)?;
                if let Some(failure) = found.failure() {
                    return Ok(Some(ItemSpec::unusable(&sample.id, 0, failure)));
                }
                let Some(part) = found.part(word) else { return Ok(None) };
                parts.push(part);
            }
            let item = ItemSpec::new(&sample.id, 0, parts);
            Ok(Some(item.sharing(&self.rule_parts[sample.dataset])))
        };
        let items = self.site.samples.par_iter().map(item);
        items.filter_map(Result::transpose).collect()
    }

    fn run(&self, work: &mut dyn Work) -> Result<(), StageError> {
        let samples = sidecar::by_id(&self.site);
        let mut drafts = Vec::new();
        let made = made(work.upstream());
        for item in work.items() {
            let sample = samples[item.id.as_str()];
            // What an item that runs reads is there.
            let [caption, tags] = self.words(&made, sample, work.store())?.unwrap_or_default();
            drafts.push(self.texts(sample, caption.as_deref(), tags.as_deref()).draft());
        }
        drop(made);
        drafts.into_iter().enumerate().try_for_each(|(item, draft)| work.commit(item, draft))
    }

    fn publications(
        &self,
        finished: &[Finished<'_>],
        store: &Store,
    ) -> Result<Vec<Publication>, StageError> {
        let by_id = sidecar::by_id(&self.site);
        let finished: Vec<_> = finished
            .iter()
            .filter_map(|done| Some((*by_id.get(done.spec.id.as_str())?, done.output)))
            .collect();
        let samples: Vec<_> = finished.iter().map(|(sample, _)| *sample).collect();
        let keys = self.metadata_keys(&samples)?;
        let in_json = self.in_json()?;
        let keyed = samples
            .iter()
            .zip(&keys)
            .filter_map(|(sample, key)| Some((in_json?.key(&sample.file)?, key.as_str())));
        let mut metadata = self.metadata(&keyed.collect())?;
        let mut seen = HashSet::with_capacity(keys.len());
        for ((_, output), key) in finished.iter().zip(&keys) {
            // A picture that is in several datasets has one entry, the first's, like one sidecar.
            if !seen.insert(key) {
                continue;
            }
            let entry = metadata.entry(key);
            for word in words::WORDS {
                let Some(blob) = output.blob(word.name) else { continue };
                match &blob.text {
                    Some(text) => entry.set(word.name, text),
                    None => entry.set(word.name, &String::from_utf8_lossy(&store.read(blob)?)),
                }
            }
        }
        let text = match Metadata::is_lines(&self.config.out_json) {
            true => metadata.to_json_lines(),
            false => metadata.to_json(),
        };
        Ok(vec![Publication {
            path: self.site.output().join(&self.config.out_json),
            content: Published::Bytes(text.into_bytes()),
            owner: Owner::Fluxpipe,
        }])
    }

    fn warnings(
        &self,
        items: &[Seen<'_>],
        upstream: &Upstream<'_>,
    ) -> Result<Vec<Warning>, StageError> {
        let first = variants::blob(0);
        let size = |item: &Seen<'_>| Some(item.output?.blob(&first)?.size);
        // Nearly always there are none, and nothing has to be looked up.
        let doubtful: Vec<_> =
            items.iter().filter(|item| size(item).is_none_or(|size| size == 0)).collect();
        let mut empty = Vec::new();
        if !doubtful.is_empty() {
            let (by_id, made) = (sidecar::by_id(&self.site), made(upstream));
            let checked = doubtful.par_iter().map(|item| {
                let Some(&sample) = by_id.get(item.spec.id.as_str()) else { return Ok(None) };
                let words = match item.output {
                    Some(_) => return Ok(Some(sample)),
                    None if item.spec.unusable.is_some() => return Ok(None),
                    None => self.words(&made, sample, &self.site.store)?,
                };
                let is_empty = words.is_some_and(|[caption, tags]| {
                    self.rules[sample.dataset].is_empty(caption.as_deref(), tags.as_deref())
                });
                Ok(is_empty.then_some(sample))
            });
            empty =
                checked.filter_map(Result::transpose).collect::<Result<Vec<_>, StageError>>()?;
        }
        // What is no picture is left out later, and trained on nothing.
        let usable = |sample: &Sample| Ok(header::shape(&self.site, sample)?.is_some());
        let usable = empty.par_iter().map(|sample| usable(sample));
        let mut usable = usable.collect::<Result<Vec<bool>, StageError>>()?.into_iter();
        empty.retain(|_| usable.next().unwrap_or(true));
        let empty = (!empty.is_empty()).then(|| Warning {
            code: "fluxpipe::merge::empty_text".to_owned(),
            message: format!(
                "{} {} trained on an empty text",
                plural(empty.len(), "picture"),
                if empty.len() == 1 { "is" } else { "are" }
            ),
            help: Some(words::likely_cause(&self.site, &empty)),
            items: empty.len(),
            examples: empty.iter().take(EXAMPLES).map(|sample| sample.id.clone()).collect(),
        });
        Ok(empty.into_iter().chain(self.unused_entries()?).collect())
    }
}
