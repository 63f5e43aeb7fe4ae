//! Shares a file and gets it, all in one process: a tracker, who has the file, and who wants it.
//!
//! `cargo run --example share_and_get [FILE]`. Between machines, each of the three is a process of its own: name an address
//! that others can reach with `Tracker::bind` and `PClient::builder().bind(…)`, and tell them the tracker's address and the fid.

use std::{env, fs, thread};

use swarmcast::{PClient, Tracker};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = env::args().nth(1).unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/README.md").into());

    let tracker = Tracker::new(10_000, 10_000, None)?;
    let tracker_at = tracker.local_addr();
    thread::spawn(move || tracker.start());

    let source = PClient::builder().tracker(tracker_at).build()?;
    let fid = source.register(&file)?;
    println!("{file} is {fid}");

    let directory = tempfile::tempdir()?;
    let copy = directory.path().join("copy");
    let receiver = PClient::builder().tracker(tracker_at).build()?;
    receiver.download_to(fid, &copy)?;
    println!("got {} B from {}", fs::metadata(&copy)?.len(), source.local_addr());

    // What was got is served on: the source may go.
    source.close()?;
    let other = PClient::builder().tracker(tracker_at).build()?;
    println!("got {} B from {}", other.download(fid)?.len(), receiver.local_addr());
    assert_eq!(other.download(fid)?, fs::read(&file)?);
    Ok(())
}
