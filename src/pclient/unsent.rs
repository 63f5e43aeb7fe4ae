//! The pieces that a source has never sent: drawn at random, in constant time.

use super::pieces::{Lengths, PieceIndex};
use crate::rand::Rng;

/// So many draws are tried before all are looked through.
const DRAWS: usize = 16;

/// A set of pieces with random choice.
///
/// Invariant: `place[p]` is where piece p stands in `pieces`, if it is in the set.
#[derive(Clone, Debug)]
pub(super) struct Unsent {
    pieces: Vec<PieceIndex>,
    place: Vec<Option<u32>>,
}

impl Unsent {
    /// All pieces.
    pub(super) fn all(lengths: &Lengths) -> Unsent {
        let pieces: Vec<PieceIndex> = lengths.pieces().collect();
        let place = (0..lengths.piece_count()).map(Some).collect();
        Unsent { pieces, place }
    }

    /// One of the pieces that suit, at random: evenly, if most of the set suits.
    pub(super) fn draw(&self, rng: &mut Rng, suits: impl Fn(PieceIndex) -> bool) -> Option<PieceIndex> {
        if self.pieces.is_empty() {
            return None;
        }
        let drawn = (0..DRAWS).map(|_| self.pieces[rng.index(self.pieces.len())]).find(|&piece| suits(piece));
        drawn.or_else(|| {
            let (before, after) = self.pieces.split_at(rng.index(self.pieces.len()));
            after.iter().chain(before).copied().find(|&piece| suits(piece))
        })
    }

    /// The piece has been sent.
    pub(super) fn remove(&mut self, piece: PieceIndex) {
        let Some(place) = self.place[piece.as_usize()].take() else { return };
        self.pieces.swap_remove(place as usize);
        if let Some(moved) = self.pieces.get(place as usize) {
            self.place[moved.as_usize()] = Some(place);
        }
    }

    /// The piece has to be sent after all.
    pub(super) fn insert(&mut self, piece: PieceIndex) {
        let place = &mut self.place[piece.as_usize()];
        if place.is_none() {
            *place = Some(self.pieces.len() as u32);
            self.pieces.push(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_evenly_and_finds_the_last_that_suits() {
        let lengths = Lengths::new(100 * 4_096, 12).unwrap();
        let mut unsent = Unsent::all(&lengths);
        let mut rng = Rng::from_seed(1);
        let mut counts = [0; 100];
        for _ in 0..10_000 {
            counts[unsent.draw(&mut rng, |_| true).unwrap().as_usize()] += 1;
        }
        assert!(counts.iter().all(|count| (60..150).contains(count)), "{counts:?}");
        for _ in 0..100 {
            assert_eq!(unsent.draw(&mut rng, |piece| piece.get() == 77).unwrap().get(), 77);
        }
        for piece in lengths.pieces().filter(|piece| piece.get() != 5) {
            unsent.remove(piece);
            unsent.remove(piece);
        }
        assert_eq!(unsent.draw(&mut rng, |_| true).unwrap().get(), 5);
        unsent.remove(lengths.piece(5).unwrap());
        assert_eq!(unsent.draw(&mut rng, |_| true), None);
        unsent.insert(lengths.piece(9).unwrap());
        unsent.insert(lengths.piece(9).unwrap());
        assert_eq!(unsent.pieces.len(), 1);
    }
}
