//! A tagger: pictures in, one probability per tag out.

use std::path::{Path, PathBuf};

use burn::tensor::Device;

use super::{
    error::TaggerError,
    tags::{Family, TagTable},
};
use crate::models::onnx::{Floats, Graph, Host, Plan, Port, Value};

/// Names of the graph in a tagger's folder. The first that is there counts: where an optimised graph
/// lies beside the plain one, the plain one is made of standard operators.
const GRAPHS: [&str; 2] = ["model.onnx", "model_optimized.onnx"];

/// Side of the pictures where the graph leaves it open: that of every published tagger.
const USUAL_SIDE: usize = 448;

/// Colour channels of a picture.
const CHANNELS: usize = 3;

/// Where the colours of a pixel stand in the graph's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `[N, S, S, 3]`: last.
    Nhwc,
    /// `[N, 3, S, S]`: first.
    Nchw,
}

/// What a graph takes and gives, as far as its file states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Side of the square pictures.
    pub size: usize,
    /// The batch size that the graph is made for, or `None` where any will do.
    pub batch: Option<usize>,
    /// Where the colours stand.
    pub layout: Layout,
}

impl Signature {
    /// Holds a graph against the list of its tags. Needs no device, so that it can be asked before
    /// any work.
    ///
    /// # Errors
    /// It is no tagger graph, or has another number of tags than the list. A number of outputs that the
    /// graph leaves open shows itself with the first batch.
    pub fn of(graph: &Graph, table: &TagTable) -> Result<Self, TaggerError> {
        Self::find(graph, table)
            .map_err(|reason| TaggerError::Signature { path: graph.path().to_owned(), reason })
    }

    fn find(graph: &Graph, table: &TagTable) -> Result<Self, String> {
        let [input] = &graph.inputs[..] else {
            return Err(format!("it has {} inputs, not one", graph.inputs.len()));
        };
        let signature = picture_input(input)?;
        let output = graph.outputs.first().ok_or("it has no output")?;
        if let Some(shape) = output.shape.as_deref() {
            let tags = table.tags.len();
            match *shape {
                [_, columns] if columns.is_none_or(|columns| columns == tags) => {}
                [_, Some(columns)] => return Err(count(columns, table)),
                _ => return Err(format!("its output has {} dimensions, not 2", shape.len())),
            }
        }
        Ok(signature)
    }

    fn shape(&self, rows: usize) -> Vec<usize> {
        match self.layout {
            Layout::Nhwc => vec![rows, self.size, self.size, CHANNELS],
            Layout::Nchw => vec![rows, CHANNELS, self.size, self.size],
        }
    }
}

/// A tagger graph on a device, with the list of its tags.
pub struct Tagger {
    path: PathBuf,
    plan: Plan,
    signature: Signature,
    table: TagTable,
}

impl Tagger {
    /// The graph of a tagger that is named by its folder or by the graph itself.
    #[must_use]
    pub fn graph_path(tagger: &Path) -> PathBuf {
        if !tagger.is_dir() {
            return tagger.to_owned();
        }
        let [plain, optimized] = GRAPHS.map(|name| tagger.join(name));
        if !plain.exists() && optimized.exists() { optimized } else { plain }
    }

    /// Opens a folder with a graph and the list of its tags, or a graph by its own name with the list
    /// beside it, and uploads the weights.
    ///
    /// # Errors
    /// The graph cannot be read, uses operators that are not supported, or is no tagger; the list of
    /// tags cannot be read or is another tagger's.
    pub fn open(tagger: &Path, device: &Device) -> Result<Self, TaggerError> {
        let graph = Graph::open(&Self::graph_path(tagger))?;
        let table = TagTable::read(&TagTable::beside(graph.path()))?;
        Self::new(graph, table, device)
    }

    /// Puts a graph that is already open onto a device.
    ///
    /// # Errors
    /// It is no tagger graph, has another number of tags, or its stored tensors cannot be read.
    pub fn new(graph: Graph, table: TagTable, device: &Device) -> Result<Self, TaggerError> {
        let path = graph.path().to_owned();
        let signature = Signature::of(&graph, &table)?;
        let plan = Plan::new(graph, device)?;
        Ok(Self { path, plan, signature, table })
    }

    /// Side of the square pictures.
    #[must_use]
    pub fn size(&self) -> usize {
        self.signature.size
    }

    /// The batch size that the graph is made for, or `None` where any will do.
    #[must_use]
    pub fn batch(&self) -> Option<usize> {
        self.signature.batch
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
    pub fn probabilities(&self, pictures: &[Vec<u8>]) -> Result<Vec<Vec<f32>>, TaggerError> {
        let bytes = self.size() * self.size() * CHANNELS;
        if let Some(picture) = pictures.iter().find(|picture| picture.len() != bytes) {
            let found = picture.len();
            return Err(self.wrong(format!("a picture has {found} bytes where it needs {bytes}")));
        }
        let mut all = Vec::with_capacity(pictures.len());
        for group in pictures.chunks(self.batch().unwrap_or(pictures.len()).max(1)) {
            all.extend(self.group(group)?);
        }
        Ok(all)
    }

    fn group(&self, pictures: &[Vec<u8>]) -> Result<Vec<Vec<f32>>, TaggerError> {
        let rows = self.batch().unwrap_or(pictures.len());
        let input = Host::new(self.signature.shape(rows), self.input(pictures, rows))
            .and_then(|host| Floats::upload(host, self.plan.device()));
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
            return Err(self.wrong(count(columns, &self.table)));
        }
        let Value::Floats(output) = output else {
            return Err(self.wrong("its output is no probabilities".to_owned()));
        };
        let values = output.download().map_err(|reason| self.wrong(reason))?.into_data();
        let rows = values.chunks(columns).take(pictures.len());
        Ok(match self.table.family {
            Family::SelectedTags => rows.map(<[f32]>::to_vec).collect(),
            Family::TagMapping => {
                rows.map(|row| row.iter().copied().map(sigmoid).collect()).collect()
            }
        })
    }

