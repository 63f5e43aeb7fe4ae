//! The announcer in dialogue with a server next to it: what is asked when, and what answers do. No link between them.

use super::*;
use crate::machine::Machine;
use crate::rudp::packet;
use crate::tracker::protocol::COMPLETE;
use crate::tracker::registry::Limits;
use crate::tracker::server::Server;
use crate::units::Rate;

fn at(millis: u64) -> Instant {
    Instant::ORIGIN + Duration::from_secs(1_000) + Duration::from_millis(millis)
}

fn fid(text: &str) -> Fid {
    Fid::of(text.as_bytes())
}

const TRACKER: &str = "10.0.0.100:10086";

/// An announcer and its tracker, one address apart and no time.
struct Pair {
    announcer: Announcer,
    server: Server,
    here: SocketAddr,
    reachable: bool,
    sent: usize,
}

impl Pair {
    fn new() -> Pair {
        Pair {
            announcer: Announcer::new(TRACKER.parse().unwrap(), Rng::from_seed(1)),
            server: server(2),
            here: "10.0.0.1:1".parse().unwrap(),
            reachable: true,
            sent: 0,
        }
    }

    /// Carries datagrams both ways until neither side has any.
    fn exchange(&mut self, now: Instant) {
        let (mut buf, mut reply) = (Vec::new(), Vec::new());
        while let Some(to) = self.announcer.poll_transmit(now, &mut buf) {
            assert_eq!(to, self.announcer.tracker());
            self.sent += 1;
            if !self.reachable {
                continue;
            }
            self.server.handle_datagram(now, self.here, &buf);
            while let Some(to) = self.server.poll_transmit(now, &mut reply) {
                assert_eq!(to, self.here);
                let (header, body) = packet::open(&reply).unwrap();
                self.announcer.handle_oneshot(now, self.announcer.tracker(), header, body);
            }
        }
    }

    /// Lets time pass until `end`, with a stop at each deadline; says when something was sent, ms after 1,000 s.
    fn run_until(&mut self, end: Instant) -> Vec<u128> {
        let mut sent_at = Vec::new();
        while let Some((due, _)) = self.announcer.poll_timeout().filter(|(due, _)| *due <= end) {
            let before = self.sent;
            self.announcer.handle_timeout(due);
            self.exchange(due);
            if self.sent > before {
                sent_at.push(due.since(at(0)).as_millis());
            }
        }
        self.server.handle_timeout(end);
        sent_at
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.announcer.poll_event()).collect()
    }

    fn announce(&mut self, now: Instant, text: &str) {
        self.announcer.announce(now, fid(text), FileName::new(text).ok(), 7, 0, 30);
    }
}

fn server(seed: u64) -> Server {
    Server::new(Rng::from_seed(seed), Rate::UNLIMITED, Limits::default())
}

fn confirmed(text: &str, total: u32, holders: Vec<Holder>) -> [Event; 2] {
    let fid = fid(text);
    [Event::Confirmed { fid }, Event::Holders { fid, total, holders }]
}

#[test]
fn an_announcement_takes_two_exchanges_and_is_refreshed_within_a_third_of_the_lease() {
    let mut pair = Pair::new();
    pair.announce(at(0), "a");
    pair.exchange(at(0));
    assert_eq!(pair.events(), confirmed("a", 1, vec![]));
    assert_eq!((pair.sent, pair.server.counters().granted), (2, 1));
    let refreshes = pair.run_until(at(95_000));
    assert!(matches!(refreshes[..], [27_000..=30_000, 54_000..=60_000, 81_000..=90_000]), "{refreshes:?}");
    assert_eq!(
        pair.events(),
        [confirmed("a", 1, vec![]), confirmed("a", 1, vec![]), confirmed("a", 1, vec![])].concat()
    );
    assert_eq!(pair.sent, 5, "one datagram a refresh: the cookie is good for 120 s");
    pair.run_until(at(1_000_000));
    assert_eq!((pair.server.registry().holdings(), pair.server.counters().expired), (1, 0));
}

#[test]
fn progress_is_told_by_the_next_refresh_and_not_before() {
    let mut pair = Pair::new();
    pair.announce(at(0), "a");
    pair.exchange(at(0));
    pair.announcer.set_progress(fid("a"), COMPLETE);
    pair.exchange(at(1));
    assert_eq!(pair.sent, 2);
    pair.run_until(at(30_000));
    let listed: Vec<Holder> = pair.server.registry().holders(fid("a")).unwrap().collect();
    assert_eq!(listed, [Holder { addr: pair.here, progress: COMPLETE }]);
}

