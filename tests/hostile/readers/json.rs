//! `meta_data.json`, and changes of JSON as a tree.

use std::path::Path;

use fluxpipe::dataset::{DatasetError, Entry, Metadata};
use serde_json::{Map, Value, json};

use crate::{
    case::{Outcome, Reader},
    random::Random,
};

pub const META_DATA: Reader = Reader {
    name: "meta_data",
    seeds,
    words: &[
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"",
        b"\\u0000",
        b"\\ud83d",
        b"\\ud800\\udc00",
        b"\"caption\":",
        b"\"tags\":",
        b"\"image_path\":",
        b"null",
        b"true",
        b"-0",
        b"1e400",
        b"0.1e-5",
        b"\x1b[2J",
        b"</script>",
        b"\n",
        b"\xef\xbb\xbf",
        b"[[[[[[[[[[[[[[[[",
        b"{\"a\":{\"a\":{\"a\":",
    ],
    shape,
    read,
};

fn seeds() -> Vec<Vec<u8>> {
    let entries = json!({
        "img1": {"caption": "a young woman with long hair", "tags": "1girl, solo"},
        "sub/img 2": {"caption": "a cat\non a mat", "train_resolution": [512, 768]},
        "\u{56fe}\u{7247} 3": {"tags": "caf\u{e9}, \u{1f408}", "note": null, "size": 1.5},
    });
    let many: Map<String, Value> =
        (0..40).map(|index| (format!("n{index}"), json!({"caption": "x"}))).collect();
    let lines = "{\"image_path\": \"a.png\", \"caption\": \"x\"}\n{\"image_path\": \"b.png\"}\n";
    let seeds = [entries.to_string(), Value::from(many).to_string(), "{}".to_owned()];
    // A first byte says whether it is a file of lines.
    let seeds = seeds.iter().map(|text| format!("j{text}")).chain([format!("l{lines}")]);
    seeds.map(String::into_bytes).collect()
}

fn shape(random: &mut Random, input: Vec<u8>) -> Vec<u8> {
    let Some((kind, text)) = input.split_first() else { return input };
    let Ok(mut value) = serde_json::from_slice::<Value>(text) else { return input };
    change(random, &mut value);
    [&[*kind][..], value.to_string().as_bytes()].concat()
}

fn read(input: &[u8]) -> Outcome {
    let (kind, text) = input.split_first().unwrap_or((&b'j', &[]));
    let path = Path::new(if *kind == b'l' { "meta_data.jsonl" } else { "meta_data.json" });
    let read = || -> Result<(), DatasetError> {
        let metadata = Metadata::parse(text, path)?;
        // What is carried on into another file must be read back the same.
        let written = match Metadata::is_lines(path) {
            true => metadata.to_json_lines(),
            false => metadata.to_json(),
        };
        let again = Metadata::parse(written.as_bytes(), path)?;
        assert!(again.entries().map(words).eq(metadata.entries().map(words)), "words changed");
        Ok(())
    };
    Outcome::of(read())
}

/// What must come back: fractions may differ in their last digit.
fn words<'a>((key, entry): (&'a str, &'a Entry)) -> (&'a str, [Option<&'a str>; 2]) {
    (key, ["caption", "tags"].map(|field| entry.text(field)))
}

/// Changes one value of a tree, or a name in it.
pub fn change(random: &mut Random, value: &mut Value) {
    // Deeper with two chances of three.
    match value {
        Value::Array(values) if !values.is_empty() && !random.one_of(3) => {
            let at = random.below(values.len());
            return change(random, &mut values[at]);
        }
        Value::Object(fields) if !fields.is_empty() && !random.one_of(3) => {
            let at = random.below(fields.len());
            if let Some((_, value)) = fields.iter_mut().nth(at) {
                return change(random, value);
            }
        }
        _ => {}
    }
    match value {
        Value::Array(values) if random.one_of(2) => match random.below(3) {
            0 => drop(values.pop()),
            1 => values.push(other(random)),
            _ => *values = vec![values.clone(); random.below(9)].concat(),
        },
        Value::Object(fields) if random.one_of(2) => {
            let name = fields.keys().nth(random.below(fields.len())).cloned().unwrap_or_default();
            let old =
                if random.one_of(2) { fields.remove(&name) } else { fields.get(&name).cloned() };
            let new = match random.below(4) {
                0 => format!("{name}.weight"),
                1 => "\u{1b}[2J\n".to_owned(),
                2 => "../../x".to_owned(),
                _ => "x".repeat(random.below(300)),
            };
            fields.insert(new, old.unwrap_or_default());
        }
        _ => *value = other(random),
    }
}

fn other(random: &mut Random) -> Value {
    match random.below(9) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(random.edge()),
        3 => json!(-(random.below(1000) as i64)),
        4 => json!(f64::from_bits(random.next())),
        5 => json!(["F32", "F64", "U8", "F8_E5M2", "", "\u{0}", "\u{202e}"][random.below(7)]),
        6 => json!([random.edge(), random.edge()]),
        7 => {
            let depth = 1 << random.below(8);
            (0..depth).fold(json!(0), |inside, _| json!([inside]))
        }
        _ => json!({}),
    }
}
