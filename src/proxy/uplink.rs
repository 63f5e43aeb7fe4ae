//! The uplink: what waits to leave, in order, when the bandwidth law lets it.
//!
//! No lock, thread or clock here, and no socket either: what has left the shaped link goes to a [`Wire`].

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use super::shaper::Shaper;
use crate::time::Instant;
use crate::units::Rate;

/// The largest payload of an IPv4 datagram, B: 65,535 less the IP and UDP headers.
pub const MAX_DATAGRAM: usize = 65_507;

/// How often a datagram is offered again after the report of an error that belongs to an earlier one.
const OFFERS: usize = 3;

/// What takes datagrams out of this process without ever blocking.
pub(super) trait Wire {
    /// Hands one datagram over, or says `WouldBlock`, or why not.
    fn transmit(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()>;
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
    departed: VecDeque<Outgoing>,
    sent: Sent,
}

impl<W: Wire> Uplink<W> {
    /// An idle uplink of `rate` whose queue has no end.
    pub(super) fn new(wire: W, rate: Rate) -> Uplink<W> {
        Uplink {
            wire: Some(wire),
            shaper: Shaper::new(rate, usize::MAX),
            departed: VecDeque::new(),
            sent: Sent::default(),
        }
    }

    /// Takes a datagram, and says whether [`flush`](Uplink::flush) is now wanted earlier than it was.
    ///
    /// An idle, unlimited uplink passes it straight to the wire.
    ///
    /// # Errors
    /// `NotConnected` once closed; `InvalidInput` if `datagram` is longer than [`MAX_DATAGRAM`].
    pub(super) fn send(&mut self, now: Instant, datagram: &[u8], to: SocketAddr) -> io::Result<bool> {
        let Some(wire) = &self.wire else { return Err(super::closed()) };
        if datagram.len() > MAX_DATAGRAM {
            let message = format!("a datagram of {} B: {MAX_DATAGRAM} B is the limit", datagram.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let idle = self.departed.is_empty() && self.shaper.next_departure().is_none();
        if idle && self.shaper.rate().is_unlimited() && offer(wire, &mut self.sent, datagram, to) {
            return Ok(false);
        }
        let len = datagram.len();
        let outgoing = Outgoing { to, datagram: datagram.into() };
        match self.shaper.push(now, len, outgoing) {
            Ok(()) => Ok(idle),
            Err(_) => Err(io::Error::new(io::ErrorKind::OutOfMemory, "the uplink's queue is full")),
        }
    }

    /// Hands the wire what has left the link by `now`, at most `limit` datagrams, and says when to come back.
    pub(super) fn flush(&mut self, now: Instant, limit: usize) -> Next {
        let Some(wire) = &self.wire else { return Next::Idle };
        while let Some((_, outgoing)) = self.shaper.pop(now) {
            self.departed.push_back(outgoing);
        }
        for _ in 0..limit {
            let Some(Outgoing { to, datagram }) = self.departed.front() else { break };
            if !offer(wire, &mut self.sent, datagram, *to) {
                return Next::Writable;
            }
            self.departed.pop_front();
        }
        if !self.departed.is_empty() {
            return Next::At(now);
        }
        self.shaper.next_departure().map_or(Next::Idle, Next::At)
    }

    /// Changes the rate, for what is queued as well.
    pub(super) fn set_rate(&mut self, now: Instant, rate: Rate) {
        while let Some((_, outgoing)) = self.shaper.pop(now) {
            self.departed.push_back(outgoing);
        }
        self.shaper.set_rate(now, rate);
    }

    /// Gives up the wire and all that waits.
    pub(super) fn close(&mut self) {
        self.wire = None;
        self.shaper.clear();
        self.departed = VecDeque::new();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.wire.is_none()
    }

    pub(super) fn sent(&self) -> Sent {
        self.sent
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::time::Duration;

    /// A wire that answers from a script (then with success) and remembers what it took.
    #[derive(Default)]
    struct Script {
        answers: RefCell<VecDeque<io::ErrorKind>>,
        taken: RefCell<Vec<u8>>,
    }

    impl Script {
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
}
