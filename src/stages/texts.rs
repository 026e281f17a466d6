//! Training captions into text records: CLIP-L's pooled vector and T5's hidden states.

use std::collections::BTreeMap;

use burn::tensor::FloatDType;

use super::{cache::Cache, record};
use crate::{
    device,
    manifest::{ClipActivation, Dtype},
    models::{
        clip::{Activation, ClipConfig, ClipText},
        t5::{T5Batch, T5Stream},
        tokenizer::{ClipTokenizer, T5Tokenizer, Tokens},
    },
    pipeline::{Draft, StageError, Work},
    weights::{Checkpoint, Loader},
};

/// So many captions go through the layers of T5 together: each layer is loaded once for all of them,
/// and their hidden states (8 MB each at full size) are held meanwhile.
const TOGETHER: usize = 64;

/// Encodes the training captions of the items with these indices.
pub fn encode(cache: &Cache, work: &mut dyn Work, items: &[usize]) -> Result<(), StageError> {
    let device = device::choose(&cache.site.device)?.device;
    let clip_file = Checkpoint::open(&cache.clip_l)?;
    let t5_file = Checkpoint::open(&cache.t5xxl)?;
    let loader = Loader::new(&clip_file, "", &device, FloatDType::F32);
    let mut config = ClipConfig::detect(&loader);
    config.activation = match cache.config.clip_activation {
        ClipActivation::QuickGelu => Activation::QuickGelu,
        ClipActivation::Gelu => Activation::Gelu,
    };
    let clip = ClipText::load(&loader, config)?;
    let t5 = T5Stream::open(Loader::new(&t5_file, "", &device, FloatDType::F32))?;
    let length = cache.t5_length()?;
    for group in items.chunks(TOGETHER) {
        if work.cancelled() {
            break;
        }
        let captions = captions(work, group)?;
        let tokens = captions.iter().map(|caption| T5Tokenizer::encode(caption, length));
        let tokens = tokens.collect::<Vec<_>>();
        // FLUX.1 was trained with T5's padding attended.
        let batch = |tokens: &Tokens| T5Batch { ids: vec![tokens.ids.clone()], attend: None };
        let hidden = t5.encode(&tokens.iter().map(batch).collect::<Vec<_>>(), |_, _| ())?;
        for (((&item, caption), tokens), hidden) in
            group.iter().zip(&captions).zip(&tokens).zip(hidden)
        {
            let pooled = clip.forward(&[ClipTokenizer::encode(caption).ids]).pooled;
            let hidden = hidden.squeeze_dim::<2>(0);
            let (pooled, shape) = (record::values(pooled)?, hidden.dims());
            let hidden = record::values(hidden)?;
            let tensors: [(&str, &[usize], &[f32]); 2] =
                [("clip_pooled", &[pooled.len()], &pooled), ("t5", &shape, &hidden)];
            let notes = BTreeMap::from([("t5_tokens".to_owned(), tokens.real.to_string())]);
            let bytes = record::write(&tensors, &notes, cache.config.text_dtype == Dtype::F32)?;
            work.commit(item, Draft::bytes("text.safetensors", bytes))?;
        }
    }
    Ok(())
}

/// The training captions of these items.
pub(super) fn captions(work: &dyn Work, items: &[usize]) -> Result<Vec<String>, StageError> {
    let merged = work.upstream().items().filter(|item| item.kind == "merge");
    let merged = merged.map(|item| (item.id, item)).collect::<BTreeMap<_, _>>();
    items
        .iter()
        .map(|&item| {
            let id = work.items()[item].id.as_str();
            let blob =
                merged.get(id).and_then(|item| item.output).and_then(|output| output.blob("text"));
            let bytes = blob.map(|blob| work.store().read(blob)).transpose()?.unwrap_or_default();
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        })
        .collect()
}
