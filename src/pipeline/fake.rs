//! A scripted stage, for tests of the engine and of what stands on it. No command makes one.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    Blob, Draft, Finished, Given, ItemSpec, KeyPart, Origin, Output, Owner, Publication, Published,
    Recipe, Stage, StageError, Store, StoreError, Upstream, Words, Work,
};
use crate::base::{Digest, Value};

/// What a fake stage makes its items of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// One item per source.
    Sources,
    /// One item per upstream id, of all upstream items with that id.
    EachUpstream,
    /// One item, of everything upstream.
    AllUpstream,
}

/// A stage whose outputs are made of texts.
#[derive(Clone, Debug)]
pub struct FakeStage {
    kind: &'static str,
    reads: Reads,
    parameters: Vec<(String, Value)>,
    sources: Vec<Source>,
    lossy: bool,
    pause: Duration,
    padding: usize,
    publish_to: Option<PathBuf>,
    made: Arc<Mutex<Vec<String>>>,
}

/// A source of a fake stage. `bad` in its text makes its item fail, `panic` makes the stage panic.
#[derive(Clone, Debug)]
pub struct Source {
    /// Id of its item.
    pub id: String,
    /// What stands in it.
    pub text: String,
    /// What a human gave in place of an output.
    pub given: Option<String>,
}

impl FakeStage {
    /// A stage of this kind without sources.
    #[must_use]
    pub fn new(kind: &'static str) -> Self {
        Self {
            kind,
            reads: Reads::Sources,
            parameters: Vec::new(),
            sources: Vec::new(),
            lossy: false,
            pause: Duration::ZERO,
            padding: 0,
            publish_to: None,
            made: Arc::default(),
        }
    }

    /// What its items are made of.
    #[must_use]
    pub fn reads(mut self, reads: Reads) -> Self {
        self.reads = reads;
        self
    }

    /// Sets a parameter of the recipe.
    #[must_use]
    pub fn parameter(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.parameters.push((name.to_owned(), value.into()));
        self
    }

    /// Adds a source.
    #[must_use]
    pub fn source(mut self, id: &str, text: &str) -> Self {
        self.sources.push(Source { id: id.to_owned(), text: text.to_owned(), given: None });
        self
    }

    /// Adds a source whose output a human gave.
    #[must_use]
    pub fn given(mut self, id: &str, text: &str, given: &str) -> Self {
        self = self.source(id, text);
        self.sources
            .iter_mut()
            .last()
            .into_iter()
            .for_each(|last| last.given = Some(given.to_owned()));
        self
    }

    /// Makes many inputs lead to one output.
    #[must_use]
    pub fn lossy(mut self) -> Self {
        self.lossy = true;
        self
    }

    /// Takes this long for each item.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Adds a blob of this many bytes to each output, through a scratch file.
    #[must_use]
    pub fn padding(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    /// Publishes each output as a sidecar in this folder.
    #[must_use]
    pub fn publish_to(mut self, folder: impl Into<PathBuf>) -> Self {
        self.publish_to = Some(folder.into());
        self
    }

    /// Lists the ids of the items that it made in `made`.
    #[must_use]
    pub fn listing(mut self, made: &Arc<Mutex<Vec<String>>>) -> Self {
        self.made = Arc::clone(made);
        self
    }

    fn item_of(&self, source: &Source) -> ItemSpec {
        let file = PathBuf::from(&source.id);
        let text = Digest::of(source.text.as_bytes());
        let mut parts = vec![KeyPart::new("source", text, Origin::File(file.clone()))];
        let given = source.given.as_ref().map(|given| {
            let digest = Digest::of(given.as_bytes());
            let sidecar = Origin::File(file.with_extension("given"));
            parts.push(KeyPart::new("sidecar", digest, sidecar));
            let (name, size) = ("text".to_owned(), given.len() as u64);
            let blob = Blob { name, digest, size, text: Some(given.clone()) };
            Given { output: Output { blobs: vec![blob] }, why: "edited by hand, kept" }
        });
        ItemSpec { given, ..ItemSpec::new(&source.id, 0, parts) }
    }

    /// What an item makes: its input and its parameters, as they stand in its key.
    fn make(&self, spec: &ItemSpec) -> String {
        let parameters = self.parameters.iter().map(|(name, value)| format!("{name}={value}"));
        let parts = spec.key_parts().map(|part| match &part.value {
            Some(Value::Digest(digest)) => format!("{}={digest}", part.name),
            other => format!("{}={other:?}", part.name),
        });
        let input = parameters.chain(parts).collect::<Vec<_>>().join(" ");
        let digest = Digest::of(input.as_bytes());
        if self.lossy { format!("{}", digest.as_bytes()[0] % 2) } else { digest.hex() }
    }

    /// What goes wrong, by id.
    fn faults(&self) -> HashMap<&str, &'static str> {
        let faults = self.sources.iter().filter_map(|source| {
            let fault = ["bad", "panic"].into_iter().find(|fault| source.text.contains(fault))?;
            Some((source.id.as_str(), fault))
        });
        faults.collect()
    }
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("`{0}` is bad")]
#[diagnostic(code(fluxpipe::fake::bad), help("make it good"))]
struct Bad(String);

