//! Whether a peer that speaks from another address receives there (RFC 9000 §8.2, §9.3).
//!
//! Decides who is asked and whether an answer counts; moves nothing and sends nothing itself. The crc is no proof of who
//! speaks, so a datagram from a new address is worth one thing only: a question there, never longer in sum than what
//! came from there.
//!
//! One claim is kept at a time. The newest packet number has it: who repeats what was overheard comes too late with it.
//! Who can forge newer numbers knows the connection's id and its packets, and can at most delay a move.

use std::net::SocketAddr;

use super::packet::HEADER_LEN;
use crate::time::{Duration, Instant};

/// What a challenge asks to have sent back.
pub type Token = [u8; TOKEN_LEN];

const TOKEN_LEN: usize = 8;

/// A datagram with a challenge and nothing else, B. Whatever asks for an ack is at least as long, so that the first word
/// from a new address pays for the question.
pub const CHALLENGE_DATAGRAM: usize = HEADER_LEN + 1 + TOKEN_LEN;

/// A datagram that asks for a sign of life is at least as long, B: it pays for all challenges of a claim.
pub const PROBE_DATAGRAM: usize = MAX_CHALLENGES as usize * CHALLENGE_DATAGRAM;

/// So often an address is asked, each time after twice the wait, before its claim lapses.
const MAX_CHALLENGES: u32 = 3;
/// The waits last `interval` times 1, 2 and 4.
const WAITS: u32 = (1 << MAX_CHALLENGES) - 1;
/// The bounds of the first wait. The round trip of the new path is unknown: that of the old one is the guess.
const INTERVAL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// What a connection knows of addresses that aren't proved, and what it owes to a peer that asks for proof.
#[derive(Clone, Debug, Default)]
pub struct PathValidation {
    claim: Option<Claim>,
    owed: Option<Token>,
    last_asked: Option<Token>,
}

/// Somebody says to be the peer.
#[derive(Clone, Debug)]
struct Claim {
    remote: SocketAddr,
    token: Token,
    /// The highest packet number from there.
    newest: u64,
    bytes_in: u64,
    bytes_out: u64,
    interval: Duration,
    lapses: Instant,
    /// A challenge is to be sent.
    is_due: bool,
    sent: u32,
    last_sent: Instant,
}

impl PathValidation {
    /// A datagram of `len` B with the packet number `number`, newer than all that the peer's own address sent, came from
    /// `from`. True if a challenge may go there now; `token` is what it will ask for if this begins a claim.
    ///
    /// `pto` is the probe time-out of the path as it was.
    pub fn on_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        number: u64,
        len: usize,
        pto: Duration,
        token: Token,
    ) -> bool {
        let mut claim = match self.claim.take() {
            Some(claim) if now < claim.lapses && (claim.remote == from || number <= claim.newest) => claim,
            _ => Claim::new(now, from, token, pto),
        };
        let is_from_there = claim.remote == from;
        if is_from_there {
            claim.newest = claim.newest.max(number);
            claim.bytes_in += len as u64;
        }
        let wants = is_from_there && claim.next_challenge().is_some_and(|next| next <= now);
        self.claim = Some(claim);
        wants
    }

    /// Has the next datagram be a challenge to whoever has the claim, if that is due.
    pub fn order_challenge(&mut self, now: Instant) {
        if let Some(claim) = &mut self.claim {
            claim.is_due |= claim.next_challenge().is_some_and(|next| next <= now);
        }
    }

    /// The challenge to send now, and to whom.
    pub fn take_challenge(&mut self, now: Instant) -> Option<(SocketAddr, Token)> {
        let claim = self.claim.as_mut().filter(|claim| claim.is_due)?;
        claim.is_due = false;
        claim.sent += 1;
        claim.last_sent = now;
        claim.bytes_out += CHALLENGE_DATAGRAM as u64;
        Some((claim.remote, claim.token))
    }

    /// When to ask again whoever has the claim, as far as what came from there has paid for it.
    pub fn next_challenge(&self) -> Option<Instant> {
        self.claim.as_ref()?.next_challenge()
    }

    /// Whether a response with this token from `from` proves the address, and then also the round trip there, if it is
    /// certain which challenge is answered.
    pub fn on_response(&mut self, now: Instant, from: SocketAddr, token: Token) -> Option<Option<Duration>> {
        let claim = self.claim.take_if(|claim| {
            claim.sent > 0 && now < claim.lapses && claim.remote == from && claim.token == token
        })?;
        Some((claim.sent == 1).then(|| now.since(claim.last_sent)))
    }

    /// The peer asks for `token` back: it saw this side at an address that it didn't know. True if it hadn't asked for
    /// this one before, so that the path to it is another from here on.
    pub fn on_challenge(&mut self, token: Token) -> bool {
        self.owed = Some(token);
        self.last_asked.replace(token) != Some(token)
    }

    /// Whether a response is owed.
    pub fn owes_response(&self) -> bool {
        self.owed.is_some()
    }

    /// What to send back, once. If it gets lost the peer asks again.
    pub fn take_response(&mut self) -> Option<Token> {
        self.owed.take()
    }
}

