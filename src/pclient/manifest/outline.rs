//! What proves each part of a manifest by itself, so that a part can be passed on before the next one has come.
//!
//! A part is the list of hashes of so many pieces in a row. What they join to, a subtree's chaining value, stands in the
//! outline, and those values join to the fid. No network here, and nothing is taken on trust: an [`Outline`] is its file's own.

use std::ops::Range;

use blake3::hazmat::ChainingValue;

use super::ManifestError;
use crate::Fid;
use crate::pclient::pieces::Lengths;
use crate::pclient::size_proof::SizeProof;
use crate::pclient::tree;

/// The fewest and the most hashes in a part: 2 to 16 KiB of them. In between their number is about the square root of all, so
/// that neither the outline nor a part is long.
const PART_LEN: (usize, usize) = (64, MAX_PART_LEN);

/// The most hashes in a part.
pub const MAX_PART_LEN: usize = 512;
/// The most joints of an outline: those of a file of [`Lengths::MAX_PIECES`].
pub const MAX_JOINTS: usize = (Lengths::MAX_PIECES as usize).div_ceil(MAX_PART_LEN);

/// The size of a file, proved, and what the hashes of its pieces join to, part by part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    fid: Fid,
    lengths: Lengths,
    size_proof: SizeProof,
    /// One for each part; none if there is only one, which joins to the fid.
    joints: Vec<ChainingValue>,
}

impl Outline {
    /// The outline of the file whose pieces hash to `hashes`, and those to `fid`.
    pub(super) fn of(fid: Fid, lengths: Lengths, hashes: &[ChainingValue], size_proof: SizeProof) -> Outline {
        let mut outline = Outline { fid, lengths, size_proof, joints: Vec::new() };
        if outline.part_count() > 1 {
            outline.joints = (0..outline.part_count())
                .map(|part| outline.join(part, &hashes[outline.range(part)]))
                .collect();
        }
        outline
    }

    /// The outline of the file `fid`, if what a stranger sent is that: the size is proved, and `joints` join to `fid`.
    ///
    /// # Errors
    /// Which of the parts is not this file's.
    pub fn from_parts(
        fid: Fid,
        lengths: Lengths,
        joints: Vec<ChainingValue>,
        size_proof: SizeProof,
    ) -> Result<Outline, ManifestError> {
        if !size_proof.proves(&fid, lengths.size()) {
            return Err(ManifestError::Size);
        }
        let outline = Outline { fid, lengths, size_proof, joints };
        let expected = if outline.part_count() > 1 { outline.part_count() } else { 0 };
        let found = outline.joints.len();
        if found != expected as usize {
            return Err(ManifestError::Count { expected, found });
        }
        let joined = || tree::merge_root(&outline.joints, lengths.size(), outline.part_bytes());
        if found > 0 && joined().as_bytes() != fid.as_bytes() {
            return Err(ManifestError::Hashes);
        }
        Ok(outline)
    }

    /// Whether `hashes` are those of `part`, all of them.
    pub fn verify(&self, part: u32, hashes: &[ChainingValue]) -> bool {
        part < self.part_count()
            && hashes.len() == self.range(part).len()
            && match self.joints.get(part as usize) {
                Some(joint) => self.join(part, hashes) == *joint,
                None => root(self.lengths, hashes) == self.fid,
            }
    }

    /// How many parts the hashes fall into: none for an empty file.
    pub fn part_count(&self) -> u32 {
        self.lengths.piece_count().div_ceil(self.part_len() as u32)
    }

    /// How many whole parts the first `count` hashes make.
    pub(super) fn parts_in(&self, count: usize) -> u32 {
        count.div_ceil(self.part_len()) as u32
    }

    /// The hashes of `part` among all.
    pub fn range(&self, part: u32) -> Range<usize> {
        let start = part as usize * self.part_len();
        start..(start + self.part_len()).min(self.lengths.piece_count() as usize)
    }

    /// The file's identity.
    pub const fn fid(&self) -> Fid {
        self.fid
    }

    /// The file's size and how it falls into pieces.
    pub const fn lengths(&self) -> Lengths {
        self.lengths
    }

    /// The proof of the size, for those who will ask.
    pub const fn size_proof(&self) -> &SizeProof {
        &self.size_proof
    }

    /// What each part joins to, in order; nothing if there is only one part.
    pub fn joints(&self) -> &[ChainingValue] {
        &self.joints
    }

    /// How many hashes each part has but the last.
    fn part_len(&self) -> usize {
        let (fewest, most) = PART_LEN;
        (self.lengths.piece_count().isqrt() as usize).next_power_of_two().clamp(fewest, most)
    }

    /// How much of the file a part stands for, but the last, B.
    fn part_bytes(&self) -> u64 {
        self.part_len() as u64 * u64::from(self.lengths.full_piece_len())
    }

    /// What the hashes of one part of several join to.
    fn join(&self, part: u32, hashes: &[ChainingValue]) -> ChainingValue {
        let start = u64::from(part) * self.part_bytes();
        let len = self.part_bytes().min(self.lengths.size() - start);
        tree::merge(hashes, len, u64::from(self.lengths.full_piece_len()))
    }
}

/// What the hashes of all pieces join to. As many as there are pieces.
pub(super) fn root(lengths: Lengths, hashes: &[ChainingValue]) -> Fid {
    match hashes {
        [] => Fid::of(b""),
        [only] => Fid::from_bytes(*only),
        _ => {
            let root = tree::merge_root(hashes, lengths.size(), u64::from(lengths.full_piece_len()));
            Fid::from_bytes(*root.as_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pclient::manifest::Manifest;

    #[test]
    fn the_longest_manifest_fits_its_messages() {
        let lengths = Lengths::choose(Lengths::MAX_SIZE).unwrap();
        let size_proof = Manifest::of(b"").outline().size_proof().clone();
        let outline = Outline { fid: Fid::of(b""), lengths, size_proof, joints: Vec::new() };
        assert_eq!((outline.part_count() as usize, outline.range(0).len()), (MAX_JOINTS, MAX_PART_LEN));
    }
}
