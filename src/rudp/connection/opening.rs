//! How a connection begins: hellos until the cookie and then the welcome have come, or a welcome to each good hello.
//!
//! Cookies are made and checked by the endpoint; how long to wait for an answer is the connection's timer.

use smallvec::SmallVec;

use super::{Connection, MAX_EXCUSED, State};
use crate::coding::Writer;
use crate::rudp::clock;
use crate::rudp::congestion::links::Links;
use crate::rudp::cookie::Cookie;
use crate::rudp::handshake::{Hello, MIN_DATAGRAM_SIZE, Welcome};
use crate::rudp::packet::{self, Header, Kind};
use crate::rudp::received::Received;
use crate::rudp::send_window::{Class, SendWindow};
use crate::rudp::sent::Content;
use crate::rudp::seq;
use crate::rudp::timer::Timer;
use crate::time::{Duration, Instant};

/// The first wait for a welcome; each later one is a quarter longer, up to the longest.
pub(super) const HELLO_INTERVAL: Duration = Duration::from_millis(500);
pub(super) const MAX_HELLO_INTERVAL: Duration = Duration::from_millis(1_000);

/// Of what a hello may carry, B: it passes wherever anything does.
const MAX_EARLY_DATAGRAM: usize = MIN_DATAGRAM_SIZE as usize;

/// What goes with the hello that has the cookie, a round trip sooner than it could follow the welcome. It never changes: the peer
/// takes it in once, from whichever repeat comes first, and the welcome acks it whole.
#[derive(Debug)]
pub(super) struct Early {
    frames: Vec<u8>,
    contents: SmallVec<[Content; 2]>,
}

/// The handshake datagram to send.
#[derive(Clone, Copy, Debug)]
pub(super) enum HandshakeDue {
    Hello,
    Welcome { hello_sent: u32, hello_received: u32 },
}

impl Early {
    /// What waits in `send`, as far as it fits behind the hello in `buf`.
    fn of(send: &mut SendWindow, buf: &[u8]) -> Early {
        let (mut frames, mut contents) = (Vec::new(), SmallVec::new());
        let room = MAX_EARLY_DATAGRAM.saturating_sub(buf.len());
        for class in [Class::Patient, Class::Control] {
            send.write(class, &mut frames, room, &mut contents);
        }
        Early { frames, contents }
    }
}

impl Connection {
    /// Takes in the answer to a hello without a cookie. True if it is the first: the peer is there, and what is to be said to it now
    /// goes with the next hello.
    pub fn handle_retry(&mut self, cookie_from_peer: Cookie) -> bool {
        let State::HelloSent { cookie, .. } = &mut self.state else { return false };
        let is_first = cookie.replace(cookie_from_peer).is_none();
        // Another one goes with the next repeat: who never has enough of them isn't answered for ever.
        if is_first {
            self.handshake_due = Some(HandshakeDue::Hello);
        }
        is_first
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
        let State::HelloSent { started, early, .. } = &mut self.state else {
            self.take_in_number(now, number, true);
            return false;
        };
        let rtt = clock::span(clock::at(now).wrapping_sub(welcome.hello_sent));
        if rtt > now.since(*started) + Duration::from_millis(1) {
            return false;
        }
        let early = early.take();
        early.iter().flat_map(|early| &early.contents).for_each(|content| self.send.on_acked(content));
        self.path.rtt.sample(now - rtt, now, Duration::ZERO);
        let known = Duration::from_micros(u64::from(welcome.downlink_queue)).min(MAX_EXCUSED);
        self.path.delay_out.sample(
            now,
            welcome.hello_sent,
            welcome.hello_received,
            known + links.uplink.queue(now, self.path.is_certain),
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

    pub(super) fn apply_params(&mut self, receive_window: u32, datagram_size: u16) {
        self.send.open(u64::from(receive_window));
        let theirs = usize::from(datagram_size.max(MIN_DATAGRAM_SIZE));
        self.path.mtu.limit_to(theirs);
    }

    /// Writes the handshake datagram that is due.
    pub(super) fn write_handshake(
        &mut self,
        now: Instant,
        due: HandshakeDue,
        buf: &mut Vec<u8>,
        links: &mut Links,
    ) {
        let receive_window = u32::try_from(self.config.receive_window).unwrap_or(u32::MAX);
        let datagram_size = u16::try_from(self.config.max_datagram_size).unwrap_or(u16::MAX);
        match (due, &mut self.state) {
            (HandshakeDue::Hello, State::HelloSent { cookie, wait, early, .. }) => {
                let number = seq::to_wire(self.sent.oldest_unsettled());
                let hello = Hello { cookie: *cookie, receive_window, datagram_size, sent: clock::at(now) };
                packet::begin(buf, Header { kind: Kind::Hello, connection: self.id, number });
                hello.encode(buf);
                if cookie.is_some() {
                    let early = early.get_or_insert_with(|| Early::of(&mut self.send, buf));
                    buf.bytes(&early.frames);
                }
                packet::seal(buf);
                self.path.is_certain = links.uplink.in_flight() == 0;
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
}
