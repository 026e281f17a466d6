//! The disk: the one place through which files are read, written, renamed, linked and removed, so that
//! a test can make any of these calls fail ([`fault`](self::watch)). What is written whole or not at all goes
//! through [`atomic`](super::atomic), which stands on this.
//!
//! Questions about a file that touch no content (whether it is there, its size and time) are asked
//! of the standard library. Errors of reading are the bare words of the system, since who reads names the
//! file itself; errors of writing name it.
//!
//! Must not know what a file is for.

mod exclusive;
mod fault;
mod reader;

use std::{
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use fs_err as fs;
use memmap2::Mmap;

pub use fault::{Call, Fault, watch};
use fault::{fault, pass};
pub use reader::Reader;

/// Opens a file to be read from its start to its end, which must be there.
///
/// # Errors
/// It cannot be opened; reading ends with an error where the file gives fewer bytes than it has.
pub fn open(path: &Path) -> io::Result<Reader> {
    let short = match fault(Call::Read, path)? {
        None => false,
        Some(Fault::Short) => true,
        Some(fault) => return Err(fault.strike()),
    };
    Reader::new(plain(path)?, short)
}

/// Opens what is read to its end. Who reads from a pipe may wait for ever, and a device may have no end; both
/// can stand where a caption or a picture is looked for.
fn plain(path: &Path) -> io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true);
    // Without this, opening a pipe waits for somebody who writes to it. To files it makes no difference.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path)?;
    let kind = file.metadata()?.file_type();
    // That a folder is no file the system says itself.
    if kind.is_file() || kind.is_dir() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a pipe or a device, not a file"))
}

/// All bytes of a file.
///
/// # Errors
/// It cannot be read, or gives fewer bytes than it has.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut reader = open(path)?;
    let mut bytes = Vec::with_capacity(reader.length() as usize);
    reader.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// All text of a file.
///
/// # Errors
/// As [`read`]; or it is not UTF-8.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

/// A file as memory that is only read. If another program shortens the file meanwhile, reading it ends
/// the process: for files that are not edited in place.
///
/// # Errors
/// It cannot be opened or mapped.
pub fn map(path: &Path) -> io::Result<Mmap> {
    let short = match fault(Call::Map, path)? {
        None => false,
        Some(Fault::Short) => true,
        Some(fault) => return Err(fault.strike()),
    };
    let file = plain(path)?;
    let length = file.metadata()?.len();
    // SAFETY: the map is only read; that the file keeps its length is for the caller to see to.
    #[expect(unsafe_code, reason = "memory maps are how 24 GB files are read without copying")]
    let map = unsafe { Mmap::map(&file) }?;
    let got = if short { map.len() / 2 } else { map.len() };
    reader::whole(got as u64, length)?;
    Ok(map)
}

/// Announces a read that a library does by itself.
///
/// # Errors
/// Those of the test that makes it fail.
pub fn announce(call: Call, path: &Path) -> io::Result<()> {
    pass(call, path)
}

/// An error of reading, with the name of the file, for callers that have no words of their own.
#[must_use]
pub fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// What is in a folder.
///
/// # Errors
/// It cannot be listed.
pub fn list(folder: &Path) -> io::Result<std::fs::ReadDir> {
    pass(Call::List, folder)?;
    std::fs::read_dir(folder)
}

/// Makes a folder, and those that it lies in.
///
/// # Errors
/// It is not there and cannot be made.
pub fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    pass(Call::CreateFolder, path)?;
    fs::create_dir_all(path)
}

/// Removes a file.
///
/// # Errors
/// It cannot be removed, or is not there.
pub fn remove(path: &Path) -> io::Result<()> {
    pass(Call::Remove, path)?;
    fs::remove_file(path)
}

/// Removes a folder with all that is in it.
///
/// # Errors
/// It cannot be removed, or is not there.
pub fn remove_folder(path: &Path) -> io::Result<()> {
    pass(Call::RemoveFolder, path)?;
    fs::remove_dir_all(path)
}

/// Gives a file another name, in place of a file that has it.
///
/// # Errors
/// The folder cannot be written.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    pass(Call::Rename, to)?;
    fs::rename(from, to)
}

/// Gives a file another name, unless a file has it; says whether it did.
///
/// # Errors
/// The folder cannot be written.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<bool> {
    pass(Call::Rename, to)?;
    match exclusive::rename(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(_) if to.try_exists()? => Ok(false),
        // The file system cannot do it at once: a moment is left in which somebody else's file could appear.
        Err(_) => fs::rename(from, to).map(|()| true),
    }
}

/// Gives a file a second name, which no file has.
///
/// # Errors
/// A file has it, links cannot be made there, or the folder cannot be written.
pub fn link(from: &Path, to: &Path) -> io::Result<()> {
    pass(Call::Link, to)?;
    fs::hard_link(from, to)
}

