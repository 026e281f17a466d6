//! Training captions into text records: CLIP-L's pooled vector and T5's hidden states.
//!
//! A record has the tensors `clip_pooled` [768] and `t5` [rows, 4096], and in its header `t5_tokens`, the
//! number of real tokens. With `attend_padding = true` there is a row for every token that the caption
//! could have, padding included, since FLUX.1 was trained on those rows and T5 lets padding depend on the
//! caption. With `false` T5 sees the real tokens alone, only their rows are kept, and the header says
//! `t5_padding` = `masked`.

use std::collections::BTreeMap;

use super::{Cache, import, record};
use crate::stages::{
    text_encoders::{TextEncoders, TextSettings, Tokens},
    variants,
};
use crate::{
    device,
    manifest::{self, Dtype},
    pipeline::{Draft, StageError, Work},
    weights::Checkpoint,
};

/// Encodes the texts of the items with these indices; `refused` says of some why no cache was taken for
/// them.
///
/// Captions go through T5 in sets, each layer that does not stay being read once for a set;
/// [`TextEncoders::rows_of_set`] says how large a set is.
pub fn encode(
    cache: &Cache,
    work: &mut dyn Work,
    items: Vec<(usize, String)>,
    refused: &import::Refused,
) -> Result<(), StageError> {
    let device = device::choose(&cache.site.device)?.device;
    let settings = TextSettings::of(&cache.config, cache.t5_length()?);
    let (clip_file, t5_file) = (Checkpoint::open(&cache.clip_l)?, Checkpoint::open(&cache.t5xxl)?);
    let encoders = TextEncoders::open(&clip_file, &t5_file, &settings, &device)?;
    if let Some((first, _)) = items.first() {
        work.ready(*first);
    }
    let encoder = Encoder { cache, encoders, refused };
    let (mut set, mut tokens, mut rows) = (Vec::new(), Vec::new(), 0);
    for (item, caption) in items {
        let caption = Tokens::of(&caption, &settings);
        let more = caption.t5.ids.len();
        if !set.is_empty() && rows + more > encoder.encoders.rows_of_set() {
            encoder.encode(work, &std::mem::take(&mut set), &std::mem::take(&mut tokens))?;
            rows = 0;
        }
        if work.cancelled() {
            return Ok(());
        }
        rows += more;
        set.push(item);
        tokens.push(caption);
    }
    encoder.encode(work, &set, &tokens)
}

struct Encoder<'a> {
    cache: &'a Cache,
    encoders: TextEncoders<'a>,
    refused: &'a import::Refused,
}

impl Encoder<'_> {
    /// Encodes a set and commits its records; nothing of it where the user stops meanwhile.
    fn encode(
        &self,
        work: &mut dyn Work,
        items: &[usize],
        tokens: &[Tokens],
    ) -> Result<(), StageError> {
        let Some(&first) = items.first() else { return Ok(()) };
        let note = crate::base::plural(items.len(), "caption");
        let work = std::cell::RefCell::new(work);
        let step = |behind: usize, all: usize| {
            let mut work = work.borrow_mut();
            work.step(first, behind as u64, all as u64, &note);
            !work.cancelled()
        };
        self.encoders.encode(tokens, step, |place, text| {
            let (item, real) = (items[place], tokens[place].real);
            let draft = draft(&self.cache.config, &text.clip, &text.t5, text.rows, real)?;
            work.borrow_mut().commit(item, import::encoded(draft, self.refused.get(&item)))
        })
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
    let notes = notes(real, config.attend_padding);
    let bytes = record::write(&tensors, &notes, config.text_dtype == Dtype::F32)?;
    Ok(Draft::bytes("text.safetensors", bytes))
}

/// What the header of a record says.
pub(super) fn notes(real: usize, attend_padding: bool) -> BTreeMap<String, String> {
    let mut notes = BTreeMap::from([("t5_tokens".to_owned(), real.to_string())]);
    if !attend_padding {
        notes.insert("t5_padding".to_owned(), "masked".to_owned());
    }
    notes
}

/// The training texts of the items with these indices.
pub(super) fn captions(work: &dyn Work, items: &[usize]) -> Result<Vec<String>, StageError> {
    let merged = variants::merged(work.upstream());
    let read = |&item: &usize| variants::read(&merged, work.store(), &work.items()[item].id);
    items.iter().map(read).collect()
}
