//! `fluxpipe inspect FILE.onnx --run IN.safetensors --out OUT.safetensors`: what a graph makes of inputs.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use crate::{
    base::atomic,
    cli::CliError,
    device,
    models::onnx::{Element, Graph, OnnxError, Plan, Port, Value},
    report::Tensor,
    weights::{Checkpoint, Dtype, Entry, Writer},
};

/// Runs a graph on the CPU, in f32, and writes its outputs; gives what was written.
///
/// # Errors
/// The inputs are not those of the graph (all mistakes are named at once), a node cannot be computed, or
/// the file cannot be written.
pub(super) fn execute(path: &Path, input: &Path, output: &Path) -> miette::Result<Vec<Tensor>> {
    let graph = Graph::open(path)?;
    let names = graph.outputs.iter().map(|port| port.name.clone()).collect::<Vec<_>>();
    let inputs = inputs(&graph, &Checkpoint::open(input)?)?;
    let plan = Plan::new(graph, &device::cpu())?;
    let values = plan.run(inputs)?;
    let declared = plan.elements().to_vec();
    let mut written = BTreeMap::new();
    for ((name, value), declared) in names.into_iter().zip(values).zip(declared) {
        let (shape, element) = (value.shape(), stored_as(&value, declared));
        let bytes = value.encode(element).map_err(|reason| OnnxError::Format {
            path: path.to_owned(),
            reason: format!("output `{name}`: {reason}"),
        })?;
        written.insert(name, (dtype(element), shape, bytes));
    }
    write(output, &written)
        .map_err(|source| CliError::Write { path: output.to_owned(), source })?;
    Ok(written
        .into_iter()
        .map(|(name, (dtype, shape, bytes))| Tensor {
            name,
            dtype: dtype.name().to_owned(),
            shape,
            bytes: bytes.len() as u64,
        })
        .collect())
}

fn write(
    path: &Path,
    tensors: &BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
) -> std::io::Result<()> {
    let entries = tensors.iter().map(|(name, (dtype, shape, _))| Entry {
        name: name.clone(),
        dtype: *dtype,
        shape: shape.clone(),
    });
    let mut writer = Writer::new(Vec::new(), &entries.collect::<Vec<_>>(), &BTreeMap::new())?;
    for (_, _, bytes) in tensors.values() {
        writer.tensor(bytes)?;
    }
    atomic::write(path, &writer.finish()?)
}

/// The type that an output is written in: the declared one, unless the value is of another kind.
fn stored_as(value: &Value, declared: Option<Element>) -> Element {
    let own = value.element();
    match declared {
        Some(declared)
            if declared.is_float() == own.is_float()
                && (declared == Element::Bool) == (own == Element::Bool) =>
        {
            declared
        }
        _ => own,
    }
}

/// The inputs of a graph from a file, in the graph's order.
fn inputs(graph: &Graph, file: &Checkpoint) -> miette::Result<Vec<Value>> {
    let (mut values, mut problems) = (Vec::new(), Vec::new());
    for port in &graph.inputs {
        match tensor(file, port)? {
            Ok(value) => values.push(value),
            Err(problem) => problems.push(problem),
        }
    }
    let known: BTreeSet<&str> = graph.inputs.iter().map(|port| port.name.as_str()).collect();
    for name in file.names().filter(|name| !known.contains(name)) {
        problems.push(format!("the graph has no input `{name}`"));
    }
    if problems.is_empty() {
        return Ok(values);
    }
    Err(CliError::GraphInputs {
        path: file.path().to_owned(),
        graph: graph.path().to_owned(),
        problems,
    }
    .into())
}

/// One input from a file, or what is wrong with it.
fn tensor(file: &Checkpoint, port: &Port) -> miette::Result<Result<Value, String>> {
    let name = &port.name;
    let Some(info) = file.info(name) else {
        return Ok(Err(format!("input `{name}` is missing: {}", super::described(port))));
    };
    let fits = port.shape.as_ref().is_none_or(|wanted| {
        let sizes = wanted.iter().zip(&info.shape);
        wanted.len() == info.shape.len()
            && sizes.into_iter().all(|(wanted, &size)| wanted.is_none_or(|wanted| wanted == size))
    });
    let Some(element) = element(info.dtype) else {
        return Ok(Err(format!("input `{name}` is {}, which no graph takes", info.dtype.name())));
    };
    // Numbers of another width are the same numbers; of another kind they are a mistake.
    let kind = |element: Element| (element.is_float(), element == Element::Bool);
    if !fits || port.element.is_some_and(|wanted| kind(wanted) != kind(element)) {
        let wanted = super::described(port);
        return Ok(Err(format!(
            "input `{name}` is {} {:?}, not {wanted}",
            element.name(),
            info.shape
        )));
    }
    let value = Value::decode(element, info.shape.clone(), &file.bytes(name)?);
    Ok(value.map_err(|reason| format!("input `{name}`: {reason}")))
}

/// Element types of both worlds.
const TYPES: [(Dtype, Element); 13] = [
    (Dtype::F64, Element::F64),
    (Dtype::F32, Element::F32),
    (Dtype::F16, Element::F16),
    (Dtype::BF16, Element::BF16),
    (Dtype::I64, Element::I64),
    (Dtype::I32, Element::I32),
    (Dtype::I16, Element::I16),
    (Dtype::I8, Element::I8),
    (Dtype::U64, Element::U64),
    (Dtype::U32, Element::U32),
    (Dtype::U16, Element::U16),
    (Dtype::U8, Element::U8),
    (Dtype::Bool, Element::Bool),
];

fn element(dtype: Dtype) -> Option<Element> {
    TYPES.iter().find(|pair| pair.0 == dtype).map(|pair| pair.1)
}

fn dtype(element: Element) -> Dtype {
    TYPES.iter().find(|pair| pair.1 == element).map_or(Dtype::F32, |pair| pair.0)
}
