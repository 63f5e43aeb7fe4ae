//! No datagram of a stranger, of whatever kind and length, is answered with more bytes than it had.

use super::super::handshake::Hello;
use super::super::packet::Kind;
use super::hardening::{datagram, drain, stranger};
use crate::rand::Rng;
use crate::rudp::{Config, Endpoint};
use crate::time::{Duration, Instant};

const KINDS: [Kind; 6] = [Kind::Hello, Kind::Retry, Kind::Welcome, Kind::Data, Kind::Close, Kind::Oneshot];

/// What such a datagram may have behind its header: noise, zeros, or a hello that asks for a cookie, cut or made longer.
fn bodies(rng: &mut Rng, len: usize) -> [Vec<u8>; 3] {
    let mut noise = vec![0; len];
    rng.fill(&mut noise);
    let mut hello = Vec::new();
    Hello { cookie: None, receive_window: 1 << 20, datagram_size: 1_200, sent: 0 }.encode(&mut hello);
    hello.resize(len, 0);
    [noise, vec![0; len], hello]
}

#[test]
fn nothing_is_answered_with_more_bytes_than_came() {
    let (mut rng, mut answered, mut now) = (Rng::from_seed(1), [0; KINDS.len()], Instant::ORIGIN);
    for len in (0..200).chain([1_000, 1_400, 60_000]) {
        for (n, kind) in KINDS.into_iter().enumerate() {
            for body in bodies(&mut rng, len) {
                // One each, so that no limit on all answers hides what one is worth.
                let mut endpoint = Endpoint::new(Config::default(), rng.fork());
                now += Duration::from_millis(100);
                let question = datagram(kind, rng.u32(), rng.u32(), &body);
                endpoint.handle_datagram(now, stranger(1), &question);
                let answers = drain(&mut endpoint, now);
                let bytes: usize = answers.iter().map(|(_, answer)| answer.len()).sum();
                assert!(bytes <= question.len(), "{kind:?} of {} B: {bytes} B", question.len());
                assert_eq!((endpoint.connection_count(), endpoint.poll_timeout()), (0, None), "{kind:?}");
                answered[n] += answers.len();
            }
        }
    }
    assert!(answered[0] > 0 && answered[3] > 0, "hellos get a cookie, stale data a close: {answered:?}");
}
