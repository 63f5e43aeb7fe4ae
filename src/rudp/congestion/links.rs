//! What the connections of an endpoint have in common: its uplink and its downlink.

use super::drain::Drain;
use super::load::Load;
use super::window::DelayWindow;
use crate::time::{Duration, Instant};

/// A connection's word on a shared queue is believed for this long.
const FRESH: Duration = Duration::from_millis(500);

/// Who has sent within this time may send again, and is company to the others.
const COMPANY: Duration = Duration::from_secs(10);
/// Where the downlink isn't full, what all senders see queued is on their own uplinks. Told as the downlink's, it would narrow the window of
/// each path, and that of the uplink would decide no more. So no more is told than this: even such a downlink has its moments.
const MOST_IF_NOT_FULL: Duration = Duration::from_millis(35);
/// The grain in which a queue is told.
const LEAST_TOLD: Duration = Duration::from_millis(1);

/// From here on a window is wide, B: eight datagrams of Ethernet.
const WIDE: u64 = 12_000;
/// No connection leads by more, B: twelve such datagrams.
const MAX_LEAD: u64 = 18_000;

/// Both links of an endpoint.
#[derive(Debug)]
pub struct Links {
    /// Out of this node.
    pub uplink: Uplink,
    /// Into this node.
    pub downlink: Downlink,
}

impl Links {
    /// Idle links for datagrams of up to `datagram` B.
    pub fn new(datagram: u64) -> Links {
        Links {
            uplink: Uplink {
                window: DelayWindow::new(datagram),
                drain: Drain::default(),
                in_flight: 0,
                seen: QueueWords::default(),
                acked: Instant::ORIGIN,
            },
            downlink: Downlink { seen: QueueWords::default(), load: Load::default() },
        }
    }

    /// The connection `key` is gone, and with it the `charge` that it still had on the uplink, B.
    pub fn forget(&mut self, key: u64, charge: u64) {
        self.uplink.on_settled(charge);
        self.uplink.seen.forget(key);
        self.downlink.seen.forget(key);
    }
}

/// The window that all connections share, since they share the uplink and its queue.
#[derive(Debug)]
pub struct Uplink {
    window: DelayWindow,
    drain: Drain,
    in_flight: u64,
    seen: QueueWords,
    /// When the last ack came.
    acked: Instant,
}

impl Uplink {
    /// Whether another datagram may go.
    pub fn has_room(&self) -> bool {
        if self.drain.is_on() { self.in_flight == 0 } else { self.window.has_room(self.in_flight) }
    }

    /// What a connection may have in flight before it has seen a queue, B: what this uplink takes in a quarter of its window is
    /// little to a receiver, and a new flow needn't begin with two datagrams.
    pub fn first_share(&self) -> u64 {
        self.window.bytes() / 4
    }

    /// The same for one that [leads](crate::rudp::Endpoint::set_leading), at any time, B.
    pub fn leading_share(&self) -> u64 {
        self.first_share().min(MAX_LEAD)
    }

    /// What may go to one peer in a burst, B: what this uplink takes in 3 to 4 ms, as its window holds some 80 ms at least. Others
    /// send to that peer, too: in bursts their content makes the queue of its downlink vary, and where that is no faster than this uplink, a
    /// queue that is as long as it should be on the average runs empty again and again.
    pub fn burst(&self) -> u64 {
        self.window.bytes() / 24
    }

    /// Whether the window holds so many datagrams that each peer can be served by itself for a while.
    pub fn is_wide(&self) -> bool {
        self.window.bytes() >= WIDE
    }

    /// The shared window.
    pub fn window(&self) -> &DelayWindow {
        &self.window
    }

    /// When the last ack came, over whichever connection.
    pub fn last_acked(&self) -> Instant {
        self.acked
    }

    /// Bytes in flight over all connections.
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// A datagram of `size` B left. True if the uplink was [drained](Drain) for it: what it finds queued isn't here.
    pub fn on_sent(&mut self, size: u64) -> bool {
        let is_first = self.in_flight == 0 && self.drain.on_sent_alone();
        self.in_flight += size;
        is_first
    }

    /// `size` B were acked, lost, or given up.
    pub fn on_settled(&mut self, size: u64) {
        self.in_flight -= size;
    }

    /// The uplink's queue for whoever has measured none of its own yet: by the word of those that began while nothing was under
    /// way from here, as others may have taken a part of it for the path; if there is none, of all. None at all for who
    /// `is_lone`, with nothing else under way: what others have seen before that has gone.
    pub fn queue(&self, now: Instant, is_lone: bool) -> Duration {
        if is_lone {
            return Duration::ZERO;
        }
        let is_heard = |word: &&Word| word.is_fresh(now) && word.is_certain;
        let certain = self.seen.words.iter().filter(is_heard).map(|word| word.queue).min();
        certain.or_else(|| self.seen.smallest(now)).unwrap_or_default()
    }

