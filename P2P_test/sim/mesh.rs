//! The graph of neighbours in a swarm of many that begin together.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use swarmcast::pclient::node::Config;
use swarmcast::sim::{Faults, NodeId};
use swarmcast::time::Duration;

use crate::lab::{Lab, Rates};

const RATES: Rates = (200_000, 200_000);
const RECEIVERS: usize = 60;

/// A source, and receivers that have begun together; so many seconds later.
fn crowd(seed: u64, size: usize, seconds: u64) -> (Lab, Vec<NodeId>) {
    let mut lab = Lab::new(seed, size, Faults::none());
    let source = lab.add(RATES);
    lab.share(source);
    lab.world.run_until(lab.world.now() + Duration::from_secs(2));
    let receivers: Vec<NodeId> = (0..RECEIVERS).map(|_| lab.add(RATES)).collect();
    receivers.iter().for_each(|&id| lab.fetch(id));
    lab.world.run_until(lab.world.now() + Duration::from_secs(seconds));
    (lab, receivers)
}

/// The tracker can tell each only of those who came before it. Content comes soon to all if the graph is a random one all the same:
/// if the first are not next to each other alone.
#[test]
fn the_first_of_many_are_neighbours_of_the_last() {
    for seed in 0..3 {
        let (lab, receivers) = crowd(seed, 2_000_000, 4);
        let late: BTreeSet<SocketAddr> =
            receivers[RECEIVERS / 2..].iter().map(|&id| lab.world.addr(id)).collect();
        let neighbours = |id| lab.peer(id).node.swarm(lab.fid).expect("it takes part").peers();
        let counts: Vec<usize> = receivers.iter().map(|&id| neighbours(id).len()).collect();
        let (least, most) = (counts.iter().min().expect("some"), counts.iter().max().expect("some"));
        let of_the_first = receivers[..10].iter().flat_map(|&id| neighbours(id).values());
        let is_late: Vec<bool> = of_the_first.map(|peer| late.contains(&peer.remote)).collect();
        let share = is_late.iter().filter(|&&is_late| is_late).count() as f64 / is_late.len() as f64;
        println!(
            "seed {seed}: {least} to {most} neighbours, {:.0} % of the first ten's are late",
            100.0 * share
        );
        let wanted = Config::default().neighbours;
        assert!(*least >= wanted / 3 && *most <= wanted + 8, "{counts:?}");
        // By chance it would be half. Where ten are dialled at once it is none.
        assert!(share > 0.08, "{share}");
    }
}

/// Those who came first knew few whom they could dial. When they are told of the others, enough have dialled them.
#[test]
fn the_first_of_many_do_not_end_up_with_more_neighbours_than_others() {
    let (lab, receivers) = crowd(0, 8_000_000, 35);
    let neighbours = |id: &NodeId| lab.peer(*id).node.swarm(lab.fid).expect("it takes part").peers().len();
    let counts: Vec<usize> = receivers.iter().map(neighbours).collect();
    assert!(counts.iter().all(|&count| count <= Config::default().neighbours + 8), "{counts:?}");
}
