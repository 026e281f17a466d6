//! Which files of a folder are the shards of one network.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::WeightsError;
use crate::base::disk;

/// How the name of an index ends.
const INDEX: &str = ".safetensors.index.json";

/// The part of an index that says which file has which tensor.
#[derive(Deserialize)]
struct Index {
    weight_map: std::collections::BTreeMap<String, String>,
}

/// The shards in `folder`, sorted: those that its index names, which must all be there, or without an
/// index all safetensors files.
///
/// # Errors
/// The folder or the index cannot be read, there are several indices, or a shard is missing.
pub(super) fn of(folder: &Path) -> Result<Vec<PathBuf>, WeightsError> {
    let files = entries(folder)?;
    let wrong = |path: &Path, reason: String| WeightsError::Format {
        path: path.to_owned(),
        format: "weight",
        reason,
    };
    let ends = |path: &Path, end: &str| path.to_str().is_some_and(|path| path.ends_with(end));
    let indices = files.iter().filter(|path| ends(path, INDEX)).collect::<Vec<_>>();
    let index = match indices[..] {
        [] => return Ok(files.into_iter().filter(|path| ends(path, ".safetensors")).collect()),
        [index] => index,
        // Beside the plain one there may be one of another number format, such as model.fp16.…
        ref several => {
            let stem = |path: &Path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                name.trim_end_matches(INDEX).to_owned()
            };
            let plain = several.iter().filter(|path| !stem(path).contains('.')).collect::<Vec<_>>();
            match plain[..] {
                [index] => index,
                _ => return Err(wrong(folder, "it has several index files".to_owned())),
            }
        }
    };
    let text = disk::read_to_string(index)
        .map_err(|source| WeightsError::Read { path: index.clone(), source })?;
    let parsed = serde_json::from_str::<Index>(&text)
        .map_err(|error| wrong(index, format!("it is no index of shards: {error}")))?;
    let named = parsed.weight_map.into_values().collect::<BTreeSet<_>>();
    let shards = named.iter().map(|name| {
        let shard = folder.join(name);
        // A name that leads out of the folder is none that a publisher writes.
        if Path::new(name).components().count() == 1 && shard.is_file() {
            Ok(shard)
        } else {
            Err(wrong(folder, format!("its index names {name}, which is not there")))
        }
    });
    shards.collect()
}

/// Says that a folder has no weights, and which of its folders has.
pub(super) fn none_in(folder: &Path) -> String {
    let below = entries(folder).unwrap_or_default();
    let below = below.iter().filter(|path| path.is_dir() && of(path).is_ok_and(|f| !f.is_empty()));
    let names = below.filter_map(|path| path.file_name()?.to_str()).collect::<Vec<_>>();
    match names[..] {
        [] => "the folder has no .safetensors file".to_owned(),
        _ => format!(
            "the folder has no .safetensors file, but folders with some: name {}",
            names.join("/ or ") + "/"
        ),
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, WeightsError> {
    let unreadable = |source| WeightsError::Read { path: folder.to_owned(), source };
    let entries = disk::list(folder).map_err(unreadable)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{Checkpoint, Dtype, Entry, Writer};
    use super::*;

    /// Writes a file with one tensor of this name.
    fn shard(path: &Path, tensor: &str) {
        let entry = Entry { name: tensor.to_owned(), dtype: Dtype::U8, shape: vec![1] };
        let metadata = std::collections::BTreeMap::default();
        let mut writer = Writer::new(Vec::new(), &[entry], &metadata).unwrap();
        writer.tensor(&[7]).unwrap();
        fs::write(path, writer.finish().unwrap()).unwrap();
    }

    fn index(folder: &Path, name: &str, shards: &[(&str, &str)]) {
        let map = shards.iter().copied().collect::<std::collections::BTreeMap<_, _>>();
        let text = serde_json::json!({ "metadata": {}, "weight_map": map }).to_string();
        fs::write(folder.join(name), text).unwrap();
    }

    #[test]
    fn an_index_says_which_files_belong_together() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        shard(&at("model-00001-of-00002.safetensors"), "a");
        shard(&at("model-00002-of-00002.safetensors"), "b");
        // The same network in another number format.
        shard(&at("model.fp16.safetensors"), "a");
        let refused = Checkpoint::open(folder.path()).err().unwrap().to_string();
        assert!(refused.contains("`a` is in another file"), "{refused}");
        let [one, two] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        index(folder.path(), "model.safetensors.index.json", &[("a", one), ("b", two)]);
        let names = |path: &Path| {
            Checkpoint::open(path).unwrap().names().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(names(folder.path()), ["a", "b"]);
        assert_eq!(Checkpoint::files(folder.path()).unwrap(), [at(one), at(two)]);
        index(
            folder.path(),
            "model.fp16.safetensors.index.json",
            &[("a", "model.fp16.safetensors")],
        );
        assert_eq!(names(folder.path()), ["a", "b"]);
    }

    #[test]
    fn a_shard_that_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        shard(&folder.path().join("model-00001-of-00002.safetensors"), "a");
        for name in ["model-00002-of-00002.safetensors", "../x.safetensors"] {
            index(folder.path(), "model.safetensors.index.json", &[("b", name)]);
            let error = Checkpoint::open(folder.path()).err().unwrap().to_string();
            assert!(error.contains(&format!("names {name}, which is not there")), "{error}");
        }
        fs::write(folder.path().join("model.safetensors.index.json"), "{}").unwrap();
        let error = Checkpoint::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains("no index of shards"), "{error}");
    }

    #[test]
    fn a_folder_of_folders_says_which_to_name() {
        let folder = tempfile::tempdir().unwrap();
        let error = || Checkpoint::open(folder.path()).err().unwrap().to_string();
        assert!(error().ends_with("the folder has no .safetensors file"), "{}", error());
        fs::create_dir(folder.path().join("text_encoder_2")).unwrap();
        shard(&folder.path().join("text_encoder_2/model.safetensors"), "a");
        assert!(error().contains("name text_encoder_2/"), "{}", error());
    }
}
