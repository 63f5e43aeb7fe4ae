//! The sender's half of a swarm: who is served next, and with what.
//!
//! Chooses and keeps books; reads no content and sends nothing. A piece of our own choice is bound only when its
//! transmission starts: what was sent to nobody, nearly in order. One piece goes to one peer at a time, so that the first whole
//! copies exist early; a source serves whoever has the fewest unspread pieces, a relay whoever has the fewest pieces.

use std::collections::BTreeSet;

use super::availability::Availability;
use super::choker::Standing;
use super::download::Peers;
use super::peer::{Announced, Peer, Queue, Target, Wanted, What};
use super::pieces::{Bitfield, Lengths, MAX_BLOCK_LEN, PieceIndex};
use crate::rand::Rng;
use crate::rudp::Handle;
use crate::small::SmallSet;
use crate::time::{Duration, Instant};

/// Most requests that one peer may have waiting, and most in a row that can't be served; more is an attack.
pub const MAX_WANTED: usize = 2_000;
/// After so many requests in a row for those who have a place, one is for who has none: it is served even where nothing is to spare.
const FAVOURS: u32 = 2;
/// Freeloaders are served where nobody else was for this long, and one piece of theirs after so many of others.
const IDLE: Duration = Duration::from_millis(300);
const EARNED: u32 = 16;
/// What was sent to nobody goes out nearly in order: the hashes come in order, too, and nobody passes a piece on without its hash. But
/// one of so many at random: another source may have come just as far.
const NEAR: usize = 64;

/// Blocks to be sent now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serve {
    /// To whom.
    pub to: Handle,
    /// Its name for the request.
    pub id: u64,
    /// Which.
    pub target: Target,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send this.
    Block(Serve),
    /// Tell this peer that there is nothing of the own choice for these credits.
    Refuse {
        /// Whom.
        to: Handle,
        /// The first credit.
        first: u64,
        /// How many.
        credits: u64,
    },
}

/// What a sender has to know.
#[derive(Debug)]
pub struct Upload {
    lengths: Lengths,
    /// The pieces that nobody has, or is getting, from us, and those that have to go out again.
    unsent: Bitfield,
    /// Who got each piece first from us, until somebody else has announced it.
    first_to: Vec<Option<Handle>>,
    /// Whose piece is under way.
    current: Option<Handle>,
    /// Pieces that come from the disk, and can't be sent until they are here.
    loading: BTreeSet<PieceIndex>,
    /// Those who may want something and be served at once. Whoever isn't among them was found not to, and nothing has
    /// happened since that could change it: looking at all peers for each datagram takes too long where there are many.
    hopeful: SmallSet<Handle>,
    turn: u64,
    /// Where somebody reads the content while it comes. What was never sent is all alike: what comes next there goes first.
    reader: Option<PieceIndex>,
    /// How many pieces in a row went to those who have a place.
    favours: u32,
    /// When somebody was last served who doesn't freeload, and how many pieces such have got since one who does.
    last_earned: Instant,
    earned: u32,
    /// When the uplink will have idled for so long that freeloaders are served, if any waits for that.
    idle_from: Option<Instant>,
}

impl Upload {
    /// Nothing sent yet.
    pub fn new(lengths: Lengths) -> Upload {
        let count = lengths.piece_count() as usize;
        Upload {
            lengths,
            unsent: Bitfield::full(&lengths),
            first_to: vec![None; count],
            current: None,
            loading: BTreeSet::new(),
            hopeful: SmallSet::default(),
            turn: 0,
            reader: None,
            favours: 0,
            last_earned: Instant::ORIGIN,
            earned: 0,
            idle_from: None,
        }
    }

    /// A block was to be served, but its piece has to come from the disk first: it is to be served when that is here.
    pub fn hold_back(&mut self, peers: &mut Peers, serve: &Serve) {
        self.loading.insert(serve.target.piece);
        self.hopeful.insert(serve.to);
        let Some(peer) = peers.get_mut(&serve.to) else { return };
        match &mut peer.queue.serving {
            Some((_, target)) => target.blocks.start = serve.target.blocks.start,
            none => *none = Some((serve.id, serve.target.clone())),
        }
    }

