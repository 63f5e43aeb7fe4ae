//! Which piece to ask a source for: rarest first, with random ties (Cohen 2003; Legout et al. 2006).
//!
//! A pure choice: what has been asked for already, and how much to ask for, is not its business.

use super::pieces::{Bitfield, PieceIndex};
use crate::rand::Rng;

/// The rarest piece of `offered` that `is_wanted`, one of them at random if several are equally rare.
///
/// `copies` counts, for each piece, the peers that have it.
pub fn rarest(
    offered: &Bitfield,
    copies: &[u32],
    rng: &mut Rng,
    mut is_wanted: impl FnMut(PieceIndex) -> bool,
) -> Option<PieceIndex> {
    let mut best = None;
    let mut rarity = u32::MAX;
    let mut ties = 0;
    for piece in offered.iter() {
        let count = copies[piece.as_usize()];
        if count > rarity || !is_wanted(piece) {
            continue;
        }
        if count < rarity {
            rarity = count;
            ties = 0;
        }
        ties += 1;
        // The n-th of equals replaces the choice with probability 1/n: each is equally likely in the end.
        if rng.below(ties) == 0 {
            best = Some(piece);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pclient::pieces::Lengths;

    #[test]
    fn takes_the_rarest_and_breaks_ties_evenly() {
        let lengths = Lengths::new(6 * 4_096, 12).unwrap();
        let mut offered = Bitfield::full(&lengths);
        offered.clear(lengths.piece(0).unwrap());
        let copies = [0, 3, 1, 1, 2, 1];
        let mut rng = Rng::from_seed(1);
        let mut chosen = [0; 6];
        for _ in 0..3_000 {
            let piece = rarest(&offered, &copies, &mut rng, |piece| piece.get() != 5).unwrap();
            chosen[piece.as_usize()] += 1;
        }
        assert_eq!((chosen[2] + chosen[3], chosen[5]), (3_000, 0));
        assert!((1_350..1_650).contains(&chosen[2]), "{chosen:?}");
        assert_eq!(rarest(&offered, &copies, &mut rng, |_| false), None);
    }
}
