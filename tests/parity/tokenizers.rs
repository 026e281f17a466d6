//! Packs `tokenizers` and `tokenizer_bert`: ids and texts must be equal, not close.

use fluxpipe::models::tokenizer::{BertTokenizer, ClipTokenizer, T5Tokenizer, Tokens};
use serde_json::Value;

use super::pack::Pack;

fn ids(value: &Value) -> Vec<u32> {
    let numbers = value.as_array().expect("a list of ids").iter();
    numbers.map(|id| u32::try_from(id.as_u64().expect("an id")).expect("an id")).collect()
}

fn texts(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let cases = value.as_array().expect("a list of cases");
    assert!(!cases.is_empty(), "the pack holds no case");
    cases.iter().map(|case| (case["text"].as_str().expect("a text"), case))
}

/// The pack stores ids without padding. An id of the text that equals the padding looks the same.
#[track_caller]
fn assert_tokens(what: &str, found: &Tokens, expected: &[u32], padding: u32, length: usize) {
    assert_eq!(found.ids.len(), length, "{what}: length");
    assert_eq!(&found.ids[..expected.len()], expected, "{what}");
    assert!(found.ids[expected.len()..].iter().all(|&id| id == padding), "{what}: padding");
}

#[test]
fn clip_ids_are_the_reference_s() {
    for pack in Pack::of_kind("tokenizers") {
        let padding = pack.manifest["clip_pad_id"].as_u64().expect("clip_pad_id");
        let padding = u32::try_from(padding).expect("an id");
        assert_eq!(padding, ClipTokenizer::END);
        for (text, case) in texts(&pack.json("prompts.json")) {
            let found = ClipTokenizer::encode(text);
            let what = format!("CLIP of {text:?}");
            assert_tokens(&what, &found, &ids(&case["clip"]), padding, ClipTokenizer::LENGTH);
            let untruncated = (found.real + found.cut) as u64;
            assert_eq!(Some(untruncated), case["clip_untruncated_len"].as_u64(), "{what}");
        }
    }
}

#[test]
fn t5_ids_are_the_reference_s() {
    for pack in Pack::of_kind("tokenizers") {
        for (text, case) in texts(&pack.json("prompts.json")) {
            for (name, length) in [("t5_512", 512), ("t5_256", 256)] {
                // The shorter form is stored only where it differs.
                let expected = ids(case.get(name).unwrap_or(&case["t5_512"]));
                let found = T5Tokenizer::encode(text, length);
                let what = format!("{name} of {text:?}");
                assert_tokens(&what, &found, &expected, T5Tokenizer::PADDING, length);
                assert_eq!(found.real, expected.len(), "{what}: the mask");
            }
        }
    }
}

#[test]
fn bert_ids_are_the_reference_s() {
    for pack in Pack::of_kind("tokenizer_bert") {
        for (text, case) in texts(&pack.json("bert.json")["encode"]) {
            assert_eq!(BertTokenizer::encode(text), ids(&case["ids"]), "{text:?}");
        }
    }
}

#[test]
fn bert_texts_are_the_reference_s() {
    for pack in Pack::of_kind("tokenizer_bert") {
        for (text, case) in texts(&pack.json("bert.json")["decode"]) {
            assert_eq!(BertTokenizer::decode(&ids(&case["ids"])), text, "{:?}", case["ids"]);
        }
    }
}
