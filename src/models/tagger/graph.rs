//! An ONNX graph as its file states it: nodes, inputs, outputs, stored tensors. No device yet.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use onnx_ir::{Message, ModelProto, NodeProto, TensorProto, ValueInfoProto};

use super::{
    error::{OnnxError, Unsupported},
    initializer, ops,
};

/// One input or output of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its sizes; `None` where the graph leaves one open, such as the batch. No sizes at all where the
    /// graph does not say how many there are.
    pub shape: Option<Vec<Option<usize>>>,
}

/// A graph whose every operator is supported.
#[derive(Clone, Debug)]
pub struct Graph {
    path: PathBuf,
    pub(super) opset: i64,
    /// Inputs that a caller must give.
    pub inputs: Vec<Port>,
    /// What the graph computes.
    pub outputs: Vec<Port>,
    /// The nodes that the outputs need, in the order of the file, which is a topological one.
    pub(super) nodes: Vec<NodeProto>,
    pub(super) tensors: BTreeMap<String, TensorProto>,
}

impl Graph {
    /// Reads a graph and checks that it can be run: its form, its operators, the places of its data.
    ///
    /// # Errors
    /// The file cannot be read or is no ONNX graph, it uses operators that are not supported (all are
    /// named), or it wants to read files outside its folder.
    pub fn open(path: &Path) -> Result<Self, OnnxError> {
        let bytes =
            fs::read(path).map_err(|source| OnnxError::Read { path: path.to_owned(), source })?;
        let malformed = |reason: String| OnnxError::Format { path: path.to_owned(), reason };
        let model =
            ModelProto::parse_from_bytes(&bytes).map_err(|error| malformed(error.to_string()))?;
        let standard = model.opset_import.iter().find(|import| is_standard(&import.domain));
        let opset = standard.map(|import| import.version);
        let graph = model.graph.into_option();
        let (Some(opset), Some(graph)) = (opset, graph) else {
            return Err(malformed("it holds no graph with a stated operator set".to_owned()));
        };

        let tensors: BTreeMap<_, _> =
            graph.initializer.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
        for tensor in tensors.values() {
            initializer::external_file(path, tensor)?;
        }
        // Before IR version 4 a stored tensor was listed as an input too.
        let given = graph.input.iter().filter(|input| !tensors.contains_key(&input.name));
        let inputs = given.map(port).collect();
        let outputs: Vec<Port> = graph.output.iter().map(port).collect();
        let nodes = needed(graph.node, &outputs);
        let graph = Self { path: path.to_owned(), opset, inputs, outputs, nodes, tensors };
        graph.check_edges()?;
        graph.check_operators()?;
        Ok(graph)
    }

    /// Where it was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The operators in use, each with its number of nodes.
    #[must_use]
    pub fn operators(&self) -> BTreeMap<&str, usize> {
        let mut operators = BTreeMap::new();
        for node in &self.nodes {
            *operators.entry(node.op_type.as_str()).or_default() += 1;
        }
        operators
    }

    fn check_operators(&self) -> Result<(), OnnxError> {
        let mut operators: Vec<Unsupported> = Vec::new();
        for node in &self.nodes {
            let standard = is_standard(&node.domain);
            if standard && ops::find(&node.op_type).is_some() {
                continue;
            }
            let operator = match standard {
                true => node.op_type.clone(),
                false => format!("{}.{}", node.domain, node.op_type),
            };
            match operators.iter_mut().find(|known| known.operator == operator) {
                Some(known) => known.count += 1,
                None => operators.push(Unsupported { operator, node: label(node), count: 1 }),
            }
        }
        if operators.is_empty() {
            return Ok(());
        }
        Err(OnnxError::Operator { path: self.path.clone(), operators })
    }

    /// Every value must exist before it is used.
    fn check_edges(&self) -> Result<(), OnnxError> {
        let inputs = self.inputs.iter().map(|port| port.name.as_str());
        let mut known: HashSet<&str> =
            inputs.chain(self.tensors.keys().map(String::as_str)).collect();
        let unknown = |name: &str, user: &str| OnnxError::Format {
            path: self.path.clone(),
            reason: format!("`{user}` uses `{name}`, which nothing before it makes"),
        };
        for node in &self.nodes {
            let mut used = node.input.iter().filter(|name| !name.is_empty());
            if let Some(name) = used.find(|name| !known.contains(name.as_str())) {
                return Err(unknown(name, &label(node)));
            }
            known.extend(node.output.iter().map(String::as_str));
        }
        let mut outputs = self.outputs.iter();
        match outputs.find(|output| !known.contains(output.name.as_str())) {
            Some(output) => Err(unknown(&output.name, "the result")),
            None => Ok(()),
        }
    }
}

/// What a person can find the node by: its name, or that of its result.
pub(super) fn label(node: &NodeProto) -> String {
    let result = || node.output.first().cloned().unwrap_or_default();
    if node.name.is_empty() { result() } else { node.name.clone() }
}

fn is_standard(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

fn port(info: &ValueInfoProto) -> Port {
    let tensor = info.type_.tensor_type();
    let shape = tensor.shape.as_ref().map(|shape| {
        let size = |known: bool, value: i64| usize::try_from(value).ok().filter(|_| known);
        shape.dim.iter().map(|dim| size(dim.has_dim_value(), dim.dim_value())).collect()
    });
    Port { name: info.name.clone(), shape }
}

/// Leaves out the nodes whose results nobody needs, so that a forgotten training branch neither costs
/// time nor has to be supported.
fn needed(nodes: Vec<NodeProto>, outputs: &[Port]) -> Vec<NodeProto> {
    let mut wanted: HashSet<String> = outputs.iter().map(|port| port.name.clone()).collect();
    let mut kept = Vec::with_capacity(nodes.len());
    for node in nodes.into_iter().rev() {
        if node.output.iter().any(|name| wanted.contains(name)) {
            wanted.extend(node.input.iter().cloned());
            kept.push(node);
        }
    }
    kept.reverse();
    kept
}
