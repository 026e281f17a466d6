//! What a file is, as a person or a program reads it.

use std::{collections::BTreeMap, fmt::Write, path::PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::{theme, words};

/// What a weight file is.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct WeightFile {
    /// The file.
    pub path: PathBuf,
    /// `safetensors`, `.pth`, `ONNX`.
    pub format: &'static str,
    /// Bytes on disk.
    pub bytes: u64,
    /// The network, in words; `None` if it is none that fluxpipe knows.
    pub network: Option<String>,
    /// Its size, in words.
    pub size: Option<String>,
    /// Whose tensor names it has.
    pub names: Option<String>,
    /// Further networks in the same file, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// Number of tensors by element type.
    pub dtypes: BTreeMap<String, usize>,
    /// Number of elements in all tensors.
    pub parameters: u64,
    /// The biggest tensors, biggest first.
    pub biggest: Vec<Tensor>,
    /// Operators of a graph and how often each is there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub operators: BTreeMap<String, usize>,
    /// The version of the standard operators that a graph is written in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opset: Option<i64>,
    /// What a person should know of this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Operators of a graph that fluxpipe cannot compute, each with a node that uses it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unsupported: Vec<String>,
    /// Inputs and outputs of a graph, as `name type [shape]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// Free texts of the header.
    pub metadata: BTreeMap<String, String>,
}

/// One tensor.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Tensor {
    /// Checkpoint name.
    pub name: String,
    /// Element type.
    pub dtype: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Bytes on disk.
    pub bytes: u64,
}

/// What a graph made of its inputs.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct GraphRun {
    /// Where the outputs lie.
    pub path: PathBuf,
    /// Seconds to read and compute the graph.
    pub seconds: f64,
    /// The outputs, by name.
    pub outputs: Vec<Tensor>,
}

impl GraphRun {
    /// For a person.
    #[must_use]
    pub fn text(&self) -> String {
        let path = theme::strong(self.path.display());
        let mut text = format!("{path}, computed in {:.2} s\n", self.seconds);
        for tensor in &self.outputs {
            let Tensor { name, shape, dtype, .. } = tensor;
            let _ = writeln!(text, "  {name} {shape:?} {dtype}");
        }
        text
    }
}

/// Lines of the header that a person can take in.
const METADATA_WIDTH: usize = 100;

impl WeightFile {
    /// For a person.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", theme::strong(self.path.display()));
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "  {name:<12}{value}");
        };
        // A graph runs whatever network it is.
        match &self.network {
            Some(network) => line("network", network.clone()),
            None if self.opset.is_some() => {}
            None => line("network", "not one that fluxpipe knows".to_owned()),
        }
        if let Some(size) = &self.size {
            line("size", size.clone());
        }
        if let Some(names) = &self.names {
            line("names", names.clone());
        }
        for other in &self.others {
            line("also", other.clone());
        }
        line("format", format!("{}, {}", self.format, words::bytes(self.bytes)));
        let tensors = self.dtypes.values().sum::<usize>() as u64;
        if tensors > 0 {
            let (tensors, parameters) = (words::grouped(tensors), words::grouped(self.parameters));
            line("tensors", format!("{tensors}, {parameters} parameters"));
            line("types", counted(&self.dtypes));
        }
        for (index, tensor) in self.biggest.iter().enumerate() {
            let name = if index == 0 { "biggest" } else { "" };
            let size = words::bytes(tensor.bytes);
            line(name, format!("{} {:?} {}, {size}", tensor.name, tensor.shape, tensor.dtype));
        }
        if let Some(opset) = self.opset {
            line("opset", opset.to_string());
        }
        if let Some(note) = &self.note {
            line("note", note.clone());
        }
        for (index, port) in self.ports.iter().enumerate() {
            line(if index == 0 { "ports" } else { "" }, port.clone());
        }
        if !self.operators.is_empty() {
            line("operators", counted(&self.operators));
        }
        if self.opset.is_some() && self.unsupported.is_empty() {
            line("supported", "all operators".to_owned());
        }
        for (index, operator) in self.unsupported.iter().enumerate() {
            line(if index == 0 { "unsupported" } else { "" }, operator.clone());
        }
        for (index, (key, value)) in self.metadata.iter().enumerate() {
            let name = if index == 0 { "metadata" } else { "" };
            line(name, format!("{key} = {}", shortened(value)));
        }
        text
    }
}

/// What a picture is.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PictureFile {
    /// The file.
    pub path: PathBuf,
    /// `JPEG`, `PNG`.
    pub format: &'static str,
    /// Bytes on disk.
    pub bytes: u64,
    /// Pixels across, as stored.
    pub width: usize,
    /// Pixels down, as stored.
    pub height: usize,
    /// `RGB, 8 bits`.
    pub colours: String,
    /// EXIF orientation, 1 to 8; 1 is upright.
    pub orientation: u8,
    /// Width and height once it is turned upright.
    pub upright: (usize, usize),
    /// Texts in the file, by their keywords: how it was drawn, where a program wrote that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<(String, String)>,
}

impl PictureFile {
    /// For a person.
    #[must_use]
    pub fn text(&self) -> String {
        let (width, height) = self.upright;
        let orientation = match self.orientation {
            1 => "1 (upright)".to_owned(),
            turned => format!("{turned} (turned to {width} × {height} pixels)"),
        };
        let mut text = format!(
            "{}\n  picture    {}, {}\n  size       {} × {} pixels\n  colours    {}\n  \
             orientation {}\n",
            theme::strong(self.path.display()),
            self.format,
            words::bytes(self.bytes),
            self.width,
            self.height,
            self.colours,
            orientation,
        );
        for (keyword, written) in &self.texts {
            text += &format!("  {}\n", theme::strong(keyword));
            written.lines().for_each(|line| text += &format!("    {}\n", shortened(line)));
        }
        text
    }
}

fn counted(counts: &BTreeMap<String, usize>) -> String {
    let counts = counts.iter().map(|(name, count)| format!("{name} × {count}"));
    counts.collect::<Vec<_>>().join(", ")
}

/// Header texts may hold whole workflows.
fn shortened(text: &str) -> String {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if one_line.chars().count() <= METADATA_WIDTH {
        return one_line;
    }
    let start = one_line.chars().take(METADATA_WIDTH - 1).collect::<String>();
    format!("{start}… ({} in all; --json shows it)", words::bytes(text.len() as u64))
}
