//! Where each piece and each block of a download stands: missing, under way, here, or being stored.
//!
//! Knows how many requests a block is under way in, not whose they are, nor whom to ask.
//!
//! Invariant: a piece is had, or being stored, or partial, or untouched, or an earlier attempt may have left it and it is being
//! checked. Each block of a partial piece has arrived, or is under way in
//! as many requests as its count says, or is free.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::{Arrival, WholePiece};
use crate::pclient::peer::Target;
use crate::pclient::pieces::{Bitfield, Lengths, PieceIndex};
use crate::small::SmallMap;

/// Room for so many pieces is kept for the next ones.
const MAX_SPARE: usize = 8;
/// Most that may wait to be stored, B, unless that is less than two pieces.
const MAX_STORING: u64 = 12 << 20;
const MIN_STORING: usize = 2;

#[derive(Debug)]
struct Partial {
    /// Empty before the first block has come: most of what is asked for waits for a turn far away.
    data: Vec<u8>,
    blocks: Vec<Block>,
    /// Who sent those that have arrived: the address, as the connection may be gone before the piece is verified.
    givers: Vec<Option<SocketAddr>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    /// Under way in this many requests; 0 is free.
    Asked(u32),
    Arrived,
}

const FREE: Block = Block::Asked(0);

/// The pieces and blocks of one file.
#[derive(Debug)]
pub struct Blocks {
    pub(super) lengths: Lengths,
    pub(super) have: Bitfield,
    /// What is to be had in the end; `None` if that is all.
    pub(super) wanted: Option<Bitfield>,
    partial: SmallMap<PieceIndex, Partial>,
    /// Which those are.
    begun: Bitfield,
    /// The partial pieces with free blocks.
    open: BTreeSet<PieceIndex>,
    /// Pieces that are whole and being verified and stored.
    storing: BTreeSet<PieceIndex>,
    /// Pieces that several have spoiled: one peer alone has to give all of it, so that it answers for it.
    alone: BTreeSet<PieceIndex>,
    /// Room for pieces to come.
    spare: Vec<Vec<u8>>,
    pub(super) untouched: Bitfield,
    /// What an earlier attempt may have left; `None` once all of that has been looked at.
    pub(super) checking: Option<Bitfield>,
}

impl Blocks {
    /// The blocks of a file of which `have` is there already.
    pub(super) fn new(lengths: Lengths, have: Bitfield) -> Blocks {
        let mut untouched = Bitfield::full(&lengths);
        untouched.remove(&have);
        Blocks {
            lengths,
            have,
            wanted: None,
            partial: SmallMap::new(),
            begun: Bitfield::new(&lengths),
            open: BTreeSet::new(),
            storing: BTreeSet::new(),
            alone: BTreeSet::new(),
            spare: Vec::new(),
            untouched,
            checking: None,
        }
    }

    /// Which pieces are there.
    pub fn have(&self) -> &Bitfield {
        &self.have
    }

    /// Which pieces that are wanted have not arrived as a whole.
    pub fn missing(&self) -> Bitfield {
        let mut missing = self.wanted.clone().unwrap_or_else(|| Bitfield::full(&self.lengths));
        missing.remove(&self.have);
        self.storing.iter().for_each(|&piece| _ = missing.clear(piece));
        if let Some(checking) = &self.checking {
            missing.remove(checking);
        }
        missing
    }

    /// Whether nothing is known to be here of a piece as a whole.
    pub(super) fn lacks(&self, piece: PieceIndex) -> bool {
        !self.have.get(piece) && !self.storing.contains(&piece) && !self.is_checking(piece)
    }

    /// Which pieces are partial.
    pub(super) fn begun(&self) -> &Bitfield {
        debug_assert!(self.partial.keys().copied().eq(self.begun.iter()), "`begun` isn't what is partial");
        &self.begun
    }

    /// Whether all that will ever be asked for has been.
    pub(super) fn are_all_asked_for(&self) -> bool {
        self.untouched.is_empty() && self.checking.is_none()
    }

    /// Whether there is no block to ask for at present.
    pub(super) fn has_nothing_to_ask(&self) -> bool {
        self.is_held_up() || (self.open.is_empty() && self.untouched.is_empty())
    }

    /// Whether so much waits to be stored that no more is asked for: a slow disk must not fill the memory.
    pub fn is_held_up(&self) -> bool {
        self.storing_bytes() >= MAX_STORING && self.storing.len() >= MIN_STORING
    }

