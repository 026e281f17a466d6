//! A graph made ready to run: functions instead of names, slots instead of edges, constants on the
//! device.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

use burn::tensor::Device;
use onnx_ir::NodeProto;

use super::{
    element::{self, Element},
    error::OnnxError,
    fuse::fuse,
    graph::{self, Graph, label},
    initializer,
    ops::{self, Call, Operator, Outcome},
    value::Value,
};

/// Where a node finds an input.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// An optional input that the graph leaves out.
    Absent,
    Constant(usize),
    Slot {
        slot: usize,
        /// Nobody reads the slot afterwards, so the value is handed over and its memory reused.
        last: bool,
    },
}

/// A value on its way through the graph: where it is found, and its declared type as far as known.
#[derive(Clone, Copy, Debug)]
struct Edge {
    source: Source,
    element: Option<Element>,
}

/// A function with what belongs to it, but for its inputs.
pub(super) struct Callee {
    pub node: NodeProto,
    pub operator: Operator,
    /// The graphs inside the node. Beside their own inputs they get all the values that any of them
    /// takes from the graph around it, in the order of [`graph::captures`].
    pub bodies: Vec<Plan>,
    /// Declared types of the inputs and results.
    pub elements: (Vec<Option<Element>>, Vec<Option<Element>>),
}

pub(super) struct Step {
    pub callee: Callee,
    /// Those of the node, then what its graphs take from outside.
    pub inputs: Vec<Source>,
    /// Slot of each output; `None` where nobody reads it.
    pub outputs: Vec<Option<usize>>,
}

/// A graph on a device.
pub struct Plan {
    path: PathBuf,
    opset: i64,
    device: Device,
    constants: Vec<Value>,
    steps: Vec<Step>,
    slots: usize,
    inputs: usize,
    outputs: Vec<Source>,
    /// Declared types of the outputs, or what follows from the inputs'.
    elements: Vec<Option<Element>>,
}

type Edges = HashMap<String, Edge>;

impl Plan {
    /// Uploads the stored tensors and computes, once, every node that depends on nothing else.
    ///
    /// # Errors
    /// A stored tensor cannot be read, or a constant node cannot be computed.
    pub fn new(graph: Graph, device: &Device) -> Result<Self, OnnxError> {
        Self::inside(graph, device, &[], true)
    }

    /// A graph that takes `captured` from outside, as inputs behind its own; with steps that belong
    /// together made one, or as it stands.
    pub(super) fn inside(
        graph: Graph,
        device: &Device,
        captured: &[(String, Option<Element>)],
        fused: bool,
    ) -> Result<Self, OnnxError> {
        let mut plan = Self {
            path: graph.path().to_owned(),
            opset: graph.opset(),
            device: device.clone(),
            constants: Vec::new(),
            steps: Vec::new(),
            slots: 0,
            inputs: graph.inputs.len() + captured.len(),
            outputs: Vec::new(),
            elements: Vec::new(),
        };
        let mut edges = Edges::new();
        let own = graph.inputs.iter().map(|port| (port.name.clone(), port.element));
        // The graph's own name hides one from outside.
        let (own, outer) = (own.collect::<Vec<_>>(), captured.iter().cloned());
        for (name, element) in own.into_iter().chain(outer) {
            let edge = Edge { source: plan.slot(), element };
            edges.entry(name).or_insert(edge);
        }
        let outputs = plan.splice(graph, &mut edges)?;
        plan.outputs = outputs.iter().map(|edge| edge.source).collect();
        plan.elements = outputs.iter().map(|edge| edge.element).collect();
        if fused {
            plan.steps = fuse(std::mem::take(&mut plan.steps), &plan.constants, &plan.outputs);
        }
        plan.drop_unused_constants();
        plan.mark_last_uses();
        Ok(plan)
    }

    /// Adds a graph's tensors and nodes; gives its outputs.
    fn splice(&mut self, mut graph: Graph, edges: &mut Edges) -> Result<Vec<Edge>, OnnxError> {
        for (name, tensor) in std::mem::take(&mut graph.tensors) {
            let value = initializer::decode(&self.path, &tensor)?;
            let source = self.constant(value).map_err(|reason| OnnxError::Format {
                path: self.path.clone(),
                reason: format!("tensor `{name}`: {reason}"),
            })?;
            edges.insert(name, Edge { source, element: Element::of(tensor.data_type) });
        }
        for node in std::mem::take(&mut graph.nodes) {
            self.add(node, &graph, edges)?;
        }
        let absent = Edge { source: Source::Absent, element: None };
        let output = |port: &graph::Port| {
            let edge = edges.get(&port.name).copied().unwrap_or(absent);
            Edge { source: edge.source, element: port.element.or(edge.element) }
        };
        Ok(graph.outputs.iter().map(output).collect())
    }

