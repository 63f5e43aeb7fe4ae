//! A slow source and fast receivers: the source's one copy decides, for all of them alike.
//!
//! No faults here, and no comparison with other ways to distribute: see `speed_test`.

mod common;

use common::{Folder, SMALL, Swarm, all_close_within, report};
use swarmcast::time::Duration;

const SLOW: u64 = 20_000;
const FAST: u64 = 200_000;

#[test]
fn a_slow_source_sends_one_copy_and_all_receivers_end_together() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let file = folder.file("F", 2, SMALL);
    let source = swarm.join("A", SLOW, SLOW);
    let receivers = ["B", "C", "D"].map(|name| swarm.join(name, FAST, FAST));
    let fid = source.shares(&file);

    let downloads = receivers.each_ref().map(|receiver| receiver.begin_download(fid));
    let mut times = Vec::new();
    for (receiver, download) in receivers.iter().zip(downloads) {
        times.push(receiver.has_got(download, &file).as_secs_f64());
    }

    let fluid = SMALL as f64 / SLOW as f64;
    times.sort_by(f64::total_cmp);
    let (first, last) = (times[0] / fluid, times[2] / fluid);
    report(&format!("last {:.2} s, {last:.3} of the {fluid:.2} s of one copy; first {first:.3}", times[2]));
    assert!(last <= 1.2, "the last took {last:.3} of the time of one copy");
    assert!(last - first <= 0.1, "the first at {first:.3}, the last at {last:.3} of the time of one copy");

    let [b, c, d] = &receivers;
    all_close_within(Duration::from_secs(2), &[&source, b, c, d]);
}
