//! Coming and going while downloads run: join, cancel, close, at mixed rates.
//!
//! No measure of speed here: whoever stays gets the right bytes, and every call returns.

mod common;

use common::{Folder, MEDIUM, SMALL, Stopwatch, Swarm, all_close_within, assert_closed, report};
use swarmcast::Error;
use swarmcast::time::Duration;

#[test]
fn a_swarm_survives_those_who_leave_it_and_serves_those_who_join_it() {
    let watch = Stopwatch::start();
    let note = |what: &str| report(&format!("{:5.2} s  {what}", watch.elapsed().as_secs_f64()));
    let (mut swarm, folder) = (Swarm::new(), Folder::new());
    let file = folder.file("F", 3, MEDIUM);
    let side = folder.file("side.bin", 4, SMALL);

    let a = swarm.join("A", 200_000, 100_000);
    let b = swarm.join("B", 50_000, 150_000);
    let c = swarm.join("C", 100_000, 200_000);
    let d = swarm.join("D", 200_000, 400_000);
    let e = swarm.join("E", 400_000, 400_000);
    let fid = a.shares(&file);

    // Four download at once.
    let [to_b, to_c, to_d, to_e] = [&b, &c, &d, &e].map(|peer| peer.begin_download(fid));

    // In the middle one gives up, and another leaves altogether.
    b.reaches(fid, MEDIUM / 4);
    b.cancel(fid).expect("B downloads it");
    assert!(matches!(to_b.within(Duration::from_secs(1)), Err(Error::Cancelled(which)) if which == fid));
    note("B has cancelled");
    d.reaches(fid, MEDIUM / 4);
    d.close().expect("closing can't fail");
    assert_closed(&to_d.within(Duration::from_secs(1)));
    note("D has closed");

    // Two join while the others are still at it; one of them shares something of its own.
    let g = swarm.join("G", 100_000, 300_000);
    let h = swarm.join("H", 150_000, 250_000);
    let [to_g, to_h] = [&g, &h].map(|peer| peer.begin_download(fid));
    let side_fid = h.shares(&side);
    let side_to_c = c.begin_download(side_fid);

    // As soon as another has the whole, the source goes, and then the tracker.
    e.has_got(to_e, &file);
    a.close().expect("closing can't fail");
    note("E is complete, A has closed");
    let again_to_b = b.begin_download(fid);
    b.reaches(fid, 1);
    swarm.stop_tracker();
    note("the tracker is gone");

    // One that is complete withdraws while others still fetch.
    c.has_got(to_c, &file);
    c.cancel(fid).expect("C shares it");
    note("C is complete and has cancelled");
    c.has_got(side_to_c, &side);
    g.has_got(to_g, &file);
    h.has_got(to_h, &file);
    note("G and H are complete");
    b.has_got(again_to_b, &file);
    note("B is complete at its second attempt");

    all_close_within(Duration::from_secs(2), &[&a, &b, &c, &d, &e, &g, &h]);
    assert_closed(&g.download(fid));
}
