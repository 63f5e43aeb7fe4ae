//! One connection: a router between its parts, each of which owns its own state.
//!
//! No socket, clock or other connection here; what connections of an endpoint share comes in as [`Links`].
//!
//! - `handle_…`: [`handle_welcome`](Connection::handle_welcome), [`handle_retry`](Connection::handle_retry),
//!   [`handle_data`](Connection::handle_data), [`handle_elsewhere`](Connection::handle_elsewhere),
//!   [`handle_timeout`](Connection::handle_timeout)
//! - `poll_…`: [`poll_transmit`](Connection::poll_transmit), [`poll_timeout`](Connection::poll_timeout)
//! - commands: [`send`](Connection::send), [`abandon`](Connection::abandon),
//!   [`set_keep_alive`](Connection::set_keep_alive), [`move_to`](Connection::move_to)

mod path_data;

use std::net::SocketAddr;

use bytes::Bytes;
use smallvec::SmallVec;

use self::path_data::PathData;
use super::clock;
use super::config::Config;
use super::congestion::links::Links;
use super::cookie::Cookie;
use super::error::{CloseReason, ProtocolViolation};
use super::frame::{Ack, Frame};
use super::handshake::{Hello, MIN_DATAGRAM_SIZE, Welcome};
use super::liveness::Liveness;
use super::loss::{self, Outcome};
use super::mtu::{self, MtuDiscovery};
use super::packet::{self, ConnectionId, Header, Kind};
use super::path::{self, PathValidation, Token};
use super::received::{MAX_ACK_DELAY, Received};
use super::recv_window::RecvWindow;
use super::ride::Rides;
use super::send_window::{Class, SendWindow, Tag};
use super::sent::{Acked, Content, SentPacket, SentPackets};
use super::seq;
use super::stats::{Arrivals, Stats};
use super::timer::{Timer, TimerTable};
use crate::coding::{Malformed, Reader};
use crate::time::{Duration, Instant};

/// The first wait for a welcome; each later one is a quarter longer, up to the longest.
const HELLO_INTERVAL: Duration = Duration::from_millis(500);
const MAX_HELLO_INTERVAL: Duration = Duration::from_millis(1_000);
/// At most this much of a queue is put down to the receiver's downlink on its word, so that neither a lie nor two
/// nodes that hear each other's uplinks can raise a queue without end.
const MAX_EXCUSED: Duration = Duration::from_millis(150);
/// An ack that was held back for longer says nothing of the present queue.
const STALE_ACK: Duration = Duration::from_millis(100);
/// Below a window of this many datagrams the acks must not be held back, or the link idles.
const NARROW_DATAGRAMS: u64 = 4;
/// After this many probe time-outs in a row, what a peer doesn't ack no longer takes room from others.
const DISCHARGE_PROBES: u32 = 2;
/// A close whose number is this far from what is expected is forged.
const CLOSE_DISTANCE: u64 = 1 << 15;
/// After this many probe time-outs in a row the window starts anew (RFC 9002 §7.6.1).
const PERSISTENT_PROBES: u32 = 3;

#[derive(Debug)]
enum State {
    /// Waits for the welcome.
    HelloSent { cookie: Option<Cookie>, started: Instant, wait: Duration },
    /// Data flows.
    Established { received: Received },
}

/// What a data packet from another address than the peer's is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// Nothing.
    Ignored,
    /// A challenge to that address, if the endpoint has the room for it.
    Challenge,
    /// The peer has proved to be there now; on a path with this round trip, if that is known.
    Proved(Option<Duration>),
}

