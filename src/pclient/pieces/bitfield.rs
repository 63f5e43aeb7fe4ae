//! A set of pieces of one file, as a bit for each. No opinion about which to fetch.

use super::{Lengths, PieceIndex};
use crate::rand::Rng;

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

    /// Removes all that `other` lacks.
    pub fn keep(&mut self, other: &Bitfield) {
        self.combine(other, |here, there| here & there);
    }

    /// Removes all that `other` has.
    pub fn remove(&mut self, other: &Bitfield) {
        self.combine(other, |here, there| here & !there);
    }

    /// Adds all that `other` has.
    pub fn add(&mut self, other: &Bitfield) {
        self.combine(other, |here, there| here | there);
    }

    /// Whether some piece is in both sets.
    pub fn meets(&self, other: &Bitfield) -> bool {
        assert_eq!(self.len, other.len, "the sets belong to different files");
        self.words.iter().zip(&other.words).any(|(here, there)| here & there != 0)
    }

    /// Whether fewer than `count` pieces are in both sets.
    pub fn meets_in_fewer_than(&self, other: &Bitfield, count: u32) -> bool {
        assert_eq!(self.len, other.len, "the sets belong to different files");
        let mut room = count;
        self.words.iter().zip(&other.words).all(|(here, there)| {
            room = room.saturating_sub((here & there).count_ones());
            room > 0
        })
    }

    /// One of the pieces in the set, each as likely as another; `None` of the empty set.
    pub fn draw(&self, rng: &mut Rng) -> Option<PieceIndex> {
        if self.is_empty() {
            return None;
        }
        let mut rank = rng.below(self.count.into()) as u32;
        for (at, &word) in self.words.iter().enumerate() {
            let here = word.count_ones();
            if rank < here {
                return ones(std::iter::once(word))
                    .nth(rank as usize)
                    .map(|piece| PieceIndex(at as u32 * 64 + piece.0));
            }
            rank -= here;
        }
        unreachable!("`count` is the number of ones")
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

    fn combine(&mut self, other: &Bitfield, op: impl Fn(u64, u64) -> u64) {
        assert_eq!(self.len, other.len, "the sets belong to different files");
        self.count = 0;
        for (here, &there) in self.words.iter_mut().zip(&other.words) {
            *here = op(*here, there);
            self.count += here.count_ones();
        }
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
            let (set_a, set_b): (BTreeSet<_>, BTreeSet<_>) = (a.iter().collect(), b.iter().collect());
            assert!(lengths.pieces().all(|piece| a.get(piece) == set_a.contains(&piece)));
            assert_eq!(a.count() as usize, set_a.len());
            type Operation = fn(&mut Bitfield, &Bitfield);
            let operations: [(Operation, Vec<PieceIndex>); 3] = [
                (Bitfield::keep, set_a.intersection(&set_b).copied().collect()),
                (Bitfield::remove, set_a.difference(&set_b).copied().collect()),
                (Bitfield::add, set_a.union(&set_b).copied().collect()),
            ];
            for (operation, expected) in operations {
                let mut set = a.clone();
                operation(&mut set, &b);
                assert!(set.iter().eq(expected.iter().copied()));
                assert_eq!(set.count() as usize, expected.len());
            }
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
        assert!(set.is_complete());
        assert_eq!(set, Bitfield::full(&lengths));
        let last = lengths.piece(64).unwrap();
        assert!(set.clear(last) && !set.clear(last));
        assert_eq!((set.count(), set.get(last)), (64, false));
    }

    #[test]
    fn what_two_sets_share_is_counted() {
        let lengths = lengths(200);
        let (mut here, mut there) = (Bitfield::new(&lengths), Bitfield::full(&lengths));
        assert!(here.meets_in_fewer_than(&there, 1) && !here.meets_in_fewer_than(&there, 0));
        for index in [0, 63, 64, 130, 199] {
            here.set(lengths.piece(index).unwrap());
        }
        assert!(here.meets_in_fewer_than(&there, 6) && !here.meets_in_fewer_than(&there, 5));
        there.clear(lengths.piece(130).unwrap());
        assert!(here.meets_in_fewer_than(&there, 5) && !there.meets_in_fewer_than(&here, 4));
    }

    #[test]
    fn draws_are_even() {
        let lengths = lengths(200);
        let (mut set, mut rng) = (Bitfield::new(&lengths), Rng::from_seed(3));
        assert_eq!(set.draw(&mut rng), None);
        for index in [0, 63, 64, 130, 199] {
            set.set(lengths.piece(index).unwrap());
        }
        let mut counts = [0; 200];
        (0..5_000).for_each(|_| counts[set.draw(&mut rng).unwrap().as_usize()] += 1);
        assert!(set.iter().all(|piece| (850..1_150).contains(&counts[piece.as_usize()])), "{counts:?}");
        assert_eq!(counts.iter().sum::<i32>(), set.iter().map(|piece| counts[piece.as_usize()]).sum());
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
