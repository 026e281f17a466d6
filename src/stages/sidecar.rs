//! What `label` and `tag` share: texts that are shown as sidecars and may belong to their human.

use std::{collections::HashMap, path::PathBuf};

use rayon::prelude::*;

use super::{
    Sample, Site,
    batches::{self, Flow},
};
use crate::{
    base::{Digest, Value},
    dataset::{DatasetError, Picture, decode_text},
    manifest::Existing,
    pipeline::{
        Blob, Decision, Draft, Finished, Given, ItemFailure, ItemSpec, KeyPart, Origin, Output,
        Owner, Preflight, Publication, Published, StageError, Store, Whose, Words, Work,
    },
};

/// Name of the key part that holds the words of a human which an output adds to.
const APPENDED_TO: &str = "by hand";

/// How a stage treats its sidecars.
pub struct Sidecars<'a> {
    /// Name of the blob that holds the text.
    pub blob: &'static str,
    /// `.caption`, `.txt`.
    pub extension: &'a str,
    /// What to do with a text that a human wrote.
    pub existing: Existing,
}

/// What a human wrote into the sidecar of a sample, as far as it counts.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing: the text is fluxpipe's to make.
    Nothing,
    /// The text, which stays as it is.
    Kept(String),
    /// Words that the text is added to.
    AppendTo(String),
    /// Something that is no text, so that the sample is left out.
    NotText(ItemFailure),
}

impl Sidecars<'_> {
    /// One item per sample, which reads its picture. A text that a human wrote is given, so that no
    /// network runs for it.
    pub fn items(&self, site: &Site) -> Result<Vec<ItemSpec>, StageError> {
        let item = |sample: &Sample| match self.said(site, sample)? {
            Said::Kept(text) => self.given(sample, text),
            Said::Nothing | Said::AppendTo(_) => Ok(of_picture(site, sample)),
            Said::NotText(failure) => Ok(ItemSpec::unusable(&sample.id, 0, failure)),
        };
        site.samples.par_iter().map(item).collect()
    }

    /// What a human wrote for this sample.
    ///
    /// fluxpipe's own words in a file that a human began are not the human's, so that added tags can be
    /// made anew; but such a file as a whole is kept where nothing may be added any more.
    pub fn said(&self, site: &Site, sample: &Sample) -> Result<Said, StageError> {
        if self.existing == Existing::Overwrite {
            return Ok(Said::Nothing);
        }
        let path = sample.sidecar(self.extension)?;
        let bytes = match site.store.read_sidecar(&path) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(Said::Nothing),
            // A pipe, a device, a folder: that of one picture, which is left out.
            Err(error) if !path.is_file() => return Ok(Said::NotText(ItemFailure::of(&error))),
            Err(error) => return Err(error.into()),
        };
        let owner = site.store.ledger().owner(&path, &sample.digest, &Digest::of(&bytes))?;
        if owner == Whose::Ours {
            return Ok(Said::Nothing);
        }
        Ok(match (self.existing, owner) {
            (Existing::Append, Whose::Appended(words)) => Said::AppendTo(words),
            (existing, _) => match decode_text(&bytes, &path) {
                Err(error) => Said::NotText(ItemFailure::of(&error)),
                Ok(text) if existing == Existing::Append => Said::AppendTo(text),
                Ok(text) => Said::Kept(text),
            },
        })
    }

    /// The item of a sample whose text is its human's.
    pub fn given(&self, sample: &Sample, text: String) -> Result<ItemSpec, StageError> {
        let origin = Origin::File(sample.sidecar(self.extension)?);
        let blob = text_blob(self.blob, text);
        let parts = vec![KeyPart::new(self.blob, blob.digest, origin)];
        let output = Output { blobs: vec![blob] };
        let given = Given { output, why: "edited by hand, kept" };
        Ok(ItemSpec::new(&sample.id, 0, parts).given(given))
    }

    /// A key part for words that the text is added to; they are found again by [`appended_to`].
    pub fn append_part(&self, sample: &Sample, words: &str) -> Result<KeyPart, StageError> {
        let path: PathBuf = sample.sidecar(self.extension)?;
        Ok(KeyPart::new(APPENDED_TO, words, Origin::File(path)))
    }

    /// One sidecar per finished item that fluxpipe made itself.
    pub fn publications(
        &self,
        site: &Site,
        finished: &[Finished<'_>],
        store: &Store,
    ) -> Result<Vec<Publication>, StageError> {
        let samples = by_id(site);
        let mut publications = Vec::new();
        for done in finished.iter().filter(|done| done.spec.given.is_none()) {
            let (Some(sample), Some(blob)) =
                (samples.get(done.spec.id.as_str()), done.output.blob(self.blob))
            else {
                continue;
            };
            let words = match appended_to(done.spec) {
                // Somebody wrote other words while the stage ran: they wait for the next run.
                Some(words) if self.said(site, sample)? != Said::AppendTo(words.to_owned()) => {
                    continue;
                }
                Some(words) => Words::AppendTo(words.to_owned()),
                None if self.existing == Existing::Overwrite => Words::Overwrite,
                None => Words::Keep,
            };
            let mut text = store.read(blob)?;
            text.push(b'\n');
            publications.push(Publication {
                path: sample.sidecar(self.extension)?,
                content: Published::Bytes(text),
                owner: Owner::Sidecar { picture: sample.digest, words },
            });
        }
        Ok(publications)
    }
}

