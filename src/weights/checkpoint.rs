//! A checkpoint: named tensors in one file, or in the shards of a folder.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use pytorch_reader::PytorchReader;

use super::{
    Dtype, Encoded, WeightsError, archive, header,
    pickle::{self, Survey},
    shards,
};
use crate::base::{
    disk::{self, Call},
    escape,
};

/// What a stored tensor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Element type as stored.
    pub dtype: Dtype,
    /// Sizes, outermost first, as PyTorch writes them.
    pub shape: Vec<usize>,
}

impl TensorInfo {
    /// Number of elements.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

enum Place {
    /// Bytes `from..to` of a file, mapped or held in memory.
    Mapped { file: Arc<dyn AsRef<[u8]> + Send + Sync>, from: usize, to: usize },
    /// An entry of a `.pth` file, read when asked for.
    Pickled(pytorch_reader::Tensor),
}

/// Named tensors, opened but not loaded: nothing but headers is read until a tensor is asked for.
pub struct Checkpoint {
    path: PathBuf,
    tensors: BTreeMap<String, (TensorInfo, Place)>,
    metadata: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens a `.safetensors` file, a `.pth`/`.pt`/`.bin` file, or a folder with safetensors shards.
    ///
    /// # Errors
    /// The file cannot be read, or is not of its format.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let mut checkpoint =
            Self { path: path.to_owned(), tensors: BTreeMap::new(), metadata: BTreeMap::new() };
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if path.is_dir() {
            checkpoint.add_shards()?;
        } else if matches!(extension, "pth" | "pt" | "bin") {
            checkpoint.add_pickle()?;
        } else {
            checkpoint.add_safetensors(path)?;
        }
        Ok(checkpoint)
    }

