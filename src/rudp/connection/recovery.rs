//! What has become of the packets in flight: acked, lost, or silent for so long that it has to be asked (RFC 9002).
//!
//! Routes between the packets that were sent, what they carried, the path that they took and the windows; judges none itself.

use smallvec::SmallVec;

use super::{Connection, DISCHARGE_PROBES, MAX_EXCUSED};
use crate::rudp::clock;
use crate::rudp::congestion::links::Links;
use crate::rudp::error::ProtocolViolation;
use crate::rudp::frame::Ack;
use crate::rudp::loss::{self, Outcome};
use crate::rudp::sent::Acked;
use crate::rudp::timer::Timer;
use crate::time::{Duration, Instant};

/// An ack that was held back for longer says nothing of the present queue.
const STALE_ACK: Duration = Duration::from_millis(100);
/// After this many probe time-outs in a row the window starts anew (RFC 9002 §7.6.1).
const PERSISTENT_PROBES: u32 = 3;

impl Connection {
    /// Takes in an ack that came in the packet `number`.
    pub(super) fn on_ack(
        &mut self,
        now: Instant,
        ack: &Ack,
        number: u64,
        links: &mut Links,
    ) -> Result<(), ProtocolViolation> {
        let (in_flight, uplink_in_flight) = (self.sent.in_flight(), links.uplink.in_flight());
        let largest = ack.ranges[0].end - 1;
        let largest_before = self.largest_acked;
        let (mut acked_bytes, mut arrived, mut largest_sent) = (0, 0, None);
        let path = &mut self.path;
        path.reordering.on_ack(now, &path.rtt);
        for range in &ack.ranges {
            let settled = self.sent.ack(range.clone(), |number, acked| {
                arrived += 1;
                let (sent, is_of_path) = match acked {
                    Acked::Lost { sent } => {
                        self.stats.spurious += 1;
                        (sent, number >= path.begins)
                    }
                    Acked::InFlight(packet) => {
                        acked_bytes += packet.size;
                        packet.contents.iter().for_each(|content| self.send.on_acked(content));
                        let is_of_path = path.on_packet_acked(now, number, &packet);
                        if is_of_path && number == largest {
                            largest_sent = Some(packet.sent);
                        }
                        (packet.sent, is_of_path)
                    }
                };
                if is_of_path && number < largest_before {
                    path.reordering.on_overtaken(now, largest_before - number, sent, &path.rtt);
                }
            });
            settled.map_err(|_| ProtocolViolation::ImpossibleAck)?;
        }
        self.discharge(acked_bytes, links);
        self.stats.bytes_acked += acked_bytes;
        // The credit of one that was overtaken long ago could be taken for a greater one.
        if number > self.newest_ack {
            self.newest_ack = number;
            self.send.grant(ack.credit);
        }
        if arrived > 0 && (largest_sent.is_none() || ack.delay > STALE_ACK) {
            self.path.delay_out.on_untimed();
        }
        if let Some(sent) = largest_sent {
            self.path.rtt.sample(sent, now, ack.delay);
            if ack.delay <= STALE_ACK {
                let at_receiver = ack.downlink_queue.min(MAX_EXCUSED);
                let is_lone = self.path.lone == Some(largest);
                let known = match self.path.delay_out.has_base() {
                    true => Duration::ZERO,
                    false => at_receiver + links.uplink.queue(now, is_lone),
                };
                self.path.delay_out.sample(now, clock::at(sent), ack.received, known);
                self.path.is_certain |= is_lone;
                let is_held = self.path.window.is_narrow() || links.uplink.window().is_narrow();
                let is_alone = ack.downlink_queue == Duration::ZERO;
                let own = (is_held && is_alone).then(|| self.path.time_for(uplink_in_flight));
                let is_next = arrived == 1 && self.sent.in_flight_below(largest).next().is_none();
                let is_all_alone = is_held && is_alone && uplink_in_flight == in_flight;
                let delay = &mut self.path.delay_out;
                let is_drained = self.path.drained == Some(largest);
                if delay.reconsider(now, own)
                    || delay.reconsider_gaps(now, is_next, is_all_alone)
                    || is_drained && delay.relearn(at_receiver)
                {
                    log::trace!("{}: the path has become longer", self.id);
                    self.path.rtt.forget_min();
                }
            }
        }
        if acked_bytes > 0 {
            self.path.probes = 0;
            self.path.has_asked = false;
            let shared = links.uplink.window();
            self.path.is_on_narrow_uplink = shared.is_narrow() && !shared.in_slow_start();
            self.path.delivery.on_acked(now, acked_bytes, self.path.rtt.smoothed());
            self.path.burst = links.uplink.burst();
            self.path.window.set_datagram(self.path.datagram_size() as u64);
            // No queue is longer than the round trip that led through it, whatever the peer's clock says.
            let queue = self.path.delay_out.queue(now).unwrap_or_default().min(self.path.rtt.latest());
            let before_receiver = queue.saturating_sub(ack.downlink_queue.min(MAX_EXCUSED));
            let on_uplink = links.uplink.observe(now, self.key, before_receiver, self.path.is_certain);
            let srtt = self.path.rtt.smoothed();
            links.uplink.on_acked(now, acked_bytes, on_uplink, uplink_in_flight, srtt);
            self.path.queue_at_peer = queue.saturating_sub(on_uplink);
            self.path.window.on_ack(now, acked_bytes, self.path.queue_at_peer, in_flight, srtt);
        }
        self.detect_losses(now, Some(largest), links);
        if !self.sent.any_in_flight() {
            self.liveness.on_answered_all();
        }
        self.arm_recovery();
        self.arm_liveness();
        Ok(())
    }

