//! The next datagram: what goes into it, and what is noted of it when it leaves.
//!
//! Whether anything may leave is asked of all parts here; what they decide by is theirs.

use smallvec::SmallVec;

use super::{Connection, DISCHARGE_PROBES, State};
use crate::rudp::clock;
use crate::rudp::congestion::links::Links;
use crate::rudp::frame::Frame;
use crate::rudp::mtu;
use crate::rudp::packet::{self, Header, Kind};
use crate::rudp::path::{self, Token};
use crate::rudp::send_window::Class;
use crate::rudp::sent::{Content, SentPacket};
use crate::rudp::seq;
use crate::rudp::timer::Timer;
use crate::time::Instant;

/// Below a window of this many datagrams the acks must not be held back, or the link idles.
const NARROW_DATAGRAMS: u64 = 4;

impl Connection {
    /// The same for the peer's own address. False if there is nothing.
    pub(super) fn write_to_peer(&mut self, now: Instant, buf: &mut Vec<u8>, links: &mut Links) -> bool {
        if let Some(due) = self.handshake_due.take() {
            self.write_handshake(now, due, buf, links);
            return true;
        }
        let State::Established { received } = &self.state else { return false };
        let srtt = self.path.rtt.smoothed();
        let ack_due = received.ack_due().map(|due| match received.waits_since() {
            Some(since) => self.rides.ack_due(now, srtt, since, due),
            None => due,
        });
        let ack_now = ack_due.is_some_and(|due| due <= now);
        let ride_due = self.send.has_pending(Class::Patient).then(|| self.rides.due(now, srtt));
        let control = self.send.has_pending(Class::Control) || ride_due.is_some_and(|due| due <= now);
        let bulk = self.send.has_pending(Class::Bulk) && self.may_send_bulk(now, links);
        let response = self.validation.owes_response();
        let is_urgent = response || self.probe_due || self.question_due;
        if !(ack_now || control || bulk || is_urgent) {
            self.timers.set(Timer::AckDelay, ack_due);
            self.timers.set(Timer::Ride, ride_due);
            return false;
        }
        let number = self.sent.next_number();
        packet::begin(buf, Header { kind: Kind::Data, connection: self.id, number: seq::to_wire(number) });
        // Whatever goes out takes along what has arrived.
        if ack_due.is_some() {
            let (downlink_queue, credit) = (links.downlink.queue_to_tell(now), self.recv.credit());
            self.received_mut().make_ack(now, downlink_queue, credit).encode(buf);
            self.timers.set(Timer::AckDelay, None);
        }
        let eliciting = control || bulk || is_urgent;
        let least = if self.probe_due { path::PROBE_DATAGRAM } else { path::CHALLENGE_DATAGRAM };
        // A probe carries what is to be sent anyway.
        let probe = self.path.probe_size(now).filter(|_| bulk);
        let mut contents =
            if eliciting { self.write_frames(now, number, bulk, probe, buf, links) } else { SmallVec::new() };
        if let Some(size) = probe {
            self.path.mtu.on_probe_sent();
            contents.push(Content::MtuProbe { size });
        }
        let least = probe.unwrap_or(least);
        if eliciting && buf.len() < least {
            buf.resize(least, 0);
        }
        packet::seal(buf);
        self.record(now, buf.len() as u64, eliciting.then_some(contents), links);
        true
    }

    /// A question to an address that may not be the peer's: nothing of the connection goes there, and it is not missed if
    /// it gets lost.
    pub(super) fn write_challenge(
        &mut self,
        now: Instant,
        token: Token,
        buf: &mut Vec<u8>,
        links: &mut Links,
    ) {
        let number = seq::to_wire(self.sent.next_number());
        packet::begin(buf, Header { kind: Kind::Data, connection: self.id, number });
        Frame::PathChallenge(token).encode(buf);
        packet::seal(buf);
        self.record(now, buf.len() as u64, None, links);
        self.timers.set(Timer::PathChallenge, self.validation.next_challenge());
    }

    fn write_frames(
        &mut self,
        now: Instant,
        number: u64,
        bulk: bool,
        probe: Option<usize>,
        buf: &mut Vec<u8>,
        links: &Links,
    ) -> SmallVec<[Content; 2]> {
        // Every other one small: if only those come through, it is the size that matters.
        let small = self.path.mtu.is_suspicious() && number.is_multiple_of(2);
        let limit = if small { self.path.datagram_size().min(mtu::BASE) } else { self.path.datagram_size() };
        let limit = probe.unwrap_or(limit);
        if self.path.timestamps.is_due(now, number) {
            let unsettled = number - self.sent.oldest_unsettled();
            Frame::Timestamp { sent: clock::at(now), unsettled }.encode(buf);
        }
        let narrow = NARROW_DATAGRAMS * mtu::least_of_few(limit) as u64;
        let is_narrow = bulk && self.window(links).min(links.uplink.window().bytes()) < narrow;
        if is_narrow || self.question_due || links.uplink.is_drained() {
            Frame::ImmediateAck.encode(buf);
        }
        let response = self.validation.take_response();
        if let Some(token) = response {
            Frame::PathResponse(token).encode(buf);
        }
        let mut contents = SmallVec::new();
        // What has waited goes first: a request before the word that takes it back.
        self.send.write(Class::Patient, buf, limit, &mut contents);
        self.rides.on_taken();
        self.timers.set(Timer::Ride, None);
        self.send.write(Class::Control, buf, limit, &mut contents);
        if bulk || self.probe_due {
            self.send.write(Class::Bulk, buf, limit, &mut contents);
        }
        if bulk {
            self.rides.on_bulk(now);
        }
        if contents.is_empty() && response.is_none() {
            Frame::Ping.encode(buf);
        }
        self.probe_due = false;
        contents
    }

    /// Whether every window lets bulk go; notes what to wait for if not.
    fn may_send_bulk(&mut self, now: Instant, links: &Links) -> bool {
        self.blocked_by_uplink = false;
        if !self.has_room(links) {
            return false;
        }
        if !links.uplink.has_room() {
            self.blocked_by_uplink = true;
            return false;
        }
        let slow_start = self.path.window.in_slow_start();
        let window = self.window(links);
        let (srtt, burst) = (self.path.rtt.smoothed(), links.uplink.burst());
        let blocked = self.path.pacer.blocked_until(now, window, srtt, slow_start, burst);
        self.timers.set(Timer::Pacing, blocked);
        blocked.is_none()
    }

    /// Notes a datagram that leaves; `contents` is `None` if it asks for no ack.
    pub(super) fn record(
        &mut self,
        now: Instant,
        size: u64,
        contents: Option<SmallVec<[Content; 2]>>,
        links: &mut Links,
    ) {
        self.stats.sent += 1;
        self.stats.bytes_sent += size;
        let Some(contents) = contents else {
            self.sent.push(None);
            return;
        };
        if links.uplink.in_flight() == 0 {
            self.path.lone = Some(self.sent.next_number());
        }
        // A question alone doesn't put off the probe that follows if it isn't answered.
        let is_question = std::mem::take(&mut self.question_due) && contents.is_empty();
        self.last_eliciting = if is_question { self.last_eliciting } else { now };
        self.sent.push(Some(SentPacket { sent: now, size, contents }));
        if self.path.probes < DISCHARGE_PROBES {
            self.uplink_charge += size;
            if links.uplink.on_sent(size) {
                self.path.drained = Some(self.sent.next_number() - 1);
            }
        }
        self.path.on_sent(size);
        self.liveness.on_asked(now);
        self.arm_liveness();
        self.arm_recovery();
    }
}
