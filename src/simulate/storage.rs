//! Storage for a simulated file: which pieces are there, and one copy of the content that all nodes share.
//!
//! No disk, and no bytes of a node's own: ten thousand nodes with the whole file take a bit for each piece and node.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::pclient::pieces::{Bitfield, Lengths, PieceIndex};
use crate::pclient::storage::Storage;

/// One node's copy of a file whose true content is known.
///
/// A clone is the same copy, so that a scenario can look at what it has given away.
#[derive(Clone, Debug)]
pub struct SharedStorage {
    content: Arc<[u8]>,
    lengths: Lengths,
    have: Arc<Mutex<Bitfield>>,
}

impl SharedStorage {
    /// A copy of which nothing is there yet. `lengths` are those of `content`.
    pub fn empty(content: Arc<[u8]>, lengths: Lengths) -> SharedStorage {
        assert_eq!(content.len() as u64, lengths.size(), "the lengths are of another content");
        let have = Bitfield::new(&lengths);
        SharedStorage { content, lengths, have: Arc::new(Mutex::new(have)) }
    }

    /// A copy that is whole. `lengths` are those of `content`.
    pub fn full(content: Arc<[u8]>, lengths: Lengths) -> SharedStorage {
        let storage = SharedStorage::empty(content, lengths);
        *storage.have.lock() = Bitfield::full(&lengths);
        storage
    }

    /// Whether every piece has been written, each with its true bytes.
    pub fn is_complete(&self) -> bool {
        self.have.lock().is_complete()
    }

    /// Where `len` B at `offset` lie in the content, and the pieces that they touch.
    fn locate(&self, offset: u64, len: usize) -> Option<(std::ops::Range<usize>, Vec<PieceIndex>)> {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(len).filter(|&end| end <= self.content.len())?;
        let log2 = self.lengths.piece_log2();
        let touched = match len {
            0 => 0..0,
            _ => (start as u64 >> log2)..((end as u64 - 1) >> log2) + 1,
        };
        Some((start..end, touched.filter_map(|index| self.lengths.piece(index)).collect()))
    }
}

impl Storage for SharedStorage {
    fn may_change(&self) -> bool {
        false
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let (range, pieces) = self.locate(offset, buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        let have = self.have.lock();
        if !pieces.iter().all(|&piece| have.get(piece)) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buf.copy_from_slice(&self.content[range]);
        Ok(())
    }

    /// Only whole pieces, and only their true bytes: others are `InvalidInput` and `InvalidData`.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let invalid = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
        let (range, pieces) =
            self.locate(offset, data.len()).ok_or_else(|| invalid("a write beyond the end of the file"))?;
        let whole: u64 = pieces.iter().map(|&piece| u64::from(self.lengths.piece_len(piece))).sum();
        if whole != data.len() as u64 {
            return Err(invalid("a write of part of a piece"));
        }
        if self.content[range] != *data {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a write of other bytes than the file's"));
        }
        let mut have = self.have.lock();
        for piece in pieces {
            have.set(piece);
        }
        Ok(())
    }

    fn finish(&self) -> io::Result<()> {
        if self.is_complete() { Ok(()) } else { Err(io::Error::other("finished before all was written")) }
    }

    fn abandon(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage() -> SharedStorage {
        let content: Vec<u8> = (0..10_000u32).map(|n| (n % 251) as u8).collect();
        SharedStorage::empty(content.into(), Lengths::choose(10_000).unwrap())
    }

    #[test]
    fn true_pieces_are_kept_and_others_refused() {
        let storage = storage();
        let content = Arc::clone(&storage.content);
        assert_eq!(storage.read_at(0, &mut [0; 10]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        storage.write_at(4_096, &content[4_096..8_192]).unwrap();
        let mut read = [0; 100];
        storage.read_at(5_000, &mut read).unwrap();
        assert_eq!(read[..], content[5_000..5_100]);
        assert!(storage.read_at(8_100, &mut [0; 100]).is_err(), "the next piece isn't there");
        assert_eq!(storage.write_at(0, &[9; 4_096]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        for (offset, len) in [(0, 100), (100, 4_096), (8_192, 4_096), (u64::MAX, 1)] {
            let error = storage.write_at(offset, &vec![0; len]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{offset}, {len}");
        }
        assert!(storage.finish().is_err());
        storage.write_at(0, &content[..4_096]).unwrap();
        storage.write_at(8_192, &content[8_192..]).unwrap();
        assert!(storage.is_complete());
        storage.finish().unwrap();
    }

    #[test]
    fn a_full_copy_can_be_read_everywhere() {
        let content: Arc<[u8]> = vec![7; 5_000].into();
        let storage = SharedStorage::full(content, Lengths::choose(5_000).unwrap());
        let mut all = vec![0; 5_000];
        storage.read_at(0, &mut all).unwrap();
        assert_eq!(all, vec![7; 5_000]);
    }
}
