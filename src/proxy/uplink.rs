//! The uplink: what waits to leave, in order, when the bandwidth law lets it.
//!
//! No lock, thread or clock here, and no socket either: what has left the shaped link goes to a [`Wire`].

use std::io;
use std::net::SocketAddr;

use super::shaper::Shaper;
use super::train::{Train, Trains};
use crate::time::{Duration, Instant};
use crate::units::Rate;

/// The largest payload of an IPv4 datagram, B: 65,535 less the IP and UDP headers.
pub const MAX_DATAGRAM: usize = 65_507;

/// How often a datagram is offered again after the report of an error that belongs to an earlier one.
const OFFERS: usize = 3;

/// A datagram that comes so soon after the one before is part of a burst, and others may follow.
const BURST: Duration = Duration::from_micros(10);

/// After so many trains in a row that the wire refused though it took their datagrams, no more are made.
const STRIKES: u32 = 3;

/// What takes datagrams out of this process without ever blocking.
pub(super) trait Wire {
    /// Hands one datagram over, or says `WouldBlock`, or why not.
    fn transmit(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()>;

    /// How many datagrams it may take at once. 1: never a train.
    fn segments(&self) -> usize;

    /// Hands all datagrams of a train over, each `segment` B and the last one the rest; or none, and says why.
    fn transmit_train(&self, train: &[u8], segment: usize, to: SocketAddr) -> io::Result<()>;
}

/// What an error of the socket means for the datagram at hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    /// The socket has no room, or nothing to give: wait for readiness.
    NotReady,
    /// An interruption, or the late report of an ICMP error that another datagram caused: try again.
    NotOurs,
    /// The socket refused this one.
    Refused,
}

impl Trouble {
    pub(super) fn of(error: &io::Error) -> Trouble {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::WouldBlock => Trouble::NotReady,
            Kind::Interrupted
            | Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable => Trouble::NotOurs,
            _ => Trouble::Refused,
        }
    }
}

/// When the uplink wants to be flushed again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Not before something is sent.
    Idle,
    /// At this instant, which may have come already.
    At(Instant),
    /// When the wire takes datagrams again.
    Writable,
}

/// Counted since the start.
#[derive(Clone, Copy, Default)]
pub(super) struct Sent {
    pub(super) datagrams: u64,
    pub(super) bytes: u64,
    pub(super) refused: u64,
}

struct Outgoing {
    to: SocketAddr,
    datagram: Box<[u8]>,
}

/// The uplink's state. A datagram is in `shaper` until it has left the link, then in `departed` until the wire takes
/// it; whatever the path, order is kept.
pub(super) struct Uplink<W> {
    /// `None` once closed.
    wire: Option<W>,
    shaper: Shaper<Outgoing>,
    departed: Trains,
    /// When `send` was last called.
    last_send: Instant,
    /// Whether somebody has been told to flush and has not done so yet.
    is_flush_coming: bool,
    /// Whether the wire had no room when last asked; only a flush asks again.
    is_blocked: bool,
    /// How many datagrams a train may have.
    segments: usize,
    strikes: u32,
    sent: Sent,
}

impl<W: Wire> Uplink<W> {
    /// An idle uplink of `rate` whose queue has no end.
    pub(super) fn new(wire: W, rate: Rate) -> Uplink<W> {
        let segments = wire.segments();
        Uplink {
            wire: Some(wire),
            shaper: Shaper::new(rate, usize::MAX),
            departed: Trains::default(),
            last_send: Instant::ORIGIN,
            is_flush_coming: false,
            is_blocked: false,
            segments,
            strikes: 0,
            sent: Sent::default(),
        }
    }

