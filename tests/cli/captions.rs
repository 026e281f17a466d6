//! Training texts: what the merge stage makes of words that people and files hold, as `fluxpipe captions`
//! lists it and `run` stores it.

use fluxpipe::report;
use serde_json::{Value, json};

use crate::{Project, schema::assert_valid};

const PICTURES: [&str; 3] = ["a.png", "b.png", "c.png"];

/// A project that merges; `dataset` and `merge` are more lines of these tables.
fn project(dataset: &str, merge: &str) -> Project {
    let project = Project::with_manifest(&manifest(dataset, merge));
    for (seed, picture) in PICTURES.iter().enumerate() {
        project.picture(&format!("pictures/{picture}"), (64, 48), seed as u8);
    }
    project
}

fn manifest(dataset: &str, merge: &str) -> String {
    format!(
        "[project]\nname = \"small\"\noutput = \"out\"\ndevice = \"cpu\"\n\n\
         [[dataset]]\nimage_dir = \"pictures\"\nresolution = 64\nmin_bucket_reso = 32\n\
         bucket_reso_steps = 16\n{dataset}\n\n[stages.merge]\n{merge}\n"
    )
}

impl Project {
    /// What `captions --json` says.
    #[track_caller]
    fn captions(&self, more: &[&str]) -> Value {
        let args = [&["captions", "project.toml", "--json"], more].concat();
        let listed = self.run(&args).exits(0).json();
        assert_valid(&report::schema("captions").unwrap(), &listed);
        listed
    }

    /// The texts of a picture.
    #[track_caller]
    fn texts(&self, picture: &str) -> Vec<String> {
        let listed = self.captions(&[]);
        let pictures = listed["pictures"].as_array().unwrap();
        let found = pictures.iter().find(|found| found["item"] == picture).unwrap();
        let texts = found["texts"].as_array().unwrap().iter();
        texts.map(|text| text["text"].as_str().unwrap().to_owned()).collect()
    }

    /// How many items of the merge stage a run makes.
    #[track_caller]
    fn merged(&self) -> u64 {
        let events = self.run(&["run", "project.toml", "--json"]).exits(0).json_lines();
        events.last().unwrap()["stages"][0]["items"]["run"].as_u64().unwrap()
    }

    fn metadata(&self) -> Value {
        serde_json::from_str(&self.read("out/meta_data.json")).unwrap()
    }
}

fn names(listed: &Value) -> Vec<&str> {
    let pictures = listed["pictures"].as_array().unwrap().iter();
    pictures.map(|picture| picture["item"].as_str().unwrap()).collect()
}

#[test]
fn texts_are_listed_before_and_after_a_run() {
    let project = project("", "prepend_tags = [\"sks\"]\nappend_tags = [\"best\"]");
    project.file("pictures/a.caption", "a cat\n");
    project.file("pictures/a.txt", "cat, black");
    project.file("pictures/b.txt", "dog");
    let listed = project.captions(&[]);
    assert_eq!(names(&listed), PICTURES);
    let first = &listed["pictures"][0];
    assert_eq!(first["texts"][0]["text"], "a cat, sks, cat, black, best");
    assert_eq!(first["words"][0]["from"]["kind"], "hand");
    assert_eq!(first["words"][1]["text"], "cat, black");
    assert_eq!(first["rules"], json!(["append_tags", "prepend_tags"]));
    assert_eq!(listed["pictures"][1]["words"][0]["from"]["kind"], "nothing");
    assert_eq!(names(&project.captions(&["--changed"])), PICTURES, "all are new");

    assert_eq!(project.merged(), 3);
    assert_eq!(
        project.metadata()["a"],
        json!({"caption": "a cat", "tags": "sks, cat, black, best"})
    );
    assert_eq!(names(&project.captions(&["--changed"])), Vec::<&str>::new());
    project.file("pictures/b.txt", "dog, brown");
    // A line end is no other text.
    project.file("pictures/a.caption", "a cat\r\n");
    assert_eq!(names(&project.captions(&["--changed"])), ["b.png"]);
    assert_eq!(names(&project.captions(&["--filter", "BROWN"])), ["b.png"]);
    assert_eq!(names(&project.captions(&["--limit", "2"])), ["a.png", "b.png"]);
    insta::assert_snapshot!("captions", project.run(&["captions", "project.toml"]).seen());
}

