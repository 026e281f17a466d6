//! All calls to the disk that read, write, rename or remove go through `base/disk`, where tests can make
//! them fail: nothing else may make them.

use crate::layers::files;

/// What stands in the code where the disk is touched past that place.
const PAST: [&str; 16] = [
    "fs_err",
    "fs::read(",
    "fs::read_to_string(",
    "fs::read_dir(",
    "fs::write(",
    "fs::rename(",
    "fs::copy(",
    "fs::hard_link(",
    "fs::remove_",
    "fs::create_dir",
    "fs::set_permissions(",
    "File::open(",
    "File::create",
    "OpenOptions",
    "Mmap::map(",
    "tempfile::",
];

/// Who may, and why.
const MAY: [(&[&str], &str); 5] = [
    (&["base"], "it is that place"),
    (&["device"], "asks the system what it offers, in files that are no user's"),
    (&["cli", "bench"], "networks to measure, in a folder that is gone afterwards"),
    (&["cli", "generate"], "texts of prompts, in a folder that is gone afterwards"),
    (&["pipeline", "fake"], "a stage for tests, which makes a file as a stage would"),
];

#[test]
fn the_disk_is_touched_in_one_place() {
    let mut past = Vec::new();
    let mut used = [false; MAY.len()];
    for file in files() {
        let is_test = |name: &String| name == "tests" || name.ends_with("_tests");
        if file.module.iter().any(is_test) {
            continue;
        }
        let code = file.body.replace("disk::File::", "");
        let found: Vec<_> = PAST.iter().filter(|word| code.contains(**word)).collect();
        if found.is_empty() {
            continue;
        }
        let begins = |(path, _): &(&[&str], &str)| {
            file.module.len() >= path.len() && path.iter().zip(&file.module).all(|(a, b)| a == b)
        };
        match MAY.iter().position(begins) {
            Some(allowed) => used[allowed] = true,
            None => past.push(format!("{}: {found:?}", file.path.display())),
        }
    }
    assert!(past.is_empty(), "these go past base/disk:\n{}", past.join("\n"));
    assert_eq!(used, [true; MAY.len()], "an exception that nobody needs");
}
