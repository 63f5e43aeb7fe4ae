//! Whom a sender gives the manifest to, and when.
//!
//! A source gives it to one peer after the other, so that each copy grows at the full rate and is passed on while it grows. Its
//! uplink is precious: after each copy it waits for those who have it to pass it on, before it begins another. Knows no hash; only who
//! asks for what.

use super::download::Peers;
use crate::rand::Rng;
use crate::rudp::Handle;
use crate::time::{Duration, Instant};

/// A relay has so many copies under way: while the window of one peer is full, content would go in between, and the list fall
/// behind the content that it proves.
const MOST_AT_RELAY: usize = 5;
/// After a copy has begun to spread, relays have this long, and twice as long as that took, to pass it on.
const GRACE: Duration = Duration::from_millis(100);
/// A peer that takes nothing for this long, or doesn't say that it has anything, holds up nobody else: at a source, and at a relay.
const PATIENCE_SOURCE: Duration = Duration::from_secs(3);
const PATIENCE_RELAY: Duration = Duration::from_millis(500);

/// The order in which a sender gives the manifest out.
#[derive(Debug, Default)]
pub(super) struct ManifestDesk {
    /// Who got the last copy that was begun, and when it was.
    customer: Option<Handle>,
    began: Instant,
    /// When a part was last sent.
    served: Instant,
    /// Before that, no other copy is begun, because there is one to end.
    waits_until: Option<Instant>,
    /// And because the last one may be passed on.
    closed_until: Option<Instant>,
}

/// How many parts a sender has, and how many there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stock {
    /// From the first one on.
    pub(super) here: u64,
    /// In all.
    pub(super) all: u64,
}

impl ManifestDesk {
    /// Takes the next part to send, given to whom it `may_go` at once: for whom, and which.
    pub(super) fn next(
        &mut self,
        now: Instant,
        peers: &mut Peers,
        is_source: bool,
        stock: Stock,
        rng: &mut Rng,
        may_go: impl Fn(Handle) -> bool,
    ) -> Option<(Handle, u64)> {
        let asking = || peers.iter().filter_map(|(&key, peer)| Some((key, peer.wants_manifest?)));
        let begun = asking().filter(|&(_, part)| part > 0);
        let (key, part) = match begun.clone().find(|&(key, part)| part < stock.here && may_go(key)) {
            Some(next) => next,
            None => {
                let (most, patience) =
                    if is_source { (1, PATIENCE_SOURCE) } else { (MOST_AT_RELAY, PATIENCE_RELAY) };
                let until = self.served + patience;
                self.waits_until = (begun.count() >= most && now < until).then_some(until);
                if self.waits_until.is_some() || self.closed_until.is_some_and(|until| now < until) {
                    return None;
                }
                // All ask all relays at the same time: these should not all choose the same one.
                let new: Vec<Handle> =
                    asking().filter(|&(key, part)| part == 0 && may_go(key)).map(|(key, _)| key).collect();
                let key = *new.get(rng.index(new.len().max(1)))?;
                (self.customer, self.began) = (Some(key), now);
                (key, 0)
            }
        };
        (self.served, self.waits_until) = (now, None);
        let next = part.saturating_add(1);
        peers.get_mut(&key)?.wants_manifest = (next < stock.all).then_some(next);
        // Only a copy that was begun here is waited for: who had the beginning from elsewhere had it from somebody who passes it on.
        if is_source && next >= stock.all && self.customer == Some(key) {
            self.closed_until = Some(self.closed_until.unwrap_or(now + PATIENCE_SOURCE));
        }
        Some((key, part))
    }

    /// A peer says that it can be asked now.
    pub(super) fn on_spread(&mut self, now: Instant, key: Handle) {
        if self.customer == Some(key) {
            self.closed_until = Some(now + GRACE + now.since(self.began) * 2);
        }
    }

