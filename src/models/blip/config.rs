//! How large a BLIP captioner is, read from the shapes of its file.

use super::names::Names;
use crate::weights::Loader;

/// Width of one attention head in every published BLIP. Shapes do not tell the number of heads.
const HEAD: usize = 64;

/// Sizes of the picture encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VisionConfig {
    /// Width of a token.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width inside the feed-forward parts.
    pub hidden: usize,
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Patches per side of the picture.
    pub grid: usize,
}

/// Sizes of the text decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextConfig {
    /// Width of a token.
    pub width: usize,
    /// Number of layers.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width inside the feed-forward parts.
    pub hidden: usize,
    /// Number of tokens that it knows.
    pub vocabulary: usize,
    /// Longest text, in tokens.
    pub positions: usize,
    /// Width of the picture tokens that it looks at.
    pub cross: usize,
}

/// Sizes of a BLIP captioner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlipConfig {
    /// The picture encoder.
    pub vision: VisionConfig,
    /// The text decoder.
    pub text: TextConfig,
}

impl BlipConfig {
    /// The published large captioner, `model_large_caption.pth`: 446 million weights.
    pub const LARGE: Self = Self {
        vision: VisionConfig {
            width: 1024,
            depth: 24,
            heads: 16,
            hidden: 4096,
            patch: 16,
            grid: 24,
        },
        text: TextConfig {
            width: 768,
            depth: 12,
            heads: 12,
            hidden: 3072,
            vocabulary: 30_524,
            positions: 512,
            cross: 1024,
        },
    };

    /// Reads the sizes from the shapes of the file. Where a tensor is missing the size is a guess:
    /// [`super::Blip::load`] then reports the tensor. Heads are 64 wide, as in every published file,
    /// or there is one head where 64 does not divide the width; [`BlipConfig::with_heads`] sets them.
    #[must_use]
    pub fn detect(loader: &Loader<'_>) -> Self {
        let size = |name: &str, axis: usize| {
            loader.shape(name).and_then(|shape| shape.get(axis).copied()).unwrap_or(1).max(1)
        };
        let names = Names::of(loader);
        let part = |name: &str| format!("{}.{name}", names.encoder);
        let (patches, blocks) = (part(names.patches) + ".weight", part(names.blocks));
        let width = size(&patches, 0);
        let vision = VisionConfig {
            width,
            depth: loader.count(&blocks),
            heads: heads(width),
            hidden: size(&format!("{blocks}.0.mlp.fc1.weight"), 0),
            patch: size(&patches, 3),
            // One position belongs to the class token.
            grid: (size(&part(names.positions), 1) - 1).isqrt().max(1),
        };
        let embeddings = |name| format!("text_decoder.bert.embeddings.{name}_embeddings.weight");
        let layer = |name| format!("text_decoder.bert.encoder.layer.0.{name}.weight");
        let width = size(&embeddings("word"), 1);
        let text = TextConfig {
            width,
            depth: loader.count("text_decoder.bert.encoder.layer"),
            heads: heads(width),
            hidden: size(&layer("intermediate.dense"), 0),
            vocabulary: size(&embeddings("word"), 0),
            positions: size(&embeddings("position"), 0),
            cross: size(&layer("crossattention.self.key"), 1),
        };
        Self { vision, text }
    }

    /// The same with other numbers of heads, where they are known from elsewhere.
    #[must_use]
    pub fn with_heads(mut self, vision: Option<usize>, text: Option<usize>) -> Self {
        self.vision.heads = vision.unwrap_or(self.vision.heads);
        self.text.heads = text.unwrap_or(self.text.heads);
        self
    }

    /// Why no network can have these sizes, if so.
    pub(super) fn contradiction(&self, first_unknown_id: u32) -> Option<String> {
        let (vision, text) = (&self.vision, &self.text);
        for (part, width, heads) in [
            ("picture encoder", vision.width, vision.heads),
            ("text decoder", text.width, text.heads),
        ] {
            if heads == 0 || width % heads != 0 {
                return Some(format!(
                    "the {part} is {width} wide, which {heads} heads cannot share"
                ));
            }
        }
        let known = text.vocabulary;
        (known < first_unknown_id as usize).then(|| {
            format!("its text decoder knows {known} tokens; captions need {first_unknown_id}")
        })
    }
}

fn heads(width: usize) -> usize {
    if width.is_multiple_of(HEAD) { width / HEAD } else { 1 }
}
