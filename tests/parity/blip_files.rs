//! Packs `blip_tiny` and `blip_transformers`: one captioner in every kind of file that people have, at
//! other picture sizes, and what transformers makes of it.

use std::{collections::BTreeMap, path::Path};

use fluxpipe::{
    models::blip::{GenerateSettings, Sampling},
    weights::{Checkpoint, Entry, Writer},
};

use super::{
    blip::{Case, floats, load, numbers, weights_name},
    device::{absolute_bound, texts_turn_on_the_last_digits},
    pack::{Pack, assert_close, difference},
};

const WORDS: &str = "text_decoder.bert.embeddings.word_embeddings.weight";
const DECODER: &str = "text_decoder.cls.predictions.decoder.weight";

/// The captioner of `case` as a safetensors file: each tensor under the names that `names` gives it,
/// those of the last layer with the bytes that `decoder` makes of its own.
fn rewritten(
    case: &Case,
    names: impl Fn(&str) -> Vec<String>,
    decoder: impl Fn(Vec<u8>) -> Vec<u8>,
) -> Checkpoint {
    let source = case.pack.tensors(&weights_name(&case.pack));
    let pairs = source.names().flat_map(|old| names(old).into_iter().map(move |new| (old, new)));
    let pairs = pairs.collect::<Vec<_>>();
    let entries = pairs.iter().map(|(old, new)| {
        let info = source.info(old).expect("invariant: a name of the file").clone();
        Entry { name: new.clone(), dtype: info.dtype, shape: info.shape }
    });
    let entries = entries.collect::<Vec<_>>();
    let mut writer = Writer::new(Vec::new(), &entries, &BTreeMap::new()).expect("a header");
    for (old, new) in &pairs {
        let bytes = source.bytes(old).expect("bytes").into_owned();
        let bytes = if new == DECODER { decoder(bytes) } else { bytes };
        writer.tensor(&bytes).expect("written");
    }
    let bytes = writer.finish().expect("written");
    Checkpoint::from_bytes(Path::new("rewritten"), bytes).unwrap_or_else(|error| panic!("{error}"))
}

/// Without the second names of the tied tensors: safetensors does not share.
fn once(name: &str) -> Vec<String> {
    let second = name.contains(".predictions.decoder.");
    if second { Vec::new() } else { vec![name.to_owned()] }
}

/// The word embeddings also as the last layer.
fn twice(name: &str) -> Vec<String> {
    let mut names = once(name);
    if name == WORDS {
        names.push(DECODER.to_owned());
    }
    names
}

#[test]
fn the_same_weights_as_safetensors_write_the_same() {
    for case in Case::all() {
        let files = [once, twice].map(|names| rewritten(&case, names, |bytes| bytes));
        assert!(files[0].names().count() < files[1].names().count());
        for file in files {
            let blip = load(&case.pack, &file);
            let pictures = || case.tensor::<4>("pixel_values");
            let vision = floats(blip.vision(pictures()));
            assert_eq!(vision, floats(case.blip.vision(pictures())));
            let settings = GenerateSettings { num_beams: 3, ..GenerateSettings::default() };
            let expected = case.blip.caption(pictures(), &settings);
            assert_eq!(blip.caption(pictures(), &settings), expected);
        }
    }
}

/// Logits of the token behind the prompt for each picture, without their bias.
fn logits(case: &Case, weights: &Checkpoint) -> Vec<f32> {
    let blip = load(&case.pack, weights);
    let pictures = blip.vision(case.tensor("pixel_values"));
    let mut state = blip.text_decoder.begin(&pictures);
    let x = blip.text_decoder.forward(case.ids("prompt_ids"), &mut state);
    let last = x.dims()[1] - 1;
    let logits = blip.text_decoder.logits(x.narrow(1, last, 1).squeeze_dim(1));
    floats(logits - blip.text_decoder.bias.val().unsqueeze())
}

#[test]
fn a_last_layer_apart_from_the_word_embeddings_is_used() {
    for case in Case::all() {
        let doubled = |bytes: Vec<u8>| -> Vec<u8> {
            let values = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            values.flat_map(|value| (2.0 * value).to_le_bytes()).collect()
        };
        let tied = logits(&case, &rewritten(&case, twice, |bytes| bytes));
        let apart = logits(&case, &rewritten(&case, twice, doubled));
        let expected = tied.iter().map(|logit| 2.0 * logit).collect::<Vec<_>>();
        // Adding the bias and taking it off again rounds logits of about 10.
        assert_close("logits", &apart, &expected, absolute_bound(1e-5), 0.0);
    }
}

