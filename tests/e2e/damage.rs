//! One bit of the store is not what it was: the next run that reads it notices, makes that one item again,
//! and ends with the outputs of before.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use fluxpipe::base::Digest;
use serde_json::Value;

use crate::{Project, Run, project::MANIFEST};

/// What a small project keeps in files of their own.
const SORTS: [&str; 5] = [
    "cache/latent latent.safetensors",
    "cache/text text.safetensors",
    "finetune/model model-000001.safetensors",
    "finetune/model model.safetensors",
    "tag.probabilities/probabilities probabilities",
];

/// Changes one bit of a file, in its middle. The file stays read-only if it was, and of its time.
pub fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let metadata = fs::metadata(path).unwrap();
    let other = path.with_extension("flipped");
    fs::write(&other, bytes).unwrap();
    fs::File::options()
        .write(true)
        .open(&other)
        .unwrap()
        .set_modified(metadata.modified().unwrap())
        .unwrap();
    fs::set_permissions(&other, metadata.permissions()).unwrap();
    fs::rename(&other, path).unwrap();
}

/// The file of an object in the store of a project.
pub fn object(project: &Project, digest: &str) -> PathBuf {
    project.path(format!("out/store/v1/objects/{}/{}", &digest[..2], &digest[2..]))
}

/// By sort (`cache/latent latent.safetensors`): the digest of one object that an item made.
pub fn objects(project: &Project) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for log in fs::read_dir(project.path("out/store/v1/records")).unwrap() {
        let log = log.unwrap().path();
        let key = log.file_stem().unwrap().to_str().unwrap().to_owned();
        let recipe = project.read(&format!("out/store/v1/recipes/{key}.json"));
        let recipe: Value = serde_json::from_str(&recipe).unwrap();
        for line in fs::read_to_string(log).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            for blob in line["body"]["output"]["blobs"].as_array().unwrap() {
                if blob["text"].is_null() {
                    let text = |value: &Value| value.as_str().unwrap().to_owned();
                    let [kind, name] = [&recipe["kind"], &recipe["recipe"]].map(text);
                    let sort = format!("{kind}/{name} {}", text(&blob["name"]));
                    found.insert(sort, text(&blob["digest"]));
                }
            }
        }
    }
    found
}

/// The warnings of a run about stored outputs that were lost.
fn told(run: &Run) -> Vec<Value> {
    let told = run
        .events()
        .filter(|event| event["event"] == "warning" && event["code"] == "fluxpipe::store::damaged");
    told.collect()
}

#[test]
fn a_flipped_bit_in_any_sort_of_object_is_found_on_read_and_one_item_is_made_again() {
    let project = Project::finished();
    let expected = project.outputs();
    let objects = objects(&project);
    assert_eq!(objects.keys().collect::<Vec<_>>(), SORTS);
    for (number, (sort, digest)) in objects.iter().enumerate() {
        flip(&object(&project, digest));
        let whole = "label 0 of 5, tag.probabilities 0 of 5, tag 0 of 5, merge 0 of 5, cache 0 of 10, finetune 0 of 1";
        let (args, counts): (&[&str], String) = if sort.starts_with("cache/") {
            let counts = whole.replace("cache 0", "cache 1").replace("finetune 0", "finetune 1");
            (&["--force", "finetune"], counts)
        } else if sort.starts_with("tag/") || sort.starts_with("tag.") {
            // Another threshold that leads to the same tags reads all probabilities.
            (
                &["--set", "stages.tag.thresh=0.5000001"],
                whole.replace("probabilities 0", "probabilities 1").replace("tag 0", "tag 5"),
            )
        } else {
            // What is shown to people is shown anew, from the store.
            let ending = sort.rsplit('/').next().unwrap().rsplit(' ').next().unwrap();
            let shown =
                expected.keys().find(|path| path.ends_with(&ending.replace("model", ""))).unwrap();
            for path in
                expected.keys().filter(|path| path.starts_with("out/small") || *path == shown)
            {
                project.remove(path);
            }
            (&[], whole.replace("finetune 0", "finetune 1"))
        };
        let mut all = vec!["run", "project.toml", "--json"];
        all.extend(args);
        let run = project.call(&all).exits(0);
        assert_eq!(run.counts(), counts, "{number}: {sort}");
        let told = told(&run);
        assert_eq!(told.len(), 1, "{sort}: {told:?}");
        assert_eq!(told[0]["items"], 1, "{sort}");
        assert_eq!(project.outputs(), expected, "{sort}");
        let bytes = fs::read(object(&project, digest)).unwrap();
        assert_eq!(Digest::of(&bytes).hex(), *digest, "{sort}");
        // Nothing is lost, also not what was damaged.
        assert!(project.path(format!("out/store/v1/damaged/{digest}")).exists(), "{sort}");
    }
    project.is_idle();
}

