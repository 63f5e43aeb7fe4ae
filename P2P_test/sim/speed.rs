//! How long the last receiver takes, against the fluid bound.

use swarmcast::sim::Faults;
use swarmcast::time::{Duration, Instant};

use crate::lab::{Lab, Rates};

/// The fluid bound, s: no distribution is faster than its source's single copy, its slowest receiver, or all uplinks
/// together (Kumar and Ross 2006).
fn bound(size: usize, source: Rates, receivers: &[Rates]) -> f64 {
    let size = size as f64;
    let slowest = receivers.iter().map(|&(_, down)| down).min().expect("a receiver") as f64;
    let uplinks = source.0 as f64 + receivers.iter().map(|&(up, _)| up as f64).sum::<f64>();
    (size / source.0 as f64).max(size / slowest).max(receivers.len() as f64 * size / uplinks)
}

/// Runs a source and its receivers from the same moment on. Gives the last and the first receiver's time, s.
fn race(seed: u64, size: usize, source: Rates, receivers: &[Rates]) -> (f64, f64) {
    let mut lab = Lab::new(seed, size, Faults::none());
    let origin = lab.add(source);
    lab.share(origin);
    lab.world.run_until(Instant::ORIGIN + Duration::from_secs(2));
    let ids: Vec<_> = receivers.iter().map(|&rates| lab.add(rates)).collect();
    let start = lab.world.now();
    for &id in &ids {
        lab.fetch(id);
    }
    let d = bound(size, source, receivers);
    let done = lab.run_until_done(&ids, Duration::from_secs_f64(20.0 * d));
    lab.print(&[&[origin], &ids[..]].concat());
    assert!(done, "not done; {}", lab.replay());
    ids.iter().for_each(|&id| lab.assert_content(id));
    let times = ids.iter().map(|&id| lab.done_at(id).expect("done").since(start).as_secs_f64());
    (times.clone().fold(0.0, f64::max), times.fold(f64::MAX, f64::min))
}

/// Races over some seeds; the worst ratio of the last receiver's time to the bound.
fn worst_ratio(name: &str, size: usize, source: Rates, receivers: &[Rates]) -> f64 {
    let d = bound(size, source, receivers);
    let mut worst: f64 = 0.0;
    for seed in 0..3 {
        let (last, first) = race(seed, size, source, receivers);
        println!("{name}, seed {seed}: D {d:.2} s, last {last:.2} s, first {first:.2} s, R {:.3}", last / d);
        worst = worst.max(last / d);
    }
    worst
}

#[test]
fn equal_rates() {
    let worst = worst_ratio(
        "6.2 MB, all 100 kB/s, 4 receivers",
        6_219_177,
        (100_000, 100_000),
        &[(100_000, 100_000); 4],
    );
    assert!(worst <= 1.25, "{worst}");
}

#[test]
fn slow_source_fast_receivers() {
    let worst = worst_ratio(
        "148,539 B, source 20 kB/s, 3 receivers",
        148_539,
        (20_000, 20_000),
        &[(200_000, 200_000); 3],
    );
    assert!(worst <= 1.2, "{worst}");
    let worst = worst_ratio(
        "148,539 B, source 5 kB/s, 4 receivers",
        148_539,
        (5_000, 5_000),
        &[(500_000, 100_000); 4],
    );
    assert!(worst <= 1.25, "{worst}");
}

#[test]
fn one_receiver() {
    let worst = worst_ratio(
        "148,539 B, one receiver at 100 kB/s",
        148_539,
        (100_000, 100_000),
        &[(100_000, 100_000)],
    );
    assert!(worst <= 1.15, "{worst}");
}
