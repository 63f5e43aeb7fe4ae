//! Predictive announcements: fellow receivers are told of a piece while the last of it still comes, so that they have asked for it
//! by the time it is here.
//!
//! From an announcement to the first request it takes the time for which announcements are gathered, and a round trip behind the
//! queues of two downlinks: half of the way from hand to hand, and in a large swarm a piece passes through several (libtorrent
//! has it as `predictive_piece_announce`). Who asks too soon waits here. Where a piece doesn't come after all, all are told so
//! (BEP 54): else nobody would offer it to this node, which seems to have it.
//!
//! What a source chooses can't be foretold: if it is new to all fellow receivers, they are told as soon as it is here.
//!
//! Sources are told what is here for certain only: they send each piece once.

use std::collections::BTreeMap;

use super::{Content, NO_PIECE, Swarm};
use crate::pclient::haves::FEW;
use crate::pclient::message::{MAX_HAVES, Message};
use crate::pclient::peer::{Announced, Target, Wanted, What};
use crate::pclient::pieces::PieceIndex;
use crate::pclient::upload::MAX_WANTED;
use crate::rudp::{Class, Handle};
use crate::time::{Duration, Instant};

/// What is expected within this time and so many round trips of an empty path is announced: the first requests come about as late.
const HORIZON: Duration = Duration::from_millis(300);
const HORIZON_ROUND_TRIPS: u32 = 2;
/// As long as so many wait for what is here, nobody needs to wait for what isn't. (Where uplinks are what is scarce, the last
/// of fifty receivers is further behind without this: s7 1.04 D instead of 1.03.)
const FEW_WAIT: usize = 8;
/// What has not come this long after it was expected is taken back.
const OVERDUE: Duration = Duration::from_secs(1);
/// Who takes back more than so many times what there is floods.
const MAX_RETRACTIONS: u32 = 2;

/// The pieces that were announced before they were here: until when they are expected, or `None` if that was taken back. None is
/// announced early twice.
#[derive(Debug, Default)]
pub(super) struct Predictions(BTreeMap<PieceIndex, Option<Instant>>);

impl Predictions {
    /// Whether this piece was announced, and isn't here yet.
    pub(super) fn contains(&self, piece: PieceIndex) -> bool {
        matches!(self.0.get(&piece), Some(Some(_)))
    }

    /// All such, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = PieceIndex> {
        self.0.iter().filter(|(_, due)| due.is_some()).map(|(&piece, _)| piece)
    }
}

impl Swarm {
    /// Announces the piece that `key` is sending, if it will soon be here and there is little else to give. Where there are few peers, a
    /// piece passes through few hands, and announcements are hardly gathered.
    pub(super) fn predict(&mut self, now: Instant, key: Handle) {
        let (Some(content), Some(download), Some(peer)) =
            (&self.content, &self.download, self.peers.get(&key))
        else {
            return;
        };
        if self.peers.len() <= FEW || !self.gives {
            return;
        }
        let horizon = HORIZON + peer.source.min_rtt * HORIZON_ROUND_TRIPS;
        let Some(piece) = download.completes_within(now, &peer.source, horizon) else { return };
        // Without its hash it can't be passed on, however soon it is here.
        let is_known = || content.manifest.check(piece).is_some();
        if self.predictions.0.contains_key(&piece) || !is_known() || self.has_enough_to_give() {
            return;
        }
        self.predictions.0.insert(piece, Some(now + horizon + OVERDUE));
        for peer in self.peers.values_mut().filter(|peer| !peer.began_complete && !peer.has(piece)) {
            peer.haves.push(piece);
        }
        self.schedule_haves(now);
    }

    /// Tells fellow receivers at once of a piece that none of them has: nearly always one that a source chose, so that nobody could be told
    /// before. Its first few copies take as long as all the doubling after them, so that a gathered announcement costs most here. False
    /// if it is left to that: where there are few peers, or it was taken back (that may be under way still, and is not to come second).
    pub(super) fn announce_first(&mut self, piece: PieceIndex) -> bool {
        let is_first = |content: &Content| content.availability.unspread().get(piece);
        if self.peers.len() <= FEW
            || !self.gives
            || self.predictions.0.contains_key(&piece)
            || !self.content.as_ref().is_some_and(is_first)
            || self.has_enough_to_give()
        {
            return false;
        }
        let said = Message::Have { channel: self.number.into(), pieces: vec![piece.get().into()] }.encode();
        let fellows = self.peers.iter().filter(|(_, peer)| !peer.began_complete);
        self.outbox.extend(fellows.map(|(&key, _)| (key, Class::Control, said.clone())));
        true
    }

