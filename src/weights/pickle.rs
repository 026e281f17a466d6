//! Reads through a pickle without running it: does it ask for anything but tensors and plain values?
//!
//! A pickle is a program. The reader of `.pth` files interprets only what builds tensors and skips
//! every other call, so nothing in a file can run. But a file that asks for more is not what it
//! claims to be, and its owner should hear of it. Knows opcodes and their operands; builds nothing.

use std::collections::BTreeMap;

use super::archive::Pickles;

/// What a file's pickles say, as far as it matters before the tensors are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// The word `model` occurs: perhaps as the key under which the tensors are nested.
    pub says_model: bool,
}

/// Surveys the `pickles` of a file.
///
/// # Errors
/// Says in words what is wrong: an import that no weight file needs, an unknown opcode, an early end.
pub(super) fn survey(pickles: Pickles<'_>) -> Result<Survey, String> {
    let mut walk = Walk {
        bytes: pickles.bytes,
        at: 0,
        top: [None, None],
        memo: BTreeMap::new(),
        survey: Survey::default(),
    };
    for _ in 0..pickles.count {
        walk.pickle()?;
    }
    Ok(walk.survey)
}

/// Values that a pickle may remember: what builds the tensors refuses more too, and one byte remembers one.
const REMEMBERED: usize = 1_000_000;

/// Walks over opcodes. Of the pickle machine's stack it knows the two topmost values, if they are
/// texts: that is what an import by texts takes.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    top: [Option<&'a str>; 2],
    memo: BTreeMap<u32, Option<&'a str>>,
    survey: Survey,
}

impl<'a> Walk<'a> {
    /// Walks to the end of one pickle.
    fn pickle(&mut self) -> Result<(), String> {
        self.top = [None, None];
        self.memo.clear();
        while !self.step()? {}
        Ok(())
    }

    /// Walks over one opcode and its operand; true at the end of the pickle.
    fn step(&mut self) -> Result<bool, String> {
        let opcode = self.take(1)?[0];
        match opcode {
            b'.' => return Ok(true),
            // Texts.
            b'V' => self.push_line()?,
            b'X' => self.push_text::<4>()?,
            0x8c => self.push_text::<1>()?,
            0x8d => self.push_text::<8>()?,
            // Imports: by two lines, or by the two texts on top of the stack.
            b'c' | b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                permit(module, name)?;
                self.push(None);
            }
            0x93 => {
                let [Some(module), Some(name)] = std::mem::take(&mut self.top) else {
                    return Err("its pickle imports something that it does not name".to_owned());
                };
                permit(module, name)?;
                self.push(None);
            }
            // The memo.
            b'q' => self.remember_at::<1>()?,
            b'r' => self.remember_at::<4>()?,
            b'p' => {
                let index = self.index()?;
                self.remember(index)?;
            }
            0x94 => self.remember(u32::try_from(self.memo.len()).unwrap_or(u32::MAX))?,
            b'h' => self.recall_at::<1>()?,
            b'j' => self.recall_at::<4>()?,
            b'g' => {
                let index = self.index()?;
                self.recall(index);
            }
            // The protocol and the frames leave the stack alone.
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            _ => self.plain(opcode)?,
        }
        Ok(false)
    }

    /// Walks over the operand of an opcode that only makes or moves plain values.
    fn plain(&mut self, opcode: u8) -> Result<(), String> {
        let skipped = match opcode {
            b'K' => 1,
            b'M' => 2,
            b'J' => 4,
            b'G' => 8,
            b'U' | b'C' | 0x8a => self.length::<1>()?,
            b'T' | b'B' | 0x8b => self.length::<4>()?,
            0x8e | 0x96 => self.length::<8>()?,
            b'I' | b'L' | b'F' | b'P' | b'S' => {
                self.line()?;
                0
            }
            b'('
            | b'0'
            | b'1'
            | b'2'
            | b'N'
            | b'R'
            | b'b'
            | b'd'
            | b'l'
            | b't'
            | b's'
            | b'a'
            | b')'
            | b']'
            | b'}'
            | b'e'
            | b'u'
            | b'Q'
            | b'o'
            | 0x81
            | 0x85..=0x89
            | 0x8f..=0x92 => 0,
            _ => return Err(format!("its pickle holds the foreign opcode {opcode:#04x}")),
        };
        self.take(skipped)?;
        self.push(None);
        Ok(())
    }

    fn push(&mut self, text: Option<&'a str>) {
        self.survey.says_model |= text == Some("model");
        self.top.rotate_left(1);
        self.top[1] = text;
    }

    fn push_text<const N: usize>(&mut self) -> Result<(), String> {
        let length = self.length::<N>()?;
        let text = self.take(length)?;
        self.push(Some(text_of(text)));
        Ok(())
    }

    fn push_line(&mut self) -> Result<(), String> {
        let line = self.line()?;
        self.push(Some(line));
        Ok(())
    }

    fn remember(&mut self, index: u32) -> Result<(), String> {
        self.memo.insert(index, self.top[1]);
        if self.memo.len() > REMEMBERED {
            return Err(format!("its pickle remembers more than {REMEMBERED} values"));
        }
        Ok(())
    }

    fn remember_at<const N: usize>(&mut self) -> Result<(), String> {
        let index = self.length::<N>()?;
        self.remember(u32::try_from(index).unwrap_or(u32::MAX))
    }

    fn recall(&mut self, index: u32) {
        self.push(self.memo.get(&index).copied().flatten());
    }

    fn recall_at<const N: usize>(&mut self) -> Result<(), String> {
        let index = self.length::<N>()?;
        self.recall(u32::try_from(index).unwrap_or(u32::MAX));
        Ok(())
    }

    fn index(&mut self) -> Result<u32, String> {
        let line = self.line()?;
        line.parse().map_err(|_| format!("its pickle has a memo entry {line:?}"))
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|&byte| byte == b'\n').ok_or_else(early_end)?;
        self.at += length + 1;
        Ok(text_of(&rest[..length]))
    }

    fn length<const N: usize>(&mut self) -> Result<usize, String> {
        let bytes = self.take(N)?.iter().rev();
        let value = bytes.fold(0_u64, |value, &byte| (value << 8) | u64::from(byte));
        usize::try_from(value).map_err(|_| early_end())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let to = self.at.checked_add(length).ok_or_else(early_end)?;
        let bytes = self.bytes.get(self.at..to).ok_or_else(early_end)?;
        self.at = to;
        Ok(bytes)
    }
}