    /// The values of the graph's input, filled up with white to `rows` pictures.
    fn input(&self, pictures: &[Vec<u8>], rows: usize) -> Vec<f32> {
        let scaled = |byte: u8| match self.table.family {
            Family::SelectedTags => f32::from(byte),
            Family::TagMapping => f32::from(byte) / 127.5 - 1.0,
        };
        let whole = self.signature.shape(rows).iter().product();
        let mut values = Vec::with_capacity(whole);
        for picture in pictures {
            match self.signature.layout {
                Layout::Nhwc => values.extend(picture.iter().copied().map(scaled)),
                Layout::Nchw => {
                    for channel in 0..CHANNELS {
                        let channel = picture.iter().skip(channel).step_by(CHANNELS);
                        values.extend(channel.copied().map(scaled));
                    }
                }
            }
        }
        values.resize(whole, scaled(255));
        values
    }

    fn wrong(&self, reason: String) -> TaggerError {
        TaggerError::Signature { path: self.path.clone(), reason }
    }
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

fn count(columns: usize, table: &TagTable) -> String {
    let list = match table.family {
        Family::SelectedTags => TagTable::FILE,
        Family::TagMapping => TagTable::MAPPING,
    };
    let tags = table.tags.len();
    format!("it gives {columns} numbers per picture, and {list} lists {tags} tags")
}

/// What the input of a tagger says: `[N, S, S, 3]` or `[N, 3, S, S]`, each of `N` and `S` stated or
/// open.
fn picture_input(input: &Port) -> Result<Signature, String> {
    let sides = match input.shape.as_deref() {
        Some(&[batch, height, width, Some(CHANNELS)]) => Some((batch, height, width, Layout::Nhwc)),
        Some(&[batch, Some(CHANNELS), height, width]) => Some((batch, height, width, Layout::Nchw)),
        _ => None,
    };
    let square = sides.and_then(|(batch, height, width, layout)| {
        let size = height.or(width).unwrap_or(USUAL_SIDE);
        let square = [height, width].iter().all(|side| side.is_none_or(|side| side == size));
        (square && size > 0).then_some(Signature { size, batch, layout })
    });
    match square {
        Some(Signature { batch: Some(0), .. }) => {
            Err(format!("its input `{}` takes no pictures", input.name))
        }
        Some(signature) => Ok(signature),
        None => {
            let size = |size: &Option<usize>| size.map_or("?".to_owned(), |size| size.to_string());
            let shape = input.shape.as_ref();
            let shape = shape.map(|shape| shape.iter().map(size).collect::<Vec<_>>().join(", "));
            let shape = shape.map_or("no stated shape".to_owned(), |shape| format!("[{shape}]"));
            let wanted = "[N, S, S, 3] or [N, 3, S, S]";
            Err(format!("its input `{}` is {shape}, not {wanted}", input.name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(shape: &[Option<usize>]) -> Result<Signature, String> {
        picture_input(&Port {
            name: "input".to_owned(),
            shape: Some(shape.to_vec()),
            names: Vec::new(),
            element: None,
        })
    }

    #[test]
    fn the_input_tells_batch_size_and_layout() {
        let found = |size, batch, layout| Ok(Signature { size, batch, layout });
        let (three, side) = (Some(3), Some(96));
        assert_eq!(input(&[None, side, side, three]), found(96, None, Layout::Nhwc));
        assert_eq!(input(&[Some(2), side, side, three]), found(96, Some(2), Layout::Nhwc));
        assert_eq!(input(&[None, three, side, side]), found(96, None, Layout::Nchw));
        assert_eq!(input(&[Some(1), three, None, None]), found(448, Some(1), Layout::Nchw));
        assert_eq!(input(&[None, side, None, three]), found(96, None, Layout::Nhwc));
    }

    #[test]
    fn an_input_that_takes_no_pictures_is_named_with_its_shape() {
        let refused = |shape: &[Option<usize>]| input(shape).unwrap_err();
        let side = Some(96);
        assert!(refused(&[None, side, Some(64), Some(3)]).contains("[?, 96, 64, 3]"));
        assert!(refused(&[None, side, side, Some(4)]).contains("[?, 96, 96, 4]"));
        assert!(refused(&[None, None, None, None]).contains("[?, ?, ?, ?]"));
        assert!(refused(&[side, Some(3)]).contains("[96, 3]"));
        assert!(refused(&[Some(0), side, side, Some(3)]).contains("no pictures"));
        assert!(refused(&[None, Some(0), Some(0), Some(3)]).contains("[?, 0, 0, 3]"));
    }
}
