//! The books behind an [`Account`]: spans of time, and the greatest rates that were seen.
//!
//! Told everything, reads no clock. Invariant: what is [`Spent`] adds up to the time from the beginning to the last
//! entry.

use super::{Account, AtBest, Cause, Spent};
use crate::time::{Duration, Instant};
use crate::units::Rate;

/// A rate counts as reached if it was held for this long,
const WINDOW: Duration = Duration::from_secs(1);
/// and over so many pieces, which come one at a time.
const WINDOW_PIECES: u64 = 32;
/// So long after a change of peers it is known again who has what.
const SETTLING: Duration = Duration::from_millis(500);
/// The downlink is full if of late it was busy for this share of the time,
const FULL: f64 = 0.8;
/// with this time constant: datagrams come in batches, and what each occupied is told when it comes.
const LATELY: Duration = Duration::from_millis(100);
/// What headers and acks add to the content at most, when one is reckoned from the other.
const MOST_OVERHEAD: f64 = 1.25;

/// What comes in by a node's downlink, whatever it is for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Intake {
    limit: Rate,
    bytes: u64,
    busy: Duration,
}

impl Intake {
    /// Nothing came yet. `limit` is the downlink's rate as the owner told it.
    pub fn new(limit: Rate) -> Intake {
        Intake { limit, ..Intake::default() }
    }

    /// The downlink has another rate from now on.
    pub fn set_limit(&mut self, limit: Rate) {
        self.limit = limit;
    }

    /// A datagram of `len` B came.
    pub fn on_datagram(&mut self, len: usize) {
        self.bytes += len as u64;
        self.busy += self.limit.time_for(len as u64);
    }
}

/// What a swarm sees of itself at some moment.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// What it waits for, if its downlink isn't full.
    pub cause: Cause,
    /// How many peers take part.
    pub peers: usize,
    /// How far first copies are, once the pieces are known.
    pub spread: Option<Spread>,
}

/// How much of a file is out of its sources' hands.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// What receivers have, this one included, B.
    pub out: u64,
    /// The file's size, B.
    pub size: u64,
    /// The length of a piece, B.
    pub piece: u64,
}

/// The books of one download.
#[derive(Clone, Debug)]
pub struct Ledger {
    spent: Spent,
    /// Up to when the books are kept.
    until: Instant,
    cause: Cause,
    /// What the last span was put down to.
    charged: Cause,
    is_closed: bool,
    /// Of the downlink's busy time: what has been looked at or is from before the beginning.
    busy_seen: Duration,
    /// The share of the time that the downlink was busy of late.
    utilisation: f64,
    bytes_before: u64,
    received: Peak,
    spreading: Peak,
    /// How many peers there were, and since when.
    peers: (usize, Instant),
    /// What the sources had still to give out when that was first known, B, and after how much time.
    first_sight: Option<(u64, Duration)>,
}

impl Ledger {
    /// The books of a download that begins now.
    pub fn new(now: Instant, intake: &Intake) -> Ledger {
        Ledger {
            spent: Spent::default(),
            until: now,
            cause: Cause::Tracker,
            charged: Cause::Tracker,
            is_closed: false,
            busy_seen: intake.busy,
            utilisation: 0.0,
            bytes_before: intake.bytes,
            received: Peak::new(now, intake.bytes),
            spreading: Peak::new(now, 0),
            peers: (0, now),
            first_sight: None,
        }
    }

    /// Up to when the books are kept.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Enters the time up to `now`: the downlink has it if it was full, and else the cause of the last `enter`. From now
    /// on it is the cause of `sight`.
    pub fn enter(&mut self, now: Instant, intake: &Intake, sight: &Sight) {
        if self.is_closed {
            return;
        }
        self.settle(now, intake);
        self.cause = sight.cause;
        self.received.note(now, intake.bytes, 0);
        if self.peers.0 != sight.peers {
            self.peers = (sight.peers, now);
        }
        let Some(Spread { out, size, piece }) = sight.spread else { return };
        if now.since(self.peers.1) < SETTLING {
            self.spreading.reopen(now, out);
            return;
        }
        let waited = self.spent.total() - self.spent.on(Cause::Tracker) - self.spent.on(Cause::Connecting);
        self.first_sight.get_or_insert((size.saturating_sub(out), waited));
        self.spreading.note(now, out, WINDOW_PIECES * piece);
    }

