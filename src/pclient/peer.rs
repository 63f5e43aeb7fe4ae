//! What is known of one peer in one swarm.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};

use super::dealings::Dealings;
use super::pieces::{Bitfield, Lengths, PieceIndex};
use super::rate::RateMeter;
use crate::time::{Duration, Instant};

/// A source that delivers nothing for twice as long as usual is silent, but within these limits.
const SILENCE: RangeInclusive<Duration> = Duration::from_millis(250)..=Duration::from_secs(4);
/// One that has sent part of a block, and no more for this long and a quarter of its usual time from block to block, in which a datagram
/// comes, has most likely lost some of it on the way.
const STUCK: Duration = Duration::from_millis(250);
/// What is asked of it first is thought to wait for its turn there when nothing of it has come for this long, or for longer than
/// usual.
const MAX_WAIT: Duration = Duration::from_millis(500);
/// One that has never delivered, after this long.
const NEW_SILENCE: Duration = Duration::from_secs(1);
/// A source that delivered nothing for this long is asked anew: something was lost that can't have been.
pub(super) const STALL: Duration = Duration::from_secs(10);
/// But where that has not helped, not before this.
const MAX_STALL: Duration = Duration::from_secs(160);
/// Who has so often in a row not given what it was asked for is not asked for a while: the first time for this long, and twice as
/// long with each further time, up to the last.
const PATIENCE: u32 = 4;
const FIRST_MISTRUST: Duration = Duration::from_millis(250);
const MAX_MISTRUST: Duration = Duration::from_secs(8);
/// Most announcements that are kept while the manifest is still missing.
const MAX_EARLY_HAVES: usize = 100_000;

/// A peer that takes part in a file.
#[derive(Debug)]
pub struct Peer {
    /// Where it is.
    pub remote: SocketAddr,
    /// Its number for the file.
    pub channel: u64,
    /// Whether it can be asked for the manifest.
    pub has_manifest: bool,
    /// Whether it had the whole file when it joined: a source, not a fellow receiver that is done.
    pub began_complete: bool,
    /// Which pieces it has.
    pub pieces: Announced,
    /// What it gives us.
    pub source: Source,
    /// What it wants from us.
    pub queue: Queue,
    /// What the two of us have given each other.
    pub dealings: Dealings,
    /// Pieces that it has to be told we have.
    pub haves: Vec<PieceIndex>,
    /// How many pieces it has announced and taken back.
    pub retractions: u32,
    /// The next part of the manifest that it asks for.
    pub wants_manifest: Option<u64>,
    /// How many parts it was given.
    pub manifest_parts: u64,
    /// When it took part, or was last told once more what is here.
    pub reminded: Instant,
    /// Whether the file was opened to it anew: its next open is the answer.
    pub is_reopened: bool,
}

impl Peer {
    /// A peer that has just opened the file as `channel`.
    pub fn new(remote: SocketAddr, channel: u64, now: Instant) -> Peer {
        Peer {
            remote,
            channel,
            has_manifest: false,
            began_complete: false,
            pieces: Announced::Early { complete: false, bytes: None, haves: Vec::new() },
            source: Source::new(now),
            queue: Queue { asked: now, ..Queue::default() },
            dealings: Dealings::new(now),
            haves: Vec::new(),
            retractions: 0,
            wants_manifest: None,
            manifest_parts: 0,
            reminded: now,
            is_reopened: false,
        }
    }

    /// Whether it has `piece`, as far as we know.
    pub fn has(&self, piece: PieceIndex) -> bool {
        matches!(&self.pieces, Announced::Known(pieces) if pieces.get(piece))
    }

    /// How many pieces it has.
    pub fn piece_count(&self) -> u32 {
        match &self.pieces {
            Announced::Known(pieces) => pieces.count(),
            Announced::Early { .. } => 0,
        }
    }
}

/// Which pieces a peer has said it has.
#[derive(Debug)]
pub enum Announced {
    /// The size of the file isn't known yet, so what it said can't be understood yet.
    Early {
        /// Everything.
        complete: bool,
        /// Its bitfield as it came.
        bytes: Option<Vec<u8>>,
        /// Announcements since.
        haves: Vec<u64>,
    },
    /// Understood.
    Known(Bitfield),
}

impl Announced {
    /// Notes that the peer has everything.
    pub fn set_complete(&mut self, lengths: Option<&Lengths>) {
        match (self, lengths) {
            (known @ Announced::Known(_), Some(lengths)) => {
                *known = Announced::Known(Bitfield::full(lengths));
            }
            (Announced::Early { complete, .. }, _) => *complete = true,
            (Announced::Known(_), None) => unreachable!("known pieces have lengths"),
        }
    }

