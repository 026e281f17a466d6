//! Taggers: probabilities against onnxruntime, texts against the public tagger script.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use fluxpipe::{
    manifest::TagReplacement,
    models::{
        onnx::Graph,
        tagger::{Category, Labels, TagRules, TagTable, Tagger, append},
    },
};
use serde_json::Value;

use super::{
    device::device,
    pack::{Pack, assert_close},
};

const KIND: &str = "wd_tagger";

/// The pack's pictures, ready for the graph, and their names without extension.
struct Pictures {
    names: Vec<String>,
    bytes: Vec<Vec<u8>>,
}

impl Pictures {
    fn of(pack: &Pack) -> Self {
        let stem = |name: &Value| stem(name.as_str().unwrap());
        let names: Vec<_> =
            pack.json("preprocess.json").as_array().unwrap().iter().map(stem).collect();
        let tensors = pack.tensors("preprocess.safetensors");
        let bytes = tensors.bytes("images").unwrap();
        let bytes = bytes.chunks(bytes.len() / names.len()).map(<[u8]>::to_vec).collect();
        Self { names, bytes }
    }
}

fn stem(name: &str) -> String {
    Path::new(name).with_extension("").to_str().unwrap().to_owned()
}

/// The graphs of a pack by name. One that the manifest does not list is left out of this copy of the
/// pack, and reported.
fn graphs(pack: &Pack) -> BTreeMap<String, PathBuf> {
    let runs = pack.json("script_runs.json");
    let names = runs.as_array().unwrap().iter().map(|run| run["model"].as_str().unwrap());
    let (mut graphs, mut left_out) = (BTreeMap::new(), BTreeSet::new());
    for name in names {
        let file = format!("{name}/model.onnx");
        if pack.lists(&file) {
            graphs.insert(name.to_owned(), pack.path(&file));
        } else if left_out.insert(name) {
            eprintln!("skipped: {} has no graph {name}", pack.folder.display());
        }
    }
    assert!(!graphs.is_empty(), "{} has no graph at all", pack.folder.display());
    graphs
}

/// All graphs of a pack share one list of tags.
fn tagger(pack: &Pack, graph: &Path) -> Tagger {
    let graph = Graph::open(graph).unwrap_or_else(|error| panic!("{error}"));
    let table = TagTable::read(&pack.path(TagTable::FILE)).unwrap();
    Tagger::new(graph, table, &device()).unwrap_or_else(|error| panic!("{error}"))
}

/// The program: the one built with these tests, or `FLUXPIPE_BINARY` where they were carried elsewhere.
fn program() -> PathBuf {
    let carried = std::env::var_os("FLUXPIPE_BINARY");
    carried.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_fluxpipe")), PathBuf::from)
}

/// `vit_batch2` is `vit` with another declared batch.
fn original(name: &str) -> &str {
    name.split_once("_batch").map_or(name, |(name, _)| name)
}

#[test]
fn probabilities_equal_onnxruntime() {
    for pack in Pack::of_kind(KIND) {
        let pictures = Pictures::of(&pack);
        let outputs = pack.tensors("outputs.safetensors");
        let tolerance = pack.manifest["tolerance"]["probs"].as_f64().unwrap();
        let size = pack.manifest["size"].as_u64().unwrap() as usize;
        for (name, path) in graphs(&pack) {
            let tagger = tagger(&pack, &path);
            assert_eq!(tagger.size(), size);
            let expected = outputs.f32(original(&name)).unwrap();
            // All at once, and alone: a batch must not change its pictures.
            let together = tagger.probabilities(&pictures.bytes).unwrap();
            assert_close(&name, &together.concat(), &expected, tolerance, 0.0);
            let alone = tagger.probabilities(&pictures.bytes[..1]).unwrap();
            assert_eq!(alone.len(), 1);
            assert_close(&name, &alone[0], &expected[..alone[0].len()], tolerance, 0.0);
        }
    }
}

#[test]
fn graphs_state_their_operators_and_inputs() {
    for pack in Pack::of_kind(KIND) {
        for (name, path) in graphs(&pack) {
            let graph = Graph::open(&path).unwrap_or_else(|error| panic!("{error}"));
            let Some(case) = pack.manifest["cases"].get(original(&name)) else { continue };
            assert_eq!(graph.inputs[0].name, case["input"].as_str().unwrap());
            let operators: BTreeMap<_, _> = case["ops"].as_object().unwrap().iter().collect();
            let operators: Vec<_> = operators
                .into_iter()
                .map(|(name, count)| (name.clone(), count.as_u64().unwrap() as usize))
                .collect();
            assert_eq!(graph.operators().into_iter().collect::<Vec<_>>(), operators);
        }
    }
}

