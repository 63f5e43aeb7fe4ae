//! Hours of churn in one process: memory, threads and file descriptors stay flat.
//!
//! `MINUTES=120 cargo test --release --test soak_test -- --ignored --nocapture`

mod common;

use std::fs;

use swarmcast::rand::Rng;
use swarmcast::time::Duration;
use swarmcast::{Error, Tracker};

use common::{Folder, Peer, Stopwatch, Swarm, report};

const SIZE: usize = 2_000_000;
/// Who stays all the time: a leak per transfer shows there.
const RESIDENTS: usize = 3;
/// Who comes and goes in a round: a leak per client shows here.
const VISITORS: usize = 3;
/// The first rounds fill pools and caches, and what leases keep.
const WARM_UP: u64 = 150;
/// The allocator's play: what is freed is not always given back, kB.
const SLACK_KB: u64 = 16_000;
/// Threads, and what they hold open, that have done their work and are about to end.
const SLACK_ENDING: u64 = 6;
const SHORTLY: Duration = Duration::from_secs(20);

/// What the process has taken.
#[derive(Clone, Copy, Debug)]
struct Taken {
    rss_kb: u64,
    threads: u64,
    descriptors: u64,
}

impl Taken {
    fn now() -> Taken {
        let status = fs::read_to_string("/proc/self/status").expect("Linux");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("it is there");
            line.split_whitespace().next().expect("a value").parse().expect("a number")
        };
        let descriptors = fs::read_dir("/proc/self/fd").expect("Linux").count() as u64;
        Taken { rss_kb: field("VmRSS:"), threads: field("Threads:"), descriptors }
    }
}

/// One file is shared, fetched by all, given up by some half-way, and forgotten by all.
fn play(swarm: &Swarm, folder: &Folder, residents: &[Peer], round: u64) {
    let mut rng = Rng::from_seed(round);
    let file = folder.file("F", round, SIZE);
    let visitors: Vec<Peer> =
        (0..VISITORS).map(|n| swarm.join(&format!("visitor {n}"), 4_000_000, 0)).collect();
    let all: Vec<&Peer> = residents.iter().chain(&visitors).collect();
    let source = all[rng.index(all.len())];
    let fid = source.shares(&file);
    let fetching: Vec<_> = all.iter().filter(|peer| !std::ptr::eq(**peer, source)).collect();
    let downloads: Vec<_> = fetching.iter().map(|peer| peer.begin_download(fid)).collect();
    let (quitter, leaver) = (rng.index(fetching.len()), rng.index(fetching.len()));
    fetching[quitter].reaches(fid, rng.index(SIZE / 2));
    let quits = fetching[quitter].cancel(fid).is_ok();
    let leaves = fetching[leaver].name.starts_with("visitor");
    if leaves {
        fetching[leaver].begin_close().within(SHORTLY).expect("closing can't fail");
    }
    for (place, download) in downloads.into_iter().enumerate() {
        match download.within(Duration::from_secs(60)) {
            Ok(content) => file.assert_same(&fetching[place].name, &content),
            Err(Error::Cancelled(_)) => assert!(quits && place == quitter),
            Err(Error::Closed) => assert!(leaves && place == leaver),
            Err(error) => panic!("round {round}: {} downloads: {error}", fetching[place].name),
        }
    }
    for peer in residents {
        match peer.cancel(fid) {
            Ok(()) | Err(Error::NotShared(_)) => {}
            Err(error) => panic!("round {round}: {error}"),
        }
    }
    fs::remove_file(&file.path).expect("nobody else removes it");
}

#[test]
#[ignore = "minutes to hours; see the head of this file"]
fn nothing_grows() {
    let minutes: f64 = std::env::var("MINUTES").map_or(5.0, |minutes| minutes.parse().expect("a number"));
    let swarm = Swarm::with_tracker(Tracker::new(0, 0, None).expect("a port for the tracker"));
    let (folder, watch) = (Folder::new(), Stopwatch::start());
    let residents: Vec<Peer> =
        (0..RESIDENTS).map(|n| swarm.join(&format!("resident {n}"), 4_000_000, 0)).collect();
    let (mut round, mut first) = (0, None);
    while watch.elapsed().as_secs_f64() < minutes * 60.0 || round <= WARM_UP {
        play(&swarm, &folder, &residents, round);
        round += 1;
        let taken = Taken::now();
        if round % 20 == 0 {
            report(&format!("{round} rounds: {taken:?}"));
        }
        if round < WARM_UP {
            continue;
        }
        let first = *first.get_or_insert(taken);
        assert!(taken.rss_kb <= first.rss_kb + SLACK_KB, "round {round}: {taken:?}, at first {first:?}");
        assert!(
            taken.threads <= first.threads + SLACK_ENDING,
            "round {round}: {taken:?}, at first {first:?}"
        );
        assert!(
            taken.descriptors <= first.descriptors + SLACK_ENDING,
            "round {round}: {taken:?}, at first {first:?}"
        );
    }
}
