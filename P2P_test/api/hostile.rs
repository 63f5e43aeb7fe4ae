//! Datagrams from strangers at every socket while transfers run.
//!
//! Garbage of any length, and garbage that passes for a packet until its body is read. What a partner could do who
//! knows the connection's id isn't here: the fuzzers and the simulator do that.

use std::net::SocketAddr;
use std::sync::Arc;

use swarmcast::Proxy;
use swarmcast::rand::Rng;
use swarmcast::rudp::packet::{self, ConnectionId, Header, Kind};
use swarmcast::sc_model::{Client, Server};
use swarmcast::time::Duration;

use crate::common::{Folder, MEDIUM, SMALL, Swarm, begin, until};

const KINDS: [Kind; 6] = [Kind::Hello, Kind::Retry, Kind::Welcome, Kind::Data, Kind::Close, Kind::Oneshot];

/// Sends `count` datagrams of up to `longest` B to each target, at `rate` B/s in all.
fn make_noise(seed: u64, targets: &[SocketAddr], count: usize, longest: u64, rate: u64) -> Proxy {
    let mut rng = Rng::from_seed(seed);
    let proxy = Proxy::new(rate, 0, None).expect("a port");
    let mut datagram = Vec::new();
    for _ in 0..count {
        for &target in targets {
            datagram.clear();
            if rng.chance(0.7) {
                let kind = KINDS[rng.index(KINDS.len())];
                let header = Header { kind, connection: ConnectionId(rng.u32()), number: rng.u32() };
                packet::begin(&mut datagram, header);
            }
            let (head, len) = (datagram.len(), rng.below(longest + 1) as usize);
            datagram.resize(head + len, 0);
            rng.fill(&mut datagram[head..]);
            if head > 0 {
                packet::seal(&mut datagram);
            }
            proxy.send(&datagram, target).expect("short enough, and open");
        }
    }
    proxy
}

#[test]
fn strangers_harm_no_transfer() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let (file, after) = (folder.file("F", 1, MEDIUM), folder.file("G", 2, SMALL));
    let (a, b) = (swarm.join("A", 300_000, 0), swarm.join("B", 300_000, 0));
    let server = Arc::new(Server::new(folder.path(), 300_000, 0, None).expect("a port for the server"));
    let serving = begin("the server's start", {
        let server = Arc::clone(&server);
        move || server.start()
    });
    let fid = a.shares(&file);

    let download = b.begin_download(fid);
    let from_server = begin("the client downloads", {
        let client = Client::new(server.local_addr(), 0).expect("a port for the client");
        move || client.download("F")
    });
    b.reaches(fid, 1);
    let sockets = [a.client().local_addr(), b.client().local_addr(), server.local_addr()];
    let short = make_noise(3, &sockets, 1_500, 60, 300_000);
    let long = make_noise(4, &sockets, 100, 3_000, 300_000);
    // The tracker's link is slow: its own requests are to come through as well.
    let at_tracker = make_noise(5, &[swarm.addr()], 60, 80, 3_000);

    b.has_got(download, &file);
    file.assert_same("the client", &from_server.within(Duration::from_secs(60)).expect("the server has it"));
    let noises = [(short, 4_500), (long, 300), (at_tracker, 60)];
    until("the noise is over", Duration::from_secs(20), || {
        noises.iter().all(|(proxy, count)| proxy.stats().datagrams_sent == *count)
    });

    // All are still there.
    b.shares(&after);
    a.gets(&after);
    server.close();
    serving.within(Duration::from_secs(5)).expect("the server served to its end");
}
