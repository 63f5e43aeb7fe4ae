//! Who stands beside the path and forges, and a tracker that names whom it likes.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use swarmcast::Fid;
use swarmcast::machine::Machine;
use swarmcast::rudp::cookie::Cookie;
use swarmcast::rudp::packet::{self, Header, Kind, Transaction};
use swarmcast::time::{Duration, Instant};
use swarmcast::tracker::protocol::{Request, Response};
use swarmcast::tracker::{COMPLETE, Holder, Server};

/// The latest header that was overheard, and for whom the datagram was.
pub(crate) type Overheard = Rc<RefCell<Vec<(SocketAddr, Header)>>>;

/// Ends connections and withdraws holdings that aren't its own, from an address that is its own.
pub(crate) struct Forger {
    overheard: Overheard,
    tracker: SocketAddr,
    fid: Fid,
    cookie: Option<Cookie>,
    outbox: Vec<(SocketAddr, Vec<u8>)>,
    tick: Instant,
    asked: u64,
    /// How many requests the tracker has granted it.
    granted: Rc<RefCell<u32>>,
}

const TICK: Duration = Duration::from_millis(50);

impl Forger {
    pub(crate) fn new(
        overheard: Overheard,
        tracker: SocketAddr,
        fid: Fid,
        now: Instant,
    ) -> (Forger, Rc<RefCell<u32>>) {
        let granted = Rc::new(RefCell::new(0));
        let forger = Forger {
            overheard,
            tracker,
            fid,
            cookie: None,
            outbox: Vec::new(),
            tick: now + TICK,
            asked: 0,
            granted: Rc::clone(&granted),
        };
        (forger, granted)
    }

    fn forge_closes(&mut self) {
        for (to, header) in self.overheard.borrow_mut().drain(..) {
            for ahead in 1..4 {
                let number = header.number.wrapping_add(ahead);
                let mut datagram = Vec::new();
                packet::begin(&mut datagram, Header { kind: Kind::Close, number, ..header });
                datagram.push(0);
                packet::seal(&mut datagram);
                self.outbox.push((to, datagram));
            }
        }
    }

    fn forge_withdrawals(&mut self) {
        for request in [Request::Cancel { fid: self.fid }, Request::Leave] {
            self.asked += 1;
            let mut datagram = Vec::new();
            request.encode(Transaction(self.asked), self.cookie.as_ref(), &mut datagram);
            self.outbox.push((self.tracker, datagram));
        }
    }
}

impl Machine for Forger {
    fn handle_datagram(&mut self, _: Instant, _: SocketAddr, datagram: &[u8]) {
        let Ok((_, body)) = packet::open(datagram) else { return };
        match Response::decode(body) {
            Ok(Response::NeedCookie(cookie)) => self.cookie = Some(cookie),
            Ok(Response::Done) => *self.granted.borrow_mut() += 1,
            _ => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.tick <= now {
            self.tick = now + TICK;
            self.forge_closes();
            self.forge_withdrawals();
        }
    }

    fn poll_transmit(&mut self, _: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        let (to, datagram) = self.outbox.pop()?;
        *buf = datagram;
        Some(to)
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        Some((self.tick, "forge"))
    }
}

/// A tracker that names others beside the true holders, and before them.
pub(crate) struct Gossip {
    pub(crate) server: Server,
    pub(crate) names: Vec<SocketAddr>,
}

impl Machine for Gossip {
    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.server.handle_datagram(now, from, datagram);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.server.handle_timeout(now);
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        let to = self.server.poll_transmit(now, buf)?;
        let (header, body) = packet::open(buf).expect("the tracker's own datagram");
        if let Ok(Response::Holders { lease_seconds, total, holders }) = Response::decode(body) {
            let named = self.names.iter().map(|&addr| Holder { addr, progress: COMPLETE });
            let holders = named.chain(holders).collect();
            let response = Response::Holders { lease_seconds, total: total + 50, holders };
            response.encode(header.transaction(), buf);
        }
        Some(to)
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.server.poll_timeout()
    }
}

/// Somebody who has nothing to do with all this, and says nothing.
pub(crate) struct Bystander;

impl Machine for Bystander {
    fn handle_datagram(&mut self, _: Instant, _: SocketAddr, _: &[u8]) {}

    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_transmit(&mut self, _: Instant, _: &mut Vec<u8>) -> Option<SocketAddr> {
        None
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        None
    }
}
