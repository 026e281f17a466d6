//! Packs `ae_tiny`, `clip_l_tiny` and `t5_tiny`: the encoders (and the decoder) of the cache and of
//! sampling, in f32 on the CPU.

use std::{
    io::{Seek, SeekFrom, Write},
    path::Path,
};

use burn::tensor::{FloatDType, Tensor, TensorData};
use fluxpipe::{
    models::{
        autoencoder::{Decoder, Encoder, to_latent},
        clip::{Activation, ClipConfig, ClipText},
        t5::{T5Stream, T5Text, bucket},
    },
    weights::{Checkpoint, Loader},
};
use serde_json::Value;

use super::{device::device, pack::Pack};

fn loader(checkpoint: &Checkpoint) -> Loader<'_> {
    Loader::new(checkpoint, "", &device(), FloatDType::F32)
}

fn half_loader(checkpoint: &Checkpoint) -> Loader<'_> {
    Loader::new(checkpoint, "", &device(), FloatDType::BF16)
}

fn tensor(file: &Checkpoint, name: &str) -> Tensor<4> {
    let shape = file.info(name).unwrap_or_else(|| panic!("no tensor {name}")).shape.clone();
    Tensor::from_data(TensorData::new(file.f32(name).unwrap(), shape), &device())
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

fn t5_stream<'a>(pack: &Pack, loader: Loader<'a>) -> T5Stream<'a> {
    let vocabulary = pack.manifest["config"]["vocab_size"].as_u64().expect("vocab_size");
    T5Stream::with_vocabulary(loader, usize::try_from(vocabulary).unwrap()).unwrap()
}

fn clip_of(pack: &Pack, loader: &Loader<'_>) -> ClipText {
    let size = |name: &str| pack.manifest["config"][name].as_u64().map(usize::try_from);
    let config = ClipConfig {
        heads: size("num_attention_heads").unwrap().unwrap(),
        vocabulary: size("vocab_size").unwrap().unwrap(),
        ..ClipConfig::detect(loader)
    };
    ClipText::load(loader, config).unwrap()
}

/// Texts with these ids, of which the first `attend` are attended to.
fn texts(ids: Vec<Vec<u32>>, attend: Option<Vec<usize>>) -> Vec<T5Text> {
    let attend = |row| attend.as_ref().map(|attend| attend[row]);
    let text = |(row, ids)| T5Text { ids, attend: attend(row) };
    ids.into_iter().enumerate().map(text).collect()
}

/// What the decoder's pictures may differ by. A pack without this bound judges the encoder alone, and
/// its files hold no decoder.
fn picture_tolerance(pack: &Pack) -> Option<&Value> {
    let tolerance = pack.manifest["tolerance"].get("image");
    if tolerance.is_none() {
        eprintln!("skipped: {} judges no decoder", pack.folder.display());
    }
    tolerance
}

/// Rows of ids. Read as bytes, since ids beyond 2^24 would not survive f32.
fn ids(file: &Checkpoint, name: &str) -> Vec<Vec<u32>> {
    let length = file.info(name).unwrap().shape[1];
    let bytes = file.bytes(name).unwrap();
    let (numbers, _) = bytes.as_chunks::<8>();
    let numbers = numbers.iter().map(|&b| u32::try_from(i64::from_le_bytes(b)).expect("an id"));
    numbers.collect::<Vec<_>>().chunks(length).map(<[u32]>::to_vec).collect()
}

/// Checks against a tolerance of the pack: the largest difference, and where it is given the norm of
/// all differences relative to the norm of what is expected.
#[track_caller]
fn assert_within(what: &str, found: &[f32], expected: &[f32], tolerance: &Value) {
    assert_eq!(found.len(), expected.len(), "{what}: number of elements");
    let (mut largest, mut error, mut norm) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (&found, &expected) in found.iter().zip(expected) {
        let difference = f64::from(found) - f64::from(expected);
        assert!(difference.is_finite(), "{what}: found {found}, expected {expected}");
        largest = largest.max(difference.abs());
        error += difference * difference;
        norm += f64::from(expected) * f64::from(expected);
    }
    let relative = (error / norm).sqrt();
    eprintln!("{what}: largest difference {largest:.2e}, relative norm {relative:.2e}");
    let limit = tolerance["max_abs"].as_f64().expect("the pack's tolerance max_abs");
    assert!(largest <= limit, "{what}: largest difference {largest:.3e} > {limit:.1e}");
    if let Some(limit) = tolerance["rel_l2"].as_f64() {
        assert!(relative <= limit, "{what}: relative norm {relative:.3e} > {limit:.1e}");
    }
}

