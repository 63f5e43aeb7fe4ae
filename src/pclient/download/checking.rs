//! What an earlier attempt may have left: held back from all asking until it has been verified, piece by piece.

use super::Blocks;
use crate::pclient::pieces::{Bitfield, PieceIndex};

impl Blocks {
    /// Holds back all that is untouched, as an earlier attempt may have left any of it.
    pub fn check_all(&mut self) {
        let none = Bitfield::new(&self.lengths);
        self.checking = Some(std::mem::replace(&mut self.untouched, none));
        self.end_if_checked();
    }

    /// Of what is held back, only `pieces` can be there.
    pub fn check_only(&mut self, pieces: &Bitfield) {
        let Some(checking) = &mut self.checking else { return };
        let mut rest = checking.clone();
        rest.remove(pieces);
        checking.keep(pieces);
        self.untouched.add(&rest);
        self.end_if_checked();
    }

    /// The next pieces to check: as many as have `most` B, or one.
    pub fn next_to_check(&self, most: u64) -> Vec<PieceIndex> {
        let count = (most / u64::from(self.lengths.full_piece_len())).max(1);
        self.checking.iter().flat_map(Bitfield::iter).take(count as usize).collect()
    }

    /// Whether an earlier attempt may have left something that hasn't been looked at.
    pub fn is_looking_back(&self) -> bool {
        self.checking.is_some()
    }

    pub(super) fn is_checking(&self, piece: PieceIndex) -> bool {
        self.checking.as_ref().is_some_and(|checking| checking.get(piece))
    }

    /// A piece that was held back, so that nobody was asked for it, is as it should be; or it is to be fetched like any other.
    pub fn on_checked(&mut self, piece: PieceIndex, is_there: bool) {
        if !self.checking.as_mut().is_some_and(|checking| checking.clear(piece)) {
            return;
        }
        let place = if is_there { &mut self.have } else { &mut self.untouched };
        place.set(piece);
        self.end_if_checked();
    }

    fn end_if_checked(&mut self) {
        self.checking.take_if(|checking| checking.is_empty());
    }
}