#[test]
fn what_an_encoder_does_not_read_is_shown() {
    let project = project("", "");
    project.file("pictures/a.caption", format!("{}the end", "word ".repeat(74)));
    project.file("pictures/b.caption", "short");
    let listed = project.captions(&["--cut"]);
    assert_eq!(names(&listed), ["a.png"]);
    let text = &listed["pictures"][0]["texts"][0];
    assert_eq!(text["clip"], json!({"tokens": 78, "cut": "end"}));
    assert_eq!(text["t5"]["cut"], Value::Null);
    let told = project.run(&["captions", "project.toml", "--cut"]).exits(0).stdout;
    assert!(told.contains("CLIP does not read: end"), "{told}");
}

#[test]
fn sidecars_of_all_sorts_make_one_line() {
    let project = project("keep_tokens_separator = \"|||\"", "");
    project.file("pictures/a.caption", "\u{feff}a caf\u{e9}\r\nby night \r\n");
    project.file("pictures/a.txt", "猫,\r\n,😀\n");
    project.file("pictures/b.caption", "");
    project.file("pictures/b.txt", "sks ||| a, b");
    project.file("pictures/c.caption", " \n\n");
    assert_eq!(project.texts("a.png"), ["a caf\u{e9} by night, 猫, 😀"]);
    assert_eq!(project.texts("b.png"), ["sks, a, b"]);
    assert_eq!(project.texts("c.png"), [""]);
    project.file("pictures/c.caption", b"caf\xe9");
    let told = project.run(&["captions", "project.toml"]).exits(0).stdout;
    assert!(told.contains("left out: pictures/c.caption is not UTF-8"), "{told}");
    assert!(told.contains("3 pictures") && told.contains("1 left out"), "{told}");
}

#[test]
fn drawn_texts_are_named_by_content_and_seed() {
    let rules = "shuffle_caption = true\nkeep_tokens = 1\ncaption_variants = 4";
    let project = project(rules, "");
    let tags = ["sks", "a", "b", "c", "d", "e", "f"];
    for picture in PICTURES {
        project.file(&format!("pictures/{}", picture.replace("png", "txt")), tags.join(", "));
    }
    let texts = project.texts("a.png");
    assert_eq!(texts.len(), 4);
    for text in &texts {
        let mut parts: Vec<_> = text.split(", ").collect();
        assert_eq!(parts[0], "sks");
        parts[1..].sort_unstable();
        assert_eq!(parts, tags);
    }
    assert!(texts.iter().any(|text| *text != texts[0]), "{texts:?}");
    // Equal words are drawn equally, wherever they stand.
    assert_eq!(project.texts("c.png"), texts);
    assert_eq!(project.merged(), 1, "three equal items are one");
    for ending in ["png", "txt"] {
        let (from, to) = (format!("pictures/a.{ending}"), format!("pictures/z.{ending}"));
        std::fs::rename(project.path(from), project.path(to)).unwrap();
    }
    assert_eq!((project.merged(), project.texts("z.png")), (0, texts.clone()));

    project.file("project.toml", manifest(rules, "seed = 7"));
    assert_ne!(project.texts("z.png"), texts);
    assert_eq!(project.merged(), 1);
    // As it was: nothing is drawn again.
    project.file("project.toml", manifest(rules, "seed = 42"));
    assert_eq!((project.merged(), project.texts("z.png")), (0, texts));
}

#[test]
fn lines_and_wildcards_are_drawn_and_a_warm_up_goes_on() {
    let project = project("enable_wildcard = true\ncaption_variants = 32", "");
    project.file("pictures/a.caption", "a {cat|dog}\na bird\n");
    project.file("pictures/a.txt", "x, y");
    let mut texts = project.texts("a.png");
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts, ["a bird, x, y", "a cat, x, y", "a dog, x, y"]);

    let rules = "token_warmup_step = 0.5\ntoken_warmup_min = 1\ncaption_variants = 4";
    project.file("project.toml", manifest(rules, ""));
    project.file("pictures/a.caption", "k");
    assert_eq!(project.texts("a.png"), ["k", "k, x", "k, x, y", "k, x, y"]);
}

