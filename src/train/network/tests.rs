//! A network gives the same numbers wherever its blocks lie.

use std::{collections::BTreeMap, path::Path};

use burn::tensor::{DType, Device};

use super::*;
use crate::{
    base::Stream,
    models::flux::{Flux, position_ids},
    train::memory::Weights,
    weights::{Checkpoint, Writer},
};

fn config() -> FluxConfig {
    FluxConfig {
        in_channels: 8,
        out_channels: 8,
        vec_in_dim: 6,
        context_in_dim: 10,
        hidden_size: 32,
        mlp_size: 48,
        num_heads: 2,
        depth: 2,
        depth_single_blocks: 3,
        axes_dim: FluxConfig::axes_of_head(16),
        theta: 10_000.0,
        guidance_embed: true,
    }
}

fn input() -> FluxInput {
    let numbers = |name: &str, shape: [usize; 3]| {
        let values = Stream::new(5, name, None, &[]).normals(shape.iter().product());
        Tensor::<3>::from_data(TensorData::new(values, shape), (&Device::flex(), DType::F32))
    };
    FluxInput {
        img: numbers("img", [2, 6, 8]),
        txt: numbers("txt", [2, 3, 10]),
        y: numbers("y", [2, 1, 6]).squeeze_dim(1),
        timesteps: vec![0.3, 0.8],
        guidance: vec![1.0; 2],
        ids: position_ids(3, 4, 6),
        txt_attention_mask: None,
    }
}

/// Every other block is elsewhere, from this one on.
fn swapped(first: usize) -> Plan {
    let mut plan = Plan::resident(5);
    plan.blocks[first..].iter_mut().step_by(2).for_each(|block| block.weights = Weights::Swapped);
    plan
}

fn floats(tensor: Tensor<3>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}

/// The network as a file.
fn file(network: &Network) -> Checkpoint {
    let mut writer = Writer::new(Vec::new(), &network.entries(), &BTreeMap::new()).unwrap();
    network.for_each(&mut |_, data| writer.tensor(data.as_bytes())).unwrap();
    Checkpoint::from_bytes(Path::new("network"), writer.finish().unwrap()).unwrap()
}

#[test]
fn a_network_is_the_same_wherever_its_blocks_are() {
    let folder = tempfile::tempdir().unwrap();
    for stored in [FloatDType::F32, FloatDType::BF16] {
        let device = Device::flex();
        let whole = Flux::random(config(), 3, &device, stored);
        let mut resident = Network::resident(whole);
        let expected = floats(resident.forward(&input()));
        let file = file(&resident);
        for plan in [Plan::resident(5), swapped(0), swapped(1)] {
            let loaded = Network::load(&file, plan.clone(), &device, stored, folder.path());
            let mut network = loaded.unwrap();
            // Twice: the second time begins where the first ended.
            for _ in 0..2 {
                assert!(floats(network.forward(&input())) == expected, "{stored:?} {plan:?}");
            }
            let mut names = Vec::new();
            let mut compare = |name: &str, data: TensorData| {
                assert_eq!(data.as_bytes(), &*file.bytes(name).unwrap(), "{name}");
                names.push(name.to_owned());
                Ok(())
            };
            network.for_each(&mut compare).unwrap();
            assert_eq!(names.len(), file.names().count());
            assert!(network.waited() > Duration::ZERO || plan == Plan::resident(5));
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
}

#[test]
fn weights_are_taken_back() {
    let (folder, device) = (tempfile::tempdir().unwrap(), Device::flex());
    let random = |seed, plan| {
        Network::random(config(), seed, plan, &device, FloatDType::BF16, folder.path()).unwrap()
    };
    let mut one = random(1, swapped(0));
    let mut other = random(2, swapped(1));
    let [before, wanted] = [&mut one, &mut other].map(|network| floats(network.forward(&input())));
    assert_ne!(before, wanted);
    one.restore(&file(&other)).unwrap();
    assert_eq!(floats(one.forward(&input())), wanted);
    let narrow = FluxConfig { depth: 1, ..config() };
    let parts =
        Network::random(narrow, 1, Plan::resident(4), &device, FloatDType::BF16, folder.path());
    assert!(matches!(one.restore(&file(&parts.unwrap())), Err(NetworkError::Weights(_))));
}

#[test]
fn a_file_that_does_not_fit_is_refused_before_any_work() {
    let device = Device::flex();
    let network = Network::resident(Flux::random(config(), 3, &device, FloatDType::F32));
    let mut entries = network.entries();
    let wrong = entries.iter_mut().filter(|entry| entry.name.contains("linear2.weight"));
    wrong.for_each(|entry| entry.shape.reverse());
    let mut writer = Writer::new(Vec::new(), &entries, &BTreeMap::new()).unwrap();
    network.for_each(&mut |_, data| writer.tensor(data.as_bytes())).unwrap();
    let file = Checkpoint::from_bytes(Path::new("wrong"), writer.finish().unwrap()).unwrap();
    // A folder that is not there: nothing was made in it yet.
    let nowhere = Path::new("/nowhere/at/all");
    let stored = FloatDType::F32;
    let refused = Network::load(&file, swapped(0), &device, stored, nowhere).err().unwrap();
    let NetworkError::Weights(error) = refused else { panic!("{refused}") };
    assert!(error.to_string().contains("linear2"), "{error}");
    let refused = Network::random(config(), 1, swapped(0), &device, stored, nowhere).err().unwrap();
    assert!(refused.to_string().contains("/nowhere/at/all"), "{refused}");
}
