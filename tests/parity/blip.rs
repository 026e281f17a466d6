//! Packs `blip_tiny`: a captioner as `.pth`, what its two halves compute, and the texts it writes.

use burn::tensor::{FloatDType, Int, Tensor, TensorData};
use fluxpipe::{
    models::{
        blip::{
            Blip, BlipConfig, GenerateSettings, PROMPT, Sampling, caption_text, normalise,
            prompt_ids,
        },
        tokenizer::BertTokenizer,
    },
    weights::{Checkpoint, Loader},
};
use serde_json::Value;

use super::{
    device::{absolute_bound, device, texts_turn_on_the_last_digits},
    pack::{Pack, assert_close, difference},
};

/// A pack with its network and pictures.
pub(super) struct Case {
    pub pack: Pack,
    pub blip: Blip,
    pub expected: Checkpoint,
}

impl Case {
    pub fn all() -> Vec<Self> {
        let open = |pack: Pack| {
            let weights = pack.tensors(&weights_name(&pack));
            let (blip, expected) = (load(&pack, &weights), pack.tensors("expected.safetensors"));
            Self { pack, blip, expected }
        };
        Pack::of_kind("blip_tiny").into_iter().map(open).collect()
    }

    pub fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        let shape = self.expected.info(name).expect(name).shape.clone();
        let data = TensorData::new(self.expected.f32(name).expect(name), shape);
        Tensor::from_data(data, &device())
    }

    /// A list of id lists.
    pub fn ids(&self, name: &str) -> Tensor<2, Int> {
        let shape = self.expected.info(name).expect(name).shape.clone();
        let ids = self.expected.f32(name).expect(name);
        let ids = ids.into_iter().map(|id| id as i32).collect::<Vec<_>>();
        Tensor::from_data(TensorData::new(ids, shape), &device())
    }

    pub fn tolerance(&self, what: &str) -> f64 {
        self.pack.manifest["tolerance"][what]["max_abs"].as_f64().expect("a tolerance")
    }

    fn settings(&self, name: &str) -> GenerateSettings {
        let number = |key: &str| {
            let part = name.split('_').find_map(|part| part.strip_prefix(key));
            part.and_then(|digits| digits.parse().ok()).expect("a number in the case's name")
        };
        let prompt = prompt_ids(PROMPT);
        assert_eq!(numbers(&self.pack.json("sequences.json")["prompt_ids"]), prompt);
        GenerateSettings {
            prompt,
            num_beams: number("beams"),
            min_length: number("min"),
            max_length: number("max"),
            ..GenerateSettings::default()
        }
    }
}

/// The `.pth` file, or the folder of shards that stands for it.
pub(super) fn weights_name(pack: &Pack) -> String {
    let files = pack.manifest["files"].as_object().expect("files");
    let file = files.keys().find(|name| name.ends_with(".pth"));
    file.map_or_else(|| "weights".to_owned(), String::clone)
}

pub(super) fn load(pack: &Pack, weights: &Checkpoint) -> Blip {
    let loader = Loader::new(weights, "", &device(), FloatDType::F32);
    let sizes = &pack.manifest["config"];
    let number = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok());
    let config = BlipConfig::detect(&loader)
        .with_heads(number(&sizes["vit_heads"]), number(&sizes["med"]["num_attention_heads"]));
    for (what, found, expected) in [
        ("vit_width", config.vision.width, &sizes["vit_width"]),
        ("vit_depth", config.vision.depth, &sizes["vit_depth"]),
        ("patch", config.vision.patch, &sizes["patch"]),
        ("hidden_size", config.text.width, &sizes["med"]["hidden_size"]),
        ("num_hidden_layers", config.text.depth, &sizes["med"]["num_hidden_layers"]),
        ("intermediate_size", config.text.hidden, &sizes["med"]["intermediate_size"]),
        ("vocab_size", config.text.vocabulary, &sizes["med"]["vocab_size"]),
        ("positions", config.text.positions, &sizes["med"]["max_position_embeddings"]),
        ("cross attention", config.text.cross, &sizes["vit_width"]),
    ] {
        assert_eq!(Some(found), number(expected), "{what}");
    }
    let blip = Blip::load(&loader, &config).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(Some(blip.image_size()), number(&sizes["image_size"]));
    blip
}

