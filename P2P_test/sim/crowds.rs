//! Many peers where one is slow, a source that serves many or a receiver that many serve; and one alone at the end of a long path.

use swarmcast::simulate::{Report, Scenario, run};

/// A source with an uplink of `up` B/s, `count` receivers of 200 kB/s, and one more with a downlink of `down` B/s.
fn crowd(seed: u64, size: u64, up: u64, count: u64, down: u64) -> Report {
    let nodes = format!(
        "[[nodes]]\nrole = \"source\"\nup = {up}\ndown = \"200k\"\n\
         [[nodes]]\nrole = \"receiver\"\ncount = {count}\nup = \"200k\"\ndown = \"200k\"\n\
         [[nodes]]\nrole = \"receiver\"\nup = \"200k\"\ndown = {down}\n"
    );
    let scenario = Scenario::parse(&format!(
        "seed = {seed}\nsize = {size}\ntracker = \"10k\"\ngive_up = \"20m\"\n{nodes}"
    ));
    run(&scenario.expect("it is well formed"))
}

#[test]
fn a_slow_source_serves_many_in_turn() {
    for count in [8, 14, 25] {
        let report = crowd(1, 94_000, 5_600, count, 200_000);
        println!(
            "{count} receivers: last ÷ D {:?}, the source sent {}",
            report.ratio(),
            report.source_copies
        );
        assert_eq!(report.undone(), 0);
        assert!(report.ratio().expect("all are done") < 2.0);
    }
}

#[test]
fn a_slow_receiver_among_many_fast_ones_gets_it_too() {
    const SEEDS: u64 = 20;
    for (count, worst) in [(8, 1.3), (18, 1.6), (30, 2.0)] {
        let ratios: Vec<f64> = (1..=SEEDS)
            .map(|seed| {
                let report = crowd(seed, 160_000, 200_000, count, 5_000);
                assert_eq!(report.undone(), 0, "seed {seed}");
                report.ratio().expect("all are done")
            })
            .collect();
        // From one seed to the next it may be half as much again.
        let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
        println!("{count} others: last ÷ D {mean:.2}; {ratios:.2?}");
        assert!(mean < worst && ratios.iter().all(|&ratio| ratio < 2.0 * worst));
    }
}

/// Each of them has a second or more queued on its own uplink; who takes that for the queue of his downlink asks but two.
#[test]
fn all_of_many_slow_sources_are_asked() {
    for (count, up, most) in [(5, 1_200, 1.2), (5, 2_000, 1.12), (10, 2_000, 1.15)] {
        let scenario = Scenario::parse(&format!(
            "size = \"800k\"\ntracker = \"10k\"\n\
             [[nodes]]\nrole = \"source\"\ncount = {count}\nup = {up}\ndown = \"50k\"\n\
             [[nodes]]\nrole = \"receiver\"\nup = \"100k\"\ndown = \"1M\"\n"
        ));
        let ratio = run(&scenario.expect("it is well formed")).ratio().expect("it is done");
        println!("{count} sources of {up} B/s: last ÷ D = {ratio:.3}");
        assert!(ratio < most, "{count} sources of {up} B/s: {ratio:.3}");
    }
}

/// Two pieces at a time, however long the path, would take 11 times as long as D.
#[test]
fn a_long_path_is_filled() {
    let scenario = Scenario::parse(
        "size = 850000\n[network]\nlatency = \"300ms\"\n\
         [[nodes]]\nrole = \"source\"\nup = \"260k\"\ndown = \"260k\"\n\
         [[nodes]]\nrole = \"receiver\"\nup = \"128k\"\ndown = \"128k\"\n",
    );
    let ratio = run(&scenario.expect("it is well formed")).ratio().expect("it is done");
    println!("last ÷ D = {ratio:.2}");
    assert!(ratio < 4.5, "{ratio:.2}");
}