fn cases(pack: &Pack) -> impl Iterator<Item = &String> {
    let cases = pack.manifest["cases"].as_object().expect("cases");
    assert!(!cases.is_empty(), "{} holds no case", pack.folder.display());
    cases.keys()
}

#[test]
fn encoder_gives_the_reference_s_latents() {
    for pack in Pack::of_kind("ae_tiny") {
        let weights = pack.tensors("weights.safetensors");
        let encoder = Encoder::load(&loader(&weights)).unwrap();
        let tolerance = &pack.manifest["tolerance"]["moments"];
        for case in cases(&pack) {
            let file = pack.tensors(&format!("{case}.safetensors"));
            let images = tensor(&file, "image");
            let moments = encoder.encode(images.clone());
            // A picture's encoding does not depend on the others of its batch.
            for index in 0..images.dims()[0] {
                let alone = encoder.encode(images.clone().narrow(0, index, 1)).mean.into_data();
                alone.assert_eq(&moments.mean.clone().narrow(0, index, 1).into_data(), true);
            }
            let sample = moments.clone().sample(tensor(&file, "noise"));
            for (name, found) in [
                ("mean", moments.mean.clone()),
                ("logvar", moments.logvar),
                ("sample", sample.clone()),
                ("latents", to_latent(sample)),
                ("latents_mean", to_latent(moments.mean)),
            ] {
                let expected = file.f32(name).unwrap();
                assert_within(&format!("{case} {name}"), &values(found), &expected, tolerance);
            }
        }
    }
}

#[test]
fn decoder_gives_the_reference_s_pictures() {
    for pack in Pack::of_kind("ae_tiny") {
        let Some(tolerance) = picture_tolerance(&pack) else { continue };
        let weights = pack.tensors("weights.safetensors");
        let decoder = Decoder::load(&loader(&weights)).unwrap();
        for case in cases(&pack) {
            let file = pack.tensors(&format!("{case}.safetensors"));
            for (from, to) in [("latents", "decoded_latents"), ("z", "decoded_z")] {
                let found = values(decoder.decode(tensor(&file, from)));
                let expected = file.f32(to).unwrap();
                assert_within(&format!("{case} {to}"), &found, &expected, tolerance);
            }
        }
    }
}

#[test]
fn clip_gives_the_reference_s_vectors_with_both_activations() {
    for pack in Pack::of_kind("clip_l_tiny") {
        let weights = pack.tensors("weights.safetensors");
        let size = |name: &str| {
            let size = pack.manifest["config"][name].as_u64().unwrap_or_else(|| panic!("{name}"));
            usize::try_from(size).unwrap()
        };
        for case in cases(&pack) {
            let activation = match case.as_str() {
                "gelu" => Activation::Gelu,
                "quick_gelu" => Activation::QuickGelu,
                other => panic!("unknown activation {other}"),
            };
            let heads = size("num_attention_heads");
            let config = ClipConfig { heads, activation, vocabulary: size("vocab_size") };
            let clip = ClipText::load(&loader(&weights), config).unwrap();
            let file = pack.tensors(&format!("{case}.safetensors"));
            let found = clip.forward(&ids(&file, "input_ids"));
            let tolerance = &pack.manifest["tolerance"];
            for (name, found, tolerance) in [
                ("last_normed", values(found.last), &tolerance["hidden"]),
                ("pooled", values(found.pooled), &tolerance["pooled"]),
            ] {
                let expected = file.f32(name).unwrap();
                assert_within(&format!("{case} {name}"), &found, &expected, tolerance);
            }
        }
    }
}

/// The number of leading ones of each row; the masks of the packs have no others.
fn leading(mask: &[Vec<u32>]) -> Vec<usize> {
    let leading = mask.iter().map(|row| {
        let real = row.iter().position(|&one| one == 0).unwrap_or(row.len());
        assert!(row[real..].iter().all(|&one| one == 0), "the mask has a hole");
        real
    });
    leading.collect()
}