    /// A piece is here.
    pub fn on_loaded(&mut self, peers: &Peers, piece: PieceIndex) {
        self.loading.remove(&piece);
        peers.keys().for_each(|&key| self.hopeful.insert(key));
    }

    /// When somebody may be served who waits for the uplink to idle.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.idle_from
    }

    /// Does what is due: whoever waits for the uplink to idle is looked at with the next question for a block.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.idle_from.take_if(|due| *due <= now);
    }

    /// Takes in a request. False if the peer has asked for far too much.
    pub fn want(&mut self, key: Handle, peer: &mut Peer, wanted: Wanted) -> bool {
        self.hopeful.insert(key);
        peer.queue.wanted.push_back(wanted);
        peer.queue.wanted.len() <= MAX_WANTED
    }

    /// Something has happened to a connection: what may not go to that peer at once may go now.
    pub fn stir(&mut self, key: Handle) {
        self.hopeful.insert(key);
    }

    /// Takes a request back.
    pub fn cancel(&mut self, peers: &mut Peers, availability: &Availability, key: Handle, id: u64) {
        let Some(peer) = peers.get_mut(&key) else { return };
        peer.queue.wanted.retain(|wanted| wanted.id != id);
        peer.queue.awaited.retain(|&(awaited, _)| awaited != id);
        if peer.queue.serving.as_ref().is_some_and(|(serving, _)| *serving == id) {
            let (_, target) = peer.queue.serving.take().expect("just seen");
            self.unsend(peers, availability, key, target.piece);
        }
    }

    /// A peer announced a piece: it is spread, unless only by the one that we gave it to.
    pub fn on_announced(&mut self, now: Instant, peers: &mut Peers, key: Handle, piece: PieceIndex) {
        let was_given = peers.get_mut(&key).is_some_and(|peer| peer.queue.given.remove(&piece));
        let first_to = &mut self.first_to[piece.as_usize()];
        if first_to.is_some_and(|first| first != key) {
            let first = first_to.take().expect("just seen");
            if let Some(peer) = peers.get_mut(&first) {
                peer.queue.unspread = peer.queue.unspread.saturating_sub(1);
                // Whom we have given it, too, owes it to nobody else.
                if !was_given {
                    peer.dealings.on_relayed(now, self.lengths.piece_len(piece).into());
                }
            }
        }
    }

    /// A peer has left, and its pieces are no longer counted: what only it had from us has to be sent once more.
    pub fn remove_peer(&mut self, peers: &Peers, availability: &Availability, key: Handle, peer: &Peer) {
        let given = peer.queue.given.iter().copied();
        if let Announced::Known(pieces) = &peer.pieces {
            pieces.iter().chain(given).for_each(|piece| self.restore(peers, availability, piece));
        }
        for first in self.first_to.iter_mut().filter(|first| **first == Some(key)) {
            *first = None;
        }
        if self.current == Some(key) {
            self.current = None;
        }
        self.hopeful.remove(&key);
    }

    /// Each piece was sent: what only those have who pass nothing on has to be sent again, while there is time to spread it.
    fn restore_given_away(&mut self, peers: &Peers, availability: &Availability) {
        let freeloaders = peers.values().filter(|peer| peer.dealings.standing == Standing::Freeloads);
        for &piece in freeloaders.flat_map(|peer| &peer.queue.given) {
            self.restore(peers, availability, piece);
        }
    }

    /// A piece did not get to a peer that passes it on, or left with it: it is unsent, unless another has it or is getting it.
    fn restore(&mut self, peers: &Peers, availability: &Availability, piece: PieceIndex) {
        let passes_on =
            |peer: &Peer| peer.queue.given.contains(&piece) && peer.dealings.standing != Standing::Freeloads;
        if availability.unspread().get(piece) && !peers.values().any(passes_on) {
            self.unsent.set(piece);
        }
    }

    fn unsend(&mut self, peers: &mut Peers, availability: &Availability, key: Handle, piece: PieceIndex) {
        let Some(peer) = peers.get_mut(&key) else { return };
        let was_given = peer.queue.given.remove(&piece);
        if self.first_to[piece.as_usize()] == Some(key) {
            self.first_to[piece.as_usize()] = None;
            peer.queue.unspread = peer.queue.unspread.saturating_sub(1);
        }
        if was_given {
            self.restore(peers, availability, piece);
        }
    }

    /// What to do next, given to whom a block `may_go` at once. `None` if nobody wants anything that may go.
    pub fn next(
        &mut self,
        now: Instant,
        peers: &mut Peers,
        availability: &Availability,
        is_source: bool,
        rng: &mut Rng,
        may_go: impl Fn(Handle) -> bool,
    ) -> Option<Next> {
        loop {
            let key = self.choose_peer(now, peers, is_source, &may_go)?;
            self.current = Some(key);
            let peer = peers.get_mut(&key).expect("just chosen");
            if let Some((id, target)) = &mut peer.queue.serving {
                let together = target.blocks.end.min(target.blocks.start + self.lengths.blocks_together());
                let blocks = target.blocks.start..together;
                let serve = Serve { to: key, id: *id, target: Target { piece: target.piece, blocks } };
                target.blocks.start = together;
                if target.blocks.is_empty() {
                    peer.queue.serving = None;
                    self.current = None;
                }
                self.turn += 1;
                if peer.dealings.standing != Standing::Freeloads {
                    self.last_earned = now;
                }
                (peer.queue.served, peer.queue.denied) = (self.turn, 0);
                return Some(Next::Block(serve));
            }
            let wanted = peer.queue.wanted.pop_front().expect("chosen because it wants something");
            match wanted.what {
                What::Blocks(target) => self.start(peers, availability, key, wanted.id, target),
                What::Any { residue, modulus } => {
                    match self.choose_piece(now, peers, availability, key, (residue, modulus), rng) {
                        Some(piece) => {
                            let blocks = 0..self.lengths.block_count(piece);
                            self.start(peers, availability, key, wanted.id, Target { piece, blocks });
                        }
                        None => {
                            self.current = None;
                            return Some(self.refuse(peers, key, wanted.id, (residue, modulus)));
                        }
                    }
                }
            }
        }
    }

    /// The peer under way, if it may go on; else the one that deserves it most.
    fn choose_peer(
        &mut self,
        now: Instant,
        peers: &Peers,
        is_source: bool,
        may_go: impl Fn(Handle) -> bool,
    ) -> Option<Handle> {
        let is_loaded = |piece| !self.loading.contains(&piece);
        let wants = |peer: &Peer| match &peer.queue.serving {
            Some((_, target)) => is_loaded(target.piece),
            None => !peer.queue.wanted.is_empty(),
        };
        let is_due = self.favours >= FAVOURS;
        // What only a freeloader has must be sent again, to somebody who passes it on. So it gets nothing fresh while others wait,
        // neither of our choice nor of its own.
        let is_fresh = |wanted: &Wanted| match &wanted.what {
            What::Blocks(target) => is_source && self.unsent.get(target.piece),
            What::Any { .. } => false,
        };
        let wants_fresh = |queue: &Queue| queue.wanted.front().is_some_and(is_fresh);
        let (is_idle, has_earned) = (self.is_idle(now), self.earned >= EARNED);
        let is_eligible = |Peer { queue, dealings, .. }: &Peer| match dealings.standing {
            // A piece that was begun is of no use before it is whole.
            Standing::Freeloads => is_idle || queue.serving.is_some() || has_earned && !wants_fresh(queue),
            _ => true,
        };
        if let Some(current) = self.current
            && peers
                .get(&current)
                .is_some_and(|peer| peer.queue.serving.is_some() && wants(peer) && is_eligible(peer))
            && may_go(current)
        {
            return Some(current);
        }
        let rank = |peer: &Peer| {
            let had = peer.piece_count() + peer.queue.given.len() as u32;
            let progress = if is_source { peer.queue.unspread } else { had };
            let precedence = match peer.dealings.standing {
                Standing::Freeloads => 2,
                standing => u8::from(standing.is_choked() != is_due),
            };
            // A piece that was begun goes before any that wasn't.
            let is_begun = peer.queue.serving.is_some();
            (precedence == 2, !is_begun, precedence, progress, peer.queue.served)
        };
        let mut best = None;
        self.idle_from = None;
        self.hopeful.retain(|key| {
            let Some(peer) = peers.get(&key).filter(|peer| wants(peer)) else { return false };
            let rank = rank(peer);
            // Whether it may go is asked only of those who would be chosen.
            if !is_eligible(peer) {
                self.idle_from = Some(self.last_earned + IDLE);
                return true;
            }
            if best.is_some_and(|(least, _)| rank >= least) {
                return true;
            }
            let is_free = may_go(key);
            if is_free {
                best = Some((rank, key));
            }
            is_free
        });
        best.map(|(_, key)| key)
    }

    /// Whether nobody who deserves it was served for a while.
    fn is_idle(&self, now: Instant) -> bool {
        now.since(self.last_earned) >= IDLE
    }

    /// A piece of the class `residue` (mod `modulus`) that nobody relays, and that was never sent or has to be again. None for freeloaders, unless
    /// the uplink idles.
    fn choose_piece(
        &mut self,
        now: Instant,
        peers: &Peers,
        availability: &Availability,
        key: Handle,
        (residue, modulus): (u32, u32),
        rng: &mut Rng,
    ) -> Option<PieceIndex> {
        let freeloads = peers[&key].dealings.standing == Standing::Freeloads;
        if freeloads && !self.is_idle(now) {
            return None;
        }
        if !freeloads && !self.unsent.meets(availability.unspread()) {
            self.restore_given_away(peers, availability);
        }
        if modulus >= Lengths::MAX_PIECES {
            // A class of one.
            let piece = self.lengths.piece(residue.into())?;
            self.reader = Some(piece);
            let is_free = self.unsent.get(piece) && availability.unspread().get(piece);
            let has = peers[&key].has(piece) || peers[&key].queue.given.contains(&piece);
            return (is_free && !has).then_some(piece);
        }
        let mut choice = self.unsent.clone();
        choice.keep(availability.unspread());
        if let Announced::Known(pieces) = &peers[&key].pieces {
            choice.remove(pieces);
        }
        // Also where it freeloaded when it got them.
        peers[&key].queue.given.iter().for_each(|&piece| _ = choice.clear(piece));
        let is_of_class = |piece: &PieceIndex| piece.get() % modulus == residue;
        if let Some(reader) = self.reader {
            let next = choice.iter().skip_while(|&piece| piece < reader).find(is_of_class);
            if next.is_some() {
                return next;
            }
        }
        let near: Vec<PieceIndex> = choice.iter().filter(is_of_class).take(NEAR).collect();
        (!near.is_empty()).then(|| near[rng.index(near.len())])
    }

    fn start(
        &mut self,
        peers: &mut Peers,
        availability: &Availability,
        key: Handle,
        id: u64,
        target: Target,
    ) {
        let piece = target.piece;
        let peer = peers.get_mut(&key).expect("only peers are served");
        self.favours = if peer.dealings.standing.is_choked() { 0 } else { self.favours + 1 };
        self.earned = if peer.dealings.standing == Standing::Freeloads { 0 } else { self.earned + 1 };
        peer.queue.serving = Some((id, target));
        if peer.queue.given.insert(piece) && self.unsent.clear(piece) && availability.unspread().get(piece) {
            peer.queue.unspread += 1;
            let former = self.first_to[piece.as_usize()].replace(key);
            if let Some(former) = former.and_then(|former| peers.get_mut(&former)) {
                former.queue.unspread = former.queue.unspread.saturating_sub(1);
            }
        }
    }

    /// Gives back the credit `first` and those of the same class that follow it in the queue.
    fn refuse(&mut self, peers: &mut Peers, key: Handle, first: u64, class: (u32, u32)) -> Next {
        let queue = &mut peers.get_mut(&key).expect("only peers are refused").queue;
        let mut credits = 1;
        while let Some(Wanted { id, what: What::Any { residue, modulus } }) = queue.wanted.front()
            && *id == first + credits
            && (*residue, *modulus) == class
        {
            queue.wanted.pop_front();
            credits += 1;
        }
        Next::Refuse { to: key, first, credits }
    }
}

/// Most bytes that one message of content takes, its own header included.
pub const MAX_BLOCK_MESSAGE: usize = MAX_BLOCK_LEN as usize + 32;

#[cfg(test)]
mod tests;
