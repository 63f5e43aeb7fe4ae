//! The tracker as a state machine: a request comes in, an answer waits for the uplink, a lease ends.
//!
//! It does no I/O, knows no file's content, and keeps nothing about an address that has not proved, by returning a
//! cookie, that it receives what is sent to it. What to store is the registry's affair, whom to name the handout's,
//! when an answer leaves the outbox's.

use std::net::SocketAddr;

use super::handout;
use super::outbox::{Asker, Outbox, Outcome};
use super::protocol::{Announcement, Asked, Refusal, Request, Response, canonical, introduced};
use super::registry::{Limits, Registry};
use crate::Fid;
use crate::machine::Machine;
use crate::rand::Rng;
use crate::rudp::cookie::CookieJar;
use crate::rudp::packet::{self, Kind, Transaction};
use crate::time::Instant;
use crate::units::Rate;

/// To choose some of more holders takes longer than a forger is worth.
const MAX_INTRODUCED: usize = 1_000;

/// What a server has seen and done since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that came in, of whatever kind.
    pub received: u64,
    /// Of these, those that are damaged or not of this protocol. Not answered.
    pub foreign: u64,
    /// Of these, those that are of this protocol, but no request. Not answered.
    pub malformed: u64,
    /// Requests without a valid cookie, which got one, and if they were lookups the first holders.
    pub unproven: u64,
    /// Requests that were granted.
    pub granted: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Answers not queued, because one to the same request was waiting.
    pub repeated: u64,
    /// Answers not queued for want of room.
    pub dropped: u64,
    /// Answers that went out.
    pub sent: u64,
    /// Holdings that were not refreshed in time.
    pub expired: u64,
}

/// A tracker without its socket. See [`Machine`] for how to drive it.
#[derive(Debug)]
pub struct Server {
    jar: CookieJar,
    rng: Rng,
    registry: Registry,
    outbox: Outbox,
    counters: Counters,
    /// Holds each answer while it is written.
    scratch: Vec<u8>,
}

impl Server {
    /// A tracker that knows nobody, and paces its answers to an uplink of `upload_rate`.
    pub fn new(mut rng: Rng, upload_rate: Rate, limits: Limits) -> Server {
        Server {
            jar: CookieJar::new(&mut rng),
            rng,
            registry: Registry::new(limits),
            outbox: Outbox::new(upload_rate),
            counters: Counters::default(),
            scratch: Vec::new(),
        }
    }

    /// What it has seen and done.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Who holds what, as it knows it.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What is told to one that hasn't shown yet that it receives at its address: no more bytes than it has sent, and nothing that
    /// takes long to find.
    fn greet(
        &mut self,
        now: Instant,
        from: SocketAddr,
        request: &Result<Request, Refusal>,
        len: usize,
    ) -> Response {
        let cookie = self.jar.make(now, from);
        match *request {
            Ok(Request::Lookup { fid, want }) if self.outbox.has_room(Asker::Unproven, len) => {
                let holders = self.registry.holders(fid).filter(|holders| holders.len() <= MAX_INTRODUCED);
                let Some(holders) = holders else { return Response::NeedCookie(cookie) };
                let total = holders.len() as u32;
                let holders = handout::choose(holders, canonical(from), want, &mut self.rng);
                Response::Introduction { cookie, total, holders: introduced(holders, len) }
            }
            _ => Response::NeedCookie(cookie),
        }
    }

    fn grant(&mut self, now: Instant, from: SocketAddr, request: Request) -> Response {
        match request {
            Request::Hello => Response::NeedCookie(self.jar.make(now, from)),
            Request::Announce(announcement) => self.announce(now, canonical(from), &announcement),
            Request::Lookup { fid, want } => self.holders(canonical(from), fid, want),
            Request::Find { name } => {
                let (total, files) = self.registry.find(&name);
                Response::Found { total: total as u32, files }
            }
            Request::Cancel { fid } => {
                self.registry.withdraw(canonical(from), fid);
                Response::Done
            }
            Request::Leave => {
                self.registry.withdraw_all(canonical(from));
                Response::Done
            }
        }
    }

    fn announce(&mut self, now: Instant, asker: SocketAddr, announcement: &Announcement) -> Response {
        match self.registry.announce(now, asker, announcement) {
            Ok(()) => self.holders(asker, announcement.fid, announcement.want),
            Err(refusal) => Response::Refused(refusal),
        }
    }

    fn holders(&mut self, asker: SocketAddr, fid: Fid, want: u8) -> Response {
        let lease_seconds = u16::try_from(self.registry.limits().lease.as_secs()).unwrap_or(u16::MAX);
        match self.registry.holders(fid) {
            Some(holders) => Response::Holders {
                lease_seconds,
                total: holders.len() as u32,
                holders: handout::choose(holders, asker, want, &mut self.rng),
            },
            None => Response::Unknown { fid },
        }
    }

    fn queue(&mut self, asker: Asker, to: SocketAddr, transaction: Transaction, response: &Response) {
        response.encode(transaction, &mut self.scratch);
        match self.outbox.push(asker, to, transaction, &self.scratch) {
            Outcome::Queued => {}
            Outcome::Repeated => self.counters.repeated += 1,
            Outcome::Full => self.counters.dropped += 1,
        }
    }
}

impl Machine for Server {
    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.counters.received += 1;
        let Some((header, body)) =
            packet::open(datagram).ok().filter(|(header, _)| header.kind == Kind::Oneshot)
        else {
            self.counters.foreign += 1;
            return;
        };
        let Ok(Asked { cookie, request }) = Asked::decode(body) else {
            self.counters.malformed += 1;
            return;
        };
        // Before anybody is named: a lease that has ended holds no longer, however late the timer is.
        self.handle_timeout(now);
        if !cookie.is_some_and(|cookie| self.jar.accepts(now, from, &cookie)) {
            self.counters.unproven += 1;
            let response = self.greet(now, from, &request, datagram.len());
            self.queue(Asker::Unproven, from, header.transaction(), &response);
            return;
        }
        let response = match request {
            Ok(request) => self.grant(now, from, request),
            Err(refusal) => Response::Refused(refusal),
        };
        match response {
            Response::Refused(_) => self.counters.refused += 1,
            _ => self.counters.granted += 1,
        }
        self.queue(Asker::Proven, from, header.transaction(), &response);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.counters.expired += self.registry.expire(now) as u64;
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        let to = self.outbox.pop(now, buf)?;
        self.counters.sent += 1;
        Some(to)
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let departure = self.outbox.next_departure().map(|at| (at, "tracker: the uplink is free"));
        let expiry = self.registry.next_expiry().map(|at| (at, "tracker: a lease ends"));
        departure.into_iter().chain(expiry).min()
    }
}

#[cfg(test)]
mod tests;
