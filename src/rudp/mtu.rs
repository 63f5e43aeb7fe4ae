//! How large a datagram may be on a path: discovery by probes (RFC 8899), and the way back at a black hole.
//!
//! Decides sizes; sends nothing. Besides what the path carries, a datagram must not take long by itself: acks and
//! requests wait behind it, and a piece is relayed only when its last datagram is through.

use crate::time::{Duration, Instant};

/// Every path carries this (RFC 8899 §5.1.2 BASE_PLPMTU for IPv6 less headers), B.
pub const BASE: usize = 1_200;
/// What Ethernet carries less IPv6 and UDP headers, B. It is not much longer than the base, and costs a fifth less in headers and
/// acks, so that it may take longer than others.
const ORDINARY: usize = 1_452;
const MAX_DURATION_ORDINARY: Duration = Duration::from_millis(250);
/// Nearly twice that, B: six carry 16 KiB. In a swarm many share both links, and the rate of a path says little of theirs: a datagram
/// that takes long at the path's rate is soon through. So it may take longer than others, but only where two of them are no more than
/// what the own uplink may send to one peer in a burst: a flow that has a slow link for itself would take its length for a queue.
const DOUBLE: usize = 2_784;
const MAX_DURATION_DOUBLE: Duration = Duration::from_millis(60);
/// What jumbo frames carry, B.
const JUMBO: usize = 8_952;
/// The sizes to try, each only when the one before has passed: Ethernet, twice that, jumbo frames,
/// then what only loopback carries. The last is the longest UDP payload over IPv4.
const LADDER: [usize; 6] = [ORDINARY, DOUBLE, JUMBO, 16_384, 32_768, 65_507];
/// So many probes of one size are lost before it counts as too large (RFC 8899 §5.1.2 MAX_PROBES).
const MAX_PROBES: u32 = 3;
/// After a search has ended, the next size is tried again this much later (RFC 8899 §5.1.1 PMTU_RAISE_TIMER).
const RAISE_AFTER: Duration = Duration::from_secs(600);
/// But so soon after a fall, and twice as late each time until it is [`RAISE_AFTER`]: a route that broke may be mended, and
/// a datagram of the base costs several times what a large one does.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// So many datagrams above the base are lost, none of that size acked in between: perhaps the path carries no such ones.
const SUSPICIOUS: u32 = 8;
/// So many of them, sent after one of the base's size that came through, make it certain,
const CERTAIN: u32 = 8;
/// and so many more for each of the base's size that was lost too: where three of ten are lost whatever their size, eight
/// in a row are no rarity.
const DOUBT: u32 = 2;
/// The longest that one datagram above the ordinary may occupy the link at the measured rate.
const MAX_DURATION: Duration = Duration::from_millis(20);

/// The search for the largest datagram of a path.
#[derive(Clone, Debug)]
pub struct MtuDiscovery {
    /// What has been seen to pass, B.
    current: usize,
    /// What both ends can handle, B.
    limit: usize,
    probe: Probe,
    suspicion: Suspicion,
    /// When the path last was a black hole, and how long to wait before the search after the next.
    fell: Option<Instant>,
    retry_after: Duration,
}

/// What speaks for a black hole: datagrams above the base are lost while others, sent between them, come through. Loss of
/// all sizes alike, however long, says nothing about sizes.
#[derive(Clone, Copy, Debug, Default)]
struct Suspicion {
    /// Datagrams above the base lost in a row,
    large_lost: u32,
    /// and when the first of them was sent.
    since: Option<Instant>,
    /// When the first other one was sent after that and came through.
    small_passed: Option<Instant>,
    /// Of the large ones lost, sent after that one.
    lost_since: u32,
    /// Others lost that were sent after the first large one.
    small_lost: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    /// The next size may be probed from this instant on; so many probes of it were lost already.
    Due { at: Instant, lost: u32 },
    /// A probe is on its way.
    InFlight { lost: u32 },
}

