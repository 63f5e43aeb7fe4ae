//! A set of pieces of one file, as a bit for each. No opinion about which to fetch.

use super::{Lengths, PieceIndex};

/// A set of the pieces of one file. Takes one bit per piece of the file, however few are in it.
///
/// Invariants: the bits beyond the last piece are zero, and `count` is the number of ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitfield {
    /// Piece i is bit i mod 64 (least significant first) of word i ÷ 64.
    words: Vec<u64>,
    len: u32,
    count: u32,
}

impl Bitfield {
    /// The empty set.
    pub fn new(lengths: &Lengths) -> Bitfield {
        let len = lengths.piece_count();
        Bitfield { words: vec![0; len.div_ceil(64) as usize], len, count: 0 }
    }

    /// The set of all pieces.
    pub fn full(lengths: &Lengths) -> Bitfield {
        let mut full = Bitfield::new(lengths);
        full.words.fill(u64::MAX);
        if let Some(last) = full.words.last_mut()
            && !full.len.is_multiple_of(64)
        {
            *last = (1 << (full.len % 64)) - 1;
        }
        full.count = full.len;
        full
    }

    /// Adds `piece`; whether it was new.
    ///
    /// # Panics
    /// If `piece` doesn't exist in this file, as all that take a piece or another set.
    pub fn set(&mut self, piece: PieceIndex) -> bool {
        self.assert_has(piece);
        let word = &mut self.words[piece.as_usize() / 64];
        let bit = 1 << (piece.0 % 64);
        let new = *word & bit == 0;
        *word |= bit;
        self.count += u32::from(new);
        new
    }

    /// Removes `piece`; whether it was there.
    pub fn clear(&mut self, piece: PieceIndex) -> bool {
        self.assert_has(piece);
        let word = &mut self.words[piece.as_usize() / 64];
        let bit = 1 << (piece.0 % 64);
        let there = *word & bit != 0;
        *word &= !bit;
        self.count -= u32::from(there);
        there
    }

    /// Whether `piece` is in the set.
    pub fn get(&self, piece: PieceIndex) -> bool {
        self.assert_has(piece);
        self.words[piece.as_usize() / 64] >> (piece.0 % 64) & 1 == 1
    }

    /// How many pieces are in the set.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// How many pieces the file has.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether no piece is in the set.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether all pieces are in the set; true for an empty file.
    pub const fn is_complete(&self) -> bool {
        self.count == self.len
    }

    /// The pieces in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        ones(self.words.iter().copied())
    }

    /// The pieces of the file that are not in the set, ascending.
    pub fn iter_missing(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        let len = self.len;
        ones(self.words.iter().map(|word| !word)).take_while(move |piece| piece.0 < len)
    }

    /// The pieces that are here and not in `other`, ascending: what `other`'s owner could get here.
    pub fn difference<'a>(&'a self, other: &'a Bitfield) -> impl Iterator<Item = PieceIndex> + 'a {
        ones(self.difference_words(other))
    }

    /// How many pieces are here and not in `other`.
    pub fn difference_count(&self, other: &Bitfield) -> u32 {
        self.difference_words(other).map(u64::count_ones).sum()
    }

    /// Whether `other` has all that is here: then its owner has nothing to ask for here.
    pub fn is_subset(&self, other: &Bitfield) -> bool {
        self.difference_words(other).all(|word| word == 0)
    }

    /// The set for the wire, ⌈pieces ÷ 8⌉ B: piece i is bit i mod 8 (least significant first) of byte i ÷ 8.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.truncate(byte_len(self.len));
        bytes
    }

    /// Reads what [`Bitfield::to_bytes`] wrote for a file of the same lengths.
    ///
    /// # Errors
    /// If the number of bytes is another, or a bit beyond the last piece is set.
    pub fn from_bytes(lengths: &Lengths, bytes: &[u8]) -> Result<Bitfield, BitfieldError> {
        let len = lengths.piece_count();
        if bytes.len() != byte_len(len) {
            return Err(BitfieldError::Length { expected: byte_len(len), found: bytes.len() });
        }
        if let Some(last) = bytes.last()
            && !len.is_multiple_of(8)
            && last >> (len % 8) != 0
        {
            return Err(BitfieldError::Tail);
        }
        let word = |chunk: &[u8]| chunk.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
        let words: Vec<u64> = bytes.chunks(8).map(word).collect();
        let count = words.iter().map(|word| word.count_ones()).sum();
        Ok(Bitfield { words, len, count })
    }

    fn difference_words<'a>(&'a self, other: &'a Bitfield) -> impl Iterator<Item = u64> + 'a {
        assert_eq!(self.len, other.len, "the sets belong to different files");
        self.words.iter().zip(&other.words).map(|(here, there)| here & !there)
    }

    fn assert_has(&self, piece: PieceIndex) {
        assert!(piece.0 < self.len, "piece {piece} belongs to another file");
    }
}

/// How many bytes a set takes on the wire.
fn byte_len(len: u32) -> usize {
    len.div_ceil(8) as usize
}

