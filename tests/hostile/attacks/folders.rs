//! What lies in a folder of pictures and is none: links, pipes, devices, names that are more than a name.

#![cfg(unix)]

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink, net::UnixListener},
    path::Path,
};

use fluxpipe::{
    dataset::{Encoded, Metadata, read_sidecar, scan},
    manifest::Manifest,
    models::{onnx::Graph, tagger::TagTable},
    weights::Checkpoint,
};

use super::{Folder, pipe, refused};

fn names(folder: &Path) -> Vec<String> {
    scan(folder, true).unwrap().into_iter().map(|picture| picture.relative).collect()
}

#[test]
fn links_to_files_are_followed_and_no_link_leads_through_a_folder() {
    let (folder, other) = (Folder::project(), Folder::new());
    let pictures = folder.path("pictures");
    other.picture("elsewhere/b.png");
    symlink(other.path("elsewhere/b.png"), pictures.join("link.png")).unwrap();
    symlink(other.path("elsewhere"), pictures.join("folder")).unwrap();
    symlink(&pictures, pictures.join("loop")).unwrap();
    symlink("..", pictures.join("up")).unwrap();
    symlink(pictures.join("self.png"), pictures.join("self.png")).unwrap();
    symlink(pictures.join("two.png"), pictures.join("one.png")).unwrap();
    symlink(pictures.join("one.png"), pictures.join("two.png")).unwrap();
    symlink("/nowhere/x.png", pictures.join("dead.png")).unwrap();
    assert_eq!(names(&pictures), ["a.png", "link.png"]);
    folder.run(&["plan", "project.toml"]).exits(0);
}

#[test]
fn pipes_sockets_and_devices_are_no_pictures() {
    let folder = Folder::project();
    let pictures = folder.path("pictures");
    pipe(&pictures.join("pipe.png"));
    let _socket = UnixListener::bind(pictures.join("socket.png")).unwrap();
    symlink("/dev/zero", pictures.join("zero.png")).unwrap();
    symlink("/dev/tty", pictures.join("tty.png")).unwrap();
    symlink(pictures.join("pipe.png"), pictures.join("to-pipe.png")).unwrap();
    fs::create_dir(pictures.join("folder.png")).unwrap();
    assert_eq!(names(&pictures), ["a.png"]);
    folder.run(&["run", "project.toml"]).exits(0);
}

#[test]
fn no_reader_waits_for_a_pipe_or_reads_a_device() {
    let folder = Folder::new();
    let said = "a pipe or a device";
    for name in [
        "x.png",
        "x.caption",
        "x.json",
        "x.safetensors",
        "x.pth",
        "x.onnx",
        "selected_tags.csv",
        "x.toml",
    ] {
        for device in [false, true] {
            let path = folder.path(name);
            let _ = fs::remove_file(&path);
            if device {
                symlink("/dev/zero", &path).unwrap();
            } else {
                pipe(&path);
            }
            match name {
                "x.png" => drop(refused(Encoded::read(&path), &[name, said])),
                "x.caption" => drop(refused(read_sidecar(&path), &[name, said])),
                "x.json" => drop(refused(Metadata::read(&path), &[name, said])),
                "x.onnx" => drop(refused(Graph::read(&path), &[name, said])),
                "selected_tags.csv" => drop(refused(TagTable::read(&path), &[name, said])),
                "x.toml" => {
                    let errors = Manifest::read(&path).unwrap_err();
                    assert!(errors.errors[0].to_string().contains(said), "{}", errors.errors[0]);
                }
                _ => drop(refused(Checkpoint::open(&path), &[name, said])),
            }
        }
    }
}

#[test]
fn a_pipe_beside_a_picture_leaves_it_out_by_name_and_holds_up_nobody() {
    let folder = Folder::project();
    pipe(&folder.path("pictures/a.caption"));
    assert!(folder.run(&["plan", "project.toml"]).exits(0).all().contains("left out"));
    for command in ["check", "run", "captions"] {
        let told = folder.run(&[command, "project.toml"]).all();
        let named = told.contains("a.caption") && told.contains("a pipe or a device");
        assert!(named, "{command}: {told}");
    }
}

#[test]
fn a_sidecar_that_is_a_link_is_read_and_what_it_leads_to_is_never_written() {
    let (folder, other) = (Folder::project(), Folder::new());
    let secret = other.file("notes.txt", "a text of somebody else");
    symlink(&secret, folder.path("pictures/a.caption")).unwrap();
    folder.run(&["run", "project.toml"]).exits(0);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "a text of somebody else");
    let link = fs::symlink_metadata(folder.path("pictures/a.caption")).unwrap();
    assert!(link.file_type().is_symlink(), "the link is as it was");
}

#[test]
fn names_that_are_more_than_a_name_are_refused() {
    for name in [
        "two\nlines.png",
        "\u{1b}[2Jx.png",
        "bell\u{7}.png",
        "back\u{8}\u{8}.png",
        "c1\u{9b}31m.png",
        "cr\rx.png",
    ] {
        let folder = Folder::project();
        folder.picture(Path::new("pictures").join(name));
        let told = refused(
            scan(&folder.path("pictures"), true),
            &["holds a character that is none to see"],
        );
        assert!(!told.contains(char::is_control), "{told:?}");
        let ran = folder.run(&["plan", "project.toml"]);
        assert!(ran.code == Some(2) || ran.code == Some(1), "{:?}", ran.code);
        assert!(ran.stderr.contains("none to see"), "{}", ran.stderr);
    }
    let folder = Folder::project();
    folder.picture(Path::new("pictures").join(OsStr::from_bytes(b"caf\xe9.png")));
    refused(scan(&folder.path("pictures"), true), &["not UTF-8"]);
    // A folder below counts too.
    let folder = Folder::project();
    folder.picture("pictures/a\nb/c.png");
    refused(scan(&folder.path("pictures"), true), &["none to see"]);
}

#[test]
fn dots_in_names_lead_nowhere() {
    let folder = Folder::project();
    for name in [
        "..b.png",
        "...png",
        "c...png",
        "-rf.png",
        "$(touch x).png",
        "a b'\"`;.png",
        "%2e%2e%2f.png",
    ] {
        folder.picture(Path::new("pictures").join(name));
        folder.file(Path::new("pictures").join(name).with_extension("caption"), "words");
    }
    folder.run(&["run", "project.toml"]).exits(0);
    let mut at_the_top: Vec<_> =
        fs::read_dir(folder.path("")).unwrap().map(|file| file.unwrap().file_name()).collect();
    at_the_top.sort();
    assert_eq!(at_the_top, ["out", "pictures", "project.toml"]);
}