    /// Judges all packets below `largest_acked`; `None` on a time-out, where the last judgement's deadline has come.
    pub(super) fn detect_losses(&mut self, now: Instant, largest_acked: Option<u64>, links: &mut Links) {
        let (delay, threshold) =
            (self.path.reordering.loss_delay(&self.path.rtt), self.path.reordering.packet_threshold());
        self.largest_acked = self.largest_acked.max(largest_acked.unwrap_or(0));
        let largest = self.largest_acked;
        let mut lost: SmallVec<[u64; 8]> = SmallVec::new();
        let mut next = None;
        for (number, packet) in self.sent.in_flight_below(largest) {
            match loss::judge(number, packet.sent, largest, threshold, delay, now) {
                Outcome::Lost => lost.push(number),
                Outcome::LostAt(deadline) => {
                    next = Some(next.map_or(deadline, |next: Instant| next.min(deadline)));
                }
            }
        }
        if let (Some(first), Some(last)) = (lost.first(), lost.last()) {
            log::trace!("{}: {} packets within {first}..={last} are lost", self.id, lost.len());
        }
        for number in lost {
            let Some(packet) = self.sent.declare_lost(number, now) else { continue };
            self.stats.lost += 1;
            self.discharge(packet.size, links);
            self.path.on_packet_lost(now, number, &packet);
            packet.contents.into_iter().for_each(|content| self.send.on_lost(content));
        }
        self.sent.forget_lost_before(now - 3 * delay);
        self.timers.set(Timer::Loss, next);
    }

    /// Nothing was acked for long: what is oldest goes out again, whatever the windows say (RFC 9002 §6.2.4). But first it is only
    /// asked what has arrived.
    pub(super) fn on_probe_timeout(&mut self, now: Instant, links: &mut Links) {
        if let Some(after) = self.path.ask_after(self.sent.in_flight()) {
            self.path.has_asked = true;
            // As long as the acks of others come the uplink doesn't stand still.
            self.question_due = now.since(links.uplink.last_acked()) >= after;
            return self.arm_recovery();
        }
        self.path.probes += 1;
        if self.path.probes == DISCHARGE_PROBES {
            self.discharge(self.uplink_charge, links);
        }
        self.stats.probes += 1;
        log::trace!(
            "{}: nothing acked for {} probe time-outs of {:?}",
            self.id,
            self.path.probes,
            self.path.pto()
        );
        self.probe_due = true;
        if let Some((_, oldest)) = self.sent.oldest_in_flight() {
            oldest.contents.clone().into_iter().for_each(|content| self.send.on_lost(content));
        }
        if self.path.probes == PERSISTENT_PROBES {
            self.path.window.on_persistent_congestion();
        }
    }

    /// Gives `bytes` of the shared window back, or what is left of this connection's part.
    pub(super) fn discharge(&mut self, bytes: u64, links: &mut Links) {
        let bytes = bytes.min(self.uplink_charge);
        self.uplink_charge -= bytes;
        links.uplink.on_settled(bytes);
    }

    /// Sets the probe timer; a packet that will be judged by time needs none.
    pub(super) fn arm_recovery(&mut self) {
        let loss_pending = self.timers.get(Timer::Loss).is_some();
        let is_due = self.is_established() && self.sent.any_in_flight() && !loss_pending;
        let wait = || {
            let question = self.path.ask_after(self.sent.in_flight());
            question.unwrap_or_else(|| self.path.probe_after())
        };
        let deadline = is_due.then(|| self.last_eliciting + wait());
        self.timers.set(Timer::Probe, deadline);
    }
}