#[test]
fn more_holders_come_on_request_at_most_once_a_second() {
    let mut pair = Pair::new();
    pair.announce(at(0), "a");
    pair.exchange(at(0));
    for millis in (0..10_000).step_by(10) {
        pair.announcer.request_holders(at(millis), fid("a"));
        pair.run_until(at(millis));
    }
    assert_eq!(pair.sent, 2 + 9);
    assert_eq!(pair.events().len(), 2 + 2 * 9);
}

#[test]
fn a_silent_tracker_is_asked_for_ever_and_how_long_it_is_silent_can_be_read() {
    let mut pair = Pair::new();
    pair.reachable = false;
    assert_eq!(pair.announcer.unanswered_since(), None);
    pair.announce(at(0), "a");
    assert_eq!(pair.run_until(at(62_000)), [0, 500, 1_500, 3_500, 7_500, 15_500, 30_500, 45_500, 60_500]);
    assert_eq!(pair.announcer.unanswered_since(), Some(at(0)));
    assert_eq!(pair.events(), []);
    pair.reachable = true;
    assert_eq!(pair.run_until(at(76_000)), [75_500]);
    assert_eq!(pair.events(), confirmed("a", 1, vec![]));
    assert_eq!(pair.announcer.unanswered_since(), None);
}

#[test]
fn a_tracker_restarted_with_no_memory_is_whole_again_within_one_refresh() {
    let mut pair = Pair::new();
    for text in ["a", "b", "c"] {
        pair.announce(at(0), text);
    }
    pair.run_until(at(1_000));
    assert_eq!(pair.server.registry().holdings(), 3);
    pair.events();
    pair.server = server(77);
    pair.run_until(at(1_000 + 30_000));
    assert_eq!(pair.server.registry().holdings(), 3);
    assert_eq!(
        pair.server.counters().unproven,
        1,
        "the old cookie is refused once, then the new one is used"
    );
    assert!(
        pair.events().iter().all(|event| matches!(event, Event::Confirmed { .. } | Event::Holders { .. }))
    );
}

#[test]
fn a_lookup_and_a_find_are_answered_once() {
    let mut pair = Pair::new();
    let name = FileName::new("a").unwrap();
    pair.announcer.lookup(at(0), fid("a"));
    pair.announcer.find(at(0), name.clone());
    pair.run_until(at(60_000));
    let none = Event::Found { name: name.clone(), total: 0, files: vec![] };
    assert_eq!(pair.events(), [Event::Unknown { fid: fid("a") }, none]);

    pair.announce(at(60_000), "a");
    pair.exchange(at(60_000));
    pair.events();
    pair.announcer.lookup(at(60_001), fid("a"));
    pair.announcer.find(at(60_001), name.clone());
    pair.run_until(at(61_000));
    let found = FoundFile { fid: fid("a"), size: 7, holders: 1 };
    assert_eq!(
        pair.events(),
        [
            Event::Holders { fid: fid("a"), total: 1, holders: vec![] },
            Event::Found { name, total: 1, files: vec![found] }
        ]
    );
}

#[test]
fn a_first_lookup_takes_one_round_trip_and_brings_the_cookie() {
    let mut pair = Pair::new();
    pair.announce(at(0), "a");
    pair.exchange(at(0));
    let holder = Holder { addr: pair.here, progress: 0 };
    (pair.announcer, pair.here) =
        (Announcer::new(TRACKER.parse().unwrap(), Rng::from_seed(3)), "10.0.0.2:1".parse().unwrap());
    pair.announcer.lookup(at(1), fid("a"));
    pair.exchange(at(1));
    assert_eq!(pair.events(), [Event::Holders { fid: fid("a"), total: 1, holders: vec![holder] }]);
    pair.announce(at(2), "a");
    pair.exchange(at(2));
    assert_eq!(pair.events(), confirmed("a", 2, vec![holder]));
    assert_eq!(pair.sent, 4, "the first announcement with a hello, the lookup and the second without");
}

