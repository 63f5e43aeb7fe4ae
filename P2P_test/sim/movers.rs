//! Peers whose address changes while they share and fetch: what was begun goes on, over the same connections.

use std::net::SocketAddr;

use swarmcast::sim::{Faults, NodeId};
use swarmcast::time::{Duration, Instant};

use crate::lab::{Lab, Rates};

const RATES: Rates = (100_000, 100_000);
const SIZE: usize = 1_000_000;

/// Who moves, and how often: every 2 s from the third second of the download on.
#[derive(Clone, Copy, Debug)]
enum Mover {
    Nobody,
    Source(u16),
    Receiver(u16),
    Everyone(u16),
}

/// A source and two receivers. When the last receiver was done, s after the beginning.
fn play(mover: Mover, faults: &Faults) -> f64 {
    let mut lab = Lab::new(1, SIZE, Faults::none());
    let source = lab.add(RATES);
    lab.share(source);
    lab.world.run_until(Instant::ORIGIN + Duration::from_secs(2));
    let receivers = [lab.add(RATES), lab.add(RATES)];
    let start = lab.world.now();
    receivers.iter().for_each(|&id| lab.fetch(id));
    let (movers, times): (Vec<NodeId>, u16) = match mover {
        Mover::Nobody => (Vec::new(), 0),
        Mover::Source(times) => (vec![source], times),
        Mover::Receiver(times) => (vec![receivers[0]], times),
        Mover::Everyone(times) => (vec![source, receivers[0], receivers[1]], times),
    };
    let mut gone = Duration::from_secs(3);
    for n in 0..times {
        for (m, &id) in movers.iter().enumerate() {
            // One after the other: two that move at the same time lose each other.
            lab.world.run_until(start + gone + Duration::from_millis(700) * m as u32);
            lab.world.set_faults(faults.clone());
            let mut addr: SocketAddr = lab.world.addr(id);
            addr.set_port(8_000 + n);
            lab.world.set_addr(id, addr);
        }
        gone += Duration::from_secs(2);
    }
    let done = lab.run_until_done(&receivers, Duration::from_secs(300));
    assert!(done, "{mover:?}: not done; {}", lab.replay());
    receivers.iter().for_each(|&id| lab.assert_content(id));
    let done_at = receivers.iter().filter_map(|&id| lab.done_at(id)).max().expect("done");
    done_at.since(start).as_secs_f64()
}

#[test]
fn a_download_goes_on_when_somebody_moves() {
    let at_rest = play(Mover::Nobody, &Faults::none());
    println!("nobody moves: {at_rest:.2} s");
    for mover in [
        Mover::Source(1),
        Mover::Source(3),
        Mover::Receiver(1),
        Mover::Receiver(3),
        Mover::Everyone(1),
        Mover::Everyone(3),
    ] {
        let done = play(mover, &Faults::none());
        println!("{mover:?}: {done:.2} s, {:+.2} s", done - at_rest);
        // Who waits asks for signs of life after a second of silence; the rest is the new path's slow start.
        assert!(done <= at_rest + 2.5, "{mover:?}: {done} s, {at_rest} s at rest");
    }
    let lossy = Faults { loss: 0.1, reordering: 0.05, ..Faults::none() };
    let done = play(Mover::Everyone(3), &lossy);
    println!("Everyone(3), with 10 % loss: {done:.2} s");
    assert!(done <= at_rest + 8.0, "{done} s");
}
