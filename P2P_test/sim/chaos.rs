//! Whatever happens to a swarm for a while, all who remain are done soon after, and nothing wrong is ever served.
//!
//! A world follows from its seed alone: what is drawn stands in [`plan`], how it is played in [`stage`], what is looked at
//! all the while in [`witness`].
//!
//! ```sh
//! SEED=7 cargo test --test sim -- --nocapture one_chaos
//! SEEDS=100000 cargo test --release --test sim -- --ignored --nocapture chaos_long
//! ```

mod plan;
mod stage;
pub(crate) mod witness;

use swarmcast::time::Clock;

use self::plan::Plan;
use self::stage::{Outcome, Stage};

/// Seeds of the daily run.
const SEEDS: u64 = 1_000;

/// Seeds that failed once, and what was seen then.
const FOUND: [(u64, &str); 17] = [
    (52, "a node that had left let in who dialled it, and left them alone with a connection"),
    (200, "a fast receiver waited for the last piece beside neighbours that had it"),
    (889, "a receiver at 5 kB/s got the content five times over, but for its last bytes"),
    (936, "six receivers waited for the last pieces"),
    (748, "each block was taken back before it could come, and asked of the next"),
    (1649, "who cancelled and fetched again banned those who still sent what it had asked for before"),
    (14621, "who had nothing to say when its address changed was lost to all"),
    (28687, "over a round trip of half a second one source was asked for two pieces at a time"),
    (42879, "content still left to one who had parted before the cancel"),
    (36527, "who was given another's former address took its own datagrams for that one's"),
    (64148, "a path had become longer while it was used, and its window stayed at two datagrams"),
    (78811, "a path had become longer before anybody knew what it takes, and its window stayed narrow"),
    (85927, "whose word that it had the manifest was damaged was never asked for it"),
    (56643, "an open was damaged, though its crc was right, and what the peer had was never known"),
    (56680, "a source whose open was damaged passed for one that had nothing"),
    (85612, "a source's channel was damaged in its open, and its blocks belonged to nobody"),
    (
        4282,
        "each new connection took the word of the others for a queue that had gone, and the uplink stayed narrow",
    ),
];

fn play(seed: u64) -> Outcome {
    Stage::new(Plan::from_seed(seed)).play()
}

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

#[test]
fn all_who_remain_complete_whatever_happens_before() {
    for seed in 0..SEEDS {
        play(seed);
    }
}

#[test]
fn what_was_found_once_stays_away() {
    for (seed, what) in FOUND {
        println!("{seed}: {what}");
        play(seed);
    }
}

#[test]
fn one_chaos() {
    let seed = number("SEED").unwrap_or(7);
    println!("{:#?}", Plan::from_seed(seed));
    let first = play(seed);
    println!("{first:?}");
    assert_eq!(first, play(seed), "one seed is one history");
}

/// From the seed `FROM` on (else 1,000) `SEEDS` of them (else 100,000), for `MINUTES` at most (else as long as it takes).
/// Goes on after a failure, and tells the slowest ends.
#[test]
#[ignore = "as long as one likes"]
fn chaos_long() {
    let (from, count) = (number("FROM").unwrap_or(SEEDS), number("SEEDS").unwrap_or(100_000));
    let minutes = number("MINUTES").unwrap_or(u64::MAX / 60);
    let clock = Clock::new();
    let (mut played, mut failed, mut slowest) = (0, Vec::new(), Vec::new());
    for seed in from..from + count {
        if clock.now().as_secs_f64() > (minutes * 60) as f64 {
            break;
        }
        played += 1;
        match std::panic::catch_unwind(|| play(seed)) {
            Ok(outcome) => slowest.push((outcome.lateness(), seed)),
            Err(_) => failed.push(seed),
        }
        slowest.sort_by(|a: &(f64, u64), b| b.0.total_cmp(&a.0));
        slowest.truncate(40);
        if played % 1_000 == 0 {
            println!("{played} seeds in {:.0} s, {} failed", clock.now().as_secs_f64(), failed.len());
        }
    }
    println!("{played} seeds in {:.0} s; failed: {failed:?}", clock.now().as_secs_f64());
    println!("the latest, s after the time that the content takes, and seed: {slowest:.1?}");
    assert!(failed.is_empty(), "{failed:?}");
}
