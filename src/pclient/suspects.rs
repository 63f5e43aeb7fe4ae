//! Who is to blame for a piece that several peers gave and that doesn't verify.
//!
//! A piece is verified as a whole: of several givers none is proved a liar by its failure. So what each gave is remembered, and
//! when the piece has come from one peer alone, and is true, whoever's block differs from it has lied. Bans nobody, and keeps
//! hashes only, of so few blocks that a liar can't fill the memory.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::pieces::PieceIndex;

/// Of spoiled pieces so many blocks are remembered at most: 1 MB. The oldest piece is forgotten first, and with it perhaps the only
/// one that tells of a liar; so there is room for far more than are fetched anew at a time.
const MAX_BLOCKS: usize = 16_384;

/// What a block hashes to.
pub(super) type BlockHash = [u8; 32];

/// A piece that didn't verify.
#[derive(Debug)]
struct Spoiled {
    piece: PieceIndex,
    /// Of each block, who gave it and what it was.
    blocks: Vec<(SocketAddr, BlockHash)>,
}

/// The spoiled pieces of one file, of several givers each.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    spoiled: VecDeque<Spoiled>,
    /// How many blocks those have together.
    blocks: usize,
}

/// What the blocks of a piece, of `block_len` B each, hash to, each by itself.
pub(super) fn block_hashes(data: &[u8], block_len: u32) -> Vec<BlockHash> {
    data.chunks(block_len as usize).map(|block| *blake3::hash(block).as_bytes()).collect()
}

impl Suspects {
    /// `piece` didn't verify; its blocks, of these hashes, came from these addresses.
    pub(super) fn note(&mut self, piece: PieceIndex, hashes: &[BlockHash], givers: &[SocketAddr]) {
        let blocks: Vec<_> = givers.iter().copied().zip(hashes.iter().copied()).collect();
        self.blocks += blocks.len();
        self.spoiled.push_back(Spoiled { piece, blocks });
        while self.blocks > MAX_BLOCKS
            && let Some(oldest) = self.spoiled.pop_front()
        {
            self.blocks -= oldest.blocks.len();
        }
    }

    /// Whether somebody is suspected of having spoiled `piece`.
    pub(super) fn holds(&self, piece: PieceIndex) -> bool {
        self.spoiled.iter().any(|spoiled| spoiled.piece == piece)
    }

    /// `piece` has verified, and its blocks have these hashes. Gives who lied, each once, and forgets the piece.
    pub(super) fn convict(&mut self, piece: PieceIndex, hashes: &[BlockHash]) -> Vec<SocketAddr> {
        let of_piece = self.spoiled.iter().filter(|spoiled| spoiled.piece == piece);
        let blocks = of_piece.flat_map(|spoiled| spoiled.blocks.iter().zip(hashes));
        let mut liars: Vec<SocketAddr> =
            blocks.filter(|((_, given), truth)| given != *truth).map(|((giver, _), _)| *giver).collect();
        liars.sort_unstable();
        liars.dedup();
        self.spoiled.retain(|spoiled| spoiled.piece != piece);
        self.blocks = self.spoiled.iter().map(|spoiled| spoiled.blocks.len()).sum();
        liars
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pclient::pieces::Lengths;

    fn givers(ports: &[u16]) -> Vec<SocketAddr> {
        ports.iter().map(|&port| ([10, 0, 0, 1], port).into()).collect()
    }

    fn content(false_blocks: &[usize]) -> Vec<BlockHash> {
        let mut data = vec![7; 4 << 10];
        false_blocks.iter().for_each(|&block| data[block << 10] ^= 1);
        block_hashes(&data, 1 << 10)
    }

    #[test]
    fn who_gave_a_false_block_is_found_and_nobody_else() {
        let lengths = Lengths::new(1 << 20, 16).unwrap();
        let [piece, other] = [3, 4].map(|index| lengths.piece(index).unwrap());
        let mut suspects = Suspects::default();
        suspects.note(piece, &content(&[1]), &givers(&[1, 2, 1, 3]));
        suspects.note(other, &content(&[0]), &givers(&[3, 1, 1, 1]));
        suspects.note(piece, &content(&[0, 3]), &givers(&[4, 3, 3, 4]));
        assert!(suspects.holds(piece));
        assert_eq!(suspects.convict(piece, &content(&[])), givers(&[2, 4]));
        assert!(!suspects.holds(piece) && suspects.holds(other));
        assert_eq!(suspects.convict(piece, &content(&[])), []);
    }

    #[test]
    fn only_so_many_blocks_are_remembered() {
        let lengths = Lengths::new(1 << 29, 16).unwrap();
        let (mut suspects, hashes) = (Suspects::default(), content(&[0]));
        let most = MAX_BLOCKS / hashes.len();
        for piece in lengths.pieces().take(most + 1) {
            suspects.note(piece, &hashes, &givers(&[1, 2, 2, 2]));
        }
        assert_eq!(suspects.spoiled.len(), most);
        let [first, second] = [0, 1].map(|index| lengths.piece(index).unwrap());
        assert!(!suspects.holds(first) && suspects.holds(second));
        assert_eq!(suspects.convict(second, &content(&[])), givers(&[1]));
        suspects.note(first, &hashes, &givers(&[1, 2, 2, 2]));
        assert_eq!(suspects.spoiled.len(), most, "who was convicted has made room");
    }
}
