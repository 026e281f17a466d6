//! The stages and what they need, as a graph without cycles.

use std::collections::{BTreeMap, BTreeSet};

use miette::Diagnostic;
use petgraph::{
    Direction,
    algo::tarjan_scc,
    graph::{DiGraph, NodeIndex},
    visit::{Dfs, Reversed},
};
use thiserror::Error;

use super::Stage;

/// A stage with its name and the names of the stages whose outputs it reads.
///
/// A stage of the manifest may work in steps that are stages of their own here: a node `tag.probabilities`
/// is a step of `tag`. Who names `tag` to select or force it means its steps too.
pub struct Node {
    /// Its name in the manifest; of a step, that name, a dot and its own.
    pub name: String,
    /// Names of the stages that it needs.
    pub needs: Vec<String>,
    /// The stage.
    pub stage: Box<dyn Stage>,
}

/// The stages, in an order in which each comes after those that it needs.
pub struct Graph {
    nodes: Vec<Node>,
    needs: Vec<Vec<usize>>,
    edges: DiGraph<(), ()>,
}

/// Which stages a run is about: one flag per node of the graph.
pub type Selection = Vec<bool>;

/// The stages do not make a graph, or the command line names one that is not there.
#[derive(Debug, Error, Diagnostic)]
pub enum GraphError {
    /// Two stages of one name.
    #[error("two stages are named `{name}`")]
    #[diagnostic(
        code(fluxpipe::pipeline::stage_twice),
        help("give one of them another name: [stages.NAME]")
    )]
    Twice {
        /// The name.
        name: String,
    },
    /// A stage needs one that is not there.
    #[error("stage `{stage}` needs `{needs}`, and there is no such stage")]
    #[diagnostic(code(fluxpipe::pipeline::unknown_need))]
    UnknownNeed {
        /// The stage.
        stage: String,
        /// What it needs.
        needs: String,
        /// What there is.
        #[help]
        help: String,
    },
    /// Stages need each other in a circle.
    #[error("the stages need each other in a circle: {}", path.join(" → "))]
    #[diagnostic(
        code(fluxpipe::pipeline::cycle),
        help("take one of them out of the `needs` of the next")
    )]
    Cycle {
        /// The circle; its first name stands at its end again.
        path: Vec<String>,
    },
    /// `--force` names a stage that `--only`, `--from` or `--until` leave out.
    #[error("`{name}` is forced and not selected")]
    #[diagnostic(
        code(fluxpipe::pipeline::forced_not_selected),
        help("select `{name}` too, or leave out `--force {name}`")
    )]
    ForcedNotSelected {
        /// The name.
        name: String,
    },
    /// The command line names a stage that is not there.
    #[error("there is no stage `{name}`")]
    #[diagnostic(code(fluxpipe::pipeline::unknown_stage))]
    UnknownStage {
        /// The name.
        name: String,
        /// What there is.
        #[help]
        help: String,
    },
}

impl Graph {
    /// Puts `nodes` into order: each after what it needs, and otherwise as they were declared.
    ///
    /// # Errors
    /// A name stands twice, a need is not there, or the needs go round in a circle.
    pub fn new(nodes: Vec<Node>) -> Result<Self, GraphError> {
        let mut place = BTreeMap::new();
        for (index, node) in nodes.iter().enumerate() {
            if place.insert(node.name.clone(), index).is_some() {
                return Err(GraphError::Twice { name: node.name.clone() });
            }
        }
        let mut declared = unconnected(nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            for need in &node.needs {
                let from = place.get(need).ok_or_else(|| GraphError::UnknownNeed {
                    stage: node.name.clone(),
                    needs: need.clone(),
                    help: names_help(need, place.keys().map(String::as_str)),
                })?;
                declared.update_edge(NodeIndex::new(*from), NodeIndex::new(index), ());
            }
        }
        let order = sorted(&declared).ok_or_else(|| cycle(&declared, &nodes))?;
        Ok(Self::ordered(nodes, &declared, &order))
    }

    /// Renumbers the nodes by `order`.
    fn ordered(nodes: Vec<Node>, declared: &DiGraph<(), ()>, order: &[usize]) -> Self {
        let mut rank = vec![0; order.len()];
        order.iter().enumerate().for_each(|(new, &old)| rank[old] = new);
        let edges = declared.raw_edges().iter();
        let edges = edges.map(|edge| (rank[edge.source().index()], rank[edge.target().index()]));
        let mut graph = unconnected(nodes.len());
        for (from, to) in edges.collect::<BTreeSet<_>>() {
            graph.add_edge(NodeIndex::new(from), NodeIndex::new(to), ());
        }
        let mut slots: Vec<_> = nodes.into_iter().zip(&rank).collect();
        slots.sort_by_key(|(_, rank)| **rank);
        let nodes: Vec<_> = slots.into_iter().map(|(node, _)| node).collect();
        // In the order in which the manifest names them, which is the order that a stage sees.
        let places: BTreeMap<_, _> =
            nodes.iter().enumerate().map(|(index, node)| (node.name.clone(), index)).collect();
        let needs = nodes.iter().map(|node| {
            let mut seen = BTreeSet::new();
            node.needs.iter().map(|need| places[need]).filter(|&need| seen.insert(need)).collect()
        });
        let needs = needs.collect();
        Self { nodes, needs, edges: graph }
    }

