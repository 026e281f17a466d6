//! The stages and what they need from each other, as a drawing or as text for other programs.

mod ascii;
mod layers;

use serde::Serialize;

use super::{Look, theme};
use crate::pipeline::StagePlan;

/// The stages, in any order.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Drawing {
    /// The stages.
    pub stages: Vec<Node>,
}

/// One stage.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Names of the stages it needs.
    pub needs: Vec<String>,
    /// How it stands, where that could be found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Standing>,
}

/// How a stage stands.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Standing {
    /// `fresh`, `partial`, `stale` or `new`.
    pub word: &'static str,
    /// Number of items.
    pub total: usize,
    /// Number of items that would run.
    pub run: usize,
}

impl Node {
    fn kind_beside_name(&self) -> Option<&str> {
        (self.kind != self.name).then_some(&self.kind)
    }
}

impl Standing {
    /// As a plan found it.
    #[must_use]
    pub fn of(stage: &StagePlan) -> Self {
        let word = super::plan::word(stage.state);
        Self { word, total: stage.counts.total, run: stage.counts.run }
    }

    fn text(&self) -> String {
        match (self.word, self.run) {
            (word, 0) => word.to_owned(),
            (word, run) => format!("{word}, {run} of {}", self.total),
        }
    }

    fn paint(&self, text: &str) -> String {
        theme::state(self.word, text)
    }
}

impl Drawing {
    /// Boxes and arrows.
    #[must_use]
    pub fn ascii(&self, look: Look) -> String {
        ascii::draw(self, look)
    }

    /// A Mermaid flow chart.
    #[must_use]
    pub fn mermaid(&self) -> String {
        let mut text = "flowchart LR\n".to_owned();
        for (index, node) in self.stages.iter().enumerate() {
            let class = node.state.as_ref().map(|state| format!(":::{}", state.word));
            // Names go into labels, not into ids: `end` is a word of the language.
            text +=
                &format!("  s{index}[\"{}\"]{}\n", label(node, "<br/>"), class.unwrap_or_default());
        }
        for (from, to) in self.edges() {
            text += &format!("  s{from} --> s{to}\n");
        }
        for (word, fill) in FILLS {
            if self.stages.iter().any(|node| node.state.as_ref().is_some_and(|s| s.word == word)) {
                text += &format!("  classDef {word} fill:{fill},color:#000000\n");
            }
        }
        text
    }

    /// A Graphviz graph.
    #[must_use]
    pub fn dot(&self) -> String {
        let mut text = "digraph stages {\n  rankdir=LR;\n  node [shape=box, style=filled, fillcolor=\"#ffffff\"];\n".to_owned();
        for node in &self.stages {
            let word = node.state.as_ref().map(|state| state.word);
            let fill = FILLS.iter().find(|(known, _)| Some(*known) == word);
            let fill = fill.map(|(_, fill)| format!(", fillcolor=\"{fill}\""));
            text += &format!(
                "  \"{}\" [label=\"{}\"{}];\n",
                node.name,
                label(node, "\\n"),
                fill.unwrap_or_default()
            );
        }
        for (from, to) in self.edges() {
            text += &format!("  \"{}\" -> \"{}\";\n", self.stages[from].name, self.stages[to].name);
        }
        text + "}\n"
    }

    /// The nodes as one JSON object.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({ "version": 1, "stages": self.stages })
    }

    /// Pairs of indices: the needed stage and the one that needs it.
    fn edges(&self) -> Vec<(usize, usize)> {
        let place = |name: &str| self.stages.iter().position(|node| node.name == name);
        let mut edges = Vec::new();
        for (to, node) in self.stages.iter().enumerate() {
            edges.extend(node.needs.iter().filter_map(|need| place(need)).map(|from| (from, to)));
        }
        edges
    }
}

const FILLS: [(&str, &str); 4] =
    [("fresh", "#c8e6c9"), ("partial", "#fff3b0"), ("stale", "#ffd6a5"), ("new", "#bde0fe")];

/// Stage names are `[a-z0-9_.-]`, so nothing needs escaping.
fn label(node: &Node, newline: &str) -> String {
    let kind = node.kind_beside_name().map(|kind| format!(" ({kind})"));
    let state = node.state.as_ref().map(|state| format!("{newline}{}", state.text()));
    format!("{}{}{}", node.name, kind.unwrap_or_default(), state.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn drawing(stages: &[(&str, &str, &[&str])]) -> Drawing {
        let stages = stages.iter().map(|(name, kind, needs)| Node {
            name: (*name).to_owned(),
            kind: (*kind).to_owned(),
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
            state: Some(Standing { word: "partial", total: 12, run: 1 }),
        });
        Drawing { stages: stages.collect() }
    }

    #[test]
    fn mermaid_and_dot_name_every_stage_and_edge() {
        let drawing = drawing(&[("end", "label", &[]), ("merge", "merge", &["end"])]);
        insta::assert_snapshot!(drawing.mermaid(), @r#"
        flowchart LR
          s0["end (label)<br/>partial, 1 of 12"]:::partial
          s1["merge<br/>partial, 1 of 12"]:::partial
          s0 --> s1
          classDef partial fill:#fff3b0,color:#000000
        "#);
        insta::assert_snapshot!(drawing.dot(), @r##"
        digraph stages {
          rankdir=LR;
          node [shape=box, style=filled, fillcolor="#ffffff"];
          "end" [label="end (label)\npartial, 1 of 12", fillcolor="#fff3b0"];
          "merge" [label="merge\npartial, 1 of 12", fillcolor="#fff3b0"];
          "end" -> "merge";
        }
        "##);
    }
}
