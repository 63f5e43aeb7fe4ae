//! Pieces that are being served, each read and verified as a whole before its first byte leaves.
//!
//! A file that lies on a disk can change under us: the user edits it, or the disk forgets. What was true when it was hashed is
//! no reason to send it now. Keeps pieces, and reads none; storage that nobody else can change needs no shelf.

use super::pieces::PieceIndex;

/// As many pieces stay that nobody is served at the moment: often the next one wants the same.
const MAX_IDLE: usize = 2;

/// Verified pieces, oldest first: few, as a piece goes to one peer at a time.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    pieces: Vec<(PieceIndex, Vec<u8>)>,
}

impl Shelf {
    /// The content of `piece`, if it is here.
    pub(super) fn get(&self, piece: PieceIndex) -> Option<&[u8]> {
        self.pieces.iter().find(|(kept, _)| *kept == piece).map(|(_, data)| &data[..])
    }

    /// Room for a piece of `len` B: that of one which `is_served` to nobody, if enough of those are kept.
    pub(super) fn take_room(&mut self, len: usize, is_served: impl Fn(PieceIndex) -> bool) -> Vec<u8> {
        let mut room = Vec::new();
        let mut idle = self.pieces.iter().filter(|(piece, _)| !is_served(*piece)).count();
        self.pieces.retain_mut(|(piece, data)| {
            let goes = idle > MAX_IDLE && !is_served(*piece);
            if goes {
                idle -= 1;
                room = std::mem::take(data);
            }
            !goes
        });
        room.resize(len, 0);
        room
    }

    /// Keeps a piece that has been verified.
    pub(super) fn put(&mut self, piece: PieceIndex, data: Vec<u8>) {
        self.pieces.retain(|(kept, _)| *kept != piece);
        self.pieces.push((piece, data));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pclient::pieces::Lengths;

    #[test]
    fn what_is_served_stays_and_of_the_rest_the_newest() {
        let lengths = Lengths::new(10 << 12, 12).unwrap();
        let piece = |index| lengths.piece(index).unwrap();
        let mut shelf = Shelf::default();
        for index in 0..5 {
            shelf.put(piece(index), vec![index as u8; 4_096]);
        }
        let room = shelf.take_room(100, |served| served == piece(0));
        assert_eq!(room.len(), 100);
        let kept: Vec<bool> = (0..5).map(|index| shelf.get(piece(index)).is_some()).collect();
        assert_eq!(kept, [true, false, false, true, true]);
        assert_eq!(shelf.get(piece(4)), Some(&[4; 4_096][..]));
        shelf.put(piece(4), vec![9; 4_096]);
        assert_eq!(shelf.get(piece(4)), Some(&[9; 4_096][..]));
        assert_eq!(shelf.pieces.len(), 3);
    }
}
