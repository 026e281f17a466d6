//! `fluxpipe inspect FILE`: what a weight or cache file is, from its header alone.

mod network;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{CliError, Exit, Outcome};
use crate::{
    report::{Tensor, WeightFile},
    weights::Checkpoint,
};

/// Say what a weight file is, without loading it
///
/// Tells the network by its tensor names, its size, the element types, the biggest tensors and the
/// texts of the header. Reads .safetensors (a folder of shards too), .pth and the files that
/// fluxpipe keeps in its store.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe inspect models/flux1-dev.safetensors
  fluxpipe inspect models/t5xxl_fp16.safetensors --json")]
pub struct Inspect {
    /// The file, or a folder with the shards of one network
    file: PathBuf,

    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// How many of the biggest tensors are shown.
const BIGGEST: usize = 3;

impl Inspect {
    pub(super) fn run(self) -> Outcome {
        let described = describe(&self.file)?;
        if self.json {
            super::print_json(&described)?;
        } else {
            super::print(&described.text())?;
        }
        Ok(Exit::Done)
    }
}

fn describe(path: &Path) -> miette::Result<WeightFile> {
    if !path.exists() {
        return Err(CliError::NoFile { path: path.to_owned() }.into());
    }
    let checkpoint = Checkpoint::open(path)?;
    let network = network::recognise(&checkpoint);
    let mut tensors = Vec::new();
    let mut dtypes = BTreeMap::new();
    let mut parameters = 0;
    for name in checkpoint.names() {
        let Some(info) = checkpoint.info(name) else { continue };
        *dtypes.entry(info.dtype.name().to_owned()).or_insert(0) += 1;
        parameters += info.elements() as u64;
        tensors.push(Tensor {
            name: name.to_owned(),
            dtype: info.dtype.name().to_owned(),
            shape: info.shape.clone(),
            bytes: (info.elements() * info.dtype.size()) as u64,
        });
    }
    // Stable, so equal sizes stay in the order of their names.
    tensors.sort_by_key(|tensor| std::cmp::Reverse(tensor.bytes));
    tensors.truncate(BIGGEST);
    let network = network.map_or((None, None, None), |n| (Some(n.name), Some(n.size), n.names));
    Ok(WeightFile {
        path: path.to_owned(),
        format: format_of(path),
        bytes: bytes_on_disk(path),
        network: network.0,
        size: network.1,
        names: network.2,
        dtypes,
        parameters,
        biggest: tensors,
        operators: BTreeMap::new(),
        ports: Vec::new(),
        metadata: checkpoint.metadata().clone(),
    })
}

fn format_of(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension {
        Some("pth" | "pt" | "bin") => ".pth",
        _ if path.is_dir() => "safetensors in shards",
        _ => "safetensors",
    }
}

/// Of a folder, all weight files in it; what cannot be read counts as nothing.
fn bytes_on_disk(path: &Path) -> u64 {
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
    if !path.is_dir() {
        return size(path);
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let shards = entries.filter(|path| path.extension().is_some_and(|e| e == "safetensors"));
    shards.map(|shard| size(&shard)).sum()
}
