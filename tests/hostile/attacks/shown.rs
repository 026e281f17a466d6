//! What anybody wrote, where people look: on the terminal and in `report.html`.

use std::fs;

use super::{Folder, MANIFEST};
use crate::made::safetensors;

/// Clears the screen, sets the title, hides what follows, turns letters around, and asks the terminal for an
/// answer that it would type.
const ACTS: &str =
    "a cat\u{1b}[2J\u{1b}]0;owned\u{7}\u{1b}[8mhidden\u{9b}5n\u{202e}gnp\u{8}\u{8} on a mat";

/// Fails if anything acts on a terminal but colours.
#[track_caller]
fn is_tame(printed: &str) {
    let mut rest = printed;
    while let Some(at) = rest.find(|letter: char| {
        letter.is_control() && !matches!(letter, '\n' | '\t')
            || ('\u{202a}'..='\u{202e}').contains(&letter)
    }) {
        rest = &rest[at..];
        let colour = rest.strip_prefix("\u{1b}[").and_then(|codes| {
            let end = codes.find(|letter: char| !matches!(letter, '0'..='9' | ';'))?;
            let hides = codes[..end].split(';').any(|code| matches!(code, "5" | "6" | "8" | "7"))
                && !codes.starts_with("38");
            (codes[end..].starts_with('m') && !hides).then(|| &codes[end..])
        });
        match colour {
            Some(behind) => rest = behind,
            None => panic!("{:?} reaches the terminal", rest.chars().take(12).collect::<String>()),
        }
    }
}

#[test]
fn captions_and_tags_do_not_act_on_the_terminal() {
    let folder = Folder::project();
    folder.file("pictures/a.caption", ACTS);
    folder.file("pictures/a.txt", format!("{ACTS}, tag\n{ACTS}"));
    let manifest = format!("{MANIFEST}in_json = \"in.json\"\n");
    for text in [MANIFEST, &manifest] {
        folder.file("project.toml", text);
        let json = serde_json::json!({"a": {"caption": ACTS, "tags": ACTS}, ACTS: {"tags": "x"}});
        folder.file("in.json", json.to_string());
        for args in [
            &["check", "project.toml"][..],
            &["plan", "-v", "project.toml"],
            &["captions", "project.toml"],
            &["run", "project.toml"],
            &["captions", "project.toml", "--json"],
            &["why", "project.toml", "merge", "a.png"],
            &["plan", "project.toml", "--json"],
            &["captions", "project.toml", "--filter", "\u{1b}[2J"],
        ] {
            let ran = folder.run(args);
            assert!(ran.code == Some(0) || ran.code == Some(1), "{args:?}: {}", ran.all());
            is_tame(&ran.stdout);
            is_tame(&ran.stderr);
            if args.contains(&"--json") {
                let _: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
            }
        }
    }
    let shown = folder.run(&["captions", "project.toml"]).exits(0);
    assert!(shown.stdout.contains("a cat\\u001b[2J"), "{}", shown.stdout);
}

#[test]
fn errors_do_not_act_on_the_terminal() {
    let folder = Folder::project();
    folder.file("pictures/a.caption", b"\xff\x1b[2J");
    folder.file(
        "bad.toml",
        format!("[project]\nname = \"{ACTS}\"\n{ACTS} = 3\n[stages.x]\nkind = \"\\u001b[2J\"\n"),
    );
    folder.file("x.onnx", ACTS);
    folder.file("x.pth", ACTS);
    let header = r#"{"__metadata__":{"\u001b[2J\nfake":"\u001b]0;x\u0007"},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
    folder.file("x.safetensors", safetensors::file(header, &[1]));
    for args in [
        &["plan", "bad.toml"][..],
        &["check", "bad.toml"],
        &["run", "project.toml"],
        &["inspect", "x.onnx"],
        &["inspect", "x.pth"],
        &["inspect", "x.safetensors"],
        &["inspect", "\u{1b}[2J.png"],
        &["plan", "\u{1b}[2J.toml"],
        &["plan", "project.toml", "--set", "project.name=\u{1b}[2J\u{7}", "--set", "\u{1b}[2J=1"],
    ] {
        let ran = folder.run(args);
        is_tame(&ran.stdout);
        is_tame(&ran.stderr);
    }
    let inspected = folder.run(&["inspect", "x.safetensors"]).exits(0);
    assert!(inspected.stdout.contains("\\u001b[2J\\u000afake"), "{}", inspected.stdout);
}

#[test]
fn nothing_of_a_caption_or_name_is_markup_in_the_page() {
    let folder = Folder::project();
    let markup = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'><b>&amp;";
    folder.file("pictures/a.caption", format!("cat {markup}"));
    folder.file("pictures/a.txt", format!("{markup}, </textarea></style><style>*{{display:none}}"));
    let name = "\"><img src=x onerror=alert(3)>.png";
    folder.picture(format!("pictures/{name}"));
    folder.file("project.toml", MANIFEST.to_owned() + "append_tags = [\"<i>x</i>\"]\n");
    folder.run(&["run", "project.toml"]).exits(0);
    folder.run(&["report", "project.toml"]).exits(0);
    let page = fs::read_to_string(folder.path("out/report.html")).unwrap();
    assert!(
        page.contains("&lt;/script&gt;&lt;script&gt;alert(1)"),
        "the caption is there, as a text"
    );
    for markup in [
        "<script",
        "</script",
        "<img src=x",
        "onerror=alert(2)>\"",
        "'><b>",
        "<i>x",
        "</textarea",
        "</style><style",
    ] {
        assert!(!page.contains(markup), "{markup} is markup in the page");
    }
    assert_eq!(page.matches("<style").count(), 1);
}
