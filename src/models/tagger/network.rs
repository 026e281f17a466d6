//! A tagger: pictures in, one probability per tag out.

use std::path::{Path, PathBuf};

use burn::tensor::Device;

use super::{
    error::OnnxError,
    graph::{Graph, Port},
    host::Host,
    plan::Plan,
    tags::TagTable,
    value::{Floats, Value},
};

/// Name of the graph in a tagger's folder.
const GRAPH: &str = "model.onnx";

/// A tagger graph on a device, with the list of its tags.
pub struct Tagger {
    path: PathBuf,
    plan: Plan,
    size: usize,
    batch: Option<usize>,
    table: TagTable,
}

impl Tagger {
    /// The graph of a tagger that is named by its folder or by the graph itself.
    #[must_use]
    pub fn graph_path(tagger: &Path) -> PathBuf {
        if tagger.is_dir() { tagger.join(GRAPH) } else { tagger.to_owned() }
    }

    /// Opens a folder with `model.onnx` and `selected_tags.csv`, or a graph by its own name with the
    /// list beside it, and uploads the weights.
    ///
    /// # Errors
    /// The graph cannot be read, uses operators that are not supported, or is no tagger; the list of
    /// tags cannot be read or is another tagger's.
    pub fn open(tagger: &Path, device: &Device) -> Result<Self, OnnxError> {
        let graph = Graph::open(&Self::graph_path(tagger))?;
        let table = TagTable::read(&TagTable::beside(graph.path()))?;
        Self::new(graph, table, device)
    }

    /// Puts a graph that is already open onto a device.
    ///
    /// # Errors
    /// It is no tagger graph, has another number of tags, or its stored tensors cannot be read.
    pub fn new(graph: Graph, table: TagTable, device: &Device) -> Result<Self, OnnxError> {
        let path = graph.path().to_owned();
        let wrong = |reason: String| OnnxError::Signature { path: path.clone(), reason };
        let [input] = &graph.inputs[..] else {
            return Err(wrong(format!("it has {} inputs, not one", graph.inputs.len())));
        };
        let (batch, size) = picture_input(input).map_err(wrong)?;
        let output = graph.outputs.first().ok_or_else(|| wrong("it has no output".to_owned()))?;
        // An output that is not stated shows itself with the first batch.
        if let Some(shape) = output.shape.as_deref() {
            let tags = table.tags.len();
            match *shape {
                [_, columns] if columns.is_none_or(|columns| columns == tags) => {}
                [_, Some(columns)] => return Err(wrong(count(columns, tags))),
                _ => return Err(wrong(format!("its output has {} dimensions", shape.len()))),
            }
        }
        let plan = Plan::new(graph, device)?;
        Ok(Self { path, plan, size, batch, table })
    }

    /// Side of the square pictures.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The batch size that the graph is made for, or `None` where any will do.
    #[must_use]
    pub fn batch(&self) -> Option<usize> {
        self.batch
    }

    /// What each probability stands for.
    #[must_use]
    pub fn table(&self) -> &TagTable {
        &self.table
    }

    /// The probability of each tag, for each picture.
    ///
    /// `pictures`: `[S, S, 3]` each, as bytes in BGR order, prepared as the taggers were trained (white
    /// square, resized). They go through the graph together, or in groups of its fixed batch size, the
    /// last one filled up with white.
    ///
    /// # Errors
    /// A picture has another size, or the graph cannot be computed.
    pub fn probabilities(&self, pictures: &[Vec<u8>]) -> Result<Vec<Vec<f32>>, OnnxError> {
        let bytes = self.size * self.size * 3;
        if let Some(picture) = pictures.iter().find(|picture| picture.len() != bytes) {
            let found = picture.len();
            return Err(self.wrong(format!("a picture has {found} bytes where it needs {bytes}")));
        }
        let mut all = Vec::with_capacity(pictures.len());
        for group in pictures.chunks(self.batch.unwrap_or(pictures.len()).max(1)) {
            all.extend(self.group(group)?);
        }
        Ok(all)
    }

    fn group(&self, pictures: &[Vec<u8>]) -> Result<Vec<Vec<f32>>, OnnxError> {
        let rows = self.batch.unwrap_or(pictures.len());
        let shape = vec![rows, self.size, self.size, 3];
        let mut values: Vec<f32> = pictures.concat().into_iter().map(f32::from).collect();
        values.resize(shape.iter().product(), 255.0);
        let input =
            Host::new(shape, values).and_then(|host| Floats::upload(host, self.plan.device()));
        let input = input.map_err(|reason| self.wrong(reason))?;
        let mut outputs = self.plan.run(vec![Value::Floats(input)])?;
        let output = outputs.swap_remove(0);
        let columns = match output.shape()[..] {
            [found, columns] if found == rows => columns,
            ref shape => {
                return Err(self.wrong(format!("{rows} pictures gave an output {shape:?}")));
            }
        };
        if columns != self.table.tags.len() {
            return Err(self.wrong(count(columns, self.table.tags.len())));
        }
        let values = output.reals().map_err(|reason| self.wrong(reason))?.into_data();
        Ok(values.chunks(columns).take(pictures.len()).map(<[f32]>::to_vec).collect())
    }

    fn wrong(&self, reason: String) -> OnnxError {
        OnnxError::Signature { path: self.path.clone(), reason }
    }
}

fn count(columns: usize, tags: usize) -> String {
    format!("it gives {columns} probabilities per picture, and selected_tags.csv lists {tags} tags")
}

/// Batch and side of an input `[N, S, S, 3]`.
///
/// A graph with the channels first belongs to another family, which scales its pictures and ends before
/// the sigmoid: to feed it as this one would give wrong tags without an error.
fn picture_input(input: &Port) -> Result<(Option<usize>, usize), String> {
    match input.shape.as_deref() {
        Some(&[batch, Some(height), Some(width), Some(3)]) if height == width && height > 0 => {
            match batch {
                Some(0) => Err(format!("its input `{}` takes no pictures", input.name)),
                batch => Ok((batch, height)),
            }
        }
        Some(&[_, Some(3), Some(_), Some(_)]) => {
            Err(format!("its input `{}` has the colour channels first, not last", input.name))
        }
        other => {
            let size = |size: &Option<usize>| size.map_or("?".to_owned(), |size| size.to_string());
            let shape = other.map(|shape| shape.iter().map(size).collect::<Vec<_>>().join(", "));
            let shape = shape.map_or("no stated shape".to_owned(), |shape| format!("[{shape}]"));
            Err(format!("its input `{}` is {shape}, not [N, S, S, 3]", input.name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(shape: &[Option<usize>]) -> Result<(Option<usize>, usize), String> {
        picture_input(&Port {
            name: "input".to_owned(),
            shape: Some(shape.to_vec()),
            element: None,
        })
    }

    #[test]
    fn the_input_tells_batch_and_size() {
        assert_eq!(input(&[None, Some(448), Some(448), Some(3)]), Ok((None, 448)));
        assert_eq!(input(&[Some(2), Some(96), Some(96), Some(3)]), Ok((Some(2), 96)));
        assert!(input(&[None, Some(3), Some(448), Some(448)]).unwrap_err().contains("first"));
        assert!(input(&[None, None, None, Some(3)]).unwrap_err().contains("[?, ?, ?, 3]"));
    }
}
