//! Thumbnails, made once for a content and kept in the store.

use std::{path::Path, sync::Arc};

use super::Jpeg;
use crate::{base::Digest, dataset, pipeline::Store};

/// How a small picture is made.
#[derive(Clone, Copy)]
pub struct Size {
    /// Longer side in pixels.
    pub edge: usize,
    /// Of the JPEG, of 100.
    pub quality: u8,
}

/// Of a picture of the dataset, beside its caption.
pub const OF_DATASET: Size = Size { edge: 192, quality: 82 };

/// Of a picture that a model drew, which is looked at for what it is.
pub const OF_DRAWN: Size = Size { edge: 384, quality: 90 };

/// The thumbnail of the picture at `path` with the bytes `digest`; `None` where there cannot be one, which
/// is told elsewhere: a broken picture fails in its stage.
pub fn thumbnail(
    store: &Store,
    path: &Path,
    digest: &Digest,
    upright: bool,
    Size { edge, quality }: Size,
) -> Option<Jpeg> {
    let stored = if upright { "" } else { "-as-stored" };
    let sort = format!("thumbnail-{edge}-{quality}{stored}");
    let make = || dataset::thumbnail(path, edge, quality, upright).ok();
    store.derived(&sort, digest, make).map(Arc::new)
}