#[test]
fn t5_gives_the_reference_s_states_with_and_without_mask() {
    for pack in Pack::of_kind("t5_tiny") {
        let weights = pack.tensors("weights.safetensors");
        let t5 = t5_stream(&pack, loader(&weights));
        let tolerance = &pack.manifest["tolerance"]["output"];
        // All cases in one set, so that lengths and masks of one text cannot leak into another.
        let mut set = Vec::new();
        let mut expected = Vec::new();
        for case in cases(&pack) {
            let file = pack.tensors(&format!("{case}.safetensors"));
            let attend = leading(&ids(&file, "attention_mask"));
            for (name, attend) in [("output", None), ("output_masked", Some(attend))] {
                let some = texts(ids(&file, "input_ids"), attend);
                expected.push((format!("{case} {name}"), some.len(), file.f32(name).unwrap()));
                set.extend(some);
            }
        }
        let mut layers = Vec::new();
        let note = |behind, all| {
            layers.push((behind, all));
            true
        };
        let found = t5.encode(&set, note).unwrap().unwrap();
        let all = pack.manifest["config"]["num_layers"].as_u64().unwrap();
        let all = usize::try_from(all).unwrap();
        assert!(t5.encode(&set, |behind, _| behind < 1).unwrap().is_none(), "it was told to stop");
        assert_eq!(layers, (1..=all).map(|behind| (behind, all)).collect::<Vec<_>>());
        let mut found = found.into_iter();
        for (what, rows, expected) in expected {
            let found = found.by_ref().take(rows).flat_map(values).collect::<Vec<_>>();
            assert_within(&what, &found, &expected, tolerance);
        }
    }
}

/// Padding that nobody attends to changes nothing of the other rows, so a masked text need not be padded:
/// what the cache stores of it.
#[test]
fn t5_gives_a_masked_text_without_its_padding_the_same_states() {
    for pack in Pack::of_kind("t5_tiny") {
        let weights = pack.tensors("weights.safetensors");
        let t5 = t5_stream(&pack, loader(&weights));
        for case in cases(&pack) {
            let file = pack.tensors(&format!("{case}.safetensors"));
            let attend = leading(&ids(&file, "attention_mask"));
            let cut = ids(&file, "input_ids").into_iter().zip(&attend);
            let cut = cut.map(|(ids, &real)| T5Text { ids: ids[..real].to_vec(), attend: None });
            let found = t5.encode(&cut.collect::<Vec<_>>(), |_, _| true).unwrap().unwrap();
            let expected = file.f32("output_masked").unwrap();
            let rows = expected.chunks(expected.len() / attend.len());
            for (found, rows) in found.into_iter().zip(rows) {
                let found = values(found);
                let tolerance = &pack.manifest["tolerance"]["output"];
                assert_within(&format!("{case} cut"), &found, &rows[..found.len()], tolerance);
            }
        }
    }
}

#[test]
fn an_encoding_does_not_depend_on_what_is_encoded_beside_it() {
    for pack in Pack::of_kind("t5_tiny") {
        let weights = pack.tensors("weights.safetensors");
        let t5 = t5_stream(&pack, loader(&weights));
        let text = |length: usize, attend| {
            let ids = (0..length).map(|at| (at * 7 % 50) as u32).collect();
            T5Text { ids, attend }
        };
        // Lengths on both sides of all that products and attention have another way for.
        let set = [1, 2, 5, 19, 33, 65, 130, 512, 700].map(|length| text(length, None));
        let set = set.into_iter().chain([text(77, Some(30)), text(77, None), text(77, None)]);
        let set = set.collect::<Vec<_>>();
        let together = t5.encode(&set, |_, _| true).unwrap().unwrap();
        for (text, together) in set.iter().zip(together) {
            let alone =
                t5.encode(std::slice::from_ref(text), |_, _| true).unwrap().unwrap().remove(0);
            alone.into_data().assert_eq(&together.into_data(), true);
        }
    }
    for pack in Pack::of_kind("clip_l_tiny") {
        let weights = pack.tensors("weights.safetensors");
        let clip = clip_of(&pack, &loader(&weights));
        let rows = ids(&pack.tensors("quick_gelu.safetensors"), "input_ids");
        let rows = rows.iter().cycle().take(5).cloned().collect::<Vec<_>>();
        let together = clip.forward(&rows).pooled;
        for (index, row) in rows.into_iter().enumerate() {
            let alone = clip.forward(&[row]).pooled;
            let together = together.clone().narrow(0, index, 1);
            alone.into_data().assert_eq(&together.into_data(), true);
        }
    }
}

