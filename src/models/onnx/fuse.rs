//! Steps that belong together become one: a matrix product with its bias, activation and residual sum;
//! the error-function GELU that exporters write out; attention between its two products.
//!
//! What stands between two products is written and read as whole arrays, which on a CPU takes longer
//! than the products. A group of steps is replaced only if nobody else reads what lies between them, and
//! the step that replaces it computes the same function: where its inputs turn out to be of another form
//! when the graph runs, it computes the single steps. Numbers differ from those of the single steps by
//! rounding alone.

use onnx_ir::{AttributeProto, NodeProto};

use super::{
    graph,
    ops::{self, Operator, fused},
    plan::{Callee, Source, Step},
    value::Value,
};

/// Fuses what can be. `outputs` are read by the caller.
pub(super) fn fuse(steps: Vec<Step>, constants: &[Value], outputs: &[Source]) -> Vec<Step> {
    let mut fuser = Fuser { steps: steps.into_iter().map(Some).collect(), constants, outputs };
    fuser.each(Fuser::gelu);
    fuser.each(Fuser::linear);
    fuser.each(Fuser::residual);
    fuser.each(Fuser::attention);
    fuser.steps.into_iter().flatten().collect()
}

struct Fuser<'a> {
    /// `None` where a step was taken into another.
    steps: Vec<Option<Step>>,
    constants: &'a [Value],
    outputs: &'a [Source],
}

/// Steps to be taken away, and what stands in the place of the last of them.
struct Fused {
    steps: Vec<usize>,
    inputs: Vec<Source>,
    operator: Operator,
    attributes: Vec<(&'static str, i64)>,
    name: &'static str,
}

/// Who makes and who reads each slot.
struct Edges {
    makers: Vec<Option<usize>>,
    readers: Vec<Vec<usize>>,
}

impl Fuser<'_> {
    fn each(&mut self, find: fn(&Self, &Edges, usize) -> Option<Fused>) {
        let mut edges = self.edges();
        for index in 0..self.steps.len() {
            if self.steps[index].is_none() {
                continue;
            }
            if let Some(fused) = find(self, &edges, index) {
                self.replace(fused);
                edges = self.edges();
            }
        }
    }

    fn replace(&mut self, fused: Fused) {
        let Some(&last) = fused.steps.iter().max() else { return };
        let (mut outputs, mut results) = (Vec::new(), Vec::new());
        let mut label = None;
        for &index in &fused.steps {
            if let Some(step) = self.steps[index].take() {
                label.get_or_insert_with(|| graph::label(&step.callee.node));
                if index == last {
                    outputs = step.outputs;
                    results = step.callee.elements.1;
                }
            }
        }
        let attribute = |&(name, value): &(&str, i64)| {
            let mut attribute = AttributeProto::new();
            attribute.name = name.to_owned();
            attribute.i = value;
            attribute
        };
        let node = NodeProto {
            op_type: fused.name.to_owned(),
            name: label.unwrap_or_default(),
            attribute: fused.attributes.iter().map(attribute).collect(),
            ..NodeProto::default()
        };
        let (operator, inputs) = (fused.operator, fused.inputs);
        let callee = Callee { node, operator, bodies: Vec::new(), elements: (Vec::new(), results) };
        self.steps[last] = Some(Step { callee, inputs, outputs });
    }

    fn edges(&self) -> Edges {
        let slots = self.steps.iter().flatten().flat_map(|step| &step.outputs).flatten();
        let count = slots.chain(self.input_slots()).max().map_or(0, |&most| most + 1);
        let mut edges = Edges { makers: vec![None; count], readers: vec![Vec::new(); count] };
        for (index, step) in self.steps.iter().enumerate() {
            let Some(step) = step else { continue };
            step.outputs.iter().flatten().for_each(|&slot| edges.makers[slot] = Some(index));
            for source in &step.inputs {
                if let Source::Slot { slot, .. } = source {
                    edges.readers[*slot].push(index);
                }
            }
        }
        // The caller is a reader that is no step.
        for source in self.outputs {
            if let Source::Slot { slot, .. } = source {
                edges.readers[*slot].push(usize::MAX);
            }
        }
        edges
    }

    fn input_slots(&self) -> impl Iterator<Item = &usize> {
        let inputs = self.steps.iter().flatten().flat_map(|step| &step.inputs);
        inputs.chain(self.outputs).filter_map(|source| match source {
            Source::Slot { slot, .. } => Some(slot),
            _ => None,
        })
    }

    fn step(&self, index: usize) -> Option<&Step> {
        self.steps.get(index).and_then(Option::as_ref)
    }

    /// The step, if it is this operator of the standard.
    fn is(&self, index: usize, operator: &str) -> Option<&Step> {
        self.step(index).filter(|step| graph::operator(&step.callee.node) == operator)
    }

