//! The sender's half of a swarm: who is served next, and with what.
//!
//! Chooses and keeps books; reads no content and sends nothing. A piece of our own choice is bound only when its
//! transmission starts: the least sent, ties at random. One piece goes to one peer at a time, so that the first whole
//! copies exist early; a source serves whoever has the fewest unspread pieces, a relay whoever has the fewest pieces.

use std::collections::BTreeSet;

use super::availability::Availability;
use super::choker::Standing;
use super::download::{Peers, block_count};
use super::message::BLOCK_LEN;
use super::peer::{Announced, Peer, Queue, Target, Wanted, What};
use super::pieces::{Bitfield, Lengths, PieceIndex};
use crate::rand::Rng;
use crate::rudp::Handle;
use crate::small::SmallSet;
use crate::time::{Duration, Instant};

/// Most requests that one peer may have waiting, and most in a row that can't be served; more is an attack.
pub const MAX_WANTED: usize = 2_000;
/// After so many pieces in a row for those who have a place, one is for who has none: it is served even where nothing is to spare.
const FAVOURS: u32 = 2;
/// Freeloaders are served where nobody else was for this long, and one piece of theirs after so many of others.
const IDLE: Duration = Duration::from_millis(300);
const EARNED: u32 = 16;
/// So many random draws are tried for a piece of a class before all are looked through.
const DRAWS: usize = 16;

