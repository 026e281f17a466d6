//! Stage `tag`: booru tags for each picture, by a tagger in ONNX.
//!
//! The network runs in a step of its own ([`Probabilities`](probabilities::Probabilities)). This
//! is what follows: thresholds and rules make a line of tags of stored probabilities, and the sidecar
//! (`.txt`) shows it to people, who may edit it.

pub(super) mod probabilities;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use rayon::prelude::*;

use super::{
    ProjectError, Site,
    sidecar::{self, Said},
    site::needed,
};
use crate::{
    manifest::{self, Mistake, Order},
    models::tagger::{self, Category, Family, Labels, TagOrder, TagRules, TagTable, Tagger},
    pipeline::{
        Blob, Draft, Finished, Frequency, ItemSpec, Publication, Recipe, Stage, StageError, Store,
        Upstream, UpstreamItem, Work,
    },
};

/// Raised with a reason whenever tags change for equal inputs.
const ALGORITHM: (i64, &str) =
    (3, "what a rule makes several tags of is several tags to the other rules");

/// Name of the blob: the line of tags.
const BLOB: &str = "tags";

/// Pictures whose probabilities are in memory at once: some 40 KB each.
const TOGETHER: usize = 256;

/// The stage.
pub struct Tag {
    site: Arc<Site>,
    name: String,
    config: manifest::Tag,
    /// `selected_tags.csv` or `tag_mapping.json`.
    list: PathBuf,
}

/// The graph of the tagger that the stage `name` uses.
pub fn graph(site: &Site, name: &str) -> Result<PathBuf, ProjectError> {
    let tagger = needed(site, name, "tagger", site.manifest.models.tagger.as_ref())?;
    Ok(Tagger::graph_path(&tagger))
}

/// How the stage treats its sidecars.
pub fn sidecars(config: &manifest::Tag) -> sidecar::Sidecars<'_> {
    sidecar::Sidecars {
        blob: BLOB,
        extension: &config.caption_extension,
        existing: config.existing,
    }
}

/// The rules of the manifest.
fn rules(config: &manifest::Tag) -> TagRules {
    let pairs = config.tag_replacement.pairs().unwrap_or_default();
    let separator = &config.caption_separator;
    TagRules {
        general_threshold: config.general_threshold() as f32,
        character_threshold: config.character_threshold() as f32,
        copyright_threshold: config.copyright_threshold() as f32,
        meta_threshold: config.meta_threshold() as f32,
        model_threshold: config.model_threshold() as f32,
        artist_threshold: config.artist_threshold() as f32,
        remove_underscore: config.remove_underscore,
        undesired_tags: config.undesired_tags.tags(separator),
        use_rating_tags: config.use_rating_tags,
        use_rating_tags_as_last_tag: config.use_rating_tags_as_last_tag,
        use_quality_tags: config.use_quality_tags,
        use_quality_tags_as_last_tag: config.use_quality_tags_as_last_tag,
        order: config.order.map(|order| match order {
            Order::Csv => TagOrder::List,
            Order::Confidence => TagOrder::Confidence,
        }),
        character_tags_first: config.character_tags_first,
        character_tag_expand: config.character_tag_expand,
        tag_replacement: pairs.into_iter().map(|[source, target]| (source, target)).collect(),
        always_first_tags: config.always_first_tags.tags(separator),
        caption_separator: separator.clone(),
    }
}

/// Whether a parameter can change a text: a threshold cannot where the list has no tag of its kind. A
/// changed `thresh` is then told as the thresholds that count, not as six of them.
fn matters(parameter: &str, table: &TagTable) -> bool {
    let kind = match parameter {
        "general_threshold" => Category::General,
        "character_threshold" => Category::Character,
        "copyright_threshold" => Category::Copyright,
        "meta_threshold" => Category::Meta,
        "model_threshold" => Category::Model,
        "artist_threshold" => Category::Artist,
        _ => return true,
    };
    // The other family holds its ratings against the lowest threshold of all.
    table.family == Family::TagMapping || table.tags.iter().any(|tag| tag.category == kind)
}

/// The tagger has tags of the kinds of which the likeliest one is asked for.
fn kinds_are_listed(
    site: &Site,
    name: &str,
    config: &manifest::Tag,
    list: &Path,
) -> Result<(), ProjectError> {
    use Category::{Quality, Rating};
    let asked = [
        (config.use_rating_tags, "use_rating_tags", Rating, "rating"),
        (config.use_rating_tags_as_last_tag, "use_rating_tags_as_last_tag", Rating, "rating"),
        (config.use_quality_tags, "use_quality_tags", Quality, "quality"),
        (config.use_quality_tags_as_last_tag, "use_quality_tags_as_last_tag", Quality, "quality"),
    ];
    let mut asked = asked.into_iter().filter(|(asked, ..)| *asked).peekable();
    if asked.peek().is_none() {
        return Ok(());
    }
    // A list that cannot be read is told where it is needed.
    let Ok(table) = TagTable::read(list) else { return Ok(()) };
    let absent = asked.find(|(_, _, kind, _)| table.tags.iter().all(|tag| tag.category != *kind));
    let Some((_, field, _, kind)) = absent else { return Ok(()) };
    let (path, file) = (format!("stages.{name}.{field}"), list.file_name().unwrap_or_default());
    let mistake = Mistake::NoEffect {
        path: path.clone(),
        reason: format!("{} lists no {kind} tags", file.display()),
        help: format!("take `{field}` out, or name a tagger that has {kind} tags"),
    };
    Err(site.manifest.mistake(&[(&path, "has no effect")], mistake).into())
}

