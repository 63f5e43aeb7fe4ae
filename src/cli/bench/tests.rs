//! Messages; and measurements in a simulated world, where what is true of a path is known.

use std::net::SocketAddr;

use swarmcast::coding::Malformed;
use swarmcast::rudp::{CloseReason, Config};
use swarmcast::sim::{Faults, LinkConfig, NodeId, World};
use swarmcast::time::{Duration, Instant};
use swarmcast::units::Rate;

use super::message::{Message, Received};
use super::probe::{Measured, Note, PathProbe};

fn addr(node: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, node], 7_000))
}

/// A probe whose uplink has `rate` B/s, and a listener; 20 ms of round trip between them.
fn pair(rate: u64, faults: Faults) -> (World<PathProbe>, NodeId, NodeId) {
    let mut world = World::new(5, faults);
    let mut add = |node, up| {
        let (rng, latency) = (world.fork_rng(), Duration::from_millis(5));
        let link = LinkConfig { up: Rate::new(up), latency, ..LinkConfig::default() };
        world.add_node(addr(node), PathProbe::new(Config::default(), rng), link)
    };
    let (probe, listener) = (add(1, rate), add(2, 0));
    (world, probe, listener)
}

fn notes(world: &mut World<PathProbe>, node: NodeId) -> Vec<Note> {
    world.with_node(node, |probe, _| std::iter::from_fn(|| probe.poll_note()).collect())
}

fn measure(rate: u64, faults: Faults, seconds: u64) -> Measured {
    let (mut world, probe, listener) = pair(rate, faults);
    world.with_node(probe, |probe, now| probe.measure(now, addr(2), Duration::from_secs(seconds)));
    world.run_until(Instant::ORIGIN + Duration::from_secs(seconds + 5));
    let [Note::Begun(_), Note::Measured(found)] = &notes(&mut world, probe)[..] else {
        panic!("nothing was measured")
    };
    let served = Note::Served { remote: addr(1), received: found.received, is_whole: true };
    assert_eq!(notes(&mut world, listener), [Note::Begun(addr(1)), served]);
    **found
}

#[test]
fn the_figures_are_those_of_the_path() {
    for rate in [20_000, 1_000_000, 20_000_000] {
        let found = measure(rate, Faults::none(), 5);
        let share = found.received.bytes as f64 / found.received.time.as_secs_f64() / rate as f64;
        assert!((0.8..1.0).contains(&share), "{rate} B/s: {share} of the link, {found:?}");
        let round_trip = found.stats.min_rtt.as_millis();
        assert!((20..150).contains(&round_trip), "{found:?}");
        assert!(found.srtt >= found.stats.min_rtt && found.stats.lost == 0, "{found:?}");
        assert!(found.queue_max >= found.queue_median, "{found:?}");
        assert!(found.queue_max < Duration::from_millis(500), "{found:?}");
    }
}

#[test]
fn what_the_path_loses_is_counted() {
    let found = measure(1_000_000, Faults { loss: 0.05, ..Faults::none() }, 5);
    let loss = found.stats.lost as f64 / found.stats.sent as f64;
    assert!((0.03..0.08).contains(&loss), "{loss}: {found:?}");
    assert!(found.stats.bytes_retransmitted > 0, "{found:?}");
}

#[test]
fn a_measurement_that_is_cut_short_has_figures() {
    let (mut world, probe, _) = pair(1_000_000, Faults::none());
    world.with_node(probe, |probe, now| probe.measure(now, addr(2), Duration::from_secs(60)));
    world.run_until(Instant::ORIGIN + Duration::from_secs(2));
    assert!(world.with_node(probe, PathProbe::finish_early));
    world.run_until(Instant::ORIGIN + Duration::from_secs(4));
    let [Note::Begun(_), Note::Measured(found)] = &notes(&mut world, probe)[..] else {
        panic!("nothing was measured")
    };
    assert!((1_000_000..2_100_000).contains(&found.received.bytes), "{found:?}");
}

#[test]
fn nobody_there_and_one_who_leaves_are_told_apart() {
    let (mut world, probe, listener) = pair(1_000_000, Faults::none());
    world.with_node(probe, |probe, now| probe.measure(now, addr(3), Duration::from_secs(5)));
    assert!(!world.with_node(probe, PathProbe::finish_early), "nothing to cut short yet");
    world.run_until(Instant::ORIGIN + Duration::from_secs(15));
    assert_eq!(notes(&mut world, probe), [Note::Failed(CloseReason::HandshakeTimeout)]);
    world.with_node(probe, |probe, now| probe.measure(now, addr(2), Duration::from_secs(5)));
    world.run_until(Instant::ORIGIN + Duration::from_secs(17));
    world.with_node(listener, PathProbe::leave);
    world.run_until(Instant::ORIGIN + Duration::from_secs(18));
    assert_eq!(notes(&mut world, probe), [Note::Begun(addr(2)), Note::Failed(CloseReason::Remote(0))]);
    let [Note::Begun(_), Note::Served { received, is_whole: false, .. }] = notes(&mut world, listener)[..]
    else {
        panic!("it wasn't served in part")
    };
    assert!(received.bytes > 500_000, "{received:?}");
}

#[test]
fn messages_come_back() {
    let report = Received { bytes: 1 << 40, time: Duration::from_millis(5_001) };
    for message in [Message::Bulk, Message::End { messages: 70_000 }, Message::Report(report)] {
        assert_eq!(Message::decode(&message.encode()), Ok(message));
    }
    for bad in [&[][..], &[0], &[0xb1], &[0xb1, 1, 0], &[0xb2, 1]] {
        assert_eq!(Message::decode(bad), Err(Malformed), "{bad:?}");
    }
}