    /// Number of nodes that are computed for every batch.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    /// The device it runs on.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Computes the outputs, in the order of the graph, from as many inputs as it has.
    ///
    /// # Errors
    /// A node cannot be computed from the values it gets.
    pub fn run(&self, inputs: Vec<Value>) -> Result<Vec<Value>, OnnxError> {
        if inputs.len() != self.inputs {
            return Err(OnnxError::Inputs {
                path: self.path.clone(),
                reason: format!("it has {} inputs, not {}", self.inputs, inputs.len()),
            });
        }
        let placed = inputs.into_iter().map(|input| input.placed(&self.device).map(Some));
        let mut slots = placed
            .collect::<Outcome<Vec<Option<Value>>>>()
            .map_err(|reason| OnnxError::Inputs { path: self.path.clone(), reason })?;
        slots.resize(self.slots, None);
        for step in &self.steps {
            let inputs = step.inputs.iter().map(|&source| self.take(source, &mut slots)).collect();
            let results = self.call(&step.callee, inputs)?;
            for (result, slot) in results.into_iter().zip(&step.outputs) {
                if let Some(slot) = *slot {
                    slots[slot] = Some(result);
                }
            }
        }
        let outputs = self.outputs.iter().map(|&source| self.take(source, &mut slots));
        outputs.collect::<Option<_>>().ok_or_else(|| OnnxError::Format {
            path: self.path.clone(),
            reason: "a node gives fewer results than the graph uses".to_owned(),
        })
    }

    fn take(&self, source: Source, slots: &mut [Option<Value>]) -> Option<Value> {
        match source {
            Source::Absent => None,
            Source::Constant(index) => Some(self.constants[index].clone()),
            Source::Slot { slot, last: true } => slots[slot].take(),
            Source::Slot { slot, last: false } => slots[slot].clone(),
        }
    }

    /// Runs one operator. Burn reports shapes that do not fit by a panic, which ends here.
    fn call(&self, callee: &Callee, inputs: Vec<Option<Value>>) -> Result<Vec<Value>, OnnxError> {
        let Callee { node, operator, bodies, elements } = callee;
        let call = Call::new(node, self.opset, &self.device, inputs).within(&elements.0, bodies);
        // Nothing of a failed call is looked at again.
        let outcome = catch_unwind(AssertUnwindSafe(|| operator(call)));
        let outcome = outcome.unwrap_or_else(|panic| Err(words(panic.as_ref())));
        let results = outcome.map_err(|reason| OnnxError::Run {
            path: self.path.clone(),
            operator: graph::operator(node),
            node: label(node),
            reason,
        })?;
        let elements = elements.1.iter().copied().chain(std::iter::repeat(None));
        Ok(results
            .into_iter()
            .zip(elements)
            .map(|(value, element)| value.wrapped(element))
            .collect())
    }

    /// Declared types of the outputs, as far as they are known.
    #[must_use]
    pub fn elements(&self) -> &[Option<Element>] {
        &self.elements
    }

    fn slot(&mut self) -> Source {
        self.slots += 1;
        Source::Slot { slot: self.slots - 1, last: false }
    }

    fn constant(&mut self, value: Value) -> Outcome<Source> {
        let value = match value {
            Value::Reals(host) => Value::constant(host, &self.device)?,
            other => other,
        };
        self.constants.push(value);
        Ok(Source::Constant(self.constants.len() - 1))
    }