    /// Opens a safetensors file whatever it is called, such as an object of the store.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_safetensors(path: &Path) -> Result<Self, WeightsError> {
        let mut checkpoint =
            Self { path: path.to_owned(), tensors: BTreeMap::new(), metadata: BTreeMap::new() };
        checkpoint.add_safetensors(path)?;
        Ok(checkpoint)
    }

    /// Reads a safetensors file that is in memory; `name` stands for its path in errors.
    ///
    /// # Errors
    /// The bytes are not of the format.
    pub fn from_bytes(name: &Path, bytes: Vec<u8>) -> Result<Self, WeightsError> {
        let mut checkpoint =
            Self { path: name.to_owned(), tensors: BTreeMap::new(), metadata: BTreeMap::new() };
        checkpoint.add_bytes(name, Arc::new(bytes))?;
        Ok(checkpoint)
    }

    /// Where it was opened from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// What the tensor is, or `None` if there is none of this name.
    #[must_use]
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name).map(|(info, _)| info)
    }

    /// The free texts of a safetensors header.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The stored bytes, little-endian, untouched.
    ///
    /// # Errors
    /// There is no such tensor, or a `.pth` entry cannot be read.
    pub fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, WeightsError> {
        let missing = || self.malformed("weight", format!("it has no tensor `{name}`"));
        let (_, place) = self.tensors.get(name).ok_or_else(missing)?;
        match place {
            Place::Mapped { file, from, to } => Ok(Cow::Borrowed(&(**file).as_ref()[*from..*to])),
            Place::Pickled(tensor) => match tensor.read() {
                Ok(bytes) => Ok(Cow::Owned(bytes)),
                Err(error) => Err(self.malformed(".pth", format!("tensor `{name}`: {error}"))),
            },
        }
    }

    /// The tensor as f32, as [`Checkpoint::encoded`] decodes it.
    ///
    /// # Errors
    /// As [`Checkpoint::bytes`].
    pub fn f32(&self, name: &str) -> Result<Vec<f32>, WeightsError> {
        Ok(self.encoded(name)?.f32())
    }

    /// The tensor, to be decoded in parts. An fp8 tensor is multiplied by its scale (`X.scale_weight`
    /// or `X.weight_scale` beside `X.weight`) where the file has one.
    ///
    /// # Errors
    /// As [`Checkpoint::bytes`].
    pub fn encoded(&self, name: &str) -> Result<Encoded<'_>, WeightsError> {
        let bytes = self.bytes(name)?;
        let dtype = self.info(name).map_or(Dtype::U8, |info| info.dtype);
        let mut scale = 1.0;
        if let (true, Some(stem)) = (dtype.is_f8(), name.strip_suffix(".weight")) {
            for scale_name in [format!("{stem}.scale_weight"), format!("{stem}.weight_scale")] {
                if self.info(&scale_name).is_some_and(|scale| scale.elements() == 1) {
                    scale *= self.f32(&scale_name)?[0];
                }
            }
        }
        Ok(Encoded { bytes, dtype, scale })
    }

    fn add_shards(&mut self) -> Result<(), WeightsError> {
        let shards = Self::files(&self.path)?;
        if shards.is_empty() {
            return Err(self.malformed("weight", shards::none_in(&self.path)));
        }
        shards.iter().try_for_each(|shard| self.add_safetensors(shard))
    }

    /// The files that hold the weights at `path`: itself or, of a folder, the shards that its index
    /// names, and without an index its `.safetensors` files; sorted.
    ///
    /// # Errors
    /// The folder or its index cannot be read, or a shard is missing.
    pub fn files(path: &Path) -> Result<Vec<PathBuf>, WeightsError> {
        if path.is_dir() { shards::of(path) } else { Ok(vec![path.to_owned()]) }
    }

    fn add_safetensors(&mut self, path: &Path) -> Result<(), WeightsError> {
        let unreadable = |source| WeightsError::Read { path: path.to_owned(), source };
        let wrong =
            |reason| WeightsError::Format { path: path.to_owned(), format: "safetensors", reason };
        // Published weight files are not edited in place.
        let map = disk::map(path).map_err(unreadable)?;
        if map.len() < 8 {
            return Err(wrong("it is shorter than a header".to_owned()));
        }
        self.add_bytes(path, Arc::new(map))
    }

    fn add_bytes(
        &mut self,
        path: &Path,
        file: Arc<dyn AsRef<[u8]> + Send + Sync>,
    ) -> Result<(), WeightsError> {
        let wrong =
            |reason| WeightsError::Format { path: path.to_owned(), format: "safetensors", reason };
        let bytes = (*file).as_ref();
        header::names_are_single(bytes).map_err(wrong)?;
        let (header, metadata) = safetensors::SafeTensors::read_metadata(bytes)
            .map_err(|error| wrong(in_words(&error)))?;
        let start = header + 8;
        for name in metadata.offset_keys() {
            let Some(info) = metadata.info(&name) else { continue };
            self.is_plain(&name, "safetensors")?;
            let Some(dtype) = Dtype::from_safetensors(info.dtype) else {
                return Err(wrong(format!("tensor `{name}` has the type {:?}", info.dtype)));
            };
            let (from, to) = (start + info.data_offsets.0, start + info.data_offsets.1);
            if to > bytes.len() {
                return Err(wrong(format!("tensor `{name}` ends beyond the end of the file")));
            }
            let place = Place::Mapped { file: file.clone(), from, to };
            let info = TensorInfo { dtype, shape: info.shape.clone() };
            if self.tensors.insert(name.clone(), (info, place)).is_some() {
                // As when a folder has the same network twice, in two number formats.
                return Err(wrong(format!("tensor `{name}` is in another file of the folder too")));
            }
        }
        let texts = metadata.metadata().clone().unwrap_or_default().into_iter();
        self.metadata.extend(texts.map(|(key, text)| (escape::in_line(&key).into_owned(), text)));
        Ok(())
    }

    fn add_pickle(&mut self) -> Result<(), WeightsError> {
        let (survey, size) = self.survey_pickles()?;
        disk::announce(Call::Read, &self.path)
            .map_err(|source| WeightsError::Read { path: self.path.clone(), source })?;
        let plain = || PytorchReader::new(&self.path);
        // The published captioner nests its weights under `model`; other files may have a tensor or
        // a setting of that name.
        let reader = if survey.says_model {
            PytorchReader::with_top_level_key(&self.path, "model").or_else(|_| plain())
        } else {
            plain()
        };
        let reader = reader.map_err(|error| self.malformed(".pth", format!("{error}")))?;
        if reader.is_empty() {
            return Err(self.malformed(".pth", "it holds no tensors".to_owned()));
        }
        for (name, tensor) in reader.into_tensors() {
            self.is_plain(&name, ".pth")?;
            let info = pickled_info(&tensor).ok_or_else(|| {
                self.malformed(".pth", format!("tensor `{name}` has an unknown type"))
            })?;
            // One number may stand for a whole tensor: a few bytes could ask for all memory.
            if tensor.byte_len() > size {
                let reason = format!("tensor `{name}` is larger than the file that it is in");
                return Err(self.malformed(".pth", reason));
            }
            self.tensors.insert(name, (info, Place::Pickled(tensor)));
        }
        Ok(())
    }

    /// Looks through the file's pickles before anything is built from them; gives the file's size too.
    fn survey_pickles(&self) -> Result<(Survey, usize), WeightsError> {
        let unreadable = |source| WeightsError::Read { path: self.path.clone(), source };
        // Only the directory and the pickle of a large file are touched.
        let map = disk::map(&self.path).map_err(unreadable)?;
        if map.is_empty() {
            return Err(self.malformed(".pth", "it is empty".to_owned()));
        }
        archive::pickles(&map)
            .and_then(pickle::survey)
            .map(|survey| (survey, map.len()))
            .map_err(|reason| self.malformed(".pth", reason))
    }

    /// Refuses a name that would be several lines, or act on a terminal, wherever tensors are listed.
    fn is_plain(&self, name: &str, format: &'static str) -> Result<(), WeightsError> {
        if !name.contains(escape::acts) {
            return Ok(());
        }
        let name = escape::in_line(name);
        Err(self.malformed(format, format!("the tensor `{name}` has a name that cannot be shown")))
    }

    fn malformed(&self, format: &'static str, mut reason: String) -> WeightsError {
        // What a library says may hold all of a damaged file.
        if let Some((end, _)) = reason.char_indices().nth(REASON) {
            reason.truncate(end);
            reason.push('…');
        }
        WeightsError::Format { path: self.path.clone(), format, reason }
    }
}

/// Letters of a reason that are told.
const REASON: usize = 500;

fn pickled_info(tensor: &pytorch_reader::Tensor) -> Option<TensorInfo> {
    use pytorch_reader::DType as Pt;
    let dtype = match tensor.dtype() {
        Pt::F64 => Dtype::F64,
        Pt::F32 => Dtype::F32,
        Pt::F16 => Dtype::F16,
        Pt::BF16 => Dtype::BF16,
        Pt::I64 => Dtype::I64,
        Pt::I32 => Dtype::I32,
        Pt::U8 => Dtype::U8,
        Pt::Bool => Dtype::Bool,
        _ => return None,
    };
    Some(TensorInfo { dtype, shape: tensor.shape().to_vec() })
}

/// What a reader of the library's message would ask next, where that says little.
fn in_words(error: &safetensors::SafeTensorError) -> String {
    use safetensors::SafeTensorError::{InvalidHeaderLength, MetadataIncompleteBuffer};
    match error {
        MetadataIncompleteBuffer => "it is not as long as its tensors are together".to_owned(),
        InvalidHeaderLength => "it ends inside its header".to_owned(),
        _ => error.to_string(),
    }
}
