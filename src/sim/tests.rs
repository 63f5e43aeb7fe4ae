//! The world against trivial machines, whose every arrival can be told in advance.

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use super::*;
use crate::machine::Machine;
use crate::rand::Rng;
use crate::time::{Clock, Duration, Instant};
use crate::units::Rate;

mod ahead;

/// Sends what it is told to, notes what comes, and may answer.
#[derive(Default)]
struct Probe {
    outbox: VecDeque<(SocketAddr, Vec<u8>)>,
    inbox: Vec<(Instant, SocketAddr, Vec<u8>)>,
    /// Sends each datagram back.
    echoes: bool,
    /// When to wake; doesn't move by itself if `stuck`.
    deadline: Option<Instant>,
    stuck: bool,
    /// Is set anew on every wake-up.
    period: Option<Duration>,
    woken: Vec<Instant>,
}

impl Probe {
    fn echo() -> Probe {
        Probe { echoes: true, ..Probe::default() }
    }

    fn send(&mut self, to: SocketAddr, len: usize, content: u8) {
        self.outbox.push_back((to, vec![content; len]));
    }

    /// The first byte of each datagram that came, with its arrival.
    fn arrivals(&self) -> Vec<(Instant, u8)> {
        self.inbox.iter().map(|(at, _, bytes)| (*at, bytes[0])).collect()
    }

    fn contents(&self) -> Vec<u8> {
        self.inbox.iter().map(|(_, _, bytes)| bytes[0]).collect()
    }
}

impl Machine for Probe {
    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.inbox.push((now, from, datagram.to_vec()));
        if self.echoes {
            self.outbox.push_back((from, datagram.to_vec()));
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.woken.push(now);
            if !self.stuck {
                self.deadline = self.period.map(|period| now + period);
            }
        }
    }

    fn poll_transmit(&mut self, _now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        let (to, datagram) = self.outbox.pop_front()?;
        buf.clear();
        buf.extend_from_slice(&datagram);
        Some(to)
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        Some((self.deadline?, "alarm clock"))
    }
}