    /// The stages, each after those that it needs.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Indices of the stages that the stage `index` needs.
    #[must_use]
    pub fn needs(&self, index: usize) -> &[usize] {
        &self.needs[index]
    }

    /// Index of the stage of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, name: &str) -> Result<usize, GraphError> {
        self.nodes.iter().position(|node| node.name == name).ok_or_else(|| {
            let help = names_help(name, self.nodes.iter().map(|node| node.name.as_str()));
            GraphError::UnknownStage { name: name.to_owned(), help }
        })
    }

    /// Indices of the stage of this name and of its steps.
    ///
    /// # Errors
    /// There is no such stage.
    pub fn with_steps(&self, name: &str) -> Result<Vec<usize>, GraphError> {
        self.find(name)?;
        let is_part = |node: &Node| match node.name.strip_prefix(name) {
            Some(rest) => rest.is_empty() || rest.starts_with('.'),
            None => false,
        };
        Ok((0..self.nodes.len()).filter(|&index| is_part(&self.nodes[index])).collect())
    }

    /// The stages that `only`, `from` and `until` leave: those named by `only`, or else those that
    /// need `from` and are needed by `until` (both included, directly or through others), each with
    /// its steps.
    ///
    /// # Errors
    /// A named stage is not there.
    pub fn select(
        &self,
        only: &[String],
        from: Option<&str>,
        until: Option<&str>,
    ) -> Result<Selection, GraphError> {
        let mut selected = vec![only.is_empty(); self.nodes.len()];
        for name in only {
            self.with_steps(name)?.into_iter().for_each(|index| selected[index] = true);
        }
        if let Some(from) = from {
            let mut reached = vec![false; self.nodes.len()];
            for start in self.with_steps(from)? {
                let more = self.reached(start, Direction::Outgoing);
                reached.iter_mut().zip(more).for_each(|(reached, more)| *reached |= more);
            }
            selected.iter_mut().zip(reached).for_each(|(selected, kept)| *selected &= kept);
        }
        if let Some(until) = until {
            let reached = self.reached(self.find(until)?, Direction::Incoming);
            selected.iter_mut().zip(reached).for_each(|(selected, kept)| *selected &= kept);
        }
        Ok(selected)
    }

    /// Which stages lie in `direction` of the stage `start`, itself included.
    pub(super) fn reached(&self, start: usize, direction: Direction) -> Vec<bool> {
        let mut reached = vec![false; self.nodes.len()];
        let start = NodeIndex::new(start);
        let mut visit = Dfs::new(&self.edges, start);
        loop {
            let next = match direction {
                Direction::Outgoing => visit.next(&self.edges),
                Direction::Incoming => visit.next(Reversed(&self.edges)),
            };
            match next {
                Some(node) => reached[node.index()] = true,
                None => return reached,
            }
        }
    }
}

fn unconnected(nodes: usize) -> DiGraph<(), ()> {
    let mut graph = DiGraph::new();
    for _ in 0..nodes {
        graph.add_node(());
    }
    graph
}

/// Kahn's order with the smallest declared index first; `None` if there is a circle.
fn sorted(graph: &DiGraph<(), ()>) -> Option<Vec<usize>> {
    let mut open: Vec<usize> = graph
        .node_indices()
        .map(|node| graph.neighbors_directed(node, Direction::Incoming).count())
        .collect();
    let mut ready: BTreeSet<usize> = (0..open.len()).filter(|&node| open[node] == 0).collect();
    let mut order = Vec::with_capacity(open.len());
    while let Some(node) = ready.pop_first() {
        order.push(node);
        for next in graph.neighbors(NodeIndex::new(node)) {
            open[next.index()] -= 1;
            if open[next.index()] == 0 {
                ready.insert(next.index());
            }
        }
    }
    (order.len() == open.len()).then_some(order)
}

