//! The receiver's half of a swarm: what is still missing, what has been asked of whom, and whom to ask next.
//!
//! Decides and keeps books; sends nothing and writes nothing: [`Ask`]s and whole pieces are handed to
//! [`super::swarm`].

mod arrival;
mod blocks;
mod checking;
mod in_order;
mod selection;
mod takeover;

pub use self::arrival::{Arrival, WholePiece};
pub use self::blocks::Blocks;
use self::in_order::Reader;
use super::availability::Availability;
use super::peer::{Announced, Peer, Request, Source, Target};
use super::picker;
use super::pieces::{Bitfield, Lengths, MAX_BLOCK_LEN, PieceIndex};
use crate::rand::Rng;
use crate::rudp::Handle;
use crate::small::SmallMap;
use crate::time::{Duration, Instant};

/// The peers of a swarm, by connection.
pub type Peers = SmallMap<Handle, Peer>;

/// Into so many portions each source's share of what is left is cut, where it isn't asked for a piece at a time.
const PORTIONS: f64 = 4.0;
/// So many pieces, or what is asked for at a time instead, are under way from each source at least: with one, it would idle between two.
const MIN_PORTIONS: u64 = 2;
/// Or what it delivers in this time and in so many round trips: what it learns of is asked for a round trip later, and waits there
/// for others.
const DEPTH: Duration = Duration::from_millis(300);
const DEPTH_ROUND_TRIPS: u32 = 4;
/// Instead of the least number, one piece is enough where so many sources are asked that more than so many pieces are under way, and more than arrives in this time. What is
/// asked for beyond that waits in line, and can be passed on the later.
const PLENTY_PIECES: u64 = 16;
const PLENTY: Duration = Duration::from_millis(500);
/// With more peers than this, of whom each is asked for one piece, the next is asked for when so many percent of it are still to come: else
/// each would idle between two for a round trip. (Measured with pieces of 16 KiB; from thirty percent to ninety, little depends on it.)
const MANY_PEERS: usize = 16;
const TAIL_PERCENT: u64 = 30;
/// With so many peers, one that has fewer pieces than this left to ask for is asked for one piece, and half as far ahead: what waits in its
/// line another may be able to send at once.
const SCARCE: u32 = 16;
/// A lone origin gets so many more credits for short pieces each time: every time costs it an acknowledgement of its own.
const CREDITS_TOGETHER: u64 = 3;
/// Most requests under way from one source.
const MAX_REQUESTS: usize = 500;
/// After a refusal, a source gets no credits for at least, and at most, this long.
const CREDIT_PAUSE: Duration = Duration::from_millis(300);
const MAX_CREDIT_PAUSE: Duration = Duration::from_secs(5);
/// After this many refusals in a row it is asked for particular pieces.
const MAX_REFUSALS: u32 = 4;
/// Most that may be under way or wait to be stored, B; but each source may always have the least that keeps it busy.
const MAX_UNDER_WAY: u64 = 24 << 20;

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

/// What a receiver is about.
#[derive(Debug)]
pub struct Download {
    lengths: Lengths,
    /// Where each piece and block stands.
    pub blocks: Blocks,
    /// The sources that began complete, ordered by address, which all receivers see alike.
    origins: Vec<Handle>,
    /// For each origin, the class of pieces that it chooses from: those ≡ its place (mod the number of origins).
    classes: Vec<Bitfield>,
    /// Who reads the content while it comes; `None` if nobody does, and order doesn't matter.
    reader: Option<Reader>,
    /// Payload that arrived twice, B.
    pub duplicate_bytes: u64,
}

impl Download {
    /// A download of which `have` is there already.
    pub fn new(lengths: Lengths, have: Bitfield) -> Download {
        Download {
            lengths,
            blocks: Blocks::new(lengths, have),
            origins: Vec::new(),
            classes: Vec::new(),
            reader: None,
            duplicate_bytes: 0,
        }
    }

