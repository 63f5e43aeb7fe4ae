//! A crowd at a tracker whose link is slow: announcers and server over two shaped links, in virtual time.

use std::net::SocketAddr;

use super::*;
use crate::Fid;
use crate::machine::Machine;
use crate::name::FileName;
use crate::proxy::shaper::Shaper;
use crate::rand::Rng;
use crate::rudp::packet;
use crate::time::{Duration, Instant};
use crate::units::Rate;

/// The rate of the tracker's link, each way, B/s.
const RATE: Rate = Rate::new(10_000);
const CLIENTS: u16 = 100;

/// On the way: the client's address and the datagram.
type Link = Shaper<(SocketAddr, Vec<u8>)>;

struct Crowd {
    now: Instant,
    server: Server,
    clients: Vec<Announcer>,
    down: Link,
    up: Link,
    loss: f64,
    rng: Rng,
    /// When each client was first confirmed.
    confirmed: Vec<Option<Instant>>,
    /// How many holders each client was told of at last.
    named: Vec<usize>,
    sent: u64,
}

impl Crowd {
    /// 100 clients that begin to announce one file at the same moment.
    fn announcing(seed: u64, loss: f64) -> Crowd {
        let mut rng = Rng::from_seed(seed);
        let tracker = SocketAddr::from(([10, 0, 0, 100], 10_086));
        let now = Instant::ORIGIN + Duration::from_secs(1_000);
        let mut clients: Vec<Announcer> = (0..CLIENTS).map(|_| Announcer::new(tracker, rng.fork())).collect();
        for (index, client) in clients.iter_mut().enumerate() {
            let progress = if index == 0 { COMPLETE } else { 0 };
            let name = FileName::new("lecture-recordings.tar").ok();
            client.announce(now, Fid::of(b"a"), name, 6_200_000, progress, 30);
        }
        let link = || Shaper::new(RATE, 64 << 20);
        Crowd {
            now,
            server: Server::new(rng.fork(), RATE, Limits::default()),
            confirmed: vec![None; clients.len()],
            named: vec![0; clients.len()],
            clients,
            down: link(),
            up: link(),
            loss,
            rng,
            sent: 0,
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        while let Some(next) = self.next_deadline().filter(|&next| next <= end) {
            self.now = self.now.max(next);
            self.settle();
        }
        self.now = end;
    }

    fn next_deadline(&self) -> Option<Instant> {
        let clients = self.clients.iter().filter_map(Announcer::poll_timeout).map(|(at, _)| at);
        let server = self.server.poll_timeout().map(|(at, _)| at);
        let links = [self.down.next_departure(), self.up.next_departure()];
        clients.chain(server).chain(links.into_iter().flatten()).min()
    }

    /// Does all that is due now.
    fn settle(&mut self) {
        let mut buf = Vec::new();
        while let Some((_, (from, datagram))) = self.down.pop(self.now) {
            self.server.handle_datagram(self.now, from, &datagram);
        }
        self.server.handle_timeout(self.now);
        while let Some((_, (to, datagram))) = self.up.pop(self.now) {
            let index = usize::from(to.port() - 1);
            let (header, body) = packet::open(&datagram).unwrap();
            let tracker = self.clients[index].tracker();
            self.clients[index].handle_oneshot(self.now, tracker, header, body);
        }
        while let Some(to) = self.server.poll_transmit(self.now, &mut buf) {
            self.sent += buf.len() as u64;
            if !self.rng.chance(self.loss) {
                self.up.push(self.now, buf.len(), (to, buf.clone())).unwrap();
            }
        }
        for (index, client) in self.clients.iter_mut().enumerate() {
            client.handle_timeout(self.now);
            while let Some(event) = client.poll_event() {
                match event {
                    Event::Confirmed { .. } => _ = self.confirmed[index].get_or_insert(self.now),
                    Event::Holders { holders, .. } => self.named[index] = holders.len(),
                    other => panic!("{other:?}"),
                }
            }
            while client.poll_transmit(self.now, &mut buf).is_some() {
                if !self.rng.chance(self.loss) {
                    let from = SocketAddr::from(([10, 0, 0, 1], index as u16 + 1));
                    self.down.push(self.now, buf.len(), (from, buf.clone())).unwrap();
                }
            }
        }
    }

    /// How long after `start` the last client was confirmed.
    fn last_confirmed(&self, start: Instant) -> Option<Duration> {
        let all: Option<Vec<Instant>> = self.confirmed.iter().copied().collect();
        all?.into_iter().max().map(|last| last.since(start))
    }
}

#[test]
fn a_hundred_clients_at_once_are_answered_over_10_kilobytes_a_second_within_3_seconds() {
    let mut crowd = Crowd::announcing(1, 0.0);
    let start = crowd.now;
    crowd.run_for(Duration::from_secs(10));
    let counters = crowd.server.counters();
    let last = crowd.last_confirmed(start).expect("all are confirmed");
    // 2.71 s: the 26 kB of answers alone take 2.6 s.
    assert!(last < Duration::from_secs(3), "{last:?}: {counters:?}");
    assert_eq!(counters.dropped, 0);
    let full = crowd.named.iter().filter(|&&named| named == 30).count();
    assert_eq!(full, 70, "all but the first thirty are told of thirty: {:?}", crowd.named);
}

#[test]
fn a_lossy_link_takes_longer_and_leaves_nobody_out() {
    for seed in 0..10 {
        let mut crowd = Crowd::announcing(seed, 0.2);
        let start = crowd.now;
        crowd.run_for(Duration::from_secs(90));
        let counters = crowd.server.counters();
        assert!(crowd.last_confirmed(start).is_some(), "seed {seed}: {counters:?}");
    }
}

#[test]
fn a_hundred_clients_stay_listed_for_ten_minutes_on_a_tenth_of_the_link() {
    let mut crowd = Crowd::announcing(1, 0.05);
    crowd.run_for(Duration::from_secs(60));
    let (early, start) = (crowd.sent, crowd.now);
    crowd.run_for(Duration::from_secs(600));
    let counters = crowd.server.counters();
    assert_eq!((crowd.server.registry().holdings(), counters.expired), (100, 0), "{counters:?}");
    let share =
        (crowd.sent - early) as f64 / RATE.bytes_per_sec() as f64 / crowd.now.since(start).as_secs_f64();
    assert!(share < 0.12, "{share:.3} of the uplink");
}

#[test]
fn a_hundred_clients_make_a_restarted_tracker_whole_within_one_refresh() {
    let mut crowd = Crowd::announcing(1, 0.0);
    crowd.run_for(Duration::from_secs(100));
    crowd.server = Server::new(Rng::from_seed(99), RATE, Limits::default());
    crowd.run_for(Duration::from_secs(30));
    assert!(crowd.server.registry().holdings() >= 99, "{:?}", crowd.server.counters());
    crowd.run_for(Duration::from_secs(1));
    assert_eq!(crowd.server.registry().holdings(), 100);
}