    /// When somebody may be served though nothing else happens.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waits_until.into_iter().chain(self.closed_until).min()
    }

    /// Opens the desk again when the time has come.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for until in [&mut self.waits_until, &mut self.closed_until] {
            *until = until.filter(|&until| now < until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pclient::peer::Peer;

    const ALL: Stock = Stock { here: 2, all: 2 };
    const FIRST: Handle = Handle::for_test(1);
    const SECOND: Handle = Handle::for_test(2);
    const THIRD: Handle = Handle::for_test(3);

    fn at(seconds: f64) -> Instant {
        Instant::ORIGIN + Duration::from_secs_f64(seconds)
    }

    /// A desk, and those who ask there.
    struct Counter {
        desk: ManifestDesk,
        peers: Peers,
        rng: Rng,
        is_source: bool,
    }

    impl Counter {
        fn new(is_source: bool, keys: &[Handle]) -> Counter {
            let peer = |&key: &Handle| {
                let mut peer = Peer::new("10.0.0.1:1".parse().unwrap(), 1, Instant::ORIGIN);
                peer.wants_manifest = Some(0);
                (key, peer)
            };
            let peers = keys.iter().map(peer).collect();
            Counter { desk: ManifestDesk::default(), peers, rng: Rng::from_seed(1), is_source }
        }

        fn next_of(&mut self, seconds: f64, stock: Stock, may_go: &[Handle]) -> Option<(Handle, u64)> {
            self.desk.handle_timeout(at(seconds));
            let may_go = |key| may_go.contains(&key);
            self.desk.next(at(seconds), &mut self.peers, self.is_source, stock, &mut self.rng, may_go)
        }

        fn next(&mut self, seconds: f64, may_go: &[Handle]) -> Option<(Handle, u64)> {
            self.next_of(seconds, ALL, may_go)
        }
    }

    #[test]
    fn a_source_gives_one_copy_and_waits_for_it_to_spread() {
        let mut counter = Counter::new(true, &[FIRST, SECOND]);
        assert_eq!(counter.next(0.0, &[FIRST]), Some((FIRST, 0)));
        assert_eq!(counter.next(0.5, &[SECOND]), None, "the first isn't done");
        assert_eq!(counter.next(1.0, &[FIRST, SECOND]), Some((FIRST, 1)));
        assert_eq!(counter.next(1.0, &[SECOND]), None, "it has to come to the first");
        counter.desk.on_spread(at(1.5), FIRST);
        assert_eq!(counter.next(4.5, &[SECOND]), None, "and to be passed on by it");
        assert_eq!(counter.desk.due(), Some(at(4.5) + GRACE));
        assert_eq!(counter.next(4.7, &[SECOND]), Some((SECOND, 0)));
    }

    #[test]
    fn a_customer_that_takes_nothing_or_tells_nobody_or_leaves_holds_nobody_up() {
        let mut counter = Counter::new(true, &[FIRST, SECOND, THIRD]);
        assert_eq!(counter.next(0.0, &[FIRST]), Some((FIRST, 0)));
        assert_eq!(counter.next(2.9, &[SECOND]), None);
        assert_eq!(counter.next(3.0, &[SECOND]), Some((SECOND, 0)));
        counter.peers.remove(&FIRST);
        assert_eq!(counter.next(3.0, &[SECOND]), Some((SECOND, 1)));
        assert_eq!(counter.next(5.9, &[THIRD]), None);
        assert_eq!(counter.next(6.0, &[THIRD]), Some((THIRD, 0)));
    }

    #[test]
    fn a_relay_gives_a_few_copies_at_a_time_and_then_the_next() {
        let keys: Vec<Handle> = (1..=MOST_AT_RELAY as u64 + 1).map(Handle::for_test).collect();
        let (last, first) = keys.split_last().unwrap();
        let mut counter = Counter::new(false, &keys);
        for key in first {
            assert_eq!(counter.next(0.0, &[*key]), Some((*key, 0)));
        }
        assert_eq!(counter.next(0.1, &[*last]), None, "the others take the rest soon");
        assert_eq!(counter.next(0.5, &[*last]), Some((*last, 0)), "or not so soon");
        for key in &keys {
            assert_eq!(counter.next(0.6, &[*key]), Some((*key, 1)));
        }
        assert_eq!(counter.next(0.6, &keys), None);
    }

    #[test]
    fn who_has_begun_elsewhere_is_not_waited_for() {
        let mut counter = Counter::new(true, &[FIRST, SECOND]);
        counter.peers.get_mut(&FIRST).unwrap().wants_manifest = Some(1);
        assert_eq!(counter.next(0.0, &[FIRST]), Some((FIRST, 1)));
        assert_eq!(counter.next(0.0, &[SECOND]), Some((SECOND, 0)));
    }

    #[test]
    fn a_relay_passes_on_what_it_has_while_the_rest_comes() {
        let mut counter = Counter::new(false, &[FIRST, SECOND]);
        let stock = |here| Stock { here, all: 3 };
        assert_eq!(counter.next_of(0.0, stock(1), &[FIRST]), Some((FIRST, 0)));
        assert_eq!(
            counter.next_of(0.0, stock(1), &[FIRST]),
            None,
            "it is given the rest as soon as it comes"
        );
        assert_eq!(counter.next_of(0.1, stock(2), &[FIRST, SECOND]), Some((FIRST, 1)));
        assert_eq!(
            counter.next_of(0.1, stock(2), &[FIRST, SECOND]),
            Some((SECOND, 0)),
            "who was begun goes first"
        );
    }
}