    /// Notes an announcement that can't be understood yet.
    pub fn note_early(&mut self, pieces: &[u64]) {
        if let Announced::Early { haves, .. } = self
            && haves.len() + pieces.len() <= MAX_EARLY_HAVES
        {
            haves.extend_from_slice(pieces);
        }
    }

    /// Makes sense of what was said before the lengths were known. False if there is none in it.
    pub fn understand(&mut self, lengths: &Lengths) -> bool {
        let Announced::Early { complete, bytes, haves } = self else { return true };
        let mut pieces = if *complete { Bitfield::full(lengths) } else { Bitfield::new(lengths) };
        if let Some(bytes) = bytes {
            let Ok(bitfield) = Bitfield::from_bytes(lengths, bytes) else { return false };
            bitfield.iter().for_each(|piece| {
                pieces.set(piece);
            });
        }
        for &have in haves.iter() {
            let Some(piece) = lengths.piece(have) else { return false };
            pieces.set(piece);
        }
        *self = Announced::Known(pieces);
        true
    }
}

/// What a peer gives us: the receiver's side.
#[derive(Debug)]
pub struct Source {
    /// Requests under way, in the order in which they were made, which is that of their names.
    requests: VecDeque<Request>,
    /// Bytes of those.
    outstanding: u64,
    /// How many of those leave the choice to the source, and it has not chosen yet.
    credits: usize,
    next_id: u64,
    /// Bytes that it was ever asked for, less those that it has sent.
    owed: u64,
    /// What it delivers.
    pub meter: RateMeter,
    /// What it delivered when it last did, B/s: its rate of late says nothing of it while it is asked for nothing.
    pub rate_when_busy: f64,
    /// When it last delivered, or when it was first asked after nothing was under way.
    pub active: Instant,
    /// After how long a silence it is asked anew.
    patience: Duration,
    /// Of messages of its that aren't whole yet, what has arrived, B: most likely of a block.
    partial: u64,
    /// When more of that was last begun. What fills gaps doesn't count.
    arrived: Instant,
    /// The shortest round trip to it.
    pub min_rtt: Duration,
    /// How long it took from one delivery to the next of late, at most; zero before the first.
    pause: Duration,
    /// How often in a row what it was asked for had to be asked of others, or was denied though it claims to have it.
    misses: u32,
    /// Not before then is it asked again.
    trusted_from: Instant,
    /// How often in a row it gave credits back.
    pub refusals: u32,
    /// Not before then will it get credits again.
    pub credit_pause: Instant,
}

impl Source {
    fn new(now: Instant) -> Source {
        Source {
            requests: VecDeque::new(),
            outstanding: 0,
            credits: 0,
            next_id: 0,
            owed: 0,
            meter: RateMeter::new(now),
            rate_when_busy: 0.0,
            active: now,
            patience: STALL,
            partial: 0,
            arrived: now,
            min_rtt: Duration::ZERO,
            pause: Duration::ZERO,
            misses: 0,
            trusted_from: now,
            refusals: 0,
            credit_pause: now,
        }
    }

    /// Requests under way, in the order in which they were made; answers may come in another.
    pub fn requests(&self) -> &VecDeque<Request> {
        &self.requests
    }

    /// Bytes under way.
    pub fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// How many requests of its own choice it still owes.
    pub fn credits(&self) -> usize {
        self.credits
    }

    /// `bytes` B of content came. False if that is more than it was ever asked for: nobody honest sends what nobody wants, or
    /// sends it twice.
    pub fn on_delivered(&mut self, now: Instant, bytes: u64) -> bool {
        let Some(owed) = self.owed.checked_sub(bytes) else { return false };
        self.owed = owed;
        self.meter.add(now, bytes.saturating_sub(self.partial));
        self.partial = self.partial.saturating_sub(bytes);
        self.rate_when_busy = self.meter.rate(now);
        self.pause = now.since(self.active).max(self.pause * 7 / 8);
        self.patience = STALL.max(self.patience * 15 / 16);
        self.active = now;
        true
    }

    /// `partial` B of messages that aren't whole yet have arrived. They count for the rate at once: where a block takes
    /// seconds, a rate by whole blocks would say now twice as much, now half.
    pub fn on_arriving(&mut self, now: Instant, partial: u64) {
        if partial > self.partial {
            self.arrived = now;
        }
        self.meter.add(now, partial.saturating_sub(self.partial));
        self.partial = partial;
    }

    /// How long it takes for all that it was asked for to come, at its rate of late, s. Of one that has fallen silent, what has
    /// come in part may be of anything; and where no more of it comes, it is of no use.
    pub fn time_to_deliver(&self, now: Instant) -> f64 {
        let counts = !self.is_silent(now) && !self.is_stuck(now);
        let left = if counts { self.left_to_come() } else { self.outstanding };
        left as f64 / self.meter.rate(now).max(1.0)
    }

