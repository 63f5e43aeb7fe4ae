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

mod opening;
mod path_data;
mod recovery;
mod transmit;

use std::net::SocketAddr;

use bytes::Bytes;
use smallvec::SmallVec;

use self::opening::{Early, HELLO_INTERVAL, HandshakeDue, MAX_HELLO_INTERVAL};
use self::path_data::PathData;
use super::clock;
use super::config::Config;
use super::congestion::links::Links;
use super::cookie::Cookie;
use super::error::{CloseReason, ProtocolViolation};
use super::frame::{self, Frame};
use super::handshake::{Hello, MIN_RECEIVE_WINDOW};
use super::liveness::Liveness;
use super::mtu::MtuDiscovery;
use super::packet::ConnectionId;
use super::path::{PathValidation, Token};
use super::received::Received;
use super::recv_window::RecvWindow;
use super::ride::Rides;
use super::send_window::{Class, SendWindow, Tag};
use super::sent::{Content, SentPacket, SentPackets};
use super::seq;
use super::stats::{Arrivals, Stats};
use super::timer::{Timer, TimerTable};
use crate::coding::Reader;
use crate::time::{Duration, Instant};

/// At most this much of a queue is put down to the receiver's downlink on its word, so that neither a lie nor two
/// nodes that hear each other's uplinks can raise a queue without end.
const MAX_EXCUSED: Duration = Duration::from_millis(150);
/// Where the queue at the peer is longer, it is its downlink that is slow, and nobody's bulk leads.
const MAX_QUEUE_TO_LEAD: Duration = Duration::from_millis(250);
/// After this many probe time-outs in a row, what a peer doesn't ack no longer takes room from others.
const DISCHARGE_PROBES: u32 = 2;
/// A close whose number is this far from what is expected is forged.
const CLOSE_DISTANCE: u64 = 1 << 15;

#[derive(Debug)]
enum State {
    /// Waits for the welcome.
    HelloSent { cookie: Option<Cookie>, started: Instant, wait: Duration, early: Option<Early> },
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
    /// Whether to ask what has arrived.
    question_due: bool,
    /// What this connection takes up of the shared window, B.
    uplink_charge: u64,
    last_eliciting: Instant,
    rides: Rides,
    liveness: Liveness,
    is_leading: bool,
    /// Whether bulk was held back by the shared window when last asked.
    blocked_by_uplink: bool,
    stats: Stats,
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
        let state = State::HelloSent { cookie: None, started: now, wait: HELLO_INTERVAL, early: None };
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
            send: SendWindow::new(MIN_RECEIVE_WINDOW),
            recv: RecvWindow::new(config.receive_window, config.max_message),
            largest_acked: 0,
            newest_ack: 0,
            path: PathData::new(now, 0, MtuDiscovery::new(config.max_datagram_size, now)),
            timers: TimerTable::default(),
            handshake_due: None,
            probe_due: false,
            question_due: false,
            uplink_charge: 0,
            last_eliciting: now,
            rides: Rides::default(),
            liveness: Liveness::new(now),
            is_leading: false,
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
        self.path.window.has_room_within(self.sent.in_flight(), self.window(links))
    }

    /// What may be under way, B: this connection's own window, or what it may have however narrow that is.
    fn window(&self, links: &Links) -> u64 {
        let least = if self.path.window.in_slow_start() {
            links.uplink.first_share()
        } else if self.is_leading && self.path.queue_at_peer <= MAX_QUEUE_TO_LEAD {
            links.uplink.leading_share()
        } else {
            0
        };
        self.path.window.bytes().max(least)
    }

    /// Whether its bulk goes before what others send to the peer.
    pub fn set_leading(&mut self, on: bool) {
        self.is_leading = on;
    }

    /// How what the peer sends arrives.
    pub fn arrivals(&self) -> Arrivals {
        Arrivals { partial: self.recv.held(), min_rtt: self.path.rtt.min().unwrap_or_default() }
    }

    /// Drops all messages with this tag.
    pub fn abandon(&mut self, tag: Tag) {
        self.send.abandon(tag);
    }

    /// The bulk with this tag that waits or has not been acked whole, B.
    pub fn unsettled(&self, tag: Tag) -> u64 {
        self.send.unsettled(tag)
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
        received.on_packet(number, now, eliciting.then(|| self.path.rtt.max_ack_delay()));
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
        messages: impl FnMut(Vec<u8>),
    ) -> Result<(), ProtocolViolation> {
        let highest_sent = self.sent.next_number() - 1;
        let Ok(eliciting) = frame::scan(body, highest_sent) else {
            self.stats.malformed += 1;
            return Ok(());
        };
        let Some(number) = self.take_in_number(now, wire_number, eliciting) else { return Ok(()) };
        self.stats.received += 1;
        self.handle_frames(now, number, body, links, messages)
    }

    /// Takes in what came with the hello of this number that led to this connection.
    pub fn handle_early(
        &mut self,
        now: Instant,
        wire_number: u32,
        frames: &[u8],
        links: &mut Links,
        messages: impl FnMut(Vec<u8>),
    ) -> Result<(), ProtocolViolation> {
        if frame::scan(frames, self.sent.next_number() - 1).is_err() {
            self.stats.malformed += 1;
            return Ok(());
        }
        self.handle_frames(now, seq::from_wire(wire_number), frames, links, messages)
    }

    /// Takes in the frames of a packet with this number, all of which can be read.
    fn handle_frames(
        &mut self,
        now: Instant,
        number: u64,
        body: &[u8],
        links: &mut Links,
        mut messages: impl FnMut(Vec<u8>),
    ) -> Result<(), ProtocolViolation> {
        let highest_sent = self.sent.next_number() - 1;
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
        let Ok(response) = frame::find_response(body, self.sent.next_number() - 1) else {
            self.stats.malformed += 1;
            return Elsewhere::Ignored;
        };
        if let Some(rtt) = response.and_then(|token| self.validation.on_response(now, from, token)) {
            return Elsewhere::Proved(rtt);
        }
        let pto = self.path.rtt.pto();
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
                Timer::Probe => self.on_probe_timeout(now, links),
                Timer::PathChallenge => self.validation.order_challenge(now),
                Timer::KeepAlive => self.probe_due |= !self.sent.any_in_flight(),
                Timer::Idle => return Some(CloseReason::Silent),
                // Nothing to note: the deadline lies in the past, and poll_transmit sees that.
                Timer::AckDelay | Timer::Ride | Timer::Pacing => {}
            }
        }
        None
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

    /// The next deadline.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        self.timers.next()
    }
}