    /// Enters the time up to `now`, at which the download ends.
    pub fn close(&mut self, now: Instant, intake: &Intake) {
        if !self.is_closed {
            self.settle(now, intake);
            self.is_closed = true;
        }
    }

    fn settle(&mut self, now: Instant, intake: &Intake) {
        let span = now.since(self.until);
        if span.is_zero() {
            return;
        }
        let busy = (intake.busy - self.busy_seen).as_secs_f64() / span.as_secs_f64();
        let kept = (-span.as_secs_f64() / LATELY.as_secs_f64()).exp();
        self.utilisation = self.utilisation * kept + busy * (1.0 - kept);
        self.busy_seen = intake.busy;
        self.charged = if self.utilisation >= FULL { Cause::OwnDownlink } else { self.cause };
        self.spent.add(self.charged, span);
        self.until = now;
    }

    /// What the books say at `now`, of a file of `size` B if that is known, of which `verified` B are here.
    pub fn account(&self, now: Instant, intake: &Intake, size: Option<u64>, verified: u64) -> Account {
        let mut books = self.clone();
        if !books.is_closed {
            books.settle(now, intake);
        }
        let at_best = size.and_then(|size| books.at_best(intake, size as f64, verified as f64));
        Account { spent: books.spent, waits_for: (!self.is_closed).then_some(self.waits_for()), at_best }
    }

    /// What the download waits for now, as far as the time since the last span is too short to tell otherwise.
    fn waits_for(&self) -> Cause {
        if self.charged == Cause::OwnDownlink { self.charged } else { self.cause }
    }

    /// The least time for a file of `size` B. Of the three that can bound a transfer, the one that held it back longest
    /// counts; but the own limit, where it is known, bounds in any case.
    fn at_best(&self, intake: &Intake, size: f64, verified: f64) -> Option<AtBest> {
        let time = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
        let told = (!intake.limit.is_unlimited()).then(|| AtBest {
            time: intake.limit.time_for(size as u64),
            by: Cause::OwnDownlink,
            is_measured: false,
        });
        let bounds = [Cause::OwnDownlink, Cause::Source, Cause::Peers];
        let by = bounds.into_iter().max_by_key(|&cause| self.spent.on(cause)).expect("there are three");
        let seconds = match by {
            Cause::OwnDownlink if told.is_some() => None,
            Cause::Source => {
                let overhead = (intake.bytes - self.bytes_before) as f64 / verified.max(1.0);
                let uplink = self.spreading.best? * overhead.clamp(1.0, MOST_OVERHEAD);
                self.first_sight.map(|(left, waited)| waited.as_secs_f64() + left as f64 / uplink)
            }
            _ => self.received.best.map(|rate| size / rate),
        };
        let measured = seconds.and_then(time).map(|time| AtBest { time, by, is_measured: true });
        // Of two, the one that takes longer; what was measured never shows less than the limit by much.
        [told, measured].into_iter().flatten().max_by_key(|best| best.time)
    }
}

/// The greatest rate at which a counter grew for some time.
#[derive(Clone, Copy, Debug)]
struct Peak {
    opened: Instant,
    at: u64,
    /// B/s.
    best: Option<f64>,
}

impl Peak {
    fn new(now: Instant, counter: u64) -> Peak {
        Peak { opened: now, at: counter, best: None }
    }

    /// Begins to count anew.
    fn reopen(&mut self, now: Instant, counter: u64) {
        (self.opened, self.at) = (now, counter);
    }

