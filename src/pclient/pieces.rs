//! How a file falls into pieces: indices that exist only if they are valid, and sets of them.
//!
//! Arithmetic alone: no content, no hash and no choice of what to fetch next.

mod bitfield;

use std::fmt;
use std::ops::Range;

pub use bitfield::{Bitfield, BitfieldError};

/// The size of a file and the length of its pieces.
///
/// All pieces have the same length, a power of two, but the last, which has what is left. An empty file has no piece
/// and is complete at once.
///
/// A value of this type is arithmetically sound (at most [`Lengths::MAX_PIECES`] pieces), not yet true: a size that a
/// stranger names is to be checked by a [`SizeProof`](super::size_proof::SizeProof) before anything is allocated for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lengths {
    size: u64,
    piece_log2: u8,
}

/// Shorter pieces than 4 KiB are not worth their hashes.
const MIN_CHOSEN_LOG2: u8 = 12;
/// From these sizes on, B, pieces are twice as long as before: 8 KiB, and so on. The last is where they would be too many.
const GROWTH: [u64; 10] = [
    5_600_000,
    16_000_000,
    120_000_000,
    560_000_000,
    2_600_000_000,
    12_000_000_000,
    56_000_000_000,
    260_000_000_000,
    1_200_000_000_000,
    2_000_000_000_000,
];

/// A block is a quarter of a piece, but not less than this, B: it would not be worth its request.
const MIN_BLOCK_LEN: u32 = 1 << 10;
/// Nor more than this, B: so much content travels in one message at most.
pub const MAX_BLOCK_LEN: u32 = 16 << 10;

impl Lengths {
    /// The smallest piece is 2¹¹ B = 2 KiB: two BLAKE3 chunks.
    pub const MIN_PIECE_LOG2: u8 = 11;
    /// The largest piece is 2²² B = 4 MiB.
    pub const MAX_PIECE_LOG2: u8 = 22;
    /// The most pieces that a file may have: so many bits still fit one message.
    pub const MAX_PIECES: u32 = 1_000_000;
    /// The largest file, B: [`MAX_PIECES`](Lengths::MAX_PIECES) of the largest pieces, 4.2 TB. Larger ones are refused.
    pub const MAX_SIZE: u64 = (Lengths::MAX_PIECES as u64) << Lengths::MAX_PIECE_LOG2;

    /// A file of `size` B in pieces of 2^`piece_log2` B.
    ///
    /// # Errors
    /// If the piece length is out of its range, or there were more than [`Lengths::MAX_PIECES`] pieces.
    pub fn new(size: u64, piece_log2: u8) -> Result<Lengths, LengthsError> {
        if !(Lengths::MIN_PIECE_LOG2..=Lengths::MAX_PIECE_LOG2).contains(&piece_log2) {
            return Err(LengthsError::PieceLength(piece_log2));
        }
        if size.div_ceil(1 << piece_log2) > u64::from(Lengths::MAX_PIECES) {
            return Err(LengthsError::TooManyPieces { size, piece_log2 });
        }
        Ok(Lengths { size, piece_log2 })
    }

    /// A file of `size` B in pieces of the length that serves a swarm best.
    ///
    /// A piece is relayed only when it is whole, so the time until all receivers are busy grows with its length; hashes and
    /// announcements grow with the number of pieces. Their sum is least where pieces grow a little slower than the square root of
    /// the size (`GROWTH`; measured with 6, 20 and 100 MB). The length follows from the size alone, so that all who share a
    /// file cut it alike.
    ///
    /// # Errors
    /// If the file is larger than [`Lengths::MAX_SIZE`] (4.2 TB): it would have too many of the largest pieces.
    pub fn choose(size: u64) -> Result<Lengths, LengthsError> {
        let steps = GROWTH.iter().take_while(|&&from| size >= from).count();
        Lengths::new(size, MIN_CHOSEN_LOG2 + steps as u8)
    }

