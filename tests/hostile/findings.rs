//! What was found once: `findings/READER/NAME`, with a line each in `findings/README.md` that says what it did.

use std::{fs, path::Path};

use crate::{
    case::{self, Seen},
    readers,
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hostile/findings");

#[test]
fn what_was_found_is_found_no_more() {
    let list = fs::read_to_string(Path::new(FOLDER).join("README.md")).unwrap();
    let mut read = 0;
    for reader in readers::ALL {
        let Ok(files) = fs::read_dir(Path::new(FOLDER).join(reader.name)) else { continue };
        for file in files {
            let path = file.unwrap().path();
            let name = path.strip_prefix(FOLDER).unwrap().to_str().unwrap();
            assert!(list.contains(&format!("| `{name}` |")), "README.md does not tell of {name}");
            let input = fs::read(&path).unwrap();
            let found = case::check(reader, &input, read, &mut Seen::default());
            assert_eq!(found, Ok(()), "{name}");
            read += 1;
        }
    }
    assert_eq!(
        list.matches("\n| `").count() as u64,
        read,
        "README.md tells of a file that is gone"
    );
}