/// What a run of the script was told, as far as it concerns us.
struct Run {
    rules: TagRules,
    append: bool,
    batch: usize,
}

impl Run {
    /// `Err` names the flag that has no counterpart here.
    fn of(flags: &[&str]) -> Result<Self, String> {
        let (mut general, mut character, mut both) = (None, None, 0.35_f32);
        let mut run = Self { rules: TagRules::default(), append: false, batch: usize::MAX };
        let mut separated = Vec::new();
        let mut flags = flags.iter();
        while let Some(&flag) = flags.next() {
            let rules = &mut run.rules;
            let mut text = || (*flags.next().unwrap()).to_owned();
            let number = |text: String| text.parse::<f32>().unwrap();
            match flag {
                "--thresh" => both = number(text()),
                "--general_threshold" => general = Some(number(text())),
                "--character_threshold" => character = Some(number(text())),
                "--remove_underscore" => rules.remove_underscore = true,
                "--use_rating_tags" => rules.use_rating_tags = true,
                "--use_rating_tags_as_last_tag" => rules.use_rating_tags_as_last_tag = true,
                "--character_tags_first" => rules.character_tags_first = true,
                "--character_tag_expand" => rules.character_tag_expand = true,
                "--tag_replacement" => {
                    let pairs = TagReplacement::Text(text()).pairs().unwrap().into_iter();
                    rules.tag_replacement = pairs.map(|[from, to]| (from, to)).collect();
                }
                "--caption_separator" => rules.caption_separator = text(),
                "--undesired_tags" | "--always_first_tags" => separated.push((flag, text())),
                "--append_tags" => run.append = true,
                "--batch_size" => run.batch = text().parse().unwrap(),
                // Which files are read and where the text goes, not what it says.
                "--caption_extension" | "--max_data_loader_n_workers" | "--output_path" => {
                    text();
                }
                "--recursive" | "--frequency_tags" | "--onnx" => {}
                other => return Err(other.to_owned()),
            }
        }
        run.rules.general_threshold = general.unwrap_or(both);
        run.rules.character_threshold = character.unwrap_or(both);
        for (flag, list) in separated {
            let separator = run.rules.caption_separator.trim();
            let list = list.split(separator).map(|tag| tag.trim().to_owned()).collect();
            match flag {
                "--undesired_tags" => run.rules.undesired_tags = list,
                _ => run.rules.always_first_tags = list,
            }
        }
        Ok(run)
    }

    /// The reference's text with its three known defects repaired.
    ///
    /// It turns around the characters that come first and the tags that always come first, and its
    /// replacements replace nothing.
    fn repaired(&self, text: &str, table: &TagTable) -> String {
        let rules = &self.rules;
        let separator = rules.caption_separator.as_str();
        let mut tags: Vec<&str> = text.split(separator).collect();
        if rules.character_tags_first {
            let mut all = rules.clone();
            (all.general_threshold, all.character_threshold) = (2.0, 0.0);
            (all.use_rating_tags, all.use_rating_tags_as_last_tag) = (false, false);
            all.tag_replacement.clear();
            let labels = Labels::new(table, &all);
            let characters = labels.text(&vec![1.0; labels.len()]);
            let characters: Vec<&str> = characters.split(separator).collect();
            turn_around(&mut tags, |tag| characters.contains(&tag));
        }
        if !rules.always_first_tags.is_empty() {
            turn_around(&mut tags, |tag| rules.always_first_tags.iter().any(|first| first == tag));
        }
        let replaced = |tag: &str| {
            let found = rules.tag_replacement.iter().find(|(source, _)| source == tag);
            found.map_or(tag.to_owned(), |(_, target)| target.clone())
        };
        tags.into_iter().map(replaced).collect::<Vec<_>>().join(separator)
    }
}

fn turn_around<'a>(tags: &mut [&'a str], concerned: impl Fn(&'a str) -> bool) {
    let places: Vec<usize> = (0..tags.len()).filter(|&place| concerned(tags[place])).collect();
    let turned: Vec<&str> = places.iter().rev().map(|&place| tags[place]).collect();
    for (place, tag) in places.into_iter().zip(turned) {
        tags[place] = tag;
    }
}