    /// Size of the file, B.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Binary logarithm of the length of all pieces but the last, in bytes.
    pub const fn piece_log2(&self) -> u8 {
        self.piece_log2
    }

    /// Length of all pieces but the last, B.
    pub const fn full_piece_len(&self) -> u32 {
        1 << self.piece_log2
    }

    /// How many pieces there are.
    pub const fn piece_count(&self) -> u32 {
        // At most MAX_PIECES, by construction.
        self.size.div_ceil(1 << self.piece_log2) as u32
    }

    /// The piece of this number, if there is one.
    pub fn piece(&self, index: u64) -> Option<PieceIndex> {
        u32::try_from(index).ok().filter(|&index| index < self.piece_count()).map(PieceIndex)
    }

    /// The bytes of the file that make up `piece`.
    ///
    /// # Panics
    /// If `piece` is of another file and doesn't exist in this one.
    pub fn piece_range(&self, piece: PieceIndex) -> Range<u64> {
        assert!(piece.0 < self.piece_count(), "piece {piece} belongs to another file");
        let start = u64::from(piece.0) << self.piece_log2;
        start..self.size.min(start + (1 << self.piece_log2))
    }

    /// Length of `piece`, B. Panics as [`Lengths::piece_range`].
    pub fn piece_len(&self, piece: PieceIndex) -> u32 {
        let range = self.piece_range(piece);
        (range.end - range.start) as u32
    }

    /// Length of all blocks but the last of the file, B: the least that can be asked for.
    pub fn block_len(&self) -> u32 {
        (self.full_piece_len() / 4).clamp(MIN_BLOCK_LEN, MAX_BLOCK_LEN)
    }

    /// How many blocks travel in one message at most.
    pub fn blocks_together(&self) -> u32 {
        MAX_BLOCK_LEN / self.block_len()
    }

    /// How many blocks `piece` has. Panics as [`Lengths::piece_range`].
    pub fn block_count(&self, piece: PieceIndex) -> u32 {
        self.piece_len(piece).div_ceil(self.block_len())
    }

    /// The bytes of the file that make up `blocks` of `piece`. Panics as [`Lengths::piece_range`].
    pub fn block_range(&self, piece: PieceIndex, blocks: &Range<u32>) -> Range<u64> {
        let Range { start, end } = self.piece_range(piece);
        let place = |block: u32| end.min(start + u64::from(block) * u64::from(self.block_len()));
        place(blocks.start)..place(blocks.end)
    }

    /// All pieces in ascending order.
    pub fn pieces(&self) -> impl DoubleEndedIterator<Item = PieceIndex> + use<> {
        (0..self.piece_count()).map(PieceIndex)
    }
}

/// The number of a piece that exists: made by [`Lengths`] and [`Bitfield`] alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PieceIndex(u32);

