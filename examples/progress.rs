//! Watches a download from another thread, and gives it up half way.
//!
//! `cargo run --example progress`. `download` blocks; every other call may be made meanwhile, on the same client.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use swarmcast::{Error, PClient, Tracker};

/// How often to look, and how long a download may take in all.
const LOOK: Duration = Duration::from_millis(50);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("file");
    std::fs::write(&file, (0..800_000_u32).map(|at| (at / 3) as u8).collect::<Vec<_>>())?;

    let tracker = Tracker::new(10_000, 10_000, None)?;
    let tracker_at = tracker.local_addr();
    thread::spawn(move || tracker.start());
    let source = PClient::builder().tracker(tracker_at).upload_rate(1_000_000).build()?;
    let fid = source.register(&file)?;

    let receiver = PClient::builder().tracker(tracker_at).build()?;
    let (sender, ended) = mpsc::channel();
    let outcome = thread::scope(|scope| {
        scope.spawn(|| sender.send(receiver.download(fid)));
        loop {
            match ended.recv_timeout(LOOK) {
                Ok(outcome) => break outcome,
                Err(RecvTimeoutError::Disconnected) => unreachable!("the download says how it ended"),
                Err(RecvTimeoutError::Timeout) => {}
            }
            // The size isn't known before somebody has proved it.
            let Some(progress) = receiver.progress(fid) else { continue };
            let Some(size) = progress.size else { continue };
            println!("{} of {size} B, {} peers", progress.verified, progress.peers);
            if progress.verified > size / 2 {
                // The download returns before this does.
                receiver.cancel(fid).expect("it is under way");
            }
        }
    });
    match outcome {
        Err(Error::Cancelled(_)) => println!("given up"),
        outcome => println!("{} B were faster", outcome?.len()),
    }
    Ok(())
}