pub(super) fn numbers(value: &Value) -> Vec<u32> {
    let numbers = value.as_array().expect("a list of ids").iter();
    numbers.map(|id| u32::try_from(id.as_u64().expect("an id")).expect("an id")).collect()
}

pub(super) fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("f32")
}

#[test]
fn picture_tokens_are_the_reference_s() {
    for case in Case::all() {
        let found = case.blip.vision(case.tensor("pixel_values"));
        let expected = case.expected.f32("visual_embeds").expect("visual_embeds");
        let (found, tolerance) = (floats(found), case.tolerance("visual_embeds"));
        eprintln!("visual_embeds: (largest difference, size) {:?}", difference(&found, &expected));
        assert_close("visual_embeds", &found, &expected, tolerance, 0.0);
    }
}

#[test]
fn normalised_pixels_are_the_reference_s() {
    for case in Case::all() {
        // The pack stores pixels behind the transform: the bytes before it are what must give them
        // again. A wrong mean or deviation moves them off the whole numbers, or by more than rounding.
        let pixels = case.tensor::<4>("pixel_values");
        let [count, _, height, width] = pixels.dims();
        let values = floats(pixels.clone());
        let size = height * width;
        let black_and_white = |channel: usize| {
            let of = |byte: u8| floats(normalise(&[byte; 3], 1, 1, &device()))[channel];
            (f64::from(of(0)), f64::from(of(255)))
        };
        for picture in 0..count {
            let mut rgb = vec![0; 3 * size];
            for (channel, plane) in
                values[3 * size * picture..][..3 * size].chunks(size).enumerate()
            {
                let (black, white) = black_and_white(channel);
                for (index, &value) in plane.iter().enumerate() {
                    let byte = (f64::from(value) - black) / (white - black) * 255.0;
                    assert!((byte - byte.round()).abs() < 1e-3, "{byte} is no byte");
                    rgb[3 * index + channel] = byte.round() as u8;
                }
            }
            let found = floats(normalise(&rgb, height, width, &device()));
            // Two f32 roundings of numbers up to 3.
            assert_close("pixels", &found, &values[3 * size * picture..][..3 * size], 1e-6, 0.0);
        }
    }
}

#[test]
fn logits_are_the_reference_s() {
    for case in Case::all() {
        let (blip, tolerance) = (&case.blip, case.tolerance("logits"));
        let pictures = blip.vision(case.tensor("pixel_values"));
        let text = case.ids("text_ids");
        let [rows, length] = text.dims();
        let mut state = blip.text_decoder.begin(&pictures);
        let x = blip.text_decoder.forward(text.clone(), &mut state);
        let width = x.dims()[2];
        let logits = blip.text_decoder.logits(x.reshape([rows * length, width]));
        let vocabulary = logits.dims()[1];
        let found = floats(logits);
        let row = |index: usize| &found[index * vocabulary..][..vocabulary];

        // Padding comes last and nothing real sees it, so what stands in its place is not compared.
        let mask = case.expected.f32("text_mask").expect("text_mask");
        let last = case.expected.f32("logits_last_pos").expect("logits_last_pos");
        let columns = case.expected.f32("logits_cols").expect("logits_cols");
        let kept = columns.len() / (rows * length);
        let step = vocabulary.div_ceil(kept);
        let mut compared = 0;
        for (index, _) in mask.iter().enumerate().filter(|(_, mask)| **mask != 0.0) {
            let some = row(index).iter().copied().step_by(step).collect::<Vec<_>>();
            assert_close("columns", &some, &columns[index * kept..][..kept], tolerance, 0.0);
            if index % length == length - 1 {
                let expected = &last[index / length * vocabulary..][..vocabulary];
                assert_close("last position", row(index), expected, tolerance, 0.0);
                compared += 1;
            }
        }
        assert!(compared > 0, "the pack has no text without padding");

        let mut state = blip.text_decoder.begin(&pictures);
        let x = blip.text_decoder.forward(case.ids("prompt_ids"), &mut state);
        let prompt = x.dims()[1];
        let first = blip.text_decoder.logits(x.narrow(1, prompt - 1, 1).squeeze_dim(1));
        // Left out of the smaller pack, which has the logits of other texts at their last places.
        if case.expected.info("first_step_logits").is_none() {
            continue;
        }
        let expected = case.expected.f32("first_step_logits").expect("first_step_logits");
        let first = floats(first);
        eprintln!("logits: (largest difference, size) {:?}", difference(&first, &expected));
        assert_close("after the prompt", &first, &expected, tolerance, 0.0);
    }
}

