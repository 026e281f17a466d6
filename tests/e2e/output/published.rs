//! Names, shapes and types against `flux1.txt`, the full list of the published files: it is by these that
//! ComfyUI and webui know a FLUX.1 transformer.

use std::{collections::BTreeMap, fs::File, io::Write};

use burn::tensor::{Device, FloatDType};
use fluxpipe::{
    models::flux::{FluxConfig, FluxParts, Naming},
    weights::{Checkpoint, Dtype},
};
use serde_json::json;

use super::Tuned;

/// How many tensors and bytes a published file has.
const PUBLISHED: [(bool, usize, u64); 2] =
    [(true, 780, 23_802_932_552), (false, 776, 23_782_506_688)];

/// Types and shapes by name.
type Table = BTreeMap<String, (Dtype, Vec<usize>)>;

/// The tensors of flux1-dev.safetensors, or of flux1-schnell.safetensors.
fn published(dev: bool) -> Table {
    let lines = include_str!("flux1.txt").lines().filter(|line| !line.starts_with('#'));
    let tensor = |line: &str| {
        let words = line.split(' ').collect::<Vec<_>>();
        let [name, "BF16", shape] = words[..3] else { panic!("{line}") };
        let both = match words[3..] {
            [] => true,
            ["dev"] => false,
            _ => panic!("{line}"),
        };
        let shape = shape.split('x').map(|size| size.parse().unwrap()).collect();
        (dev || both).then(|| (name.to_owned(), (Dtype::BF16, shape)))
    };
    lines.filter_map(tensor).collect()
}

fn full_size(dev: bool) -> FluxConfig {
    FluxConfig { guidance_embed: dev, ..FluxConfig::DEV }
}

fn stored(checkpoint: &Checkpoint) -> Table {
    let tensor = |name: &str| {
        let info = checkpoint.info(name).unwrap();
        (name.to_owned(), (info.dtype, info.shape.clone()))
    };
    checkpoint.names().map(tensor).collect()
}

#[test]
fn the_table_is_as_large_as_the_published_files() {
    for (dev, tensors, bytes) in PUBLISHED {
        let table = published(dev);
        assert_eq!(table.len(), tensors);
        let elements = table.values().map(|(_, shape)| shape.iter().product::<usize>());
        let header = bytes - 2 * elements.sum::<usize>() as u64;
        // A name, a type, a shape and a place for each tensor, and texts with a small picture.
        assert!((80_000..160_000).contains(&header), "{header} bytes are left for the header");
    }
}

#[test]
fn the_full_size_network_has_the_published_names_and_shapes() {
    for (dev, ..) in PUBLISHED {
        let parameters = full_size(dev).parameters().into_iter();
        let ours = parameters.map(|(name, shape)| (name, (Dtype::BF16, shape)));
        assert_eq!(ours.collect::<Table>(), published(dev));
    }
}

/// A file of the published length and layout, all of it a hole but the header, is known and audited.
#[test]
fn a_file_like_the_published_one_is_read() {
    for (dev, _, bytes) in PUBLISHED {
        let mut header = serde_json::Map::new();
        let mut offset = 0;
        for (name, (dtype, shape)) in published(dev) {
            let end = offset + dtype.size() * shape.iter().product::<usize>();
            let described =
                json!({ "dtype": dtype.name(), "shape": shape, "data_offsets": [offset, end] });
            header.insert(name, described);
            offset = end;
        }
        let mut text = serde_json::to_vec(&header).unwrap();
        text.resize(bytes as usize - offset - 8, b' ');
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flux1.safetensors");
        let mut file = File::create(&path).unwrap();
        file.write_all(&(text.len() as u64).to_le_bytes()).unwrap();
        file.write_all(&text).unwrap();
        file.set_len(bytes).unwrap();
        let checkpoint = Checkpoint::open(&path).unwrap();
        let (config, layout) = FluxConfig::detect(&checkpoint).unwrap();
        assert_eq!(config, full_size(dev));
        assert_eq!((layout.naming, layout.root.as_str()), (Naming::Bfl, ""));
        FluxParts::open(&checkpoint, &Device::flex(), FloatDType::BF16).unwrap();
    }
}

#[test]
fn a_trained_checkpoint_has_the_published_names_shapes_and_types() {
    for dev in [true, false] {
        let tuned = Tuned::new(dev);
        let checkpoint = tuned.checkpoint();
        let expected = scaled(published(dev), &tuned.config);
        assert_eq!(stored(&checkpoint), expected);
        // It is the trained one: every weight has moved.
        let before = tuned.untrained();
        for name in expected.keys() {
            let same = before.bytes(name).unwrap() == checkpoint.bytes(name).unwrap();
            assert!(!same, "{name} was not trained");
        }
        let architecture = if dev { "flux-1-dev" } else { "flux-1-schnell" };
        assert_eq!(checkpoint.metadata()["modelspec.architecture"], architecture);
    }
}

/// The published tensors with as many blocks and as wide as `small`.
fn scaled(published: Table, small: &FluxConfig) -> Table {
    let is_there = |name: &str| {
        let block = |list, count| {
            let number = name.strip_prefix(list).and_then(|rest: &str| rest.split('.').next());
            number.is_none_or(|number| number.parse::<usize>().unwrap() < count)
        };
        block("double_blocks.", small.depth) && block("single_blocks.", small.depth_single_blocks)
    };
    let size = |size: &usize| match size {
        64 => small.in_channels,
        128 => small.head(),
        // Of the sinusoids that tell time and guidance: the same at any width.
        256 => 256,
        768 => small.vec_in_dim,
        3072 => small.hidden_size,
        4096 => small.context_in_dim,
        6144 => 2 * small.hidden_size,
        9216 => 3 * small.hidden_size,
        12_288 => small.mlp_size,
        15_360 => small.hidden_size + small.mlp_size,
        18_432 => 6 * small.hidden_size,
        21_504 => 3 * small.hidden_size + small.mlp_size,
        other => panic!("no size of the architecture: {other}"),
    };
    let tensors = published.into_iter().filter(|(name, _)| is_there(name));
    let scale = |shape: Vec<usize>| shape.iter().map(size).collect();
    tensors.map(|(name, (dtype, shape))| (name, (dtype, scale(shape)))).collect()
}
