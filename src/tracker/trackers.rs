//! Several trackers as one: a node tells all of them, and one that answers is enough.
//!
//! Bookkeeping alone: each tracker has its own [`Announcer`], and what they say is passed on, but for bad news, which counts
//! only when all have brought it. With one tracker it is that one's announcer and nothing else.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use super::announcer::{Announcer, Event};
use crate::Fid;
use crate::name::FileName;
use crate::rand::Rng;
use crate::rudp::packet::Header;
use crate::time::Instant;

/// What counts only when all have said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unanimous {
    Unknown(Fid),
    Refused(Fid),
    Cancelled(Fid),
    Left,
}

/// The trackers that a node uses; at least one.
#[derive(Debug)]
pub struct Trackers {
    announcers: Vec<Announcer>,
    /// For each of these, who has said it: a bit for each announcer.
    said: BTreeMap<Unanimous, u32>,
    events: VecDeque<Event>,
}

impl Trackers {
    /// So many at most are used: more would only be told the same.
    pub const MAX: usize = 8;

    /// Of the trackers at `addrs`, without repetition, the first [`MAX`](Trackers::MAX).
    ///
    /// # Panics
    /// If there is none.
    pub fn new(addrs: &[SocketAddr], rng: &mut Rng) -> Trackers {
        assert!(!addrs.is_empty(), "a node needs a tracker");
        let mut announcers: Vec<Announcer> = Vec::new();
        for &addr in addrs {
            if announcers.len() < Trackers::MAX && announcers.iter().all(|known| known.tracker() != addr) {
                announcers.push(Announcer::new(addr, rng.fork()));
            }
        }
        Trackers { announcers, said: BTreeMap::new(), events: VecDeque::new() }
    }

    /// As [`Announcer::announce`], at each.
    pub fn announce(
        &mut self,
        now: Instant,
        fid: Fid,
        name: Option<&FileName>,
        size: u64,
        progress: u8,
        want: u8,
    ) {
        self.said.remove(&Unanimous::Refused(fid));
        for announcer in &mut self.announcers {
            announcer.announce(now, fid, name.cloned(), size, progress, want);
        }
    }

    /// As [`Announcer::request_holders`], at each.
    pub fn request_holders(&mut self, now: Instant, fid: Fid) {
        self.announcers.iter_mut().for_each(|announcer| announcer.request_holders(now, fid));
    }

    /// As [`Announcer::lookup`], at each.
    pub fn lookup(&mut self, now: Instant, fid: Fid) {
        self.said.remove(&Unanimous::Unknown(fid));
        self.announcers.iter_mut().for_each(|announcer| announcer.lookup(now, fid));
    }

    /// As [`Announcer::cancel`], at each; answered when all have.
    pub fn cancel(&mut self, now: Instant, fid: Fid) {
        self.said.remove(&Unanimous::Cancelled(fid));
        self.announcers.iter_mut().for_each(|announcer| announcer.cancel(now, fid));
    }

    /// As [`Announcer::leave`], at each; answered when all have.
    pub fn leave(&mut self, now: Instant) {
        self.said.clear();
        self.announcers.iter_mut().for_each(|announcer| announcer.leave(now));
    }

    /// As [`Announcer::handle_oneshot`], at the one that it comes from.
    pub fn handle_oneshot(&mut self, now: Instant, from: SocketAddr, header: Header, body: &[u8]) -> bool {
        self.announcers.iter_mut().any(|announcer| announcer.handle_oneshot(now, from, header, body))
    }

