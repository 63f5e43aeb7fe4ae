//! Where only part of a file is wanted: nothing else is asked for, and who has that part is done.

use super::blocks::Blocks;
use crate::pclient::pieces::Bitfield;

impl Blocks {
    /// Only `wanted` is to be had. To be called before anything is asked for.
    pub fn want_only(&mut self, wanted: Bitfield) {
        self.untouched.keep(&wanted);
        self.wanted = Some(wanted);
    }

    /// Whether all that is wanted is there.
    pub fn is_done(&self) -> bool {
        match &self.wanted {
            None => self.have.is_complete(),
            Some(wanted) => self.have.count() >= wanted.count(),
        }
    }

    /// How much is wanted, B.
    pub fn wanted_bytes(&self) -> u64 {
        let piece_len = |piece| u64::from(self.lengths.piece_len(piece));
        self.wanted.as_ref().map_or(self.lengths.size(), |wanted| wanted.iter().map(piece_len).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pclient::pieces::Lengths;

    #[test]
    fn what_is_not_wanted_is_not_missing() {
        let lengths = Lengths::new(10 * 4_096 + 1, 12).unwrap();
        let mut blocks = Blocks::new(lengths, Bitfield::new(&lengths));
        assert_eq!((blocks.missing().count(), blocks.wanted_bytes()), (11, 40_961));
        let mut wanted = Bitfield::new(&lengths);
        [2, 10].iter().for_each(|&index| _ = wanted.set(lengths.piece(index).unwrap()));
        blocks.want_only(wanted);
        assert_eq!((blocks.missing().count(), blocks.wanted_bytes()), (2, 4_097));
        assert!(!blocks.is_done());
        for index in [2, 10] {
            blocks.on_verified(lengths.piece(index).unwrap());
        }
        assert!(blocks.is_done() && blocks.missing().is_empty() && !blocks.have().is_complete());
    }
}