impl PieceIndex {
    /// The number, from 0.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number as an index into a slice of [`Lengths::piece_count`] elements.
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PieceIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for PieceIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A size and a piece length that don't go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LengthsError {
    /// The piece length is no power of two from 2 KiB to 4 MiB; its binary logarithm was given.
    #[error("pieces of 2^{0} B: only 2^{min} to 2^{max} B are allowed", min = Lengths::MIN_PIECE_LOG2, max = Lengths::MAX_PIECE_LOG2)]
    PieceLength(u8),
    /// More than [`Lengths::MAX_PIECES`] pieces.
    #[error("a file of {size} B in pieces of 2^{piece_log2} B has too many pieces")]
    TooManyPieces {
        /// Size of the file, B.
        size: u64,
        /// Binary logarithm of the piece length.
        piece_log2: u8,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_tile_the_file() {
        for (size, count, last_len) in [
            (0, 0, None),
            (1, 1, Some(1)),
            (4095, 1, Some(4095)),
            (4096, 1, Some(4096)),
            (4097, 2, Some(1)),
            (148_539, 37, Some(1083)),
        ] {
            let lengths = Lengths::new(size, 12).unwrap();
            assert_eq!(lengths.piece_count(), count, "{size}");
            assert_eq!(lengths.pieces().next_back().map(|last| lengths.piece_len(last)), last_len, "{size}");
            let mut end = 0;
            for piece in lengths.pieces() {
                let range = lengths.piece_range(piece);
                assert_eq!(range.start, end);
                end = range.end;
            }
            assert_eq!(end, size);
        }
    }

    #[test]
    fn blocks_tile_the_piece() {
        for (log2, block_len, together) in
            [(11, 1 << 10, 16), (12, 1 << 10, 16), (14, 4 << 10, 4), (16, 16 << 10, 1), (22, 16 << 10, 1)]
        {
            let lengths = Lengths::new((2 << log2) + 1_025, log2).unwrap();
            assert_eq!((lengths.block_len(), lengths.blocks_together()), (block_len, together));
            for piece in lengths.pieces() {
                let Range { start, end } = lengths.piece_range(piece);
                let count = lengths.block_count(piece);
                let blocks: Vec<Range<u64>> =
                    (0..count).map(|block| lengths.block_range(piece, &(block..block + 1))).collect();
                assert_eq!((blocks[0].start, blocks.last().map(|last| last.end)), (start, Some(end)));
                assert!(blocks.windows(2).all(|pair| pair[0].end == pair[1].start));
                assert!(blocks.iter().all(|block| block.end - block.start <= u64::from(block_len)));
                assert_eq!(lengths.block_range(piece, &(0..count)), start..end);
            }
        }
    }

    #[test]
    fn an_index_exists_only_if_the_piece_does() {
        let lengths = Lengths::new(10_000, 12).unwrap();
        assert_eq!(lengths.piece(2).map(PieceIndex::get), Some(2));
        assert_eq!(lengths.piece(3), None);
        // Truncated to 32 bits this would be piece 0.
        assert_eq!(lengths.piece(1 << 32), None);
        assert_eq!(Lengths::new(0, 12).unwrap().piece(0), None);
    }

    #[test]
    #[should_panic(expected = "another file")]
    fn a_piece_of_another_file_is_a_bug() {
        let piece = Lengths::new(10_000, 12).unwrap().piece(2).unwrap();
        Lengths::new(8_192, 12).unwrap().piece_range(piece);
    }

    #[test]
    fn lengths_out_of_range_are_refused() {
        for log2 in [0, 10, 23, 64, 255] {
            assert_eq!(Lengths::new(1, log2), Err(LengthsError::PieceLength(log2)));
        }
        assert_eq!(Lengths::new(Lengths::MAX_SIZE, 22).unwrap().piece_count(), Lengths::MAX_PIECES);
        for size in [Lengths::MAX_SIZE + 1, u64::MAX] {
            assert_eq!(Lengths::choose(size), Err(LengthsError::TooManyPieces { size, piece_log2: 22 }));
        }
        assert!(Lengths::new(1_000_000 << 11, 11).is_ok());
        assert!(Lengths::new((1_000_000 << 11) + 1, 11).is_err());
    }

    #[test]
    fn the_piece_length_follows_the_size() {
        for (size, log2) in [
            (0, 12),
            (1, 12),
            (5_599_999, 12),
            (6_219_177, 13),
            (20_000_000, 14),
            (100_000_000, 14),
            (1_000_000_000, 16),
            (100_000_000_000, 19),
            (1_300_000_000_000, 21),
            (2_000_000_000_000, 22),
        ] {
            assert_eq!(Lengths::choose(size).unwrap().piece_log2(), log2, "{size}");
        }
        let count = |size| Lengths::choose(size).unwrap().piece_count();
        assert_eq!(count(Lengths::MAX_SIZE), Lengths::MAX_PIECES);
    }
}