    /// Adds a node: computed now if all it reads is constant, else for every batch. Of an `If` whose
    /// condition is constant only the branch taken is added.
    fn add(&mut self, node: NodeProto, graph: &Graph, edges: &mut Edges) -> Result<(), OnnxError> {
        // Both lookups are checked when the graph is opened.
        let absent = Edge { source: Source::Absent, element: None };
        let captured = graph::captures(&node);
        let names = node.input.iter().chain(&captured);
        let inputs: Vec<Edge> =
            names.map(|name| edges.get(name).copied().unwrap_or(absent)).collect();
        let Some(operator) = ops::find(&graph::operator(&node)) else { return Ok(()) };
        let inside = graph.inside(&node)?;
        if let ("If", Some(holds)) = (node.op_type.as_str(), self.constant_condition(&inputs)) {
            let mut scope = edges.clone();
            let branch = inside.into_iter().nth(usize::from(!holds));
            let results = branch.map(|branch| self.splice(branch, &mut scope)).transpose()?;
            edges.extend(node.output.into_iter().zip(results.unwrap_or_default()));
            return Ok(());
        }
        let types = inputs[node.input.len()..].iter().map(|edge| edge.element);
        let captured: Vec<_> = captured.into_iter().zip(types).collect();
        let bodies =
            inside.into_iter().map(|body| Self::inside(body, &self.device, &captured, true));
        let bodies = bodies.collect::<Result<Vec<_>, _>>()?;
        let given: Vec<_> = inputs.iter().map(|edge| edge.element).collect();
        let results = match bodies.first() {
            // The first result of a loop's body is whether it goes on.
            Some(body) => {
                let first = usize::from(node.op_type == "Loop");
                body.elements.get(first..).unwrap_or_default().to_vec()
            }
            None => element::results(&node, &given),
        };
        let inputs: Vec<_> = inputs.into_iter().map(|edge| edge.source).collect();
        let callee = Callee { node, operator, bodies, elements: (given, results) };
        if inputs.iter().all(|input| !matches!(input, Source::Slot { .. })) {
            return self.compute(callee, &inputs, edges);
        }
        let mut outputs = Vec::with_capacity(callee.node.output.len());
        for (index, name) in callee.node.output.iter().enumerate() {
            outputs.push(Some(self.slots));
            let element = callee.elements.1.get(index).copied().flatten();
            edges.insert(name.clone(), Edge { source: self.slot(), element });
        }
        self.steps.push(Step { callee, inputs, outputs });
        Ok(())
    }

    /// Computes a node that reads constants only.
    fn compute(
        &mut self,
        callee: Callee,
        inputs: &[Source],
        edges: &mut Edges,
    ) -> Result<(), OnnxError> {
        let values = inputs.iter().map(|&input| self.take(input, &mut [])).collect();
        let results = self.call(&callee, values)?;
        let elements = callee.elements.1.into_iter().chain(std::iter::repeat(None));
        for ((name, value), element) in callee.node.output.into_iter().zip(results).zip(elements) {
            let source = self.constant(value).map_err(|reason| OnnxError::Format {
                path: self.path.clone(),
                reason: format!("constant `{name}`: {reason}"),
            })?;
            edges.insert(name, Edge { source, element });
        }
        Ok(())
    }

    /// Whether the first of `inputs` holds, where that is known beforehand.
    fn constant_condition(&self, inputs: &[Edge]) -> Option<bool> {
        match inputs.first()?.source {
            Source::Constant(index) => self.constants[index].clone().bools().ok()?.single(),
            _ => None,
        }
    }

    /// Frees the constants that only served to compute other constants.
    fn drop_unused_constants(&mut self) {
        let mut places = vec![None; self.constants.len()];
        let mut kept = Vec::new();
        let inputs = self.steps.iter_mut().flat_map(|step| step.inputs.iter_mut());
        for source in inputs.chain(&mut self.outputs) {
            if let Source::Constant(index) = source {
                let place = *places[*index].get_or_insert_with(|| {
                    kept.push(self.constants[*index].clone());
                    kept.len() - 1
                });
                *source = Source::Constant(place);
            }
        }
        self.constants = kept;
    }

    /// Walks backwards: the first reader met is the last one to run.
    fn mark_last_uses(&mut self) {
        let mut read = vec![false; self.slots];
        let inputs = self.steps.iter_mut().map(|step| (&mut step.inputs, Some(&mut step.outputs)));
        let all = inputs.chain([(&mut self.outputs, None)]).collect::<Vec<_>>();
        for (inputs, outputs) in all.into_iter().rev() {
            for slot in outputs.into_iter().flatten() {
                *slot = slot.filter(|&slot| read[slot]);
            }
            for source in inputs.iter_mut().rev() {
                if let Source::Slot { slot, last } = source {
                    *last = !read[*slot];
                    read[*slot] = true;
                }
            }
        }
    }
}

/// What a panic said.
fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("the computation failed").trim().to_owned()
}