/// The texts of a run by picture, whether they lie in a file each or together in JSON.
fn texts(run: &Value) -> BTreeMap<String, String> {
    let picture = |path: &str| stem(path.trim_start_matches("{D}/"));
    let mut texts = BTreeMap::new();
    for (file, content) in run["files"].as_object().unwrap() {
        let content = content.as_str().unwrap();
        if file.ends_with(".jsonl") {
            for line in content.lines() {
                let line: Value = serde_json::from_str(line).unwrap();
                let name = picture(line["image_path"].as_str().unwrap());
                texts.insert(name, line["caption"].as_str().unwrap().to_owned());
            }
        } else if file.ends_with(".json") {
            let all: Value = serde_json::from_str(content).unwrap();
            for (path, entry) in all.as_object().unwrap() {
                texts.insert(picture(path), entry["tags"].as_str().unwrap().to_owned());
            }
        } else {
            texts.insert(stem(file), content.strip_suffix('\n').unwrap().to_owned());
        }
    }
    texts
}

#[test]
fn texts_equal_the_tagger_script() {
    for pack in Pack::of_kind(KIND) {
        let pictures = Pictures::of(&pack);
        let table = TagTable::read(&pack.path(TagTable::FILE)).unwrap();
        let outputs = pack.tensors("outputs.safetensors");
        let taggers: BTreeMap<_, _> =
            graphs(&pack).into_iter().map(|(name, path)| (name, tagger(&pack, &path))).collect();
        let mut checked = 0;
        for run in pack.json("script_runs.json").as_array().unwrap() {
            let (case, model) = (run["case"].as_str().unwrap(), run["model"].as_str().unwrap());
            let flags = run["flags"].as_array().unwrap().iter();
            let told = match Run::of(&flags.map(|flag| flag.as_str().unwrap()).collect::<Vec<_>>())
            {
                Ok(told) => told,
                Err(flag) => {
                    eprintln!("skipped: run {case} uses {flag}");
                    continue;
                }
            };
            // The rules for texts can be judged without the graph, by what onnxruntime made of it.
            let probabilities = |places: &[usize]| match taggers.get(model) {
                Some(tagger) => {
                    let batch: Vec<_> =
                        places.iter().map(|&place| pictures.bytes[place].clone()).collect();
                    tagger.probabilities(&batch).unwrap()
                }
                None => {
                    let all = outputs.f32(original(model)).unwrap();
                    let row = |&place: &usize| {
                        all[place * table.tags.len()..][..table.tags.len()].to_vec()
                    };
                    places.iter().map(row).collect()
                }
            };
            checked += check(case, run, &told, probabilities, &table, &pictures);
        }
        assert!(checked > 0, "{} has no run that could be checked", pack.folder.display());
    }
}

/// Compares all texts of one run and counts them.
fn check(
    case: &str,
    run: &Value,
    told: &Run,
    probabilities: impl Fn(&[usize]) -> Vec<Vec<f32>>,
    table: &TagTable,
    pictures: &Pictures,
) -> usize {
    let labels = Labels::new(table, &told.rules);
    let texts = texts(run);
    let places: Vec<usize> =
        (0..pictures.names.len()).filter(|&i| texts.contains_key(&pictures.names[i])).collect();
    assert_eq!(places.len(), texts.len(), "{case} names a picture that is not in the pack");
    for group in places.chunks(told.batch.min(places.len())) {
        for (&place, probabilities) in group.iter().zip(&probabilities(group)) {
            let name = &pictures.names[place];
            let found = match told.append.then(|| existing(run, name)).flatten() {
                Some(existing) => {
                    let separator = &told.rules.caption_separator;
                    append(existing, &labels.tags(probabilities), separator)
                }
                None => labels.text(probabilities),
            };
            assert_eq!(found, told.repaired(&texts[name], table), "{case}: {name}");
        }
    }
    texts.len()
}

/// The text that lay beside a picture before the run.
fn existing<'a>(run: &'a Value, picture: &str) -> Option<&'a str> {
    let files = run["pre_existing"].as_object().unwrap();
    files.iter().find(|(file, _)| stem(file) == picture).and_then(|(_, text)| text.as_str())
}

/// `[stages.tag]` and `[[dataset]]` that say what these flags say; lists in the script's own notation.
fn manifest(flags: &[&str]) -> String {
    let (mut tag, mut dataset) = (String::new(), String::new());
    let mut flags = flags.iter();
    while let Some(&flag) = flags.next() {
        let name = flag.trim_start_matches('-');
        let mut value = || flags.next().unwrap();
        match name {
            "recursive" => dataset += "recursive = true\n",
            "append_tags" => tag += "existing = \"append\"\n",
            "max_data_loader_n_workers" | "output_path" => drop(value()),
            "thresh" | "general_threshold" | "character_threshold" | "batch_size" => {
                tag += &format!("{name} = {}\n", value());
            }
            "caption_separator" | "caption_extension" | "undesired_tags" | "always_first_tags"
            | "tag_replacement" => tag += &format!("{name} = {:?}\n", value()),
            _ => tag += &format!("{name} = true\n"),
        }
    }
    format!(
        "[project]\nname = \"pack\"\noutput = \"out\"\ndevice = \"cpu\"\n\n[models]\ntagger = \"tagger\"\n\n\
         [[dataset]]\nimage_dir = \"pictures\"\nresolution = 512\n{dataset}\n[stages.tag]\n{tag}"
    )
}

