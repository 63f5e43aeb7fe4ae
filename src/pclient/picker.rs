//! Which piece to ask a source for: rarest first, with random ties (Cohen 2003; Legout et al. 2006).
//!
//! A pure choice: what has been asked for already, and how much to ask for, is not its business.

use super::availability::Availability;
use super::pieces::{Bitfield, PieceIndex};
use crate::rand::Rng;

/// The rarest of the `wanted` pieces, one of them at random if several are equally rare.
pub fn rarest(wanted: &Bitfield, availability: &Availability, rng: &mut Rng) -> Option<PieceIndex> {
    if wanted.is_empty() {
        return None;
    }
    availability.by_rarity().filter(|group| !group.is_empty()).find_map(|group| {
        let mut ties = group.clone();
        ties.keep(wanted);
        ties.draw(rng)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pclient::peer::Peer;
    use crate::pclient::pieces::Lengths;
    use crate::time::Instant;

    #[test]
    fn takes_the_rarest_and_breaks_ties_evenly() {
        let lengths = Lengths::new(6 * 4_096, 12).unwrap();
        let piece = |index| lengths.piece(index).unwrap();
        let peer = Peer::new("10.0.0.1:1".parse().unwrap(), 1, Instant::ORIGIN);
        let mut availability = Availability::new(lengths);
        for (index, copies) in [0, 3, 1, 1, 2, 1].into_iter().enumerate() {
            (0..copies).for_each(|_| availability.count(&peer, piece(index as u64)));
        }
        let mut wanted = Bitfield::full(&lengths);
        for index in [0, 5] {
            wanted.clear(piece(index));
        }
        let mut rng = Rng::from_seed(1);
        let mut chosen = [0; 6];
        for _ in 0..3_000 {
            chosen[rarest(&wanted, &availability, &mut rng).unwrap().as_usize()] += 1;
        }
        assert_eq!((chosen[2] + chosen[3], chosen[5]), (3_000, 0));
        assert!((1_350..1_650).contains(&chosen[2]), "{chosen:?}");
        assert_eq!(rarest(&Bitfield::new(&lengths), &availability, &mut rng), None);
    }
}
