//! An ONNX graph as its file states it: nodes, inputs, outputs, stored tensors. No device yet.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::{Path, PathBuf},
};

use onnx_ir::{GraphProto, Message, ModelProto, NodeProto, TensorProto, ValueInfoProto};

use super::{
    element::Element,
    error::{OnnxError, Unsupported},
    initializer, ops,
};
use crate::base::{disk, escape};

/// One input or output of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its sizes; `None` where the graph leaves one open, such as the batch. No sizes at all where the
    /// graph does not say how many there are.
    pub shape: Option<Vec<Option<usize>>>,
    /// What the graph calls each of its dimensions; empty where it gives no name.
    pub names: Vec<String>,
    /// Type of its elements, where the graph states one that is supported.
    pub element: Option<Element>,
}

/// A graph whose every operator is supported, or one that lies inside a node of such a graph.
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
    /// As [`Graph::read`]; or it uses operators that are not supported (all are named).
    pub fn open(path: &Path) -> Result<Self, OnnxError> {
        let graph = Self::read(path)?;
        let operators = graph.unsupported();
        if operators.is_empty() {
            return Ok(graph);
        }
        Err(OnnxError::Operator { path: path.to_owned(), operators })
    }

    /// Reads a graph that may use operators that are not supported.
    ///
    /// # Errors
    /// The file cannot be read or is no ONNX graph, or it wants to read files outside its folder.
    pub fn read(path: &Path) -> Result<Self, OnnxError> {
        let bytes =
            disk::read(path).map_err(|source| OnnxError::Read { path: path.to_owned(), source })?;
        Self::from_bytes(path, &bytes)
    }

    /// The same of a file that is in memory; files that it names lie beside `path`.
    ///
    /// # Errors
    /// As [`Graph::read`], except that nothing is read.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, OnnxError> {
        let malformed = |reason: String| OnnxError::Format { path: path.to_owned(), reason };
        let model =
            ModelProto::parse_from_bytes(bytes).map_err(|error| malformed(error.to_string()))?;
        let standard = model.opset_import.iter().find(|import| is_standard(&import.domain));
        let opset = standard.map(|import| import.version);
        let graph = model.graph.into_option();
        let (Some(opset), Some(graph)) = (opset, graph) else {
            return Err(malformed("it holds no graph with a stated operator set".to_owned()));
        };

        let graph = Self::of(path, opset, graph)?;
        graph.data_files()?;
        graph.check_names()?;
        graph.check_edges()?;
        Ok(graph)
    }

    /// Names that would be several lines, or act on a terminal, wherever they are shown.
    fn check_names(&self) -> Result<(), OnnxError> {
        let ports = self.inputs.iter().chain(&self.outputs);
        let ports = ports.flat_map(|port| port.names.iter().chain([&port.name]));
        let mut wrong =
            ports.chain(self.tensors.keys()).find(|name| name.contains(escape::acts)).cloned();
        every_node(&self.nodes, &mut |node| {
            let names = node.input.iter().chain(&node.output);
            let mut names = names.chain([&node.name, &node.op_type, &node.domain]);
            if wrong.is_none() {
                wrong = names.find(|name| name.contains(escape::acts)).cloned();
            }
        });
        let Some(name) = wrong else { return Ok(()) };
        let reason = format!("the name `{}` cannot be shown", escape::in_line(&name));
        Err(OnnxError::Format { path: self.path.clone(), reason })
    }

    fn of(path: &Path, opset: i64, graph: GraphProto) -> Result<Self, OnnxError> {
        let tensors: BTreeMap<_, _> =
            graph.initializer.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
        // Before IR version 4 a stored tensor was listed as an input too.
        let given = graph.input.iter().filter(|input| !tensors.contains_key(&input.name));
        let inputs = given.map(port).collect();
        let outputs: Vec<Port> = graph.output.iter().map(port).collect();
        let nodes = needed(graph.node, &outputs);
        Ok(Self { path: path.to_owned(), opset, inputs, outputs, nodes, tensors })
    }

    /// The graphs inside a node of this one: the branches of an `If`, the body of a `Loop`.
    pub(super) fn inside(&self, node: &NodeProto) -> Result<Vec<Self>, OnnxError> {
        let order = |name: &str| ["then_branch", "else_branch"].iter().position(|n| *n == name);
        let mut attributes: Vec<_> = node.attribute.iter().filter(|a| a.g.is_some()).collect();
        attributes.sort_by_key(|attribute| order(&attribute.name));
        let graphs = attributes.into_iter().filter_map(|attribute| attribute.g.as_ref());
        graphs.map(|graph| Self::of(&self.path, self.opset, graph.clone())).collect()
    }

    /// Where it was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files beside the graph in which it keeps tensors, each once.
    ///
    /// # Errors
    /// One of them is not inside the graph's folder.
    pub fn data_files(&self) -> Result<BTreeSet<PathBuf>, OnnxError> {
        let mut files = BTreeSet::new();
        let mut add = |tensor: &TensorProto| {
            files.extend(initializer::external_file(&self.path, tensor)?);
            Ok(())
        };
        self.tensors.values().try_for_each(&mut add)?;
        every_tensor(&self.nodes, &mut add)?;
        Ok(files)
    }

    /// The version of the standard operators that it is written in.
    #[must_use]
    pub fn opset(&self) -> i64 {
        self.opset
    }

    /// The operators in use, each with its number of nodes.
    #[must_use]
    pub fn operators(&self) -> BTreeMap<String, usize> {
        let mut operators = BTreeMap::new();
        every_node(&self.nodes, &mut |node| *operators.entry(operator(node)).or_default() += 1);
        operators
    }

    /// The operators that cannot be computed, in the order of the graph.
    #[must_use]
    pub fn unsupported(&self) -> Vec<Unsupported> {
        let mut operators: Vec<Unsupported> = Vec::new();
        every_node(&self.nodes, &mut |node| {
            let operator = operator(node);
            if ops::find(&operator).is_some() {
                return;
            }
            match operators.iter_mut().find(|known| known.operator == operator) {
                Some(known) => known.count += 1,
                None => operators.push(Unsupported { operator, node: label(node), count: 1 }),
            }
        });
        operators
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
            let captured = captures(node);
            let mut used = node.input.iter().chain(&captured).filter(|name| !name.is_empty());
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

/// The operator's name, with its domain where that is not the standard one.
pub(super) fn operator(node: &NodeProto) -> String {
    if is_standard(&node.domain) {
        node.op_type.clone()
    } else {
        format!("{}.{}", node.domain, node.op_type)
    }
}

/// The names that the graphs inside a node take from the graph around it, each once.
pub(super) fn captures(node: &NodeProto) -> Vec<String> {
    let mut names = BTreeSet::new();
    for graph in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
        let inputs = graph.input.iter().map(|input| &input.name);
        let mut own: HashSet<&String> =
            inputs.chain(graph.initializer.iter().map(|tensor| &tensor.name)).collect();
        for node in &graph.node {
            let captured = captures(node);
            let used = node.input.iter().chain(&captured).filter(|name| !name.is_empty());
            names.extend(used.filter(|name| !own.contains(name)).cloned());
            own.extend(&node.output);
        }
        let outputs = graph.output.iter().map(|output| &output.name);
        names.extend(outputs.filter(|name| !own.contains(name)).cloned());
    }
    names.into_iter().collect()
}

