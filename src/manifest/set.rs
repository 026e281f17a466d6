//! `--set PATH=VALUE`: values from the command line take the place of those in the file.

use std::sync::Arc;

use miette::NamedSource;
use toml::de::DeValue;

use super::{
    error::{ManifestError, Mistake},
    source::{Place, Text},
    tree::{Content, Entry, Node},
};
use crate::base::{did_you_mean, plural};

/// Puts `value` in the place of what stands at the dotted `path`.
///
/// The value is TOML. A word that is not is taken as a text, so that `project.device=cpu` needs no
/// quotes inside quotes.
pub(super) fn set(root: &mut Node, path: &str, value: &str) -> Result<(), Box<ManifestError>> {
    let head = format!("--set {path}=");
    let text: Text =
        Arc::new(NamedSource::new("command line", Arc::from(format!("{head}{value}"))));
    let key = Place::new(&text, "--set ".len()..head.len() - 1);
    let node = parse(path, value, &text, head.len())?;
    descend(root, path, &key)?.assign(node, &key);
    Ok(())
}

fn parse(path: &str, value: &str, text: &Text, from: usize) -> Result<Node, Box<ManifestError>> {
    let place = Place::new(text, from..from + value.len());
    match DeValue::parse(value) {
        Ok(parsed) => Ok(Node::from_value(parsed.get_ref(), parsed.span(), text, from)),
        Err(error) if value.starts_with(['"', '\'', '[', '{']) => {
            let mistake = Mistake::Set {
                path: path.to_owned(),
                reason: format!("the value is not TOML: {}", error.message()),
                help: "put the whole argument in single quotes: --set 'KEY=[\"a\", \"b\"]'"
                    .to_owned(),
            };
            Err(Box::new(ManifestError::at(&place, "this value", mistake)))
        }
        Err(_) => Ok(Node { place, content: Content::Scalar(value.into()) }),
    }
}

/// Where a value goes.
enum Slot<'a> {
    Existing(&'a mut Node),
    New { table: &'a mut Vec<Entry>, name: String },
}

impl Slot<'_> {
    fn assign(self, node: Node, key: &Place) {
        match self {
            Self::Existing(old) => *old = node,
            Self::New { table, name } => table.push(Entry { name, key: key.clone(), value: node }),
        }
    }
}

fn descend<'a>(
    root: &'a mut Node,
    path: &str,
    key: &Place,
) -> Result<Slot<'a>, Box<ManifestError>> {
    let mut node = root;
    let mut done = String::new();
    let mut names = path.split('.').peekable();
    while let Some(name) = names.next() {
        let last = names.peek().is_none();
        let missing = missing(node, &done, name);
        match &mut node.content {
            Content::Table(entries) => {
                match entries.iter().position(|entry| entry.name == name) {
                    Some(index) => node = &mut entries[index].value,
                    None if last && !name.is_empty() => {
                        return Ok(Slot::New { table: entries, name: name.to_owned() });
                    }
                    // A table whose keys all have defaults may be left out of the file.
                    None if done.is_empty() && ["project", "models"].contains(&name) => {
                        let value = Node { place: key.clone(), content: Content::Table(vec![]) };
                        entries.push(Entry { name: name.to_owned(), key: key.clone(), value });
                        let pushed = entries.len() - 1;
                        node = &mut entries[pushed].value;
                    }
                    None => return Err(cannot(path, key, missing)),
                }
            }
            Content::List(nodes) => {
                match name.parse::<usize>().ok().filter(|index| *index < nodes.len()) {
                    Some(index) => node = &mut nodes[index],
                    None => return Err(cannot(path, key, missing)),
                }
            }
            Content::Scalar(_) | Content::Foreign(_) => return Err(cannot(path, key, missing)),
        }
        done = super::tree::below(&done, name);
    }
    Ok(Slot::Existing(node))
}

/// Why `name` is not found in the node at `done`, and what could be meant.
fn missing(node: &Node, done: &str, name: &str) -> (String, String) {
    let here = if done.is_empty() { "the manifest".to_owned() } else { format!("`{done}`") };
    match &node.content {
        Content::Table(entries) => {
            let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
            let help = match did_you_mean(name, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it has {}", names.join(", ")),
            };
            (format!("there is no `{name}` in {here}"), help)
        }
        Content::List(nodes) => (
            format!("there is no `{name}` in {here}"),
            format!(
                "it is a list of {}: name one by its number, from 0",
                plural(nodes.len(), "value")
            ),
        ),
        Content::Scalar(_) | Content::Foreign(_) => (
            format!("{here} is {} and has no `{name}`", node.words()),
            "a path is TABLE.KEY, such as stages.label.num_beams or dataset.0.num_repeats".into(),
        ),
    }
}

fn cannot(path: &str, key: &Place, (reason, help): (String, String)) -> Box<ManifestError> {
    let mistake = Mistake::Set { path: path.to_owned(), reason, help };
    Box::new(ManifestError::at(key, "this path", mistake))
}
