//! Training texts in a project whose words networks make.

use serde_json::Value;

use crate::Project;

/// What `captions --json` says of a picture.
#[track_caller]
fn captioned(project: &Project, picture: &str) -> Value {
    let listed = project.call(&["captions", "project.toml", "--json"]).exits(0);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let pictures = listed["pictures"].as_array().unwrap();
    pictures.iter().find(|found| found["item"] == picture).unwrap().clone()
}

#[test]
fn words_are_told_before_and_after_a_network_made_them() {
    let project = Project::fresh();
    project.replace("thresh = 0.5", "thresh = 0.5\ncaption_separator = \"; \"");
    project.file("words/coffee.caption", "a cup, by hand");
    let before = captioned(&project, "coffee.webp");
    let from = |picture: &Value, word: usize| {
        picture["words"][word]["from"]["kind"].as_str().unwrap().to_owned()
    };
    assert_eq!([from(&before, 0), from(&before, 1)], ["hand", "pending"]);
    assert_eq!(before["changed"], Value::Null);
    assert_eq!(before["texts"], Value::Array(Vec::new()));

    project.run().exits(0);
    let after = captioned(&project, "coffee.webp");
    assert_eq!([from(&after, 0), from(&after, 1)], ["hand", "model"]);
    assert_eq!(after["changed"], false);
    // Tags keep the separator of the stage that made them.
    let tags = project.read("words/coffee.txt");
    let expected = format!("a cup, by hand, small demo; {}", tags.trim());
    assert_eq!(after["texts"][0]["text"], expected.trim_end_matches("; "));

    project.file("words/coffee.txt", "cup; a, b ;cup\n");
    let edited = captioned(&project, "coffee.webp");
    assert_eq!([from(&edited, 1), edited["changed"].to_string()], ["hand", "true"]);
    assert_eq!(edited["texts"][0]["text"], "a cup, by hand, small demo; cup; a, b");
    assert_eq!(from(&captioned(&project, "clock.webp"), 0), "model");
}
