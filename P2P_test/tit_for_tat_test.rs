//! Tit for tat on real proxies: a receiver whose upload rate drops in mid transfer loses its places to those who give more, and regains
//! them when it recovers.
//!
//! The simulated study, with exact figures, is `sim/fairness.rs`.

mod common;

use std::sync::Arc;

use common::{Folder, Peer, Stopwatch, Swarm, report, until};
use swarmcast::pclient::choker::Standing;
use swarmcast::pclient::status::PeerStatus;
use swarmcast::time::Duration;
use swarmcast::{PClient, Proxy};

/// B/s, up and down, of all.
const RATE: u64 = 200_000;
const TENTH: u64 = RATE / 10;
const RECEIVERS: usize = 6;
/// Simulated, it takes 3 s at most; here the machine may be busy.
const PROMPTLY: Duration = Duration::from_secs(10);
const PATIENTLY: Duration = Duration::from_secs(30);

/// A receiver, and the proxy by which its rate is changed.
struct Receiver {
    peer: Peer,
    proxy: Proxy,
}

impl Receiver {
    fn join(swarm: &Swarm, name: &str) -> Receiver {
        let proxy = Proxy::new(RATE, RATE, None).expect("a port for the proxy");
        let peer = swarm.join_on(name, proxy.clone(), Duration::from_secs(30));
        Receiver { peer, proxy }
    }
}

/// How many of `others` give whoever is at `addr` a place because it gives most, and have done so for as long as `least`.
fn places(others: &[Arc<PClient>], addr: std::net::SocketAddr, least: Duration) -> usize {
    let gives = |status: &PeerStatus| {
        status.addr == addr && status.standing == Standing::Merit && status.standing_for >= least
    };
    others.iter().filter(|client| client.peers().iter().any(gives)).count()
}

/// One of several receivers slows down to a tenth, and recovers if there is time for that.
fn waver(size: usize, recovers: bool) {
    let (folder, swarm) = (Folder::new(), Swarm::new());
    let file = folder.file("update.img", 1, size);
    let source = swarm.join("the source", RATE, RATE);
    let fid = source.shares(&file);
    let names = ["Wavering", "Anna", "Bert", "Cora", "Dirk", "Emma"];
    let receivers: Vec<Receiver> =
        names[..RECEIVERS].iter().map(|name| Receiver::join(&swarm, name)).collect();
    let downloads: Vec<_> = receivers.iter().map(|receiver| receiver.peer.begin_download(fid)).collect();
    let (wavering, others) = receivers.split_first().expect("there are some");
    let addr = wavering.peer.client().local_addr();
    let others: Vec<Arc<PClient>> = others.iter().map(|receiver| receiver.peer.client()).collect();

    let most = others.len() - 1;
    // Places that come and go in the beginning are lost for longer each time, and that isn't what is measured.
    let least = if recovers { Duration::from_secs(5) } else { Duration::ZERO };
    until("Wavering has places", PATIENTLY, || places(&others, addr, least) >= most);
    wavering.proxy.set_upload_rate(TENTH);
    let dropped = Stopwatch::start();
    until("Wavering has lost them", PROMPTLY, || places(&others, addr, Duration::ZERO) == 0);
    report(&format!("its places are lost {:.1} s after its rate dropped", dropped.elapsed().as_secs_f64()));

    wavering.proxy.set_upload_rate(RATE);
    if recovers {
        let recovered = Stopwatch::start();
        until("Wavering has places again", PATIENTLY, || places(&others, addr, Duration::ZERO) >= most);
        report(&format!("they are regained after {:.1} s", recovered.elapsed().as_secs_f64()));
    }
    for (receiver, download) in receivers.iter().zip(downloads) {
        receiver.peer.has_got(download, &file);
    }
}

#[test]
fn who_slows_down_loses_its_places() {
    waver(1_600_000, false);
}

#[test]
#[ignore = "takes a minute"]
fn who_recovers_regains_its_places() {
    waver(8_000_000, true);
}
