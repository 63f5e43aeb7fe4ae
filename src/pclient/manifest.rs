//! The list of hashes by which each piece of a file is checked, and which hashes up to the file's fid.
//!
//! No network and no disk: the sharer reads from any [`Read`], the receiver builds it from what a stranger sent. No
//! part of a manifest is taken on trust; a [`Manifest`] that exists is the file's own.

use std::io::{self, Read};
use std::ops::Range;

use blake3::hazmat::ChainingValue;

use super::pieces::{Lengths, LengthsError, PieceIndex};
use super::size_proof::SizeProof;
use super::tree;
use crate::Fid;

mod outline;
pub(super) mod parallel;

pub use outline::{MAX_JOINTS, MAX_PART_LEN, Outline};

/// Small pieces are read this many bytes at a time: fewer system calls than pieces.
const READ_LEN: usize = 256 << 10;

/// What it takes to check any piece of a file by itself.
///
/// A piece is a subtree of the BLAKE3 tree over the whole content, and `hashes` are the subtrees' chaining values, so
/// the list needs no signature: joined together they must give the fid. An empty file has no hash. A file of one piece
/// has one, and it is the fid: that piece is the root of the tree, and a root's chaining value, from which the root
/// hash doesn't follow, would be worth nothing.
///
/// A receiver's may know the first hashes only, each proved by the outline, while the others are still to come.
///
/// Hashing takes one core. Measured on a busy one with AVX-512, where BLAKE3 alone does 2.6 GB/s: 1.5 GB/s in pieces of
/// 4 KiB, 1.7 GB/s in 8 KiB, about 2 GB/s from 16 KiB on (the ignored test `throughput`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    outline: Outline,
    hashes: Vec<ChainingValue>,
}

impl Manifest {
    /// The manifest of `content`, in pieces of the length that [`Lengths::choose`] gives.
    pub fn of(content: &[u8]) -> Manifest {
        Manifest::from_reader(content, content.len() as u64)
            .expect("a slice reads to its end and fits memory")
    }

