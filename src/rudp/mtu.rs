//! How large a datagram may be on a path: discovery by probes (RFC 8899), and the way back at a black hole.
//!
//! Decides sizes; sends nothing. Besides what the path carries, a datagram must not take long by itself: acks and
//! requests wait behind it, and a piece is relayed only when its last datagram is through.

use crate::time::{Duration, Instant};

/// Every path carries this (RFC 8899 §5.1.2 BASE_PLPMTU for IPv6 less headers), B.
pub const BASE: usize = 1_200;
/// The sizes to try, each only when the one before has passed: Ethernet less IPv6 and UDP headers, jumbo frames,
/// then what only loopback carries. The last is the longest UDP payload over IPv4.
const LADDER: [usize; 5] = [1_452, 8_952, 16_384, 32_768, 65_507];
/// So many probes of one size are lost before it counts as too large (RFC 8899 §5.1.2 MAX_PROBES).
const MAX_PROBES: u32 = 3;
/// After a search has ended, the next size is tried again this much later (RFC 8899 §5.1.1 PMTU_RAISE_TIMER).
const RAISE_AFTER: Duration = Duration::from_secs(600);
/// So many datagrams above the base are lost, none of that size acked in between: the path no longer carries them.
const BLACK_HOLE: u32 = 8;
/// The longest that one datagram above the base may occupy the link at the measured rate.
const MAX_DURATION: Duration = Duration::from_millis(20);

/// The search for the largest datagram of a path.
#[derive(Clone, Debug)]
pub struct MtuDiscovery {
    /// What has been seen to pass, B.
    current: usize,
    /// What both ends can handle, B.
    limit: usize,
    probe: Probe,
    /// Datagrams above the base lost in a row.
    large_lost: u32,
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
            large_lost: 0,
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

    /// The largest datagram to send at this rate, B/s.
    pub fn datagram_size(&self, rate: f64) -> usize {
        self.current.min(longest_at(rate))
    }

    /// The size to probe now, if one is due and would not take too long at this rate, B/s.
    pub fn probe_size(&self, now: Instant, rate: f64) -> Option<usize> {
        let Probe::Due { at, .. } = self.probe else { return None };
        let next = LADDER.into_iter().map(|size| size.min(self.limit)).find(|&size| size > self.current)?;
        (at <= now && next <= longest_at(rate)).then_some(next)
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
        self.large_lost = 0;
        self.probe = Probe::Due { at: now, lost: 0 };
    }

    /// A probe was lost.
    pub fn on_probe_lost(&mut self, now: Instant) {
        let Probe::InFlight { lost } = self.probe else { return };
        self.probe = match lost + 1 {
            MAX_PROBES => Probe::Due { at: now + RAISE_AFTER, lost: 0 },
            lost => Probe::Due { at: now, lost },
        };
    }

    /// A datagram of `size` B was acked.
    pub fn on_acked(&mut self, size: u64) {
        if size > BASE as u64 {
            self.large_lost = 0;
        }
    }

    /// A datagram of `size` B was lost. True if that shows a black hole: back to the base (RFC 8899 §4.3).
    pub fn on_lost(&mut self, now: Instant, size: u64) -> bool {
        if size <= BASE as u64 || self.current <= BASE {
            return false;
        }
        self.large_lost += 1;
        if self.large_lost < BLACK_HOLE {
            return false;
        }
        self.current = BASE.min(self.limit);
        self.large_lost = 0;
        self.probe = Probe::Due { at: now + RAISE_AFTER, lost: 0 };
        true
    }
}

/// The size that takes [`MAX_DURATION`] at `rate` B/s, but the base at least.
fn longest_at(rate: f64) -> usize {
    ((rate * MAX_DURATION.as_secs_f64()) as usize).max(BASE)
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
        while let Some(size) = discovery.probe_size(now, FAST) {
            probes += 1;
            discovery.on_probe_sent();
            assert_eq!(discovery.probe_size(now, FAST), None, "one probe at a time");
            if size <= mtu { discovery.on_probe_acked(now, size) } else { discovery.on_probe_lost(now) }
        }
        probes
    }

    #[test]
    fn climbs_to_what_the_path_carries() {
        for (mtu, found, probes) in
            [(1_200, 1_200, 3), (1_500, 1_452, 4), (9_000, 8_952, 5), (70_000, 65_507, 5)]
        {
            let mut discovery = MtuDiscovery::new(65_507, at(0));
            assert_eq!(search(&mut discovery, mtu, at(0)), probes, "{mtu}");
            assert_eq!(discovery.path_mtu(), found);
            assert_eq!(discovery.probe_size(at(599), FAST), None);
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
        assert_eq!(discovery.probe_size(at(0), 50_000.0), None);
        search(&mut discovery, 70_000, at(0));
        for (rate, size) in [(5_000.0, 1_200), (100_000.0, 2_000), (1e6, 20_000), (1e7, 65_507)] {
            assert_eq!(discovery.datagram_size(rate), size, "{rate} B/s");
        }
    }

    #[test]
    fn a_black_hole_leads_back_to_the_base_and_mere_loss_does_not() {
        let mut discovery = MtuDiscovery::new(65_507, at(0));
        search(&mut discovery, 9_000, at(0));
        for _ in 0..100 {
            assert!(!discovery.on_lost(at(1), 8_952));
            discovery.on_acked(8_952);
            assert!(!discovery.on_lost(at(1), 1_200));
        }
        assert_eq!((0..BLACK_HOLE).filter(|_| discovery.on_lost(at(1), 8_952)).count(), 1);
        assert_eq!(discovery.path_mtu(), 1_200);
    }
}
