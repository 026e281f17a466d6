//! Everything written goes to the output folder, the store in it and the sidecars: a whole run, and every
//! command that reads, leave all other folders as they are, down to the times of their files.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use fluxpipe::base::Digest;

use crate::{Project, project::networks};

/// What a file, a link or a folder looks like.
type Looks = (u64, SystemTime, Option<Digest>);

/// All that is in these folders, and they themselves; of `besides`, nothing.
fn look(folders: &[PathBuf], besides: &[PathBuf]) -> BTreeMap<PathBuf, Looks> {
    let walk = folders.iter().flat_map(walkdir::WalkDir::new);
    let paths = walk.map(|entry| entry.unwrap().into_path());
    let paths = paths.filter(|path| !besides.iter().any(|folder| path.starts_with(folder)));
    let looks = paths.map(|path| {
        let found = fs::symlink_metadata(&path).unwrap();
        let digest = found.is_file().then(|| Digest::of(&fs::read(&path).unwrap()));
        let length = if found.is_file() { found.len() } else { 0 };
        (path, (length, found.modified().unwrap(), digest))
    });
    looks.collect()
}

/// As far as the system lets the user of the tests be hindered by it: not root.
fn read_only(path: &Path) {
    let mut permissions = fs::metadata(path).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(path, permissions).unwrap();
}

#[test]
fn nothing_is_written() {
    let project = Project::fresh();
    let text = project.read("project.toml");
    let lines = "\n[stages.sample]\nprompts = ['a cup']\nwidth = 32\nheight = 32\nsteps = 1\n";
    project.file("project.toml", text + lines);
    // Where programs usually leave something behind. The working folder is one of them.
    let watched = ["home", "tmp", "cache", "config", "data", "state", "here"];
    watched.iter().for_each(|name| fs::create_dir(project.path(name)).unwrap());
    // The output folder and that of the sidecars are there, so that the one around them may be read-only.
    let ours = ["out", "words"].map(|name| project.path(name));
    ours.iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
    let around = [project.path(""), networks().to_owned()];
    let restore = fs::metadata(project.path("")).unwrap().permissions();
    watched.iter().chain(&["pictures", ""]).for_each(|name| read_only(&project.path(name)));

    let before = look(&around, &ours);
    let trace = tempfile::NamedTempFile::new().unwrap();
    let manifest = project.path("project.toml");
    let manifest = manifest.to_str().unwrap();
    let picture = project.path("pictures/coffee.webp");
    for call in [
        &["check", manifest][..],
        &["plan", manifest],
        &["run", manifest],
        &["run", manifest],
        &["plan", manifest],
        &["why", manifest, "merge"],
        &["captions", manifest],
        &["losses", manifest],
        &["graph", manifest],
        &["report", manifest],
        &["inspect", picture.to_str().unwrap()],
        &["doctor"],
    ] {
        let mut command = project.command(call);
        command.current_dir(project.path("here"));
        for (variable, folder) in [
            ("HOME", "home"),
            ("TMPDIR", "tmp"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_DATA_HOME", "data"),
            ("XDG_STATE_HOME", "state"),
        ] {
            command.env(variable, project.path(folder));
        }
        command.env("FLUXPIPE_FAULT_TRACE", trace.path());
        project.done(command.output().unwrap()).exits(0);
    }
    let after = look(&around, &ours);
    let changed = before.iter().filter(|(path, looks)| after.get(*path) != Some(looks));
    let changed: Vec<_> = changed.map(|(path, _)| path).collect();
    let added: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
    fs::set_permissions(project.path(""), restore).unwrap();
    assert!(changed.is_empty() && added.is_empty(), "changed: {changed:?}\nadded: {added:?}");

    // The same as the program itself tells it: what it opened to be written, made, renamed or removed.
    let told = fs::read_to_string(trace.path()).unwrap();
    let reads = ["Read ", "Map ", "List "];
    let writes = told.lines().filter(|line| !reads.iter().any(|call| line.starts_with(call)));
    let writes: Vec<_> = writes.map(|line| line.split_once(' ').unwrap().1).collect();
    let outside: Vec<_> = writes
        .iter()
        .filter(|path| !ours.iter().any(|folder| Path::new(path).starts_with(folder)))
        .collect();
    assert!(outside.is_empty(), "{outside:?}");
    assert!(writes.len() > 100, "only {} calls", writes.len());
}