impl MtuDiscovery {
    /// Nothing but the base is known to pass; neither end handles more than `limit` B.
    pub fn new(limit: usize, now: Instant) -> MtuDiscovery {
        MtuDiscovery {
            current: BASE.min(limit),
            limit,
            probe: Probe::Due { at: now, lost: 0 },
            suspicion: Suspicion::default(),
            fell: None,
            retry_after: RAISE_AFTER,
        }
    }

    /// The other end handles no more than this, B.
    pub fn limit_to(&mut self, limit: usize) {
        self.limit = self.limit.min(limit);
        self.current = self.current.min(self.limit);
    }

    /// The path is another one: only the base is known to pass.
    pub fn restart(&mut self, now: Instant) {
        *self = MtuDiscovery::new(self.limit, now);
    }

    /// What the path is known to carry, B.
    pub fn path_mtu(&self) -> usize {
        self.current
    }

    /// The largest datagram to send at this rate, B/s, where `burst` B may go to one peer in a burst.
    pub fn datagram_size(&self, rate: f64, burst: u64) -> usize {
        self.current.min(longest_at(rate, burst, self.current))
    }

    /// The size to probe now, if one is due and would not take too long at this rate, B/s.
    pub fn probe_size(&self, now: Instant, rate: f64, burst: u64) -> Option<usize> {
        let Probe::Due { at, .. } = self.probe else { return None };
        let next = LADDER.into_iter().map(|size| size.min(self.limit)).find(|&size| size > self.current)?;
        (at <= now && next <= longest_at(rate, burst, next)).then_some(next)
    }

    /// A probe is on its way.
    pub fn on_probe_sent(&mut self) {
        if let Probe::Due { lost, .. } = self.probe {
            self.probe = Probe::InFlight { lost };
        }
    }

    /// A probe of `size` B has arrived.
    pub fn on_probe_acked(&mut self, now: Instant, size: usize) {
        self.current = self.current.max(size.min(self.limit));
        self.suspicion = Suspicion::default();
        self.probe = Probe::Due { at: now, lost: 0 };
    }

    /// A probe was lost.
    pub fn on_probe_lost(&mut self, now: Instant) {
        let Probe::InFlight { lost } = self.probe else { return };
        self.probe = match lost + 1 {
            MAX_PROBES => self.search_later(now),
            lost => Probe::Due { at: now, lost },
        };
    }

    /// A datagram of `size` B, sent at `sent`, was acked.
    pub fn on_acked(&mut self, sent: Instant, size: u64) {
        let Some(since) = self.suspicion.since else { return };
        if sent < since {
            return;
        }
        if size > BASE as u64 {
            self.suspicion = Suspicion::default();
        } else {
            let first = self.suspicion.small_passed.map_or(sent, |passed| passed.min(sent));
            self.suspicion.small_passed = Some(first);
        }
    }

    /// A datagram of `size` B, sent at `sent`, was lost. True if that makes a black hole certain: back to the base
    /// (RFC 8899 §4.3).
    pub fn on_lost(&mut self, now: Instant, sent: Instant, size: u64) -> bool {
        if self.current <= BASE {
            return false;
        }
        let suspicion = &mut self.suspicion;
        if size <= BASE as u64 {
            suspicion.small_lost += u32::from(suspicion.since.is_some_and(|since| since <= sent));
            return false;
        }
        suspicion.large_lost += 1;
        suspicion.since = Some(suspicion.since.map_or(sent, |since| since.min(sent)));
        suspicion.lost_since += u32::from(suspicion.small_passed.is_some_and(|passed| passed <= sent));
        if suspicion.lost_since < CERTAIN + DOUBT * suspicion.small_lost {
            return false;
        }
        self.current = BASE.min(self.limit);
        self.suspicion = Suspicion::default();
        if self.fell.is_none_or(|fell| now.since(fell) >= RAISE_AFTER) {
            self.retry_after = RETRY_AFTER;
        }
        self.fell = Some(now);
        self.probe = self.search_later(now);
        true
    }

    /// Whether datagrams of the base's size are wanted between large ones, to tell a black hole from loss of all sizes.
    pub fn is_suspicious(&self) -> bool {
        self.suspicion.large_lost >= SUSPICIOUS
    }

