//! Where the weights of swapped blocks lie: in the memory of the host, or in a file on its disk.
//!
//! Beside a CUDA device they lie in pinned memory of the host, from which the device takes them without
//! a copy on the way. On a machine whose device is the CPU there is no other memory, so they lie in a
//! scratch file that is mapped: its pages are not the program's own, the system writes them out when it
//! needs the room. Does not know when blocks are wanted.

use std::{
    io,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use burn::tensor::{DType, Device, FloatDType, TensorData};
use half::{
    bf16,
    slice::{HalfBitsSliceExt, HalfFloatSliceExt},
};
use memmap2::{MmapMut, MmapOptions};

use crate::base::disk;

/// Blocks and tensors begin at multiples of this, which every system's page size divides.
const PAGE: usize = 64 * 1024;

/// The weights of all swapped blocks, in their storage type. A block is read or written by one thread
/// at a time.
pub(super) struct Shelf {
    dtype: FloatDType,
    device: Device,
    blocks: Vec<Place>,
}

struct Place {
    shapes: Vec<Vec<usize>>,
    lies: Mutex<Lies>,
}

enum Lies {
    /// In memory of the host; `None` until it is written.
    Host(Vec<Option<TensorData>>),
    /// In a part of the scratch file.
    File(MmapMut),
}

impl Shelf {
    /// Room in the host's memory for blocks with parameters of these `shapes`.
    pub fn in_memory(blocks: Vec<Vec<Vec<usize>>>, dtype: FloatDType, device: &Device) -> Self {
        let place = |shapes: Vec<Vec<usize>>| {
            let lies = Mutex::new(Lies::Host(vec![None; shapes.len()]));
            Place { shapes, lies }
        };
        let blocks = blocks.into_iter().map(place).collect();
        Self { dtype, device: device.clone(), blocks }
    }

    /// Room in a scratch file in `folder`. It has no name, so that nothing is left of it however the
    /// program ends, and takes all its room on the disk at once.
    ///
    /// # Errors
    /// The file cannot be made, or the disk has no room for it.
    pub fn in_file(
        blocks: Vec<Vec<Vec<usize>>>,
        dtype: FloatDType,
        device: &Device,
        folder: &Path,
    ) -> io::Result<Self> {
        let lengths = blocks.iter().map(|shapes| length(shapes, dtype)).collect::<Vec<_>>();
        let file = disk::unnamed(folder)?;
        reserve(&file, lengths.iter().sum())?;
        let (mut places, mut from) = (Vec::new(), 0);
        for (shapes, length) in blocks.into_iter().zip(lengths) {
            let mut options = MmapOptions::new();
            options.offset(from as u64).len(length);
            // SAFETY: the file has no name, so no other program can change it.
            #[expect(unsafe_code, reason = "24 GB of weights on a machine that has no such memory")]
            let map = unsafe { options.map_mut(&file) }?;
            from += length;
            places.push(Place { shapes, lies: Mutex::new(Lies::File(map)) });
        }
        Ok(Self { dtype, device: device.clone(), blocks: places })
    }

    /// The bytes that blocks with parameters of these shapes take in a file.
    pub fn bytes(blocks: &[Vec<Vec<usize>>], dtype: FloatDType) -> usize {
        blocks.iter().map(|shapes| length(shapes, dtype)).sum()
    }

    /// How many parameters a block has.
    pub fn parameters(&self, block: usize) -> usize {
        self.blocks[block].shapes.len()
    }

    /// Puts a parameter of a block down. It may come as f32; what the storage type cannot hold is rounded
    /// to nearest.
    pub fn write(&self, block: usize, parameter: usize, data: TensorData) {
        let place = &self.blocks[block];
        match &mut *place.lock() {
            Lies::Host(all) => all[parameter] = Some(self.pinned(data)),
            Lies::File(map) => {
                let (from, to) = place.range(parameter, self.dtype);
                encode(data, &mut map[from..to]);
            }
        }
    }

    /// A parameter of a block as `dtype`: the storage type, or f32.
    pub fn read(&self, block: usize, parameter: usize, dtype: FloatDType) -> TensorData {
        let place = &self.blocks[block];
        match &*place.lock() {
            Lies::Host(all) => {
                let data = all[parameter].clone();
                data.unwrap_or_else(|| unreachable!("all are written before the first is read"))
            }
            Lies::File(map) => {
                let (from, to) = place.range(parameter, self.dtype);
                decode(&map[from..to], place.shapes[parameter].clone(), self.dtype, dtype)
            }
        }
    }

    /// In memory that the device takes it from without a copy, and shared, so that handing it out copies
    /// nothing either.
    fn pinned(&self, mut data: TensorData) -> TensorData {
        // What was read from a device is fetched when it is first looked at.
        let _ = data.as_bytes();
        self.device.staging(std::iter::once(&mut data));
        let (bytes, shape, dtype) = data.into_parts();
        TensorData::from_bytes(bytes.shared(), shape, dtype)
    }
}

impl Place {
    fn lock(&self) -> MutexGuard<'_, Lies> {
        // A thread that panicked wrote whole tensors or nothing that is used again.
        self.lies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a parameter lies in its block.
    fn range(&self, parameter: usize, dtype: FloatDType) -> (usize, usize) {
        let from = length(&self.shapes[..parameter], dtype);
        (from, from + bytes(&self.shapes[parameter], dtype))
    }
}

fn bytes(shape: &[usize], dtype: FloatDType) -> usize {
    shape.iter().product::<usize>() * DType::from(dtype).size()
}

/// What parameters of these shapes take, one after the other.
fn length(shapes: &[Vec<usize>], dtype: FloatDType) -> usize {
    shapes.iter().map(|shape| bytes(shape, dtype).next_multiple_of(PAGE)).sum()
}

/// Gives the file its length and all its room. A map of a file whose disk is full ends the program.
fn reserve(file: &std::fs::File, length: usize) -> io::Result<()> {
    file.set_len(length as u64)?;
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        let length = libc::off_t::try_from(length).map_err(io::Error::other)?;
        // SAFETY: the descriptor is open while `file` lives.
        #[expect(unsafe_code, reason = "the library has no call for this")]
        let code = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length) };
        if code != 0 {
            return Err(io::Error::from_raw_os_error(code));
        }
    }
    Ok(())
}

/// Writes `data` into `target` in the type that `target` has room for.
fn encode(data: TensorData, target: &mut [u8]) {
    let source = data.as_bytes();
    if source.len() == target.len() {
        target.copy_from_slice(source);
        return;
    }
    let values = data.as_slice::<f32>().unwrap_or_else(|_| unreachable!("blocks are f32 or bf16"));
    let target = bytemuck::cast_slice_mut::<u8, u16>(target);
    target.reinterpret_cast_mut::<bf16>().convert_from_f32_slice(values);
}

fn decode(source: &[u8], shape: Vec<usize>, from: FloatDType, to: FloatDType) -> TensorData {
    if from == to && from == FloatDType::F32 {
        // As numbers, since numbers are aligned and bytes are not.
        return TensorData::new(bytemuck::cast_slice::<u8, f32>(source).to_vec(), shape);
    }
    let halves = bytemuck::cast_slice::<u8, u16>(source).reinterpret_cast::<bf16>();
    if from == to {
        return TensorData::new(halves.to_vec(), shape);
    }
    let mut values = vec![0.0; halves.len()];
    halves.convert_to_f32_slice(&mut values);
    TensorData::new(values, shape)
}
