//! What one machine made, another one takes: through a shared folder, or through a file.

use std::{fs, path::Path};

use fluxpipe::base::Digest;
use serde_json::Value;

use crate::{
    Project, Run,
    damage::{flip, objects},
    project::MANIFEST,
};

/// A project that shares a store in this folder.
fn sharing(shared: &Path) -> Project {
    let project = Project::fresh();
    project.manifest(&format!("{MANIFEST}\n[store]\nshared = {shared:?}\n"));
    project
}

/// How many items each stage took from the shared store, and gave to it.
fn shared(run: &Run) -> Vec<(String, u64, u64)> {
    let events = run.events().filter(|event| event["event"] == "shared");
    let number = |value: &Value| value.as_u64().unwrap();
    events
        .map(|event| {
            let stage = event["stage"].as_str().unwrap().to_owned();
            (stage, number(&event["taken"]), number(&event["given"]))
        })
        .collect()
}

/// Items by stage: of what is shared, all that a small project has.
const ITEMS: [(&str, u64); 5] =
    [("label", 5), ("tag.probabilities", 5), ("tag", 5), ("merge", 5), ("cache", 10)];

const ALL_BUT_THE_TRAINING: &str = "label 0 of 5, tag.probabilities 0 of 5, tag 0 of 5, merge 0 of 5, cache 0 of 10, finetune 1 of 1";

#[test]
fn a_second_project_takes_what_the_first_one_made() {
    let folder = tempfile::tempdir().unwrap();
    let first = sharing(folder.path());
    let run = first.run().exits(0);
    assert_eq!(shared(&run), ITEMS.map(|(stage, items)| (stage.to_owned(), 0, items)));
    assert!(shared(&first.run().exits(0)).is_empty(), "nothing is given twice");

    let second = sharing(folder.path());
    assert_eq!(second.plan(), ALL_BUT_THE_TRAINING);
    let run = second.run().exits(0);
    assert_eq!(run.counts(), ALL_BUT_THE_TRAINING);
    assert_eq!(shared(&run), ITEMS.map(|(stage, items)| (stage.to_owned(), items, 0)));
    assert_eq!(second.outputs(), first.outputs());
    let plain = second.call(&["run", "project.toml"]).exits(0);
    assert!(
        plain.stdout.contains("nothing") || plain.stderr.contains("nothing"),
        "{}",
        plain.seen()
    );
    // From here on it needs the shared one no more.
    fs::remove_dir_all(folder.path().join("v1")).unwrap();
    second.manifest(MANIFEST);
    second.is_idle();
}

#[test]
fn what_is_damaged_in_the_shared_store_is_made_here_and_mended_there() {
    let folder = tempfile::tempdir().unwrap();
    let first = sharing(folder.path());
    first.run().exits(0);
    let digest = &objects(&first)["cache/latent latent.safetensors"];
    let theirs = folder.path().join("v1/objects").join(&digest[..2]).join(&digest[2..]);
    flip(&theirs);
    let second = sharing(folder.path());
    let run = second.run().exits(0);
    assert_eq!(run.counts(), ALL_BUT_THE_TRAINING.replace("cache 0", "cache 1"));
    let told = run.events().find(|event| event["code"] == "fluxpipe::store::damaged").unwrap();
    assert!(told["message"].as_str().unwrap().contains("in the shared store"), "{told}");
    assert_eq!(second.outputs(), first.outputs());
    assert_eq!(Digest::of(&fs::read(&theirs).unwrap()).hex(), *digest);
    second.is_idle();
}

#[test]
fn a_shared_store_that_cannot_be_written_is_told_and_one_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("v1")).unwrap();
    fs::write(folder.path().join("v1/tmp"), "in the way").unwrap();
    fs::write(folder.path().join("v1/records"), "in the way").unwrap();
    let project = sharing(folder.path());
    let run = project.call(&["run", "project.toml", "--json", "--until", "merge"]);
    // Its records cannot even be read: that is no empty store.
    run.exits(3);
    fs::remove_file(folder.path().join("v1/records")).unwrap();
    let run = project.run().exits(0);
    let warned = run.events().filter(|event| event["code"] == "fluxpipe::store::not_shared");
    assert_eq!(warned.count(), 2, "of latents and texts, and of probabilities: {}", run.stdout);
    project.is_idle();

    let gone = folder.path().join("not mounted");
    let project = sharing(&gone);
    let run = project.call(&["plan", "project.toml"]).exits(3);
    assert!(run.stderr.contains("shared =") && run.stderr.contains("mount"), "{}", run.stderr);
    project.manifest(&format!("{MANIFEST}\n[store]\nshared = \"out/store\"\n"));
    fs::create_dir_all(project.path("out/store")).unwrap();
    let run = project.call(&["plan", "project.toml"]).exits(2);
    assert!(run.stderr.contains("own store"), "{}", run.stderr);
}

