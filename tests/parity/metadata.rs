//! `meta_data.json` byte for byte against the pack `metadata`: the tools that merge captions, tags, or
//! both, and the one that cleans them, run on a small tree of pictures and sidecars.

use std::path::{Path, PathBuf};

use fluxpipe::dataset::{
    MergeRules, Metadata, metadata_keys, read_sidecar, scan, sidecar_path, training_caption,
};
use serde_json::Value;

use super::pack::Pack;

/// One run of a merge tool, as its command line says it.
struct Run<'a> {
    /// Fields of the metadata with the extension of their sidecars, in the order of writing.
    fields: Vec<(&'a str, &'a str)>,
    in_json: Option<&'a str>,
    full_path: bool,
    recursive: bool,
    clean: bool,
}

/// Reads a command line, or says why the case is not for these tests.
fn parse<'a>(argv: &[&'a str]) -> Result<Run<'a>, String> {
    let option = |name: &str| {
        argv.iter().position(|&found| found == name).and_then(|at| argv.get(at + 1)).copied()
    };
    let extension = |usual| option("--caption_extension").unwrap_or(usual);
    let tool = Path::new(argv[0]).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let fields = match tool {
        "merge_captions_to_metadata" => vec![("caption", extension(".caption"))],
        "merge_dd_tags_to_metadata" => vec![("tags", extension(".txt"))],
        "merge_all_to_metadata" => vec![("tags", ".txt"), ("caption", ".caption")],
        // The pack makes its input by the two tools above, one after the other.
        "clean_captions_and_tags" => vec![("caption", ".caption"), ("tags", ".txt")],
        other => return Err(format!("`{other}` is no tool for metadata")),
    };
    let clean = argv.contains(&"--clean_caption") || tool == "clean_captions_and_tags";
    let (full_path, recursive) = (argv.contains(&"--full_path"), argv.contains(&"--recursive"));
    Ok(Run { fields, in_json: option("--in_json"), full_path, recursive, clean })
}

/// Does what the tool does, and lists the sidecars that are not there.
fn merge(run: &Run<'_>, folder: &Path) -> (String, Vec<PathBuf>) {
    let pictures = scan(folder, run.recursive).unwrap();
    let mut metadata = match run.in_json {
        Some(path) => Metadata::read(&folder.join(path.trim_start_matches("{D}/"))).unwrap(),
        None => Metadata::default(),
    };
    let mut missing = Vec::new();
    for (picture, key) in pictures.iter().zip(metadata_keys(&pictures, run.full_path).unwrap()) {
        let entry = metadata.entry(&key);
        for (field, extension) in &run.fields {
            let path = sidecar_path(picture, None, extension).unwrap();
            match read_sidecar(&path).unwrap() {
                Some(text) => entry.set(field, &text),
                None => missing.push(path),
            }
        }
    }
    if run.clean {
        metadata = cleaned(&metadata);
    }
    (metadata.to_json(), missing)
}

/// Cleans every caption and every list of tags.
fn cleaned(metadata: &Metadata) -> Metadata {
    let (clean_captions, clean_tags, deduplicate_tags) = (true, true, false);
    let rules =
        MergeRules { clean_captions, clean_tags, deduplicate_tags, ..MergeRules::default() };
    let mut cleaned = metadata.clone();
    for (key, entry) in metadata.entries() {
        let merged = training_caption(entry.text("caption"), entry.text("tags"), &rules);
        for (field, text) in [("caption", merged.caption), ("tags", merged.tags)] {
            if let Some(text) = text {
                cleaned.entry(key).set(field, &text);
            }
        }
    }
    cleaned
}

/// Puts the pack's tree into a folder: `ok`, and for the kind `miss` the pictures that lack a sidecar.
fn plant(tree: &Value, in_json: &str, kind: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let extra = (kind == "miss").then(|| &tree["miss_extra"]);
    for files in [Some(&tree["ok"]), extra].into_iter().flatten() {
        for (name, text) in files.as_object().unwrap() {
            let path = folder.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text.as_str().unwrap()).unwrap();
        }
    }
    fs_err::write(folder.path().join("in.json"), in_json).unwrap();
    folder
}

/// The text of one field as the file has it: the order of its own fields is part of the case, and a
/// parsed value would sort them.
fn text_of(pack: &Pack, file: &str, field: &str) -> String {
    let text = fs_err::read_to_string(pack.path(file)).unwrap();
    let (_, value) = text.split_once(&format!("\"{field}\":")).unwrap();
    let mut values = serde_json::Deserializer::from_str(value).into_iter::<Value>();
    values.next().unwrap().unwrap();
    value[..values.byte_offset()].to_owned()
}

#[test]
fn merged_files_are_equal_to_the_byte() {
    for pack in Pack::of_kind("metadata") {
        let (tree, cases) = (pack.json("tree.json"), pack.json("cases.json"));
        let in_json = text_of(&pack, "tree.json", "in.json");
        let mut compared = 0;
        for case in cases.as_array().unwrap() {
            let name = case["case"].as_str().unwrap();
            let argv: Vec<&str> =
                case["argv"].as_array().unwrap().iter().filter_map(|word| word.as_str()).collect();
            let run = match parse(&argv) {
                Ok(run) => run,
                Err(why) => {
                    eprintln!("skipped: {name}: {why}");
                    continue;
                }
            };
            if run.recursive && !run.full_path {
                // The tool refuses this; here only two equal file names are refused.
                eprintln!("skipped: {name}: allowed here, where no two keys are equal");
                continue;
            }
            let folder = plant(&tree, &in_json, case["files"].as_str().unwrap());
            let root = folder.path().to_str().unwrap();
            let (found, missing) = merge(&run, folder.path());
            if let Some(expected) = case["out_text"].as_str() {
                assert_eq!(found.replace(root, "{D}"), expected, "{name}");
            } else {
                // The tool ends at the first sidecar that is not there; here it is passed over.
                let error = case["error"].as_str().unwrap();
                let first = missing.first().unwrap().to_str().unwrap().replace(root, "{D}");
                assert!(error.contains(&first), "{name}: {first} is missing, but {error}");
            }
            compared += 1;
        }
        assert!(compared > 0, "no case of the pack could be compared");
        eprintln!("{compared} cases are equal");
    }
}