/// The file loses its weights between two sets: what stayed is not read again, the rest is.
#[test]
fn t5_layers_stay_as_they_were_asked_to_and_give_the_same_bits() {
    for pack in Pack::of_kind("t5_tiny") {
        let set = texts((0..3).map(|row| (row..40 + row).collect()).collect(), None);
        let encode = |t5: &T5Stream| {
            let states = t5.encode(&set, |_, _| true).unwrap().unwrap();
            states.into_iter().flat_map(values).map(f32::to_bits).collect::<Vec<_>>()
        };
        let path = pack.folder.join("weights.safetensors");
        let original = std::fs::read(&path).unwrap();
        let expected = encode(&t5_stream(&pack, loader(&Checkpoint::open(&path).unwrap())));
        let layers = pack.manifest["config"]["num_layers"].as_u64().expect("num_layers");
        let layers = usize::try_from(layers).unwrap();
        let folder = tempfile::tempdir().unwrap();
        for kept in [0, 1, layers, layers + 7] {
            let path = folder.path().join(format!("{kept}.safetensors"));
            std::fs::write(&path, &original).unwrap();
            let weights = Checkpoint::open(&path).unwrap();
            let t5 = t5_stream(&pack, loader(&weights)).keep_layers(kept);
            assert_eq!(encode(&t5), expected, "{kept} of {layers} layers stay: first set");
            assert_eq!(encode(&t5), expected, "{kept} of {layers} layers stay: second set");
            zero_layers(&path, &weights);
            assert_eq!(encode(&t5) == expected, kept >= layers, "{kept} of {layers} layers stay");
        }
    }
}

/// Overwrites the weights of all layers in the file itself, so that who has mapped it sees zeros.
fn zero_layers(path: &Path, weights: &Checkpoint) {
    let whole = std::fs::read(path).unwrap();
    let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    // The bias of attention is read for each set, and is no layer's.
    let layers = weights.names().filter(|name| name.contains(".block.") && !name.contains("_bias"));
    for name in layers {
        let bytes = weights.bytes(name).unwrap().to_vec();
        let place = whole.windows(bytes.len()).position(|window| window == bytes).unwrap();
        file.seek(SeekFrom::Start(place as u64)).unwrap();
        file.write_all(&vec![0; bytes.len()]).unwrap();
    }
}

#[test]
fn t5_reads_fp8_weights() {
    for pack in Pack::of_kind("t5_tiny") {
        let weights = pack.tensors("weights_fp8.safetensors");
        let t5 = t5_stream(&pack, loader(&weights));
        let file = pack.tensors("fp8.safetensors");
        let found = t5.encode(&texts(ids(&file, "input_ids"), None), |_, _| true).unwrap().unwrap();
        let found = found.into_iter().flat_map(values).collect::<Vec<_>>();
        let tolerance = &pack.manifest["tolerance"]["output"];
        assert_within("fp8", &found, &file.f32("output").unwrap(), tolerance);
    }
}

#[test]
fn t5_buckets_are_the_reference_s() {
    for pack in Pack::of_kind("t5_tiny") {
        let table = pack.json("buckets.json");
        let numbers = |name: &str| {
            let numbers = table[name].as_array().unwrap_or_else(|| panic!("no list {name}"));
            numbers.iter().map(|n| n.as_i64().unwrap()).collect::<Vec<_>>()
        };
        let buckets = pack.manifest["config"]["buckets"].as_u64().unwrap();
        let buckets = usize::try_from(buckets).unwrap();
        for (distance, expected) in numbers("relative_position").into_iter().zip(numbers("bucket"))
        {
            let query = usize::try_from((-distance).max(0)).unwrap();
            let key = usize::try_from(distance.max(0)).unwrap();
            assert_eq!(
                i64::from(bucket(query, key, buckets)),
                expected,
                "key - query = {distance}"
            );
        }
    }
}