    /// Takes a datagram, and says whether [`flush`](Uplink::flush) is now wanted earlier than it was.
    ///
    /// An unlimited uplink passes a lone datagram straight to the wire. Those of a burst become a train, which leaves
    /// when it is full, or with the flush that was asked for when it began: as many as come until then share a call.
    ///
    /// # Errors
    /// `NotConnected` once closed; `InvalidInput` if `datagram` is longer than [`MAX_DATAGRAM`].
    pub(super) fn send(&mut self, now: Instant, datagram: &[u8], to: SocketAddr) -> io::Result<bool> {
        if self.wire.is_none() {
            return Err(super::closed());
        }
        if datagram.len() > MAX_DATAGRAM {
            let message = format!("a datagram of {} B: {MAX_DATAGRAM} B is the limit", datagram.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let is_burst = now.since(self.last_send) < BURST;
        self.last_send = now;
        if !self.shaper.rate().is_unlimited() || self.shaper.next_departure().is_some() {
            let idle = self.departed.is_empty() && self.shaper.next_departure().is_none();
            let len = datagram.len();
            let outgoing = Outgoing { to, datagram: datagram.into() };
            return match self.shaper.push(now, len, outgoing) {
                Ok(()) => Ok(idle),
                Err(_) => Err(io::Error::new(io::ErrorKind::OutOfMemory, "the uplink's queue is full")),
            };
        }
        let is_alone = !is_burst || self.segments < 2 || 2 * datagram.len() > MAX_DATAGRAM;
        if is_alone && self.transmit(usize::MAX, false) && self.pass(datagram, to) {
            return Ok(false);
        }
        self.depart(datagram, to);
        self.transmit(usize::MAX, true);
        Ok(!self.departed.is_empty() && !std::mem::replace(&mut self.is_flush_coming, true))
    }

    /// Hands the wire what has left the link by `now`, at most `limit` trains, and says when to come back.
    pub(super) fn flush(&mut self, now: Instant, limit: usize) -> Next {
        if self.is_closed() {
            return Next::Idle;
        }
        self.is_blocked = false;
        while let Some((_, outgoing)) = self.shaper.pop(now) {
            self.depart(&outgoing.datagram, outgoing.to);
        }
        let has_room = self.transmit(limit, false);
        self.is_flush_coming = !self.departed.is_empty();
        if !has_room {
            return Next::Writable;
        }
        if self.is_flush_coming {
            return Next::At(now);
        }
        self.shaper.next_departure().map_or(Next::Idle, Next::At)
    }

    /// Changes the rate, for what is queued as well.
    pub(super) fn set_rate(&mut self, now: Instant, rate: Rate) {
        while let Some((_, outgoing)) = self.shaper.pop(now) {
            self.depart(&outgoing.datagram, outgoing.to);
        }
        self.shaper.set_rate(now, rate);
    }

    /// Gives up the wire and all that waits; what has left the link is offered once more.
    pub(super) fn close(&mut self) {
        self.transmit(usize::MAX, false);
        self.wire = None;
        self.shaper.clear();
        self.departed.clear();
    }

    /// Whether there is a train that may still grow, and nothing else to send.
    pub(super) fn is_collecting(&self) -> bool {
        !self.departed.is_empty() && !self.is_blocked && !self.departed.is_front_complete(self.segments)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.wire.is_none()
    }

    /// The counters, with all that could leave by now.
    pub(super) fn sent(&mut self) -> Sent {
        self.transmit(usize::MAX, false);
        self.sent
    }

    /// The datagram has left the link, behind all that has.
    fn depart(&mut self, datagram: &[u8], to: SocketAddr) {
        // What can't be sent at all (port 0) must not spoil a train.
        let limit = if to.port() == 0 { 1 } else { self.segments };
        self.departed.push(datagram, to, limit);
    }

    /// Offers the wire a datagram that is not in a queue. `false`: no room, keep it.
    fn pass(&mut self, datagram: &[u8], to: SocketAddr) -> bool {
        let Some(wire) = &self.wire else { return false };
        let has_room = offer(wire, &mut self.sent, datagram, to);
        self.is_blocked = !has_room;
        has_room
    }

    /// Hands the wire at most `limit` trains; with `complete_only` none that may still grow. `false`: it has no room.
    fn transmit(&mut self, limit: usize, complete_only: bool) -> bool {
        let Some(wire) = &self.wire else { return false };
        if self.is_blocked {
            return false;
        }
        for _ in 0..limit {
            if complete_only && !self.departed.is_front_complete(self.segments) {
                break;
            }
            let Some(train) = self.departed.front() else { break };
            let has_room = match train.count() {
                1 => offer(wire, &mut self.sent, train.first(), train.to),
                _ => offer_train(wire, &mut self.sent, &mut self.strikes, train),
            };
            if !has_room {
                self.is_blocked = true;
                return false;
            }
            self.departed.pop();
            if self.strikes >= STRIKES && self.segments > 1 {
                log::info!("the system sends datagrams but no trains of them: one at a time from now on");
                self.segments = 1;
            }
        }
        true
    }
}

/// Offers one datagram to the wire. `false`: no room now, keep it; else it has gone or is counted as refused.
fn offer(wire: &impl Wire, sent: &mut Sent, datagram: &[u8], to: SocketAddr) -> bool {
    for _ in 0..OFFERS {
        match wire.transmit(datagram, to) {
            Ok(()) => {
                sent.datagrams += 1;
                sent.bytes += datagram.len() as u64;
                return true;
            }
            Err(error) => match Trouble::of(&error) {
                Trouble::NotReady => return false,
                Trouble::NotOurs => {}
                Trouble::Refused => {
                    log::debug!("{} B to {to} refused: {error}", datagram.len());
                    break;
                }
            },
        }
    }
    sent.refused += 1;
    true
}

/// Offers a train to the wire, and what is refused as a train one by one. `false`: no room now, keep what is left of it;
/// else it has gone or is counted as refused. A strike is a train that was refused though all of its datagrams went.
fn offer_train(wire: &impl Wire, sent: &mut Sent, strikes: &mut u32, train: &mut Train) -> bool {
    for _ in 0..OFFERS {
        match wire.transmit_train(train.bytes(), train.segment, train.to) {
            Ok(()) => {
                sent.datagrams += train.count() as u64;
                sent.bytes += train.bytes().len() as u64;
                *strikes = 0;
                return true;
            }
            Err(error) => match Trouble::of(&error) {
                Trouble::NotReady => return false,
                Trouble::NotOurs => {}
                Trouble::Refused => {
                    log::debug!("{} datagrams to {} refused as a train: {error}", train.count(), train.to);
                    break;
                }
            },
        }
    }
    let refused_before = sent.refused;
    loop {
        if !offer(wire, sent, train.first(), train.to) {
            return false;
        }
        if !train.shift() {
            break;
        }
    }
    if sent.refused == refused_before {
        *strikes += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::VecDeque;

    use super::*;
    use crate::time::Duration;

    /// A wire that answers from a script (then with success) and remembers what it took: first bytes and trains' counts.
    struct Script {
        answers: RefCell<VecDeque<io::ErrorKind>>,
        taken: RefCell<Vec<u8>>,
        trains: RefCell<Vec<usize>>,
        segments: usize,
        train_trouble: Cell<Option<io::ErrorKind>>,
    }

    impl Default for Script {
        fn default() -> Script {
            Script::of_trains(1)
        }
    }

    impl Script {
        fn of_trains(segments: usize) -> Script {
            Script {
                answers: RefCell::default(),
                taken: RefCell::default(),
                trains: RefCell::default(),
                segments,
                train_trouble: Cell::default(),
            }
        }

        fn will_say(&self, answers: &[io::ErrorKind]) {
            self.answers.borrow_mut().extend(answers);
        }
    }

    impl Wire for &Script {
        fn transmit(&self, datagram: &[u8], _: SocketAddr) -> io::Result<()> {
            if let Some(answer) = self.answers.borrow_mut().pop_front() {
                return Err(answer.into());
            }
            self.taken.borrow_mut().push(datagram[0]);
            Ok(())
        }

        fn segments(&self) -> usize {
            self.segments
        }

        fn transmit_train(&self, train: &[u8], segment: usize, _: SocketAddr) -> io::Result<()> {
            let trouble = self.train_trouble.get().or_else(|| self.answers.borrow_mut().pop_front());
            if let Some(trouble) = trouble {
                return Err(trouble.into());
            }
            self.taken.borrow_mut().extend(train.chunks(segment).map(|datagram| datagram[0]));
            self.trains.borrow_mut().push(train.chunks(segment).count());
            Ok(())
        }
    }

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    fn peer() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 9))
    }