    /// As [`Announcer::handle_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.announcers.iter_mut().for_each(|announcer| announcer.handle_timeout(now));
    }

    /// As [`Announcer::poll_transmit`].
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        self.announcers.iter_mut().find_map(|announcer| announcer.poll_transmit(now, buf))
    }

    /// As [`Announcer::poll_timeout`].
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.announcers.iter().filter_map(Announcer::poll_timeout).min()
    }

    /// The next thing that one of them said, or all have.
    pub fn poll_event(&mut self) -> Option<Event> {
        for place in 0..self.announcers.len() {
            while let Some(event) = self.announcers[place].poll_event() {
                if self.counts(place, &event) {
                    self.events.push_back(event);
                }
            }
        }
        self.events.pop_front()
    }

    /// The address of one that owes an answer; of the first, if none does.
    pub fn silent(&self) -> SocketAddr {
        let silent = self.announcers.iter().find(|announcer| announcer.unanswered_since().is_some());
        silent.unwrap_or(&self.announcers[0]).tracker()
    }

    /// Whether what the tracker at `place` says is to be passed on.
    fn counts(&mut self, place: usize, event: &Event) -> bool {
        let what = match *event {
            Event::Unknown { fid } => Unanimous::Unknown(fid),
            Event::Refused { fid, .. } => Unanimous::Refused(fid),
            Event::Cancelled { fid } => Unanimous::Cancelled(fid),
            Event::Left => Unanimous::Left,
            Event::Confirmed { .. } | Event::Holders { .. } | Event::Found { .. } => return true,
        };
        let said = self.said.entry(what).or_default();
        *said |= 1 << place;
        let all = said.count_ones() as usize == self.announcers.len();
        if all {
            self.said.remove(&what);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine as _;
    use crate::rudp::packet::{self, Kind};
    use crate::time::Duration;
    use crate::tracker::{Limits, Server};
    use crate::units::Rate;

    const HERE: &str = "10.0.0.9:7";

    /// Two trackers, either of which may be dead, and a client of both.
    struct Table {
        now: Instant,
        servers: Vec<(SocketAddr, Option<Server>)>,
        trackers: Trackers,
    }

    impl Table {
        fn new(alive: [bool; 2]) -> Table {
            let mut rng = Rng::from_seed(1);
            let servers: Vec<_> = (0..2)
                .map(|n| {
                    let addr = SocketAddr::from(([10, 0, 0, n as u8 + 1], 10_086));
                    (addr, alive[n].then(|| Server::new(rng.fork(), Rate::UNLIMITED, Limits::default())))
                })
                .collect();
            let addrs: Vec<SocketAddr> = servers.iter().map(|(addr, _)| *addr).collect();
            let trackers = Trackers::new(&[addrs[0], addrs[1], addrs[0]], &mut rng);
            assert_eq!(trackers.announcers.len(), 2, "the same one twice");
            Table { now: Instant::ORIGIN + Duration::from_secs(1), servers, trackers }
        }

        /// Delivers all that is said in the next `seconds`; gives the events.
        fn talk(&mut self, seconds: u64) -> Vec<Event> {
            let (end, mut events, mut buf) =
                (self.now + Duration::from_secs(seconds), Vec::new(), Vec::new());
            let here = HERE.parse().unwrap();
            while self.now <= end {
                self.trackers.handle_timeout(self.now);
                while let Some(to) = self.trackers.poll_transmit(self.now, &mut buf) {
                    let (addr, server) = self.servers.iter_mut().find(|(addr, _)| *addr == to).unwrap();
                    let Some(server) = server else { continue };
                    server.handle_datagram(self.now, here, &buf);
                    while let Some(to) = server.poll_transmit(self.now, &mut buf) {
                        assert_eq!(to, here);
                        let (header, body) = packet::open(&buf).unwrap();
                        assert_eq!(header.kind, Kind::Oneshot);
                        self.trackers.handle_oneshot(self.now, *addr, header, body);
                    }
                }
                events.extend(std::iter::from_fn(|| self.trackers.poll_event()));
                self.now += Duration::from_millis(100);
            }
            events
        }
    }

    #[test]
    fn one_that_answers_is_enough_for_good_news() {
        for alive in [[true, false], [false, true], [true, true]] {
            let mut table = Table::new(alive);
            let fid = Fid::of(b"f");
            table.trackers.announce(table.now, fid, None, 1, 255, 0);
            let events = table.talk(2);
            let confirmed = events.iter().filter(|event| matches!(event, Event::Confirmed { .. })).count();
            assert_eq!(confirmed, alive.iter().filter(|&&alive| alive).count(), "{events:?}");
        }
    }

    #[test]
    fn bad_news_counts_when_all_bring_it() {
        let fid = Fid::of(b"f");
        let mut table = Table::new([true, true]);
        table.trackers.lookup(table.now, fid);
        assert_eq!(table.talk(2), [Event::Unknown { fid }]);
        table.trackers.cancel(table.now, fid);
        assert_eq!(table.talk(2), [Event::Cancelled { fid }]);
        table.trackers.leave(table.now);
        assert_eq!(table.talk(2), [Event::Left]);

        let mut table = Table::new([true, false]);
        table.trackers.lookup(table.now, fid);
        assert_eq!(table.talk(20), []);
        assert_eq!(table.trackers.silent(), table.servers[1].0);
    }
}