#[test]
fn a_question_given_up_is_not_repeated() {
    let mut pair = Pair::new();
    pair.reachable = false;
    let name = FileName::new("a").unwrap();
    pair.announcer.lookup(at(0), fid("a"));
    pair.announcer.find(at(0), name.clone());
    pair.run_until(at(1_000));
    pair.announcer.stop_lookup(fid("a"));
    pair.announcer.stop_find(&name);
    assert_eq!((pair.announcer.poll_timeout(), pair.announcer.unanswered_since()), (None, None));
}

#[test]
fn what_is_cancelled_is_withdrawn_and_no_longer_announced() {
    let mut pair = Pair::new();
    pair.announce(at(0), "a");
    pair.announce(at(0), "b");
    pair.run_until(at(100));
    pair.events();
    pair.announcer.cancel(at(200), fid("a"));
    pair.exchange(at(200));
    assert_eq!(pair.events(), [Event::Cancelled { fid: fid("a") }]);
    pair.run_until(at(40_000));
    assert_eq!(pair.events(), confirmed("b", 1, vec![]));
    assert!(pair.server.registry().holders(fid("a")).is_none());
    pair.announcer.cancel(at(40_000), fid("never announced"));
    pair.exchange(at(40_000));
    assert_eq!(pair.events(), [Event::Cancelled { fid: fid("never announced") }]);
}

#[test]
fn who_leaves_is_withdrawn_everywhere_and_falls_silent() {
    let mut pair = Pair::new();
    pair.announce(at(0), "a");
    pair.announce(at(0), "b");
    pair.run_until(at(100));
    pair.events();
    pair.announcer.leave(at(200));
    pair.exchange(at(200));
    assert_eq!((pair.events(), pair.server.registry().holdings()), (vec![Event::Left], 0));
    assert_eq!(pair.announcer.poll_timeout(), None);
    pair.announcer.leave(at(300));
    pair.exchange(at(300));
    assert_eq!((pair.events(), pair.sent), (vec![Event::Left], 4), "nothing to withdraw: no datagram");
}

#[test]
fn a_withdrawal_that_is_never_answered_ends_with_the_lease() {
    let mut pair = Pair::new();
    pair.announce(at(0), "a");
    pair.exchange(at(0));
    pair.events();
    pair.reachable = false;
    pair.announcer.cancel(at(1_000), fid("a"));
    pair.run_until(at(90_999));
    assert_eq!(pair.events(), []);
    pair.run_until(at(91_000));
    assert_eq!(pair.events(), [Event::Cancelled { fid: fid("a") }]);
    assert_eq!(pair.announcer.poll_timeout(), None);
}

#[test]
fn announcing_again_calls_a_withdrawal_off() {
    let mut pair = Pair::new();
    pair.announce(at(0), "a");
    pair.exchange(at(0));
    pair.events();
    pair.reachable = false;
    pair.announcer.cancel(at(100), fid("a"));
    pair.exchange(at(100));
    pair.announce(at(200), "a");
    pair.reachable = true;
    pair.run_until(at(100_000));
    assert_eq!((pair.server.registry().holdings(), pair.server.counters().expired), (1, 0));
    assert!(!pair.events().contains(&Event::Cancelled { fid: fid("a") }));
}

#[test]
fn a_refused_announcement_is_told_and_tried_again_later() {
    let mut pair = Pair::new();
    pair.server = Server::new(
        Rng::from_seed(3),
        Rate::UNLIMITED,
        Limits { per_address: 1, lease: Duration::from_secs(20), ..Limits::default() },
    );
    pair.announce(at(0), "a");
    pair.announce(at(0), "b");
    pair.run_until(at(1_000));
    let refused = Event::Refused { fid: fid("b"), refusal: Refusal::AddressFull };
    assert_eq!(pair.events(), [&confirmed("a", 1, vec![])[..], &[refused]].concat());
    pair.announcer.cancel(at(2_000), fid("a"));
    pair.run_until(at(31_000));
    assert_eq!(
        pair.events(),
        [&[Event::Cancelled { fid: fid("a") }], &confirmed("b", 1, vec![])[..]].concat()
    );
}