    #[test]
    fn unlimited_and_idle_goes_straight_out() {
        let wire = Script::default();
        let mut uplink = Uplink::new(&wire, Rate::UNLIMITED);
        assert!(!uplink.send(at(0), &[1], peer()).unwrap());
        assert_eq!(*wire.taken.borrow(), [1]);
        assert_eq!(uplink.flush(at(0), 16), Next::Idle);
    }

    #[test]
    fn what_the_wire_has_no_room_for_waits_in_order() {
        let wire = Script::default();
        let mut uplink = Uplink::new(&wire, Rate::UNLIMITED);
        wire.will_say(&[io::ErrorKind::WouldBlock; 2]);
        assert!(uplink.send(at(0), &[1], peer()).unwrap(), "a flush is wanted");
        assert!(!uplink.send(at(0), &[2], peer()).unwrap(), "it is wanted already");
        assert_eq!(uplink.flush(at(0), 16), Next::Writable);
        uplink.send(at(0), &[3], peer()).unwrap();
        assert_eq!(uplink.flush(at(1), 2), Next::At(at(1)));
        assert_eq!(uplink.flush(at(1), 2), Next::Idle);
        assert_eq!(*wire.taken.borrow(), [1, 2, 3]);
    }

    #[test]
    fn a_refused_datagram_is_counted_and_the_next_one_leaves() {
        let wire = Script::default();
        let mut uplink = Uplink::new(&wire, Rate::UNLIMITED);
        wire.will_say(&[io::ErrorKind::PermissionDenied]);
        uplink.send(at(0), &[1], peer()).unwrap();
        uplink.send(at(0), &[2], peer()).unwrap();
        assert_eq!(*wire.taken.borrow(), [2]);
        assert_eq!((uplink.sent().refused, uplink.sent().datagrams, uplink.sent().bytes), (1, 1, 1));
    }

