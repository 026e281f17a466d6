//! Pictures that models drew: those that a training draws on its way and those of a stage `sample`, as they
//! lie in `samples/STAGE` of the output folder. What each is stands in its text chunk `fluxpipe`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use serde_json::Value;

use super::{Few, Jpeg, captioned::evenly, thumbnails};
use crate::{
    base::{Digest, disk},
    dataset::png_text,
    stages::Site,
};

/// What a file says that says nothing.
static NOTHING: Value = Value::Null;
/// Pictures that are shown.
const SHOWN: usize = 84;
/// Of them for one prompt: the first, the last and those between, evenly taken.
const MOMENTS: usize = 7;

/// A prompt with a seed, and what became of it as a model learned.
#[derive(Debug)]
pub struct Drawn {
    /// The stage that drew it.
    pub stage: String,
    /// The prompt; empty where the picture says none.
    pub prompt: String,
    /// The negative prompt.
    pub negative: Option<String>,
    /// The seed.
    pub seed: Option<u64>,
    /// Other settings, in words: `20 steps, guidance 3.5`.
    pub settings: String,
    /// The pictures, from the untrained model to the last one; a few where there are many.
    pub moments: Vec<Moment>,
    /// How many pictures there are.
    pub total: usize,
}

/// A picture of one moment of a training.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The file.
    pub path: PathBuf,
    /// When: `before`, `epoch 3`, `step 500`; empty where it was drawn from a model as it is.
    pub when: String,
    /// Whether two pictures stand side by side in it: of the model before and after.
    pub is_pair: bool,
    /// A small copy; `None` where it cannot be decoded.
    pub thumbnail: Option<Jpeg>,
}

/// A file with what it says of itself.
struct Told {
    path: PathBuf,
    digest: Digest,
    said: Value,
    /// Whether it shows the model before the training; whether two pictures stand side by side in it.
    sort: Sort,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    Before,
    During,
    After,
    SideBySide,
}

/// By stage, prompt and seed, in the order of the files' names.
pub fn drawn(site: &Site) -> Few<Drawn> {
    let mut all = Vec::new();
    let mut total = 0;
    let mut room = SHOWN;
    for (stage, folder) in folders(&site.output().join("samples")) {
        for (_, mut group) in groups(&folder) {
            without_twice(&mut group);
            group.sort_by_key(|told| (told.sort, told.place()));
            total += group.len();
            let most = MOMENTS.min(room);
            room -= most.min(group.len());
            if most > 0 {
                all.push(of_group(site, &stage, &group, most));
            }
        }
    }
    Few { shown: all, total }
}

/// Takes out pictures side by side, where each of the two is there too.
fn without_twice(group: &mut Vec<Told>) {
    let has = |sort: Sort| group.iter().any(|told| told.sort == sort);
    if has(Sort::Before) && (has(Sort::After) || has(Sort::During)) {
        group.retain(|told| told.sort != Sort::SideBySide);
    }
}

fn folders(samples: &Path) -> Vec<(String, PathBuf)> {
    let entries = disk::list(samples).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    let folders =
        folders.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()));
    let mut folders = folders.collect::<Vec<_>>();
    folders.sort();
    folders
}

/// The pictures of a folder by prompt and seed; in the order of the first file of each.
fn groups(folder: &Path) -> Vec<(String, Vec<Told>)> {
    let entries = disk::list(folder).into_iter().flatten().flatten();
    let mut paths = entries.map(|entry| entry.path()).collect::<Vec<_>>();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "png"));
    paths.sort();
    let told = paths.into_par_iter().filter_map(Told::read).collect::<Vec<_>>();
    let mut groups = Vec::<(String, Vec<Told>)>::new();
    let mut places = BTreeMap::new();
    for told in told {
        let name = told.name();
        let place = *places.entry(name.clone()).or_insert(groups.len());
        if place == groups.len() {
            groups.push((name, Vec::new()));
        }
        groups[place].1.push(told);
    }
    groups
}

impl Told {
    fn read(path: PathBuf) -> Option<Self> {
        let bytes = disk::read(&path).ok()?;
        // As a value, so that what other versions wrote is read as far as it goes.
        let mut texts = png_text::texts(&bytes).into_iter();
        let said = texts.find(|(keyword, _)| keyword == "fluxpipe");
        let said = said.and_then(|(_, said)| serde_json::from_str::<Value>(&said).ok());
        let said = said.unwrap_or_default();
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let stem = stem.unwrap_or_default();
        let is_timed = said["epoch"].as_u64().is_some() || said["step"].as_u64().is_some();
        let at_first = said["step"].as_u64() == Some(0)
            || (said["step"].is_null() && said["epoch"].as_u64() == Some(0));
        let sort = match () {
            () if said["before"].is_object() || stem.ends_with("compare") => Sort::SideBySide,
            () if stem.ends_with("before") || at_first => Sort::Before,
            () if is_timed => Sort::During,
            () => Sort::After,
        };
        Some(Self { digest: Digest::of(&bytes), path, said, sort })
    }

