//! Close and drop, the port, and partners that are not there.

use std::io;

use swarmcast::time::Duration;
use swarmcast::{Error, PClient, Proxy, Tracker};

use crate::common::{Folder, MEDIUM, Peer, SMALL, Stopwatch, Swarm, assert_closed, begin, log_to_test};

const AT_ONCE: Duration = Duration::from_secs(1);
const SHORTLY: Duration = Duration::from_secs(2);

#[test]
fn after_close_every_call_says_so_at_once() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let file = folder.file("F", 1, SMALL);
    let a = swarm.join("A", 0, 0);
    let fid = a.shares(&file);
    a.begin_close().within(SHORTLY).expect("closing can't fail");
    let watch = Stopwatch::start();
    assert_closed(&a.register(&file.path));
    assert_closed(&a.register(folder.join("missing")));
    assert_closed(&a.download(fid));
    assert_closed(&a.download_to(fid, folder.join("new")));
    assert_closed(&a.cancel(fid));
    assert!(a.progress(fid).is_none());
    a.close().expect("closing again is harmless");
    assert!(watch.elapsed() < AT_ONCE, "{:?}", watch.elapsed());
    assert!(!folder.join("new").exists());
}

#[test]
fn close_ends_what_is_under_way_and_may_be_called_by_many_at_once() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let (file, other) = (folder.file("F", 2, MEDIUM), folder.file("G", 3, SMALL));
    let (a, b) = (swarm.join("A", 100_000, 0), swarm.join("B", 0, 0));
    let fid = a.shares(&file);
    b.shares(&other);
    let target = folder.join("target");
    let to_memory = b.begin_download(fid);
    let to_path = begin("B downloads to a path", {
        let (client, target) = (b.client(), target.clone());
        move || client.download_to(fid, target)
    });
    b.reaches(fid, MEDIUM / 16);

    let closings = [b.begin_close(), b.begin_close(), b.begin_close()];
    assert_closed(&to_memory.within(AT_ONCE));
    assert_closed(&to_path.within(AT_ONCE));
    for closing in closings {
        closing.within(AT_ONCE).expect("closing can't fail");
    }
    assert!(!target.exists());
    Proxy::new(0, 0, Some(b.client().local_addr().port())).expect("the port is free").close();
    // B has taken its leave of the tracker, too.
    let result = a.download(other.fid());
    assert!(matches!(result, Err(Error::UnknownFile(_))), "{:?}", result.map(|content| content.len()));
}

#[test]
fn a_source_that_closes_frees_its_port_and_sends_no_more() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let file = folder.file("F", 4, MEDIUM);
    let proxy = Proxy::new(200_000, 0, None).expect("a port");
    let a = swarm.join_on("A", proxy.clone(), Duration::from_secs(30));
    let b = swarm.join_on("B", Proxy::new(0, 0, None).expect("a port"), Duration::from_secs(1));
    let fid = a.shares(&file);
    let download = b.begin_download(fid);
    b.reaches(fid, MEDIUM / 16);
    a.begin_close().within(SHORTLY).expect("closing can't fail");
    let stats = proxy.stats();
    Proxy::new(0, 0, Some(proxy.port())).expect("the port is free").close();
    assert!(matches!(proxy.recv(None), Err(error) if error.kind() == io::ErrorKind::NotConnected));
    let result = download.within(Duration::from_secs(15));
    assert!(matches!(result, Err(Error::NoHolder { .. })), "{:?}", result.map(|_| "all"));
    assert_eq!(proxy.stats(), stats, "something left or arrived after close");
}

#[test]
fn who_closes_while_it_registers_is_not_listed_afterwards() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let b = swarm.join("B", 0, 0);
    for seed in 20..30 {
        let file = folder.file(&format!("{seed}.bin"), seed, 1000);
        let a = swarm.join("A", 0, 0);
        let registerings = [a.begin_register(&file.path), a.begin_register(&file.path)];
        a.begin_close().within(SHORTLY).expect("closing can't fail");
        for registering in registerings {
            let result = registering.within(AT_ONCE);
            assert!(matches!(result, Ok(_) | Err(Error::Closed)), "{result:?}");
        }
        let result = b.download(file.fid());
        assert!(matches!(result, Err(Error::UnknownFile(_))), "{:?}", result.map(|content| content.len()));
    }
}

#[test]
fn dropping_a_client_closes_it() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let file = folder.file("F", 5, SMALL);
    let (a, b) = (swarm.join("A", 0, 0), swarm.join("B", 0, 0));
    let (fid, port) = (a.shares(&file), a.client().local_addr().port());
    drop(a);
    Proxy::new(0, 0, Some(port)).expect("the port is free").close();
    let result = b.download(fid);
    assert!(matches!(result, Err(Error::UnknownFile(_))), "{:?}", result.map(|content| content.len()));
}