#[test]
fn a_text_in_steps_is_the_text_at_once() {
    for case in Case::all() {
        let decoder = &case.blip.text_decoder;
        let pictures = case.blip.vision(case.tensor("pixel_values"));
        let text = case.ids("text_ids");
        let [rows, length] = text.dims();
        let at_once = decoder.forward(text.clone(), &mut decoder.begin(&pictures));
        let mut state = decoder.begin(&pictures);
        for (from, count) in std::iter::once((0, 3)).chain((3..length).map(|from| (from, 1))) {
            let found = decoder.forward(text.clone().narrow(1, from, count), &mut state);
            let expected = at_once.clone().narrow(1, from, count);
            // Sums over the same numbers in another order; values are normalised to about 1.
            assert_close("steps", &floats(found), &floats(expected), absolute_bound(1e-5), 0.0);
        }
        // Texts that were swapped, doubled and left alone with their pictures go on as before.
        let next = |picks: &[usize]| {
            let picks = picks.iter().map(|&pick| pick as i32).collect::<Vec<_>>();
            Tensor::<1, Int>::from_data(picks.as_slice(), &device())
        };
        let order = (0..rows).rev().collect::<Vec<_>>();
        let doubled = order.iter().flat_map(|&row| [row, row]).collect::<Vec<_>>();
        let mut state = decoder.begin(&pictures);
        let _ = decoder.forward(text.clone().narrow(1, 0, 3), &mut state);
        state.keep(&doubled, &order);
        let ids = text.narrow(1, 3, 1).select(0, next(&doubled));
        let found = decoder.forward(ids, &mut state);
        let expected = at_once.narrow(1, 3, 1).select(0, next(&doubled));
        assert_close("kept", &floats(found), &floats(expected), absolute_bound(1e-5), 0.0);
    }
}

#[test]
fn texts_are_the_reference_s() {
    if texts_turn_on_the_last_digits() {
        return;
    }
    for case in Case::all() {
        let reference = case.pack.json("sequences.json");
        let cases = reference["sequences"].as_object().expect("sequences");
        assert!(!cases.is_empty(), "the pack holds no texts");
        for (name, expected) in cases {
            let settings = case.settings(name);
            let found = case.blip.caption(case.tensor("pixel_values"), &settings);
            let expected = expected.as_array().expect("texts").iter().map(numbers);
            let expected = expected.collect::<Vec<_>>();
            let longest = found.iter().map(Vec::len).max().expect("a text");
            let padded = |ids: &Vec<u32>| {
                let padding = longest - ids.len();
                [ids.as_slice(), &vec![BertTokenizer::PADDING; padding]].concat()
            };
            assert_eq!(found.iter().map(padded).collect::<Vec<_>>(), expected, "{name}");
            assert_captions(&found, &settings.prompt, &reference["captions"][name]);
        }
    }
}

/// The reference cuts as many characters as the prompt has off the whole text. Where the text goes on
/// with a piece of the prompt's last word, that takes away a letter, which we keep.
#[track_caller]
fn assert_captions(found: &[Vec<u32>], prompt: &[u32], expected: &Value) {
    for (ids, expected) in found.iter().zip(expected.as_array().expect("captions")) {
        let whole = BertTokenizer::decode(ids);
        let (cut, rest) =
            whole.char_indices().nth(PROMPT.len() - 1).map_or(("", ""), |(at, cut)| {
                (&whole[at..at + cut.len_utf8()], &whole[at + cut.len_utf8()..])
            });
        assert_eq!(Some(rest), expected.as_str(), "{whole:?} without {} characters", PROMPT.len());
        assert_eq!(caption_text(ids, prompt), format!("{}{rest}", cut.trim_start()), "{whole:?}");
    }
}

