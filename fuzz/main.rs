//! Fuzzing on stable Rust: targets as plain functions of bytes, their corpora, and an own small driver.
//!
//! `cargo test --test fuzz` replays every file below `fuzz/corpus` and goes on from there for some seconds;
//! `FUZZ=lone RUNS=5000000 cargo test --release --test fuzz -- --ignored --nocapture long_run` goes on for long. A file
//! called `crash-…` once broke its target. Not libFuzzer: what a target notes about its input guides the search, not
//! the branches of the code.

mod driver;
mod mutate;
mod notes;
mod script;
mod targets;

use driver::{Plan, corpus_dir, replay, search};
use swarmcast::rand::Rng;
use targets::{TARGETS, Target};

#[test]
fn every_input_of_the_corpora_passes() {
    for target in TARGETS {
        let inputs = replay(target);
        let least = (target.seeds)().len();
        assert!(inputs >= least, "{}: {inputs} files; `write_seeds` makes {least}", target.name);
    }
}

#[test]
fn a_short_search_finds_nothing() {
    for target in TARGETS {
        let found = search(target, &Plan { runs: target.short_runs, seed: 1, report: false });
        assert!(found.is_none(), "{}: {}", target.name, found.unwrap());
    }
}

/// Panics at three bytes in a row that chance alone would hit once in 16 million tries.
fn planted(data: &[u8]) {
    let prefix = data.iter().zip(b"bug").take_while(|(a, b)| a == b).count();
    notes::reached(1, prefix as u64);
    assert!(prefix < 3, "the planted bug");
}

#[test]
fn a_planted_bug_is_found() {
    let target = Target {
        name: "planted",
        run: planted,
        seeds: || vec![vec![0; 8]],
        sealed: false,
        max_len: 16,
        short_runs: 0,
    };
    let found = search(&target, &Plan { runs: 200_000, seed: 1, report: false }).expect("it is found");
    assert!(found.message.contains("the planted bug") && found.input.starts_with(b"bug"), "{found}");
}

#[test]
#[ignore = "runs for as long as it is told to"]
fn long_run() {
    let var = |name: &str| std::env::var(name).ok();
    let number = |name: &str, default: u64| var(name).map_or(default, |text| text.parse().expect(name));
    let wanted = var("FUZZ");
    let (runs, seed) = (number("RUNS", 100_000), number("SEED", Rng::from_os().u64()));
    let chosen: Vec<&Target> =
        TARGETS.iter().filter(|target| wanted.as_ref().is_none_or(|name| name == target.name)).collect();
    assert!(!chosen.is_empty(), "FUZZ names none of the targets");
    for target in chosen {
        if let Some(found) = search(target, &Plan { runs, seed, report: true }) {
            let file = found.save(&corpus_dir(target.name));
            panic!("{}: {found}\nsaved as {}", target.name, file.display());
        }
    }
}

#[test]
#[ignore = "writes into the source tree: the well-formed inputs from which each search begins"]
fn write_seeds() {
    for target in TARGETS {
        let dir = corpus_dir(target.name);
        std::fs::create_dir_all(&dir).expect("the corpus can be written");
        for (n, seed) in (target.seeds)().into_iter().enumerate() {
            std::fs::write(dir.join(format!("seed-{n:02}")), seed).expect("the corpus can be written");
        }
    }
}