#[test]
fn the_port_is_the_given_one_and_a_busy_one_is_an_error() {
    let swarm = Swarm::new();
    let free = Proxy::new(0, 0, None).expect("a port");
    let port = free.port();
    let busy = PClient::new(swarm.addr(), None, Some(port), 0, 0);
    assert!(matches!(&busy, Err(Error::Io(error)) if error.kind() == io::ErrorKind::AddrInUse), "{busy:?}");
    let tracker = Tracker::new(0, 0, Some(port));
    assert!(matches!(tracker, Err(Error::Io(error)) if error.kind() == io::ErrorKind::AddrInUse));
    free.close();
    let client = PClient::new(swarm.addr(), None, Some(port), 0, 0).expect("the port is free now");
    assert_eq!(client.local_addr(), free.local_addr());
}

#[test]
fn a_given_proxy_is_the_one_that_is_used() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let file = folder.file("F", 6, SMALL);
    let proxy = Proxy::new(0, 0, None).expect("a port");
    let client = PClient::new(swarm.addr(), Some(proxy.clone()), None, 10, 10).expect("the proxy is open");
    assert_eq!(client.local_addr(), proxy.local_addr());
    // At 10 B/s it would take four hours: the rates are the proxy's own.
    let (a, b) = (Peer::new("A", client), swarm.join("B", 0, 0));
    a.shares(&file);
    b.gets(&file);
    assert!(proxy.stats().bytes_sent > SMALL as u64);
}

#[test]
fn an_address_that_is_none_is_an_error() {
    for addr in ["nonsense", "127.0.0.1", "127.0.0.1:99999", ""] {
        let client = PClient::new(addr, None, None, 0, 0);
        assert!(matches!(client, Err(Error::BadAddress(_))), "{addr}: {client:?}");
    }
}

#[test]
fn a_tracker_that_is_not_there_is_given_up_and_found_when_it_comes() {
    log_to_test();
    let folder = Folder::new();
    let (file, other) = (folder.file("F", 7, SMALL), folder.file("G", 8, SMALL));
    let reserved = Proxy::new(0, 0, None).expect("a port");
    let addr = reserved.local_addr();
    reserved.close();
    let [a, b, c] = ["A", "B", "C"].map(|name| {
        Peer::new(name, PClient::new(addr, None, None, 0, 0).expect("a tracker need not be there yet"))
    });

    // All at once, as each takes its 10 s.
    let registering = a.begin_register(&file.path);
    let downloading = b.begin_download(file.fid());
    let cut_short = c.begin_register(&other.path);
    let (registered, after) = registering.timed(Duration::from_secs(15));
    assert!(matches!(registered, Err(Error::TrackerUnreachable { .. })), "{registered:?}");
    assert!(after > Duration::from_secs(5), "a tracker may be slow for longer than {after:?}");
    let downloaded = downloading.within(Duration::from_secs(5));
    assert!(matches!(downloaded, Err(Error::TrackerUnreachable { .. })), "{downloaded:?}");
    assert!(cut_short.within(Duration::from_secs(5)).is_err());
    let cut_short = c.begin_download(other.fid());
    c.begin_close().within(SHORTLY).expect("closing can't fail");
    assert_closed(&cut_short.within(AT_ONCE));

    let swarm = Swarm::with_tracker(Tracker::bind(addr, 10_000, 10_000).expect("the port is free"));
    a.shares(&file);
    b.gets(&file);
    drop(swarm);
}

#[test]
fn holders_that_are_dead_are_given_up() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let file = folder.file("F", 9, SMALL);
    let proxy = Proxy::new(0, 0, None).expect("a port");
    let a = swarm.join_on("A", proxy.clone(), Duration::from_secs(30));
    let fid = a.shares(&file);
    // A dies without a word. One newcomer looks for it, and another even lives at its address.
    proxy.close();
    let heir = Proxy::new(0, 0, Some(proxy.port())).expect("the port is free");
    let patience = Duration::from_secs(2);
    let b = swarm.join_on("B", Proxy::new(0, 0, None).expect("a port"), patience);
    let c = swarm.join_on("C", heir, patience);
    let downloads = [b.begin_download(fid), c.begin_download(fid)];
    for download in downloads {
        let result = download.within(Duration::from_secs(15));
        assert!(matches!(result, Err(Error::NoHolder { seconds: 2, .. })), "{:?}", result.map(|_| "all"));
    }
    a.begin_close().within(SHORTLY).expect("closing can't fail");
}
