//! A tracker that dies, forgets, or is slow: who knows each other goes on, and who comes later finds a way.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use swarmcast::sim::{Faults, NodeId};
use swarmcast::time::{Duration, Instant};
use swarmcast::tracker::{Limits, Server};
use swarmcast::units::Rate;

use crate::lab::{Actor, Lab, Rates};

const SIZE: usize = 2_000_000;
const RATES: Rates = (100_000, 100_000);
/// D: no receiver gets it sooner.
const BOUND: f64 = SIZE as f64 / 100_000.0;

/// A source and receivers that fetch from it.
fn swarm(receivers: usize) -> (Lab, NodeId, Vec<NodeId>) {
    let mut lab = Lab::new(1, SIZE, Faults::none());
    let source = lab.add(RATES);
    lab.share(source);
    lab.world.run_until(Instant::ORIGIN + Duration::from_secs(2));
    let receivers: Vec<NodeId> = (0..receivers).map(|_| lab.add(RATES)).collect();
    receivers.iter().for_each(|&id| lab.fetch(id));
    (lab, source, receivers)
}

fn run_for(lab: &mut Lab, seconds: f64) {
    lab.world.run_until(lab.world.now() + Duration::from_secs_f64(seconds));
}

/// Starts the tracker again, without a memory.
fn restart_tracker(lab: &mut Lab) {
    let (id, rng) = (lab.tracker_id(), lab.world.fork_rng());
    let server = Server::new(rng, Rate::new(10_000), Limits::default());
    lab.world.restart(id, Actor::Tracker(Box::new(server)));
}

/// Whom the tracker lists as holders of the file.
fn listed(lab: &Lab) -> BTreeSet<SocketAddr> {
    let Actor::Tracker(server) = lab.world.node(lab.tracker_id()) else { panic!("it is the tracker") };
    server.registry().holders(lab.fid).into_iter().flatten().map(|holder| holder.addr).collect()
}

fn last_done(lab: &Lab, ids: &[NodeId]) -> Instant {
    ids.iter().map(|&id| lab.done_at(id).expect("it is done")).max().expect("there are some")
}

#[test]
fn a_tracker_that_dies_half_way_is_not_missed_and_knows_all_again_soon_after() {
    let finish = |kills: bool| {
        let (mut lab, source, receivers) = swarm(6);
        let begin = lab.world.now();
        run_for(&mut lab, BOUND / 2.0);
        if kills {
            lab.world.crash(lab.tracker_id());
        }
        assert!(lab.run_until_done(&receivers, Duration::from_secs(60)), "{}", lab.replay());
        receivers.iter().for_each(|&id| lab.assert_content(id));
        let took = last_done(&lab, &receivers).since(begin).as_secs_f64();
        (lab, [&[source][..], &receivers].concat(), took)
    };
    let (_, _, with) = finish(false);
    let (mut lab, all, without) = finish(true);
    println!("{with:.2} s with the tracker, {without:.2} s without");
    assert!(without <= with * 1.05);

    // However long it was away: those who retry ever more seldom come back in time as well.
    for away in [5.0, 200.0] {
        run_for(&mut lab, away);
        restart_tracker(&mut lab);
        let restarted = lab.world.now();
        let everybody: BTreeSet<SocketAddr> = all.iter().map(|&id| lab.world.addr(id)).collect();
        while listed(&lab) != everybody {
            run_for(&mut lab, 0.1);
            assert!(lab.world.now().since(restarted) <= Duration::from_secs(30), "{:?}", listed(&lab));
        }
        println!("away for {away} s; all are listed {:?} after its return", lab.world.now().since(restarted));
        lab.world.crash(lab.tracker_id());
    }
}

#[test]
fn a_tracker_without_a_memory_and_a_slow_one_serve_newcomers() {
    // Forgets all, and is asked before anybody has told it again: who asks later is answered.
    let (mut lab, _, receivers) = swarm(2);
    run_for(&mut lab, 5.0);
    lab.world.crash(lab.tracker_id());
    restart_tracker(&mut lab);
    run_for(&mut lab, 31.0);
    let late = lab.add(RATES);
    lab.fetch(late);
    assert!(lab.run_until_done(&[late], Duration::from_secs(60)), "{}", lab.replay());
    assert!(receivers.iter().all(|&id| lab.done_at(id).is_some()));

    // Answers take 2 s each way, and it sends 200 B/s.
    let (mut lab, source, _) = swarm(0);
    lab.world.set_latency(lab.tracker_id(), Duration::from_secs(2), Duration::ZERO);
    lab.world.set_rates(lab.tracker_id(), Rate::new(200), Rate::new(10_000));
    let newcomers: Vec<NodeId> = (0..4).map(|_| lab.add(RATES)).collect();
    newcomers.iter().for_each(|&id| lab.fetch(id));
    let begin = lab.world.now();
    assert!(lab.run_until_done(&newcomers, Duration::from_secs(120)), "{}", lab.replay());
    let took = last_done(&lab, &newcomers).since(begin).as_secs_f64();
    println!("a slow tracker: {took:.2} s, at best {BOUND:.2} s");
    // Two questions, each with two answers: a cookie and what was asked.
    assert!(took < BOUND * 1.1 + 16.0, "{took:.2} s");
    assert!(lab.world.is_alive(source));
}
