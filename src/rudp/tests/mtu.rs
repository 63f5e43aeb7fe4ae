//! Paths that swallow large datagrams, and paths that swallow all of them for a while.

use super::{Chatter, addr, link, secs, world};
use crate::sim::{Faults, NodeId, World};
use crate::time::Duration;

const RATE: u64 = 10_000_000;
/// What the path carries when it is well, B.
const WELL: usize = 8_952;

/// A flow that has found [`WELL`]; `passes` says what becomes of a datagram of so many bytes at so many seconds.
fn flow(latency_ms: u64, passes: impl Fn(f64, usize) -> bool + 'static) -> (World<Chatter>, Vec<NodeId>) {
    let latency = Duration::from_millis(latency_ms);
    let links = [link(RATE, 0, latency), link(0, RATE, latency)];
    let (mut world, nodes) = world(1, Faults::none(), &links);
    world.set_filter(move |now, _, _, datagram| {
        datagram.len() <= WELL && passes(now.as_secs_f64(), datagram.len())
    });
    world.with_node(nodes[0], |a, now| a.dial(now, addr(1), u32::MAX, 16_384));
    world.run_until(secs(5.0));
    assert_eq!(path_mtu(&world, nodes[0]), WELL);
    (world, nodes)
}

fn path_mtu(world: &World<Chatter>, node: NodeId) -> usize {
    world.node(node).endpoint.total_stats(world.now()).datagram_size
}

/// Runs until the datagrams are of `size`, at most until `until`; when that was, s.
fn when_it_is(world: &mut World<Chatter>, node: NodeId, size: usize, until: f64) -> Option<f64> {
    let reached = world.run_while(secs(until), |world| path_mtu(world, node) != size);
    reached.then(|| world.now().as_secs_f64())
}

#[test]
fn a_burst_of_loss_leaves_the_size_as_it_is() {
    for latency_ms in [1, 25, 100] {
        for burst in [0.2, 1.0, 2.5] {
            let (mut world, nodes) = flow(latency_ms, move |now, _| !(5.0..5.0 + burst).contains(&now));
            world.run_until(secs(5.0 + burst + 1.5));
            assert_eq!(path_mtu(&world, nodes[0]), WELL, "{burst} s of loss at {latency_ms} ms");
            assert_eq!(world.node(nodes[0]).closed, []);
        }
    }
}

#[test]
fn a_black_hole_is_found_soon_and_left_soon_after_it_has_healed() {
    for latency_ms in [1, 10, 25, 50] {
        let heals = 12.0;
        let (mut world, nodes) =
            flow(latency_ms, move |now, len| !(5.0..heals).contains(&now) || len <= 1_300);
        let size = |size, until, world: &mut World<Chatter>| when_it_is(world, nodes[0], size, until);
        // Two time-outs send small ones, whatever the path; it has fallen when it stays with them.
        let mut fell = size(1_200, 8.0, &mut world).expect("it falls");
        while let Some(_back) = size(WELL, fell + 2.0, &mut world) {
            fell = size(1_200, 10.0, &mut world).expect("it falls");
        }
        let before = world.node(nodes[1]).bytes_received();
        world.run_until(world.now() + Duration::from_secs(1));
        let share = (world.node(nodes[1]).bytes_received() - before) as f64 / RATE as f64;
        let healed = size(WELL, 40.0, &mut world).expect("it is searched again");
        println!(
            "a black hole at {} ms round trip: found after {:.3} s, {share:.3} of the link then; large again {:.1} s after it healed",
            4 * latency_ms,
            fell - 5.0,
            healed - heals,
        );
        assert!(fell - 5.0 <= 1.6, "{fell}");
        assert!(share > 0.8, "{share}");
        assert!(healed <= fell + 11.0, "{healed}");
    }
}

#[test]
fn heavy_loss_by_chance_leaves_the_size_as_it_is() {
    let (mut world, nodes) = flow(10, |_, _| true);
    world.set_faults(Faults { loss: 0.3, ..Faults::none() });
    world.run_until(secs(30.0));
    world.set_faults(Faults::none());
    world.run_until(secs(31.0));
    assert_eq!(path_mtu(&world, nodes[0]), WELL);
}