    /// The manifest of the `size` B that `reader` gives, in pieces of the length that [`Lengths::choose`] gives.
    ///
    /// # Errors
    /// As [`Manifest::from_reader_in`]; `InvalidInput` for a size beyond [`Lengths::MAX_SIZE`].
    pub fn from_reader(reader: impl Read, size: u64) -> io::Result<Manifest> {
        let lengths = Lengths::choose(size)
            .map_err(|error: LengthsError| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Manifest::from_reader_in(reader, lengths)
    }

    /// The manifest of what `reader` gives, cut into `lengths`: in one pass, in memory for one piece (256 KiB at
    /// least) and 32 B for each piece read.
    ///
    /// # Errors
    /// Those of `reader`; `UnexpectedEof` if it gives less than the size, `InvalidData` if it gives more (a file that
    /// changes under us has no fid).
    pub fn from_reader_in(mut reader: impl Read, lengths: Lengths) -> io::Result<Manifest> {
        let piece_len = lengths.full_piece_len() as usize;
        // Both are powers of two, so that a buffer holds whole pieces.
        let buf_len = READ_LEN.max(piece_len);
        let mut buf = vec![0; lengths.size().min(buf_len as u64) as usize];
        let mut hashes = Vec::new();
        let mut last_piece = Vec::new();
        let mut offset = 0;
        while offset < lengths.size() {
            let filled = &mut buf[..(lengths.size() - offset).min(buf_len as u64) as usize];
            reader.read_exact(filled)?;
            for piece in filled.chunks(piece_len) {
                hashes.push(check_value(lengths, offset, piece));
                offset += piece.len() as u64;
                if offset == lengths.size() {
                    last_piece = piece.to_vec();
                }
            }
        }
        if reader.take(1).read_to_end(&mut Vec::new())? > 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "longer than its size: it grew while it was read",
            ));
        }
        Ok(Manifest::from_pieces(lengths, hashes, &last_piece))
    }

    /// The manifest of the file whose pieces hash to `hashes`, and which ends with `last_piece`.
    fn from_pieces(lengths: Lengths, hashes: Vec<ChainingValue>, last_piece: &[u8]) -> Manifest {
        let size_proof = SizeProof::of(lengths, &hashes, last_piece);
        let outline = Outline::of(outline::root(lengths, &hashes), lengths, &hashes, size_proof);
        Manifest { outline, hashes }
    }

    /// The manifest of which nothing is known but its `outline`.
    ///
    /// Another piece length than the sharer's gives another list that joins to the same fid. It is as true, but such a
    /// manifest cuts the file in another way: who takes part in a swarm has to see to it that the outline's lengths are the
    /// swarm's (those of [`Lengths::choose`]).
    pub(super) const fn begin(outline: Outline) -> Manifest {
        Manifest { outline, hashes: Vec::new() }
    }

    /// Adds the hashes of the next part, which the outline has proved.
    pub(super) fn extend(&mut self, hashes: &[ChainingValue]) {
        debug_assert!(self.outline.verify(self.known_parts(), hashes), "proved before");
        self.hashes.extend_from_slice(hashes);
    }

    /// How many parts of the list are known, from the first on.
    pub(super) fn known_parts(&self) -> u32 {
        self.outline.parts_in(self.hashes.len())
    }

    /// Whether every piece's hash is known.
    pub fn is_whole(&self) -> bool {
        self.hashes.len() == self.lengths().piece_count() as usize
    }

    /// What `piece` has to be; `None` while its hash isn't known.
    pub fn check(&self, piece: PieceIndex) -> Option<PieceCheck> {
        let hash = *self.hashes.get(piece.as_usize())?;
        Some(PieceCheck { lengths: self.lengths(), piece, hash })
    }

    /// Whether `data` is the content of `piece`: length and hash. False while its hash isn't known.
    pub fn verify_piece(&self, piece: PieceIndex, data: &[u8]) -> bool {
        self.check(piece).is_some_and(|check| check.passes(data))
    }

    /// The file's identity.
    pub const fn fid(&self) -> Fid {
        self.outline.fid()
    }

    /// The file's size and how it falls into pieces.
    pub const fn lengths(&self) -> Lengths {
        self.outline.lengths()
    }

    /// What each piece has to hash to, in order, as far as it is known: the chaining values of the pieces, or the fid if
    /// there is but one.
    pub fn hashes(&self) -> &[ChainingValue] {
        &self.hashes
    }

    /// What proves each part of the list by itself.
    pub const fn outline(&self) -> &Outline {
        &self.outline
    }
}

/// What tells one piece from anything else.
#[derive(Clone, Copy, Debug)]
pub struct PieceCheck {
    lengths: Lengths,
    piece: PieceIndex,
    hash: ChainingValue,
}

impl PieceCheck {
    /// Whether `data` is the piece: length and hash.
    pub fn passes(&self, data: &[u8]) -> bool {
        let range = self.range();
        data.len() as u64 == range.end - range.start
            && check_value(self.lengths, range.start, data) == self.hash
    }

    /// Where in the file it lies.
    pub fn range(&self) -> Range<u64> {
        self.lengths.piece_range(self.piece)
    }
}

/// What the piece `data` at `offset` has to hash to (see [`Manifest`]: the only piece is the root).
fn check_value(lengths: Lengths, offset: u64, data: &[u8]) -> ChainingValue {
    if lengths.piece_count() == 1 { *blake3::hash(data).as_bytes() } else { tree::subtree(offset, data) }
}

/// Why what a stranger sent is not the manifest of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The file has another size, or the proof is of another file.
    #[error("the file's size is not proved")]
    Size,
    /// The number of joints is not the number of parts.
    #[error("{found} joints for {expected} parts")]
    Count {
        /// How many there must be.
        expected: u32,
        /// How many were given.
        found: usize,
    },
    /// The joints don't join to the fid, or the hashes of a part not to its joint.
    #[error("the pieces' hashes don't join to the file's id")]
    Hashes,
}

#[cfg(test)]
mod tests;