    /// The counter stands at `counter` B. A window over less than `least` B stays open.
    fn note(&mut self, now: Instant, counter: u64, least: u64) {
        let (time, grown) = (now.since(self.opened), counter.saturating_sub(self.at));
        if time >= WINDOW && grown > 0 && grown >= least {
            let rate = grown as f64 / time.as_secs_f64();
            self.best = Some(self.best.map_or(rate, |best| best.max(rate)));
            self.reopen(now, counter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rand::Rng;

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    fn waiting_for(cause: Cause) -> Sight {
        Sight { cause, peers: 2, spread: None }
    }

    #[test]
    fn spans_add_up_to_the_whole_time_whatever_happens() {
        let mut rng = Rng::from_seed(1);
        for limit in [Rate::UNLIMITED, Rate::new(1_000), Rate::new(1_000_000)] {
            let mut intake = Intake::new(limit);
            intake.on_datagram(9_999);
            let (begin, mut now) = (at(77), at(77));
            let mut ledger = Ledger::new(begin, &intake);
            for _ in 0..10_000 {
                now += Duration::from_nanos(rng.u64() % 30_000_000);
                (0..rng.u64() % 3).for_each(|_| intake.on_datagram((rng.u64() % 1_500) as usize));
                let cause = Cause::ALL[(rng.u64() % 6) as usize];
                ledger.enter(now, &intake, &waiting_for(cause));
                let account = ledger.account(now + WINDOW, &intake, None, 0);
                assert_eq!(account.spent.total(), now.since(begin) + WINDOW);
            }
            ledger.close(now, &intake);
            ledger.close(now + WINDOW, &intake);
            ledger.enter(now + WINDOW, &intake, &waiting_for(Cause::Peers));
            let account = ledger.account(now + WINDOW, &intake, None, 0);
            assert_eq!(account.spent.total(), now.since(begin));
            assert_eq!(account.waits_for, None);
        }
    }

    #[test]
    fn the_downlink_has_what_it_was_full_and_the_cause_before_has_the_rest() {
        let mut intake = Intake::new(Rate::new(10_000));
        let mut ledger = Ledger::new(at(0), &intake);
        ledger.enter(at(100), &intake, &waiting_for(Cause::Source));
        // 1,000 B take 100 ms of these 400: it isn't full.
        intake.on_datagram(1_000);
        ledger.enter(at(500), &intake, &waiting_for(Cause::Peers));
        assert_eq!(ledger.waits_for(), Cause::Peers);
        // As much as it carries, three at once, as a thread hands them on.
        for batch in 1..=10 {
            (0..3).for_each(|_| intake.on_datagram(1_000));
            ledger.enter(at(500 + 300 * batch), &intake, &waiting_for(Cause::Peers));
        }
        assert_eq!(ledger.waits_for(), Cause::OwnDownlink);
        ledger.enter(at(4_500), &intake, &waiting_for(Cause::Storing));
        ledger.close(at(4_510), &intake);
        let spent = ledger.account(at(9_999), &intake, None, 0).spent;
        assert_eq!(Cause::ALL.map(|cause| spent.on(cause).as_millis()), [100, 0, 3_000, 400, 1_000, 10]);
    }

    #[test]
    fn a_limit_that_was_told_bounds_and_what_was_measured_says_so() {
        let mut intake = Intake::new(Rate::new(10_000));
        let mut ledger = Ledger::new(at(0), &intake);
        let best = |ledger: &Ledger, intake: &Intake| {
            ledger.account(ledger.until(), intake, Some(100_000), 40_000).at_best
        };
        let told = AtBest { time: Duration::from_secs(10), by: Cause::OwnDownlink, is_measured: false };
        assert_eq!(best(&ledger, &intake), Some(told));
        // A source that gives out 2,000 B/s, of which all come here, with 10 % of headers.
        for tenth in 0..200 {
            intake.on_datagram(220);
            let spread = Spread { out: tenth * 200, size: 100_000, piece: 100 };
            let sight = Sight { cause: Cause::Source, peers: 1, spread: Some(spread) };
            ledger.enter(at(100 * tenth), &intake, &sight);
        }
        let source = best(&ledger, &intake).expect("it was measured");
        assert!(source.is_measured && source.by == Cause::Source, "{source:?}");
        assert!((45.0..46.5).contains(&source.time.as_secs_f64()), "{source:?}");

        let mut intake = Intake::new(Rate::UNLIMITED);
        let mut ledger = Ledger::new(at(0), &intake);
        assert_eq!(best(&ledger, &intake), None);
        for tenth in 1..50 {
            intake.on_datagram(if tenth > 20 { 500 } else { 100 });
            ledger.enter(at(100 * tenth), &intake, &waiting_for(Cause::Peers));
        }
        let by_peers = best(&ledger, &intake).expect("it was measured");
        assert!(by_peers.is_measured && by_peers.by == Cause::Peers, "{by_peers:?}");
        assert_eq!(by_peers.time, Duration::from_secs(20));
    }
}
