//! `fluxpipe inspect FILE`: what a weight or cache file is, from its header alone, and what a graph
//! makes of inputs.

mod execute;
mod picture;
mod provenance;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{CliError, Exit, Outcome};
use crate::{
    base::{clock::Stopwatch, disk},
    models::{
        identity::{self, Network},
        onnx::{Graph, Port, ops},
        tagger::{TagTable, Tagger},
    },
    report::{GraphRun, Inspected, InspectedFile, PlainFile, Tensor, WeightFile},
    weights::Checkpoint,
};

/// Say what a file is, and where it comes from
///
/// Tells the network by its tensor names, its size, the element types, the biggest tensors and the
/// texts of the header; of an ONNX graph its operators, those that are not supported, inputs and
/// outputs. Reads .safetensors (a folder of shards too), .pth, .onnx and the files that fluxpipe keeps
/// in its store. Of a picture it tells the format, the size, the colours, the EXIF orientation
/// and, of a PNG, the texts in it, which say how `fluxpipe generate` drew it. With
/// --run, an ONNX graph is computed on the inputs in a file.
///
/// Of what fluxpipe made (sidecars, meta_data.json, checkpoints, pictures, objects of a store) it also tells
/// the provenance: stage, item, keys, run, manifest, the networks, and what it was made from. The store that
/// knows it is looked for in the folders above the file and in those beside them; --project names it.
/// Writes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe inspect models/flux1-dev.safetensors
  fluxpipe inspect models/t5xxl_fp16.safetensors --json
  fluxpipe inspect pictures/001-42-a-red-cup.png
  fluxpipe inspect my-project/output/cats.safetensors
  fluxpipe inspect ~/downloads/cats.safetensors --project my-project/project.toml
  fluxpipe inspect model.onnx --run in.safetensors --out out.safetensors")]
pub struct Inspect {
    /// The file, or a folder with the shards of one network
    file: PathBuf,

    /// Print one JSON object instead of text (schemas/inspect.schema.json)
    #[arg(long)]
    json: bool,

    /// The project whose store is asked for the provenance, instead of those found near the file
    #[arg(long, value_name = "MANIFEST")]
    project: Option<PathBuf>,

    /// Compute the graph, on the CPU, on these inputs: one tensor per input, by its name
    #[arg(long, value_name = "IN.safetensors", requires = "out")]
    run: Option<PathBuf>,

    /// Where --run writes the outputs, by their names, in the types that the graph declares
    #[arg(long, value_name = "OUT.safetensors", requires = "run")]
    out: Option<PathBuf>,
}

/// How many of the biggest tensors are shown.
const BIGGEST: usize = 3;

impl Inspect {
    pub(super) fn run(self) -> Outcome {
        if let (Some(input), Some(output)) = (&self.run, &self.out) {
            return self.compute(input, output);
        }
        if !self.file.exists() {
            return Err(CliError::NoFile { path: self.file }.into());
        }
        let provenance = provenance::find(&self.file, self.project.as_deref())?;
        let blob = provenance.as_ref().and_then(|provenance| provenance.blob.as_deref());
        let is_picture = picture::is_one(&self.file)
            || blob.is_some_and(|blob| crate::dataset::is_picture(Path::new(blob)));
        let file = match is_picture {
            true => InspectedFile::Picture(picture::describe(&self.file)?),
            // What is known not to be weights needs no complaint that it is none.
            false => match describe(&self.file) {
                Ok(weights) => InspectedFile::Weights(weights),
                Err(_) if provenance.is_some() => InspectedFile::Plain(PlainFile {
                    path: self.file.clone(),
                    bytes: bytes_on_disk(&self.file),
                }),
                Err(_) if self.file.is_file() && !is_called_weights(&self.file) => {
                    return Err(CliError::NotKnown { path: self.file }.into());
                }
                Err(error) => return Err(error),
            },
        };
        let inspected = Inspected { file, provenance };
        if self.json {
            super::print_json(&inspected)?;
        } else {
            super::print(&inspected.text())?;
        }
        Ok(Exit::Done)
    }

    fn compute(&self, input: &Path, output: &Path) -> Outcome {
        let graph = Tagger::graph_path(&self.file);
        for path in [&graph, input] {
            if !path.exists() {
                return Err(CliError::NoFile { path: path.to_owned() }.into());
            }
        }
        if !is_graph(&graph) {
            return Err(CliError::NoGraph { path: graph }.into());
        }
        let started = Stopwatch::start();
        let outputs = execute::execute(&graph, input, output)?;
        let run = GraphRun { path: output.to_owned(), seconds: started.seconds(), outputs };
        if self.json {
            super::print_json(&run)?;
        } else {
            super::print(&run.text())?;
        }
        Ok(Exit::Done)
    }
}

