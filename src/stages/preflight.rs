//! What several stages try out before a run: whether pictures decode.

use super::{
    Sample, Site,
    batches::{self, Flow},
};
use crate::{
    base::plural,
    dataset::DatasetError,
    pipeline::{Preflight, StageError, StoreError, Warning},
};

/// The fact that a picture was decoded.
const DECODES: &str = "picture-decodes";

/// Pictures that are named where some do not decode.
const NAMED: usize = 5;

/// Decodes the pictures of these samples that no run has decoded yet, on all cores.
///
/// # Errors
/// A file cannot be read; or a picture is broken, and the manifest says that this ends the run.
pub fn pictures(
    site: &Site,
    samples: &[&Sample],
    look: &mut dyn Preflight,
) -> Result<(), StageError> {
    let mut open = Vec::new();
    for &sample in samples {
        if look.is_first(format!("picture {}", sample.digest.hex())) && !is_known(site, sample)? {
            open.push(sample);
        }
    }
    if open.is_empty() {
        return Ok(());
    }
    look.tell(&format!("decoding {} that no run has decoded", plural(open.len(), "picture")));
    let jobs = open.iter().map(|sample| site.job(sample)).collect::<Vec<_>>();
    let (mut broken, mut first) = (Vec::new(), None);
    batches::prepared(
        &jobs,
        0,
        |_, _| Ok(()),
        |index, decoded| {
            match decoded {
                Ok(()) => remember(site, open[index])?,
                Err(error @ DatasetError::Read { .. }) => return Err(error.into()),
                Err(error) => {
                    broken.push(open[index].id.clone());
                    first.get_or_insert(error);
                }
            }
            Ok(if look.cancelled() { Flow::Stop } else { Flow::GoOn })
        },
    )?;
    // Only speed is lost where the store cannot be written.
    let _ = site.store.save_facts();
    match first {
        Some(error) if look.fail_fast() => Err(error.into()),
        Some(_) => {
            let items = broken.len();
            broken.truncate(NAMED);
            look.warn(Warning {
                code: "fluxpipe::preflight::pictures".to_owned(),
                message: format!(
                    "{} cannot be decoded and will be left out",
                    plural(items, "picture")
                ),
                help: Some(
                    "mend or remove them first; `on_bad_image = \"fail\"` would end the run here"
                        .to_owned(),
                ),
                items,
                examples: broken,
            });
            Ok(())
        }
        None => Ok(()),
    }
}

/// Whether a run decoded the picture before.
fn is_known(site: &Site, sample: &Sample) -> Result<bool, StageError> {
    /// Not known; what is no fact is not remembered.
    enum Unknown {
        Picture,
        Store(StoreError),
    }
    impl From<StoreError> for Unknown {
        fn from(error: StoreError) -> Self {
            Self::Store(error)
        }
    }
    match site.store.fact(DECODES, &sample.digest, || Err(Unknown::Picture)) {
        Ok(_) => Ok(true),
        Err(Unknown::Picture) => Ok(false),
        Err(Unknown::Store(error)) => Err(error.into()),
    }
}

fn remember(site: &Site, sample: &Sample) -> Result<(), StoreError> {
    site.store.fact(DECODES, &sample.digest, || Ok::<_, StoreError>(vec![1])).map(drop)
}
