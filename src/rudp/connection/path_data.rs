//! What is known of the path to the peer and back: how long it takes, how much it takes, and which lengths pass.
//!
//! All of it was measured on this path, so that all of it begins anew together when the peer is found elsewhere. Which
//! addresses the peer may be at is [`path`](crate::rudp::path)'s affair.

use crate::rudp::congestion::delay::DelayFilter;
use crate::rudp::congestion::window::DelayWindow;
use crate::rudp::delivery::DeliveryRate;
use crate::rudp::mtu::{self, MtuDiscovery};
use crate::rudp::pacer::Pacer;
use crate::rudp::reordering::Reordering;
use crate::rudp::rtt::{self, RttEstimator};
use crate::rudp::sent::{Content, SentPacket};
use crate::rudp::timestamps::Timestamps;
use crate::time::{Duration, Instant};

/// From this size on a datagram tells the round trip of full ones, B.
const FULL_SIZE: u64 = mtu::BASE as u64 / 2;

/// The peer is asked what has arrived if nothing was acked for this part of a round trip, in hundredths (RFC 8985 §7.2 waits for two; a
/// question costs 25 B, and where it came too early no more than that).
const ASK_PERCENT: u32 = 150;

/// One path, as this end has measured it.
#[derive(Debug)]
pub(super) struct PathData {
    /// The packet with which it begins: what is known of older ones concerns another.
    pub(super) begins: u64,
    pub(super) rtt: RttEstimator,
    pub(super) reordering: Reordering,
    pub(super) window: DelayWindow,
    pub(super) mtu: MtuDiscovery,
    pub(super) delivery: DeliveryRate,
    /// The way out, measured by acks.
    pub(super) delay_out: DelayFilter,
    /// What of the queue is not on this node's uplink, as of the last ack.
    pub(super) queue_at_peer: Duration,
    /// Whether it was measured once while nothing else was under way from here, and the last packet that may show it.
    pub(super) is_certain: bool,
    pub(super) lone: Option<u64>,
    /// The last packet for which the uplink was drained.
    pub(super) drained: Option<u64>,
    /// The way in, measured by timestamps.
    pub(super) delay_in: DelayFilter,
    pub(super) pacer: Pacer,
    /// What may go to one peer in a burst, B, as of the last ack.
    pub(super) burst: u64,
    pub(super) timestamps: Timestamps,
    /// Probe time-outs since the last ack, and whether the peer was asked before those what has arrived.
    pub(super) probes: u32,
    pub(super) has_asked: bool,
    /// Whether a few acks that get lost would stop the uplink, as of the last ack.
    pub(super) is_on_narrow_uplink: bool,
    /// Whether a datagram of half the full size or more was ever sent, and ever acked.
    full_sent: bool,
    full_acked: bool,
}

impl PathData {
    /// Nothing is known of the path that begins with the packet `begins`, but what `mtu` takes for certain.
    pub(super) fn new(now: Instant, begins: u64, mtu: MtuDiscovery) -> PathData {
        let datagram = mtu.path_mtu() as u64;
        PathData {
            begins,
            rtt: RttEstimator::new(),
            reordering: Reordering::new(now),
            window: DelayWindow::new(datagram),
            mtu,
            delivery: DeliveryRate::new(now),
            delay_out: DelayFilter::default(),
            queue_at_peer: Duration::ZERO,
            is_certain: false,
            lone: None,
            drained: None,
            delay_in: DelayFilter::default(),
            pacer: Pacer::new(datagram, now),
            burst: 0,
            timestamps: Timestamps::default(),
            probes: 0,
            has_asked: false,
            is_on_narrow_uplink: false,
            full_sent: false,
            full_acked: false,
        }
    }

    /// The path is another from the packet `begins` on: forgets all that was measured.
    pub(super) fn restart(&mut self, now: Instant, begins: u64) {
        self.mtu.restart(now);
        *self = PathData::new(now, begins, self.mtu.clone());
    }

    /// A packet of `size` B that asks for an ack was sent.
    pub(super) fn on_sent(&mut self, size: u64) {
        self.full_sent |= size >= FULL_SIZE;
        self.pacer.on_sent(size);
    }

    /// The packet `number` was acked for the first time. True if it went this way.
    pub(super) fn on_packet_acked(&mut self, now: Instant, number: u64, packet: &SentPacket) -> bool {
        if number < self.begins {
            return false;
        }
        self.full_acked |= packet.size >= FULL_SIZE;
        self.mtu.on_acked(packet.sent, packet.size);
        if let Some(size) = probed_size(packet) {
            self.mtu.on_probe_acked(now, size);
            log::trace!("datagrams of {} B pass", self.mtu.path_mtu());
        }
        true
    }

    /// The packet `number` got lost.
    pub(super) fn on_packet_lost(&mut self, now: Instant, number: u64, packet: &SentPacket) {
        if number < self.begins {
            return;
        }
        if probed_size(packet).is_some() {
            self.mtu.on_probe_lost(now);
        } else if self.mtu.on_lost(now, packet.sent, packet.size) {
            log::trace!("datagrams above {} B no longer pass", self.mtu.path_mtu());
        }
    }