    /// The only step that reads what this step makes.
    fn only_reader(&self, edges: &Edges, index: usize) -> Option<usize> {
        let step = self.step(index)?;
        let [Some(slot)] = step.outputs[..] else { return None };
        match edges.readers[slot][..] {
            [reader] => Some(reader),
            _ => None,
        }
    }

    fn maker(&self, edges: &Edges, source: Source) -> Option<usize> {
        let Source::Slot { slot, .. } = source else { return None };
        edges.makers[slot]
    }

    fn constant(&self, source: Source) -> Option<&Value> {
        let Source::Constant(index) = source else { return None };
        self.constants.get(index)
    }

    /// Whether a source is this single number.
    fn is_number(&self, source: Source, number: f32) -> bool {
        let single = match self.constant(source) {
            Some(Value::Reals(host)) => host.single(),
            _ => None,
        };
        single.is_some_and(|found| (found - number).abs() <= 1e-6 * number.abs())
    }

    /// The other input of a step of two that reads what step `index` makes.
    fn other_input(&self, reader: &Step, index: usize) -> Option<Source> {
        let made = self.step(index)?.outputs.first().copied().flatten()?;
        let is_made =
            |source: &Source| matches!(source, Source::Slot { slot, .. } if *slot == made);
        match reader.inputs[..] {
            [a, b] if is_made(&a) && !is_made(&b) => Some(b),
            [a, b] if is_made(&b) && !is_made(&a) => Some(a),
            _ => None,
        }
    }

    /// `x · ½ · (1 + erf(x / √2))`, in the orders in which exporters multiply.
    fn gelu(&self, edges: &Edges, erf: usize) -> Option<Fused> {
        let erf_step = self.is(erf, "Erf")?;
        let scaled = self.maker(edges, erf_step.inputs[0])?;
        let x = match self.step(scaled)? {
            step if step.callee.node.op_type == "Div"
                && self.is_number(step.inputs[1], std::f32::consts::SQRT_2) =>
            {
                step.inputs[0]
            }
            step if step.callee.node.op_type == "Mul"
                && self.is_number(step.inputs[1], std::f32::consts::FRAC_1_SQRT_2) =>
            {
                step.inputs[0]
            }
            _ => return None,
        };
        self.only_reader(edges, scaled)?;
        let plus_one = self.only_reader(edges, erf)?;
        let one = self.other_input(self.is(plus_one, "Add")?, erf)?;
        let first = self.only_reader(edges, plus_one)?;
        let factor = self.other_input(self.is(first, "Mul")?, plus_one)?;
        let same = |source: Source| same_slot(source, x);
        let mut steps = vec![scaled, erf, plus_one, first];
        if !self.is_number(one, 1.0) {
            return None;
        }
        let half_of_x = |index: usize| {
            let step = self.is(index, "Mul")?;
            let [a, b] = step.inputs[..] else { return None };
            let halves = (same(a) && self.is_number(b, 0.5)) || (same(b) && self.is_number(a, 0.5));
            halves.then_some(index)
        };
        if same(factor) || self.is_number(factor, 0.5) {
            let second = self.only_reader(edges, first)?;
            let last = self.other_input(self.is(second, "Mul")?, first)?;
            let whole = if same(factor) { self.is_number(last, 0.5) } else { same(last) };
            steps.push(second);
            whole.then_some(())?;
        } else {
            let halved = self.maker(edges, factor).and_then(half_of_x)?;
            self.only_reader(edges, halved)?;
            steps.push(halved);
        }
        Some(Fused {
            steps,
            inputs: vec![x],
            operator: ops::find("Gelu")?,
            attributes: Vec::new(),
            name: "Gelu",
        })
    }

    /// A product with a constant matrix, the bias behind it and a GELU behind that.
    fn linear(&self, edges: &Edges, product: usize) -> Option<Fused> {
        let step = self.is(product, "MatMul")?;
        let weight = self.constant(step.inputs[1])?;
        // Integers have products too.
        matches!(weight, Value::Floats(_) | Value::Reals(_)).then_some(())?;
        let [_, columns] = weight.shape()[..] else { return None };
        let mut fused = Fused {
            steps: vec![product],
            inputs: vec![step.inputs[0], step.inputs[1]],
            operator: fused::linear,
            attributes: Vec::new(),
            name: "MatMul",
        };
        let sum = self.only_reader(edges, product)?;
        let bias = self.other_input(self.is(sum, "Add")?, product)?;
        if self.constant(bias)?.shape() != [columns] {
            return None;
        }
        fused.steps.push(sum);
        fused.inputs.push(bias);
        let behind = self.only_reader(edges, sum);
        if let Some(gelu) = behind.filter(|&gelu| self.is(gelu, "Gelu").is_some())
            && self.step(gelu)?.callee.node.attribute.is_empty()
        {
            fused.steps.push(gelu);
            fused.attributes.push((fused::GELU, 1));
        }
        Some(fused)
    }

