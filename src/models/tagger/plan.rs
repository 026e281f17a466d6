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
    error::OnnxError,
    fuse::fuse,
    graph::{Graph, label},
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

pub(super) struct Step {
    pub node: NodeProto,
    pub operator: Operator,
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
}

impl Plan {
    /// Uploads the stored tensors and computes, once, every node that depends on nothing else.
    ///
    /// # Errors
    /// A stored tensor cannot be read, or a constant node cannot be computed.
    pub fn new(graph: Graph, device: &Device) -> Result<Self, OnnxError> {
        let mut plan = Self {
            path: graph.path().to_owned(),
            opset: graph.opset,
            device: device.clone(),
            constants: Vec::new(),
            steps: Vec::new(),
            slots: 0,
            inputs: graph.inputs.len(),
            outputs: Vec::new(),
        };
        let mut sources = HashMap::new();
        for input in graph.inputs {
            sources.insert(input.name, plan.slot());
        }
        for (name, tensor) in graph.tensors {
            let value = initializer::decode(&plan.path, &tensor)?;
            let source = plan.constant(value).map_err(|reason| OnnxError::Format {
                path: plan.path.clone(),
                reason: format!("tensor `{name}`: {reason}"),
            })?;
            sources.insert(name, source);
        }
        for node in graph.nodes {
            plan.add(node, &mut sources)?;
        }
        let output = |name: &String| sources.get(name).copied().unwrap_or(Source::Absent);
        plan.outputs = graph.outputs.iter().map(|port| output(&port.name)).collect();
        plan.steps = fuse(std::mem::take(&mut plan.steps), &plan.constants, &plan.outputs);
        plan.drop_unused_constants();
        plan.mark_last_uses();
        Ok(plan)
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
            return Err(OnnxError::Signature {
                path: self.path.clone(),
                reason: format!("it has {} inputs, not {}", self.inputs, inputs.len()),
            });
        }
        let mut slots: Vec<Option<Value>> = inputs.into_iter().map(Some).collect();
        slots.resize(self.slots, None);
        for step in &self.steps {
            let inputs = step.inputs.iter().map(|&source| self.take(source, &mut slots)).collect();
            let results = self.call(&step.node, step.operator, inputs)?;
            for (result, slot) in results.into_iter().zip(&step.outputs) {
                if let Some(slot) = *slot {
                    slots[slot] = Some(result);
                }
            }
        }
        let outputs = self.outputs.iter().map(|&source| self.take(source, &mut slots));
        outputs.collect::<Option<_>>().ok_or_else(|| OnnxError::Signature {
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
    fn call(
        &self,
        node: &NodeProto,
        operator: Operator,
        inputs: Vec<Option<Value>>,
    ) -> Result<Vec<Value>, OnnxError> {
        let call = Call::new(node, self.opset, &self.device, inputs);
        // Nothing of a failed call is looked at again.
        let outcome = catch_unwind(AssertUnwindSafe(|| operator(call)));
        let outcome = outcome.unwrap_or_else(|panic| Err(words(panic.as_ref())));
        outcome.map_err(|reason| OnnxError::Run {
            path: self.path.clone(),
            operator: node.op_type.clone(),
            node: label(node),
            reason,
        })
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

    /// Adds a node: computed now if all it reads is constant, else for every batch.
    fn add(
        &mut self,
        node: NodeProto,
        sources: &mut HashMap<String, Source>,
    ) -> Result<(), OnnxError> {
        // Both lookups are checked when the graph is opened.
        let source = |name: &String| sources.get(name).copied().unwrap_or(Source::Absent);
        let inputs: Vec<Source> = node.input.iter().map(source).collect();
        let Some(operator) = ops::find(&node.op_type) else { return Ok(()) };
        if inputs.iter().all(|input| !matches!(input, Source::Slot { .. })) {
            let values = inputs.iter().map(|&input| self.take(input, &mut [])).collect();
            let results = self.call(&node, operator, values)?;
            for (name, value) in node.output.into_iter().zip(results) {
                let source = self.constant(value).map_err(|reason| OnnxError::Format {
                    path: self.path.clone(),
                    reason: format!("constant `{name}`: {reason}"),
                })?;
                sources.insert(name, source);
            }
            return Ok(());
        }
        let mut outputs = Vec::with_capacity(node.output.len());
        for name in &node.output {
            outputs.push(Some(self.slots));
            sources.insert(name.clone(), self.slot());
        }
        self.steps.push(Step { node, operator, inputs, outputs });
        Ok(())
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