/// The positions of the ones in `words`, ascending.
fn ones(words: impl Iterator<Item = u64>) -> impl Iterator<Item = PieceIndex> {
    words.zip(0u32..).flat_map(|(word, at)| {
        // `rest & (rest - 1)` is `rest` without its lowest one.
        std::iter::successors(Some(word), |&rest| Some(rest & rest.wrapping_sub(1)))
            .take_while(|&rest| rest != 0)
            .map(move |rest| PieceIndex(at * 64 + rest.trailing_zeros()))
    })
}

/// Bytes that are not a set of pieces of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BitfieldError {
    /// The number of bytes doesn't fit the number of pieces.
    #[error("a bitfield of {found} B where the file's pieces take {expected} B")]
    Length {
        /// ⌈pieces ÷ 8⌉.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// A bit stands for a piece that doesn't exist.
    #[error("a bitfield names a piece beyond the last")]
    Tail,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rand::Rng;

    fn lengths(pieces: u64) -> Lengths {
        Lengths::new(pieces << 12, 12).unwrap()
    }

    fn random(lengths: &Lengths, rng: &mut Rng) -> Bitfield {
        let mut set = Bitfield::new(lengths);
        lengths.pieces().filter(|_| rng.chance(0.4)).for_each(|piece| assert!(set.set(piece)));
        set
    }

    #[test]
    fn a_set_behaves_as_the_standard_librarys() {
        use std::collections::BTreeSet;
        let mut rng = Rng::from_seed(1);
        for pieces in [1, 7, 8, 9, 63, 64, 65, 200] {
            let lengths = lengths(pieces);
            let (a, b) = (random(&lengths, &mut rng), random(&lengths, &mut rng));
            let all: BTreeSet<PieceIndex> = lengths.pieces().collect();
            let (set_a, set_b): (BTreeSet<_>, BTreeSet<_>) = (a.iter().collect(), b.iter().collect());
            assert!(all.iter().all(|piece| a.get(*piece) == set_a.contains(piece)));
            assert_eq!(a.count() as usize, set_a.len());
            assert!(a.iter_missing().eq(all.difference(&set_a).copied()));
            assert!(a.difference(&b).eq(set_a.difference(&set_b).copied()));
            assert_eq!(a.difference_count(&b) as usize, set_a.difference(&set_b).count());
            assert_eq!(a.is_subset(&b), set_a.is_subset(&set_b));
            assert!(a.is_subset(&Bitfield::full(&lengths)) && Bitfield::new(&lengths).is_subset(&a));
        }
    }

    #[test]
    fn adding_and_removing_keep_count() {
        let lengths = lengths(65);
        let mut set = Bitfield::new(&lengths);
        assert!(set.is_empty() && !set.is_complete());
        for piece in lengths.pieces() {
            assert!(set.set(piece) && !set.set(piece));
        }
        assert!(set.is_complete() && set.iter_missing().next().is_none());
        assert_eq!(set, Bitfield::full(&lengths));
        let last = lengths.piece(64).unwrap();
        assert!(set.clear(last) && !set.clear(last));
        assert_eq!((set.count(), set.get(last)), (64, false));
        assert!(set.iter_missing().eq([last]));
    }

    #[test]
    fn an_empty_file_is_complete_at_once() {
        let set = Bitfield::new(&lengths(0));
        assert!(set.is_complete() && set.is_empty() && set == Bitfield::full(&lengths(0)));
        assert_eq!(Bitfield::from_bytes(&lengths(0), &set.to_bytes()), Ok(set));
    }

    #[test]
    fn the_wire_form_comes_back() {
        let mut rng = Rng::from_seed(2);
        for pieces in 1..200 {
            let lengths = lengths(pieces);
            let set = random(&lengths, &mut rng);
            assert_eq!(Bitfield::from_bytes(&lengths, &set.to_bytes()), Ok(set));
        }
        let mut set = Bitfield::new(&lengths(11));
        for index in [0, 9] {
            set.set(lengths(11).piece(index).unwrap());
        }
        assert_eq!(set.to_bytes(), [0b0000_0001, 0b0000_0010]);
    }

    #[test]
    fn a_wrong_length_or_a_set_tail_is_refused() {
        for pieces in 1..130 {
            let lengths = lengths(pieces);
            let good = Bitfield::full(&lengths).to_bytes();
            let short = &good[..good.len() - 1];
            let long = [&good[..], &[0]].concat();
            for bad in [short, &long, &[]] {
                assert!(
                    matches!(Bitfield::from_bytes(&lengths, bad), Err(BitfieldError::Length { found, .. }) if found == bad.len())
                );
            }
            for bit in pieces % 8..if pieces % 8 == 0 { 0 } else { 8 } {
                let mut bad = good.clone();
                *bad.last_mut().unwrap() |= 1 << bit;
                assert_eq!(Bitfield::from_bytes(&lengths, &bad), Err(BitfieldError::Tail));
            }
        }
    }
}