/// The name in a file of transformers.
fn in_transformers(name: &str) -> Vec<String> {
    const TOP: [(&str, &str); 4] = [
        ("cls_token", "embeddings.class_embedding"),
        ("pos_embed", "embeddings.position_embedding"),
        ("patch_embed.proj", "embeddings.patch_embedding"),
        ("norm", "post_layernorm"),
    ];
    const BLOCK: [(&str, &str); 5] = [
        ("blocks.", "encoder.layers."),
        ("attn.", "self_attn."),
        (".proj.", ".projection."),
        (".norm1.", ".layer_norm1."),
        (".norm2.", ".layer_norm2."),
    ];
    let Some(name) = name.strip_prefix("visual_encoder.") else { return twice(name) };
    let top = TOP.iter().find_map(|(old, new)| Some(format!("{new}{}", name.strip_prefix(old)?)));
    let block = || BLOCK.iter().fold(name.to_owned(), |name, (old, new)| name.replace(old, new));
    vec![format!("vision_model.{}", top.unwrap_or_else(block))]
}

/// Packs `blip_transformers`, each with the pack beside it whose weights it is about.
fn in_both() -> Vec<(Pack, Case)> {
    let packs = Pack::of_kind("blip_transformers").into_iter().map(|pack| {
        let beside = pack.folder.with_file_name("blip_tiny");
        let case = Case::all().into_iter().find(|case| case.pack.folder == beside);
        (pack, case.expect("blip_tiny beside blip_transformers"))
    });
    packs.collect()
}

#[test]
fn a_file_of_transformers_computes_what_transformers_does() {
    for (pack, case) in in_both() {
        let expected = pack.tensors("expected.safetensors");
        let of = |name: &str| {
            let tolerance = pack.manifest["tolerance"][name.trim_end_matches("_cols")]["max_abs"]
                .as_f64()
                .expect("a tolerance");
            (expected.f32(name).expect(name), tolerance)
        };
        let file = rewritten(&case, in_transformers, |bytes| bytes);
        let blip = load(&case.pack, &file);
        let found = floats(blip.vision(case.tensor("pixel_values")));
        let (wanted, tolerance) = of("visual_embeds");
        eprintln!("visual_embeds: (largest difference, size) {:?}", difference(&found, &wanted));
        assert_close("visual_embeds", &found, &wanted, tolerance, 0.0);

        let (wanted, tolerance) = of("logits_cols");
        let bias = floats(blip.text_decoder.bias.val());
        let found = logits(&case, &file);
        let rows = found.chunks(bias.len()).flat_map(|row| {
            row.iter().zip(&bias).map(|(logit, bias)| logit + bias).step_by(97).collect::<Vec<_>>()
        });
        let found = rows.collect::<Vec<_>>();
        eprintln!("logits: (largest difference, size) {:?}", difference(&found, &wanted));
        assert_close("logits", &found, &wanted, tolerance, 0.0);
    }
}

#[test]
fn repetitions_are_avoided_as_transformers_does() {
    if texts_turn_on_the_last_digits() {
        return;
    }
    for (pack, case) in in_both() {
        let blip = load(&case.pack, &rewritten(&case, in_transformers, |bytes| bytes));
        let expected = pack.json("expected.json");
        let searches = expected["sequences"].as_array().expect("sequences");
        assert!(!searches.is_empty());
        for search in searches {
            let number =
                |key: &str| search[key].as_u64().and_then(|n| n.try_into().ok()).expect("a number");
            let settings = GenerateSettings {
                num_beams: number("num_beams"),
                repetition_penalty: search["repetition_penalty"].as_f64().expect("a penalty"),
                min_length: number("min_length"),
                max_length: number("max_length"),
                ..GenerateSettings::default()
            };
            let found = blip.caption(case.tensor("pixel_values"), &settings);
            let expected = search["sequences"].as_array().expect("texts").iter().map(numbers);
            assert_eq!(found, expected.collect::<Vec<_>>(), "{settings:?}");
        }
    }
}