    #[test]
    fn the_report_of_an_earlier_datagrams_fate_costs_this_one_nothing_unless_it_lasts() {
        let wire = Script::default();
        let mut uplink = Uplink::new(&wire, Rate::UNLIMITED);
        wire.will_say(&[io::ErrorKind::ConnectionRefused, io::ErrorKind::Interrupted]);
        uplink.send(at(0), &[1], peer()).unwrap();
        wire.will_say(&[io::ErrorKind::NetworkUnreachable; OFFERS]);
        uplink.send(at(0), &[2], peer()).unwrap();
        assert_eq!(*wire.taken.borrow(), [1]);
        assert_eq!(uplink.sent().refused, 1);
    }

    #[test]
    fn a_new_rate_holds_for_what_is_queued_and_not_for_what_has_left() {
        let wire = Script::default();
        let mut uplink = Uplink::new(&wire, Rate::new(1_000));
        for id in 1..=3 {
            uplink.send(at(0), &[id; 100], peer()).unwrap();
        }
        uplink.set_rate(at(150), Rate::new(100));
        assert_eq!(uplink.flush(at(150), 16), Next::At(at(650)));
        assert_eq!(*wire.taken.borrow(), [1]);
        uplink.set_rate(at(150), Rate::UNLIMITED);
        assert!(!uplink.send(at(150), &[4], peer()).unwrap(), "behind the others");
        assert_eq!(uplink.flush(at(150), 16), Next::Idle);
        assert_eq!(*wire.taken.borrow(), [1, 2, 3, 4]);
    }

