//! A file in memory: for `download`, which returns the bytes, and for content that was never on disk.

use std::io;

use super::{Storage, check_within};

/// A file in memory.
#[derive(Debug)]
pub struct MemoryStorage {
    /// As long as the furthest byte written; room for `size` bytes is reserved.
    bytes: Vec<u8>,
    size: u64,
}

impl MemoryStorage {
    /// Room for `size` B, of which the system hands out what is written. To be called once the size is known to be
    /// true: a stranger must not choose how much is reserved.
    ///
    /// # Errors
    /// `OutOfMemory` if there isn't as much.
    pub fn with_size(size: u64) -> io::Result<MemoryStorage> {
        let mut bytes = Vec::new();
        usize::try_from(size)
            .ok()
            .and_then(|size| bytes.try_reserve_exact(size).ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::OutOfMemory, format!("no memory for {size} B")))?;
        Ok(MemoryStorage { bytes, size })
    }

    /// What was written, up to the furthest byte: all of it once all pieces are there.
    pub fn into_vec(self) -> Vec<u8> {
        self.bytes
    }

    /// What was written, up to the furthest byte.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<Vec<u8>> for MemoryStorage {
    fn from(bytes: Vec<u8>) -> MemoryStorage {
        MemoryStorage { size: bytes.len() as u64, bytes }
    }
}

impl Storage for MemoryStorage {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let source = usize::try_from(offset)
            .ok()
            .and_then(|start| self.bytes.get(start..start.checked_add(buf.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(source);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        check_within(self.size, offset, data.len())?;
        // Within `size`, which fits `usize`.
        let start = offset as usize;
        let end = start + data.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[start..end].copy_from_slice(data);
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_written_in_any_order_come_back() {
        let mut storage = MemoryStorage::with_size(10).unwrap();
        storage.write_at(6, b"rld!").unwrap();
        storage.write_at(0, b"hello ").unwrap();
        storage.finish().unwrap();
        let mut buf = [0; 4];
        storage.read_at(6, &mut buf).unwrap();
        assert_eq!(&buf, b"rld!");
        assert_eq!(storage.into_vec(), b"hello rld!");
    }

    #[test]
    fn nothing_is_read_or_written_beyond_the_end() {
        let mut storage = MemoryStorage::from(b"0123456789".to_vec());
        for offset in [7, 10, 11, u64::MAX] {
            assert_eq!(
                storage.read_at(offset, &mut [0; 4]).unwrap_err().kind(),
                io::ErrorKind::UnexpectedEof
            );
            assert_eq!(storage.write_at(offset, b"abcd").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        assert_eq!(storage.as_slice(), b"0123456789");
        let empty = MemoryStorage::with_size(4).unwrap();
        assert_eq!(empty.read_at(0, &mut [0; 1]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_size_beyond_all_memory_is_an_error() {
        for size in [1 << 62, u64::MAX] {
            assert_eq!(MemoryStorage::with_size(size).unwrap_err().kind(), io::ErrorKind::OutOfMemory);
        }
    }

    #[test]
    fn memory_grows_with_what_is_written() {
        let mut storage = MemoryStorage::with_size(1 << 20).unwrap();
        storage.write_at(0, b"x").unwrap();
        assert_eq!(storage.as_slice().len(), 1);
        let before = storage.as_slice().as_ptr();
        storage.write_at((1 << 20) - 1, b"y").unwrap();
        assert_eq!(storage.as_slice().as_ptr(), before, "the room was reserved");
    }
}
