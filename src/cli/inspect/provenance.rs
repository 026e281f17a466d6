//! Which store knows a file.

use std::path::Path;

use crate::{
    base::Digest,
    cli::project::{self, STORE},
    pipeline::{Provenance, Store, provenance, stores_about},
    weights::Checkpoint,
};

/// Where the file comes from: by the store of the manifest, if one is named, else by the first of those near
/// the file that knows it.
///
/// # Errors
/// The manifest cannot be read, or its store not be opened.
pub(super) fn find(file: &Path, manifest: Option<&Path>) -> miette::Result<Option<Provenance>> {
    let header = named_in(file);
    if let Some(manifest) = manifest {
        let manifest = project::read(manifest, &[])?;
        return Ok(provenance(&Store::open(&manifest.output().join(STORE))?, file, &header));
    }
    if !file.is_file() {
        return Ok(None);
    }
    // A store of another version that happens to lie near has nothing to say here.
    let stores = stores_about(file).into_iter().filter_map(|store| Store::open(&store).ok());
    Ok(stores.into_iter().find_map(|store| provenance(&store, file, &header)))
}

/// Digests of parts of its key that a checkpoint names in its header.
fn named_in(file: &Path) -> Vec<Digest> {
    let is_one = file.extension().is_some_and(|extension| extension == "safetensors");
    let checkpoint = is_one.then(|| Checkpoint::open_safetensors(file).ok()).flatten();
    let Some(checkpoint) = checkpoint else { return Vec::new() };
    let names = ["fluxpipe.base_model", "fluxpipe.samples"];
    let named = names.map(|name| checkpoint.metadata().get(name)?.parse().ok());
    named.into_iter().collect::<Option<_>>().unwrap_or_default()
}