    /// Takes a newcomer into account.
    pub fn add_peer(&mut self, peers: &Peers) {
        self.refresh_origins(peers);
    }

    /// Frees what a peer that leaves was asked for.
    pub fn remove_peer(&mut self, peers: &Peers, mut leaving: Peer) {
        leaving.source.take_all().iter().for_each(|request| self.release(request));
        self.refresh_origins(peers);
    }

    fn refresh_origins(&mut self, peers: &Peers) {
        self.origins = peers.iter().filter(|(_, peer)| peer.began_complete).map(|(&key, _)| key).collect();
        self.origins.sort_by_key(|key| peers[key].remote);
        let count = self.origins.len();
        if self.classes.len() != count {
            self.classes = vec![Bitfield::new(&self.lengths); count];
            for piece in self.lengths.pieces().filter(|_| count > 0) {
                self.classes[piece.as_usize() % count].set(piece);
            }
        }
    }

    /// Asks one source for as much as keeps it busy.
    pub fn fill(
        &mut self,
        now: Instant,
        peers: &mut Peers,
        availability: &Availability,
        key: Handle,
        rng: &mut Rng,
    ) -> Vec<Ask> {
        let mut asks = Vec::new();
        if self.blocks.has_nothing_to_ask() || !peers[&key].source.is_trusted(now) {
            return asks;
        }
        let piece_len = u64::from(self.lengths.full_piece_len());
        let source = &peers[&key].source;
        let ahead = DEPTH + source.min_rtt * DEPTH_ROUND_TRIPS;
        let depth = (source.meter.rate(now) * ahead.as_secs_f64()) as u64;
        // What others are asked for can only lessen it: where there are few there is no need to sum that up.
        if source.outstanding() >= depth.max(MIN_PORTIONS * piece_len) {
            return asks;
        }
        let asked: u64 = peers.values().map(|peer| peer.source.outstanding()).sum();
        let others = asked - source.outstanding() + self.blocks.storing_bytes();
        let is_scarce = self.is_scarce(peers, key);
        let depth = if is_scarce { depth / 2 } else { depth };
        let is_one_enough = is_scarce || self.has_plenty(now, peers, asked);
        let portion = self.portion(now, peers, key);
        let portion_len = u64::from(portion * self.lengths.block_len());
        let least = if is_one_enough { portion_len } else { MIN_PORTIONS * portion_len };
        let mut is_early = is_one_enough && self.is_nearly_through(now, peers, key);
        let depth = depth.min(MAX_UNDER_WAY.saturating_sub(others)).max(least);
        loop {
            let source = &peers[&key].source;
            // The first question alone may come early.
            let under_way = match std::mem::take(&mut is_early) {
                true => source.left_to_come(),
                false => source.outstanding(),
            };
            let room = depth.saturating_sub(under_way);
            if room == 0 || source.requests().len() >= MAX_REQUESTS || self.blocks.has_nothing_to_ask() {
                return asks;
            }
            if let Some(ask) = self.ask_ahead(now, peers, availability, key) {
                asks.push(ask);
                continue;
            }
            if let Some(credits) = self.grant_credits(now, peers, availability, key, room) {
                asks.push(credits);
                continue;
            }
            let Some(mut target) = self.pick(now, peers, availability, key, rng) else { return asks };
            if !self.blocks.needs_one_giver(target.piece) {
                target.blocks.end = target.blocks.end.min(target.blocks.start + portion);
            }
            let id = self.request(now, peers, key, Some(target.clone()));
            asks.push(Ask::Blocks { id, target });
        }
    }

    /// Whether there are so many peers that each is asked for one piece, and that of this one has come but for its end: then it may be
    /// time to [`fill`](Download::fill).
    pub fn is_nearly_through(&self, now: Instant, peers: &Peers, key: Handle) -> bool {
        let tail = TAIL_PERCENT * u64::from(self.lengths.full_piece_len()) / 100;
        let is_last = |source: &Source| source.requests().len() == 1 && source.left_to_come() <= tail;
        // Of one that has fallen silent, what has come in part may be of anything.
        peers.len() > MANY_PEERS
            && peers.get(&key).is_some_and(|peer| is_last(&peer.source) && !peer.source.is_silent(now))
    }