/// Makes a file read-only.
///
/// # Errors
/// That cannot be done.
pub fn protect(path: &Path) -> io::Result<()> {
    pass(Call::Protect, path)?;
    let mut permissions = fs::metadata(path)?.permissions();
    permissions.set_readonly(true);
    fs::set_permissions(path, permissions)
}

/// Flushes the names in a folder to the disk.
///
/// # Errors
/// The folder cannot be read.
pub fn flush_folder(folder: &Path) -> io::Result<()> {
    pass(Call::FlushFolder, folder)?;
    // Other systems have no handle on a folder that could be flushed.
    if cfg!(unix) { fs::File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Flushes what others wrote to a file to the disk.
///
/// # Errors
/// The file cannot be opened.
pub fn flush(path: &Path) -> io::Result<()> {
    pass(Call::Flush, path)?;
    fs::File::open(path)?.sync_all()
}

/// A file in `folder` that has no name, so that nothing is left of it however the process ends.
///
/// # Errors
/// The folder cannot be written.
pub fn unnamed(folder: &Path) -> io::Result<std::fs::File> {
    pass(Call::Create, folder)?;
    tempfile::tempfile_in(folder)
}

/// A file that is being written.
#[derive(Debug)]
pub struct File {
    file: fs::File,
}

impl File {
    /// Makes a file, in place of one that is there.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::open(path, fs::OpenOptions::new().write(true).create(true).truncate(true))
    }

    /// Makes a file where none is.
    ///
    /// # Errors
    /// There is one, or the folder cannot be written.
    pub fn create_new(path: &Path) -> io::Result<Self> {
        Self::open(path, fs::OpenOptions::new().write(true).create_new(true))
    }

    /// Opens a file to add to its end; made if need be.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn append(path: &Path) -> io::Result<Self> {
        Self::open(path, fs::OpenOptions::new().read(true).append(true).create(true))
    }

    /// Opens a file and leaves what is in it; made if need be.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(path: &Path) -> io::Result<Self> {
        let mut options = fs::OpenOptions::new();
        Self::open(path, options.read(true).write(true).create(true).truncate(false))
    }

    fn open(path: &Path, options: &fs::OpenOptions) -> io::Result<Self> {
        pass(Call::Create, path)?;
        Ok(Self { file: options.open(path)? })
    }

    /// Waits until all of it is on the disk.
    ///
    /// # Errors
    /// That cannot be done.
    pub fn flush_to_disk(&self) -> io::Result<()> {
        pass(Call::Flush, self.file.path())?;
        self.file.sync_all()
    }

    /// As all bytes of `from` are; where the file system can, the two share them.
    ///
    /// # Errors
    /// `from` cannot be read, or this file not written.
    pub fn take_all(&mut self, from: &Path) -> io::Result<()> {
        let mut from = open(from)?.into_whole()?;
        pass(Call::Write, self.file.path())?;
        // Between two plain files the system copies, or lets them share their blocks.
        io::copy(&mut from, &mut self.file.file()).map(drop)
    }

    /// Throws away what is in it.
    ///
    /// # Errors
    /// That cannot be done.
    pub fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()
    }

    /// Its last byte, if it has one.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn last_byte(&mut self) -> io::Result<Option<u8>> {
        if self.file.seek(SeekFrom::End(0))? == 0 {
            return Ok(None);
        }
        self.file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        self.file.read_exact(&mut last)?;
        Ok(Some(last[0]))
    }

    /// Whether it is still the file at `path`.
    ///
    /// # Errors
    /// The system does not tell.
    pub(super) fn is_at(&self, path: &Path) -> io::Result<bool> {
        match std::fs::metadata(path) {
            Ok(found) => Ok(same(&found, &self.file.metadata()?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether it has more than one name.
    ///
    /// # Errors
    /// The system does not tell.
    pub(super) fn has_other_names(&self) -> io::Result<bool> {
        #[cfg(unix)]
        let names = std::os::unix::fs::MetadataExt::nlink(&self.file.metadata()?);
        #[cfg(not(unix))]
        let names = 1;
        Ok(names > 1)
    }

    /// The handle, for locks.
    pub(super) fn handle(&self) -> &std::fs::File {
        self.file.file()
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match fault(Call::Write, self.file.path())? {
            None => self.file.write(bytes),
            Some(fault) => {
                // As a disk that becomes full, and a kill, leave it.
                let _ = self.file.write(&bytes[..bytes.len() / 2]);
                Err(fault.strike())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Whether both paths are names of one file.
#[must_use]
pub fn is_same(one: &Path, other: &Path) -> bool {
    let found = [one, other].map(|path| std::fs::metadata(path).ok());
    // Elsewhere every file would be taken for every other.
    cfg!(unix) && matches!(&found, [Some(one), Some(other)] if same(one, other))
}

/// Whether both tell of one file. Only Unix says so; elsewhere no open file is renamed.
fn same(one: &std::fs::Metadata, other: &std::fs::Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    }
    #[cfg(not(unix))]
    {
        let _ = (one, other);
        true
    }
}