    /// What waits to be stored, B.
    pub(super) fn storing_bytes(&self) -> u64 {
        self.storing.len() as u64 * u64::from(self.lengths.full_piece_len())
    }

    /// Takes back the room of a piece that has been stored.
    pub fn recycle(&mut self, data: Vec<u8>) {
        if self.spare.len() < MAX_SPARE {
            self.spare.push(data);
        }
    }

    /// The first free blocks of a partial piece that somebody who has `offered` can give.
    pub(super) fn rest_of(&self, offered: &Bitfield) -> Option<Target> {
        let is_open_to_it = |piece: &&PieceIndex| offered.get(**piece) && !self.alone.contains(piece);
        let &piece = self.open.iter().find(is_open_to_it)?;
        let blocks = &self.partial[&piece].blocks;
        let first = blocks.iter().position(|&block| block == FREE).expect("an open piece has free blocks");
        let free = blocks[first..].iter().take_while(|&&block| block == FREE).count();
        Some(Target { piece, blocks: first as u32..(first + free) as u32 })
    }

    /// All blocks of a piece.
    pub(super) fn whole(&self, piece: PieceIndex) -> Target {
        Target { piece, blocks: 0..self.lengths.block_count(piece) }
    }

    /// How long all blocks of `target` are, B.
    pub(super) fn len_of(&self, target: &Target) -> u64 {
        let range = self.lengths.block_range(target.piece, &target.blocks);
        range.end - range.start
    }

    /// The first blocks of `target` that haven't arrived and are under way in no more requests than `most`.
    pub(super) fn rare_part(&self, target: &Target, most: u32) -> Option<Target> {
        let states = &self.partial.get(&target.piece)?.blocks;
        let is_rare =
            |block: &u32| matches!(states[*block as usize], Block::Asked(requests) if requests <= most);
        let start = target.blocks.clone().find(is_rare)?;
        let count = (start..target.blocks.end).take_while(is_rare).count();
        Some(Target { piece: target.piece, blocks: start..start + count as u32 })
    }

    /// Whether any of a piece has come or is under way.
    pub fn is_coming(&self, piece: PieceIndex) -> bool {
        !self.lacks(piece) || self.begun.get(piece)
    }

    /// Whether all of a piece is here but `target`.
    pub(super) fn is_rest(&self, target: &Target) -> bool {
        let is_here =
            |(block, state): (u32, &Block)| *state == Block::Arrived || target.blocks.contains(&block);
        self.partial.get(&target.piece).is_some_and(|partial| (0..).zip(&partial.blocks).all(is_here))
    }

    /// Marks blocks as under way once more, and counts their bytes.
    pub(super) fn mark(&mut self, target: &Target) -> u64 {
        let lengths = self.lengths;
        self.untouched.clear(target.piece);
        self.begun.set(target.piece);
        let partial = self.partial.get_or_insert_with(target.piece, || Partial::new(&lengths, target.piece));
        for block in &mut partial.blocks[target.blocks.start as usize..target.blocks.end as usize] {
            if let Block::Asked(requests) = block {
                *requests += 1;
            }
        }
        self.note_free_blocks(target.piece);
        self.len_of(target)
    }

    /// Takes blocks back. A piece of which nothing has arrived nor is under way is untouched again, and so is one that needs a single
    /// giver when nothing of it is under way.
    pub(super) fn release(&mut self, target: &Target) {
        let Some(partial) = self.partial.get_mut(&target.piece) else { return };
        for block in &mut partial.blocks[target.blocks.start as usize..target.blocks.end as usize] {
            if let Block::Asked(requests) = block {
                *requests = requests.saturating_sub(1);
            }
        }
        let may_keep = !self.alone.contains(&target.piece);
        if partial.blocks.iter().all(|&block| block == FREE || (block == Block::Arrived && !may_keep)) {
            self.partial.remove(&target.piece);
            self.begun.clear(target.piece);
            self.untouched.set(target.piece);
        }
        self.note_free_blocks(target.piece);
    }

    fn note_free_blocks(&mut self, piece: PieceIndex) {
        if self.partial.get(&piece).is_some_and(|partial| partial.blocks.contains(&FREE)) {
            self.open.insert(piece);
        } else {
            self.open.remove(&piece);
        }
    }