/// The item that reads the picture of a sample.
pub fn of_picture(site: &Site, sample: &Sample) -> ItemSpec {
    ItemSpec::new(&sample.id, 0, site.picture_parts(sample))
}

/// The words of a human that an item adds to.
pub fn appended_to(item: &ItemSpec) -> Option<&str> {
    let part = item.parts.iter().find(|part| part.name == APPENDED_TO)?;
    match &part.value {
        Some(Value::Text(words)) => Some(words),
        _ => None,
    }
}

/// The samples by their ids.
pub fn by_id(site: &Site) -> HashMap<&str, &Sample> {
    site.samples.iter().map(|sample| (sample.id.as_str(), sample)).collect()
}

/// A text as it would be stored, without storing it.
pub fn text_blob(name: &str, text: String) -> Blob {
    let (digest, size) = (Digest::of(text.as_bytes()), text.len() as u64);
    Blob { name: name.to_owned(), digest, size, text: Some(text) }
}

/// Decodes the pictures of the items that are to run, before a run.
pub fn preflight(
    site: &Site,
    decisions: &[Decision],
    look: &mut dyn Preflight,
) -> Result<(), StageError> {
    let samples = by_id(site);
    let running = decisions.iter().filter(|one| one.runs());
    let pictures = running.filter_map(|one| samples.get(one.spec.id.as_str()).copied());
    super::preflight::pictures(site, &pictures.collect::<Vec<_>>(), look)
}

/// Runs a network over the pictures of `work`, `batch_size` at a time. While it runs, the next
/// pictures are decoded and prepared; a broken one is reported and left out, so that a batch is full
/// until the last. Each result is committed at once.
pub fn in_batches<T: Send>(
    site: &Site,
    work: &mut dyn Work,
    batch_size: u32,
    prepare: impl Fn(Picture) -> T + Sync,
    mut network: impl FnMut(&[T]) -> Result<Vec<Draft>, StageError>,
) -> Result<(), StageError> {
    let batch_size = batch_size.max(1) as usize;
    let samples = by_id(site);
    let jobs = work.items().iter().map(|item| site.job(samples[item.id.as_str()]));
    let jobs = jobs.collect::<Vec<_>>();
    let (mut inputs, mut items) = (Vec::new(), Vec::new());
    let prepare = |_, picture| Ok(prepare(picture));
    batches::prepared(&jobs, batch_size, prepare, |item, prepared| {
        if work.cancelled() {
            return Ok(Flow::Stop);
        }
        match prepared {
            Ok(input) => {
                inputs.push(input);
                items.push(item);
            }
            Err(error) => leave_out(work, item, error)?,
        }
        if inputs.len() == batch_size || (item + 1 == jobs.len() && !inputs.is_empty()) {
            for (item, draft) in items.drain(..).zip(network(&inputs)?) {
                work.commit(item, draft)?;
            }
            inputs.clear();
        }
        Ok(Flow::GoOn)
    })
}

/// Reports a picture that is none. One that cannot be read ends the stage instead: a failure is
/// remembered for the picture's content, and a disk or a permission is not that.
pub fn leave_out(work: &mut dyn Work, item: usize, error: DatasetError) -> Result<(), StageError> {
    match error {
        DatasetError::Read { .. } => Err(error.into()),
        error => work.fail(item, error.into()),
    }
}
