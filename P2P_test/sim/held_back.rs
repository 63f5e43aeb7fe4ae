//! What held a download back: scenarios whose cause is known beforehand.

use swarmcast::pclient::account::{Cause, Spent};
use swarmcast::simulate::{Report, Scenario, run};
use swarmcast::time::Duration;

/// A source, receivers, and what must have held each of these back for at least this share of its time.
struct Case {
    name: &'static str,
    scenario: &'static str,
    cause: Cause,
    share: f64,
}

const CASES: [Case; 6] = [
    Case {
        name: "a slow source",
        scenario: r#"
            size = "600k"
            nodes = [
                { role = "source", up = "50k", down = "50k" },
                { role = "receiver", count = 4, up = "500k", down = "1M" },
            ]"#,
        cause: Cause::Source,
        share: 0.9,
    },
    Case {
        name: "slow downlinks",
        scenario: r#"
            size = "1MB"
            nodes = [
                { role = "source", up = "1M", down = "1M" },
                { role = "receiver", count = 3, up = "1M", down = "100k" },
            ]"#,
        cause: Cause::OwnDownlink,
        share: 0.85,
    },
    Case {
        name: "slow uplinks of the receivers",
        scenario: r#"
            size = "1MB"
            nodes = [
                { role = "source", up = "100k", down = "100k" },
                { role = "receiver", count = 5, up = "20k", down = "1M" },
            ]"#,
        cause: Cause::Peers,
        share: 0.8,
    },
    Case {
        name: "a tracker that answers late",
        scenario: r#"
            size = "100k"
            tracker = "60"
            nodes = [
                { role = "source", up = "1M", down = "1M" },
                { role = "receiver", up = "1M", down = "1M" },
            ]"#,
        cause: Cause::Tracker,
        share: 0.9,
    },
    Case {
        name: "a slow disk",
        scenario: r#"
            size = "1MB"
            nodes = [
                { role = "source", up = "1M", down = "1M" },
                { role = "receiver", count = 2, up = "1M", down = "1M", disk = "100ms" },
            ]"#,
        cause: Cause::Storing,
        share: 0.7,
    },
    Case {
        name: "a source that comes late to a tracker which knows another that is gone",
        scenario: r#"
            size = "100k"
            nodes = [
                { role = "source", up = "1M", down = "1M", leave = 1, leave_by = "crash" },
                { role = "source", up = "1M", down = "1M", join = 20 },
                { role = "receiver", up = "1M", down = "1M", join = 2 },
            ]"#,
        cause: Cause::Connecting,
        share: 0.9,
    },
];

fn told(report: &Report) -> impl Iterator<Item = (Spent, Duration)> + '_ {
    report.receivers.iter().map(|receiver| {
        let took = receiver.done.expect("all are done") - receiver.joined;
        (receiver.held_back.expect("it is there"), Duration::from_secs_f64(took))
    })
}

#[test]
fn the_cause_is_the_one_that_the_scenario_has() {
    for Case { name, scenario, cause, share } in CASES {
        let report = run(&Scenario::parse(scenario).expect("it is well formed"));
        for (spent, _) in told(&report) {
            println!("{name}: {:?}", spent.percents());
            assert!(spent.share(cause) >= share, "{name}: {cause:?} has {:.3}", spent.share(cause));
        }
    }
}

#[test]
fn every_moment_has_one_cause() {
    let scenarios = CASES.map(|case| Scenario::parse(case.scenario).expect("it is well formed"));
    let built_in = ["s1", "s2", "s8"].map(|name| Scenario::built_in(name).expect("it is built in"));
    for scenario in scenarios.into_iter().chain(built_in) {
        for (spent, took) in told(&run(&scenario)) {
            // A nanosecond either way is lost to seconds as a float.
            assert!(spent.total().abs_diff(took) < Duration::from_nanos(100), "{spent:?}, {took:?}");
        }
    }
}