#[test]
fn several_damaged_objects_are_found_at_once_and_a_missing_one_too() {
    let project = Project::finished();
    let expected = project.outputs();
    let objects = objects(&project);
    let of = |sort: &str| object(&project, &objects[sort]);
    flip(&of("cache/text text.safetensors"));
    flip(&of("cache/latent latent.safetensors"));
    let run = project.call(&["run", "project.toml", "--json", "--force", "finetune"]).exits(0);
    assert!(run.counts().ends_with("cache 2 of 10, finetune 1 of 1"), "{}", run.counts());
    let told = told(&run);
    assert_eq!((told.len(), &told[0]["items"]), (1, &Value::from(2)), "{told:?}");
    assert_eq!(project.outputs(), expected);
    // A part of the pipeline that is not selected is not run; what to do is said.
    flip(&of("cache/text text.safetensors"));
    let args = ["run", "project.toml", "--json", "--only", "finetune", "--force", "finetune"];
    let run = project.call(&args).exits(2);
    assert!(run.stderr.contains("upstream_not_ready"), "{}", run.stderr);
    assert_eq!(project.plan().matches(" 0 of").count(), 4, "{}", project.plan());
    // It comes out as it was, so the training has nothing to do.
    let run = project.run().exits(0);
    assert!(run.counts().ends_with("cache 1 of 10, finetune 0 of 1"), "{}", run.counts());
    assert_eq!(project.outputs(), expected);
    project.is_idle();
}

#[test]
fn a_flipped_bit_in_any_other_file_of_the_store_costs_at_most_the_item_of_its_line() {
    let project = Project::finished();
    project.is_idle();
    let expected = project.outputs();
    let store = project.path("out/store/v1");
    let files = walkdir::WalkDir::new(&store).into_iter().flatten();
    let files = files.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path);
    let mut sorts = BTreeMap::new();
    for path in files.collect::<Vec<_>>() {
        let name = path.strip_prefix(&store).unwrap().display().to_string();
        let sort = name.split('/').next().unwrap().to_owned();
        if sort == "objects" || fs::metadata(&path).is_ok_and(|file| file.len() == 0) {
            continue;
        }
        flip(&path);
        let run = project.run().exits(0);
        let ran: u64 = run.finished()["stages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|stage| stage["items"]["run"].as_u64().unwrap())
            .sum();
        assert_eq!(ran, u64::from(sort == "records"), "{name}: {}", run.counts());
        assert_eq!(project.outputs(), expected, "{name}");
        *sorts.entry(sort).or_insert(0) += 1;
    }
    for sort in ["records", "recipes", "heads", "files.log", "facts", "ledger", "runs", "states"] {
        assert!(sorts.contains_key(sort), "no {sort} in {sorts:?}");
    }
    project.is_idle();
}

#[test]
fn a_training_goes_on_from_no_damaged_state_and_hands_out_no_damaged_checkpoint() {
    let longer = MANIFEST.replace("max_train_epochs = 2", "max_train_epochs = 3");
    let expected = Project::fresh();
    expected.manifest(&longer);
    expected.run().exits(0);
    let expected = expected.outputs();
    let mut hit = 0;
    for number in 0.. {
        let project = Project::finished();
        let files = walkdir::WalkDir::new(project.path("out/store/v1/states")).sort_by_file_name();
        let files = files.into_iter().flatten().filter(|entry| entry.file_type().is_file());
        let Some(file) = files.map(walkdir::DirEntry::into_path).nth(number) else { break };
        flip(&file);
        project.manifest(&longer);
        let run = project.run().exits(0);
        assert_eq!(project.outputs(), expected, "{}", file.display());
        assert!(run.counts().ends_with("cache 0 of 10, finetune 1 of 1"), "{}", run.counts());
        hit += 1;
    }
    assert!(hit >= 4, "a state has {hit} files");
}
