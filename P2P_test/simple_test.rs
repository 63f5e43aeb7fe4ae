//! The first conversation: one shares, one fetches, the first withdraws, a third fetches from the second.
//!
//! Nothing goes wrong here, and the only measure is that a transfer between two keeps their links full.

mod common;

use common::{Folder, SMALL, Swarm, report};
use swarmcast::time::Duration;

const RATE: u64 = 100_000;

#[test]
fn a_shares_b_fetches_a_withdraws_c_fetches_from_b() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let file = folder.file("F", 1, SMALL);

    let a = swarm.join("A", RATE, RATE);
    let b = swarm.join("B", RATE, RATE);
    let fid = a.shares(&file);
    assert_on_time("B from A", b.gets(&file));

    a.cancel(fid).expect("A shares it");
    assert!(a.progress(fid).is_none(), "A has nothing to do with it any more");

    let c = swarm.join("C", RATE, RATE);
    assert_on_time("C from B", c.gets(&file));

    for peer in [&a, &b, &c] {
        peer.close().expect("closing can't fail");
    }
}

fn assert_on_time(who: &str, took: Duration) {
    let fluid = SMALL as f64 / RATE as f64;
    let ratio = took.as_secs_f64() / fluid;
    report(&format!(
        "{who}: {:.2} s, {ratio:.3} of the {fluid:.2} s that its bytes alone take",
        took.as_secs_f64()
    ));
    assert!(ratio >= 0.99, "faster than the link: the shaping is broken");
    assert!(ratio <= 1.3, "{who} took {ratio:.3} of what its bytes alone take");
}
