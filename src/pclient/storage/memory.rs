//! A file in memory: for `download`, which returns the bytes, and for content that was never on disk.

use std::io;

use parking_lot::RwLock;

use super::{Storage, check_within};

/// A file in memory.
#[derive(Debug)]
pub struct MemoryStorage {
    /// As long as the furthest byte written; room for `size` bytes is reserved.
    bytes: RwLock<Vec<u8>>,
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
        Ok(MemoryStorage { bytes: RwLock::new(bytes), size })
    }
}

impl From<Vec<u8>> for MemoryStorage {
    fn from(bytes: Vec<u8>) -> MemoryStorage {
        MemoryStorage { size: bytes.len() as u64, bytes: RwLock::new(bytes) }
    }
}

impl Storage for MemoryStorage {
    fn may_change(&self) -> bool {
        false
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes.read();
        let source = usize::try_from(offset)
            .ok()
            .and_then(|start| bytes.get(start..start.checked_add(buf.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(source);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        check_within(self.size, offset, data.len())?;
        // Within `size`, which fits `usize`.
        let start = offset as usize;
        let end = start + data.len();
        let mut bytes = self.bytes.write();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(data);
        Ok(())
    }

    fn finish(&self) -> io::Result<()> {
        Ok(())
    }

    fn abandon(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_written_in_any_order_come_back() {
        let storage = MemoryStorage::with_size(10).unwrap();
        storage.write_at(6, b"rld!").unwrap();
        storage.write_at(0, b"hello ").unwrap();
        storage.finish().unwrap();
        let mut buf = [0; 4];
        storage.read_at(6, &mut buf).unwrap();
        assert_eq!(&buf, b"rld!");
        assert_eq!(storage.bytes.into_inner(), b"hello rld!");
    }

    #[test]
    fn nothing_is_read_or_written_beyond_the_end() {
        let storage = MemoryStorage::from(b"0123456789".to_vec());
        for offset in [7, 10, 11, u64::MAX] {
            assert_eq!(
                storage.read_at(offset, &mut [0; 4]).unwrap_err().kind(),
                io::ErrorKind::UnexpectedEof
            );
            assert_eq!(storage.write_at(offset, b"abcd").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        assert_eq!(*storage.bytes.read(), b"0123456789");
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
        let storage = MemoryStorage::with_size(1 << 20).unwrap();
        storage.write_at(0, b"x").unwrap();
        assert_eq!(storage.bytes.read().len(), 1);
        let before = storage.bytes.read().as_ptr();
        storage.write_at((1 << 20) - 1, b"y").unwrap();
        assert_eq!(storage.bytes.read().as_ptr(), before, "the room was reserved");
    }
}
