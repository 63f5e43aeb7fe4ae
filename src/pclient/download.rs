//! The receiver's half of a swarm: what is still missing, what has been asked of whom, and whom to ask next.
//!
//! Decides and keeps books; sends nothing and writes nothing: [`Ask`]s and whole pieces are handed to
//! [`super::swarm`].
//!
//! Invariant: a piece is had, or partial, or untouched. Each block of a partial piece has arrived, or is under way in
//! as many requests as its count says, or is free.

use std::collections::BTreeMap;

use super::message::BLOCK_LEN;
use super::peer::{Announced, Peer, Request, Target};
use super::picker;
use super::pieces::{Bitfield, Lengths, PieceIndex};
use crate::rand::Rng;
use crate::rudp::Handle;
use crate::time::{Duration, Instant};

/// The peers of a swarm, by connection.
pub type Peers = BTreeMap<Handle, Peer>;

/// At least this many pieces are under way from each source: with one, it would idle between two.
const MIN_PIECES: u64 = 2;
/// Or what it delivers in this time.
const DEPTH: Duration = Duration::from_millis(300);
/// Most requests under way from one source.
const MAX_REQUESTS: usize = 500;
/// After a refusal, a source gets no credits for at least, and at most, this long.
const CREDIT_PAUSE: Duration = Duration::from_millis(300);
const MAX_CREDIT_PAUSE: Duration = Duration::from_secs(5);
/// After this many refusals in a row it is asked for particular pieces.
const MAX_REFUSALS: u32 = 4;
/// A source that delivered nothing for this long may be doubled at the end.
const SILENCE: Duration = Duration::from_millis(250);
/// A source that delivered nothing for this long is asked anew: something was lost that can't have been.
const STALL: Duration = Duration::from_secs(10);
/// A steal has to promise the block in this share of the time.
const STEAL_GAIN: f64 = 0.5;

/// What to tell a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Send these blocks.
    Blocks {
        /// Name of the request.
        id: u64,
        /// Which.
        target: Target,
    },
    /// Send pieces of your choice.
    Any {
        /// Name of the first request.
        id: u64,
        /// How many.
        credits: u64,
        /// Of which class.
        residue: u64,
        /// Of how many classes.
        modulus: u64,
    },
    /// Don't send what I asked for under this name.
    Cancel {
        /// Name of the request.
        id: u64,
    },
}

/// What a block that arrived has led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It was had already.
    Duplicate,
    /// More blocks of the piece are missing.
    Partial,
    /// The piece is whole, unverified.
    Whole {
        /// Which.
        piece: PieceIndex,
        /// Its content.
        data: Vec<u8>,
        /// Who sent blocks of it.
        givers: Vec<Handle>,
    },
    /// It can't be part of the file.
    Nonsense,
}

#[derive(Debug)]
struct Partial {
    data: Vec<u8>,
    blocks: Vec<Block>,
    givers: Vec<Handle>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    /// Under way in this many requests; 0 is free.
    Asked(u32),
    Arrived,
}

/// What a receiver is about.
#[derive(Debug)]
pub struct Download {
    lengths: Lengths,
    have: Bitfield,
    partial: BTreeMap<PieceIndex, Partial>,
    /// For each piece, how many peers have it, and how many of those began without the whole file.
    copies: Vec<u32>,
    relays: Vec<u32>,
    /// The sources that began complete, ordered by address, which all receivers see alike.
    origins: Vec<Handle>,
    /// Payload that arrived twice, B.
    pub duplicate_bytes: u64,
}

impl Download {
    /// A download of which `have` is there already.
    pub fn new(lengths: Lengths, have: Bitfield) -> Download {
        let count = lengths.piece_count() as usize;
        Download {
            lengths,
            have,
            partial: BTreeMap::new(),
            copies: vec![0; count],
            relays: vec![0; count],
            origins: Vec::new(),
            duplicate_bytes: 0,
        }
    }

    /// Which pieces are there.
    pub fn have(&self) -> &Bitfield {
        &self.have
    }

