//! What `label` and `tag` share: texts that are shown as sidecars and may belong to their human.

use std::path::Path;

use super::{
    Sample, Site,
    batches::{self, Flow},
};
use crate::{
    base::Digest,
    dataset::{DatasetError, Picture},
    manifest::Existing,
    pipeline::{
        Blob, Draft, Finished, Given, ItemSpec, KeyPart, Origin, Output, Owner, Publication,
        Published, StageError, Store, Whose, Work,
    },
};

/// How a stage treats its sidecars.
pub struct Sidecars<'a> {
    /// Name of the blob that holds the text.
    pub blob: &'static str,
    /// `.caption`, `.txt`.
    pub extension: &'a str,
    /// What to do with a text that a human wrote.
    pub existing: Existing,
}

impl Sidecars<'_> {
    /// One item per sample. A text that a human wrote is given, so that no network runs for it.
    pub fn items(&self, site: &Site) -> Result<Vec<ItemSpec>, StageError> {
        site.samples.iter().map(|sample| self.item(site, sample)).collect()
    }

    fn item(&self, site: &Site, sample: &Sample) -> Result<ItemSpec, StageError> {
        let path = sample.sidecar(self.extension)?;
        let parts = site.picture_parts(sample);
        let mut item = ItemSpec { id: sample.id.clone(), recipe: 0, parts, given: None };
        if self.existing == Existing::Overwrite {
            return Ok(item);
        }
        let Some(bytes) = read(&path)? else { return Ok(item) };
        let digest = Digest::of(&bytes);
        if site.store.ledger().owner(&path, &sample.digest, &digest)? == Whose::Human {
            let text = crate::dataset::decode_text(&bytes, &path)?;
            item.parts = vec![KeyPart::new(self.blob, digest, Origin::File(path))];
            let why = "edited by hand, kept";
            item.given =
                Some(Given { output: Output { blobs: vec![text_blob(self.blob, text)] }, why });
        }
        Ok(item)
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
            let mut text = store.read(blob)?;
            text.push(b'\n');
            publications.push(Publication {
                path: sample.sidecar(self.extension)?,
                content: Published::Bytes(text),
                owner: Owner::Sidecar {
                    picture: sample.digest,
                    overwrite: self.existing == Existing::Overwrite,
                },
            });
        }
        Ok(publications)
    }
}

/// The samples by their ids.
pub fn by_id(site: &Site) -> std::collections::BTreeMap<&str, &Sample> {
    site.samples.iter().map(|sample| (sample.id.as_str(), sample)).collect()
}

/// A text as it would be stored, without storing it.
pub fn text_blob(name: &str, text: String) -> Blob {
    let (digest, size) = (Digest::of(text.as_bytes()), text.len() as u64);
    Blob { name: name.to_owned(), digest, size, text: Some(text) }
}

/// The bytes of a sidecar, or `None` if there is none.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, StageError> {
    match fs_err::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(super::files::unreadable(path, error)),
    }
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