fn at(millis: u64) -> Instant {
    Instant::ORIGIN + ms(millis)
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn addr(port: u16) -> SocketAddr {
    ([10, 0, 0, 1], port).into()
}

fn link(up: u64, down: u64, latency: Duration) -> LinkConfig {
    LinkConfig { up: Rate::new(up), down: Rate::new(down), latency, jitter: Duration::ZERO }
}

/// A world of two probes at ports 1 and 2.
fn pair(faults: Faults, a: LinkConfig, b: LinkConfig) -> (World<Probe>, NodeId, NodeId) {
    let mut world = World::new(1, faults);
    let a = world.add_node(addr(1), Probe::default(), a);
    let b = world.add_node(addr(2), Probe::default(), b);
    (world, a, b)
}

/// Sends `n` datagrams of 100 B, numbered from 0, from `from` to port 2.
fn send_numbered(world: &mut World<Probe>, from: NodeId, n: u8) {
    world.with_node(from, |probe, _| (0..n).for_each(|i| probe.send(addr(2), 100, i)));
}

#[test]
fn datagrams_arrive_by_the_bandwidth_law_of_both_ends_and_the_latency_between() {
    let (mut world, a, b) = pair(Faults::none(), link(1_000, 500, ms(5)), link(1_000, 500, ms(3)));
    send_numbered(&mut world, a, 3);
    world.run_until(at(10_000));
    // Up 100 ms each, across 8 ms, down 200 ms each: the downlink is never idle once it began.
    assert_eq!(world.node(b).arrivals(), [(at(308), 0), (at(508), 1), (at(708), 2)]);
    let (sent, received) = (world.stats(a), world.stats(b));
    assert_eq!((sent.datagrams_sent, sent.bytes_sent), (3, 300));
    assert_eq!((received.datagrams_received, received.bytes_received), (3, 300));
    assert_eq!((sent.busy_up, received.busy_down), (ms(300), ms(600)));
    assert_eq!((sent.max_queue_up, received.max_queue_down), (ms(300), ms(400)));
    assert_eq!(world.now(), at(10_000));
}

#[test]
fn an_echo_comes_back_after_both_ways() {
    let (mut world, a, b) = pair(Faults::none(), link(0, 0, ms(5)), link(0, 0, ms(3)));
    world.with_node(b, |probe, _| probe.echoes = true);
    send_numbered(&mut world, a, 1);
    let came_back = world.run_while(at(1_000), |world| world.node(a).inbox.is_empty());
    assert!(came_back);
    assert_eq!(world.node(a).inbox, [(at(16), addr(2), vec![0; 100])]);
    assert_eq!(world.now(), at(16));
    assert!(!world.run_while(at(1_000), |world| world.node(a).inbox.len() < 2));
    assert_eq!(world.now(), at(1_000));
}

/// Eight nodes with shaped links that echo for five seconds, through `faults`.
fn chatter(seed: u64, faults: Faults) -> World<Probe> {
    let mut world = World::new(seed, faults);
    for port in 0..8 {
        let config = LinkConfig { jitter: ms(4), ..link(50_000, 80_000, ms(10)) };
        world.add_node(addr(port), Probe::echo(), config);
    }
    let mut rng = world.fork_rng();
    for id in world.node_ids() {
        world.with_node(id, |probe, _| {
            for _ in 0..20 {
                probe.send(addr(rng.below(8) as u16), 1 + rng.index(1_400), rng.u32() as u8);
            }
        });
    }
    world.run_until(at(5_000));
    world
}

fn bad_network() -> Faults {
    Faults { loss: 0.02, duplication: 0.02, corruption: 0.02, reordering: 0.1, ..Faults::none() }
}

#[test]
fn one_seed_is_one_history() {
    let hash = chatter(1, bad_network()).trace_hash();
    assert_eq!(chatter(1, bad_network()).trace_hash(), hash);
    assert_ne!(chatter(2, bad_network()).trace_hash(), hash);
    let other = Faults { corruption: 0.0, ..bad_network() };
    assert_ne!(chatter(1, other).trace_hash(), hash);
}

#[test]
fn every_datagram_is_accounted_for() {
    let mut world = chatter(1, bad_network());
    for id in world.node_ids() {
        world.with_node(id, |probe, _| probe.echoes = false);
    }
    world.crash(NodeId(3));
    while world.step() {}
    assert_eq!(world.datagrams_under_way(), 0);
    let sum = |what: fn(LinkStats) -> u64| world.node_ids().map(|id| what(world.stats(id))).sum::<u64>();
    let in_ = sum(|stats| stats.datagrams_sent + stats.duplicated);
    let out = sum(|stats| stats.datagrams_received + stats.lost + stats.unreachable + stats.overflowed);
    assert_eq!(in_, out);
    let each: [fn(LinkStats) -> u64; 5] = [
        |stats| stats.lost,
        |stats| stats.duplicated,
        |stats| stats.corrupted,
        |stats| stats.reordered,
        |stats| stats.unreachable,
    ];
    for what in each {
        assert!(sum(what) > 5, "{}", sum(what));
    }
}

#[test]
fn loss_and_copies_show_at_the_receiver_as_often_as_they_are_said_to() {
    let faults = Faults { loss: 0.2, duplication: 0.1, ..Faults::none() };
    let (mut world, a, b) = pair(faults, LinkConfig::default(), LinkConfig::default());
    world.with_node(a, |probe, _| (0..10_000).for_each(|_| probe.send(addr(2), 10, 0)));
    while world.step() {}
    let arrived = world.node(b).inbox.len();
    assert!((8_600..9_000).contains(&arrived), "{arrived}");
    let stats = world.stats(a);
    assert_eq!(arrived as u64, 10_000 - stats.lost + stats.duplicated);
}

#[test]
fn corruption_changes_one_byte() {
    let (mut world, a, b) = pair(
        Faults { corruption: 1.0, corruption_fixes_crc: 0.0, ..Faults::none() },
        LinkConfig::default(),
        LinkConfig::default(),
    );
    send_numbered(&mut world, a, 1);
    while world.step() {}
    let changed = world.node(b).inbox[0].2.iter().filter(|&&byte| byte != 0).count();
    assert_eq!((changed, world.stats(a).corrupted), (1, 1));
}

#[test]
fn reordering_lets_others_overtake_by_no_more_than_its_delay() {
    let faults = Faults { reordering: 0.3, delay: ms(50)..=ms(50), ..Faults::none() };
    let (mut world, a, b) = pair(faults, link(10_000, 0, ms(1)), link(0, 0, ms(1)));
    send_numbered(&mut world, a, 100);
    while world.step() {}
    let probe = world.node(b);
    assert!(!probe.contents().is_sorted());
    let late = probe
        .arrivals()
        .iter()
        .filter(|&&(when, i)| {
            let undisturbed = at(10 * (u64::from(i) + 1) + 2);
            assert!(when == undisturbed || when == undisturbed + ms(50), "{i} came at {when:?}");
            when > undisturbed
        })
        .count();
    assert_eq!(world.stats(a).reordered, late as u64);
    assert!((15..45).contains(&late), "{late}");
}

#[test]
fn jitter_bends_arrivals_and_keeps_their_order() {
    let config = LinkConfig { jitter: ms(15), ..link(10_000, 0, ms(1)) };
    let (mut world, a, b) = pair(Faults::none(), config, config);
    send_numbered(&mut world, a, 200);
    while world.step() {}
    assert!(world.node(b).contents().is_sorted());
    let delays: Vec<Duration> = world
        .node(b)
        .arrivals()
        .iter()
        .map(|&(when, i)| when.since(at(10 * (u64::from(i) + 1) + 2)))
        .collect();
    assert!(delays.iter().all(|&delay| delay <= ms(30)));
    assert!(delays.iter().any(|&delay| delay < ms(5)) && delays.iter().any(|&delay| delay > ms(25)));
}

#[test]
fn a_new_rate_holds_for_what_is_queued() {
    let (mut world, a, b) = pair(Faults::none(), link(1_000, 0, ms(1)), link(0, 1_000, ms(1)));
    send_numbered(&mut world, a, 3);
    world.schedule(at(50), move |world| world.set_rates(a, Rate::new(100), Rate::UNLIMITED));
    world.schedule(at(600), move |world| world.set_rates(a, Rate::UNLIMITED, Rate::UNLIMITED));
    world.schedule(at(1_000), move |world| world.set_rates(b, Rate::UNLIMITED, Rate::UNLIMITED));
    world.run_until(at(2_000));
    // The first leaves half at 1,000 and half at 100 B/s; the others at once when the limit goes.
    assert_eq!(world.node(b).arrivals(), [(at(652), 0), (at(752), 1), (at(852), 2)]);
}

#[test]
fn a_slower_rate_delays_what_is_queued() {
    let (mut world, a, b) = pair(Faults::none(), link(1_000, 0, ms(1)), link(0, 0, ms(1)));
    send_numbered(&mut world, a, 2);
    world.run_until(at(150));
    world.set_rates(a, Rate::new(10), Rate::UNLIMITED);
    assert_eq!(world.stats(a).max_queue_up, ms(5_000));
    world.run_until(at(10_000));
    assert_eq!(world.node(b).arrivals(), [(at(102), 0), (at(5_152), 1)]);
}

#[test]
fn a_full_downlink_drops_at_the_tail() {
    let (mut world, a, b) = pair(Faults::none(), link(0, 0, ms(1)), link(0, 1_000_000, ms(1)));
    world.with_node(a, |probe, _| (0..70).for_each(|i| probe.send(addr(2), 1 << 20, i)));
    world.run_until(at(100_000));
    assert_eq!(world.node(b).contents(), (0..64).collect::<Vec<u8>>());
    assert_eq!(world.stats(b).overflowed, 6);
}

#[test]
fn a_crash_loses_what_waits_and_lets_arrive_what_has_left() {
    let (mut world, a, b) = pair(Faults::none(), link(1_000, 0, ms(100)), link(0, 0, ms(100)));
    world.with_node(a, |probe, _| probe.deadline = Some(at(200)));
    send_numbered(&mut world, a, 3);
    world.run_until(at(150));
    world.crash(a);
    world.crash(a);
    assert!(!world.is_alive(a));
    world.with_node(b, |probe, _| probe.send(addr(1), 100, 9));
    world.run_until(at(1_000));
    assert_eq!(world.node(b).arrivals(), [(at(300), 0)]);
    assert_eq!((world.stats(a).crashed, world.stats(b).unreachable), (2, 1));
    assert!(world.node(a).inbox.is_empty() && world.node(a).woken.is_empty());
    assert_eq!(world.datagrams_under_way(), 0);
}

#[test]
fn a_crash_loses_what_waits_in_the_downlink() {
    let (mut world, a, b) = pair(Faults::none(), link(0, 0, ms(1)), link(0, 1_000, ms(1)));
    send_numbered(&mut world, a, 3);
    world.run_until(at(150));
    world.crash(b);
    world.run_until(at(1_000));
    assert_eq!(world.node(b).contents(), [0]);
    assert_eq!((world.stats(a).unreachable, world.datagrams_under_way()), (2, 0));
}

#[test]
fn a_restarted_node_starts_afresh_and_gets_what_was_under_way() {
    let (mut world, a, b) = pair(Faults::none(), link(1_000, 0, ms(100)), link(0, 0, ms(100)));
    send_numbered(&mut world, a, 3);
    world.run_until(at(110));
    world.restart(b, Probe { deadline: Some(at(400)), ..Probe::default() });
    world.restart(a, Probe { outbox: [(addr(2), vec![7; 100])].into(), ..Probe::default() });
    world.run_until(at(1_000));
    // Number 1 was on the link since 100 ms; the new machine finds the link free.
    assert_eq!(world.node(b).arrivals(), [(at(300), 0), (at(410), 7)]);
    assert_eq!(world.node(b).woken, [at(400)]);
}

#[test]
fn a_partition_is_one_way_and_ends() {
    let (mut world, a, b) = pair(Faults::none(), link(1_000, 0, ms(1)), link(0, 0, ms(1)));
    world.partition(a, b, at(250));
    send_numbered(&mut world, a, 4);
    world.with_node(b, |probe, _| probe.send(addr(1), 1, 9));
    world.run_until(at(1_000));
    assert_eq!(world.node(b).arrivals(), [(at(302), 2), (at(402), 3)]);
    assert_eq!(world.node(a).contents(), [9]);
    assert_eq!(world.stats(a).lost, 2);
}

#[test]
fn a_clog_holds_both_directions_and_lets_go_at_once_in_order() {
    let (mut world, a, b) = pair(Faults::none(), link(1_000, 0, ms(1)), link(0, 0, ms(1)));
    world.clog(a, at(250));
    world.clog(a, at(350));
    world.clog(a, at(10));
    send_numbered(&mut world, a, 5);
    world.with_node(b, |probe, _| (0..3).for_each(|i| probe.send(addr(1), 1, i)));
    world.run_until(at(349));
    assert!(world.node(a).inbox.is_empty() && world.node(b).inbox.is_empty());
    world.run_until(at(1_000));
    let (late, on_time) = (at(352), [(at(402), 3), (at(502), 4)]);
    assert_eq!(world.node(b).arrivals()[..3], [(late, 0), (late, 1), (late, 2)]);
    assert_eq!(world.node(b).arrivals()[3..], on_time);
    assert_eq!(world.node(a).arrivals(), [(at(350), 0), (at(350), 1), (at(350), 2)]);
}

#[test]
fn what_leaves_as_a_clog_ends_stays_behind_what_it_held() {
    let (mut world, a, b) = pair(Faults::none(), link(1_000, 0, ms(1)), link(0, 0, ms(1)));
    world.clog(a, at(150));
    send_numbered(&mut world, a, 2);
    // Prolonged to the very instant for which the second departure is scheduled already.
    world.schedule(at(120), move |world| world.clog(a, at(200)));
    world.run_until(at(1_000));
    assert_eq!(world.node(b).arrivals(), [(at(202), 0), (at(202), 1)]);
}

#[test]
fn a_crash_loses_what_a_clog_held() {
    let (mut world, a, b) = pair(Faults::none(), link(0, 0, ms(1)), link(0, 0, ms(1)));
    world.clog(a, at(100));
    send_numbered(&mut world, a, 2);
    world.with_node(b, |probe, _| probe.send(addr(1), 1, 0));
    world.run_until(at(50));
    world.crash(a);
    world.run_until(at(1_000));
    assert!(world.node(a).inbox.is_empty() && world.node(b).inbox.is_empty());
    assert_eq!((world.stats(a).crashed, world.stats(b).unreachable), (2, 1));
}

#[test]
fn after_healing_everything_arrives() {
    let (mut world, a, b) =
        pair(Faults { loss: 1.0, ..Faults::none() }, link(0, 0, ms(1)), link(0, 0, ms(1)));
    world.partition(a, b, at(10_000));
    world.set_filter(|_, _, _, _| false);
    send_numbered(&mut world, a, 1);
    world.clog(a, at(10_000));
    world.with_node(a, |probe, _| probe.send(addr(2), 1, 1));
    world.run_until(at(100));
    world.heal();
    world.with_node(a, |probe, _| probe.send(addr(2), 1, 2));
    world.run_until(at(200));
    assert_eq!(world.node(b).arrivals(), [(at(102), 1), (at(102), 2)]);
}

#[test]
fn a_filter_loses_what_it_refuses() {
    let (mut world, a, b) = pair(Faults::none(), LinkConfig::default(), LinkConfig::default());
    world.set_filter(move |_, from, to, bytes| (from, to) != (a, b) || bytes[0] != 1);
    send_numbered(&mut world, a, 3);
    while world.step() {}
    assert_eq!(world.node(b).contents(), [0, 2]);
}

#[test]
fn a_node_that_moved_is_found_only_at_its_new_address() {
    let (mut world, a, b) = pair(Faults::none(), link(0, 0, ms(1)), link(0, 0, ms(1)));
    send_numbered(&mut world, a, 1);
    world.set_addr(b, addr(3));
    world.with_node(a, |probe, _| {
        probe.send(addr(2), 1, 1);
        probe.send(addr(3), 1, 2);
    });
    world.with_node(b, |probe, _| probe.send(addr(1), 1, 3));
    while world.step() {}
    assert_eq!(world.node(b).contents(), [2]);
    assert_eq!(world.node(a).inbox, [(at(2), addr(3), vec![3])]);
    assert_eq!(world.stats(a).unreachable, 2);
}

#[test]
fn a_timer_wakes_at_its_deadline_and_nothing_wakes_at_one_that_moved() {
    let (mut world, a, b) = pair(Faults::none(), LinkConfig::default(), LinkConfig::default());
    let set = |world: &mut World<Probe>, id, deadline| {
        world.with_node(id, |probe, _| probe.deadline = deadline);
    };
    set(&mut world, a, Some(at(100)));
    set(&mut world, a, Some(at(300)));
    set(&mut world, b, Some(at(100)));
    set(&mut world, b, Some(at(50)));
    world.run_until(at(200));
    set(&mut world, b, Some(at(400)));
    set(&mut world, b, None);
    world.run_until(at(1_000));
    assert_eq!(world.node(a).woken, [at(300)]);
    assert_eq!(world.node(b).woken, [at(50)]);
    set(&mut world, a, Some(at(10)));
    world.run_until(at(1_000));
    assert_eq!(world.node(a).woken, [at(300), at(1_000)]);
}

#[test]
fn timers_that_alternate_between_near_and_far_leave_the_event_queue_short() {
    let (mut world, a, _) = pair(Faults::none(), LinkConfig::default(), LinkConfig::default());
    for i in 0..1_000 {
        world.with_node(a, |probe, now| probe.deadline = Some(now + ms(120_000)));
        world.with_node(a, |probe, now| probe.deadline = Some(now + ms(1)));
        world.run_until(at(i + 1));
    }
    assert_eq!(world.node(a).woken.len(), 1_000);
    assert!(world.pending_events() <= 2, "{}", world.pending_events());
}

#[test]
#[should_panic(expected = "NodeId(0) (10.0.0.1:1) spins at 0.005000s: its timer for `alarm clock` stays due")]
fn a_machine_that_spins_is_named() {
    let (mut world, a, _) = pair(Faults::none(), LinkConfig::default(), LinkConfig::default());
    world.with_node(a, |probe, _| (probe.deadline, probe.stuck) = (Some(at(5)), true));
    world.run_until(at(10));
}

#[test]
fn actions_happen_in_time_and_in_the_order_of_scheduling() {
    let (mut world, _, _) = pair(Faults::none(), LinkConfig::default(), LinkConfig::default());
    let order = Rc::new(Cell::new(0));
    for (time, digit) in [(20, 3), (10, 1), (20, 4), (10, 2)] {
        let order = Rc::clone(&order);
        world.schedule(at(time), move |world| {
            assert_eq!(world.now(), at(time));
            order.set(order.get() * 10 + digit);
        });
    }
    world.run_until(at(10));
    assert_eq!(order.get(), 12);
    world.run_until(at(20));
    assert_eq!(order.get(), 1_234);
}

#[test]
fn machines_draw_the_same_whatever_the_faults() {
    let draw = |faults| {
        let (mut world, a, _) = pair(faults, LinkConfig::default(), LinkConfig::default());
        send_numbered(&mut world, a, 100);
        while world.step() {}
        world.fork_rng().u64()
    };
    assert_eq!(draw(Faults::none()), draw(Faults::random(&mut Rng::from_seed(1))));
}

/// Passes every datagram on to the next node of a ring, and keeps nothing.
struct Relay {
    next: SocketAddr,
    datagram: Vec<u8>,
    waiting: u32,
}

impl Machine for Relay {
    fn handle_datagram(&mut self, _now: Instant, _from: SocketAddr, _datagram: &[u8]) {
        self.waiting += 1;
    }

    fn handle_timeout(&mut self, _now: Instant) {}

    fn poll_transmit(&mut self, _now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        self.waiting = self.waiting.checked_sub(1)?;
        buf.clear();
        buf.extend_from_slice(&self.datagram);
        Some(self.next)
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        None
    }
}

/// Datagrams per second of real time in a ring of 1,000 nodes, 16 datagrams of 1,200 B under way at each.
fn ring_speed(link: LinkConfig, faults: Faults) -> f64 {
    let mut world = World::new(1, faults);
    for port in 0..1_000 {
        let relay = Relay { next: addr((port + 1) % 1_000), datagram: vec![7; 1_200], waiting: 16 };
        world.add_node(addr(port), relay, link);
    }
    let clock = Clock::new();
    let start = clock.now();
    let mut events = 0u64;
    while events < 4_000_000 && world.step() {
        events += 1;
    }
    let elapsed = clock.now().since(start).as_secs_f64();
    let delivered: u64 = world.node_ids().map(|id| world.stats(id).datagrams_received).sum();
    println!(
        "{link:?}: {:.2} M events/s, {:.2} M datagrams/s",
        4.0 / elapsed,
        delivered as f64 / elapsed / 1e6
    );
    delivered as f64 / elapsed
}

#[test]
#[ignore = "measures; run it with --release --nocapture"]
fn speed() {
    let shaped = link(10_000_000, 10_000_000, ms(10));
    for config in [LinkConfig::default(), shaped, LinkConfig { jitter: ms(1), ..shaped }] {
        assert!(ring_speed(config, Faults::none()) > 100_000.0);
    }
    let faults =
        Faults { duplication: 0.05, loss: 0.05, reordering: 0.1, corruption: 0.01, ..Faults::none() };
    assert!(ring_speed(shaped, faults) > 100_000.0);
}