/// A text, if it is one; what is none is the name of nothing that is permitted.
fn text_of(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or("\u{fffd}")
}

fn early_end() -> String {
    "its pickle ends too early".to_owned()
}

/// Whether a file of tensors and plain values may import `module.name`: what PyTorch's own loading of
/// weights only allows, and NumPy numbers, which training scripts keep beside the weights.
fn permit(module: &str, name: &str) -> Result<(), String> {
    let allowed = match module {
        "torch" => {
            name.ends_with("Storage")
                || matches!(name, "Size" | "device" | "Tensor")
                || [
                    "float", "bfloat", "int", "uint", "complex", "half", "double", "long", "short",
                    "bool",
                ]
                .iter()
                .any(|dtype| name.starts_with(dtype))
        }
        "torch.storage" => matches!(name, "UntypedStorage" | "TypedStorage"),
        "torch.nn.parameter" => name == "Parameter",
        "torch._utils" => name.starts_with("_rebuild_"),
        "torch._tensor" => name == "_rebuild_from_type_v2",
        "collections" => matches!(name, "OrderedDict" | "defaultdict" | "Counter"),
        "builtins" | "__builtin__" => matches!(
            name,
            "set"
                | "frozenset"
                | "dict"
                | "list"
                | "tuple"
                | "int"
                | "float"
                | "bool"
                | "complex"
                | "bytearray"
        ),
        "numpy" | "numpy.core.multiarray" | "numpy._core.multiarray" => {
            matches!(name, "dtype" | "scalar" | "ndarray" | "_reconstruct")
        }
        "_codecs" => name == "encode",
        _ => false,
    };
    if allowed {
        return Ok(());
    }
    let [module, name] = [module, name].map(|text| text.chars().take(100).collect::<String>());
    Err(format!("its pickle wants `{module}.{name}`; only tensors and plain values are read"))
}