/// Relative norm of the difference.
fn distance(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    let square = |x: f64| x * x;
    let error = pairs.map(|(&f, &e)| square(f64::from(f) - f64::from(e))).sum::<f64>();
    let norm = expected.iter().map(|&e| square(f64::from(e))).sum::<f64>();
    (error / norm).sqrt()
}

/// bf16 keeps 8 bits, so one rounding is 0.4 % at most; some ten layers of them stay below 5 %, and
/// a wrong type on the way (a mask, a bias, a norm) would give NaN or far more.
#[test]
fn encoders_run_in_bf16() {
    const LIMIT: f64 = 0.05;
    let within = |what: &str, found: Vec<f32>, expected: &[f32]| {
        let distance = distance(&found, expected);
        eprintln!("bf16 {what}: relative norm {distance:.2e}");
        assert!(distance < LIMIT, "bf16 {what}: {distance}");
    };
    for pack in Pack::of_kind("ae_tiny") {
        let weights = pack.tensors("weights.safetensors");
        let encoder = Encoder::load(&half_loader(&weights)).unwrap();
        let decoder =
            picture_tolerance(&pack).map(|_| Decoder::load(&half_loader(&weights)).unwrap());
        for case in cases(&pack).take(1) {
            let file = pack.tensors(&format!("{case}.safetensors"));
            let input = |name| tensor(&file, name).cast(FloatDType::BF16);
            let mean = encoder.encode(input("image")).mean.cast(FloatDType::F32);
            within("latent", values(mean), &file.f32("mean").unwrap());
            if let Some(decoder) = &decoder {
                let picture = decoder.decode(input("z")).cast(FloatDType::F32);
                within("picture", values(picture), &file.f32("decoded_z").unwrap());
            }
        }
    }
    for pack in Pack::of_kind("clip_l_tiny") {
        let weights = pack.tensors("weights.safetensors");
        let clip = clip_of(&pack, &half_loader(&weights));
        let file = pack.tensors("quick_gelu.safetensors");
        let found = clip.forward(&ids(&file, "input_ids")).pooled.cast(FloatDType::F32);
        within("CLIP", values(found), &file.f32("pooled").unwrap());
    }
    for pack in Pack::of_kind("t5_tiny") {
        let weights = pack.tensors("weights.safetensors");
        let t5 = t5_stream(&pack, half_loader(&weights));
        for case in cases(&pack).take(1) {
            let file = pack.tensors(&format!("{case}.safetensors"));
            let attend = Some(leading(&ids(&file, "attention_mask")));
            let found =
                t5.encode(&texts(ids(&file, "input_ids"), attend), |_, _| true).unwrap().unwrap();
            let found = found.into_iter().flat_map(|x| values(x.cast(FloatDType::F32))).collect();
            within("T5", found, &file.f32("output_masked").unwrap());
        }
    }
}

#[test]
fn files_of_other_networks_are_refused() {
    for pack in Pack::of_kind("t5_tiny") {
        let weights = pack.tensors("weights.safetensors");
        let error = Encoder::load(&loader(&weights)).unwrap_err().to_string();
        assert!(error.contains("does not hold a FLUX.1 autoencoder"), "{error}");
        let config = ClipConfig::detect(&loader(&weights));
        let error = ClipText::load(&loader(&weights), config).unwrap_err().to_string();
        assert!(error.contains("missing    text_model."), "{error}");
    }
    for pack in Pack::of_kind("clip_l_tiny") {
        let weights = pack.tensors("weights.safetensors");
        let error = T5Stream::open(loader(&weights)).err().expect("an error").to_string();
        assert!(error.contains("missing    shared.weight"), "{error}");
        // Heads that do not divide the width are found before any work.
        let config = ClipConfig { heads: 7, ..ClipConfig::detect(&loader(&weights)) };
        let error = ClipText::load(&loader(&weights), config).unwrap_err().to_string();
        assert!(error.contains("misshapen"), "{error}");
    }
}