    /// Whether so many wait for what is here that nobody needs to ask for more soon.
    fn has_enough_to_give(&self) -> bool {
        self.peers.values().filter(|peer| peer.queue.is_waiting()).count() >= FEW_WAIT
    }

    /// A peer asks for what was announced and isn't here yet. False if it has asked for far too much.
    pub(super) fn await_piece(&mut self, now: Instant, key: Handle, id: u64, target: Target) -> bool {
        let Some(peer) = self.peers.get_mut(&key) else { return false };
        peer.queue.asked = now;
        peer.queue.awaited.push((id, target));
        let (accepted, remote) = (peer.queue.awaited.len() <= MAX_WANTED, peer.remote);
        if !accepted {
            self.ban_flooder(now, remote);
        }
        accepted
    }

    /// A piece is here: who waits for it may be served. True if all have been told of it.
    pub(super) fn fulfil(&mut self, now: Instant, piece: PieceIndex) -> bool {
        let Some(Some(_)) = self.predictions.0.remove(&piece) else { return false };
        let keys: Vec<Handle> = self.peers.keys().copied().collect();
        for key in keys {
            let Some(peer) = self.peers.get_mut(&key) else { continue };
            let awaited = peer.queue.awaited.extract_if(.., |(_, target)| target.piece == piece);
            for (id, target) in awaited.collect::<Vec<_>>() {
                self.want(now, key, Wanted { id, what: What::Blocks(target) });
            }
        }
        true
    }

    /// Tells all that what was announced and hasn't come isn't here.
    pub(super) fn retract(&mut self, now: Instant) {
        let Some(download) = &self.download else { return };
        let mut failed = Vec::new();
        for (&piece, due) in &mut self.predictions.0 {
            failed.extend(due.take_if(|due| *due <= now || !download.blocks.is_coming(piece)).map(|_| piece));
        }
        if failed.is_empty() {
            return;
        }
        let channel = self.number.into();
        for (&key, peer) in self.peers.iter_mut().filter(|(_, peer)| !peer.began_complete) {
            peer.queue.awaited.retain(|(_, target)| !failed.contains(&target.piece));
            peer.haves.retain(|piece| !failed.contains(piece));
            for pieces in failed.chunks(MAX_HAVES) {
                let pieces = pieces.iter().map(|piece| piece.get().into()).collect();
                // In one line with the announcement, which it had better not overtake.
                self.outbox.push((key, Class::Patient, Message::DontHave { channel, pieces }.encode()));
            }
        }
    }

    /// A peer doesn't have what it announced: it is asked of others. What it had announced before the file's size was known here
    /// stands: it will refuse. Sources, which send each piece once, believe nobody that takes its word back: they are told of nothing early.
    pub(super) fn on_dont_have(&mut self, now: Instant, key: Handle, pieces: &[u64]) {
        let Some(lengths) = self.content.as_ref().map(|content| content.manifest.lengths()) else { return };
        let mut cancels = Vec::new();
        for &piece in pieces {
            let Some(piece) = lengths.piece(piece) else { return self.ban(now, key, NO_PIECE) };
            let Some(peer) = self.peers.get_mut(&key).filter(|_| self.download.is_some()) else { return };
            peer.retractions += 1;
            if peer.retractions > MAX_RETRACTIONS * lengths.piece_count() {
                let remote = peer.remote;
                return self.ban_flooder(now, remote);
            }
            self.discount(now, key, piece);
            if let Some(download) = &mut self.download {
                cancels.extend(download.on_dont_have(now, &mut self.peers, key, piece));
            }
        }
        if !cancels.is_empty() {
            self.send_asks(cancels.into_iter().map(|ask| (key, ask)));
            self.refill_all(now);
        }
    }

    /// A peer doesn't have this piece, whatever it said. As long as it seemed to have it, it wasn't told that it is here.
    pub(super) fn discount(&mut self, now: Instant, key: Handle, piece: PieceIndex) {
        let is_here = self.gives && (self.has(piece) || self.predictions.contains(piece));
        let (Some(content), Some(peer)) = (&mut self.content, self.peers.get_mut(&key)) else { return };
        let Announced::Known(known) = &mut peer.pieces else { return };
        if !known.clear(piece) {
            return;
        }
        content.availability.discount(peer, piece);
        if is_here && !peer.began_complete {
            peer.haves.push(piece);
            self.schedule_haves(now);
        }
    }
}

#[cfg(test)]
mod tests;