    /// Counts a piece that `peer` has.
    pub fn count_piece(&mut self, peer: &Peer, piece: PieceIndex) {
        self.copies[piece.as_usize()] += 1;
        self.relays[piece.as_usize()] += u32::from(!peer.began_complete);
    }

    /// Counts all that a newcomer has.
    pub fn count_peer(&mut self, peers: &Peers, key: Handle) {
        let peer = &peers[&key];
        if let Announced::Known(pieces) = &peer.pieces {
            pieces.iter().for_each(|piece| self.count_piece(peer, piece));
        }
        self.refresh_origins(peers);
    }

    /// Discounts a peer that leaves, and frees what it was asked for.
    pub fn remove_peer(&mut self, peers: &Peers, key: Handle, mut leaving: Peer) {
        if let Announced::Known(pieces) = &leaving.pieces {
            for piece in pieces.iter() {
                self.copies[piece.as_usize()] -= 1;
                self.relays[piece.as_usize()] -= u32::from(!leaving.began_complete);
            }
        }
        while let Some(request) = leaving.source.requests.pop_front() {
            self.release(&request);
        }
        self.partial.values_mut().for_each(|partial| partial.givers.retain(|&giver| giver != key));
        self.refresh_origins(peers);
    }

    fn refresh_origins(&mut self, peers: &Peers) {
        self.origins = peers.iter().filter(|(_, peer)| peer.began_complete).map(|(&key, _)| key).collect();
        self.origins.sort_by_key(|key| peers[key].remote);
    }

    /// Asks one source for as much as keeps it busy.
    pub fn fill(&mut self, now: Instant, peers: &mut Peers, key: Handle, rng: &mut Rng) -> Vec<Ask> {
        let mut asks = Vec::new();
        loop {
            let source = &peers[&key].source;
            let depth = (source.meter.rate(now) * DEPTH.as_secs_f64()) as u64;
            let room = depth
                .max(MIN_PIECES * u64::from(self.lengths.full_piece_len()))
                .saturating_sub(source.outstanding);
            if room == 0 || source.requests.len() >= MAX_REQUESTS || self.have.is_complete() {
                return asks;
            }
            if let Some(credits) = self.grant_credits(now, peers, key, room) {
                asks.push(credits);
                continue;
            }
            let Some(target) = self.pick(peers, key, rng) else { return asks };
            let id = self.request(now, peers, key, Some(target.clone()));
            asks.push(Ask::Blocks { id, target });
        }
    }

    /// Lets an origin choose, as long as there are pieces that only origins have: of its own class, and when that is
    /// used up, of the class in which most is left, so that a slow or mute origin doesn't decide.
    fn grant_credits(&mut self, now: Instant, peers: &mut Peers, key: Handle, room: u64) -> Option<Ask> {
        let (own, modulus) = self.class_of(key)?;
        let source = &peers[&key].source;
        if source.refusals >= MAX_REFUSALS || now < source.credit_pause {
            return None;
        }
        let most = room.div_ceil(u64::from(self.lengths.full_piece_len())).min(MAX_REQUESTS as u64) as usize;
        let granted = source.credits();
        let own_left = self.unspread(own, modulus).skip(granted).take(most).count();
        let (residue, credits) = match own_left {
            0 => self.borrow_class(peers, own, modulus, granted, most)?,
            left => (own, left),
        };
        let first = source.next_id;
        for _ in 0..credits {
            self.request(now, peers, key, None);
        }
        Some(Ask::Any {
            id: first,
            credits: credits as u64,
            residue: residue.into(),
            modulus: modulus.into(),
        })
    }