    /// What pictures to be compared have in common.
    fn name(&self) -> String {
        let said = |name: &str| self.said[name].to_string();
        match self.said["prompt"].is_string() {
            true => ["prompt", "negative", "seed", "width", "height"].map(said).join(" "),
            // Of a file that says nothing nothing is known.
            false => self.path.display().to_string(),
        }
    }

    /// Step and epoch.
    fn place(&self) -> (u64, u64) {
        let number = |name: &str| self.said[name].as_u64();
        let epoch = number("epoch").unwrap_or(0);
        (number("step").unwrap_or(epoch), epoch)
    }

    fn when(&self) -> String {
        let number = |name: &str| self.said[name].as_u64();
        match (self.sort, number("epoch"), number("step")) {
            (Sort::Before, ..) => "before".to_owned(),
            (Sort::SideBySide, ..) => "before and after".to_owned(),
            // What is drawn at steps says so in its name: an epoch has many of them.
            (_, _, Some(step)) if self.is_named_by_step() => format!("step {step}"),
            (_, Some(epoch), _) => format!("epoch {epoch}"),
            (_, None, Some(step)) => format!("step {step}"),
            (_, None, None) => String::new(),
        }
    }

    fn is_named_by_step(&self) -> bool {
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned());
        name.is_some_and(|name| {
            name.strip_prefix('s')
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
    }
}

fn of_group(site: &Site, stage: &str, group: &[Told], most: usize) -> Drawn {
    let said = group.first().map_or(&NOTHING, |told| &told.said);
    let text = |name: &str| said[name].as_str().map(ToOwned::to_owned);
    let shown = first_to_last(group.len(), most).map(|at| &group[at]).collect::<Vec<_>>();
    let has_before = group.iter().any(|told| told.sort == Sort::Before);
    let when = |told: &Told| match told.when() {
        none if none.is_empty() && has_before => "after".to_owned(),
        when => when,
    };
    let moment = |told: &&Told| Moment {
        when: when(told),
        is_pair: told.sort == Sort::SideBySide,
        thumbnail: thumbnails::thumbnail(
            &site.store,
            &told.path,
            &told.digest,
            false,
            thumbnails::OF_DRAWN,
        ),
        path: told.path.clone(),
    };
    Drawn {
        stage: stage.to_owned(),
        prompt: text("prompt").unwrap_or_default(),
        negative: text("negative").filter(|text| !text.is_empty()),
        seed: said["seed"].as_u64(),
        settings: settings(said),
        moments: shown.par_iter().map(moment).collect(),
        total: group.len(),
    }
}

/// Places of at most `most` of `total` things, the first and the last of them among these.
fn first_to_last(total: usize, most: usize) -> impl Iterator<Item = usize> {
    let all = total <= most || most < 2;
    let between = evenly(total, most);
    let spread = move |index: usize| index * (total - 1) / (most.max(2) - 1);
    between.enumerate().map(move |(index, place)| if all { place } else { spread(index) })
}

fn settings(said: &Value) -> String {
    let number = |name: &str| said[name].as_f64().map(|number| number.to_string());
    let mut settings = Vec::new();
    if let (Some(width), Some(height)) = (number("width"), number("height")) {
        settings.push(format!("{width}×{height}"));
    }
    settings.extend(number("steps").map(|steps| format!("{steps} steps")));
    settings.extend(number("guidance").map(|guidance| format!("guidance {guidance}")));
    settings.extend(number("cfg").filter(|cfg| cfg != "1").map(|cfg| format!("cfg {cfg}")));
    settings.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_and_the_last_are_always_shown() {
        assert_eq!(first_to_last(20, 4).collect::<Vec<_>>(), [0, 6, 12, 19]);
        assert_eq!(first_to_last(3, 4).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(first_to_last(5, 1).collect::<Vec<_>>(), [0]);
        assert_eq!(first_to_last(0, 4).count(), 0);
    }

    #[test]
    fn a_picture_tells_when_it_was_drawn() {
        let told = |name: &str, said: Value| {
            let sort = if said["step"] == 0 { Sort::Before } else { Sort::During };
            Told { path: name.into(), digest: Digest::of(b""), said, sort }.when()
        };
        assert_eq!(told("e000000-01.png", json!({"epoch": 0, "step": 0})), "before");
        assert_eq!(told("e000003-01.png", json!({"epoch": 3, "step": 42})), "epoch 3");
        assert_eq!(told("s00000042-01.png", json!({"epoch": 3, "step": 42})), "step 42");
        assert_eq!(told("000-42-a-cat.png", json!({})), "");
    }
}