    /// Which blocks `len` B from `block` on are; `None` if they can't be part of the file.
    pub(super) fn locate(&self, piece: u64, block: u64, len: usize) -> Option<Target> {
        let (piece, start) = (self.lengths.piece(piece)?, u32::try_from(block).ok()?);
        let count = u32::try_from(len).ok()?.div_ceil(self.lengths.block_len());
        let target = Target { piece, blocks: start..start.checked_add(count)? };
        let is_there =
            target.blocks.end <= self.lengths.block_count(piece) && self.len_of(&target) == len as u64;
        (is_there && len > 0).then_some(target)
    }

    /// Takes in a block that `giver` was asked for. Of a piece that is had, or that was given up meanwhile, it is a duplicate.
    pub(super) fn put(&mut self, piece: PieceIndex, block: u32, giver: SocketAddr, data: &[u8]) -> Arrival {
        let Some(partial) = self.partial.get_mut(&piece) else { return Arrival::Duplicate };
        if partial.blocks[block as usize] == Block::Arrived {
            return Arrival::Duplicate;
        }
        if self.alone.contains(&piece) && partial.givers.iter().flatten().any(|&other| other != giver) {
            self.release(&Target { piece, blocks: block..block + 1 });
            return Arrival::Duplicate;
        }
        let was_free = partial.blocks[block as usize] == FREE;
        partial.blocks[block as usize] = Block::Arrived;
        if partial.data.is_empty() {
            // Room that is spare, whose content doesn't matter.
            partial.data = self.spare.pop().unwrap_or_default();
            partial.data.resize(self.lengths.piece_len(piece) as usize, 0);
        }
        let offset = (block * self.lengths.block_len()) as usize;
        partial.data[offset..offset + data.len()].copy_from_slice(data);
        partial.givers[block as usize] = Some(giver);
        let is_whole = partial.blocks.iter().all(|&block| block == Block::Arrived);
        if was_free {
            self.note_free_blocks(piece);
        }
        if !is_whole {
            return Arrival::Partial;
        }
        let partial = self.partial.remove(&piece).expect("just seen");
        self.begun.clear(piece);
        self.storing.insert(piece);
        let givers = partial.givers.into_iter().flatten().collect();
        Arrival::Whole(WholePiece { piece, data: partial.data, givers })
    }

    /// The same for a block that `giver` was asked for once, though it was taken back. Where one peer alone has to give all of the
    /// piece, it isn't this one any more.
    pub(super) fn put_late(
        &mut self,
        piece: PieceIndex,
        block: u32,
        giver: SocketAddr,
        data: &[u8],
    ) -> Arrival {
        if self.alone.contains(&piece) {
            return Arrival::Duplicate;
        }
        if self.untouched.get(piece) {
            self.mark(&Target { piece, blocks: 0..0 });
        }
        self.put(piece, block, giver, data)
    }

    /// From now on one peer alone has to give all of `piece`.
    pub fn fetch_alone(&mut self, piece: PieceIndex) {
        self.alone.insert(piece);
    }

    /// Whether one peer alone has to give all of `piece`.
    pub(super) fn needs_one_giver(&self, piece: PieceIndex) -> bool {
        self.alone.contains(&piece)
    }

    /// A whole piece proved right and is stored.
    pub(super) fn on_verified(&mut self, piece: PieceIndex) {
        self.have.set(piece);
        self.alone.remove(&piece);
    }

    /// Forgets what has arrived of a piece.
    pub(super) fn forget(&mut self, piece: PieceIndex) {
        self.partial.remove(&piece);
        self.begun.clear(piece);
        self.open.remove(&piece);
        self.storing.remove(&piece);
        if !self.have.get(piece) {
            self.untouched.set(piece);
        }
    }
}