    /// The connection `key` sees a queue of this length on the way to its receiver, the receiver's own downlink
    /// deducted. Gives the uplink's queue by the word of all: each is at least the truth, the smallest comes nearest.
    pub fn observe(&mut self, now: Instant, key: u64, queue: Duration, is_certain: bool) -> Duration {
        self.seen.put(now, key, queue, is_certain);
        self.seen.smallest(now).unwrap_or(queue)
    }

    /// Whether the next datagram is the one for which the uplink is [drained](Drain).
    pub fn is_drained(&self) -> bool {
        self.drain.is_on() && self.in_flight == 0
    }

    /// `acked` B arrived while the uplink's queue was `queue`; before that, `in_flight` B had been in flight.
    pub fn on_acked(&mut self, now: Instant, acked: u64, queue: Duration, in_flight: u64, srtt: Duration) {
        self.acked = now;
        self.window.on_ack(now, acked, queue, in_flight, srtt);
        self.drain.on_ack(now, self.window.is_narrow(), self.seen.has_two_since(now, COMPANY), queue);
    }
}

/// The queue in front of this node, as far as the comparison of its senders shows it.
#[derive(Debug)]
pub struct Downlink {
    seen: QueueWords,
    load: Load,
}

impl Downlink {
    /// A datagram of `len` B came, from whomever.
    pub fn on_datagram(&mut self, now: Instant, len: usize) {
        self.load.on_datagram(now, len);
    }

    /// What came in over the connection `key` had queued this long, on the sender's uplink and on this downlink.
    pub fn observe(&mut self, now: Instant, key: u64, queue: Duration) {
        self.seen.put(now, key, queue, true);
    }

    /// The queue that all senders share, as far as it is this downlink's. With less than two of them nothing can be told apart, and it
    /// is zero.
    pub fn queue(&self, now: Instant) -> Duration {
        self.known_queue(now).map_or(Duration::ZERO, |queue| as_own(queue, self.load.is_full(now)))
    }

    /// The same for whoever decides how many may send; `None` while it can't be told apart. Slow senders each see a long queue of
    /// their own, and fewer of them would bring less; but too many on one link are to be noticed soon.
    pub fn crowding(&self, now: Instant) -> Option<Duration> {
        self.known_queue(now).map(|queue| as_own(queue, self.load.may_be_full(now)))
    }

    /// The queue to tell the senders. Zero means that there is none, or only one who sends: while it can't be told apart
    /// but there are several, it isn't zero.
    pub fn queue_to_tell(&self, now: Instant) -> Duration {
        let is_untold = self.known_queue(now).is_none() && self.seen.has_two_since(now, COMPANY);
        if is_untold { LEAST_TOLD } else { self.queue(now) }
    }

    /// The queue that all senders share, wherever it is; `None` while it can't be told apart.
    fn known_queue(&self, now: Instant) -> Option<Duration> {
        self.seen.smallest(now).filter(|_| self.seen.has_two(now))
    }
}

/// What of a `queue` that all senders see is the downlink's own.
fn as_own(queue: Duration, is_full: bool) -> Duration {
    if is_full { queue } else { queue.min(MOST_IF_NOT_FULL) }
}

/// What each connection last said of a queue, while it is fresh.
///
/// Asked several times for each datagram, by all connections: so the smallest word is kept beside the list, and the list
/// is looked through only when that one has been taken back or has grown old.
#[derive(Debug, Default)]
struct QueueWords {
    /// By connection, ascending.
    words: Vec<Word>,
    /// The smallest of those that were fresh when it was sought, and of all that came since.
    smallest: Option<Word>,
    /// The connections that spoke last and before that.
    newest: Option<Word>,
    second: Option<Word>,
}

#[derive(Clone, Copy, Debug)]
struct Word {
    key: u64,
    taken: Instant,
    queue: Duration,
    is_certain: bool,
}

impl Word {
    fn is_fresh(&self, now: Instant) -> bool {
        now.since(self.taken) <= FRESH
    }
}

impl QueueWords {
    fn put(&mut self, now: Instant, key: u64, queue: Duration, is_certain: bool) {
        let word = Word { key, taken: now, queue, is_certain };
        match self.words.binary_search_by_key(&key, |known| known.key) {
            Ok(at) => self.words[at] = word,
            Err(_) => {
                self.words.retain(|known| known.is_fresh(now));
                let at = self.words.partition_point(|known| known.key < key);
                self.words.insert(at, word);
            }
        }
        if self.newest.is_none_or(|newest| newest.key != key) {
            self.second = self.newest;
        }
        self.newest = Some(word);
        match self.smallest.filter(|smallest| smallest.is_fresh(now)) {
            Some(smallest) if queue <= smallest.queue => self.smallest = Some(word),
            Some(smallest) if smallest.key != key => {}
            _ => self.smallest = self.seek(now),
        }
    }

    fn forget(&mut self, key: u64) {
        self.words.retain(|known| known.key != key);
        self.smallest = self.smallest.filter(|smallest| smallest.key != key);
        let mut by_age = self.words.clone();
        by_age.sort_by_key(|known| known.taken);
        (self.newest, self.second) = (by_age.pop(), by_age.pop());
    }

