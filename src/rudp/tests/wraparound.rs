//! Packet numbers that pass the end of their 32 bits on the wire while a transfer is under way.
//!
//! Two connections alone, without endpoints: their first numbers are given rather than drawn.

use std::collections::VecDeque;

use super::super::congestion::links::Links;
use super::super::connection::Connection;
use super::super::handshake::{Hello, Welcome};
use super::super::packet::{self, ConnectionId, Kind};
use super::super::sent::SentPackets;
use super::super::seq;
use super::{addr, message, secs};
use crate::rand::Rng;
use crate::rudp::{Class, Config};
use crate::time::{Duration, Instant};

const LATENCY: Duration = Duration::from_millis(5);
const DATAGRAM: u64 = 1_200;

/// One end, its links, and what is on the way to it.
struct End {
    connection: Connection,
    links: Links,
    coming: VecDeque<(Instant, Vec<u8>)>,
    received: Vec<Vec<u8>>,
    wire_numbers: Vec<u32>,
}

impl End {
    fn new(connection: Connection) -> End {
        End {
            connection,
            links: Links::new(DATAGRAM),
            coming: VecDeque::new(),
            received: Vec::new(),
            wire_numbers: Vec::new(),
        }
    }

    fn next_event(&self) -> Option<Instant> {
        let arrival = self.coming.front().map(|&(at, _)| at);
        let timer = self.connection.poll_timeout().map(|(at, _)| at);
        arrival.into_iter().chain(timer).min()
    }

    fn handle(&mut self, now: Instant) {
        while let Some((_, datagram)) = self.coming.pop_front_if(|(at, _)| *at <= now) {
            let (header, body) = packet::open(&datagram).unwrap();
            match header.kind {
                Kind::Welcome => {
                    let welcome = Welcome::decode(body).unwrap();
                    self.connection.handle_welcome(now, header.number, &welcome, &self.links);
                }
                Kind::Hello => self.connection.handle_hello(now, &Hello::decode(body).unwrap().0),
                _ => {
                    let received = &mut self.received;
                    let taken =
                        self.connection.handle_data(now, header.number, body, &mut self.links, |data| {
                            received.push(data);
                        });
                    taken.expect("an honest peer breaks no rule");
                }
            }
        }
        assert_eq!(self.connection.handle_timeout(now, &mut self.links), None);
    }

    /// What it sends now; some of it is lost.
    fn transmit(&mut self, now: Instant, loss: f64, rng: &mut Rng) -> Vec<(Instant, Vec<u8>)> {
        let mut buf = Vec::new();
        let mut arriving = Vec::new();
        while self.connection.poll_transmit(now, &mut buf, &mut self.links).is_some() {
            self.wire_numbers.push(packet::open(&buf).unwrap().0.number);
            if !rng.chance(loss) {
                arriving.push((now + LATENCY, buf.clone()));
            }
        }
        arriving
    }
}

/// A client whose first number lies `a` before the end of the wire's numbers, and a server with `b`, shaken hands.
fn pair(a: u32, b: u32, rng: &mut Rng) -> (End, End, Instant) {
    // A handshake whose every try is lost for 4 s is another story.
    // Datagrams that stay small, so that there are enough of them.
    let config =
        Config { dead_after: Duration::from_secs(60), max_datagram_size: 1_200, ..Config::default() };
    let (start, id) = (secs(1.0), ConnectionId(9));
    let before_end = |distance: u32| seq::from_wire(u32::MAX - distance);
    let sent = SentPackets::new(before_end(a), rng.fork());
    let mut client = End::new(Connection::connect(1, id, addr(1), sent, &config, start));
    let hello = client.transmit(start, 0.0, rng).pop().unwrap();
    let (header, body) = packet::open(&hello.1).unwrap();
    assert_eq!(header.number, u32::MAX - a);
    let sent = SentPackets::new(before_end(b), rng.fork());
    let (hello, _) = Hello::decode(body).unwrap();
    let now = start + LATENCY;
    let server =
        Connection::accept(1, id, addr(0), sent, &hello, header.number, Duration::ZERO, &config, now);
    (client, End::new(server), now)
}

#[test]
fn a_transfer_goes_on_when_wire_numbers_wrap() {
    const MESSAGES: u32 = 60;
    let mut rng = Rng::from_seed(1);
    for (round, loss) in (0..40).zip([0.0, 0.02, 0.2].into_iter().cycle()) {
        let distances = (rng.below(300) as u32, rng.below(150) as u32);
        let (mut client, mut server, mut now) = pair(distances.0, distances.1, &mut rng);
        for n in 0..MESSAGES {
            client.connection.send(Class::Bulk, 0, message(n, 8_000).into());
            server.connection.send(Class::Bulk, 0, message(n, 3_000).into());
        }
        while client.received.len() < MESSAGES as usize || server.received.len() < MESSAGES as usize {
            client.handle(now);
            server.handle(now);
            server.coming.extend(client.transmit(now, loss, &mut rng));
            client.coming.extend(server.transmit(now, loss, &mut rng));
            let next = client.next_event().into_iter().chain(server.next_event()).min();
            now = now.max(next.expect("an unfinished transfer has a next event"));
            assert!(now < secs(120.0), "round {round}: {} messages", server.received.len());
        }
        for (end, len) in [(&mut client, 3_000), (&mut server, 8_000)] {
            let mut expected: Vec<_> = (0..MESSAGES).map(|n| message(n, len)).collect();
            expected.sort();
            end.received.sort();
            assert_eq!(end.received, expected, "round {round}");
            assert!(end.wire_numbers.windows(2).any(|pair| pair[1] < pair[0]), "round {round} didn't wrap");
            let stats = end.connection.stats(now);
            assert!(loss > 0.0 || stats.lost == 0, "round {round}: {} lost on a good path", stats.lost);
        }
    }
}