    /// Whether any of the block that comes next has come.
    pub fn has_begun(&self) -> bool {
        self.partial > 0
    }

    /// Whether the block that comes now has most likely stopped coming: some of it was lost, and is sent again only when that is noticed.
    /// Nothing is usual for one that hasn't delivered yet.
    pub fn is_stuck(&self, now: Instant) -> bool {
        let since = self.active.max(self.arrived);
        let is_overdue = || now.since(since) >= STUCK + 2 * self.min_rtt + self.pause / 4;
        self.has_begun() && !self.pause.is_zero() && is_overdue()
    }

    /// Bytes under way, without what has come of the block that comes now.
    pub fn left_to_come(&self) -> u64 {
        let first = self.requests.front().map_or(0, |request| request.bytes);
        self.outstanding - self.partial.min(first)
    }

    /// What it is sending of what it was asked for, and how long the rest takes at its rate of late, s. `None` where it was asked for
    /// several things, which may come in any order.
    pub fn coming(&self, now: Instant) -> Option<(&Target, f64)> {
        let comes = self.has_begun() && !self.is_silent(now) && !self.is_stuck(now);
        let first = self.requests.front().filter(|_| comes && self.requests.len() == 1)?;
        let left = first.bytes.saturating_sub(self.partial);
        Some((first.target.as_ref()?, left as f64 / self.meter.rate(now).max(1.0)))
    }

    /// Whether it has delivered nothing for twice as long as usual.
    pub fn is_silent(&self, now: Instant) -> bool {
        let usual = if self.pause.is_zero() { NEW_SILENCE } else { self.pause * 2 };
        now.since(self.active) >= usual.clamp(*SILENCE.start(), *SILENCE.end())
    }

    /// Takes all requests out if it has delivered nothing for so long that something must have gone wrong, though what it
    /// gives has `spread` as lately as that. Next time it has twice as long: if all it did was to serve many others first, asking
    /// anew has put off our turn once more.
    pub fn take_stalled(&mut self, now: Instant, spread: Instant) -> VecDeque<Request> {
        if self.requests.is_empty() || now.since(self.active.max(spread)) < self.patience {
            return VecDeque::new();
        }
        self.active = now;
        self.patience = (self.patience * 2).min(MAX_STALL);
        self.take_all()
    }

    /// Whether what was asked of it first most likely still waits for its turn there. Where answers take longer anyway, what is
    /// taken back after a moment is on its way already, and comes for nothing, time and again.
    pub fn keeps_waiting(&self, now: Instant) -> bool {
        !self.has_begun() && now.since(self.active) >= self.pause.clamp(MAX_WAIT, *SILENCE.end())
    }

    /// It didn't give what it was asked for. Who does so time and again gets in the way of those who would: it is asked again after
    /// ever longer pauses.
    pub fn on_missed(&mut self, now: Instant) {
        self.misses += 1;
        if let Some(further) = self.misses.checked_sub(PATIENCE) {
            self.trusted_from = now + (FIRST_MISTRUST * (1 << further.min(10))).min(MAX_MISTRUST);
        }
    }

    /// It gave something that was missing.
    pub fn on_kept_word(&mut self) {
        self.misses = 0;
    }

    /// How often in a row it didn't give what it was asked for.
    pub fn misses(&self) -> u32 {
        self.misses
    }

    /// Whether it may be asked for anything now.
    pub fn is_trusted(&self, now: Instant) -> bool {
        now >= self.trusted_from
    }