#[test]
fn a_text_does_not_depend_on_the_other_pictures() {
    if texts_turn_on_the_last_digits() {
        return;
    }
    for case in Case::all() {
        let names = case.pack.json("sequences.json")["images"].clone();
        let single = case.pack.json("sequences_single.json");
        let pictures = case.tensor::<4>("pixel_values");
        for (index, image) in names.as_array().expect("images").iter().enumerate() {
            let alone = pictures.clone().narrow(0, index, 1);
            for (name, expected) in
                single[image.as_str().expect("a name")].as_object().expect("cases")
            {
                let settings = case.settings(name);
                let found = case.blip.caption(alone.clone(), &settings);
                assert_eq!(found, [numbers(&expected[0])], "{image} {name}");
                let together = case.blip.caption(pictures.clone(), &settings);
                assert_eq!(together[index], found[0], "{image} {name}");
            }
        }
    }
}

/// How a captioner writes.
fn searches() -> [GenerateSettings; 3] {
    let sampling = Some(Sampling { top_k: 50, top_p: 0.9, seed: 42 });
    let settings = |num_beams, sampling| GenerateSettings {
        num_beams,
        sampling,
        max_length: 20,
        ..GenerateSettings::default()
    };
    [settings(1, None), settings(3, None), settings(1, sampling)]
}

#[test]
fn a_text_is_the_same_in_a_batch_of_one_three_and_eight() {
    if texts_turn_on_the_last_digits() {
        return;
    }
    for case in Case::all() {
        let pictures = case.tensor::<4>("pixel_values");
        let count = pictures.dims()[0];
        // Eight pictures: those of the pack, and then the same, darker each time.
        let picture = |index: usize| {
            let picture = pictures.clone().narrow(0, index % count, 1);
            picture * (1.0 - 0.2 * (index / count) as f64)
        };
        for settings in searches() {
            let texts = |batch: usize| -> Vec<Vec<u32>> {
                let indices = (0..8).collect::<Vec<_>>();
                let batches = indices.chunks(batch).map(|indices| {
                    Tensor::cat(indices.iter().map(|&index| picture(index)).collect(), 0)
                });
                batches.flat_map(|batch| case.blip.caption(batch, &settings)).collect()
            };
            let alone = texts(1);
            assert_eq!(texts(3), alone, "{settings:?}");
            assert_eq!(texts(8), alone, "{settings:?}");
        }
    }
}

#[test]
fn drawn_texts_follow_the_seed_and_nearly_certain_ones_do_not() {
    if texts_turn_on_the_last_digits() {
        return;
    }
    for case in Case::all() {
        let write = |settings: &GenerateSettings| {
            case.blip.caption(case.tensor::<4>("pixel_values"), settings)
        };
        let drawn = |top_k, top_p, seed| {
            let sampling = Some(Sampling { top_k, top_p, seed });
            write(&GenerateSettings { sampling, max_length: 20, ..GenerateSettings::default() })
        };
        let [greedy, ..] = searches();
        assert_ne!(drawn(50, 0.9, 42), write(&greedy));
        assert_ne!(drawn(50, 0.9, 42), drawn(50, 0.9, 43));
        assert_eq!(drawn(1, 1.0, 42), write(&greedy));
        assert_eq!(drawn(0, 1e-6, 43), write(&greedy));
    }
}

#[test]
fn what_does_not_fit_is_named() {
    for case in Case::all() {
        let weights = case.pack.tensors(&weights_name(&case.pack));
        let loader = || Loader::new(&weights, "", &device(), FloatDType::F32);
        let mut config = BlipConfig::detect(&loader());
        config.vision.depth += 1;
        let error = Blip::load(&loader(), &config).expect_err("one block is missing").to_string();
        assert!(error.contains("does not hold a BLIP captioner"), "{error}");
        assert!(error.contains(&format!("blocks.{}.attn", config.vision.depth - 1)), "{error}");
        let config = BlipConfig::detect(&loader()).with_heads(Some(7), None);
        let error = Blip::load(&loader(), &config).expect_err("7 heads cannot share").to_string();
        assert!(error.contains("which 7 heads cannot share"), "{error}");
        // Another network's file.
        let other = case.pack.tensors("expected.safetensors");
        let loader = Loader::new(&other, "", &device(), FloatDType::F32);
        let error = Blip::load(&loader, &BlipConfig::detect(&loader)).expect_err("another file");
        assert!(error.to_string().contains("missing    text_decoder"), "{error}");
    }
}