    /// The piece that will be whole within `horizon`, as all that is missing of it comes from this source now.
    pub fn completes_within(&self, now: Instant, source: &Source, horizon: Duration) -> Option<PieceIndex> {
        let (target, left) = source.coming(now)?;
        let is_last = left <= horizon.as_secs_f64() && self.blocks.is_rest(target);
        (is_last && !self.blocks.is_held_up()).then_some(target.piece)
    }

    /// How many blocks to ask a source for at a time: a piece. But of several sources, where nobody else waits for whole pieces to be passed
    /// on, a part of its share of what is left: the less is left, the less waits for the slowest (guided self-scheduling, Polychronopoulos
    /// and Kuck 1987). Not as long as it isn't known what is left, nor where what is read next goes first.
    fn portion(&self, now: Instant, peers: &Peers, key: Handle) -> u32 {
        let (piece_len, block_len) = (self.lengths.full_piece_len(), self.lengths.block_len());
        let is_for_us_alone = peers.len() == self.origins.len() && (2..=MANY_PEERS).contains(&peers.len());
        if !is_for_us_alone || self.reader.is_some() || self.blocks.checking.is_some() {
            return piece_len / block_len;
        }
        let rate = |peer: &Peer| peer.source.meter.rate(now);
        let all = peers.values().map(rate).sum::<f64>();
        let share =
            if rate(&peers[&key]) < 1.0 { 1.0 / peers.len() as f64 } else { rate(&peers[&key]) / all };
        let left = f64::from(self.blocks.untouched.count() * (piece_len / block_len));
        ((left * share / PORTIONS) as u32).clamp(1, piece_len / block_len)
    }

    /// Whether there are many peers, and this one has little left to ask for.
    fn is_scarce(&self, peers: &Peers, key: Handle) -> bool {
        let peer = &peers[&key];
        let Announced::Known(offered) = &peer.pieces else { return false };
        peers.len() > MANY_PEERS
            && !peer.began_complete
            && self.blocks.untouched.meets_in_fewer_than(offered, SCARCE)
    }

    /// Whether with `asked` B under way in all a second piece of a source would only wait. Before anything has come, the number of
    /// pieces decides alone.
    fn has_plenty(&self, now: Instant, peers: &Peers, asked: u64) -> bool {
        let rate = || peers.values().map(|peer| peer.source.meter.rate(now)).sum::<f64>();
        asked > PLENTY_PIECES * u64::from(self.lengths.full_piece_len())
            && asked as f64 >= rate() * PLENTY.as_secs_f64()
    }

    /// Lets an origin choose, as long as there are pieces that only origins have: of its own class, and when that is
    /// used up, of the class in which most is left, so that a slow or mute origin doesn't decide.
    fn grant_credits(
        &mut self,
        now: Instant,
        peers: &mut Peers,
        availability: &Availability,
        key: Handle,
        room: u64,
    ) -> Option<Ask> {
        let own = self.place_among_origins(key).filter(|_| self.lets_origins_choose(peers))?;
        let source = &peers[&key].source;
        if source.refusals >= MAX_REFUSALS || now < source.credit_pause {
            return None;
        }
        if !self.blocks.untouched.meets(availability.unspread()) {
            return None;
        }
        let mut unspread = self.blocks.untouched.clone();
        unspread.keep(availability.unspread());
        let left = |class: usize| {
            let mut left = unspread.clone();
            left.keep(&self.classes[class]);
            left.count() as usize
        };
        let granted = source.credits();
        // Beyond what the class's own origin owes, which is of that class or nobody knows of which.
        let beyond = |class: usize| {
            let origin = &peers[&self.origins[class]].source;
            let owed = if class == own || self.is_mute(now, origin) { 0 } else { origin.credits() };
            left(class).saturating_sub(granted + owed)
        };
        let (credits, class) = match beyond(own) {
            0 => (0..self.origins.len()).filter(|&class| class != own).map(|c| (beyond(c), c)).max()?,
            credits => (credits, own),
        };
        let piece_len = self.lengths.full_piece_len();
        let is_lone = self.origins.len() == 1;
        let together = if is_lone && piece_len <= MAX_BLOCK_LEN { CREDITS_TOGETHER } else { 0 };
        let most = (room.div_ceil(u64::from(piece_len)) + together).min(MAX_REQUESTS as u64);
        let credits = credits.min(most as usize);
        if credits == 0 {
            return None;
        }
        let first = peers[&key].source.next_id();
        for _ in 0..credits {
            self.request(now, peers, key, None);
        }
        Some(Ask::Any {
            id: first,
            credits: credits as u64,
            residue: class as u64,
            modulus: self.origins.len() as u64,
        })
    }