/// A block to be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serve {
    /// To whom.
    pub to: Handle,
    /// Its name for the request.
    pub id: u64,
    /// The piece.
    pub piece: PieceIndex,
    /// The block.
    pub block: u32,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// The pieces that nobody has, or is getting, from us.
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
        self.loading.insert(serve.piece);
        self.hopeful.insert(serve.to);
        let Some(peer) = peers.get_mut(&serve.to) else { return };
        match &mut peer.queue.serving {
            Some((_, target)) => target.blocks.start = serve.block,
            none => {
                let blocks = serve.block..serve.block + 1;
                *none = Some((serve.id, Target { piece: serve.piece, blocks }));
            }
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

    /// A piece did not get to a peer, or left with it: it is unsent, unless another has it or is getting it.
    fn restore(&mut self, peers: &Peers, availability: &Availability, piece: PieceIndex) {
        if availability.unspread().get(piece) && !peers.values().any(|peer| peer.queue.given.contains(&piece))
        {
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
                let serve = Serve { to: key, id: *id, piece: target.piece, block: target.blocks.start };
                target.blocks.start += 1;
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
                            let blocks = 0..block_count(&self.lengths, piece);
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

    /// A piece of the class `residue` (mod `modulus`) that was never sent and that nobody relays. None for freeloaders, unless
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
        if self.unsent.is_empty() || freeloads && !self.is_idle(now) {
            return None;
        }
        if modulus >= Lengths::MAX_PIECES {
            // A class of one.
            let piece = self.lengths.piece(residue.into())?;
            self.reader = Some(piece);
            let is_free = self.unsent.get(piece) && availability.unspread().get(piece);
            return Some(piece).filter(|&piece| is_free && !peers[&key].has(piece));
        }
        let mut choice = self.unsent.clone();
        choice.keep(availability.unspread());
        if let Announced::Known(pieces) = &peers[&key].pieces {
            choice.remove(pieces);
        }
        let is_of_class = |piece: &PieceIndex| piece.get() % modulus == residue;
        if let Some(reader) = self.reader {
            let next = choice.iter().skip_while(|&piece| piece < reader).find(is_of_class);
            if next.is_some() {
                return next;
            }
        }
        (0..DRAWS).find_map(|_| choice.draw(rng).filter(is_of_class)).or_else(|| {
            let class: Vec<PieceIndex> = choice.iter().filter(is_of_class).collect();
            (!class.is_empty()).then(|| class[rng.index(class.len())])
        })
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
        if peer.queue.given.insert(piece) && self.unsent.clear(piece) && availability.unspread().get(piece) {
            self.first_to[piece.as_usize()] = Some(key);
            peer.queue.unspread += 1;
        }
        peer.queue.serving = Some((id, target));
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
pub const MAX_BLOCK_MESSAGE: usize = BLOCK_LEN as usize + 32;

#[cfg(test)]
mod tests {
    use super::*;

    /// A source of `pieces` pieces of one block each, and the peers that want them.
    struct Table {
        upload: Upload,
        availability: Availability,
        peers: Peers,
        rng: Rng,
    }

    impl Table {
        fn new(pieces: u64, peers: u64) -> Table {
            let lengths = Lengths::new(pieces * 4_096, 12).unwrap();
            let mut table = Table {
                upload: Upload::new(lengths),
                availability: Availability::new(lengths),
                peers: Peers::new(),
                rng: Rng::from_seed(1),
            };
            for key in 0..peers {
                let remote = format!("10.0.0.{key}:1").parse().unwrap();
                let mut peer = Peer::new(remote, key, Instant::ORIGIN);
                peer.pieces = Announced::Known(Bitfield::new(&lengths));
                table.peers.insert(Handle::for_test(key), peer);
            }
            table
        }

        fn wants_any(&mut self, key: u64, ids: std::ops::Range<u64>) {
            let key = Handle::for_test(key);
            let peer = self.peers.get_mut(&key).unwrap();
            for id in ids {
                assert!(self.upload.want(
                    key,
                    peer,
                    Wanted { id, what: What::Any { residue: 0, modulus: 1 } }
                ));
            }
        }

        fn wants(&mut self, key: u64, id: u64, piece: PieceIndex) {
            let key = Handle::for_test(key);
            let what = What::Blocks(Target { piece, blocks: 0..1 });
            assert!(self.upload.want(key, self.peers.get_mut(&key).unwrap(), Wanted { id, what }));
        }

        fn next(&mut self) -> Option<Next> {
            self.next_for(|_| true)
        }

        fn next_for(&mut self, may_go: impl Fn(Handle) -> bool) -> Option<Next> {
            self.upload.next(
                Instant::ORIGIN,
                &mut self.peers,
                &self.availability,
                true,
                &mut self.rng,
                may_go,
            )
        }

        fn serves(&mut self) -> (Handle, PieceIndex) {
            match self.next() {
                Some(Next::Block(serve)) => (serve.to, serve.piece),
                other => panic!("{other:?}"),
            }
        }

        fn leaves(&mut self, key: Handle) {
            let peer = self.peers.remove(&key).unwrap();
            self.availability.discount_peer(&peer);
            self.upload.remove_peer(&self.peers, &self.availability, key, &peer);
        }

        fn announces(&mut self, key: u64, piece: PieceIndex) {
            let handle = Handle::for_test(key);
            let peer = self.peers.get_mut(&handle).unwrap();
            if let Announced::Known(pieces) = &mut peer.pieces {
                pieces.set(piece);
            }
            self.availability.count(peer, piece);
            self.upload.on_announced(Instant::ORIGIN, &mut self.peers, handle, piece);
        }
    }

    #[test]
    fn a_freeloader_gets_nothing_that_only_it_would_have() {
        let mut table = Table::new(40, 2);
        let rider = Handle::for_test(1);
        table.peers.get_mut(&rider).unwrap().dealings.standing = Standing::Freeloads;
        table.wants_any(0, 0..40);
        table.wants_any(1, 0..1);
        let given: Vec<PieceIndex> = (0..EARNED).map(|_| table.serves().1).collect();
        // The other's window is full now.
        let is_alone = |key| key == rider;
        assert_eq!(table.next_for(is_alone), Some(Next::Refuse { to: rider, first: 0, credits: 1 }));
        let fresh = table.upload.unsent.iter().next().unwrap();
        table.wants(1, 1, fresh);
        assert_eq!(table.next_for(is_alone), None, "nor if it asks for it in particular");
        table.peers.get_mut(&rider).unwrap().queue.wanted.clear();
        table.wants(1, 2, given[0]);
        let Some(Next::Block(serve)) = table.next_for(is_alone) else { panic!() };
        assert_eq!((serve.to, serve.piece), (rider, given[0]), "what another has it may have");
    }

    #[test]
    fn each_piece_goes_out_once_before_any_goes_twice() {
        let mut table = Table::new(6, 2);
        table.wants_any(0, 0..4);
        table.wants_any(1, 0..4);
        let mut served: Vec<_> = (0..6).map(|_| table.serves()).collect();
        served.sort_by_key(|&(_, piece)| piece);
        let pieces: Vec<u32> = served.iter().map(|(_, piece)| piece.get()).collect();
        assert_eq!(pieces, [0, 1, 2, 3, 4, 5]);
        assert_eq!(served.iter().filter(|(to, _)| *to == Handle::for_test(0)).count(), 3);
        assert!(matches!(table.next(), Some(Next::Refuse { first: 3, credits: 1, .. })));
        assert!(matches!(table.next(), Some(Next::Refuse { first: 3, credits: 1, .. })));
        assert_eq!(table.next(), None);
    }

    #[test]
    fn whoever_relays_is_served_and_whoever_hoards_waits() {
        let mut table = Table::new(9, 3);
        (0..3).for_each(|key| table.wants_any(key, 0..3));
        let first: Vec<_> = (0..3).map(|_| table.serves()).collect();
        // What the peer 1 got first is announced by another; the others' pieces are not.
        let (_, spread) = first.iter().find(|(to, _)| *to == Handle::for_test(1)).copied().unwrap();
        table.announces(1, spread);
        table.announces(2, spread);
        assert_eq!(table.serves().0, Handle::for_test(1));
    }

    #[test]
    fn what_was_not_finished_counts_as_unsent() {
        let mut table = Table::new(1, 2);
        table.wants_any(0, 0..1);
        table.wants_any(1, 0..1);
        let (to, piece) = table.serves();
        table.leaves(to);
        let (other, again) = table.serves();
        assert!(other != to && again == piece);
    }

    #[test]
    fn what_left_with_the_only_one_who_had_it_counts_as_unsent() {
        let mut table = Table::new(1, 3);
        let served = |table: &mut Table, key| {
            table.wants_any(key, 0..1);
            let (to, piece) = table.serves();
            assert_eq!(to, Handle::for_test(key));
            table.announces(key, piece);
        };
        served(&mut table, 0);
        table.leaves(Handle::for_test(0));
        served(&mut table, 1);
        // As long as somebody has it, it is for that one to relay.
        table.wants_any(2, 0..1);
        assert!(matches!(table.next(), Some(Next::Refuse { .. })));
    }

    #[test]
    fn a_cancelled_request_is_not_served() {
        let mut table = Table::new(2, 1);
        let piece = table.upload.lengths.piece(1).unwrap();
        let handle = Handle::for_test(0);
        let wanted = Wanted { id: 7, what: What::Blocks(Target { piece, blocks: 0..1 }) };
        table.upload.want(handle, table.peers.get_mut(&handle).unwrap(), wanted);
        table.upload.cancel(&mut table.peers, &table.availability, handle, 7);
        assert_eq!(table.next(), None);
    }

    #[test]
    fn nobody_is_served_beyond_what_may_go() {
        let mut table = Table::new(2, 2);
        table.wants_any(0, 0..1);
        table.wants_any(1, 0..1);
        let only = Handle::for_test(1);
        let next = table.next_for(|key| key == only);
        assert!(matches!(next, Some(Next::Block(serve)) if serve.to == only));
        assert_eq!(table.next_for(|key| key == only), None);
        // The other is asked again only when something has happened to its connection.
        let other = Handle::for_test(0);
        table.upload.stir(other);
        assert!(matches!(table.next(), Some(Next::Block(serve)) if serve.to == other));
    }

    #[test]
    fn whoever_waits_for_the_disk_holds_nobody_up() {
        let mut table = Table::new(2, 2);
        table.wants_any(0, 0..1);
        table.wants_any(1, 0..1);
        let Some(Next::Block(held)) = table.next() else { panic!("nothing to serve") };
        table.upload.hold_back(&mut table.peers, &held);
        let (other, _) = table.serves();
        assert!(other != held.to);
        assert_eq!(table.next(), None);
        table.upload.on_loaded(&table.peers, held.piece);
        assert_eq!(table.next(), Some(Next::Block(held)));
    }

    #[test]
    fn a_flood_of_requests_is_noticed() {
        let mut table = Table::new(2, 1);
        table.wants_any(0, 0..MAX_WANTED as u64);
        let key = Handle::for_test(0);
        let peer = table.peers.get_mut(&key).unwrap();
        let one_more = Wanted { id: 0, what: What::Any { residue: 0, modulus: 1 } };
        assert!(!table.upload.want(key, peer, one_more));
    }
}
