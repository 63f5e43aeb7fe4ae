//! Proof that a file has the size that somebody says, against nothing but its fid. Not a proof that anybody has it.
//!
//! Why it is needed: the chaining values of the pieces hash up to the fid whatever size is claimed, as long as the
//! number of pieces stays the same, because only the last chunk's own hash covers where the file ends. Without a proof a
//! liar could give a receiver the right hashes with a wrong size: the last piece would then never verify, whoever
//! sends it, and honest peers would be blamed.
//!
//! The proof is BLAKE3's right edge: the last chunk (at most 1 KiB) and the chaining values of the subtrees to its left,
//! one for each level. A chunk's position and length enter its hash, so one fid admits one size.

use blake3::hazmat::ChainingValue;

use super::pieces::Lengths;
use super::tree;
use crate::Fid;

/// The right edge of a file's hash tree.
///
/// On the wire, all together 32 B for each doubling of the size at most, and 1 KiB: less than 2.5 kB for any file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeProof {
    /// Outermost first.
    siblings: Vec<ChainingValue>,
    last_chunk: Vec<u8>,
}

impl SizeProof {
    /// The proof for the file whose pieces, all of them, hash to `hashes` and whose last piece is `last_piece` (empty
    /// for an empty file).
    pub(super) fn of(lengths: Lengths, hashes: &[ChainingValue], last_piece: &[u8]) -> SizeProof {
        let size = lengths.size();
        let last_piece_start = size - last_piece.len() as u64;
        let piece_len = u64::from(lengths.full_piece_len());
        let in_last_piece = |offset: u64| (offset - last_piece_start) as usize;
        let (siblings, last_chunk) = tree::right_edge(size);
        let siblings = siblings
            .into_iter()
            .map(|range| {
                if range.start >= last_piece_start {
                    tree::subtree(
                        range.start,
                        &last_piece[in_last_piece(range.start)..in_last_piece(range.end)],
                    )
                } else {
                    let pieces = (range.start / piece_len) as usize..(range.end / piece_len) as usize;
                    tree::merge(&hashes[pieces], range.end - range.start, piece_len)
                }
            })
            .collect();
        SizeProof { siblings, last_chunk: last_piece[in_last_piece(last_chunk.start)..].to_vec() }
    }

    /// Whether the file `fid` has `size` B, beyond doubt. False also where the proof is merely of another file.
    pub fn proves(&self, fid: &Fid, size: u64) -> bool {
        if size > Lengths::MAX_SIZE {
            return false;
        }
        let (siblings, last_chunk) = tree::right_edge(size);
        self.siblings.len() == siblings.len()
            && self.last_chunk.len() as u64 == last_chunk.end - last_chunk.start
            && tree::root_of_edge(&self.siblings, last_chunk.start, &self.last_chunk).as_bytes()
                == fid.as_bytes()
    }

    /// The proof for the wire: the chaining values, outermost first, then the last chunk.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.siblings.concat();
        bytes.extend_from_slice(&self.last_chunk);
        bytes
    }

    /// Reads what [`SizeProof::to_bytes`] wrote for a file of `size` B; `None` if the length is wrong for that, or
    /// `size` above [`Lengths::MAX_SIZE`]. Nothing is proved yet.
    pub fn from_bytes(size: u64, bytes: &[u8]) -> Option<SizeProof> {
        if size > Lengths::MAX_SIZE {
            return None;
        }
        let (siblings, chunk_range) = tree::right_edge(size);
        let (hashes, last_chunk) = bytes.split_at_checked(siblings.len() * size_of::<ChainingValue>())?;
        if last_chunk.len() as u64 != chunk_range.end - chunk_range.start {
            return None;
        }
        let (siblings, _) = hashes.as_chunks();
        Some(SizeProof { siblings: siblings.to_vec(), last_chunk: last_chunk.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::Manifest;
    use super::*;
    use crate::rand::Rng;

    fn content(size: usize) -> Vec<u8> {
        let mut content = vec![0; size];
        Rng::from_seed(size as u64).fill(&mut content);
        content
    }

    #[test]
    fn a_proof_proves_one_size_of_one_file() {
        for size in [0, 1, 63, 64, 65, 1023, 1024, 1025, 2048, 2049, 3072, 4096, 10_000, 10_240, 100_001] {
            let content = content(size);
            let fid = Fid::of(&content);
            let proof = Manifest::of(&content).outline().size_proof().clone();
            for claimed in 0..=2 * size as u64 + 5_000 {
                assert_eq!(
                    proof.proves(&fid, claimed),
                    claimed == size as u64,
                    "{size} claimed as {claimed}"
                );
            }
            assert!(!proof.proves(&Fid::of(b"another"), size as u64));
            assert!(!proof.proves(&fid, u64::MAX));
        }
    }

    #[test]
    fn a_last_chunk_cut_or_drawn_out_to_fit_a_false_size_proves_nothing() {
        for size in [1, 1000, 1024, 1025, 3000, 4096, 10_000] {
            let content = content(size);
            let fid = Fid::of(&content);
            let bytes = Manifest::of(&content).outline().size_proof().to_bytes();
            for (claimed, forged) in [
                (size + 1, [&bytes[..], &[0]].concat()),
                (size - 1, bytes[..bytes.len() - 1].to_vec()),
                (size + 1024, [&[7; 32], &bytes[..]].concat()),
            ] {
                let proof = SizeProof::from_bytes(claimed as u64, &forged);
                assert!(proof.is_none_or(|proof| !proof.proves(&fid, claimed as u64)), "{size} as {claimed}");
            }
        }
    }

    #[test]
    fn the_wire_form_comes_back_and_every_bit_of_it_counts() {
        for size in [0, 1, 1024, 1025, 5_000, 70_000] {
            let content = content(size);
            let (fid, size) = (Fid::of(&content), size as u64);
            let proof = Manifest::of(&content).outline().size_proof().clone();
            let bytes = proof.to_bytes();
            assert_eq!(SizeProof::from_bytes(size, &bytes), Some(proof));
            assert_eq!(SizeProof::from_bytes(size, &[&bytes[..], &[0]].concat()), None);
            assert_eq!(SizeProof::from_bytes(u64::MAX, &bytes), None);
            for at in 0..bytes.len() {
                assert_eq!(SizeProof::from_bytes(size, &bytes[..at]), None);
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << (at % 8);
                assert!(
                    !SizeProof::from_bytes(size, &flipped).unwrap().proves(&fid, size),
                    "{size}, byte {at}"
                );
            }
        }
    }

    #[test]
    fn the_largest_file_has_a_small_proof() {
        let (siblings, last_chunk) = tree::right_edge(Lengths::MAX_SIZE);
        assert!(siblings.len() * 32 + last_chunk.count() < 2_500);
        // The worst is a size with many ones in binary: a sibling for each.
        let (siblings, _) = tree::right_edge((1 << 41) - 1);
        assert_eq!(siblings.len(), 31);
    }
}