#[test]
fn rules_of_one_dataset_leave_the_other_alone() {
    let more = "\n[[dataset]]\nimage_dir = \"more\"\nresolution = 64\nmin_bucket_reso = 32\n\
                bucket_reso_steps = 16\n";
    let two = |rule: &str| manifest(&format!("{rule}\n{more}"), "full_path = true");
    let project = project("", "");
    project.picture("more/d.png", (64, 64), 9);
    for text in ["pictures/a.txt", "pictures/b.txt", "more/d.txt"] {
        project.file(text, format!("tag of {text}"));
    }
    project.file("project.toml", two(""));
    assert_eq!(project.merged(), 4);
    project.file("project.toml", two("caption_prefix = \"photo of\"\nclass_tokens = \"thing\""));
    assert_eq!(project.merged(), 3);
    assert_eq!(project.texts("a.png"), ["photo of tag of pictures/a.txt"]);
    assert_eq!(project.texts("c.png"), ["photo of thing"]);
    assert_eq!(project.texts("1/d.png"), ["tag of more/d.txt"]);
    project.file("project.toml", two(""));
    assert_eq!(project.merged(), 0);
}

#[test]
fn a_metadata_file_gives_words_and_keeps_what_else_it_holds() {
    let project = project("", "in_json = \"old.json\"");
    project.file("pictures/a.caption", "by hand");
    project.file(
        "old.json",
        r#"{"gone": {"caption": "x"}, "a": {"caption": "old", "tags": "t, t", "train_resolution": [64, 64]},
            "pictures/b.png": {"caption": "from the file", "note": 1}}"#,
    );
    assert_eq!(project.texts("a.png"), ["by hand, t"]);
    assert_eq!(project.texts("b.png"), ["from the file"]);
    let from = &project.captions(&[])["pictures"][1]["words"][0]["from"];
    assert_eq!(from["kind"], "in_json");

    let events = project.run(&["run", "project.toml", "--json"]).exits(0).json_lines();
    let warned: Vec<_> = events.iter().filter(|event| event["event"] == "warning").collect();
    let unknown = warned.iter().find(|event| event["code"] == "fluxpipe::merge::unknown_pictures");
    assert_eq!(unknown.unwrap()["examples"], json!(["gone"]));
    assert_valid(&report::schema("event").unwrap(), unknown.unwrap());
    let expected = r#"{
  "gone": {
    "caption": "x"
  },
  "a": {
    "caption": "by hand",
    "tags": "t",
    "train_resolution": [
      64,
      64
    ]
  },
  "pictures/b.png": {
    "caption": "from the file",
    "note": 1
  },
  "c": {}
}"#;
    assert_eq!(project.read("out/meta_data.json"), expected);

    // One entry is one item; what no picture reads is none.
    project.file("old.json", project.read("old.json").replace("from the file", "anew"));
    assert_eq!(project.merged(), 1);
    project.file("old.json", project.read("old.json").replace("\"x\"", "\"y\""));
    assert_eq!(project.merged(), 0);
    assert_eq!(project.metadata()["gone"]["caption"], "y");
}

#[test]
fn lines_of_json_go_in_and_out() {
    let project = project("", "in_json = \"old.jsonl\"\nout_json = \"new.jsonl\"");
    let line = "{\"image_path\":\"pictures/a.png\",\"caption\":\"a\",\"image_size\":[64,48]}\n";
    project.file("old.jsonl", line);
    project.merged();
    let written = project.read("out/new.jsonl");
    assert!(written.starts_with(line), "{written}");
    assert_eq!(written.lines().count(), 3);

    project.file(
        "project.toml",
        manifest("", "in_json = \"out/new.jsonl\"\nout_json = \"new.jsonl\""),
    );
    let told = project.run(&["plan", "project.toml"]).exits(2).stderr;
    assert!(told.contains("fluxpipe::manifest::conflict"), "{told}");
    project.file("project.toml", manifest("", "in_json = \"odl.jsonl\""));
    let told = project.run(&["plan", "project.toml"]).exits(3).stderr;
    assert!(told.contains("did you mean `old.jsonl`"), "{told}");
    project.file("project.toml", manifest("", "in_json = \"old.jsonl\""));
    project.file("old.jsonl", "{}");
    let told = project.run(&["plan", "project.toml"]).exits(1).stderr;
    assert!(told.contains("line 1: it has no `image_path`"), "{told}");
}

