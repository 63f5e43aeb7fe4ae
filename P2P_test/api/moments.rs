//! Cancel and close from another thread, at moments of a transfer that chance chooses.
//!
//! `ROUNDS=1000 cargo test --release --test api_test -- --ignored --nocapture at_random_moments` plays many.

use std::io;

use swarmcast::rand::Rng;
use swarmcast::time::Duration;
use swarmcast::{Error, Proxy, Tracker};

use crate::common::{Folder, MEDIUM, Peer, Swarm, TestFile, begin, report, until};

/// A call that ends a transfer returns within this, whatever is under way.
const AT_ONCE: Duration = Duration::from_secs(1);
/// The farewell to the peers and the tracker, and acks: at these rates a datagram with content is longer.
const MAX_FAREWELL: u64 = 1_000;
const RATE: u64 = 4_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    SourceCancels,
    SourceCloses,
    ReceiverCancels,
    ReceiverCloses,
}

const DEEDS: [Deed; 4] =
    [Deed::SourceCancels, Deed::SourceCloses, Deed::ReceiverCancels, Deed::ReceiverCloses];

/// What the rounds showed at worst.
#[derive(Debug, Default)]
struct Worst {
    took: Duration,
    /// What left the one who had cancelled, afterwards, B.
    sent: u64,
}

/// One transfer that ends before its time.
fn play(swarm: &Swarm, file: &TestFile, rng: &mut Rng, worst: &mut Worst) {
    let (deed, verified) = (DEEDS[rng.index(4)], rng.below(MEDIUM as u64));
    let proxies = [(RATE, 0), (0, 0)].map(|(up, down)| Proxy::new(up, down, None).expect("a port"));
    let [source, receiver] = [("A", &proxies[0]), ("B", &proxies[1])]
        .map(|(name, proxy)| swarm.join_on(name, proxy.clone(), Duration::from_secs(30)));
    let fid = source.shares(file);
    let download = receiver.begin_download(fid);
    let has_come_far = || receiver.progress(fid).is_some_and(|progress| progress.verified >= verified);
    until("B has got part of it", Duration::from_secs(20), has_come_far);

    let (doer, other, proxy) = match deed {
        Deed::SourceCancels | Deed::SourceCloses => (&source, &receiver, &proxies[0]),
        Deed::ReceiverCancels | Deed::ReceiverCloses => (&receiver, &source, &proxies[1]),
    };
    let client = doer.client();
    let closes = matches!(deed, Deed::SourceCloses | Deed::ReceiverCloses);
    let ending = begin(format!("{deed:?}"), move || if closes { client.close() } else { client.cancel(fid) });
    let (ended, took) = ending.timed(Duration::from_secs(20));
    let before = proxy.stats();
    ended.unwrap_or_else(|error| panic!("{deed:?} at {verified} B: {error}"));
    assert!(took <= AT_ONCE, "{deed:?} at {verified} B took {took:?}");
    worst.took = worst.took.max(took);
    if closes {
        assert_freed(proxy);
    }

    // The other one goes on asking until it leaves; or it had all already.
    other.begin_close().within(Duration::from_secs(20)).expect("closing can't fail");
    match download.within(Duration::from_secs(20)) {
        Ok(content) => file.assert_same("B", &content),
        Err(error) => assert!(matches!(error, Error::Cancelled(_) | Error::Closed), "{deed:?}: {error}"),
    }
    let after = proxy.stats();
    if closes {
        assert_eq!(before, after, "{deed:?} at {verified} B: something left or arrived after close");
    } else {
        worst.sent = worst.sent.max(after.bytes_sent - before.bytes_sent);
        assert!(worst.sent <= MAX_FAREWELL, "{deed:?} at {verified} B: {} B left afterwards", worst.sent);
    }
}

fn assert_freed(proxy: &Proxy) {
    Proxy::new(0, 0, Some(proxy.port())).expect("the port is free").close();
    assert!(matches!(proxy.recv(None), Err(error) if error.kind() == io::ErrorKind::NotConnected));
}

fn play_rounds(rounds: u64, first_seed: u64) {
    let swarm = Swarm::with_tracker(Tracker::new(0, 0, None).expect("a port for the tracker"));
    let (folder, mut worst) = (Folder::new(), Worst::default());
    let file = folder.file("F", 1, MEDIUM);
    for seed in first_seed..first_seed + rounds {
        play(&swarm, &file, &mut Rng::from_seed(seed), &mut worst);
    }
    report(&format!(
        "{rounds} ends at random moments: {:.0} ms at most, {} B left after a cancel at most",
        worst.took.as_secs_f64() * 1e3,
        worst.sent
    ));
}

#[test]
fn transfers_end_at_once_at_any_moment() {
    play_rounds(20, 0);
}

#[test]
#[ignore = "minutes; see the head of this file"]
fn at_random_moments() {
    let rounds = std::env::var("ROUNDS").map_or(1_000, |rounds| rounds.parse().expect("a number"));
    play_rounds(rounds, 1_000);
}

/// A file is closed for good as soon as the last handle is gone: nobody needs to call close.
#[test]
fn a_client_that_is_dropped_in_mid_transfer_frees_its_port() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let file = folder.file("F", 2, MEDIUM);
    let proxy = Proxy::new(RATE / 8, 0, None).expect("a port");
    let source: Peer = swarm.join_on("A", proxy.clone(), Duration::from_secs(30));
    let receiver = swarm.join("B", 0, 0);
    let fid = source.shares(&file);
    let download = receiver.begin_download(fid);
    receiver.reaches(fid, MEDIUM / 8);
    drop(source);
    assert_freed(&proxy);
    receiver.cancel(fid).expect("B downloads it");
    assert!(matches!(download.within(AT_ONCE), Err(Error::Cancelled(_))));
}