/// A project of these pictures of a pack, with one of its graphs.
fn project(pack: &Pack, graph: &Path, names: &[&String], run: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let place = |relative: &str, bytes: Vec<u8>| {
        let path = folder.path().join(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    place("tagger/model.onnx", fs::read(graph).unwrap());
    place("tagger/selected_tags.csv", fs::read(pack.path(TagTable::FILE)).unwrap());
    for picture in pack.json("preprocess.json").as_array().unwrap() {
        let picture = picture.as_str().unwrap();
        if names.contains(&&stem(picture)) {
            let bytes = fs::read(pack.path(&format!("images/{picture}"))).unwrap();
            place(&format!("pictures/{picture}"), bytes);
        }
    }
    for (file, text) in run["pre_existing"].as_object().unwrap() {
        place(&format!("pictures/{file}"), text.as_str().unwrap().as_bytes().to_vec());
    }
    let flags = run["flags"].as_array().unwrap().iter().map(|flag| flag.as_str().unwrap());
    place("project.toml", manifest(&flags.collect::<Vec<_>>()).into_bytes());
    folder
}

/// `tag: count` lines of a run, as a table.
fn counted(lines: &Value) -> BTreeMap<String, u64> {
    let lines = lines.as_array().unwrap().iter().filter_map(Value::as_str);
    let pairs = lines.filter_map(|line| line.rsplit_once(": "));
    pairs.map(|(tag, count)| (tag.to_owned(), count.parse().unwrap())).collect()
}

/// The whole way: the program reads the pack's pictures, and its files are the script's, byte for byte
/// where the script has no defect.
#[test]
fn files_equal_those_of_the_tagger_script() {
    for pack in Pack::of_kind(KIND) {
        let table = TagTable::read(&pack.path(TagTable::FILE)).unwrap();
        let graphs = graphs(&pack);
        let runs = pack.json("script_runs.json");
        for run in runs.as_array().unwrap() {
            let (case, model) = (run["case"].as_str().unwrap(), run["model"].as_str().unwrap());
            let Some(graph) = graphs.get(model) else { continue };
            let flags: Vec<_> = run["flags"].as_array().unwrap().iter().collect();
            let flags: Vec<_> = flags.into_iter().map(|flag| flag.as_str().unwrap()).collect();
            let told = Run::of(&flags).unwrap();
            let texts = texts(run);
            let folder = project(&pack, graph, &texts.keys().collect::<Vec<_>>(), run);
            let mut command = Command::new(program());
            command.args(["run", "project.toml", "--json"]).current_dir(folder.path());
            let output = command.stdin(Stdio::null()).output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{case}: {error}");

            let extension = flags.iter().position(|flag| *flag == "--caption_extension");
            let extension = extension.map_or(".txt", |place| flags[place + 1]);
            for (name, text) in &texts {
                let path = folder.path().join("pictures").join(format!("{name}{extension}"));
                let found = fs::read_to_string(&path).unwrap();
                assert_eq!(found, told.repaired(text, &table) + "\n", "{case}: {name}");
            }
            let events = String::from_utf8(output.stdout).unwrap();
            let events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let counts = events.filter(|event| event["event"] == "frequencies");
            let counts: Vec<_> = counts.map(|event| event["counts"].clone()).collect();
            assert_eq!(counts.len(), usize::from(flags.contains(&"--frequency_tags")), "{case}");
            for counts in counts {
                let counts = counts.as_array().unwrap().iter();
                let pair = |count: &Value| {
                    (count["name"].as_str().unwrap().to_owned(), count["items"].as_u64().unwrap())
                };
                let found: BTreeMap<_, _> = counts.map(pair).collect();
                assert_eq!(found, counted(&run["frequency_output"]), "{case}");
            }
        }
    }
}

#[test]
fn the_tag_list_has_a_row_per_output() {
    for pack in Pack::of_kind(KIND) {
        let table = TagTable::read(&pack.path(TagTable::FILE)).unwrap();
        let outputs = pack.tensors("outputs.safetensors");
        for name in outputs.names() {
            assert_eq!(outputs.info(name).unwrap().shape[1], table.tags.len());
        }
        assert!(table.tags.iter().any(|tag| tag.category == Category::Rating));
    }
}