    #[test]
    fn closed_it_keeps_and_takes_nothing() {
        let wire = Script::default();
        let mut uplink = Uplink::new(&wire, Rate::new(1));
        uplink.send(at(0), &[1], peer()).unwrap();
        uplink.close();
        assert_eq!(uplink.flush(at(10_000), 16), Next::Idle);
        let error = uplink.send(at(10_000), &[2], peer()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        assert!(wire.taken.borrow().is_empty());
    }

    #[test]
    fn an_oversize_datagram_is_an_error_at_once() {
        let wire = Script::default();
        let mut uplink = Uplink::new(&wire, Rate::UNLIMITED);
        uplink.send(at(0), &[1; MAX_DATAGRAM], peer()).unwrap();
        let error = uplink.send(at(0), &[2; MAX_DATAGRAM + 1], peer()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(*wire.taken.borrow(), [1]);
    }

    /// Sends the datagrams `ids`, 100 B each, at one instant; says for which a flush was asked.
    fn burst(uplink: &mut Uplink<&Script>, now: Instant, ids: std::ops::RangeInclusive<u8>) -> Vec<u8> {
        ids.filter(|&id| uplink.send(now, &[id; 100], peer()).unwrap()).collect()
    }

    #[test]
    fn a_lone_datagram_does_not_wait_and_a_burst_leaves_as_trains() {
        let wire = Script::of_trains(4);
        let mut uplink = Uplink::new(&wire, Rate::UNLIMITED);
        assert_eq!(burst(&mut uplink, at(1), 1..=3), [2], "the first leaves, one flush is asked for");
        assert_eq!(*wire.taken.borrow(), [1]);
        assert_eq!(burst(&mut uplink, at(1), 4..=9), [], "it is still to come");
        assert_eq!(*wire.taken.borrow(), [1, 2, 3, 4, 5, 6, 7, 8, 9], "what is full leaves");
        assert!(!uplink.is_collecting());
        assert_eq!(burst(&mut uplink, at(1), 10..=10), []);
        assert!(uplink.is_collecting());
        assert_eq!(uplink.flush(at(1), 16), Next::Idle);
        assert_eq!(burst(&mut uplink, at(1), 11..=12), [11]);
        assert_eq!(burst(&mut uplink, at(2), 13..=13), [], "after a while all leaves at once");
        assert_eq!(*wire.taken.borrow(), (1..=13).collect::<Vec<_>>());
        assert_eq!(*wire.trains.borrow(), [4, 4, 2]);
        assert_eq!(uplink.sent().datagrams, 13);
    }

    #[test]
    fn order_is_kept_across_lengths_and_addresses() {
        let wire = Script::of_trains(8);
        let mut uplink = Uplink::new(&wire, Rate::UNLIMITED);
        for id in 1..=60u8 {
            let len = [100, 100, 40, 100, 60_000, 1][usize::from(id) % 6];
            let to = SocketAddr::from(([127, 0, 0, 1], 9 + u16::from(id / 9)));
            uplink.send(at(1), &vec![id; len], to).unwrap();
        }
        uplink.flush(at(1), usize::MAX);
        assert_eq!(*wire.taken.borrow(), (1..=60).collect::<Vec<_>>());
        assert!(!wire.trains.borrow().is_empty());
    }

    #[test]
    fn a_train_without_room_waits_as_a_whole_and_others_behind_it() {
        let wire = Script::of_trains(4);
        let mut uplink = Uplink::new(&wire, Rate::UNLIMITED);
        burst(&mut uplink, at(1), 1..=4);
        wire.will_say(&[io::ErrorKind::WouldBlock]);
        burst(&mut uplink, at(1), 5..=12);
        burst(&mut uplink, at(9), 13..=13);
        assert_eq!(*wire.taken.borrow(), [1], "nobody asks a full wire again");
        wire.will_say(&[io::ErrorKind::WouldBlock]);
        assert_eq!(uplink.flush(at(9), 16), Next::Writable);
        assert_eq!(uplink.flush(at(9), 16), Next::Idle);
        assert_eq!(*wire.taken.borrow(), (1..=13).collect::<Vec<_>>());
        assert_eq!(*wire.trains.borrow(), [4, 4, 4]);
    }

    #[test]
    fn what_is_refused_as_a_train_goes_one_by_one_and_after_a_while_no_trains_are_made() {
        let wire = Script::of_trains(4);
        let mut uplink = Uplink::new(&wire, Rate::UNLIMITED);
        wire.train_trouble.set(Some(io::ErrorKind::InvalidInput));
        burst(&mut uplink, at(1), 1..=5);
        assert_eq!(*wire.taken.borrow(), [1, 2, 3, 4, 5]);
        // The train and its last datagram are refused: that is the datagram's fault, not the train's.
        wire.will_say(&[io::ErrorKind::PermissionDenied]);
        burst(&mut uplink, at(1), 6..=9);
        assert_eq!((uplink.sent().refused, uplink.segments), (1, 4));
        burst(&mut uplink, at(1), 10..=13);
        assert_eq!(uplink.segments, 4);
        burst(&mut uplink, at(1), 14..=17);
        assert_eq!(uplink.segments, 1);
        wire.train_trouble.set(None);
        burst(&mut uplink, at(1), 18..=25);
        assert_eq!(*wire.taken.borrow(), [1, 2, 3, 4, 5].into_iter().chain(7..=25).collect::<Vec<_>>());
        assert!(wire.trains.borrow().is_empty());
    }

    #[test]
    fn a_wire_that_fills_up_amid_a_train_gets_the_rest_of_it_later() {
        let wire = Script::of_trains(4);
        let mut uplink = Uplink::new(&wire, Rate::UNLIMITED);
        burst(&mut uplink, at(1), 1..=1);
        wire.train_trouble.set(Some(io::ErrorKind::InvalidInput));
        burst(&mut uplink, at(1), 2..=4);
        wire.will_say(&[io::ErrorKind::Interrupted, io::ErrorKind::WouldBlock]);
        burst(&mut uplink, at(1), 5..=5);
        assert_eq!(*wire.taken.borrow(), [1]);
        wire.train_trouble.set(None);
        assert_eq!(uplink.flush(at(2), 16), Next::Idle);
        assert_eq!(*wire.taken.borrow(), [1, 2, 3, 4, 5]);
        assert_eq!((uplink.sent().datagrams, uplink.sent().bytes), (5, 500));
    }

    #[test]
    fn what_has_left_the_link_leaves_before_the_end() {
        let wire = Script::of_trains(4);
        let mut uplink = Uplink::new(&wire, Rate::UNLIMITED);
        burst(&mut uplink, at(1), 1..=3);
        uplink.close();
        assert_eq!(*wire.taken.borrow(), [1, 2, 3]);
    }

    #[test]
    fn a_fast_shaped_link_sends_trains_too() {
        let wire = Script::of_trains(64);
        let mut uplink = Uplink::new(&wire, Rate::new(1_000_000));
        burst(&mut uplink, at(0), 1..=30);
        assert_eq!(uplink.flush(at(1), 16), Next::At(at(1) + Duration::from_micros(100)));
        assert_eq!(*wire.taken.borrow(), (1..=10).collect::<Vec<_>>(), "not one that is still on the link");
        assert_eq!(*wire.trains.borrow(), [10]);
    }
}
