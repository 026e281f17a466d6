//! The tables of `docs/from-sd-scripts.md` are those that scripts are read by. `UPDATE_DOCS=1` writes them anew.

use std::{env, fs, path::Path};

const BEGIN: &str = "<!-- made by tests/house/import_page.rs -->\n";

#[test]
fn the_page_of_flags_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/from-sd-scripts.md");
    let text = fs::read_to_string(&path).unwrap();
    let (head, tables) = text.split_once(BEGIN).unwrap();
    let page = fluxpipe::migrate::page();
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{head}{BEGIN}{page}")).unwrap();
        return;
    }
    assert_eq!(
        tables, page,
        "docs/from-sd-scripts.md is stale: UPDATE_DOCS=1 cargo test --test house"
    );
}
