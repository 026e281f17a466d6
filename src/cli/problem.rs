//! What a look before the work found, each with the place of the manifest that led to it.

use std::{error::Error, fmt, ops::Range, path::PathBuf, sync::Arc};

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

use crate::{base::plural, manifest::Manifest};

type Boxed = Box<dyn Diagnostic + Send + Sync>;

/// A diagnostic of any floor. Its code and help are its own; what is added is the line.
#[derive(Debug)]
pub struct Problem {
    found: Boxed,
    place: Option<(NamedSource<Arc<str>>, Range<usize>)>,
}

impl Problem {
    /// Found at no place of its own, or at one that the diagnostic knows itself.
    pub(super) fn new(found: impl Diagnostic + Send + Sync + 'static) -> Self {
        Self { found: Box::new(found), place: None }
    }

    /// Found behind the value at a dotted path of the manifest. One that was set on the command line
    /// has no line.
    pub(super) fn behind(
        manifest: &Manifest,
        path: &str,
        found: impl Diagnostic + Send + Sync + 'static,
    ) -> Self {
        Self::boxed(manifest, path, Box::new(found))
    }

    /// The same of one that a stage found.
    pub(super) fn boxed(manifest: &Manifest, path: &str, found: Boxed) -> Self {
        let source = &manifest.source;
        let text = || NamedSource::new(source.path.display().to_string(), source.text.clone());
        let place = manifest.spans.get(path).map(|span| (text(), span));
        Self { found, place }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.found.fmt(f)
    }
}

impl Error for Problem {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.found.source()
    }
}

impl Diagnostic for Problem {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.found.code()
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.found.help()
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        match &self.place {
            Some((_, span)) => {
                let text = Some("named here".to_owned());
                let label = LabeledSpan::new_primary_with_span(text, span.clone());
                Some(Box::new(std::iter::once(label)))
            }
            None => self.found.labels(),
        }
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        match &self.place {
            Some((text, _)) => Some(text),
            None => self.found.source_code(),
        }
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        self.found.related()
    }

    fn diagnostic_source(&self) -> Option<&dyn Diagnostic> {
        self.found.diagnostic_source()
    }
}

/// Everything that was found, in the order in which it was looked for.
#[derive(Debug)]
pub struct Problems {
    /// The manifest.
    pub path: PathBuf,
    /// Never empty.
    pub problems: Vec<Problem>,
}

impl Problems {
    /// Nothing, or all of it.
    ///
    /// # Errors
    /// There are problems.
    pub(super) fn none(manifest: &Manifest, problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            return Ok(());
        }
        Err(Self { path: manifest.source.path.clone(), problems })
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", plural(self.problems.len(), "error"), self.path.display())
    }
}

impl Error for Problems {}

impl Diagnostic for Problems {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new("fluxpipe::cli::check"))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().map(|problem| problem as &dyn Diagnostic)))
    }
}
