//! Sidecars: captions and tags, and what is made of them.

use std::path::Path;

use fluxpipe::dataset::{DatasetError, MergeRules, decode_text, training_caption};

use super::shuffle_lines;
use crate::{
    case::{Outcome, Reader},
    random::Random,
};

pub const SIDECARS: Reader = Reader {
    name: "sidecars",
    seeds,
    words: &[
        b", ",
        b",",
        b",,,,,,,,",
        b"\n",
        b"\r\n",
        b"\r",
        b"\t",
        b"\0",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\x1b]0;x\x07",
        b"\xe2\x80\xae",
        b"\xe2\x80\xa8",
        b"{caption}",
        b"{tags}",
        b"{",
        b"}",
        b"{{{{{{{{",
        b"(",
        b")",
        b"\\(",
        b"1girl",
        b"_",
        b"woman",
        b"  ",
        b"</script>",
        b"a_b",
        b"\xf0\x9f\x90\x88",
    ],
    shape,
    read,
};

fn seeds() -> Vec<Vec<u8>> {
    let many: String = (0..200).map(|tag| format!("tag_{tag}, ")).collect();
    [
        "a young woman with long hair",
        "\u{feff}a cat\r\non a mat, caf\u{e9} \u{1f408}\r\n",
        "1girl, solo, long_hair, :d, ^_^, blue eyes, (x_(y)), 2girls",
        "",
        &many,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn shape(random: &mut Random, input: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8_lossy(&input);
    if random.one_of(2) {
        return shuffle_lines(random, &text).into_bytes();
    }
    let mut tags: Vec<&str> = text.split(',').collect();
    let at = random.below(tags.len());
    match random.below(3) {
        0 => drop(tags.remove(at)),
        1 => tags = tags.repeat(1 + random.below(20)),
        _ => tags.insert(random.below(tags.len()), tags[at]),
    }
    tags.join(",").into_bytes()
}

fn read(input: &[u8]) -> Outcome {
    let read = || -> Result<(), DatasetError> {
        let text = decode_text(input, Path::new("a.caption"))?;
        let plain = MergeRules::default();
        let all = MergeRules {
            clean_captions: true,
            clean_tags: true,
            replace_tags: vec![["solo".to_owned(), "alone, one".to_owned()]],
            remove_tags: vec!["1girl".to_owned()],
            prepend_tags: vec!["style".to_owned()],
            append_tags: vec!["end".to_owned()],
            class_tokens: Some("thing".to_owned()),
            lines: true,
            ..MergeRules::default()
        };
        for rules in [plain, all] {
            let _ = training_caption(Some(&text), Some(&text), &rules);
            let _ = training_caption(None, Some(&text), &rules);
        }
        Ok(())
    };
    Outcome::of(read())
}