    /// Enters a request for `bytes` B and gives its name.
    pub fn push(&mut self, now: Instant, target: Option<Target>, bytes: u64) -> u64 {
        if self.requests.is_empty() {
            self.active = now;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.outstanding += bytes;
        self.owed += bytes;
        self.credits += usize::from(target.is_none());
        self.requests.push_back(Request { id, target, bytes });
        id
    }

    /// Of all that it was ever asked for, what it has not sent, B.
    pub fn owed(&self) -> u64 {
        self.owed
    }

    /// It may send so much more, B, than it is asked for here.
    pub fn owe(&mut self, bytes: u64) {
        self.owed += bytes;
    }

    /// The name of the next request.
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    /// Where the request `id` stands.
    pub fn position(&self, id: u64) -> Option<usize> {
        self.requests.binary_search_by_key(&id, |request| request.id).ok()
    }

    /// Whether there was a request `id` that has been answered or taken back.
    pub fn is_over(&self, id: u64) -> bool {
        id < self.next_id && self.position(id).is_none()
    }

    /// The source has chosen what it sends for a credit.
    pub fn bind(&mut self, index: usize, target: Target, bytes: u64) {
        let request = &mut self.requests[index];
        self.credits -= usize::from(request.target.is_none());
        self.outstanding = self.outstanding + bytes - request.bytes;
        request.bytes = bytes;
        request.target = Some(target);
    }

    /// `bytes` B of a request have come, or won't: those of its blocks before `next`. Ends it with its last block.
    pub fn settle(&mut self, index: usize, next: u32, bytes: u64) {
        let request = &mut self.requests[index];
        let settled = bytes.min(request.bytes);
        request.bytes -= settled;
        self.outstanding -= settled;
        let target = request.target.as_mut().expect("bound before it is delivered");
        target.blocks.start = next;
        if target.blocks.is_empty() {
            self.take(index);
        }
    }

    /// Takes a request out.
    pub fn take(&mut self, index: usize) -> Request {
        let request = self.requests.remove(index).expect("the index of a request");
        self.outstanding -= request.bytes;
        self.credits -= usize::from(request.target.is_none());
        request
    }

    /// Takes the credits of these names out; how many there were.
    pub fn take_credits(&mut self, ids: Range<u64>) -> usize {
        let is_returned = |request: &Request| request.target.is_none() && ids.contains(&request.id);
        let returned = self.requests.iter().filter(|request| is_returned(request));
        let (count, bytes) =
            returned.fold((0, 0), |(count, bytes), request| (count + 1, bytes + request.bytes));
        self.requests.retain(|request| !is_returned(request));
        self.credits -= count;
        self.outstanding -= bytes;
        count
    }

    /// Takes all requests out.
    pub fn take_all(&mut self) -> VecDeque<Request> {
        (self.outstanding, self.credits) = (0, 0);
        std::mem::take(&mut self.requests)
    }
}

/// A request under way.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its name.
    pub id: u64,
    /// What was asked for; `None` while the source may still choose.
    pub target: Option<Target>,
    /// Bytes that it accounts for.
    pub bytes: u64,
}

/// Blocks of a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which piece.
    pub piece: PieceIndex,
    /// Which blocks of it have not arrived under this request.
    pub blocks: Range<u32>,
}

/// What a peer wants from us: the sender's side.
#[derive(Debug, Default)]
pub struct Queue {
    /// In the order of arrival.
    pub wanted: VecDeque<Wanted>,
    /// Requests for what was announced and isn't here yet: name and target.
    pub awaited: Vec<(u64, Target)>,
    /// The request being served: its name and what is left of it.
    pub serving: Option<(u64, Target)>,
    /// Pieces given to it, or on their way, that it has not announced yet.
    pub given: BTreeSet<PieceIndex>,
    /// Of the pieces that it was the first to get, those that nobody else has announced.
    pub unspread: u32,
    /// When it was last served: a count, not a time.
    pub served: u64,
    /// When it last asked for anything, or joined.
    pub asked: Instant,
    /// How many requests of its were denied since it was last served.
    pub denied: usize,
}

impl Queue {
    /// Whether anything is still to be sent.
    pub fn is_waiting(&self) -> bool {
        self.serving.is_some() || !self.wanted.is_empty()
    }

    /// Whether it is in the middle of this piece.
    pub fn is_served(&self, piece: PieceIndex) -> bool {
        self.serving.as_ref().is_some_and(|(_, target)| target.piece == piece)
    }
}

/// Something a peer asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The peer's name for it.
    pub id: u64,
    /// What it is.
    pub what: What,
}

/// A particular thing, or a piece of our choice.
#[derive(Clone, Debug)]
pub enum What {
    /// These blocks.
    Blocks(Target),
    /// Any piece ≡ `residue` (mod `modulus`).
    Any {
        /// See above.
        residue: u32,
        /// See above; not 0.
        modulus: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_of_a_block_counts_before_it_is_whole() {
        let mut now = Instant::ORIGIN;
        let mut source = Source::new(now);
        source.push(now, None, 10_000);
        source.push(now, None, 10_000);
        let arrive = |source: &mut Source, now: &mut Instant, ticks| {
            (1..=ticks).for_each(|tick| {
                *now += Duration::from_millis(100);
                source.on_arriving(*now, tick * 400);
            });
        };
        arrive(&mut source, &mut now, 25);
        assert!(source.on_delivered(now, 10_000));
        source.take(0);
        let rate = source.meter.rate(now);
        assert!((3_600.0..4_400.0).contains(&rate), "nothing counts twice: {rate}");
        arrive(&mut source, &mut now, 15);
        assert!((0.9..1.1).contains(&source.time_to_deliver(now)), "{}", source.time_to_deliver(now));
    }

    #[test]
    fn what_cant_be_understood_yet_is_kept_within_limits() {
        let mut early = Announced::Early { complete: false, bytes: None, haves: Vec::new() };
        (0..100).for_each(|_| early.note_early(&[3; 2_000]));
        let Announced::Early { haves, .. } = &early else { panic!("nothing is known yet") };
        assert_eq!(haves.len(), MAX_EARLY_HAVES);
    }
}
