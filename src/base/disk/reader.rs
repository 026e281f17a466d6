//! A file that is read to its end, which must be where its length says: a disk or a network that gives
//! less without an error, or a file that was cut meanwhile, would else be taken for a shorter file.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

/// A file that is being read.
#[derive(Debug)]
pub struct Reader {
    file: File,
    /// Bytes that it had when it was opened.
    length: u64,
    /// Bytes that are read or passed over.
    read: u64,
    /// Where a test lets it end.
    end: Option<u64>,
}

impl Reader {
    pub(super) fn new(file: File, short: bool) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file, length, read: 0, end: short.then_some(length / 2) })
    }

    /// Bytes that the file had when it was opened.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Goes on at byte `at`.
    ///
    /// # Errors
    /// The system cannot do it.
    pub fn skip_to(&mut self, at: u64) -> io::Result<()> {
        self.read = self.file.seek(SeekFrom::Start(at))?;
        Ok(())
    }

    /// The plain file, for a reader that looks after its length itself.
    pub(super) fn into_whole(self) -> io::Result<File> {
        whole(self.end.unwrap_or(self.length), self.length)?;
        Ok(self.file)
    }
}

impl Read for Reader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = self.end.map_or(u64::MAX, |end| end.saturating_sub(self.read));
        let room = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = self.file.read(&mut bytes[..room])?;
        self.read += count as u64;
        if count == 0 && !bytes.is_empty() {
            whole(self.read, self.length)?;
        }
        Ok(count)
    }
}

/// Checks that a file gave what it has. It may have grown meanwhile, as logs do.
pub(super) fn whole(got: u64, length: u64) -> io::Result<()> {
    if got >= length {
        return Ok(());
    }
    let message = format!("only {got} of its {length} bytes could be read");
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_gives_less_than_it_has_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for length in [0, 1, 9, 100_000] {
            std::fs::write(&path, vec![7; length]).unwrap();
            let read = |short| {
                let mut bytes = Vec::new();
                let mut reader = Reader::new(File::open(&path).unwrap(), short).unwrap();
                reader.read_to_end(&mut bytes).map(|_| bytes.len())
            };
            assert_eq!(read(false).unwrap(), length);
            match read(true) {
                Ok(got) => assert_eq!((got, length), (0, 0)),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof),
            }
        }
    }
}