/// One end of a connection.
#[derive(Debug)]
pub struct Connection {
    key: u64,
    id: ConnectionId,
    remote: SocketAddr,
    /// Other addresses that the peer may be at.
    validation: PathValidation,
    config: Config,
    state: State,
    sent: SentPackets,
    send: SendWindow,
    recv: RecvWindow,
    largest_acked: u64,
    /// The newest packet of the peer that had an ack in it.
    newest_ack: u64,
    path: PathData,
    timers: TimerTable,
    /// The handshake datagram to send: a hello, or the welcome to the hello with this timestamp that arrived then.
    handshake_due: Option<HandshakeDue>,
    probe_due: bool,
    /// What this connection takes up of the shared window, B.
    uplink_charge: u64,
    last_eliciting: Instant,
    rides: Rides,
    liveness: Liveness,
    /// Whether bulk was held back by the shared window when last asked.
    blocked_by_uplink: bool,
    stats: Stats,
}

#[derive(Clone, Copy, Debug)]
enum HandshakeDue {
    Hello,
    Welcome { hello_sent: u32, hello_received: u32 },
}

impl Connection {
    /// A connection that this side asks for. `sent` says with which packet number it begins.
    pub fn connect(
        key: u64,
        id: ConnectionId,
        remote: SocketAddr,
        sent: SentPackets,
        config: &Config,
        now: Instant,
    ) -> Connection {
        let state = State::HelloSent { cookie: None, started: now, wait: HELLO_INTERVAL };
        let mut connection = Connection::new(key, id, remote, sent, config, now, state);
        // The hello keeps its number however often it is repeated; the welcome says which copy it answers.
        connection.sent.push(Some(SentPacket { sent: now, size: 0, contents: SmallVec::new() }));
        connection.handshake_due = Some(HandshakeDue::Hello);
        connection
    }

    /// A connection that the other side asked for with a hello whose cookie was good.
    #[expect(clippy::too_many_arguments, reason = "what names a connection, and the hello it answers")]
    pub fn accept(
        key: u64,
        id: ConnectionId,
        remote: SocketAddr,
        sent: SentPackets,
        hello: &Hello,
        hello_number: u32,
        downlink_queue: Duration,
        config: &Config,
        now: Instant,
    ) -> Connection {
        let received = Received::new(seq::from_wire(hello_number), now);
        let mut connection =
            Connection::new(key, id, remote, sent, config, now, State::Established { received });
        connection.path.delay_in.sample(now, hello.sent, clock::at(now), downlink_queue);
        connection.apply_params(hello.receive_window, hello.datagram_size);
        connection.handle_hello(now, hello);
        connection.arm_liveness();
        connection
    }

    fn new(
        key: u64,
        id: ConnectionId,
        remote: SocketAddr,
        sent: SentPackets,
        config: &Config,
        now: Instant,
        state: State,
    ) -> Connection {
        Connection {
            key,
            id,
            remote,
            validation: PathValidation::default(),
            config: config.clone(),
            state,
            sent,
            send: SendWindow::new(0),
            recv: RecvWindow::new(config.receive_window, config.max_message),
            largest_acked: 0,
            newest_ack: 0,
            path: PathData::new(now, 0, MtuDiscovery::new(config.max_datagram_size, now)),
            timers: TimerTable::default(),
            handshake_due: None,
            probe_due: false,
            uplink_charge: 0,
            last_eliciting: now,
            rides: Rides::default(),
            liveness: Liveness::new(now),
            blocked_by_uplink: false,
            stats: Stats::default(),
        }
    }

    /// The connection's name on the wire.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Where the other end is.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Whether the handshake is over.
    fn is_established(&self) -> bool {
        matches!(self.state, State::Established { .. })
    }

    /// What it takes up of the window that all connections share, B.
    pub fn uplink_charge(&self) -> u64 {
        self.uplink_charge
    }

    /// Whether bulk waits for room in the window that all connections share.
    pub fn is_blocked_by_uplink(&self) -> bool {
        self.blocked_by_uplink
    }

    /// What happened so far.
    pub fn stats(&self, now: Instant) -> Stats {
        Stats {
            srtt: self.path.rtt.smoothed(),
            min_rtt: self.path.rtt.min().unwrap_or_default(),
            rate: self.path.delivery.rate() as u64,
            datagram_size: self.path.datagram_size(),
            bytes_retransmitted: self.send.rewritten(),
            queue: self.path.delay_out.queue(now).unwrap_or_default(),
            window: self.path.window.bytes(),
            in_flight: self.sent.in_flight(),
            held: self.recv.held(),
            ..self.stats
        }
    }

