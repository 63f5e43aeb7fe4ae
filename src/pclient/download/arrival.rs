//! Taking in what comes: which request it answers, and what is missing yet.

use std::net::SocketAddr;

use super::{Download, Peers};
use crate::pclient::peer::{Request, Target};
use crate::pclient::pieces::PieceIndex;
use crate::rudp::Handle;
use crate::time::Instant;

/// A piece of which all blocks have arrived, unverified.
#[derive(Debug, PartialEq, Eq)]
pub struct WholePiece {
    /// Which.
    pub piece: PieceIndex,
    /// Its content.
    pub data: Vec<u8>,
    /// Who sent each of its blocks.
    pub givers: Vec<SocketAddr>,
}

/// What a block that arrived has led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It was had already.
    Duplicate,
    /// More blocks of the piece are missing.
    Partial,
    /// The piece is whole, unverified.
    Whole(WholePiece),
    /// It can't be part of the file, or is more than was ever asked for.
    Nonsense,
}

impl Download {
    /// Takes in blocks that `key` sent under the request `id`.
    pub fn on_block(
        &mut self,
        now: Instant,
        peers: &mut Peers,
        key: Handle,
        id: u64,
        (piece, first): (u64, u64),
        data: &[u8],
    ) -> Arrival {
        let Some(target) = self.blocks.locate(piece, first, data.len()) else {
            return Arrival::Nonsense;
        };
        let source = &mut peers.get_mut(&key).expect("only peers send").source;
        if !source.on_delivered(now, data.len() as u64) {
            return Arrival::Nonsense;
        }
        // What was on its way when it was taken back is as good as ever, and so is what was thought lost on its way.
        let is_before = |request: &Request| {
            let rest = request.target.as_ref().filter(|rest| rest.piece == target.piece);
            rest.is_some_and(|rest| target.blocks.end <= rest.blocks.start)
        };
        let is_skipped = source.position(id).is_some_and(|index| is_before(&source.requests()[index]));
        let is_late = is_skipped || source.is_over(id);
        let giver = peers[&key].remote;
        let skipped = self.settle_request(peers, key, id, &target);
        let was_asked = skipped.is_some();
        let (mut arrival, mut fresh) = (Arrival::Duplicate, 0);
        for (block, data) in target.blocks.zip(data.chunks(self.lengths.block_len() as usize)) {
            // What nobody asked for may be anything.
            let of_block = match (was_asked, is_late) {
                (true, _) => self.blocks.put(target.piece, block, giver, data),
                (false, true) => self.blocks.put_late(target.piece, block, giver, data),
                (false, false) => Arrival::Duplicate,
            };
            if of_block == Arrival::Duplicate {
                self.duplicate_bytes += data.len() as u64;
            } else {
                (arrival, fresh) = (of_block, fresh + data.len() as u64);
            }
        }
        // Now that it is known what has come: of what one has to give as a whole nothing may be left without anything under way.
        if let Some(skipped) = skipped.filter(|skipped| !skipped.blocks.is_empty()) {
            self.blocks.release(&skipped);
        }
        if arrival != Arrival::Duplicate {
            let is_of_use = arrival != Arrival::Partial || !self.blocks.needs_one_giver(target.piece);
            let peer = peers.get_mut(&key).expect("just seen");
            // Who begins what it alone has to give, and goes no further, has given nothing.
            if is_of_use {
                peer.source.on_kept_word();
            }
            peer.dealings.on_got(now, fresh);
        }
        arrival
    }

    /// Notes on the request's page that blocks of it came. If they were asked for, gives those before them, which will hardly come under this
    /// request any more: a source sends them in order.
    fn settle_request(&mut self, peers: &mut Peers, key: Handle, id: u64, come: &Target) -> Option<Target> {
        let piece = come.piece;
        let source = &mut peers.get_mut(&key).expect("only peers send").source;
        let index = source.position(id)?;
        if source.requests()[index].target.is_none() {
            // The source has chosen.
            source.refusals = 0;
            let target = self.blocks.whole(piece);
            source.bind(index, target.clone(), u64::from(self.lengths.piece_len(piece)));
            if self.blocks.lacks(piece) {
                self.blocks.mark(&target);
            }
        }
        let source = &mut peers.get_mut(&key).expect("just seen").source;
        let target = source.requests()[index].target.as_ref().expect("chosen by now");
        let (start, end) = (target.blocks.start, target.blocks.end);
        if target.piece != piece || come.blocks.start < start || come.blocks.end > end {
            return None;
        }
        let skipped = Target { piece, blocks: start..come.blocks.start };
        let bytes = self.blocks.len_of(&skipped) + self.blocks.len_of(come);
        source.settle(index, come.blocks.end, bytes);
        Some(skipped)
    }
}