/// Also those of the graphs inside nodes.
fn every_node(nodes: &[NodeProto], visit: &mut impl FnMut(&NodeProto)) {
    for node in nodes {
        visit(node);
        for graph in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
            every_node(&graph.node, visit);
        }
    }
}

/// The tensors that lie in nodes, and in the graphs inside nodes.
fn every_tensor(
    nodes: &[NodeProto],
    visit: &mut impl FnMut(&TensorProto) -> Result<(), OnnxError>,
) -> Result<(), OnnxError> {
    for attribute in nodes.iter().flat_map(|node| &node.attribute) {
        attribute.t.iter().chain(&attribute.tensors).try_for_each(&mut *visit)?;
        for graph in attribute.g.iter().chain(&attribute.graphs) {
            graph.initializer.iter().try_for_each(&mut *visit)?;
            every_tensor(&graph.node, visit)?;
        }
    }
    Ok(())
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
    let sizes = tensor.shape.iter().flat_map(|shape| &shape.dim);
    let names = sizes.map(|dim| dim.dim_param().to_owned()).collect();
    Port { name: info.name.clone(), shape, names, element: Element::of(tensor.elem_type) }
}

/// Leaves out the nodes whose results nobody needs, so that a forgotten training branch neither costs
/// time nor has to be supported.
fn needed(nodes: Vec<NodeProto>, outputs: &[Port]) -> Vec<NodeProto> {
    let mut wanted: HashSet<String> = outputs.iter().map(|port| port.name.clone()).collect();
    let mut kept = Vec::with_capacity(nodes.len());
    for node in nodes.into_iter().rev() {
        if node.output.iter().any(|name| wanted.contains(name)) {
            wanted.extend(node.input.iter().cloned());
            wanted.extend(captures(&node));
            kept.push(node);
        }
    }
    kept.reverse();
    kept
}