    /// Queues a message.
    pub fn send(&mut self, class: Class, tag: Tag, data: Bytes) {
        self.send.push(class, tag, data);
    }

    /// Whether a bulk message of `len` B would be on its way at once: less than a datagram waits before it, and all
    /// windows have room.
    pub fn wants_bulk(&self, len: usize, links: &Links) -> bool {
        links.uplink.has_room()
            && self.has_room(links)
            && self.is_established()
            && self.send.wants_bulk(len, self.path.datagram_size())
    }

    /// Whether this connection's own window lets another datagram go.
    fn has_room(&self, links: &Links) -> bool {
        self.path.window.has_room_at_first(self.sent.in_flight(), links.uplink.first_share())
    }

    /// How what the peer sends arrives.
    pub fn arrivals(&self) -> Arrivals {
        Arrivals { is_receiving: self.recv.held() > 0, min_rtt: self.path.rtt.min().unwrap_or_default() }
    }

    /// Drops all messages with this tag.
    pub fn abandon(&mut self, tag: Tag) {
        self.send.abandon(tag);
    }

    /// Whether a packet with bytes of this tag is on its way.
    pub fn is_in_flight(&self, tag: Tag) -> bool {
        self.sent.in_flight_below(u64::MAX).any(|(_, packet)| {
            packet.contents.iter().any(|content| match content {
                Content::Fragment { message, .. } => self.send.tag_of(*message) == Some(tag),
                Content::Abandon { .. } | Content::MtuProbe { .. } => false,
            })
        })
    }

    /// Whether the peer is expected to send, so that its silence is worth a question.
    pub fn set_keep_alive(&mut self, on: bool) {
        self.liveness.set_keep_alive(on);
        self.arm_liveness();
    }

    /// Takes in the answer to a hello without a cookie.
    pub fn handle_retry(&mut self, cookie_from_peer: Cookie) {
        if let State::HelloSent { cookie, .. } = &mut self.state {
            *cookie = Some(cookie_from_peer);
            self.handshake_due = Some(HandshakeDue::Hello);
        }
    }

    /// Takes in a hello, perhaps a repeated one, whose cookie was good: it deserves a welcome, unless this side is
    /// still asking for the same connection.
    pub fn handle_hello(&mut self, now: Instant, hello: &Hello) {
        if self.is_established() {
            self.handshake_due =
                Some(HandshakeDue::Welcome { hello_sent: hello.sent, hello_received: clock::at(now) });
        }
    }

    /// Takes in a welcome. True if it establishes the connection.
    pub fn handle_welcome(&mut self, now: Instant, number: u32, welcome: &Welcome, links: &Links) -> bool {
        let State::HelloSent { started, .. } = self.state else {
            self.take_in_number(now, number, true);
            return false;
        };
        let rtt = clock::span(clock::at(now).wrapping_sub(welcome.hello_sent));
        if rtt > now.since(started) + Duration::from_millis(1) {
            return false;
        }
        self.path.rtt.sample(now - rtt, now, Duration::ZERO);
        let known = Duration::from_micros(u64::from(welcome.downlink_queue)).min(MAX_EXCUSED);
        self.path.delay_out.sample(
            now,
            welcome.hello_sent,
            welcome.hello_received,
            known + links.uplink.queue(now),
        );
        self.path.delay_in.sample(now, welcome.sent, clock::at(now), links.downlink.queue(now));
        self.apply_params(welcome.receive_window, welcome.datagram_size);
        let first = self.sent.oldest_unsettled();
        self.sent.ack(first..first + 1, |_, _| {}).expect("the hello was sent");
        self.state = State::Established { received: Received::new(seq::from_wire(number), now) };
        self.handshake_due = None;
        self.timers.set(Timer::Handshake, None);
        self.heard(now);
        true
    }