/// Names one circle of a graph that has one.
fn cycle(graph: &DiGraph<(), ()>, nodes: &[Node]) -> GraphError {
    let knot = tarjan_scc(graph)
        .into_iter()
        .find(|knot| knot.len() > 1 || graph.contains_edge(knot[0], knot[0]))
        .unwrap_or_default();
    let inside: BTreeSet<_> = knot.iter().copied().collect();
    // Within a knot every node has a successor, so walking must come back to a node seen before.
    let mut walk: Vec<NodeIndex> = inside.first().copied().into_iter().collect();
    while let Some(&last) = walk.last() {
        let next = graph.neighbors(last).filter(|next| inside.contains(next)).min();
        let Some(next) = next else { break };
        let seen = walk.iter().position(|&node| node == next);
        walk.push(next);
        if let Some(seen) = seen {
            walk.drain(..seen);
            break;
        }
    }
    GraphError::Cycle { path: walk.iter().map(|node| nodes[node.index()].name.clone()).collect() }
}

fn names_help<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    let same = names.iter().find(|name| name.eq_ignore_ascii_case(wrong));
    // Three letters in common are enough of a guess among a handful of names.
    let start: String = wrong.chars().take(3).collect();
    let alike = names.iter().find(|name| start.len() > 2 && name.starts_with(&start));
    match same.or(alike) {
        Some(name) => format!("did you mean `{name}`? The stages are: {}", names.join(", ")),
        None => format!("the stages are: {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::fake::FakeStage;

    fn graph(stages: &[(&str, &[&str])]) -> Result<Graph, GraphError> {
        let nodes = stages.iter().map(|(name, needs)| Node {
            name: (*name).to_owned(),
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
            stage: Box::new(FakeStage::new("fake")),
        });
        Graph::new(nodes.collect())
    }

    fn names(graph: &Graph) -> Vec<&str> {
        graph.nodes().iter().map(|node| node.name.as_str()).collect()
    }

    #[test]
    fn order_follows_needs_and_otherwise_the_manifest() {
        let graph =
            graph(&[("d", &["b", "c"]), ("c", &["a"]), ("b", &["a"]), ("a", &[]), ("e", &[])]);
        let graph = graph.unwrap();
        assert_eq!(names(&graph), ["a", "c", "b", "d", "e"]);
        assert_eq!(graph.needs(3), [2, 1], "in the order of the manifest's `needs`");
    }

    #[test]
    fn selections() {
        let graph = graph(&[("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"])]).unwrap();
        let pick = |only: &[&str], from, until| {
            let only: Vec<_> = only.iter().map(|&name| name.to_owned()).collect();
            let flags = graph.select(&only, from, until).unwrap();
            let names = names(&graph).into_iter().zip(flags).filter(|(_, flag)| *flag);
            names.map(|(name, _)| name).collect::<String>()
        };
        assert_eq!(pick(&[], None, None), "abcd");
        assert_eq!(pick(&["b", "d"], None, None), "bd");
        assert_eq!(pick(&[], Some("b"), None), "bd");
        assert_eq!(pick(&[], None, Some("b")), "ab");
        assert_eq!(pick(&[], Some("a"), Some("c")), "ac");
        let error = graph.select(&["B".to_owned()], None, None).unwrap_err();
        assert!(error.help().unwrap().to_string().starts_with("did you mean `b`?"));
    }

    #[test]
    fn who_names_a_stage_means_its_steps_too() {
        let stages: &[(&str, &[&str])] = &[
            ("tag.net", &[]),
            ("tag", &["tag.net"]),
            ("tag-2", &[]),
            ("merge", &["tag", "tag-2"]),
        ];
        let graph = graph(stages).unwrap();
        let pick = |only: &[&str], from, until| {
            let only: Vec<_> = only.iter().map(|&name| name.to_owned()).collect();
            let flags = graph.select(&only, from, until).unwrap();
            let names = names(&graph).into_iter().zip(flags).filter(|(_, flag)| *flag);
            names.map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(pick(&["tag"], None, None), ["tag.net", "tag"]);
        assert_eq!(pick(&["tag.net"], None, None), ["tag.net"]);
        assert_eq!(pick(&[], Some("tag"), None), ["tag.net", "tag", "merge"]);
        assert_eq!(pick(&[], Some("tag.net"), Some("tag")), ["tag.net", "tag"]);
        assert_eq!(pick(&[], None, Some("tag")), ["tag.net", "tag"]);
        assert!(graph.with_steps("ta").is_err());
    }

    #[test]
    fn circles_and_unknown_names_are_errors() {
        let circle = graph(&[("x", &[]), ("a", &["c", "x"]), ("b", &["a"]), ("c", &["b"])]);
        assert_eq!(
            circle.err().unwrap().to_string(),
            "the stages need each other in a circle: a → b → c → a"
        );
        let own = graph(&[("a", &["a"])]).err().unwrap();
        assert!(own.to_string().ends_with("a → a"));
        assert!(matches!(graph(&[("a", &["b"])]), Err(GraphError::UnknownNeed { .. })));
        assert!(matches!(graph(&[("a", &[]), ("a", &[])]), Err(GraphError::Twice { .. })));
    }
}