    fn search_later(&mut self, now: Instant) -> Probe {
        let at = now + self.retry_after;
        self.retry_after = (self.retry_after * 2).min(RAISE_AFTER);
        Probe::Due { at, lost: 0 }
    }
}

/// The size that takes no longer at `rate` B/s than its step on the ladder may, up to `step`; the base at least.
fn longest_at(rate: f64, burst: u64, step: usize) -> usize {
    let within = |duration: Duration| (rate * duration.as_secs_f64()) as usize;
    let ordinary = within(MAX_DURATION_ORDINARY).clamp(BASE, ORDINARY);
    let double = if burst >= 2 * DOUBLE as u64 { within(MAX_DURATION_DOUBLE).min(DOUBLE) } else { 0 };
    let long = within(MAX_DURATION);
    // To a path that is fast enough for the next step this one is just on the way.
    let long = if step > DOUBLE || long >= JUMBO { long } else { 0 };
    ordinary.max(double).max(long)
}

/// What a datagram of up to `size` B counts for in a window of few: where a double one goes, others fill the link as well.
pub fn least_of_few(size: usize) -> usize {
    if size <= DOUBLE { size.min(ORDINARY) } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: f64 = 1e9;

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(seconds)
    }

    /// Probes until nothing is due, on a path that carries `mtu` B.
    fn search(discovery: &mut MtuDiscovery, mtu: usize, now: Instant) -> u32 {
        let mut probes = 0;
        while let Some(size) = discovery.probe_size(now, FAST, 0) {
            probes += 1;
            discovery.on_probe_sent();
            assert_eq!(discovery.probe_size(now, FAST, 0), None, "one probe at a time");
            if size <= mtu { discovery.on_probe_acked(now, size) } else { discovery.on_probe_lost(now) }
        }
        probes
    }

    #[test]
    fn climbs_to_what_the_path_carries() {
        for (mtu, found, probes) in
            [(1_200, 1_200, 3), (1_500, 1_452, 4), (9_000, 8_952, 6), (70_000, 65_507, 6)]
        {
            let mut discovery = MtuDiscovery::new(65_507, at(0));
            assert_eq!(search(&mut discovery, mtu, at(0)), probes, "{mtu}");
            assert_eq!(discovery.path_mtu(), found);
            assert_eq!(discovery.probe_size(at(599), FAST, 0), None);
        }
    }

    #[test]
    fn tries_again_later() {
        let mut discovery = MtuDiscovery::new(65_507, at(0));
        search(&mut discovery, 1_500, at(0));
        search(&mut discovery, 9_000, at(600));
        assert_eq!(discovery.path_mtu(), 8_952);
    }

    #[test]
    fn the_limit_of_an_end_is_the_last_step() {
        let mut discovery = MtuDiscovery::new(65_507, at(0));
        discovery.limit_to(10_000);
        search(&mut discovery, 70_000, at(0));
        assert_eq!(discovery.path_mtu(), 10_000);
    }

    #[test]
    fn a_slow_link_gets_no_long_datagrams() {
        let mut discovery = MtuDiscovery::new(65_507, at(0));
        assert_eq!(discovery.probe_size(at(0), 5_800.0, u64::MAX), None);
        assert_eq!(discovery.probe_size(at(0), 5_900.0, u64::MAX), Some(1_452));
        search(&mut discovery, 70_000, at(0));
        for (rate, size) in
            [(4_000.0, 1_200), (6_000.0, 1_452), (100_000.0, 2_000), (1e6, 20_000), (1e7, 65_507)]
        {
            assert_eq!(discovery.datagram_size(rate, 0), size, "{rate} B/s");
        }
    }

    #[test]
    fn a_share_of_a_fast_link_gets_double_ones() {
        let mut discovery = MtuDiscovery::new(65_507, at(0));
        search(&mut discovery, 3_000, at(0));
        for (rate, burst, size) in [
            (6_000.0, 10_000, 1_452),
            (40_000.0, 10_000, 2_400),
            (50_000.0, 10_000, 2_784),
            (50_000.0, 5_568, 2_784),
            (50_000.0, 5_567, 1_452),
            (200_000.0, 5_567, 1_452),
            (500_000.0, 0, 2_784),
        ] {
            assert_eq!(discovery.datagram_size(rate, burst), size, "{rate} B/s, {burst} B");
        }
        assert_eq!([1_200, 1_452, 2_784, 8_952].map(least_of_few), [1_200, 1_452, 1_452, 8_952]);
    }

    /// A path whose large datagrams, sent every 10 ms, are lost, and a small one among them after `small` of them. How many
    /// large ones it takes to fall.
    fn fall(discovery: &mut MtuDiscovery, from: Instant, small: u32) -> u32 {
        for n in 0..1_000 {
            let sent = from + Duration::from_millis(10) * n;
            if n == small {
                discovery.on_acked(sent, 1_200);
            }
            if discovery.on_lost(sent, sent, 8_952) {
                assert_eq!(discovery.path_mtu(), 1_200);
                return n + 1;
            }
        }
        panic!("never");
    }

    #[test]
    fn a_black_hole_is_what_swallows_large_ones_only() {
        let found = || {
            let mut discovery = MtuDiscovery::new(65_507, at(0));
            search(&mut discovery, 9_000, at(0));
            discovery
        };
        assert_eq!(fall(&mut found(), at(1), 1), 1 + CERTAIN, "the first small one passed early");
        assert_eq!(fall(&mut found(), at(1), 20), 20 + CERTAIN);
        let mut discovery = found();
        discovery.on_lost(at(1), at(1), 8_952);
        (0..3).for_each(|_| assert!(!discovery.on_lost(at(1), at(1), 1_200)));
        assert_eq!(fall(&mut discovery, at(1), 0), CERTAIN + 3 * DOUBT, "small ones are lost too");
        let mut discovery = found();
        for n in 0..1_000 {
            assert!(!discovery.on_lost(at(1), at(1), 8_952));
            assert_eq!(discovery.is_suspicious(), n >= 7);
        }
        // What was sent before all this says nothing, what came through afterwards ends it.
        discovery.on_acked(at(0), 1_200);
        discovery.on_acked(at(0), 8_952);
        assert!(!discovery.on_lost(at(2), at(2), 8_952) && discovery.is_suspicious());
        discovery.on_acked(at(3), 1_200);
        discovery.on_acked(at(3), 8_952);
        assert!(!discovery.is_suspicious());
        assert_eq!(discovery.path_mtu(), 8_952);
    }

    #[test]
    fn loss_by_chance_is_no_black_hole() {
        let mut discovery = MtuDiscovery::new(65_507, at(0));
        search(&mut discovery, 9_000, at(0));
        let mut rng = crate::rand::Rng::from_seed(3);
        for n in 0..50_000 {
            let (sent, size) = (Instant::from_nanos(n), if rng.chance(0.5) { 8_952 } else { 1_200 });
            if rng.chance(0.3) {
                assert!(!discovery.on_lost(sent, sent, size));
            } else {
                discovery.on_acked(sent, size);
            }
        }
    }

    #[test]
    fn after_a_fall_the_search_goes_on_soon_and_then_later_and_later() {
        let mut discovery = MtuDiscovery::new(65_507, at(0));
        search(&mut discovery, 9_000, at(0));
        fall(&mut discovery, at(100), 1);
        let mut now = at(100);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let fell = now;
            while discovery.probe_size(now, FAST, 0).is_none() {
                now += Duration::from_secs(1);
            }
            waits.push(now.since(fell).as_secs());
            search(&mut discovery, 1_200, now);
        }
        assert_eq!(waits, [11, 20, 40, 80, 160, 320, 600, 600]);
        // The path heals, and falls again much later.
        now += Duration::from_secs(600);
        search(&mut discovery, 9_000, now);
        assert_eq!(discovery.path_mtu(), 8_952);
        fall(&mut discovery, now, 1);
        assert_eq!(discovery.probe_size(now + Duration::from_secs(9), FAST, 0), None);
        assert_eq!(discovery.probe_size(now + Duration::from_secs(11), FAST, 0), Some(1_452));
    }
}
