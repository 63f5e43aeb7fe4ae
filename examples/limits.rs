//! Changes the rates of a client while it downloads.
//!
//! `cargo run --example limits`. The rates are the proxy's, and whoever makes the proxy keeps a handle to it. An account of what
//! held the download back knows nothing of them: tell it of a limit that stays with `Config::download_limit`.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use swarmcast::{PClient, Proxy, Tracker};

/// B/s: by day, and once nobody else needs the link.
const SLOW: u64 = 500_000;
const FAST: u64 = 5_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("file");
    std::fs::write(&file, (0..800_000_u32).map(|at| (at / 3) as u8).collect::<Vec<_>>())?;

    let tracker = Tracker::new(10_000, 10_000, None)?;
    let tracker_at = tracker.local_addr();
    thread::spawn(move || tracker.start());
    let source = PClient::builder().tracker(tracker_at).build()?;
    let fid = source.register(&file)?;

    let proxy = Proxy::new(SLOW, SLOW, None)?;
    let receiver = PClient::builder().tracker(tracker_at).proxy(proxy.clone()).build()?;
    let (sender, ended) = mpsc::channel();
    let content = thread::scope(|scope| {
        scope.spawn(|| sender.send(receiver.download(fid)));
        loop {
            match ended.recv_timeout(Duration::from_millis(50)) {
                Ok(outcome) => break outcome,
                Err(RecvTimeoutError::Disconnected) => unreachable!("the download says how it ended"),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let verified = receiver.progress(fid).map_or(0, |progress| progress.verified);
            if verified > 200_000 {
                println!("{verified} B are here: faster now");
                proxy.set_download_rate(FAST);
            }
        }
    })?;
    println!("{} B, of {} B that arrived", content.len(), proxy.stats().bytes_received);
    Ok(())
}