impl Tag {
    pub fn new(site: &Arc<Site>, name: &str, config: &manifest::Tag) -> Result<Self, ProjectError> {
        let list = TagTable::beside(&graph(site, name)?);
        kinds_are_listed(site, name, config, &list)?;
        Ok(Self { site: site.clone(), name: name.to_owned(), config: config.clone(), list })
    }

    fn text(
        &self,
        labels: &Labels,
        stored: &Blob,
        said: Option<&str>,
    ) -> Result<String, StageError> {
        let probabilities = probabilities::values(&self.site.store.read(stored)?);
        Ok(match said {
            Some(said) => {
                let tags = labels.tags(&probabilities);
                tagger::append(said, &tags, &self.config.caption_separator)
            }
            None => labels.text(&probabilities),
        })
    }
}

fn by_id<'a>(upstream: &Upstream<'a>) -> HashMap<&'a str, UpstreamItem<'a>> {
    upstream.items().map(|item| (item.id, item)).collect()
}

impl Stage for Tag {
    fn kind(&self) -> &'static str {
        "tag"
    }

    fn recipes(&self) -> Result<Vec<Recipe>, StageError> {
        let table = TagTable::read(&self.list)?;
        let mut parts = self.site.parameters(&format!("stages.{}", self.name), &self.config);
        parts.retain(|part| matters(&part.name, &table));
        parts.push(Site::algorithm(ALGORITHM.0, ALGORITHM.1));
        parts.push(self.site.model("tag_list", &self.list)?);
        Ok(vec![Recipe { name: BLOB, parts }])
    }

    /// One item per sample; of a picture that is none there are no probabilities, and no item.
    fn items(&self, upstream: &Upstream<'_>) -> Result<Vec<ItemSpec>, StageError> {
        let (sidecars, found) = (sidecars(&self.config), by_id(upstream));
        let items = self.site.samples.par_iter().map(|sample| {
            let said = match sidecars.said(&self.site, sample)? {
                Said::Kept(text) => return sidecars.given(sample, text).map(Some),
                Said::AppendTo(words) => Some(sidecars.append_part(sample, &words)?),
                Said::Nothing => None,
                Said::NotText(failure) => {
                    return Ok(Some(ItemSpec::unusable(&sample.id, 0, failure)));
                }
            };
            let Some(found) = found.get(sample.id.as_str()) else { return Ok(None) };
            let stored = found.part(probabilities::BLOB, probabilities::BLOB);
            let parts = std::iter::once(stored).chain(said).collect();
            Ok(Some(ItemSpec::new(&sample.id, 0, parts)))
        });
        items.filter_map(Result::transpose).collect()
    }

    fn run(&self, work: &mut dyn Work) -> Result<(), StageError> {
        let labels = Labels::new(&TagTable::read(&self.list)?, &rules(&self.config));
        let found = by_id(work.upstream());
        let read = work.items().iter().enumerate().filter_map(|(index, item)| {
            let output = found.get(item.id.as_str())?.output?;
            let said = sidecar::appended_to(item).map(str::to_owned);
            Some((index, output.blob(probabilities::BLOB)?.clone(), said))
        });
        let read: Vec<(usize, Blob, Option<String>)> = read.collect();
        drop(found);
        for group in read.chunks(TOGETHER) {
            if work.cancelled() {
                break;
            }
            let text = |(_, stored, said): &(_, _, Option<String>)| {
                self.text(&labels, stored, said.as_deref())
            };
            let texts: Vec<_> = group.par_iter().map(text).collect::<Result<_, _>>()?;
            for ((index, ..), text) in group.iter().zip(texts) {
                work.commit(*index, Draft::bytes(BLOB, text))?;
            }
        }
        Ok(())
    }

    fn publications(
        &self,
        finished: &[Finished<'_>],
        store: &Store,
    ) -> Result<Vec<Publication>, StageError> {
        sidecars(&self.config).publications(&self.site, finished, store)
    }

    /// Of each tag, the number of pictures in whose text it stands: those of humans count too, since
    /// they are trained on.
    fn frequencies(
        &self,
        finished: &[Finished<'_>],
        store: &Store,
    ) -> Result<Vec<Frequency>, StageError> {
        let mut counts = BTreeMap::<String, usize>::new();
        if !self.config.frequency_tags {
            return Ok(Vec::new());
        }
        for blob in finished.iter().filter_map(|done| done.output.blob(BLOB)) {
            let text = String::from_utf8_lossy(&store.read(blob)?).into_owned();
            let tags = tagger::split(&text, &self.config.caption_separator);
            for tag in tags.collect::<BTreeSet<_>>() {
                *counts.entry(tag.to_owned()).or_default() += 1;
            }
        }
        Ok(counts.into_iter().map(|(name, items)| Frequency { name, items }).collect())
    }
}
