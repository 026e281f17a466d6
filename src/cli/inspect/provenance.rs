//! Which store knows a file.

use std::path::Path;

use crate::{
    cli::project::{self, STORE},
    pipeline::{Provenance, Store, provenance, stores_about},
};

/// Where the file comes from: by the store of the manifest, if one is named, else by the first of those near
/// the file that knows it.
///
/// # Errors
/// The manifest cannot be read, or its store not be opened.
pub(super) fn find(file: &Path, manifest: Option<&Path>) -> miette::Result<Option<Provenance>> {
    if let Some(manifest) = manifest {
        let manifest = project::read(manifest, &[])?;
        return Ok(provenance(&Store::open(&manifest.output().join(STORE))?, file));
    }
    if !file.is_file() {
        return Ok(None);
    }
    // A store of another version that happens to lie near has nothing to say here.
    let stores = stores_about(file).into_iter().filter_map(|store| Store::open(&store).ok());
    Ok(stores.into_iter().find_map(|store| provenance(&store, file)))
}