    /// A fused product whose result is added to something that is computed too.
    fn residual(&self, edges: &Edges, linear: usize) -> Option<Fused> {
        let step = self.step(linear)?;
        // A function's address is no identity; a fused product is a `MatMul` of three inputs.
        if step.callee.node.op_type != "MatMul" || step.inputs.len() != 3 {
            return None;
        }
        if !step.callee.node.attribute.is_empty() {
            return None;
        }
        let sum = self.only_reader(edges, linear)?;
        let onto = self.other_input(self.is(sum, "Add")?, linear)?;
        let Source::Slot { .. } = onto else { return None };
        let mut inputs = step.inputs.clone();
        inputs.push(onto);
        Some(Fused {
            steps: vec![linear, sum],
            inputs,
            operator: fused::linear,
            attributes: Vec::new(),
            name: "MatMul",
        })
    }

    /// What a side of a product is multiplied with before, if nobody else reads the result. Which of the
    /// two is a single number shows itself when the graph runs.
    fn scaled(&self, edges: &Edges, side: Source, steps: &mut Vec<usize>) -> (Source, Source) {
        let maker = self.maker(edges, side);
        let scaling = maker.filter(|&index| {
            self.is(index, "Mul").is_some() && self.only_reader(edges, index).is_some()
        });
        match scaling.and_then(|index| Some((index, self.step(index)?))) {
            Some((index, step)) if step.inputs.len() == 2 => {
                steps.push(index);
                (step.inputs[0], step.inputs[1])
            }
            _ => (side, Source::Absent),
        }
    }

    /// Two products with scale, mask and softmax between them, and what scales their sides before.
    fn attention(&self, edges: &Edges, softmax: usize) -> Option<Fused> {
        let step = self.is(softmax, "Softmax")?;
        let axis = step.callee.node.attribute.iter().find(|attribute| attribute.name == "axis");
        let axis = axis.map(|attribute| (fused::AXIS, attribute.i));
        let mut steps = vec![softmax];
        let last = self.only_reader(edges, softmax)?;
        let values = self.other_input(self.is(last, "MatMul")?, softmax)?;
        // The weights stand on the left.
        same_slot(self.step(last)?.inputs[0], slot_source(step.outputs[0]?)).then_some(())?;
        steps.push(last);
        let mut before = self.maker(edges, step.inputs[0])?;
        let (mut bias, mut scale) = (Source::Absent, Source::Absent);
        let mut divides = 0;
        loop {
            // Each on its own way from the product to the softmax, once.
            self.only_reader(edges, before)?;
            let step = self.step(before)?;
            steps.push(before);
            match step.callee.node.op_type.as_str() {
                "MatMul" => {
                    let (mut inputs, mut factors) = (Vec::new(), Vec::new());
                    for &side in &step.inputs {
                        let (array, factor) = self.scaled(edges, side, &mut steps);
                        inputs.push(array);
                        factors.push(factor);
                    }
                    inputs.extend([values, bias, scale]);
                    inputs.extend(factors);
                    let attributes = axis.into_iter().chain([(fused::DIVIDES, divides)]).collect();
                    let operator = fused::attention;
                    return Some(Fused { steps, inputs, operator, attributes, name: "Softmax" });
                }
                "Add" if matches!((bias, scale), (Source::Absent, Source::Absent)) => {
                    let product = |source: &&Source| {
                        let maker = self.maker(edges, **source).and_then(|index| self.step(index));
                        maker.is_some_and(|step| {
                            matches!(step.callee.node.op_type.as_str(), "MatMul" | "Mul" | "Div")
                        })
                    };
                    let scores = step.inputs.iter().find(product)?;
                    before = self.maker(edges, *scores)?;
                    bias = self.other_input(step, before)?;
                }
                name @ ("Mul" | "Div") if matches!(scale, Source::Absent) => {
                    divides = i64::from(name == "Div");
                    let [scores, factor] = step.inputs[..] else { return None };
                    let single = match self.constant(factor)? {
                        Value::Reals(host) => host.single().is_some(),
                        _ => false,
                    };
                    single.then_some(())?;
                    scale = factor;
                    before = self.maker(edges, scores)?;
                }
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests;

fn slot_source(slot: usize) -> Source {
    Source::Slot { slot, last: false }
}

fn same_slot(a: Source, b: Source) -> bool {
    matches!((a, b), (Source::Slot { slot: a, .. }, Source::Slot { slot: b, .. }) if a == b)
}
