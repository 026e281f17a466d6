//! Where things stand: the text of the manifest, and places in it.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use miette::NamedSource;

/// The manifest as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its path, as the user gave it.
    pub path: PathBuf,
    /// Its text.
    pub text: Arc<str>,
    /// The manifest in whose place it stands: relative paths start at that one's folder.
    pub in_place_of: Option<PathBuf>,
}

impl Source {
    /// The folder that relative paths start from.
    #[must_use]
    pub fn folder(&self) -> &Path {
        let path = self.in_place_of.as_ref().unwrap_or(&self.path);
        path.parent().unwrap_or(Path::new(""))
    }

    /// The line, from 1, in which a byte of the text stands.
    #[must_use]
    pub fn line(&self, byte: usize) -> usize {
        let before = &self.text.as_bytes()[..byte.min(self.text.len())];
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

/// Byte ranges of the values that the manifest states, by dotted path: `stages.label.num_beams`,
/// `dataset.0.image_dir`. A table stands where its header stands. What is left to its default, or
/// was set on the command line, is not here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(pub(super) BTreeMap<String, Range<usize>>);

impl Spans {
    /// Where the value of a dotted path stands.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<Range<usize>> {
        self.0.get(path).cloned()
    }

    /// Every stated path with its place, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        self.0.iter().map(|(path, span)| (path.as_str(), span.clone()))
    }
}

/// A text that values come from: the manifest, or one `--set` of the command line.
pub(super) type Text = Arc<NamedSource<Arc<str>>>;

/// A range in a text.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) text: Text,
    pub(super) range: Range<usize>,
}

impl Place {
    pub(super) fn new(text: &Text, range: Range<usize>) -> Self {
        Self { text: Arc::clone(text), range }
    }

    pub(super) fn is_in(&self, text: &Text) -> bool {
        Arc::ptr_eq(&self.text, text)
    }

    /// What stands there.
    pub(super) fn written(&self) -> &str {
        self.text.inner().get(self.range.clone()).unwrap_or_default()
    }
}