#[test]
fn pictures_without_words_are_warned_of_with_the_likely_cause() {
    let project = project("", "");
    project.file("pictures/a.caption", "a cat");
    project.file("pictures/b.text", "in the wrong place");
    let plan = project.run(&["plan", "project.toml", "--json"]).exits(0).json();
    assert_valid(&report::schema("plan").unwrap(), &plan);
    let warning = &plan["stages"][0]["warnings"][0];
    assert_eq!(warning["code"], "fluxpipe::merge::empty_text");
    assert_eq!(warning["examples"], json!(["b.png", "c.png"]));
    assert!(warning["help"].as_str().unwrap().contains(".text"), "{warning}");
    let told = project.run(&["run", "project.toml"]).exits(0).stdout;
    assert!(told.contains("2 pictures are trained on an empty text: b.png, c.png"), "{told}");
    insta::assert_snapshot!("plan-empty-text", project.run(&["plan", "project.toml"]).seen());
    let told = project.run(&["check", "project.toml"]).exits(0).stdout;
    assert!(told.contains("2 pictures are trained on an empty text"), "{told}");

    project.file("project.toml", manifest("class_tokens = \"cat\"", ""));
    let plan = project.run(&["plan", "project.toml", "--json"]).exits(0).json();
    assert_eq!(plan["stages"][0]["warnings"], json!([]));
}

#[test]
fn captions_by_hand_have_the_ending_that_the_dataset_says() {
    let project = project("caption_extension = \".txt\"", "append_tags = [\"x\"]");
    project.file("pictures/a.txt", "A cat, a cat. On a mat");
    project.file("pictures/a.caption", "not read");
    project.file("pictures/b.caption", "not read");
    assert_eq!(project.texts("a.png"), ["A cat, a cat. On a mat, x"]);
    let listed = project.captions(&[]);
    let words = &listed["pictures"][0]["words"];
    assert_eq!([&words[0]["from"]["kind"], &words[1]["from"]["kind"]], ["hand", "nothing"]);
    project.file("project.toml", manifest("caption_extension = \".txt\"", ""));
    let told = project.run(&["plan", "project.toml"]).exits(0).stdout;
    assert!(told.contains("end in .caption; captions are read from .txt: rename"), "{told}");

    let tags = "\n[stages.tag]\n[models]\ntagger = \"tagger\"\n";
    project.file("project.toml", manifest("caption_extension = \".txt\"", "") + tags);
    let told = project.run(&["plan", "project.toml"]).exits(2).stderr;
    assert!(told.contains("captions would be read from *.txt, where `tag` writes tags"), "{told}");
    let label = "\n[stages.label]\n[models]\nblip = \"blip\"\n";
    project.file("project.toml", manifest("caption_extension = \".txt\"", "") + label);
    let told = project.run(&["plan", "project.toml"]).exits(2).stderr;
    assert!(told.contains("the stage `label` makes the captions"), "{told}");
    project.file("project.toml", manifest("caption_extension = \".png\"", ""));
    project.run(&["plan", "project.toml"]).exits(2);
}

#[test]
fn names_that_cannot_be_written_are_told_before_any_work() {
    let project = project("recursive = true", "");
    project.picture("pictures/sub/a.png", (64, 48), 7);
    for command in ["check", "plan", "run"] {
        let told = project.run(&[command, "project.toml"]).exits(2);
        let shared = told.stderr.contains("fluxpipe::dataset::shared_key");
        assert!(shared, "{command} {}", told.stderr);
        assert!(!told.stdout.contains("Written") && !told.stdout.contains("made 1"), "{command}");
    }
    project.file("project.toml", manifest("recursive = true", "full_path = true"));
    project.merged();
    let (metadata, path) = (project.metadata(), project.path("pictures/sub/a.png"));
    assert!(metadata.get(path.to_str().unwrap()).is_some(), "{metadata}");
}