impl Claim {
    fn new(now: Instant, remote: SocketAddr, token: Token, pto: Duration) -> Claim {
        let interval = pto.clamp(INTERVAL.0, INTERVAL.1);
        Claim {
            remote,
            token,
            newest: 0,
            bytes_in: 0,
            bytes_out: 0,
            interval,
            lapses: now + interval * WAITS,
            is_due: false,
            sent: 0,
            last_sent: now,
        }
    }

    /// From when on another challenge may be sent.
    fn next_challenge(&self) -> Option<Instant> {
        let wait = if self.sent == 0 { Duration::ZERO } else { self.interval * (1 << (self.sent - 1)) };
        let is_paid = self.bytes_out + CHALLENGE_DATAGRAM as u64 <= self.bytes_in;
        (!self.is_due && self.sent < MAX_CHALLENGES && is_paid).then(|| self.last_sent + wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PTO: Duration = Duration::from_millis(200);
    const TOKEN: Token = [7; TOKEN_LEN];

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    fn place(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, n], 7_000))
    }

    /// Packet `number` of 26 B comes from place `n`. Whether it is answered with a challenge.
    fn hears(path: &mut PathValidation, millis: u64, n: u8, number: u64) -> bool {
        let wants = path.on_datagram(at(millis), place(n), number, CHALLENGE_DATAGRAM, PTO, [n; TOKEN_LEN]);
        if wants {
            path.order_challenge(at(millis));
            assert_eq!(path.take_challenge(at(millis)), Some((place(n), [n; TOKEN_LEN])));
        }
        assert_eq!(path.take_challenge(at(millis)), None);
        wants
    }

    #[test]
    fn an_address_is_asked_three_times_and_then_anew() {
        let mut path = PathValidation::default();
        let asked: Vec<u64> = (0..150).filter(|&n| hears(&mut path, 10 * n, 1, n)).map(|n| 10 * n).collect();
        assert_eq!(asked, [0, 200, 600, 1_400], "PTO × 1, 2, 4, and a new claim");
    }

    #[test]
    fn no_more_goes_out_than_came_in() {
        let mut path = PathValidation::default();
        let wants = |path: &mut PathValidation, millis, len| {
            path.on_datagram(at(millis), place(1), millis, len, PTO, TOKEN)
        };
        assert!(!wants(&mut path, 0, CHALLENGE_DATAGRAM - 1));
        assert!(wants(&mut path, 1, 1));
        path.order_challenge(at(1));
        path.take_challenge(at(1)).unwrap();
        assert!(!wants(&mut path, 300, CHALLENGE_DATAGRAM - 1));
        assert!(wants(&mut path, 301, 1));
    }

    #[test]
    fn only_the_asked_address_can_answer_and_only_once() {
        let mut path = PathValidation::default();
        assert_eq!(path.on_response(at(0), place(1), [1; TOKEN_LEN]), None, "nobody was asked");
        assert!(hears(&mut path, 0, 1, 5));
        assert_eq!(path.on_response(at(50), place(2), [1; TOKEN_LEN]), None);
        assert_eq!(path.on_response(at(50), place(1), TOKEN), None);
        assert_eq!(path.on_response(at(50), place(1), [1; TOKEN_LEN]), Some(Some(Duration::from_millis(50))));
        assert_eq!(path.on_response(at(51), place(1), [1; TOKEN_LEN]), None);
    }

    #[test]
    fn a_round_trip_is_known_if_one_question_was_asked_only() {
        let mut path = PathValidation::default();
        assert!(hears(&mut path, 0, 1, 5) && hears(&mut path, 200, 1, 6));
        assert_eq!(path.on_response(at(250), place(1), [1; TOKEN_LEN]), Some(None));
    }

    #[test]
    fn an_answer_may_come_too_late() {
        let mut path = PathValidation::default();
        assert!(hears(&mut path, 0, 1, 5));
        assert_eq!(path.on_response(at(1_400), place(1), [1; TOKEN_LEN]), None);
    }

    #[test]
    fn the_newest_number_has_the_claim_and_what_is_overheard_takes_it_from_nobody() {
        let mut path = PathValidation::default();
        assert!(hears(&mut path, 0, 1, 5));
        assert!(!hears(&mut path, 1, 2, 5), "a replay");
        assert!(hears(&mut path, 2, 2, 9), "a forgery, or the peer moved again");
        assert!(hears(&mut path, 3, 1, 10));
        assert!(!hears(&mut path, 4, 2, 9));
        assert!(path.on_response(at(5), place(1), [1; TOKEN_LEN]).is_some());
    }

    #[test]
    fn each_question_is_answered_and_only_a_new_one_is_news() {
        let mut path = PathValidation::default();
        assert!(!path.owes_response());
        assert!(path.on_challenge(TOKEN));
        assert_eq!((path.take_response(), path.take_response()), (Some(TOKEN), None));
        assert!(!path.on_challenge(TOKEN));
        assert!(path.owes_response());
        assert!(path.on_challenge([8; TOKEN_LEN]));
        assert_eq!(path.take_response(), Some([8; TOKEN_LEN]));
    }
}