    fn apply_params(&mut self, receive_window: u32, datagram_size: u16) {
        self.send.open(u64::from(receive_window));
        let theirs = usize::from(datagram_size.max(MIN_DATAGRAM_SIZE));
        self.path.mtu.limit_to(theirs);
    }

    /// Whether a close with this number is the peer's: it is about to use that one, or answers a packet that has the other.
    pub fn accepts_close(&self, wire: u32) -> bool {
        let is_near = |expected: u64| seq::expand(wire, expected).abs_diff(expected) < CLOSE_DISTANCE;
        match &self.state {
            State::HelloSent { .. } => true,
            State::Established { received } => {
                is_near(received.expected()) || is_near(self.sent.next_number())
            }
        }
    }

    /// The number that the next packet will have, on the wire.
    pub fn next_number(&self) -> u32 {
        seq::to_wire(self.sent.next_number())
    }

    /// Notes the number of a packet; `None` if it was seen before or no packet can be taken in yet.
    fn take_in_number(&mut self, now: Instant, wire: u32, eliciting: bool) -> Option<u64> {
        let State::Established { received } = &mut self.state else { return None };
        let number = seq::expand(wire, received.expected());
        if !received.is_fresh(number) {
            self.stats.duplicates += 1;
            return None;
        }
        received.on_packet(number, now, eliciting);
        self.heard(now);
        Some(number)
    }

