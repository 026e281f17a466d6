//! What can be wrong with a graph.

use std::{fmt, path::PathBuf};

use miette::Diagnostic;

/// An operator that fluxpipe cannot compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The operator, with its domain where that is not the standard one.
    pub operator: String,
    /// The first node that uses it.
    pub node: String,
    /// How many nodes use it.
    pub count: usize,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at node `{}`", self.operator, self.node)?;
        if self.count > 1 { write!(f, " and {} more", self.count - 1) } else { Ok(()) }
    }
}

/// Why an ONNX graph cannot be used.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum OnnxError {
    /// The file cannot be opened or read.
    #[error("cannot read {path}: {source}")]
    #[diagnostic(code(fluxpipe::onnx::read), help("check the path and that you may read the file"))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes are not an ONNX graph.
    #[error("{path} is not a usable ONNX file: {reason}")]
    #[diagnostic(
        code(fluxpipe::onnx::format),
        help(
            "the file is damaged, cut off by a broken download, or of another kind: get it again and compare its size"
        )
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, in words.
        reason: String,
    },
    /// The graph keeps tensors in a file that it may not name.
    #[error("{path} keeps tensor `{tensor}` in {location}, which is not inside its folder")]
    #[diagnostic(
        code(fluxpipe::onnx::external),
        help(
            "a graph may only read files beside it: put the data file into the folder of the graph, or get the graph from a source you trust"
        )
    )]
    External {
        /// The graph.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What the graph names.
        location: String,
    },
    /// The graph uses operators that fluxpipe cannot compute.
    #[error("{path} uses operators that are not supported: {}", listing(operators))]
    #[diagnostic(
        code(fluxpipe::onnx::operator),
        help(
            "use another model, or export this one again with operators that docs/onnx-operators.md lists"
        )
    )]
    Operator {
        /// The graph.
        path: PathBuf,
        /// All of them, in the order of the graph.
        operators: Vec<Unsupported>,
    },
    /// What is given to the graph is not what it takes.
    #[error("{path} cannot be given these inputs: {reason}")]
    #[diagnostic(
        code(fluxpipe::onnx::inputs),
        help("`fluxpipe inspect` shows the graph's inputs with their shapes and element types")
    )]
    Inputs {
        /// The graph.
        path: PathBuf,
        /// What is different.
        reason: String,
    },
    /// A node cannot be computed.
    #[error("{path}: {operator} at node `{node}`: {reason}")]
    #[diagnostic(
        code(fluxpipe::onnx::run),
        help(
            "the graph uses this operator in a way that is not supported, or the file is damaged: try another export of the model"
        )
    )]
    Run {
        /// The graph.
        path: PathBuf,
        /// The operator.
        operator: String,
        /// The node.
        node: String,
        /// What is wrong, in words.
        reason: String,
    },
}

fn listing(operators: &[Unsupported]) -> String {
    operators.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