    /// Whether an origin owes pieces of its choice and has fallen silent, so that another may choose in its place. A lone one has
    /// nobody in its place: most likely it serves others first.
    fn is_mute(&self, now: Instant, origin: &Source) -> bool {
        self.origins.len() > 1 && origin.credits() > 0 && origin.is_silent(now)
    }

    /// Whether choosing is better left to the origins: they alone know what fellow receivers get. A receiver that has
    /// none does better itself, for several origins don't know of each other what they choose.
    ///
    /// Nor may they choose as long as they can't know what is here already, or that not all is wanted.
    fn lets_origins_choose(&self, peers: &Peers) -> bool {
        if self.blocks.checking.is_some() || self.blocks.wanted.is_some() {
            return false;
        }
        self.origins.len() == 1 || peers.len() > self.origins.len()
    }

    /// Its class is that of the same place; `None` for other peers.
    fn place_among_origins(&self, key: Handle) -> Option<usize> {
        self.origins.iter().position(|&origin| origin == key)
    }

    /// What to ask a source for in particular: the rest of a piece that was begun, or else the rarest.
    fn pick(
        &self,
        now: Instant,
        peers: &Peers,
        availability: &Availability,
        key: Handle,
        rng: &mut Rng,
    ) -> Option<Target> {
        let peer = &peers[&key];
        let Announced::Known(offered) = &peer.pieces else { return None };
        if let Some(rest) = self.blocks.rest_of(offered) {
            return Some(rest);
        }
        if !self.blocks.untouched.meets(offered) {
            return None;
        }
        let mut wanted = self.blocks.untouched.clone();
        wanted.keep(offered);
        if let Some(place) = self.place_among_origins(key).filter(|_| self.lets_origins_choose(peers)) {
            if peer.source.refusals < MAX_REFUSALS && self.has_unspread(availability, place) {
                return None;
            }
            wanted.remove(&self.left_to_origins(now, peers, availability));
        }
        let piece = picker::rarest(&wanted, availability, rng)?;
        Some(self.blocks.whole(piece))
    }

    /// Whether an origin has pieces of its class left that nobody relays yet.
    fn has_unspread(&self, availability: &Availability, place: usize) -> bool {
        let mut unspread = availability.unspread().clone();
        unspread.keep(&self.classes[place]);
        unspread.remove(self.blocks.have());
        !unspread.is_empty()
    }

    /// What origins will choose by themselves: that must not be asked of them, nor of another origin.
    fn left_to_origins(&self, now: Instant, peers: &Peers, availability: &Availability) -> Bitfield {
        let mut chosen = Bitfield::new(&self.lengths);
        for (origin, class) in self.origins.iter().zip(&self.classes) {
            let source = &peers[origin].source;
            let may_choose = source.credits() > 0 || source.refusals < MAX_REFUSALS;
            if may_choose && !self.is_mute(now, source) {
                chosen.add(class);
            }
        }
        chosen.keep(availability.unspread());
        chosen
    }

