//! Before a run: pictures decode, and texts that are known are tokenized. Texts that are still to be made
//! are looked at when they are encoded.

use rayon::prelude::*;

use super::{Cache, LATENT, TEXT, cost::known};
use crate::{
    base::plural,
    models::tokenizer::{ClipTokenizer, T5Tokenizer},
    pipeline::{Decision, Preflight, StageError, Store, Upstream, Warning, Work},
    stages::{Sample, preflight::pictures},
};

/// Texts that are named where some are cut off.
const NAMED: usize = 5;

/// Looks at the pictures and texts of the items that are to run.
pub fn preflight(
    cache: &Cache,
    decisions: &[Decision],
    upstream: &Upstream<'_>,
    store: &Store,
    look: &mut dyn Preflight,
) -> Result<(), StageError> {
    let of =
        |recipe: usize| decisions.iter().filter(move |one| one.runs() && one.spec.recipe == recipe);
    let views = cache.views();
    let samples = of(LATENT).filter_map(|one| views.get(&one.spec.id).map(|(sample, _)| *sample));
    pictures(&cache.site, &samples.collect::<Vec<&Sample>>(), look)?;
    let items = of(TEXT).collect::<Vec<_>>();
    let texts = known(&items, upstream, store)?;
    let texts = items.iter().zip(&texts);
    let texts = texts.filter_map(|(one, text)| Some((one.spec.id.as_str(), text.as_deref()?)));
    if let Some(cut) = cut_offs(&texts.collect::<Vec<_>>(), cache.t5_length()?) {
        let names = cut.examples.join(", ");
        look.tell(&format!("{}: {names}", cut.message));
    }
    Ok(())
}

/// Warns where T5 does not see all of the texts that the items with these indices encode.
pub fn warn_of_cut_offs(
    cache: &Cache,
    work: &mut dyn Work,
    items: &[usize],
    captions: &[String],
) -> Result<(), StageError> {
    let ids = items.iter().map(|&item| work.items()[item].id.as_str());
    let texts = ids.zip(captions.iter().map(String::as_str)).collect::<Vec<_>>();
    let length = cache.t5_length()?;
    let is_cut = |(_, text): &&(&str, &str)| T5Tokenizer::encode(text, length).cut > 0;
    let cut = texts.iter().filter(is_cut).copied().collect::<Vec<_>>();
    if let Some(warning) = cut_offs(&cut, length) {
        work.warn(warning);
    }
    Ok(())
}

/// What is told of these texts where T5 or CLIP-L does not see all of them.
pub fn cut_offs(texts: &[(&str, &str)], length: usize) -> Option<Warning> {
    let cut = texts.par_iter().map(|(id, text)| {
        let (t5, clip) = (T5Tokenizer::encode(text, length).cut, ClipTokenizer::encode(text).cut);
        (*id, t5, clip)
    });
    let cut = cut.filter(|(_, t5, clip)| t5 + clip > 0).collect::<Vec<_>>();
    let by_t5 = cut.iter().filter(|(_, t5, _)| *t5 > 0).count();
    let by_clip = cut.iter().filter(|(.., clip)| *clip > 0).count();
    if cut.is_empty() {
        return None;
    }
    let named = |(id, t5, clip): &(&str, usize, usize)| match t5 {
        0 => format!("{id} (CLIP-L cuts off {clip})"),
        t5 => format!("{id} (T5 cuts off {t5}, CLIP-L {clip})"),
    };
    Some(Warning {
        code: "fluxpipe::cache::cut_off".to_owned(),
        message: match by_t5 {
            0 => format!("of {} CLIP-L reads only the first 77 tokens", plural(by_clip, "text")),
            _ => format!(
                "the ends of texts are not read: T5 cuts off {by_t5} after {length} tokens, CLIP-L \
                 {by_clip} after 77"
            ),
        },
        help: Some(match by_t5 {
            0 => "T5 sees all of them; `fluxpipe captions --cut` shows what CLIP-L does not"
                .to_owned(),
            _ => format!(
                "`fluxpipe captions --cut` shows what of {} is not seen; shorten it, or raise \
                 `t5xxl_max_token_length`",
                plural(by_t5, "text")
            ),
        }),
        items: cut.len(),
        examples: cut.iter().take(NAMED).map(named).collect(),
    })
}
