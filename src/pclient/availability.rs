//! How many peers of a swarm have each piece, and which pieces nobody relays yet.
//!
//! Counts what peers have announced; what is under way to whom is the business of [`super::upload`], what is missing
//! here that of [`super::download`].

use super::peer::{Announced, Peer};
use super::pieces::{Bitfield, Lengths, PieceIndex};

/// The spread of a file among the peers of this node.
#[derive(Debug)]
pub struct Availability {
    lengths: Lengths,
    /// For each piece, how many peers have it, and how many of those began without the whole file.
    copies: Vec<u32>,
    relays: Vec<u32>,
    /// The pieces with no relay: only origins have them, or nobody.
    unspread: Bitfield,
    /// At n, the pieces of which there are n copies.
    by_copies: Vec<Bitfield>,
}

impl Availability {
    /// No peers yet.
    pub fn new(lengths: Lengths) -> Availability {
        let count = lengths.piece_count() as usize;
        Availability {
            lengths,
            copies: vec![0; count],
            relays: vec![0; count],
            unspread: Bitfield::full(&lengths),
            by_copies: vec![Bitfield::full(&lengths)],
        }
    }

    /// The pieces that no relay has.
    pub fn unspread(&self) -> &Bitfield {
        &self.unspread
    }

    /// The pieces by rarity: those that no peer has, those with one copy, with two, and so on.
    pub fn by_rarity(&self) -> impl Iterator<Item = &Bitfield> {
        self.by_copies.iter()
    }

    /// A peer has announced a piece.
    pub fn count(&mut self, peer: &Peer, piece: PieceIndex) {
        let copies = &mut self.copies[piece.as_usize()];
        *copies += 1;
        let (now, before) = (*copies as usize, *copies as usize - 1);
        self.regroup(piece, before, now);
        if !peer.began_complete {
            self.relays[piece.as_usize()] += 1;
            self.unspread.clear(piece);
        }
    }

    /// A peer that has announced a piece is gone, or doesn't have it after all.
    pub fn discount(&mut self, peer: &Peer, piece: PieceIndex) {
        let copies = &mut self.copies[piece.as_usize()];
        *copies -= 1;
        let (now, before) = (*copies as usize, *copies as usize + 1);
        self.regroup(piece, before, now);
        if !peer.began_complete {
            let relays = &mut self.relays[piece.as_usize()];
            *relays -= 1;
            if *relays == 0 {
                self.unspread.set(piece);
            }
        }
    }

    /// Counts all that a newcomer has announced.
    pub fn count_peer(&mut self, peer: &Peer) {
        if let Announced::Known(pieces) = &peer.pieces {
            pieces.iter().for_each(|piece| self.count(peer, piece));
        }
    }

    /// Discounts all that a peer that leaves has announced.
    pub fn discount_peer(&mut self, peer: &Peer) {
        if let Announced::Known(pieces) = &peer.pieces {
            pieces.iter().for_each(|piece| self.discount(peer, piece));
        }
    }

    fn regroup(&mut self, piece: PieceIndex, before: usize, now: usize) {
        if now == self.by_copies.len() {
            self.by_copies.push(Bitfield::new(&self.lengths));
        }
        self.by_copies[before].clear(piece);
        self.by_copies[now].set(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;

    #[test]
    fn counts_copies_and_relays_and_forgets_who_leaves() {
        let lengths = Lengths::new(3 * 4_096, 12).unwrap();
        let peer = |pieces: &[u64], began_complete| {
            let mut peer = Peer::new("10.0.0.1:1".parse().unwrap(), 1, Instant::ORIGIN);
            let mut have = Bitfield::new(&lengths);
            pieces.iter().for_each(|&piece| assert!(have.set(lengths.piece(piece).unwrap())));
            peer.pieces = Announced::Known(have);
            peer.began_complete = began_complete;
            peer
        };
        let numbers = |set: &Bitfield| set.iter().map(PieceIndex::get).collect::<Vec<_>>();
        let (origin, relay) = (peer(&[0, 1, 2], true), peer(&[1], false));
        let mut availability = Availability::new(lengths);
        availability.count_peer(&origin);
        assert_eq!(numbers(availability.unspread()), [0, 1, 2]);
        availability.count_peer(&relay);
        assert_eq!(numbers(availability.unspread()), [0, 2]);
        let groups: Vec<_> = availability.by_rarity().map(numbers).collect();
        assert_eq!(groups, [vec![], vec![0, 2], vec![1]]);
        availability.discount_peer(&relay);
        assert_eq!(numbers(availability.unspread()), [0, 1, 2]);
        availability.discount_peer(&origin);
        assert_eq!(numbers(availability.by_rarity().next().unwrap()), [0, 1, 2]);
    }
}