    /// Untouched pieces of a class that only origins have.
    fn unspread(&self, residue: u32, modulus: u32) -> impl Iterator<Item = PieceIndex> + '_ {
        self.lengths.pieces().filter(move |piece| {
            piece.get() % modulus == residue
                && self.relays[piece.as_usize()] == 0
                && self.is_untouched(*piece)
        })
    }

    /// The class of another origin in which most is left beyond what that one owes, and how many credits it is good for.
    fn borrow_class(
        &self,
        peers: &Peers,
        own: u32,
        modulus: u32,
        granted: usize,
        most: usize,
    ) -> Option<(u32, usize)> {
        let others = (0..modulus).filter(|&residue| residue != own).map(|residue| {
            let owed = peers[&self.origins[residue as usize]].source.credits();
            (self.unspread(residue, modulus).count().saturating_sub(owed + granted), residue)
        });
        let (left, residue) = others.max()?;
        (left > 0).then(|| (residue, left.min(most)))
    }

    /// Which class of pieces an origin chooses from; `None` for other peers.
    fn class_of(&self, key: Handle) -> Option<(u32, u32)> {
        let residue = self.origins.iter().position(|&origin| origin == key)?;
        Some((residue as u32, self.origins.len() as u32))
    }

    /// What to ask a source for in particular: the rest of a piece that was begun, or else the rarest.
    fn pick(&self, peers: &Peers, key: Handle, rng: &mut Rng) -> Option<Target> {
        let peer = &peers[&key];
        let Announced::Known(offered) = &peer.pieces else { return None };
        let begun = self.partial.iter().filter(|(piece, _)| offered.get(**piece));
        for (&piece, partial) in begun {
            if let Some(first) = partial.blocks.iter().position(|&block| block == Block::Asked(0)) {
                let free =
                    partial.blocks[first..].iter().take_while(|&&block| block == Block::Asked(0)).count();
                return Some(Target { piece, blocks: first as u32..(first + free) as u32 });
            }
        }
        // What an origin will choose by itself must not be asked of it, nor of another origin.
        let own_choice: Vec<bool> = self
            .origins
            .iter()
            .map(|&origin| {
                peers[&origin].source.credits() > 0 || peers[&origin].source.refusals < MAX_REFUSALS
            })
            .collect();
        let is_chosen_by_origin = |piece: PieceIndex| {
            peer.began_complete
                && self.relays[piece.as_usize()] == 0
                && own_choice[(piece.get() % own_choice.len() as u32) as usize]
        };
        let still_choosing = peer.source.refusals < MAX_REFUSALS && self.any_unspread(key);
        if still_choosing {
            return None;
        }
        let piece = picker::rarest(offered, &self.copies, rng, |piece| {
            self.is_untouched(piece) && !is_chosen_by_origin(piece)
        })?;
        Some(Target { piece, blocks: 0..block_count(&self.lengths, piece) })
    }

    /// Whether an origin has pieces of its class left that nobody relays yet.
    fn any_unspread(&self, key: Handle) -> bool {
        let Some((residue, modulus)) = self.class_of(key) else { return false };
        self.lengths.pieces().any(|piece| {
            piece.get() % modulus == residue && self.relays[piece.as_usize()] == 0 && !self.have.get(piece)
        })
    }

    fn is_untouched(&self, piece: PieceIndex) -> bool {
        !self.have.get(piece) && !self.partial.contains_key(&piece)
    }

    /// Enters a request in the books and gives its name.
    fn request(&mut self, now: Instant, peers: &mut Peers, key: Handle, target: Option<Target>) -> u64 {
        let bytes = match &target {
            Some(target) => self.mark(target),
            None => u64::from(self.lengths.full_piece_len()),
        };
        let source = &mut peers.get_mut(&key).expect("only peers are asked").source;
        if source.requests.is_empty() {
            source.active = now;
        }
        let id = source.next_id;
        source.next_id += 1;
        source.outstanding += bytes;
        source.requests.push_back(Request { id, target, bytes });
        id
    }

    /// Marks blocks as under way once more, and counts their bytes.
    fn mark(&mut self, target: &Target) -> u64 {
        let lengths = self.lengths;
        let partial =
            self.partial.entry(target.piece).or_insert_with(|| Partial::new(&lengths, target.piece));
        for block in &mut partial.blocks[target.blocks.start as usize..target.blocks.end as usize] {
            if let Block::Asked(requests) = block {
                *requests += 1;
            }
        }
        target.blocks.clone().map(|block| u64::from(block_len(&lengths, target.piece, block))).sum()
    }

    /// Takes a request's blocks back. A piece of which nothing has arrived nor is under way is untouched again.
    fn release(&mut self, request: &Request) {
        let Some(target) = &request.target else { return };
        let Some(partial) = self.partial.get_mut(&target.piece) else { return };
        for block in &mut partial.blocks[target.blocks.start as usize..target.blocks.end as usize] {
            if let Block::Asked(requests) = block {
                *requests = requests.saturating_sub(1);
            }
        }
        if partial.blocks.iter().all(|&block| block == Block::Asked(0)) {
            self.partial.remove(&target.piece);
        }
    }

    /// Takes in a block that `key` sent under the request `id`.
    pub fn on_block(
        &mut self,
        now: Instant,
        peers: &mut Peers,
        key: Handle,
        id: u64,
        (piece, block): (u64, u64),
        data: &[u8],
    ) -> Arrival {
        let Some(piece) = self.lengths.piece(piece) else { return Arrival::Nonsense };
        let Ok(block) = u32::try_from(block) else { return Arrival::Nonsense };
        if block >= block_count(&self.lengths, piece)
            || data.len() as u64 != u64::from(block_len(&self.lengths, piece, block))
        {
            return Arrival::Nonsense;
        }
        let was_asked = self.settle_request(now, peers, key, id, piece, block, data.len() as u64);
        // Of a piece that is had, or that was given up meanwhile; or nobody asked for it, and it may be anything.
        let Some(partial) = self.partial.get_mut(&piece).filter(|_| was_asked) else {
            self.duplicate_bytes += data.len() as u64;
            return Arrival::Duplicate;
        };
        if partial.blocks[block as usize] == Block::Arrived {
            self.duplicate_bytes += data.len() as u64;
            return Arrival::Duplicate;
        }
        partial.blocks[block as usize] = Block::Arrived;
        let offset = block as usize * BLOCK_LEN as usize;
        partial.data[offset..offset + data.len()].copy_from_slice(data);
        if !partial.givers.contains(&key) {
            partial.givers.push(key);
        }
        if partial.blocks.iter().any(|&block| block != Block::Arrived) {
            return Arrival::Partial;
        }
        let partial = self.partial.remove(&piece).expect("just seen");
        Arrival::Whole { piece, data: partial.data, givers: partial.givers }
    }

    /// Notes on the request's page that a block of it came; true if it was asked for.
    #[expect(clippy::too_many_arguments, reason = "the parts of one message")]
    fn settle_request(
        &mut self,
        now: Instant,
        peers: &mut Peers,
        key: Handle,
        id: u64,
        piece: PieceIndex,
        block: u32,
        len: u64,
    ) -> bool {
        let source = &mut peers.get_mut(&key).expect("only peers send").source;
        source.meter.add(now, len);
        source.active = now;
        let Some(index) = source.requests.iter().position(|request| request.id == id) else {
            return false;
        };
        if source.requests[index].target.is_none() {
            // The source has chosen.
            source.refusals = 0;
            let target = Target { piece, blocks: 0..block_count(&self.lengths, piece) };
            let bytes = u64::from(self.lengths.piece_len(piece));
            source.outstanding = source.outstanding + bytes - source.requests[index].bytes;
            source.requests[index].bytes = bytes;
            source.requests[index].target = Some(target.clone());
            if !self.have.get(piece) {
                self.mark(&target);
            }
        }
        let request = &mut source.requests[index];
        let target = request.target.as_mut().expect("chosen by now");
        if target.piece != piece || !target.blocks.contains(&block) {
            return false;
        }
        // Blocks come in order; those that were skipped will not come under this request.
        let skipped = target.blocks.start..block;
        target.blocks.start = block + 1;
        let settled =
            len + skipped.clone().map(|b| u64::from(block_len(&self.lengths, piece, b))).sum::<u64>();
        let settled = settled.min(request.bytes);
        request.bytes -= settled;
        source.outstanding -= settled;
        let is_over = target.blocks.is_empty();
        if is_over {
            let request = source.requests.remove(index).expect("just seen");
            source.outstanding -= request.bytes;
        }
        if !skipped.is_empty() {
            self.release(&Request { id, target: Some(Target { piece, blocks: skipped }), bytes: 0 });
        }
        true
    }

    /// A whole piece proved right: it is had, and nobody else needs to send it.
    pub fn on_verified(&mut self, peers: &mut Peers, piece: PieceIndex) -> Vec<(Handle, Ask)> {
        self.have.set(piece);
        self.give_up(peers, piece)
    }

    /// Forgets what has arrived of a piece, and takes back what is under way of it.
    pub fn give_up(&mut self, peers: &mut Peers, piece: PieceIndex) -> Vec<(Handle, Ask)> {
        self.partial.remove(&piece);
        let mut cancels = Vec::new();
        for (&key, peer) in peers.iter_mut() {
            let source = &mut peer.source;
            let is_for =
                |request: &Request| request.target.as_ref().is_some_and(|target| target.piece == piece);
            while let Some(index) = source.requests.iter().position(is_for) {
                let request = source.requests.remove(index).expect("just found");
                source.outstanding -= request.bytes;
                cancels.push((key, Ask::Cancel { id: request.id }));
            }
        }
        cancels
    }

    /// All is there: takes back whatever is still under way.
    pub fn give_up_all(&mut self, peers: &mut Peers) -> Vec<(Handle, Ask)> {
        let mut cancels = Vec::new();
        for (&key, peer) in peers.iter_mut() {
            peer.source.outstanding = 0;
            cancels
                .extend(peer.source.requests.drain(..).map(|request| (key, Ask::Cancel { id: request.id })));
        }
        cancels
    }

    /// A source gives back `credits` credits.
    pub fn on_none(&mut self, now: Instant, peers: &mut Peers, key: Handle, first: u64, credits: u64) {
        let piece_len = f64::from(self.lengths.full_piece_len());
        let source = &mut peers.get_mut(&key).expect("only peers answer").source;
        let range = first..first.saturating_add(credits);
        let before = source.requests.len();
        let is_returned = |request: &Request| range.contains(&request.id) && request.target.is_none();
        let bytes: u64 = source.requests.iter().filter(|r| is_returned(r)).map(|r| r.bytes).sum();
        source.requests.retain(|request| !is_returned(request));
        source.outstanding -= bytes;
        if source.requests.len() < before {
            source.refusals += 1;
            // What it has just sent to others takes as long to spread as a piece takes from it.
            let piece_time = Duration::from_secs_f64(piece_len / source.meter.rate(now).max(1.0));
            source.credit_pause = now + piece_time.clamp(CREDIT_PAUSE, MAX_CREDIT_PAUSE);
        }
    }

    /// A source will not serve a request.
    pub fn on_reject(&mut self, peers: &mut Peers, key: Handle, id: u64) {
        let source = &mut peers.get_mut(&key).expect("only peers answer").source;
        if let Some(index) = source.requests.iter().position(|request| request.id == id) {
            let request = source.requests.remove(index).expect("just found");
            source.outstanding -= request.bytes;
            self.release(&request);
            self.unlist(peers, key, &request);
        }
    }

    /// What a peer doesn't serve it doesn't have, whatever it says: it isn't asked for that again.
    fn unlist(&mut self, peers: &mut Peers, key: Handle, request: &Request) {
        let (Some(target), Some(peer)) = (&request.target, peers.get_mut(&key)) else { return };
        if let Announced::Known(pieces) = &mut peer.pieces
            && pieces.clear(target.piece)
        {
            self.copies[target.piece.as_usize()] -= 1;
            self.relays[target.piece.as_usize()] -= u32::from(!peer.began_complete);
        }
    }

    /// For a source that has nothing to do for us: takes over the last request of the slowest one, if that brings it
    /// much sooner. A request that another source is in the middle of is doubled instead, and only after silence.
    pub fn steal(&mut self, now: Instant, peers: &mut Peers, thief: Handle) -> Vec<(Handle, Ask)> {
        let thief_peer = &peers[&thief];
        if !thief_peer.source.requests.is_empty() {
            return Vec::new();
        }
        let typical = peers.values().map(|peer| peer.source.meter.rate(now)).fold(0.0, f64::max).max(1.0);
        let thief_rate = match thief_peer.source.meter.rate(now) {
            // Nothing is known of it: give it the benefit of the doubt.
            rate if rate < 1.0 => typical,
            rate => rate,
        };
        let candidates = peers.iter().filter(|(key, _)| **key != thief).filter_map(|(&key, peer)| {
            let rate = peer.source.meter.rate(now).max(1.0);
            let eta = peer.source.outstanding as f64 / rate;
            let is_silent = now.since(peer.source.active) >= SILENCE;
            let is_sole = |target: &Target| self.under_way(target) <= 1;
            let request = peer.source.requests.iter().enumerate().rev().find(|(index, request)| {
                let Some(target) = &request.target else { return false };
                thief_peer.has(target.piece) && is_sole(target) && (*index > 0 || is_silent)
            });
            let (index, request) = request?;
            (request.bytes as f64 / thief_rate < STEAL_GAIN * eta).then_some((eta, key, index))
        });
        let Some((_, victim, index)) = candidates.max_by(|a, b| a.0.total_cmp(&b.0)) else {
            return Vec::new();
        };
        let source = &mut peers.get_mut(&victim).expect("just seen").source;
        let request = source.requests[index].clone();
        let target = request.target.clone().expect("credits aren't stolen");
        let mut asks = Vec::new();
        if index > 0 {
            source.requests.remove(index);
            source.outstanding -= request.bytes;
            self.release(&request);
            asks.push((victim, Ask::Cancel { id: request.id }));
        }
        let id = self.request(now, peers, thief, Some(target.clone()));
        asks.push((thief, Ask::Blocks { id, target }));
        asks
    }

    /// In how many requests the first block of `target` is under way.
    fn under_way(&self, target: &Target) -> u32 {
        let block =
            self.partial.get(&target.piece).map(|partial| partial.blocks[target.blocks.start as usize]);
        match block {
            Some(Block::Asked(requests)) => requests,
            Some(Block::Arrived) | None => 0,
        }
    }

    /// Gives up all requests to a source that has been silent for so long that something must have gone wrong.
    pub fn unstall(&mut self, now: Instant, peers: &mut Peers, key: Handle) -> Vec<Ask> {
        let source = &mut peers.get_mut(&key).expect("only peers stall").source;
        if source.requests.is_empty() || now.since(source.active) < STALL {
            return Vec::new();
        }
        let requests = std::mem::take(&mut source.requests);
        source.outstanding = 0;
        source.active = now;
        // What it was to choose by itself may be asked of others now.
        source.refusals = MAX_REFUSALS;
        requests.iter().for_each(|request| self.release(request));
        requests.into_iter().map(|request| Ask::Cancel { id: request.id }).collect()
    }
}

impl Partial {
    fn new(lengths: &Lengths, piece: PieceIndex) -> Partial {
        Partial {
            data: vec![0; lengths.piece_len(piece) as usize],
            blocks: vec![Block::Asked(0); block_count(lengths, piece) as usize],
            givers: Vec::new(),
        }
    }
}

/// How many blocks `piece` has.
pub fn block_count(lengths: &Lengths, piece: PieceIndex) -> u32 {
    lengths.piece_len(piece).div_ceil(BLOCK_LEN)
}

/// How long a block is, B.
pub fn block_len(lengths: &Lengths, piece: PieceIndex, block: u32) -> u32 {
    (lengths.piece_len(piece) - block * BLOCK_LEN).min(BLOCK_LEN)
}

#[cfg(test)]
mod tests;
