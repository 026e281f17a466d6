//! `selected_tags.csv`, and the other form of the list.

use std::path::Path;

use fluxpipe::models::tagger::TagTable;

use super::{renumber, shuffle_lines};
use crate::{
    case::{Outcome, Reader},
    random::Random,
};

pub const SELECTED_TAGS: Reader = Reader {
    name: "selected_tags",
    seeds,
    words: &[
        b"tag_id,name,category,count\n",
        b",",
        b"\"",
        b"\"\"",
        b"\n",
        b"\r\n",
        b"\r",
        b"0",
        b"9",
        b"4",
        b"-1",
        b"\xff",
        b"\0",
        b"\x1b[2J",
        b"\xef\xbb\xbf",
        b"{\"0\":{\"tag\":\"",
        b"\"category\":\"General\"}",
        b"{",
        b"}",
        b"[[[[[[[[",
    ],
    shape,
    read,
};

fn seeds() -> Vec<Vec<u8>> {
    let csv = include_str!("../../fixtures/wd_tagger/selected_tags.csv");
    let quoted = "tag_id,name,category\n1,general,9\n2,\"a, \"\"b\"\"\",0\n3,\"two, parts\",4\n";
    let mapping = r#"{"0": {"tag": "1girl", "category": "General"}, "1": {"tag": "x", "category": "Rating"}}"#;
    // A first byte says which list it is.
    [format!("c{csv}"), format!("c{quoted}"), format!("m{mapping}")]
        .map(String::into_bytes)
        .to_vec()
}

fn shape(random: &mut Random, input: Vec<u8>) -> Vec<u8> {
    let Some((kind, text)) = input.split_first() else { return input };
    let text = String::from_utf8_lossy(text);
    let text = match random.one_of(2) {
        true => renumber(random, &text),
        false => shuffle_lines(random, &text),
    };
    [&[*kind][..], text.as_bytes()].concat()
}

fn read(input: &[u8]) -> Outcome {
    let (kind, text) = input.split_first().unwrap_or((&b'c', &[]));
    let name = if *kind == b'm' { TagTable::MAPPING } else { TagTable::FILE };
    Outcome::of(TagTable::from_bytes(Path::new(name), text))
}
