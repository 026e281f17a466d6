//! From the word in a manifest or on the command line to a device that can run.

use burn::tensor::Device;
use miette::Diagnostic;

use super::{Toolkit, cpu, cuda_devices};

/// A device that can be used.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Give this to whatever makes tensors.
    pub device: Device,
    /// `cpu` or `cuda:N`.
    pub name: String,
    /// Something the user should be told: why `auto` did not take the card that is there.
    pub note: Option<String>,
}

/// Why a device cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Diagnostic)]
pub enum DeviceError {
    /// The word is not one of the known ones.
    #[error("there is no kind of device called `{spec}`")]
    #[diagnostic(
        code(fluxpipe::device::unknown),
        help("write `auto`, `cpu`, `cuda` or `cuda:N` with the number of the card")
    )]
    Unknown {
        /// What was written.
        spec: String,
    },
    /// The machine has no such card.
    #[error("there is no CUDA device {index}: {}", available(*count))]
    #[diagnostic(
        code(fluxpipe::device::absent),
        help("`fluxpipe doctor` lists what is there; `device = \"cpu\"` runs without a card")
    )]
    Absent {
        /// The number asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// There is a card, but its kernels cannot be compiled.
    #[error("CUDA cannot be used: {missing}")]
    #[diagnostic(
        code(fluxpipe::device::toolkit),
        help(
            "install the CUDA toolkit (or its NVRTC and runtime headers), set CUDA_PATH to its folder and put its libraries on the loader's path; `device = \"cpu\"` runs without it"
        )
    )]
    Toolkit {
        /// What was not found, in words.
        missing: String,
    },
}

fn available(count: usize) -> String {
    match count {
        0 => "no driver, or no card that it can use".to_owned(),
        1 => "the only one is 0".to_owned(),
        _ => format!("they are 0 to {}", count - 1),
    }
}

/// Finds the device for `spec`: `auto` (the first CUDA device that can compile kernels, else the
/// CPU), `cpu`, `cuda` (the same as `cuda:0`) or `cuda:N`.
///
/// # Errors
/// The word is unknown, the card is not there, or CUDA is not completely installed.
pub fn choose(spec: &str) -> Result<Chosen, DeviceError> {
    match spec {
        "cpu" => Ok(on_cpu(None)),
        "auto" => Ok(match on_cuda(0) {
            Ok(chosen) => chosen,
            // A card that lies idle is worth a word; a machine without one is not.
            Err(DeviceError::Absent { .. }) => on_cpu(None),
            Err(error) => {
                on_cpu(Some(format!("running on the CPU, although there is a card: {error}")))
            }
        }),
        "cuda" => on_cuda(0),
        _ => {
            let unknown = || DeviceError::Unknown { spec: spec.to_owned() };
            let index = spec.strip_prefix("cuda:").ok_or_else(unknown)?;
            on_cuda(index.parse().map_err(|_| unknown())?)
        }
    }
}

fn on_cpu(note: Option<String>) -> Chosen {
    Chosen { device: cpu(), name: "cpu".to_owned(), note }
}

fn on_cuda(index: usize) -> Result<Chosen, DeviceError> {
    let devices = cuda_devices();
    let device = devices.get(index).cloned();
    let device = device.ok_or(DeviceError::Absent { index, count: devices.len() })?;
    match Toolkit::find().missing() {
        Some(missing) => Err(DeviceError::Toolkit { missing }),
        None => Ok(Chosen { device, name: format!("cuda:{index}"), note: None }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood_or_refused() {
        assert_eq!(choose("cpu").unwrap().name, "cpu");
        for spec in ["gpu", "cuda:", "cuda:x", "cuda:-1", ""] {
            assert_eq!(choose(spec).unwrap_err(), DeviceError::Unknown { spec: spec.to_owned() });
        }
        // Whatever this machine has: no panic, and a device or a reason.
        let auto = choose("auto").unwrap();
        assert!(auto.name == "cpu" || auto.name == "cuda:0");
        let absent = choose("cuda:4096").unwrap_err();
        assert!(matches!(absent, DeviceError::Absent { index: 4096, .. }), "{absent}");
    }
}
