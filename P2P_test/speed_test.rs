//! The swarm against the server-client model, on the same links.
//!
//! The bound that both are held against is the fluid one; what a simulator can measure better stands in `sim`.

mod common;

use std::sync::Arc;

use common::{Folder, LARGE, Swarm, TestFile, all_close_within, begin, report};
use swarmcast::sc_model::{Client, Server};
use swarmcast::time::Duration;

const RATE: u64 = 1_000_000;
const RECEIVERS: usize = 4;

/// No distribution is faster than the source's one copy, than a receiver's downlink, or than all uplinks together, s.
fn bound(size: usize) -> f64 {
    let (size, rate, receivers) = (size as f64, RATE as f64, RECEIVERS as f64);
    (size / rate).max(receivers * size / (rate + receivers * rate))
}

/// The last receiver's time from a peer to peers, s.
fn swarm(file: &TestFile) -> f64 {
    let swarm = Swarm::new();
    let source = swarm.join("the source", RATE, RATE);
    let receivers: Vec<_> = (1..=RECEIVERS).map(|n| swarm.join(&format!("R{n}"), RATE, RATE)).collect();
    let fid = source.shares(file);
    let downloads: Vec<_> = receivers.iter().map(|receiver| receiver.begin_download(fid)).collect();
    let times = receivers.iter().zip(downloads).map(|(receiver, download)| receiver.has_got(download, file));
    let last = times.max().expect("there are receivers");
    all_close_within(Duration::from_secs(5), &receivers.iter().chain([&source]).collect::<Vec<_>>());
    last.as_secs_f64()
}

/// The last receiver's time from a server to clients, s.
fn server_and_clients(folder: &Folder, file: &TestFile) -> f64 {
    let server = Arc::new(Server::new(folder.path(), RATE, RATE, None).expect("a port for the server"));
    let serving = begin("the server's start", {
        let server = Arc::clone(&server);
        move || server.start()
    });
    let name = file.path.file_name().and_then(|name| name.to_str()).expect("the test's own name").to_owned();
    let downloads: Vec<_> = (1..=RECEIVERS)
        .map(|n| {
            let client = Client::new(server.local_addr(), RATE).expect("a port for the client");
            let name = name.clone();
            begin(format!("client {n} downloads"), move || client.download(&name))
        })
        .collect();
    let mut last = Duration::ZERO;
    for download in downloads {
        let (content, took) = download.timed(Duration::from_secs(120));
        file.assert_same("a client", &content.expect("the server has it"));
        last = last.max(took);
    }
    server.close();
    serving.within(Duration::from_secs(5)).expect("the server served to its end");
    last.as_secs_f64()
}

#[test]
fn four_receivers_are_served_near_the_bound_and_three_times_faster_than_by_a_server() {
    let folder = Folder::new();
    let file = folder.file("F", 5, LARGE);
    let bound = bound(file.content.len());
    // One after the other: they would take each other's processor.
    let swarm = swarm(&file);
    let server = server_and_clients(&folder, &file);
    report(&format!("swarm: {swarm:.2} s, {:.3} of the bound of {bound:.2} s", swarm / bound));
    report(&format!("server: {server:.2} s, {:.2} times the swarm's", server / swarm));
    assert!(swarm <= 1.25 * bound, "{swarm:.2} s, the bound is {bound:.2} s");
    assert!(server >= 3.0 * swarm, "{swarm:.2} s, a server took only {server:.2} s");
}