#[test]
fn what_is_written_is_found_again() {
    let project = project("recursive = true", "");
    project.picture("pictures/sub/e.png", (64, 48), 7);
    project.file("pictures/sub/e.txt", "below");
    project.merged();
    std::fs::remove_file(project.path("pictures/sub/e.txt")).unwrap();
    std::fs::copy(project.path("out/meta_data.json"), project.path("old.json")).unwrap();
    let read = "in_json = \"old.json\"\nout_json = \"new.jsonl\"";
    project.file("project.toml", manifest("recursive = true\nclass_tokens = \"thing\"", read));
    assert_eq!(project.texts("sub/e.png"), ["below"]);
    assert_eq!(project.texts("a.png"), ["thing"]);
    project.merged();
    // What stands in for a caption is none.
    assert!(!project.read("out/new.jsonl").contains("thing"));
    std::fs::remove_file(project.path("old.json")).unwrap();
    project.file("project.toml", manifest("recursive = true", "out_json = \"new.jsonl\""));
    project.merged();
    for line in project.read("out/new.jsonl").lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let path = std::path::Path::new(line["image_path"].as_str().unwrap());
        assert!(path.is_absolute() && path.is_file(), "{line}");
    }
}

#[test]
fn drawn_texts_repeat_only_where_there_are_no_others() {
    let project = project("enable_wildcard = true\ncaption_variants = 6", "");
    project.file("pictures/a.caption", "one\ntwo");
    project.file("pictures/b.caption", "{a|b|c|d|e|f}");
    project.file("pictures/c.caption", "always");
    let sorted = |picture: &str| {
        let mut texts = project.texts(picture);
        texts.sort_unstable();
        texts
    };
    assert_eq!(sorted("a.png"), ["one", "one", "one", "two", "two", "two"]);
    assert_eq!(sorted("b.png"), ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(sorted("c.png"), ["always"; 6]);
}

#[test]
fn only_keys_that_change_a_text_are_named() {
    let rules = "shuffle_caption = true\ncaption_prefix = \"photo\"\nclass_tokens = \"cat\"";
    let project = project(rules, "remove_tags = [\"solo\"]");
    project.file("pictures/a.caption", "one part");
    project.file("pictures/b.txt", "a, b, c, d, e, solo");
    let listed = project.captions(&[]);
    let by = |index: usize| listed["pictures"][index]["rules"].clone();
    assert_eq!(by(0), json!(["caption_prefix"]));
    assert_eq!(by(1), json!(["remove_tags", "caption_prefix", "shuffle_caption"]));
    assert_eq!(by(2), json!(["caption_prefix", "class_tokens"]));
    let told = project.run(&["captions", "project.toml"]).exits(0).stdout;
    assert!(told.contains("3 not made yet") && !told.contains("changed"), "{told}");

    project.file("pictures/a.caption", "many words ".repeat(30));
    let told = project.run(&["captions", "project.toml"]).exits(0).stdout;
    assert!(told.lines().all(|line| line.chars().count() <= 100), "{told}");
}

#[test]
fn mistakes_about_words_are_told_at_their_line() {
    let project = project("", "remove_tags = [\"watermark, solo\"]");
    let told = project.run(&["plan", "project.toml"]).exits(2).stderr;
    assert!(told.contains("must be one tag, without `,`"), "{told}");
    project.file("project.toml", manifest("", "template = \"\""));
    let told = project.run(&["plan", "project.toml"]).exits(2).stderr;
    assert!(told.contains("must be a text that is not empty"), "{told}");
    project.file("project.toml", manifest("sidecars = \"nope\"", ""));
    let told = project.run(&["plan", "project.toml"]).exits(0).stdout;
    assert!(told.contains("there is no folder nope"), "{told}");

    project.file("project.toml", manifest("", "in_json = \"old.json\""));
    for (text, help) in [
        ("{\"a\": {}", "the end of it is missing"),
        ("{\"a\": {}, \"a\": {}}", "take one of the two out"),
        ("{\"a\": {\"caption\": 3}}", "write words as one text"),
    ] {
        project.file("old.json", text);
        let told = project.run(&["check", "project.toml"]).exits(1).stderr;
        assert!(told.contains(help) && told.contains("named here"), "{told}");
    }
    project.file("old.json", "{}");
    project.file("pictures/a.caption", b"caf\xe9");
    let told = project.run(&["check", "project.toml"]).exits(1).stderr;
    assert!(told.contains("a.caption is not UTF-8"), "{told}");
}

#[test]
fn without_a_merge_stage_there_are_no_texts() {
    let project = project("", "");
    let told = project.run(&["captions", "project.toml", "--stage", "other"]).exits(2).stderr;
    assert!(told.contains("there is no merge stage `other`"), "{told}");
}
