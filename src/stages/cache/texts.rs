//! Training captions into text records: CLIP-L's pooled vector and T5's hidden states.
//!
//! A record has the tensors `clip_pooled` [768] and `t5` [rows, 4096], and in its header `t5_tokens`, the
//! number of real tokens. With `attend_padding = true` there is a row for every token that the caption
//! could have, padding included, since FLUX.1 was trained on those rows and T5 lets padding depend on the
//! caption. With `false` T5 sees the real tokens alone, only their rows are kept, and the header says
//! `t5_padding` = `masked`.

use std::collections::BTreeMap;

use burn::tensor::FloatDType;

use super::{Cache, import, record};
use crate::stages::variants;
use crate::{
    device,
    manifest::{self, ClipActivation, Dtype},
    models::{
        clip::{Activation, ClipConfig, ClipText},
        identity,
        t5::{T5Stream, T5Text},
        tokenizer::{ClipTokenizer, T5Tokenizer},
    },
    pipeline::{Draft, StageError, Work},
    weights::{Checkpoint, Loader},
};

/// A caption on its way to a record.
struct Job {
    item: usize,
    clip: Vec<u32>,
    t5: T5Text,
    real: usize,
}

impl Job {
    fn new(item: usize, caption: &str, length: usize, attend_padding: bool) -> Self {
        let mut tokens = T5Tokenizer::encode(caption, length);
        if !attend_padding {
            // What is hidden from all others need not be computed.
            tokens.ids.truncate(tokens.real.max(1));
        }
        let t5 = T5Text { ids: tokens.ids, attend: None };
        Self { item, clip: ClipTokenizer::encode(caption).ids, t5, real: tokens.real }
    }
}

/// Encodes the training captions of the items with these indices; `refused` says of some why no cache
/// was taken for them.
///
/// Captions go through T5 in sets, each layer that does not stay being read once for a set;
/// [`T5Stream::rows_of_set`] says how large a set is.
pub(super) fn encode(
    cache: &Cache,
    work: &mut dyn Work,
    items: &[usize],
    refused: &import::Refused,
) -> Result<(), StageError> {
    let device = device::choose(&cache.site.device)?.device;
    let clip_file = Checkpoint::open(&cache.clip_l)?;
    let t5_file = Checkpoint::open(&cache.t5xxl)?;
    let prefix = identity::prefix(&clip_file, "clip_l")?;
    let loader = Loader::new(&clip_file, prefix, &device, FloatDType::F32);
    let mut config = ClipConfig::detect(&loader);
    config.activation = match cache.config.clip_activation {
        ClipActivation::QuickGelu => Activation::QuickGelu,
        ClipActivation::Gelu => Activation::Gelu,
    };
    let clip = ClipText::load(&loader, config)?;
    let prefix = identity::prefix(&t5_file, "t5xxl")?;
    let t5 = T5Stream::open(Loader::new(&t5_file, prefix, &device, FloatDType::F32))?
        .keep_layers(cache.config.t5_resident_layers as usize);
    let encoders = Encoders { cache, clip, t5, refused };
    let length = cache.t5_length()?;
    let (mut set, mut rows) = (Vec::new(), 0);
    for (&item, caption) in items.iter().zip(captions(work, items)?) {
        let job = Job::new(item, &caption, length, cache.config.attend_padding);
        if !set.is_empty() && rows + job.t5.ids.len() > encoders.t5.rows_of_set() {
            encoders.encode(work, &std::mem::take(&mut set))?;
            rows = 0;
        }
        if work.cancelled() {
            return Ok(());
        }
        rows += job.t5.ids.len();
        set.push(job);
    }
    encoders.encode(work, &set)
}

struct Encoders<'a> {
    cache: &'a Cache,
    clip: ClipText,
    t5: T5Stream<'a>,
    refused: &'a import::Refused,
}

impl Encoders<'_> {
    /// Encodes a set and commits its records; nothing of it where the user stops meanwhile.
    fn encode(&self, work: &mut dyn Work, set: &[Job]) -> Result<(), StageError> {
        let Some(first) = set.first() else { return Ok(()) };
        let note = crate::base::plural(set.len(), "caption");
        let texts = set.iter().map(|job| job.t5.clone()).collect::<Vec<_>>();
        let hidden = self.t5.encode(&texts, |behind, all| {
            work.step(first.item, behind as u64, all as u64, &note);
            !work.cancelled()
        })?;
        let Some(hidden) = hidden else { return Ok(()) };
        let together = self.cache.config.text_batch_size.max(1) as usize;
        let mut hidden = hidden.into_iter();
        for batch in set.chunks(together) {
            let ids = batch.iter().map(|job| job.clip.clone()).collect::<Vec<_>>();
            let pooled = self.clip.forward(&ids).pooled;
            for ((row, job), hidden) in batch.iter().enumerate().zip(hidden.by_ref()) {
                let pooled = pooled.clone().narrow(0, row, 1);
                let (pooled, rows) = (record::values(pooled)?, hidden.dims()[0]);
                let hidden = record::values(hidden)?;
                let draft = draft(&self.cache.config, &pooled, &hidden, rows, job.real)?;
                let refused = self.refused.get(&job.item);
                work.commit(job.item, import::encoded(draft, refused))?;
            }
        }
        Ok(())
    }
}

/// The record of a text of `real` tokens: CLIP's pooled vector and the `rows` rows of T5's states.
pub(super) fn draft(
    config: &manifest::Cache,
    pooled: &[f32],
    t5: &[f32],
    rows: usize,
    real: usize,
) -> Result<Draft, StageError> {
    let tensors: [(&str, &[usize], &[f32]); 2] =
        [("clip_pooled", &[pooled.len()], pooled), ("t5", &[rows, t5.len() / rows], t5)];
    let mut notes = BTreeMap::from([("t5_tokens".to_owned(), real.to_string())]);
    if !config.attend_padding {
        notes.insert("t5_padding".to_owned(), "masked".to_owned());
    }
    let bytes = record::write(&tensors, &notes, config.text_dtype == Dtype::F32)?;
    Ok(Draft::bytes("text.safetensors", bytes))
}

/// The training texts of the items with these indices.
pub(super) fn captions(work: &dyn Work, items: &[usize]) -> Result<Vec<String>, StageError> {
    let merged = variants::merged(work.upstream());
    let read = |&item: &usize| variants::read(&merged, work.store(), &work.items()[item].id);
    items.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_caption_has_its_real_tokens_alone() {
        let padded = Job::new(0, "a cup of coffee", 512, true);
        let masked = Job::new(0, "a cup of coffee", 512, false);
        assert_eq!((padded.t5.ids.len(), masked.t5.ids.len()), (512, padded.real));
        assert_eq!(padded.t5.ids[..padded.real], masked.t5.ids);
        // An empty caption is its end mark.
        assert_eq!(Job::new(0, "", 512, false).t5.ids, [1]);
    }
}
