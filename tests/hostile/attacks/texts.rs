//! Texts: depth in TOML and JSON, and words without end.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use fluxpipe::{
    dataset::{MergeRules, Metadata, decode_text, training_caption},
    manifest::Manifest,
    models::tagger::TagTable,
    report::{self, Look},
};

use super::refused;

/// Fails if it takes long.
#[track_caller]
fn soon<T>(work: impl FnOnce() -> T) -> T {
    let since = Instant::now();
    let made = work();
    assert!(since.elapsed() < Duration::from_secs(10), "it took {:?}", since.elapsed());
    made
}

#[test]
fn depth_in_a_manifest_is_refused_at_its_place() {
    let many = 100_000;
    for text in [
        format!("x = {}{}", "[".repeat(many), "]".repeat(many)),
        format!("x = {}1{}", "{a=".repeat(many), "}".repeat(many)),
        format!("[{}x]", "a.".repeat(many)),
        format!("x{} = 1", ".a".repeat(many)),
        "[".repeat(many),
        format!("x = \"{}", "\\".repeat(many)),
    ] {
        let read = soon(|| Manifest::parse(Path::new("project.toml"), &text));
        let errors = read.unwrap_err();
        let told = soon(|| report::diagnostics(&errors, &errors.path, Look::PLAIN));
        assert!(
            told.contains("fluxpipe::manifest::") && told.contains("help"),
            "{}",
            &told[..200.min(told.len())]
        );
    }
}

#[test]
fn a_hundred_thousand_mistakes_are_told_in_time() {
    let keys: String = (0..100_000).map(|number| format!("k{number} = 1\n")).collect();
    let tables = "[[dataset]]\nimage_dir = \"p\"\nresolution = 1\nx = 2\n".repeat(20_000);
    for text in [keys, tables] {
        let errors = soon(|| Manifest::parse(Path::new("project.toml"), &text)).unwrap_err();
        let told = soon(|| report::diagnostics(&errors, &errors.path, Look::PLAIN));
        assert!(told.contains("more, of which the first ones may be the cause"), "{told}");
        assert!(told.contains("errors in project.toml"));
        assert!(told.len() < 1 << 20, "{} bytes of mistakes", told.len());
    }
    // A name that is as long as a file.
    let text = format!("{} = 1\n[{}]\n", "k".repeat(5_000_000), "t".repeat(5_000_000));
    let errors = soon(|| Manifest::parse(Path::new("project.toml"), &text)).unwrap_err();
    soon(|| report::diagnostics(&errors, &errors.path, Look::PLAIN));
}

#[test]
fn depth_in_json_is_refused_with_its_line() {
    let many = 1_000_000;
    for text in [
        format!("{{\"a\": {}", "[".repeat(many)),
        format!("{{\"a\": {{\"x\": {}1{}}}}}", "{\"a\":".repeat(many), "}".repeat(many)),
    ] {
        let read = soon(|| Metadata::parse(text.as_bytes(), Path::new("out/meta_data.json")));
        refused(read, &["out/meta_data.json", "line 1"]);
        let read =
            soon(|| TagTable::from_bytes(Path::new("tagger/tag_mapping.json"), text.as_bytes()));
        refused(read, &["tagger/tag_mapping.json", "line 1"]);
    }
}

#[test]
fn tags_that_act_are_refused_with_their_line() {
    let list = "tag_id,name,category\n1,good,0\n2,\"two\nlines\",0\n";
    refused(
        TagTable::from_bytes(Path::new("selected_tags.csv"), list.as_bytes()),
        &["line 3", "two\\u000alines"],
    );
    let list = "{\"0\": {\"tag\": \"\\u001b[2J\", \"category\": \"General\"}}";
    refused(TagTable::from_bytes(Path::new("tag_mapping.json"), list.as_bytes()), &["\\u001b[2J"]);
}

#[test]
fn the_longest_words_that_are_read_are_read_in_time_and_longer_ones_refused() {
    let tags: String = (0..200_000).map(|tag: u32| format!("{tag:x},")).collect();
    let tags = &tags[..1 << 20];
    let people = format!("2girls,{}", &tags[..(1 << 20) - 8]);
    let nested = "young ".repeat(170_000);
    let commas = ", ".repeat(1 << 19);
    let anime = format!("{}{}", "anime ".repeat(80_000), "cartoon ".repeat(60_000));
    let clean =
        MergeRules { clean_captions: true, clean_tags: true, lines: true, ..MergeRules::default() };
    for text in [tags, &people, &nested, &commas, &anime] {
        let text = soon(|| decode_text(text.as_bytes(), Path::new("a.caption"))).unwrap();
        for rules in [&MergeRules::default(), &clean] {
            soon(|| training_caption(Some(&text), Some(&text), rules));
        }
    }
    let longer = "a".repeat((1 << 20) + 1);
    refused(
        decode_text(longer.as_bytes(), Path::new("a.caption")),
        &["a.caption", "1048576 bytes at most"],
    );
}