/// `fluxpipe cache WHAT project.toml --json ARGS`.
#[track_caller]
fn cache(project: &Project, what: &str, args: &[&str]) -> Value {
    let args = [&["cache", what, "project.toml", "--json"], args].concat();
    serde_json::from_str(&project.call(&args).exits(0).stdout).unwrap()
}

#[test]
fn a_file_of_outputs_carries_them_to_another_project() {
    let first = Project::finished();
    let written = cache(&first, "export", &["-o", "all.tar"]);
    assert_eq!((&written["items"], &written["objects"]), (&30.into(), &15.into()), "{written}");
    let again = first.call(&["cache", "export", "project.toml", "-o", "all.tar"]).exits(2);
    assert!(again.stderr.contains("--force"), "{}", again.stderr);
    let bytes = fs::read(first.path("all.tar")).unwrap();
    cache(&first, "export", &["-o", "all.tar", "--force"]);
    assert_eq!(fs::read(first.path("all.tar")).unwrap(), bytes, "the same outputs, the same bytes");

    let second = Project::fresh();
    second.file("all.tar", &bytes);
    let taken = cache(&second, "import", &["all.tar"]);
    assert_eq!((&taken["new"], &taken["known"]), (&30.into(), &0.into()), "{taken}");
    assert_eq!(cache(&second, "import", &["all.tar"])["known"], 30);
    let run = second.run().exits(0);
    assert_eq!(run.counts(), ALL_BUT_THE_TRAINING);
    assert_eq!(second.outputs(), first.outputs());

    let third = Project::fresh();
    let args = ["-o", "some.tar", "--stage", "finetune", "--stage", "tag"];
    assert_eq!(cache(&first, "export", &args)["items"], 6);
    third.file("some.tar", fs::read(first.path("some.tar")).unwrap());
    cache(&third, "import", &["some.tar"]);
    let run = third.run().exits(0);
    // Tags need no probabilities, a model is found once its samples are there.
    let counts = "label 5 of 5, tag.probabilities 5 of 5, tag 0 of 5, merge 5 of 5, cache 10 of 10, finetune 0 of 1";
    assert_eq!(run.counts(), counts);
    let unknown = first.call(&["cache", "export", "project.toml", "-o", "x", "--stage", "cahce"]);
    assert!(unknown.exits(2).stderr.contains("the stages are label"));
}

#[test]
fn a_file_of_outputs_that_is_not_whole_is_told_and_spoils_nothing() {
    let first = Project::finished();
    let expected = first.outputs();
    cache(&first, "export", &["-o", "all.tar"]);
    let bytes = fs::read(first.path("all.tar")).unwrap();
    let second = Project::fresh();
    let import = |bytes: &[u8]| {
        second.file("all.tar", bytes);
        let run = second.call(&["cache", "import", "project.toml", "all.tar"]);
        assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
        run
    };
    let broken = |run: Run| {
        assert_eq!(run.code, Some(1), "{}", run.seen());
        assert!(run.stderr.contains("cannot be imported"), "{}", run.stderr);
    };
    for part in 0..20 {
        let place = bytes.len() * part / 20 + 700 % bytes.len();
        let mut changed = bytes.clone();
        changed[place.min(bytes.len() - 1)] ^= 0x10;
        let run = import(&changed);
        assert!([Some(0), Some(1)].contains(&run.code), "{place}: {}", run.seen());
        broken(import(&bytes[..place]));
    }
    broken(import(b""));
    broken(import(b"no bundle at all, but a text"));
    // A name that leads elsewhere, and a link.
    let tar = |name: &str, link: bool| {
        let mut tar = tar::Builder::new(Vec::new());
        let head = br#"{"version":1,"program":"1","stages":[],"items":0,"objects":0,"bytes":0}"#;
        for (name, body) in [("fluxpipe-outputs.json", &head[..]), (name, b"evil")] {
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            if link && body == b"evil" {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_size(body.len() as u64);
            header.set_cksum();
            tar.append(&header, body).unwrap();
        }
        tar.into_inner().unwrap()
    };
    let object = format!("objects/{}", Digest::of(b"evil"));
    assert_eq!(import(&tar(&object, false)).code, Some(0));
    broken(import(&tar(&object, true)));
    for name in ["../../evil", "/tmp/evil", "objects/../../evil", "v1/objects/evil", "objects/\n"] {
        broken(import(&tar(name, false)));
    }
    assert!(!second.path("evil").exists() && !second.path("out/evil").exists());
    second.run().exits(0);
    assert_eq!(second.outputs(), expected);
}
