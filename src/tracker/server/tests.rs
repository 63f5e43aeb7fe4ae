//! The server in dialogue: datagrams in, datagrams out, with an uplink that is never busy.

use super::*;
use crate::name::FileName;
use crate::rudp::cookie::Cookie;
use crate::rudp::packet::HEADER_LEN;
use crate::time::Duration;
use crate::tracker::protocol::{COMPLETE, Holder, MAX_DATAGRAM, Refusal};

fn at(seconds: u64) -> Instant {
    Instant::ORIGIN + Duration::from_secs(1_000 + seconds)
}

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

fn fid(text: &str) -> Fid {
    Fid::of(text.as_bytes())
}

/// A server and whoever talks to it from any address.
struct Talk {
    server: Server,
    transactions: u64,
}

impl Talk {
    fn new() -> Talk {
        Talk::with(Limits::default())
    }

    fn with(limits: Limits) -> Talk {
        Talk { server: Server::new(Rng::from_seed(1), Rate::UNLIMITED, limits), transactions: 0 }
    }

    /// Sends `datagram` from `from` and gives what comes back.
    fn send(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Vec<Vec<u8>> {
        self.server.handle_datagram(now, from, datagram);
        let mut replies = Vec::new();
        let mut buf = Vec::new();
        while let Some(to) = self.server.poll_transmit(now, &mut buf) {
            assert_eq!(to, from, "an answer goes where the request came from");
            replies.push(buf.clone());
        }
        replies
    }

    fn ask_with(
        &mut self,
        now: Instant,
        from: SocketAddr,
        cookie: Option<&Cookie>,
        request: &Request,
    ) -> Response {
        self.transactions += 1;
        let mut datagram = Vec::new();
        request.encode(Transaction(self.transactions), cookie, &mut datagram);
        let replies = self.send(now, from, &datagram);
        let [reply] = &replies[..] else { panic!("{} answers to {request:?}", replies.len()) };
        assert!(reply.len() <= MAX_DATAGRAM);
        let (header, body) = packet::open(reply).unwrap();
        assert_eq!((header.kind, header.transaction()), (Kind::Oneshot, Transaction(self.transactions)));
        Response::decode(body).unwrap()
    }

    fn cookie(&mut self, now: Instant, from: SocketAddr) -> Cookie {
        match self.ask_with(now, from, None, &Request::Hello) {
            Response::NeedCookie(cookie) => cookie,
            other => panic!("{other:?} instead of a cookie"),
        }
    }

    /// Asks as a client does that has fetched a cookie.
    fn ask(&mut self, now: Instant, from: SocketAddr, request: &Request) -> Response {
        let cookie = self.cookie(now, from);
        self.ask_with(now, from, Some(&cookie), request)
    }

    fn state(&self) -> (usize, usize) {
        (self.server.registry().files(), self.server.registry().holdings())
    }
}

fn announce(text: &str, progress: u8) -> Request {
    let name = FileName::new(text).ok();
    Request::Announce(Announcement { fid: fid(text), name, size: 7, progress, want: 30 })
}

fn lookup(text: &str) -> Request {
    Request::Lookup { fid: fid(text), want: 30 }
}

fn listed(total: u32, holders: &[(u16, u8)]) -> Response {
    let holders = holders.iter().map(|&(port, progress)| Holder { addr: addr(port), progress }).collect();
    Response::Holders { lease_seconds: 90, total, holders }
}

#[test]
fn whoever_announces_is_named_to_others_and_not_to_itself() {
    let mut talk = Talk::new();
    assert_eq!(talk.ask(at(0), addr(1), &lookup("a")), Response::Unknown { fid: fid("a") });
    assert_eq!(talk.ask(at(0), addr(1), &announce("a", COMPLETE)), listed(1, &[]));
    assert_eq!(talk.ask(at(1), addr(2), &announce("a", 3)), listed(2, &[(1, COMPLETE)]));
    assert_eq!(talk.ask(at(2), addr(1), &announce("a", COMPLETE)), listed(2, &[(2, 3)]));
    assert_eq!(talk.ask(at(2), addr(1), &lookup("a")), listed(2, &[(2, 3)]));
    assert_eq!(talk.ask(at(2), addr(2), &lookup("b")), Response::Unknown { fid: fid("b") });
}

#[test]
fn the_same_request_twice_is_as_good_as_once() {
    let mut talk = Talk::new();
    for _ in 0..2 {
        assert_eq!(talk.ask(at(0), addr(1), &announce("a", 5)), listed(1, &[]));
    }
    assert_eq!(talk.state(), (1, 1));
    for _ in 0..2 {
        assert_eq!(talk.ask(at(0), addr(1), &Request::Cancel { fid: fid("a") }), Response::Done);
    }
    assert_eq!(talk.state(), (0, 0));
}

#[test]
fn one_can_announce_and_withdraw_only_itself() {
    let mut talk = Talk::new();
    talk.ask(at(0), addr(1), &announce("a", COMPLETE));
    // Port 2 got hold of port 1's cookie: it is nobody with it.
    let stolen = talk.cookie(at(0), addr(1));
    for request in [announce("a", 9), Request::Cancel { fid: fid("a") }, Request::Leave] {
        let answer = talk.ask_with(at(0), addr(2), Some(&stolen), &request);
        assert!(matches!(answer, Response::NeedCookie(_)), "{answer:?}");
    }
    // With its own, it speaks for itself.
    talk.ask(at(0), addr(2), &Request::Cancel { fid: fid("a") });
    talk.ask(at(0), addr(2), &Request::Leave);
    assert_eq!(talk.ask(at(0), addr(3), &lookup("a")), listed(1, &[(1, COMPLETE)]));
}

#[test]
fn a_lease_ends_unless_refreshed_even_if_the_timer_is_late() {
    let mut talk = Talk::new();
    talk.ask(at(0), addr(1), &announce("a", COMPLETE));
    talk.ask(at(30), addr(1), &announce("a", COMPLETE));
    assert_eq!(talk.server.poll_timeout(), Some((at(120), "tracker: a lease ends")));
    assert_eq!(talk.ask(at(119), addr(2), &lookup("a")), listed(1, &[(1, COMPLETE)]));
    assert_eq!(talk.ask(at(120), addr(2), &lookup("a")), Response::Unknown { fid: fid("a") });
    assert_eq!((talk.server.counters().expired, talk.server.poll_timeout()), (1, None));
}

#[test]
fn a_file_is_found_by_its_name_until_its_last_holder_leaves() {
    let mut talk = Talk::new();
    let find = Request::Find { name: FileName::new("a").unwrap() };
    let nothing = Response::Found { total: 0, files: vec![] };
    assert_eq!(talk.ask(at(0), addr(1), &find), nothing);
    talk.ask(at(0), addr(1), &announce("a", COMPLETE));
    let Response::Found { total: 1, files } = talk.ask(at(0), addr(2), &find) else { panic!("not found") };
    assert_eq!((files[0].fid, files[0].size, files[0].holders), (fid("a"), 7, 1));
    assert_eq!(talk.ask(at(0), addr(1), &Request::Leave), Response::Done);
    assert_eq!(talk.ask(at(0), addr(2), &find), nothing);
}

#[test]
fn a_hostile_name_and_a_full_list_are_refused_with_the_reason() {
    let mut talk = Talk::with(Limits { per_address: 1, ..Limits::default() });
    talk.ask(at(0), addr(1), &announce("a", 1));
    assert_eq!(talk.ask(at(0), addr(1), &announce("b", 1)), Response::Refused(Refusal::AddressFull));

    let cookie = talk.cookie(at(0), addr(2));
    let mut datagram = Vec::new();
    Request::Find { name: FileName::new("xx").unwrap() }.encode(Transaction(9), Some(&cookie), &mut datagram);
    let end = datagram.len();
    datagram[end - 2..].copy_from_slice(b"..");
    packet::seal(&mut datagram);
    let replies = talk.send(at(0), addr(2), &datagram);
    assert_eq!(
        Response::decode(&replies[0][HEADER_LEN..]),
        Ok(Response::Refused(Refusal::Name)),
        "with two dots for a name"
    );
    assert_eq!(talk.server.counters().refused, 2);
}

#[test]
fn without_a_valid_cookie_no_more_bytes_leave_than_came_and_nothing_stays() {
    let stranger = CookieJar::new(&mut Rng::from_seed(99)).make(at(0), addr(1));
    let mut talk = Talk::new();
    let mut datagram = Vec::new();
    let real = [announce("a", 1), announce("", 1), lookup("a"), Request::Hello, Request::Leave];
    let more = [Request::Cancel { fid: fid("a") }, Request::Find { name: FileName::new("a").unwrap() }];
    for request in real.iter().chain(&more) {
        for cookie in [None, Some(&stranger)] {
            request.encode(Transaction(5), cookie, &mut datagram);
            let replies = talk.send(at(0), addr(1), &datagram);
            let out: usize = replies.iter().map(Vec::len).sum();
            assert_eq!(replies.len(), 1);
            assert!(out <= datagram.len(), "{request:?}: {out} B out, {} B in", datagram.len());
        }
    }
    assert_eq!((talk.state(), talk.server.poll_timeout()), ((0, 0), None));
}

#[test]
fn the_first_lookup_is_answered_at_once_in_no_more_bytes_than_it_has() {
    for (from, named) in [("10.0.0.1:0", 3), ("[2001:db8::1]:0", 1)] {
        let mut talk = Talk::new();
        let at_port = |port| SocketAddr::new(from.parse::<SocketAddr>().unwrap().ip(), port);
        assert!(matches!(talk.ask_with(at(0), at_port(1), None, &lookup("a")), Response::NeedCookie(_)));
        for port in 1..=40 {
            talk.ask(at(0), at_port(port), &announce("a", if port == 9 { COMPLETE } else { 1 }));
        }
        let mut datagram = Vec::new();
        lookup("a").encode(Transaction(5), None, &mut datagram);
        let asker = at_port(99);
        let [reply] = &talk.send(at(0), asker, &datagram)[..] else { panic!("not answered once") };
        assert!(reply.len() <= datagram.len(), "{} B out, {} B in", reply.len(), datagram.len());
        let Ok(Response::Introduction { cookie, total: 40, holders }) =
            Response::decode(&reply[HEADER_LEN..])
        else {
            panic!("no introduction: {reply:?}");
        };
        assert_eq!((holders.len(), holders[0].addr), (named, at_port(9)), "the complete one first");
        assert!(matches!(
            talk.ask_with(at(0), asker, Some(&cookie), &announce("a", 0)),
            Response::Holders { total: 41, .. }
        ));
        let stale = CookieJar::new(&mut Rng::from_seed(99)).make(at(0), asker);
        let answer = talk.ask_with(at(0), asker, Some(&stale), &lookup("a"));
        assert!(matches!(answer, Response::Introduction { .. }), "{answer:?}");
    }
}

#[test]
fn nobody_is_chosen_of_very_many_for_who_may_be_a_forger() {
    let mut talk = Talk::with(Limits { per_address: 2_000, ..Limits::default() });
    for host in 0..=MAX_INTRODUCED as u16 {
        let from = SocketAddr::from(([10, 1, (host >> 8) as u8, host as u8], 1));
        let answer = talk.ask_with(at(0), addr(1), None, &lookup("a"));
        assert_eq!(matches!(answer, Response::Introduction { .. }), host > 0, "of {host}");
        talk.ask(at(0), from, &announce("a", 1));
    }
    let answer = talk.ask_with(at(0), addr(1), None, &lookup("a"));
    assert!(matches!(answer, Response::NeedCookie(_)), "{answer:?}");
}

#[test]
fn crafted_datagrams_of_every_kind_and_length_are_not_amplified_either() {
    let mut talk = Talk::new();
    let mut datagram = Vec::new();
    let mut answered = 0;
    for kind in 0..=255 {
        for len in 0..120 {
            for fill in [0, 1, 0xff] {
                let header = packet::Header::oneshot(Transaction(len));
                packet::begin(&mut datagram, header);
                datagram.push(kind);
                datagram.resize(datagram.len() + len as usize, fill);
                packet::seal(&mut datagram);
                let out: usize = talk.send(at(0), addr(1), &datagram).iter().map(Vec::len).sum();
                assert!(out <= datagram.len(), "kind {kind}, {len} × {fill}: {out} B out");
                answered += usize::from(out > 0);
            }
        }
    }
    assert!(answered >= 6, "{answered} of them were requests");
    assert_eq!(talk.state(), (0, 0));
}

#[test]
fn noise_leaves_it_unmoved() {
    let mut talk = Talk::new();
    talk.ask(at(0), addr(1), &announce("a", COMPLETE));
    let (before, state) = (talk.server.counters(), talk.state());
    let mut rng = Rng::from_seed(4);
    for _ in 0..50_000 {
        let mut noise = vec![0; rng.index(200)];
        rng.fill(&mut noise);
        if rng.chance(0.5) && noise.len() >= HEADER_LEN {
            // Past the crc, into the decoder.
            noise[0] = packet::VERSION << 4 | Kind::Oneshot as u8;
            packet::seal(&mut noise);
        }
        talk.send(at(0), addr(rng.below(65_536) as u16), &noise);
    }
    let after = talk.server.counters();
    assert_eq!(after.received, before.received + 50_000);
    assert!(after.foreign > 20_000 && after.malformed > 20_000, "{after:?}");
    assert_eq!(after.granted, before.granted);
    assert_eq!(talk.state(), state);
    assert_eq!(talk.ask(at(0), addr(2), &lookup("a")), listed(1, &[(1, COMPLETE)]));
}

#[test]
fn an_answer_bounced_off_another_tracker_is_not_answered() {
    let mut talk = Talk::new();
    let mut hello = Vec::new();
    Request::Hello.encode(Transaction(1), None, &mut hello);
    let reply = talk.send(at(0), addr(1), &hello).remove(0);
    assert_eq!(Talk::new().send(at(0), addr(1), &reply), [] as [Vec<u8>; 0]);
}

#[test]
fn an_address_seen_mapped_into_ipv6_is_named_as_what_it_is() {
    let mut talk = Talk::new();
    talk.ask(at(0), "[::ffff:10.0.0.1]:1".parse().unwrap(), &announce("a", COMPLETE));
    assert_eq!(talk.ask(at(0), addr(2), &lookup("a")), listed(1, &[(1, COMPLETE)]));
    assert_eq!(talk.ask(at(0), addr(1), &lookup("a")), listed(1, &[]));
}

#[test]
fn the_largest_swarm_fills_one_datagram() {
    let mut talk = Talk::new();
    for host in 1..=100u16 {
        let from = SocketAddr::from(([0x2001, 0xdb8, host, 0, 0, 0, 0, 1], 1));
        talk.ask(at(0), from, &announce("a", host as u8));
    }
    let Response::Holders { total: 100, holders, .. } = talk.ask(at(0), addr(1), &lookup("a")) else {
        panic!("no holders");
    };
    assert_eq!(holders.len(), 30);
}