impl Partial {
    fn new(lengths: &Lengths, piece: PieceIndex) -> Partial {
        let blocks = vec![FREE; lengths.block_count(piece) as usize];
        let givers = vec![None; blocks.len()];
        Partial { data: Vec::new(), blocks, givers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rand::Rng;

    const PIECES: u64 = 3;
    const PER_PIECE: u64 = 4;

    /// A file of which each piece has [`PER_PIECE`] blocks of so many B.
    const LOG2: u8 = 12;
    const LEN: usize = 1 << 10;

    /// Each piece is in exactly one state, and the shortcuts say what the pieces say.
    fn check(blocks: &Blocks) {
        for piece in blocks.lengths.pieces() {
            let states = [
                blocks.have.get(piece),
                blocks.storing.contains(&piece),
                blocks.partial.contains_key(&piece),
                blocks.untouched.get(piece),
            ];
            assert_eq!(states.iter().filter(|&&state| state).count(), 1, "{piece:?}: {states:?}");
            let partial = blocks.partial.get(&piece);
            assert_eq!(blocks.begun().get(piece), partial.is_some());
            assert_eq!(
                blocks.open.contains(&piece),
                partial.is_some_and(|partial| partial.blocks.contains(&FREE))
            );
        }
    }

    #[test]
    fn a_piece_is_in_one_state_whatever_happens() {
        let lengths = Lengths::new(PIECES << LOG2, LOG2).unwrap();
        let mut rng = Rng::from_seed(3);
        let givers = ["10.0.0.1:1", "10.0.0.2:1"].map(|giver| giver.parse().unwrap());
        let mut stored = 0;
        for _ in 0..200 {
            let mut blocks = Blocks::new(lengths, Bitfield::new(&lengths));
            let mut under_way: Vec<Target> = Vec::new();
            for _ in 0..100 {
                let piece = lengths.piece(rng.below(PIECES)).unwrap();
                match rng.below(10) {
                    0 => blocks.forget(piece),
                    1 => {
                        blocks.forget(piece);
                        blocks.fetch_alone(piece);
                    }
                    2..5 if blocks.lacks(piece) => {
                        let target = blocks.whole(piece);
                        let target = blocks.rest_of(&Bitfield::full(&lengths)).unwrap_or(target);
                        assert_eq!(blocks.mark(&target), blocks.len_of(&target));
                        under_way.push(target);
                    }
                    5 if !under_way.is_empty() => {
                        blocks.release(&under_way.swap_remove(rng.below(under_way.len() as u64) as usize));
                    }
                    _ => {
                        let (block, giver) = (rng.below(PER_PIECE) as u32, givers[rng.below(2) as usize]);
                        let put = if rng.chance(0.5) { Blocks::put } else { Blocks::put_late };
                        if let Arrival::Whole(WholePiece { givers, .. }) =
                            put(&mut blocks, piece, block, giver, &[0; LEN])
                        {
                            assert!(!blocks.needs_one_giver(piece) || givers.iter().all(|of| *of == giver));
                            check(&blocks);
                            blocks.on_verified(piece);
                            blocks.forget(piece);
                            stored += 1;
                        }
                    }
                }
                check(&blocks);
            }
        }
        assert!(stored > 50, "{stored} pieces were stored");
    }

    #[test]
    fn what_comes_is_so_many_blocks_of_one_piece_or_nonsense() {
        // A whole piece, and one of a block and a little.
        let lengths = Lengths::new((1 << LOG2) + 1_030, LOG2).unwrap();
        let blocks = Blocks::new(lengths, Bitfield::new(&lengths));
        let found = |piece, block, len| {
            let target = blocks.locate(piece, block, len)?;
            assert_eq!((u64::from(target.piece.get()), blocks.len_of(&target)), (piece, len as u64));
            Some(target.blocks)
        };
        assert_eq!(found(0, 0, LEN), Some(0..1));
        assert_eq!(found(0, 1, 3 * LEN), Some(1..4));
        assert_eq!(found(1, 0, 1_030), Some(0..2));
        assert_eq!(found(1, 1, 6), Some(1..2));
        for (piece, block, len) in [
            (0, 0, 0),
            (0, 0, LEN - 1),
            (0, 3, LEN + 6),
            (0, 4, LEN),
            (1, 0, 2 * LEN),
            (1, 1, 7),
            (1, 2, 6),
            (2, 0, LEN),
            (0, u32::MAX.into(), LEN),
            (0, u64::MAX, LEN),
        ] {
            assert_eq!(found(piece, block, len), None, "{piece} {block} {len}");
        }
    }

    #[test]
    fn while_too_much_waits_for_the_disk_nothing_is_asked_for() {
        let lengths = Lengths::new(1 << 26, LOG2).unwrap();
        let mut blocks = Blocks::new(lengths, Bitfield::new(&lengths));
        let giver = "10.0.0.1:1".parse().unwrap();
        let mut waiting = 0;
        for piece in lengths.pieces() {
            if blocks.has_nothing_to_ask() {
                break;
            }
            let whole = blocks.whole(piece);
            waiting += blocks.mark(&whole);
            let last = whole.blocks.map(|block| blocks.put(piece, block, giver, &[0; LEN])).last();
            assert!(matches!(last, Some(Arrival::Whole { .. })));
        }
        assert_eq!(waiting, MAX_STORING);
        let first = lengths.piece(0).unwrap();
        blocks.on_verified(first);
        blocks.forget(first);
        assert!(!blocks.has_nothing_to_ask());
    }
}
