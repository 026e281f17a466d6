//! The texts of a sample: which blobs of the merge stage they are, and what their items are called.

use std::collections::HashMap;

use miette::Diagnostic;

use super::Site;
use crate::pipeline::{StageError, Store, Upstream, UpstreamItem};

/// The item of the empty caption, which dropped captions are trained with.
pub const EMPTY: &str = "(empty caption)";

/// The blob of the merge stage that holds this text: `text`, `text-1`, …
pub fn blob(variant: u32) -> String {
    if variant == 0 { "text".to_owned() } else { format!("text-{variant}") }
}

/// What the item of a text is called: `coffee.png`, `coffee.png (text 2)`, …
pub fn id(sample: &str, variant: u32) -> String {
    if variant == 0 { sample.to_owned() } else { format!("{sample} (text {})", variant + 1) }
}

/// The sample and the variant that an id stands for. Pictures have endings, so no picture is called
/// like a text of another.
fn parsed(id: &str) -> (&str, u32) {
    let numbered = id.strip_suffix(')').and_then(|id| id.rsplit_once(" (text "));
    let numbered =
        numbered.and_then(|(sample, number)| Some((sample, number.parse::<u32>().ok()?)));
    match numbered {
        Some((sample, number)) if number > 1 => (sample, number - 1),
        _ => (id, 0),
    }
}

/// The manifest path of what makes some captions empty, if anything does.
pub fn dropping(site: &Site) -> Option<String> {
    let datasets = site.manifest.dataset.iter().enumerate();
    let mut dropping = datasets.filter(|(_, dataset)| dataset.drops_captions());
    dropping.next().map(|(index, dataset)| {
        let key = match dataset.caption_dropout_rate > 0.0 {
            true => "caption_dropout_rate",
            false => "caption_dropout_every_n_epochs",
        };
        format!("dataset.{index}.{key}")
    })
}

/// What the merge stages made, by sample.
pub fn merged<'a>(upstream: &Upstream<'a>) -> HashMap<&'a str, UpstreamItem<'a>> {
    upstream.of_kind("merge").map(|item| (item.id, item)).collect()
}

/// The merge stage did not make a text that its dataset's rules promise.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("the merge stage made no `{blob}` of {sample}")]
#[diagnostic(
    code(fluxpipe::cache::text),
    help(
        "run again with `--force` and the name of the merge stage; if it stays, please report it"
    )
)]
struct NoText {
    blob: String,
    sample: String,
}

/// The text that the item `id` encodes.
///
/// # Errors
/// The store cannot be read, or the text is not there.
pub fn read(
    merged: &HashMap<&str, UpstreamItem<'_>>,
    store: &Store,
    id: &str,
) -> Result<String, StageError> {
    if id == EMPTY {
        return Ok(String::new());
    }
    let (sample, variant) = parsed(id);
    let name = blob(variant);
    let output = merged.get(sample).and_then(|item| item.output);
    let Some(found) = output.and_then(|output| output.blob(&name)) else {
        return Err(NoText { blob: name, sample: sample.to_owned() }.into());
    };
    Ok(String::from_utf8_lossy(&store.read(found)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_back_to_its_sample_and_variant() {
        for sample in ["a.png", "b (text 3).png", "sub/ü.webp"] {
            for variant in [0, 1, 2, 17] {
                assert_eq!(parsed(&id(sample, variant)), (sample, variant));
            }
        }
        assert_eq!(id("a.png", 1), "a.png (text 2)");
        assert_eq!((blob(0), blob(7)), ("text".to_owned(), "text-7".to_owned()));
    }
}