    /// Enters a request in the books and gives its name.
    fn request(&mut self, now: Instant, peers: &mut Peers, key: Handle, target: Option<Target>) -> u64 {
        let bytes = match &target {
            Some(target) => self.blocks.mark(target),
            None => u64::from(self.lengths.full_piece_len()),
        };
        peers.get_mut(&key).expect("only peers are asked").source.push(now, target, bytes)
    }

    /// Takes a request's blocks back.
    fn release(&mut self, request: &Request) {
        if let Some(target) = &request.target {
            self.blocks.release(target);
        }
    }

    /// A whole piece proved right: it is had, and nobody else needs to send it.
    pub fn on_verified(&mut self, peers: &mut Peers, piece: PieceIndex) -> Vec<(Handle, Ask)> {
        self.blocks.on_verified(piece);
        self.give_up(peers, piece)
    }

    /// Forgets what has arrived of a piece, and takes back what is under way of it.
    pub fn give_up(&mut self, peers: &mut Peers, piece: PieceIndex) -> Vec<(Handle, Ask)> {
        self.blocks.forget(piece);
        let mut cancels = Vec::new();
        for (&key, peer) in peers.iter_mut() {
            let is_for =
                |request: &Request| request.target.as_ref().is_some_and(|target| target.piece == piece);
            while let Some(index) = peer.source.requests().iter().position(is_for) {
                cancels.push((key, Ask::Cancel { id: peer.source.take(index).id }));
            }
        }
        cancels
    }

    /// All is there: takes back whatever is still under way.
    pub fn give_up_all(&mut self, peers: &mut Peers) -> Vec<(Handle, Ask)> {
        let taken = peers.iter_mut().flat_map(|(&key, peer)| {
            peer.source.take_all().into_iter().map(move |request| (key, Ask::Cancel { id: request.id }))
        });
        taken.collect()
    }

    /// A source gives back `credits` credits.
    pub fn on_none(&mut self, now: Instant, peers: &mut Peers, key: Handle, first: u64, credits: u64) {
        if self.take_declined(now, peers, key, first) {
            return;
        }
        let source = &mut peers.get_mut(&key).expect("only peers answer").source;
        if source.take_credits(first..first.saturating_add(credits)) > 0 {
            source.refusals += 1;
            // What it has just sent to others takes as long to spread as a piece takes from it.
            let rate = source.meter.rate(now);
            let piece_time = f64::from(self.lengths.full_piece_len()) / rate;
            let pause = if rate < 1.0 { CREDIT_PAUSE } else { Duration::from_secs_f64(piece_time) };
            source.credit_pause = now + pause.clamp(CREDIT_PAUSE, MAX_CREDIT_PAUSE);
        }
    }

    /// A source will not serve a request: it is over. What had been asked for, if it was anything in particular.
    pub fn on_reject(&mut self, now: Instant, peers: &mut Peers, key: Handle, id: u64) -> Option<Target> {
        let source = &mut peers.get_mut(&key).expect("only peers answer").source;
        let request = source.take(source.position(id)?);
        source.on_missed(now);
        self.release(&request);
        request.target
    }

    /// A source doesn't have a piece: all that it was asked for of it is free, and taken back in case that it has it by now.
    pub fn on_dont_have(
        &mut self,
        now: Instant,
        peers: &mut Peers,
        key: Handle,
        piece: PieceIndex,
    ) -> Vec<Ask> {
        let is_of_it =
            |request: &&Request| request.target.as_ref().is_some_and(|target| target.piece == piece);
        let ids: Vec<u64> = peers[&key].source.requests().iter().filter(is_of_it).map(|r| r.id).collect();
        ids.iter().for_each(|&id| _ = self.on_reject(now, peers, key, id));
        ids.into_iter().map(|id| Ask::Cancel { id }).collect()
    }
}

#[cfg(test)]
mod tests;