    /// The size of the probe to send now instead of a datagram with content, B, if one is due. Before anything is known to
    /// pass it waits, so that it costs no time-out.
    pub(super) fn probe_size(&self, now: Instant) -> Option<usize> {
        self.mtu.probe_size(now, self.delivery.rate(), self.burst).filter(|_| self.full_acked)
    }

    /// The largest datagram to send now, B.
    pub(super) fn datagram_size(&self) -> usize {
        // After silence nothing is certain, the size that the path carries included.
        if self.probes > 1 {
            mtu::BASE.min(self.mtu.path_mtu())
        } else {
            self.mtu.datagram_size(self.delivery.rate(), self.burst)
        }
    }

    /// How long `bytes` take at the best rate of late.
    pub(super) fn time_for(&self, bytes: u64) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.delivery.best().max(1.0))
    }

    /// The probe time-out before any back-off.
    pub(super) fn pto(&self) -> Duration {
        // On a slow link a single datagram of somebody else's, in line before this one, exceeds any variation of late.
        let one_more = self.datagram_size() as f64 / self.delivery.rate().max(1.0);
        let one_more = Duration::from_secs_f64(one_more).min(self.rtt.smoothed() / 2);
        let measured = self.rtt.pto() + one_more;
        // On a slow link a full datagram takes far longer than the small ones of the handshake: until the first one
        // has been acked, its round trip is unknown (RFC 9002 §6.2.2).
        if self.full_sent && !self.full_acked { measured.max(RttEstimator::new().pto()) } else { measured }
    }

    /// How long after the last packet that asks for an ack to ask the peer what has arrived. Where the rate varies, the round trip
    /// does so too, and the probe time-out is many of them; but if nothing but acks was lost, the uplink stands still meanwhile.
    /// `None` where no content is `in_flight`, B, where enough is to keep the uplink busy, or where a probe would come little later.
    pub(super) fn ask_after(&self, in_flight: u64) -> Option<Duration> {
        let srtt = self.rtt.smoothed();
        let after = srtt * ASK_PERCENT / 100 + self.rtt.max_ack_delay();
        let may_stand_still = in_flight >= FULL_SIZE && self.full_acked && self.is_on_narrow_uplink;
        (may_stand_still && after + srtt / 2 < self.pto() && !self.has_asked).then_some(after)
    }

    /// How long after the last packet that asks for an ack to probe (RFC 9002 §6.2.1).
    pub(super) fn probe_after(&self) -> Duration {
        (self.pto() * (1 << self.probes.min(10))).min(rtt::MAX_PTO)
    }
}

/// The size that a packet was to find out about, B, if it was.
fn probed_size(packet: &SentPacket) -> Option<usize> {
    packet.contents.iter().find_map(|content| match content {
        Content::MtuProbe { size } => Some(*size),
        Content::Fragment { .. } | Content::Abandon { .. } => None,
    })
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    fn path() -> PathData {
        let mut path = PathData::new(at(0), 0, MtuDiscovery::new(65_507, at(0)));
        path.rtt.sample(at(0), at(20), Duration::ZERO);
        path
    }

    fn packet(size: u64) -> SentPacket {
        SentPacket { sent: at(0), size, contents: smallvec![] }
    }

    #[test]
    fn patience_grows_until_the_first_full_datagram_has_been_acked() {
        let mut path = path();
        let small = path.pto();
        path.on_sent(100);
        assert_eq!(path.pto(), small);
        path.on_sent(1_200);
        assert!(path.pto() > small);
        assert!(path.on_packet_acked(at(20), 1, &packet(100)));
        assert!(path.pto() > small, "that one was small");
        assert!(path.on_packet_acked(at(20), 2, &packet(1_200)));
        assert_eq!(path.pto(), small);
        let once = path.probe_after();
        path.probes = 3;
        assert_eq!(path.probe_after(), once * 8);
        path.probes = 60;
        assert_eq!(path.probe_after(), rtt::MAX_PTO);
    }

    #[test]
    fn the_peer_is_asked_once_before_a_late_time_out() {
        let mut path = path();
        let content = 1_200;
        path.on_sent(content);
        assert_eq!(path.ask_after(content), None, "how long that takes isn't known");
        path.on_packet_acked(at(20), 1, &packet(content));
        assert_eq!(path.ask_after(100), None, "a short one is no reason");
        assert_eq!(path.ask_after(content), None, "other content keeps the uplink busy");
        path.is_on_narrow_uplink = true;
        let after = path.ask_after(content).expect("the round trip may vary by half of it");
        assert!(after > path.rtt.smoothed() && after < path.pto());
        path.has_asked = true;
        assert_eq!(path.ask_after(content), None);
        path.has_asked = false;
        (0..50).for_each(|_| path.rtt.sample(at(0), at(20), Duration::ZERO));
        assert_eq!(path.ask_after(content), None, "a probe comes little later");
    }

    #[test]
    fn a_new_path_owes_nothing_to_packets_of_the_old_one() {
        let mut path = path();
        path.on_sent(1_200);
        path.restart(at(30), 5);
        assert_eq!(path.rtt.min(), None);
        assert!(!path.on_packet_acked(at(40), 4, &packet(1_200)));
        path.on_sent(1_200);
        assert!(!path.full_acked, "nothing is known to pass here");
        assert!(path.on_packet_acked(at(40), 5, &packet(1_200)));
        assert!(path.full_acked);
    }
}