    /// Takes in the frames of a data packet; whole messages go to `messages`.
    ///
    /// A body that can't be read is dropped as if it had never come: the crc is no defence against a forger, and the
    /// sender will repeat what mattered.
    pub fn handle_data(
        &mut self,
        now: Instant,
        wire_number: u32,
        body: &[u8],
        links: &mut Links,
        mut messages: impl FnMut(Vec<u8>),
    ) -> Result<(), ProtocolViolation> {
        let highest_sent = self.sent.next_number() - 1;
        let Ok(eliciting) = scan(body, highest_sent) else {
            self.stats.malformed += 1;
            return Ok(());
        };
        let Some(number) = self.take_in_number(now, wire_number, eliciting) else { return Ok(()) };
        self.stats.received += 1;
        let mut reader = Reader::new(body);
        while let Ok(Some(frame)) = Frame::decode(&mut reader, highest_sent) {
            match frame {
                Frame::Ping => {}
                Frame::Ack(ack) => self.on_ack(now, &ack, number, links)?,
                Frame::ImmediateAck => self.received_mut().on_immediate(now),
                Frame::Timestamp { sent, unsettled } => {
                    self.received_mut().settle_below(number.saturating_sub(unsettled));
                    self.path.delay_in.sample(now, sent, clock::at(now), links.downlink.queue(now));
                    if let Some(queue) = self.path.delay_in.queue(now) {
                        links.downlink.observe(now, self.key, queue);
                    }
                }
                Frame::PathChallenge(token) => {
                    // The peer saw this side at another address: the path has changed, whoever's end it was.
                    if self.validation.on_challenge(token) {
                        self.restart_path(now, links);
                    }
                }
                // The answer came by the old path, or late.
                Frame::PathResponse(_) => {}
                Frame::Abandon { message, len } => {
                    self.recv.on_abandon(message, len).map_err(ProtocolViolation::Message)?;
                }
                Frame::Fragment(fragment) => {
                    self.stats.bytes_received += fragment.data.len() as u64;
                    if let Some(message) =
                        self.recv.on_fragment(fragment).map_err(ProtocolViolation::Message)?
                    {
                        messages(message);
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes in a data packet, `len` B long as a datagram, that came from another address than the peer's. Nothing in it
    /// counts before the address is proved. `token` is what a challenge will ask for, if this leads to one.
    pub fn handle_elsewhere(
        &mut self,
        now: Instant,
        from: SocketAddr,
        wire_number: u32,
        body: &[u8],
        len: usize,
        token: Token,
    ) -> Elsewhere {
        let State::Established { received } = &self.state else { return Elsewhere::Ignored };
        let number = seq::expand(wire_number, received.expected());
        // What is older than the newest from the peer's own address was overtaken, or is a replay.
        if !received.is_newest(number) {
            return Elsewhere::Ignored;
        }
        let Ok(response) = find_response(body, self.sent.next_number() - 1) else {
            self.stats.malformed += 1;
            return Elsewhere::Ignored;
        };
        if let Some(rtt) = response.and_then(|token| self.validation.on_response(now, from, token)) {
            return Elsewhere::Proved(rtt);
        }
        let pto = self.path.rtt.pto(MAX_ACK_DELAY);
        if self.validation.on_datagram(now, from, number, len, pto, token) {
            Elsewhere::Challenge
        } else {
            Elsewhere::Ignored
        }
    }

    /// Sends a challenge to the address that led to [`Elsewhere::Challenge`] last, and again if it isn't answered.
    pub fn order_challenge(&mut self, now: Instant) {
        self.validation.order_challenge(now);
    }

    /// The peer is at `remote` now, where it takes `rtt` to and back if that is known. All that was under way to the old
    /// address goes out again, and of the new path nothing is known (RFC 9000 §9.4).
    pub fn move_to(&mut self, now: Instant, remote: SocketAddr, rtt: Option<Duration>, links: &mut Links) {
        self.remote = remote;
        for packet in self.sent.forget_in_flight() {
            packet.contents.into_iter().for_each(|content| self.send.on_lost(content));
        }
        self.discharge(self.uplink_charge, links);
        self.restart_path(now, links);
        if let Some(rtt) = rtt {
            self.path.rtt.sample(now - rtt, now, Duration::ZERO);
        }
        self.timers.set(Timer::Loss, None);
        self.timers.set(Timer::PathChallenge, None);
        self.liveness.on_answered_all();
        self.arm_recovery();
        self.arm_liveness();
    }

    /// Forgets all that was measured on the way to the peer and from it; the peer measures anew too.
    fn restart_path(&mut self, now: Instant, links: &mut Links) {
        self.path.restart(now, self.sent.next_number());
        // Else this connection's own old word would pass for the queue that others know on the new path.
        links.forget(self.key, 0);
    }

    fn received_mut(&mut self) -> &mut Received {
        match &mut self.state {
            State::Established { received } => received,
            State::HelloSent { .. } => unreachable!("no packet number is taken in before the welcome"),
        }
    }

    /// Takes in an ack that came in the packet `number`.
    fn on_ack(
        &mut self,
        now: Instant,
        ack: &Ack,
        number: u64,
        links: &mut Links,
    ) -> Result<(), ProtocolViolation> {
        let (in_flight, uplink_in_flight) = (self.sent.in_flight(), links.uplink.in_flight());
        let largest = ack.ranges[0].end - 1;
        let largest_before = self.largest_acked;
        let (mut acked_bytes, mut largest_sent) = (0, None);
        let path = &mut self.path;
        path.reordering.on_ack(now, &path.rtt);
        for range in &ack.ranges {
            let settled = self.sent.ack(range.clone(), |number, acked| {
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
        if let Some(sent) = largest_sent {
            self.path.rtt.sample(sent, now, ack.delay);
            if ack.delay <= STALE_ACK {
                let known = ack.downlink_queue.min(MAX_EXCUSED) + links.uplink.queue(now);
                self.path.delay_out.sample(now, clock::at(sent), ack.received, known);
            }
        }
        if acked_bytes > 0 {
            self.path.probes = 0;
            self.path.delivery.on_acked(now, acked_bytes, self.path.rtt.smoothed());
            self.path.window.set_datagram(self.path.datagram_size() as u64);
            // No queue is longer than the round trip that led through it, whatever the peer's clock says.
            let queue = self.path.delay_out.queue(now).unwrap_or_default().min(self.path.rtt.latest());
            let before_receiver = queue.saturating_sub(ack.downlink_queue.min(MAX_EXCUSED));
            let on_uplink = links.uplink.observe(now, self.key, before_receiver);
            let srtt = self.path.rtt.smoothed();
            links.uplink.on_acked(now, acked_bytes, on_uplink, uplink_in_flight, srtt);
            self.path.window.on_ack(now, acked_bytes, queue.saturating_sub(on_uplink), in_flight, srtt);
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
    fn detect_losses(&mut self, now: Instant, largest_acked: Option<u64>, links: &mut Links) {
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

    /// Does what is due. `Some` if the connection is over.
    pub fn handle_timeout(&mut self, now: Instant, links: &mut Links) -> Option<CloseReason> {
        while let Some(timer) = self.timers.pop_expired(now) {
            match timer {
                Timer::Handshake => {
                    let State::HelloSent { started, wait, .. } = &mut self.state else { continue };
                    if now.since(*started) >= self.config.handshake_timeout {
                        return Some(CloseReason::HandshakeTimeout);
                    }
                    *wait = (*wait * 5 / 4).min(MAX_HELLO_INTERVAL);
                    self.handshake_due = Some(HandshakeDue::Hello);
                }
                Timer::Loss => {
                    self.detect_losses(now, None, links);
                    self.arm_recovery();
                    // What was lost may have been nothing that goes out again: then no answer is owed any more.
                    if !self.sent.any_in_flight() {
                        self.liveness.on_answered_all();
                    }
                    self.arm_liveness();
                }
                Timer::Probe => self.on_probe_timeout(links),
                Timer::PathChallenge => self.validation.order_challenge(now),
                Timer::KeepAlive => self.probe_due |= !self.sent.any_in_flight(),
                Timer::Idle => return Some(CloseReason::Silent),
                // Nothing to note: the deadline lies in the past, and poll_transmit sees that.
                Timer::AckDelay | Timer::Ride | Timer::Pacing => {}
            }
        }
        None
    }

    /// Nothing was acked for long: what is oldest goes out again, whatever the windows say (RFC 9002 §6.2.4).
    fn on_probe_timeout(&mut self, links: &mut Links) {
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
    fn discharge(&mut self, bytes: u64, links: &mut Links) {
        let bytes = bytes.min(self.uplink_charge);
        self.uplink_charge -= bytes;
        links.uplink.on_settled(bytes);
    }

    /// Something came from the peer.
    fn heard(&mut self, now: Instant) {
        self.liveness.on_heard(now);
        self.arm_liveness();
    }

    /// Sets the timers that find out whether the peer is still there.
    fn arm_liveness(&mut self) {
        if self.is_established() {
            self.timers.set(Timer::Idle, self.liveness.give_up_at(&self.config, self.path.pto()));
            self.timers.set(Timer::KeepAlive, self.liveness.ask_at(&self.config));
        }
    }

    /// Sets the probe timer; a packet that will be judged by time needs none.
    fn arm_recovery(&mut self) {
        let loss_pending = self.timers.get(Timer::Loss).is_some();
        let is_due = self.is_established() && self.sent.any_in_flight() && !loss_pending;
        let deadline = is_due.then(|| self.last_eliciting + self.path.probe_after());
        self.timers.set(Timer::Probe, deadline);
    }

    /// Writes the next datagram into `buf` and says for whom it is. `None` if there is nothing to send now.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        buf: &mut Vec<u8>,
        links: &mut Links,
    ) -> Option<SocketAddr> {
        if let Some((to, token)) = self.validation.take_challenge(now) {
            self.write_challenge(now, token, buf, links);
            return Some(to);
        }
        self.write_to_peer(now, buf, links).then_some(self.remote)
    }

    /// The same for the peer's own address. False if there is nothing.
    fn write_to_peer(&mut self, now: Instant, buf: &mut Vec<u8>, links: &mut Links) -> bool {
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
        if !(ack_now || control || bulk || response || self.probe_due) {
            self.timers.set(Timer::AckDelay, ack_due);
            self.timers.set(Timer::Ride, ride_due);
            return false;
        }
        let number = self.sent.next_number();
        packet::begin(buf, Header { kind: Kind::Data, connection: self.id, number: seq::to_wire(number) });
        // Whatever goes out takes along what has arrived.
        if ack_due.is_some() {
            let (downlink_queue, credit) = (links.downlink.queue(now), self.recv.credit());
            self.received_mut().make_ack(now, downlink_queue, credit).encode(buf);
            self.timers.set(Timer::AckDelay, None);
        }
        let eliciting = control || bulk || response || self.probe_due;
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
    fn write_challenge(&mut self, now: Instant, token: Token, buf: &mut Vec<u8>, links: &mut Links) {
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
        let narrow = NARROW_DATAGRAMS * limit as u64;
        if bulk && self.path.window.bytes().min(links.uplink.window().bytes()) < narrow {
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
        let first_share = if slow_start { links.uplink.first_share() } else { 0 };
        let window = self.path.window.bytes().max(first_share);
        let blocked = self.path.pacer.blocked_until(now, window, self.path.rtt.smoothed(), slow_start);
        self.timers.set(Timer::Pacing, blocked);
        blocked.is_none()
    }

    fn write_handshake(&mut self, now: Instant, due: HandshakeDue, buf: &mut Vec<u8>, links: &mut Links) {
        let receive_window = u32::try_from(self.config.receive_window).unwrap_or(u32::MAX);
        let datagram_size = u16::try_from(self.config.max_datagram_size).unwrap_or(u16::MAX);
        match (due, &self.state) {
            (HandshakeDue::Hello, State::HelloSent { cookie, wait, .. }) => {
                let number = seq::to_wire(self.sent.oldest_unsettled());
                let hello = Hello { cookie: *cookie, receive_window, datagram_size, sent: clock::at(now) };
                packet::begin(buf, Header { kind: Kind::Hello, connection: self.id, number });
                hello.encode(buf);
                packet::seal(buf);
                self.timers.set(Timer::Handshake, now + *wait);
            }
            (HandshakeDue::Hello, State::Established { .. }) => unreachable!("a welcome clears what was due"),
            (HandshakeDue::Welcome { hello_sent, hello_received }, _) => {
                let number = seq::to_wire(self.sent.next_number());
                let welcome = Welcome {
                    receive_window,
                    datagram_size,
                    hello_sent,
                    hello_received,
                    sent: clock::at(now),
                    downlink_queue: links.downlink.queue(now).as_micros() as u32,
                };
                packet::begin(buf, Header { kind: Kind::Welcome, connection: self.id, number });
                welcome.encode(buf);
                packet::seal(buf);
                self.record(now, buf.len() as u64, Some(SmallVec::new()), links);
            }
        }
    }

    /// Notes a datagram that leaves; `contents` is `None` if it asks for no ack.
    fn record(
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
        self.sent.push(Some(SentPacket { sent: now, size, contents }));
        if self.path.probes < DISCHARGE_PROBES {
            self.uplink_charge += size;
            links.uplink.on_sent(size);
        }
        self.path.on_sent(size);
        self.last_eliciting = now;
        self.liveness.on_asked(now);
        self.arm_liveness();
        self.arm_recovery();
    }

    /// The next deadline.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        self.timers.next()
    }
}

/// Checks that all frames of a body can be read, and says whether one of them asks for an ack.
fn scan(body: &[u8], highest_sent: u64) -> Result<bool, Malformed> {
    let mut reader = Reader::new(body);
    let mut eliciting = false;
    while let Some(frame) = Frame::decode(&mut reader, highest_sent)? {
        eliciting |= !matches!(frame, Frame::Ack(_));
    }
    Ok(eliciting)
}

/// The path response in a body, if there is one and all frames can be read.
fn find_response(body: &[u8], highest_sent: u64) -> Result<Option<Token>, Malformed> {
    let mut reader = Reader::new(body);
    let mut response = None;
    while let Some(frame) = Frame::decode(&mut reader, highest_sent)? {
        if let Frame::PathResponse(token) = frame {
            response = Some(token);
        }
    }
    Ok(response)
}
