//! The schemas of what commands print with `--json` are those of the types that are printed.
//! `UPDATE_SCHEMAS=1 cargo test --release --test house` writes them anew.

use std::{collections::BTreeSet, fs, path::Path};

use fluxpipe::report::schemas;

#[test]
fn schemas_of_what_is_printed_are_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let mut made = BTreeSet::from(["manifest.schema.json".to_owned()]);
    for (name, schema) in schemas() {
        let path = folder.join(name);
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let stored = fs::read_to_string(&path).unwrap_or_default();
        assert!(stored == text, "schemas/{name} is out of date: run with UPDATE_SCHEMAS=1");
        made.insert(name.to_owned());
    }
    let there = fs::read_dir(folder).unwrap();
    let there = there.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(there.collect::<BTreeSet<_>>(), made);
}
