//! `fluxpipe init DIR`: a manifest to start from.

use std::path::{Path, PathBuf};

use super::{CliError, Exit, Outcome};
use crate::{
    base::{atomic, disk},
    dataset, manifest, report,
};

/// Write a commented manifest beside your pictures
///
/// Makes DIR where it is missing and writes DIR/project.toml, with every setting explained. A folder
/// of pictures inside DIR is found and named in it. An existing manifest is never overwritten.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe init my-project
  fluxpipe init .")]
pub struct Init {
    /// The project's folder
    dir: PathBuf,
}

/// What the folder of pictures is called where there is none yet.
const PICTURES: &str = "pictures";

impl Init {
    pub(super) fn run(self) -> Outcome {
        let path = self.dir.join("project.toml");
        let unwritable = |path: &Path, source| CliError::Write { path: path.to_owned(), source };
        disk::create_folder(&self.dir).map_err(|error| unwritable(&self.dir, error))?;
        let found = folder_of_pictures(&self.dir);
        let folder = found.clone().unwrap_or_else(|| PICTURES.to_owned());
        let text = manifest::template(&name(&self.dir), &folder);
        match atomic::write_new(&path, text.as_bytes()) {
            Ok(true) => {}
            Ok(false) => return Err(CliError::Exists { path }.into()),
            Err(error) => return Err(unwritable(&path, error).into()),
        }
        let pictures = if folder == "." { self.dir.clone() } else { self.dir.join(&folder) };
        super::print(&report::initialised(&path, &pictures, found.is_some()))?;
        Ok(Exit::Done)
    }
}

/// The project is called after its folder, also where that is `.`.
fn name(dir: &Path) -> String {
    let full = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    full.file_name()
        .map_or_else(|| "project".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// The folder inside `dir` with the most pictures, or `dir` itself (`.`) if they lie there.
fn folder_of_pictures(dir: &Path) -> Option<String> {
    let entries = disk::list(dir).ok()?.flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut names =
        folders.filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>();
    names.sort();
    names.push(".".to_owned());
    let counted = names.into_iter().map(|name| (pictures_in(&dir.join(&name)), name));
    // Of equals the first: `max_by_key` would take the last.
    let best = counted.rev().max_by_key(|(count, _)| *count)?;
    (best.0 > 0).then_some(best.1)
}

fn pictures_in(folder: &Path) -> usize {
    let is_picture = |entry: &std::fs::DirEntry| dataset::is_picture(&entry.path());
    disk::list(folder).map_or(0, |entries| entries.flatten().filter(is_picture).count())
}
