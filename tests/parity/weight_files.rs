//! The files people have of one network: below prefixes, in shards, in 16 and 8 bits, with tensors that
//! nobody needs. Whatever the file, the network is the one of the pack.

use std::{collections::BTreeMap, path::Path};

use burn::tensor::{FloatDType, Tensor, TensorData};
use fluxpipe::{
    models::{
        autoencoder::Encoder,
        clip::{ClipConfig, ClipText},
        identity,
        t5::{T5Stream, T5Text},
    },
    weights::{Checkpoint, Dtype, Entry, Loader, Writer},
};

use super::{device::device, pack::Pack};

/// A tensor to be written.
struct Stored {
    entry: Entry,
    bytes: Vec<u8>,
}

fn stored(name: &str, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) -> Stored {
    Stored { entry: Entry { name: name.to_owned(), dtype, shape: shape.to_vec() }, bytes }
}

/// All tensors of a file, with a prefix before their names.
fn tensors(file: &Checkpoint, prefix: &str) -> Vec<Stored> {
    let tensor = |name: &str| {
        let info = file.info(name).unwrap();
        let bytes = file.bytes(name).unwrap().into_owned();
        stored(&format!("{prefix}{name}"), info.dtype, &info.shape, bytes)
    };
    file.names().map(tensor).collect()
}

fn bytes(tensors: &[Stored]) -> Vec<u8> {
    let entries = tensors.iter().map(|tensor| tensor.entry.clone()).collect::<Vec<_>>();
    let mut writer = Writer::new(Vec::new(), &entries, &BTreeMap::new()).unwrap();
    tensors.iter().for_each(|tensor| writer.tensor(&tensor.bytes).unwrap());
    writer.finish().unwrap()
}

fn file(tensors: &[Stored]) -> Checkpoint {
    Checkpoint::from_bytes(Path::new("made.safetensors"), bytes(tensors)).unwrap()
}

fn loader<'a>(file: &'a Checkpoint, role: &str) -> Loader<'a> {
    let prefix = identity::prefix(file, role).unwrap();
    Loader::new(file, prefix, &device(), FloatDType::F32)
}