#[test]
fn what_is_drawn_is_what_transformers_would_draw_from() {
    const DRAWS: u64 = 300;
    for (pack, case) in in_both() {
        let blip = load(&case.pack, &rewritten(&case, in_transformers, |bytes| bytes));
        let expected = pack.json("expected.json");
        for told in expected["samplings"].as_array().expect("samplings") {
            let number = |key: &str| told[key].as_f64().expect("a number");
            let (top_k, top_p) = (number("top_k") as usize, number("top_p"));
            let mut counts =
                vec![BTreeMap::<u32, u32>::new(); told["kept"].as_array().unwrap().len()];
            for seed in 0..DRAWS {
                let settings = GenerateSettings {
                    sampling: Some(Sampling { top_k, top_p, seed }),
                    repetition_penalty: number("repetition_penalty"),
                    // One token behind the prompt.
                    max_length: 5,
                    ..GenerateSettings::default()
                };
                let texts = blip.caption(case.tensor("pixel_values"), &settings);
                for (counts, text) in counts.iter_mut().zip(texts) {
                    *counts.entry(*text.last().expect("a token")).or_default() += 1;
                }
            }
            for (counts, kept) in counts.iter().zip(told["kept"].as_array().unwrap()) {
                let tokens = numbers(&kept["tokens"]);
                let drawn = counts.keys().find(|token| !tokens.contains(token));
                assert_eq!(drawn, None, "top_k {top_k}, top_p {top_p}: {tokens:?}");
                for (token, probability) in
                    tokens.iter().zip(kept["probabilities"].as_array().unwrap())
                {
                    let probability = probability.as_f64().expect("a probability");
                    let count = f64::from(counts.get(token).copied().unwrap_or(0));
                    let expected = probability * DRAWS as f64;
                    // Five standard deviations of a binomial count, of some 170 counts.
                    let limit = 5.0 * (expected * (1.0 - probability)).sqrt() + 1e-9;
                    assert!((count - expected).abs() <= limit, "{token}: {count} for {expected}");
                }
            }
        }
    }
}

/// Compares positions with those that `expected` has for other picture sizes, and what the encoder
/// makes of pictures of such a size where there are some. Tells how many sizes there were.
fn positions_are_those_of(expected: &Checkpoint, case: &Case) -> usize {
    let names = expected.names().filter_map(|name| name.strip_prefix("pos_embed_"));
    let sides = names.map(|side| side.parse::<usize>().expect("a size")).collect::<Vec<_>>();
    for &side in &sides {
        let weights = case.pack.tensors(&weights_name(&case.pack));
        let blip = load(&case.pack, &weights).with_image_size(side).expect("whole patches");
        assert_eq!(blip.image_size(), side);
        let wanted = |name: &str| expected.f32(&format!("{name}_{side}")).expect(name);
        let found = floats(blip.visual_encoder.pos_embed.val());
        let positions = wanted("pos_embed");
        eprintln!("{side}: (largest difference, size) {:?}", difference(&found, &positions));
        // Sixteen products each, in f64 here and in f32 there.
        assert_close("positions", &found, &positions, 2e-6, 0.0);
        if expected.info(&format!("pixel_values_{side}")).is_some() {
            let found = floats(blip.vision(case.tensor(&format!("pixel_values_{side}"))));
            let tolerance = case.tolerance("visual_embeds");
            assert_close("visual_embeds", &found, &wanted("visual_embeds"), tolerance, 0.0);
        }
    }
    sides.len()
}

#[test]
fn positions_for_another_picture_size_are_the_reference_s() {
    for case in Case::all() {
        let sizes = positions_are_those_of(&case.expected, &case);
        eprintln!("{}: {sizes} other picture sizes", case.pack.folder.display());
    }
    for (pack, case) in in_both() {
        assert!(positions_are_those_of(&pack.tensors("expected.safetensors"), &case) > 0);
    }
}

#[test]
fn its_own_picture_size_changes_nothing_and_broken_patches_are_refused() {
    for case in Case::all() {
        let reload = || load(&case.pack, &case.pack.tensors(&weights_name(&case.pack)));
        let (own, pictures) = (case.blip.image_size(), case.tensor::<4>("pixel_values"));
        let blip = reload().with_image_size(own).expect("whole patches");
        assert_eq!(floats(blip.vision(pictures.clone())), floats(case.blip.vision(pictures)));
        for side in [0, 1, own + 1] {
            let error = reload().with_image_size(side).expect_err("no whole patches").to_string();
            assert!(error.contains(&format!("{side} pixels")), "{error}");
        }
    }
}