impl Stage for FakeStage {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn recipes(&self) -> Result<Vec<Recipe>, StageError> {
        let parts = self.parameters.iter().map(|(name, value)| {
            let path = format!("stages.{}.{name}", self.kind);
            KeyPart::new(name, value.clone(), Origin::Manifest { path, span: None })
        });
        Ok(vec![Recipe { name: "text", parts: parts.collect() }])
    }

    fn items(&self, upstream: &Upstream<'_>) -> Result<Vec<ItemSpec>, StageError> {
        let mut specs: Vec<ItemSpec> =
            self.sources.iter().map(|source| self.item_of(source)).collect();
        let bare = |id: &str| ItemSpec::new(id, 0, Vec::new());
        let mut places: HashMap<String, usize> =
            specs.iter().enumerate().map(|(place, spec)| (spec.id.clone(), place)).collect();
        if self.reads == Reads::AllUpstream {
            places.insert("all".to_owned(), specs.len());
            specs.push(bare("all"));
        }
        for item in upstream.items() {
            let (id, part) = match self.reads {
                Reads::Sources => continue,
                Reads::EachUpstream => (item.id, item.stage.to_owned()),
                Reads::AllUpstream => ("all", format!("{} {}", item.stage, item.id)),
            };
            let place = *places.entry(id.to_owned()).or_insert(specs.len());
            if place == specs.len() {
                specs.push(bare(id));
            }
            specs[place].parts.push(item.part(&part, "text"));
        }
        Ok(specs)
    }

    fn run(&self, work: &mut dyn Work) -> Result<(), StageError> {
        let faults = self.faults();
        for item in 0..work.items().len() {
            if work.cancelled() {
                break;
            }
            let spec = work.items()[item];
            let (id, text) = (spec.id.clone(), self.make(spec));
            work.step(item, 0, 1, "");
            std::thread::sleep(self.pause);
            match faults.get(id.as_str()) {
                Some(&"bad") => {
                    work.fail(item, Bad(id).into())?;
                    continue;
                }
                Some(fault) => panic!("{fault} at {id}"),
                None => {}
            }
            let mut draft = Draft::bytes("text", text);
            if self.padding > 0 {
                let path = work.scratch(item)?.join("padding");
                let bytes = vec![id.len() as u8; self.padding];
                fs_err::write(&path, bytes).map_err(|error| StoreError::write(&path, error))?;
                draft = draft.and_file("padding", path);
            }
            work.commit(item, draft)?;
            self.made.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        }
        Ok(())
    }

    fn publications(
        &self,
        finished: &[Finished<'_>],
        _store: &Store,
    ) -> Result<Vec<Publication>, StageError> {
        let Some(folder) = &self.publish_to else { return Ok(Vec::new()) };
        let made = finished.iter().filter(|finished| finished.spec.given.is_none());
        let publications = made.filter_map(|finished| {
            let path = folder.join(format!("{}.txt", finished.spec.id));
            let content = Published::Blob(finished.output.blob("text")?.clone());
            let picture = Digest::of(finished.spec.id.as_bytes());
            let owner = Owner::Sidecar { picture, words: Words::Keep };
            Some(Publication { path, content, owner })
        });
        Ok(publications.collect())
    }
}