fn bits<const D: usize>(tensor: Tensor<D>) -> Vec<u32> {
    tensor.into_data().try_to_vec::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

/// The network's answer to a fixed question.
fn t5(file: &Checkpoint) -> Vec<u32> {
    let t5 = T5Stream::with_vocabulary(loader(file, "t5xxl"), 8).unwrap();
    let text = T5Text { ids: (0..40).map(|id| id % 8).collect(), attend: None };
    bits(t5.encode(&[text], |_, _| true).unwrap().unwrap().remove(0))
}

fn clip(file: &Checkpoint) -> Vec<u32> {
    let loader = loader(file, "clip_l");
    let config = ClipConfig { heads: 2, vocabulary: 8, ..ClipConfig::detect(&loader) };
    let clip = ClipText::load(&loader, config).unwrap();
    bits(clip.forward(&[(0..20).map(|id| id % 8).collect()]).last)
}

fn autoencoder(file: &Checkpoint) -> Vec<u32> {
    let pixels = (0..3 * 32 * 32).map(|place| (place % 17) as f32 / 17.0).collect::<Vec<_>>();
    let data = TensorData::new(pixels, [1, 3, 32, 32]);
    let picture = Tensor::<4>::from_data(data, &device());
    bits(Encoder::load(&loader(file, "ae")).unwrap().encode(picture).mean)
}

fn weights(kind: &str) -> Vec<Checkpoint> {
    Pack::of_kind(kind).iter().map(|pack| pack.tensors("weights.safetensors")).collect()
}

#[test]
fn one_file_with_all_networks() {
    let packs = weights("t5_tiny").into_iter().zip(weights("clip_l_tiny")).zip(weights("ae_tiny"));
    for ((t5_file, clip_file), ae_file) in packs {
        let mut all = tensors(&t5_file, "text_encoders.t5xxl.transformer.");
        all.extend(tensors(&clip_file, "text_encoders.clip_l.transformer."));
        all.extend(tensors(&ae_file, "vae."));
        // Of the transformer a mark is enough here: it is of no concern to the others.
        for name in ["double_blocks.0.img_attn.qkv.weight", "img_in.weight"] {
            let name = format!("model.diffusion_model.{name}");
            all.push(stored(&name, Dtype::F32, &[1, 1], vec![0; 4]));
        }
        let all = file(&all);
        assert_eq!(t5(&all), t5(&t5_file));
        assert_eq!(clip(&all), clip(&clip_file));
        assert_eq!(autoencoder(&all), autoencoder(&ae_file));
    }
}

#[test]
fn a_sharded_folder_of_diffusers() {
    for whole in weights("t5_tiny") {
        let mut first = tensors(&whole, "");
        let second = first.split_off(first.len() / 2);
        let folder = tempfile::tempdir().unwrap();
        let mut map = BTreeMap::new();
        for (number, shard) in [first, second].iter().enumerate() {
            let name = format!("model-0000{}-of-00002.safetensors", number + 1);
            std::fs::write(folder.path().join(&name), bytes(shard)).unwrap();
            map.extend(shard.iter().map(|tensor| (tensor.entry.name.clone(), name.clone())));
        }
        let index = serde_json::json!({ "metadata": { "total_size": 1 }, "weight_map": map });
        let path = folder.path().join("model.safetensors.index.json");
        std::fs::write(path, index.to_string()).unwrap();
        // What another program left in the folder is no shard.
        std::fs::write(folder.path().join("other.safetensors"), b"none").unwrap();
        assert_eq!(t5(&Checkpoint::open(folder.path()).unwrap()), t5(&whole));
    }
}

/// The tensors of a file in another number format, and as what they then are in f32.
fn converted(whole: &Checkpoint, dtype: Dtype) -> [Checkpoint; 2] {
    let convert = |name: &str| {
        let shape = whole.info(name).unwrap().shape.clone();
        let bytes = dtype.encode(&whole.f32(name).unwrap()).unwrap();
        let plain = Dtype::F32.encode(&dtype.decode(&bytes)).unwrap();
        (stored(name, dtype, &shape, bytes), stored(name, Dtype::F32, &shape, plain))
    };
    let (made, plain): (Vec<_>, Vec<_>) = whole.names().map(convert).unzip();
    [file(&made), file(&plain)]
}

#[test]
fn every_number_format_is_read_for_what_it_says() {
    for whole in weights("t5_tiny") {
        for dtype in [Dtype::F16, Dtype::BF16, Dtype::F8E4M3, Dtype::F8E5M2, Dtype::F64] {
            let [made, plain] = converted(&whole, dtype);
            assert_eq!(t5(&made), t5(&plain), "{dtype:?}");
        }
    }
    for whole in weights("clip_l_tiny") {
        let [made, plain] = converted(&whole, Dtype::BF16);
        assert_eq!(clip(&made), clip(&plain));
    }
}

#[test]
fn scaled_8_bit_weights_with_scales_of_inputs() {
    for whole in weights("t5_tiny") {
        let (mut made, mut plain) = (Vec::new(), Vec::new());
        for tensor in tensors(&whole, "") {
            let name = tensor.entry.name.clone();
            let Some(stem) = name.strip_suffix(".weight").filter(|name| name.contains("layer.1."))
            else {
                made.push(tensor);
                plain.extend(tensors(&whole, "").into_iter().filter(|t| t.entry.name == name));
                continue;
            };
            let shape = tensor.entry.shape;
            let values = whole.f32(&name).unwrap();
            let scale = values.iter().fold(0.0_f32, |most, value| most.max(value.abs())) / 448.0;
            let scaled = values.iter().map(|value| value / scale).collect::<Vec<_>>();
            let bytes = Dtype::F8E4M3.encode(&scaled).unwrap();
            let back = Dtype::F8E4M3.decode(&bytes).iter().map(|x| x * scale).collect::<Vec<_>>();
            plain.push(stored(&name, Dtype::F32, &shape, Dtype::F32.encode(&back).unwrap()));
            made.push(stored(&name, Dtype::F8E4M3, &shape, bytes));
            for (name, value) in [("scale_weight", scale), ("scale_input", 0.5)] {
                let bytes = value.to_le_bytes().to_vec();
                made.push(stored(&format!("{stem}.{name}"), Dtype::F32, &[], bytes));
            }
        }
        made.push(stored("scaled_fp8", Dtype::F8E4M3, &[2], vec![0; 2]));
        let made = file(&made);
        assert!(made.names().filter(|name| name.ends_with(".scale_input")).count() > 3);
        assert_eq!(t5(&made), t5(&file(&plain)));
    }
}

#[test]
fn a_full_clip_with_the_half_that_looks_at_pictures() {
    for whole in weights("clip_l_tiny") {
        let mut all = tensors(&whole, "");
        for name in [
            "vision_model.embeddings.class_embedding",
            "vision_model.encoder.layers.0.mlp.fc1.weight",
            "visual_projection.weight",
            "text_projection.weight",
            "logit_scale",
        ] {
            all.push(stored(name, Dtype::F32, &[1], vec![0; 4]));
        }
        assert_eq!(clip(&file(&all)), clip(&whole));
    }
}

#[test]
fn what_does_not_fit_is_a_short_table() {
    for whole in weights("t5_tiny") {
        let mut some = tensors(&whole, "");
        some.retain(|tensor| !tensor.entry.name.contains("block.1.layer.1.DenseReluDense"));
        some.push(stored("encoder.head.weight", Dtype::F32, &[1], vec![0; 4]));
        let some = file(&some);
        let error = T5Stream::with_vocabulary(loader(&some, "t5xxl"), 8).err().unwrap().to_string();
        let expected = "made.safetensors does not hold a T5 v1.1 text encoder: 4 tensors do not fit\n  \
             missing    encoder.block.1.layer.1.DenseReluDense.{wi_0,wi_1,wo}.weight (3 tensors)\n  \
             not used   encoder.head.weight";
        assert_eq!(error, expected);
    }
}