/// Whether a file is called as weights are, so that what is wrong with it is worth telling.
fn is_called_weights(path: &Path) -> bool {
    const ENDINGS: [&str; 7] = ["safetensors", "sft", "pth", "pt", "bin", "ckpt", "onnx"];
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_none_or(|ending| ENDINGS.contains(&ending.to_ascii_lowercase().as_str()))
}

fn is_graph(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "onnx") && path.is_file()
}

fn describe(path: &Path) -> miette::Result<WeightFile> {
    if !path.exists() {
        return Err(CliError::NoFile { path: path.to_owned() }.into());
    }
    let graph = Tagger::graph_path(path);
    if is_graph(&graph) {
        return describe_graph(&graph);
    }
    let checkpoint = Checkpoint::open(path)?;
    let mut networks = identity::networks(&checkpoint).into_iter();
    let network = networks.next();
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
    let scaled = |name: &str| name.ends_with(".scale_weight") || name.ends_with(".weight_scale");
    let scaled = dtypes.keys().any(|name| name.starts_with("F8")) && checkpoint.names().any(scaled);
    let mut note = network.as_ref().and_then(|network| network.refused).map(str::to_owned);
    if scaled {
        note.get_or_insert_with(|| {
            "each 8-bit weight has a scale, by which it is multiplied".to_owned()
        });
    }
    let network = network.map_or((None, None, None), |n| (Some(n.name), Some(n.size), n.names));
    Ok(WeightFile {
        path: path.to_owned(),
        format: format_of(path),
        bytes: bytes_on_disk(path),
        network: network.0,
        size: network.1,
        names: network.2,
        others: networks.map(other).collect(),
        dtypes,
        parameters,
        biggest: tensors,
        operators: BTreeMap::new(),
        opset: None,
        note,
        unsupported: Vec::new(),
        ports: Vec::new(),
        metadata: checkpoint.metadata().clone(),
    })
}

/// A further network of the file, in a line.
fn other(network: Network) -> String {
    let names = network.names.map_or_else(String::new, |names| format!("; {names}"));
    format!("{}: {}{names}", network.name, network.size)
}

/// Element type and sizes of an input or output, an open one by its name: `float [batch, any, 3]`.
fn described(port: &Port) -> String {
    let size = |(axis, size): (usize, &Option<usize>)| match (size, port.names.get(axis)) {
        (Some(size), _) => size.to_string(),
        (None, Some(name)) if !name.is_empty() => name.clone(),
        (None, _) => "any".to_owned(),
    };
    let shape = match &port.shape {
        Some(shape) => shape.iter().enumerate().map(size).collect::<Vec<_>>().join(", "),
        None => "any".to_owned(),
    };
    let element = port.element.map_or("of a type that is not supported", |element| element.name());
    format!("{element} [{shape}]")
}

fn describe_graph(path: &Path) -> miette::Result<WeightFile> {
    let graph = Graph::read(path)?;
    let operators = graph.operators();
    let port = |way: &str, port: &Port| format!("{way} {} {}", port.name, described(port));
    let inputs = graph.inputs.iter().map(|input| port("in ", input));
    let outputs = graph.outputs.iter().map(|output| port("out", output));
    let list = TagTable::beside(path);
    let list = list.is_file().then(|| list.file_name().unwrap_or_default().display().to_string());
    Ok(WeightFile {
        path: path.to_owned(),
        format: "ONNX",
        bytes: bytes_on_disk(path),
        network: list.map(|list| match list.as_str() {
            TagTable::FILE => format!("WD tagger, by the {list} beside it"),
            _ => format!("tagger, by the {list} beside it"),
        }),
        size: None,
        names: None,
        others: Vec::new(),
        dtypes: BTreeMap::new(),
        parameters: 0,
        biggest: Vec::new(),
        operators,
        opset: Some(graph.opset()),
        note: (graph.opset() > ops::NEWEST_OPSET).then(newer),
        unsupported: graph.unsupported().iter().map(ToString::to_string).collect(),
        ports: inputs.chain(outputs).collect(),
        metadata: BTreeMap::new(),
    })
}

/// Its operators may have got attributes or other meanings that nobody here has read.
fn newer() -> String {
    let newest = ops::NEWEST_OPSET;
    format!(
        "newer than opset {newest}, up to which fluxpipe follows the ONNX text: compare results"
    )
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
    let entries = disk::list(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let shards = entries.filter(|path| path.extension().is_some_and(|e| e == "safetensors"));
    shards.map(|shard| size(&shard)).sum()
}