/// The datagrams that the announcer sends now, and for each what `server` answers.
fn ask(announcer: &mut Announcer, server: &mut Server, now: Instant) -> Vec<Vec<u8>> {
    let (mut buf, mut reply, mut replies) = (Vec::new(), Vec::new(), Vec::new());
    while announcer.poll_transmit(now, &mut buf).is_some() {
        server.handle_datagram(now, "10.0.0.1:1".parse().unwrap(), &buf);
        while server.poll_transmit(now, &mut reply).is_some() {
            replies.push(reply.clone());
        }
    }
    replies
}

#[test]
fn answers_of_strangers_late_answers_and_repeated_ones_change_nothing() {
    let (mut server, tracker) = (server(5), TRACKER.parse().unwrap());
    let mut announcer = Announcer::new(tracker, Rng::from_seed(6));
    announcer.announce(at(0), fid("a"), None, 7, 0, 30);
    let cookie = ask(&mut announcer, &mut server, at(0)).remove(0);
    let (header, body) = packet::open(&cookie).unwrap();
    // Of another port, of another transaction, cut.
    assert!(!announcer.handle_oneshot(at(1), "10.0.0.100:10087".parse().unwrap(), header, body));
    let other = Header::oneshot(Transaction(header.transaction().0 ^ 1));
    assert!(!announcer.handle_oneshot(at(1), tracker, other, body));
    assert!(!announcer.handle_oneshot(at(1), tracker, header, &body[1..]));
    assert_eq!(ask(&mut announcer, &mut server, at(1)).len(), 0);
    // The right one.
    assert!(announcer.handle_oneshot(at(1), "[::ffff:10.0.0.100]:10086".parse().unwrap(), header, body));
    let holders = ask(&mut announcer, &mut server, at(1)).remove(0);
    // The cookie once more: no circle of questions.
    announcer.handle_oneshot(at(2), tracker, header, body);
    assert_eq!(ask(&mut announcer, &mut server, at(2)).len(), 0);
    // An answer to a question of another kind.
    let mut done = Vec::new();
    Response::Done.encode(header.transaction(), &mut done);
    let (header, body) = packet::open(&done).unwrap();
    assert!(!announcer.handle_oneshot(at(2), tracker, header, body));
    // The answer, twice.
    let (header, body) = packet::open(&holders).unwrap();
    assert!(announcer.handle_oneshot(at(3), tracker, header, body));
    assert!(!announcer.handle_oneshot(at(3), tracker, header, body));
    let events: Vec<Event> = std::iter::from_fn(|| announcer.poll_event()).collect();
    assert_eq!(events, confirmed("a", 1, vec![]));
    // And an answer that comes after the cancel.
    announcer.request_holders(at(2_000), fid("a"));
    let late = ask(&mut announcer, &mut server, at(2_000)).remove(0);
    announcer.cancel(at(2_001), fid("a"));
    let (header, body) = packet::open(&late).unwrap();
    assert!(!announcer.handle_oneshot(at(2_002), tracker, header, body));
    assert_eq!(announcer.poll_event(), None);
}

#[test]
fn a_thousand_files_are_announced_at_ten_kilobytes_a_second() {
    let mut pair = Pair::new();
    for number in 0..1_000 {
        pair.announce(at(0), &number.to_string());
    }
    pair.run_until(at(1_000));
    assert_eq!(pair.server.registry().holdings(), 101);
    pair.run_until(at(10_000));
    assert_eq!(pair.server.registry().holdings(), 1_000);
}

/// When the announcement is repeated if the tracker names a lease of `lease_seconds`.
fn refreshed_after(lease_seconds: u16) -> Instant {
    let tracker = TRACKER.parse().unwrap();
    let mut announcer = Announcer::new(tracker, Rng::from_seed(8));
    announcer.announce(at(0), fid("a"), None, 7, 0, 30);
    let mut buf = Vec::new();
    announcer.poll_transmit(at(0), &mut buf).unwrap();
    let (header, _) = packet::open(&buf).unwrap();
    let mut reply = Vec::new();
    Response::Holders { lease_seconds, total: 1, holders: vec![] }.encode(header.transaction(), &mut reply);
    let (header, body) = packet::open(&reply).unwrap();
    assert!(announcer.handle_oneshot(at(10), tracker, header, body));
    announcer.poll_timeout().unwrap().0
}

#[test]
fn a_tracker_is_neither_flooded_nor_forgotten_whatever_lease_it_names() {
    assert!(refreshed_after(0) >= at(1_800));
    assert!(refreshed_after(u16::MAX) <= at(60_010));
}
