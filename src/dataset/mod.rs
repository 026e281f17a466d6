//! Floor 2: pictures and the words that belong to them.
//!
//! Finds the pictures of a folder, decodes and resizes them as the published training scripts do,
//! chooses buckets, reads sidecar captions, makes training captions of them, reads and
//! writes `meta_data.json`, and the texts in PNG files. Knows no network, no stage
//! and no manifest: settings come in as plain values.

mod area;
mod augment;
mod buckets;
mod caption;
mod caption_rules;
pub mod clean;
pub mod drawn;
mod encoded;
mod error;
mod format;
mod in_json;
mod jpeg;
mod metadata;
mod palette;
mod picture;
pub mod png_text;
mod resize;
mod scan;
mod separable;
mod sidecar;
mod square;
mod stored;
mod thumbnail;
mod tiff;
mod webp;

pub use augment::ColourChange;
pub use buckets::{Aspect, BucketSettings, Buckets, Fitted, Placement, place};
pub use caption::{MergeRules, Merged, training_caption};
pub use caption_rules::{CaptionRules, Draws, TokenWarmup};
pub use encoded::{Encoded, Header, PIXEL_LIMIT};
pub use error::DatasetError;
pub use in_json::InJson;
pub use metadata::{Entry, Metadata, metadata_keys};
pub use picture::Picture;
pub use resize::{Resampling, resize};
pub use scan::{PictureFile, is_picture, refuse_shared_sidecars, scan};
pub use sidecar::{decode_text, read_sidecar, sidecar_path};
pub use square::{captioner_pixels, tagger_pixels, to_square_white};
pub use thumbnail::thumbnail;