    /// The smallest fresh word.
    fn smallest(&self, now: Instant) -> Option<Duration> {
        let known = self.smallest.filter(|smallest| smallest.is_fresh(now));
        known.or_else(|| self.seek(now)).map(|word| word.queue)
    }

    /// Whether at least two have spoken within `span`.
    fn has_two_since(&self, now: Instant, span: Duration) -> bool {
        self.second.is_some_and(|second| now.since(second.taken) <= span)
    }

    /// Whether at least two have a fresh word.
    fn has_two(&self, now: Instant) -> bool {
        self.second.is_some_and(|second| second.is_fresh(now))
    }

    fn seek(&self, now: Instant) -> Option<Word> {
        // Where nobody has spoken of late, nothing is fresh.
        self.newest.filter(|newest| newest.is_fresh(now))?;
        self.words.iter().filter(|word| word.is_fresh(now)).min_by_key(|word| word.queue).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rand::Rng;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + ms(millis)
    }

    #[test]
    fn the_smallest_fresh_word_on_the_uplink_counts() {
        let mut links = Links::new(1_200);
        assert_eq!(links.uplink.observe(at(0), 1, ms(40), true), ms(40));
        assert_eq!(links.uplink.observe(at(10), 2, ms(90), true), ms(40));
        assert_eq!(links.uplink.observe(at(600), 2, ms(90), true), ms(90));
        links.uplink.on_sent(100);
        links.forget(2, 100);
        assert_eq!(links.uplink.observe(at(610), 3, ms(95), true), ms(95));
        assert_eq!(links.uplink.in_flight(), 0);
        assert_eq!(links.uplink.queue(at(2_000), false), ms(0));
    }

    #[test]
    fn whoever_joins_a_queue_hears_those_who_were_there_before_it() {
        let mut links = Links::new(1_200);
        links.uplink.observe(at(0), 1, ms(50), true);
        assert_eq!(links.uplink.observe(at(1), 2, ms(10), false), ms(10), "who shares it hears all");
        assert_eq!(links.uplink.queue(at(2), false), ms(50));
        assert_eq!(links.uplink.queue(at(2), true), ms(0), "it has gone");
        links.uplink.observe(at(600), 2, ms(10), false);
        assert_eq!(links.uplink.queue(at(600), false), ms(10), "nobody else has spoken of late");
    }

    #[test]
    fn one_sender_alone_says_nothing_of_the_downlink() {
        let mut links = Links::new(1_200);
        links.downlink.observe(at(0), 1, ms(40));
        assert_eq!(links.downlink.queue(at(0)), ms(0));
        assert_eq!(links.downlink.queue_to_tell(at(0)), ms(0));
        links.downlink.observe(at(0), 2, ms(30));
        assert_eq!(links.downlink.queue(at(0)), ms(30));
        assert_eq!(links.downlink.queue_to_tell(at(0)), ms(30));
        assert_eq!(links.downlink.queue(at(600)), ms(0));
        assert_eq!(links.downlink.queue_to_tell(at(600)), ms(1), "they may send again");
        assert_eq!(links.downlink.queue_to_tell(at(10_001)), ms(0));
    }

    #[test]
    fn of_a_downlink_that_is_not_full_little_is_said() {
        let mut links = Links::new(1_200);
        // In the end less comes than before.
        let comes = |millis: u64| millis < 2_000 || millis.is_multiple_of(2);
        (1..4_000u64).filter(|&n| comes(n)).for_each(|n| links.downlink.on_datagram(at(n), 1_000));
        for (seen, told) in [(77, 35), (20, 20)] {
            (1..3).for_each(|key| links.downlink.observe(at(4_000), key, ms(seen)));
            let said = [links.downlink.queue(at(4_000)), links.downlink.queue_to_tell(at(4_000))];
            assert_eq!(said, [ms(told); 2]);
            assert_eq!(links.downlink.known_queue(at(4_000)), Some(ms(seen)));
        }
    }

    #[test]
    fn what_is_kept_beside_the_words_is_what_they_say() {
        let mut rng = Rng::from_seed(4);
        let (mut words, mut plain) = (QueueWords::default(), BTreeMap::new());
        let mut now = Instant::ORIGIN;
        for _ in 0..20_000 {
            now += ms(rng.below(120));
            let key = rng.below(6);
            if rng.below(20) == 0 {
                words.forget(key);
                plain.remove(&key);
            } else if rng.below(3) > 0 {
                let queue = ms(rng.below(50));
                words.put(now, key, queue, true);
                plain.insert(key, (now, queue));
            }
            let fresh: Vec<Duration> =
                plain.values().filter(|(taken, _)| now.since(*taken) <= FRESH).map(|&(_, q)| q).collect();
            assert_eq!(words.smallest(now), fresh.iter().min().copied());
            assert_eq!(words.has_two(now), fresh.len() > 1);
        }
    }
}
