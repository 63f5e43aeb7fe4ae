//! Server and clients in the simulated world, and once over real proxies.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::client_node::{ClientNode, Failure, PATIENCE};
use super::protocol::{BLOCK, Get, Reply};
use super::server_node::ServerNode;
use super::{Client, Server};
use crate::Error;
use crate::machine::Machine;
use crate::rand::Rng;
use crate::rudp::{Class, Config, Endpoint, Event, Handle};
use crate::sim::{Faults, LinkConfig, NodeId, World};
use crate::time::{Duration, Instant};
use crate::units::Rate;

/// A directory of its own for one test, removed at the end.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new(test: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("swarmcast-sc-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A file of `len` random bytes that follow from `seed`.
    fn file(&self, name: &str, len: usize, seed: u64) -> Vec<u8> {
        let mut content = vec![0; len];
        Rng::from_seed(seed).fill(&mut content);
        fs::write(self.0.join(name), &content).unwrap();
        content
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The server, a client with what its downloads came to, or a stranger that sends what no client would.
enum Node {
    Server(Box<ServerNode>),
    Client(Box<ClientNode>, Vec<(Instant, Result<Vec<u8>, Failure>)>),
    Stranger(Box<Stranger>),
}

/// Speaks rudp and sends any message to anybody; as a server it does that once it is asked.
struct Stranger {
    endpoint: Endpoint,
    /// What it answers to each message, the blocks of a lying server for instance.
    answers: Vec<Vec<u8>>,
    heard: Vec<Vec<u8>>,
    asked: usize,
    closed: usize,
}

impl Stranger {
    fn pump(&mut self) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Answered { .. } | Event::Connected { .. } | Event::Moved { .. } => {}
                Event::Message { handle, data } => {
                    self.heard.push(data);
                    self.asked += 1;
                    for answer in self.answers.clone() {
                        self.endpoint.send(handle, Class::Control, 0, answer);
                    }
                }
                Event::Closed { .. } => self.closed += 1,
            }
        }
    }
}

impl Machine for Stranger {
    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.endpoint.handle_datagram(now, from, datagram);
        self.pump();
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        self.pump();
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        self.endpoint.poll_transmit(now, buf)
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.endpoint.poll_timeout()
    }
}

impl Node {
    fn collect(&mut self, now: Instant) {
        if let Node::Client(node, results) = self {
            results.extend(node.poll_result().map(|result| (now, result)));
        }
    }

    fn machine(&mut self) -> &mut dyn Machine {
        match self {
            Node::Server(node) => &mut **node,
            Node::Client(node, _) => &mut **node,
            Node::Stranger(node) => &mut **node,
        }
    }

    fn results(&self) -> &[(Instant, Result<Vec<u8>, Failure>)] {
        match self {
            Node::Client(_, results) => results,
            _ => panic!("not a client"),
        }
    }

    fn stranger(&mut self) -> &mut Stranger {
        match self {
            Node::Stranger(stranger) => stranger,
            _ => panic!("not a stranger"),
        }
    }
}

impl Machine for Node {
    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.machine().handle_datagram(now, from, datagram);
        self.collect(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.machine().handle_timeout(now);
        self.collect(now);
    }

    fn poll_transmit(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<SocketAddr> {
        self.machine().poll_transmit(now, buf)
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        match self {
            Node::Server(node) => node.poll_timeout(),
            Node::Client(node, _) => node.poll_timeout(),
            Node::Stranger(node) => node.poll_timeout(),
        }
    }
}

/// One server, node 0, with clients, each at the end of a link of its own.
struct Scene {
    world: World<Node>,
    root: PathBuf,
    server: NodeId,
    clients: Vec<NodeId>,
}

fn link(up: u64, down: u64) -> LinkConfig {
    let latency = Duration::from_millis(1);
    LinkConfig { up: Rate::new(up), down: Rate::new(down), latency, ..LinkConfig::default() }
}

fn addr(n: usize) -> SocketAddr {
    format!("10.0.0.{}:7000", n + 1).parse().unwrap()
}

fn secs(seconds: f64) -> Instant {
    Instant::ORIGIN + Duration::from_secs_f64(seconds)
}

impl Scene {
    /// `rate` B/s is the server's upload rate and the rates of the clients both ways; the server's downlink is free.
    fn new(seed: u64, faults: Faults, root: &Path, rate: u64, clients: usize) -> Scene {
        Scene::with_rates(seed, faults, root, (rate, rate), clients)
    }

    /// As `new`, with the rates of server and clients apart.
    fn with_rates(
        seed: u64,
        faults: Faults,
        root: &Path,
        (rate, theirs): (u64, u64),
        clients: usize,
    ) -> Scene {
        let mut world = World::new(seed, faults);
        let rng = world.fork_rng();
        let node = Node::Server(Box::new(ServerNode::new(root, rng).unwrap()));
        let server = world.add_node(addr(0), node, link(rate, 0));
        let clients = (1..=clients)
            .map(|n| {
                let node = ClientNode::new(addr(0), world.fork_rng());
                world.add_node(addr(n), Node::Client(Box::new(node), Vec::new()), link(theirs, theirs))
            })
            .collect();
        Scene { world, root: root.to_owned(), server, clients }
    }

    fn add_stranger(&mut self, n: usize, answers: Vec<Vec<u8>>) -> NodeId {
        let endpoint = Endpoint::new(Config::default(), self.world.fork_rng());
        let stranger = Stranger { endpoint, answers, heard: Vec::new(), asked: 0, closed: 0 };
        self.world.add_node(addr(n), Node::Stranger(Box::new(stranger)), link(0, 0))
    }

    /// Tells a client, by its place among the clients, to download.
    fn start(&mut self, client: usize, name: &str) {
        self.world.with_node(self.clients[client], |node, now| {
            let Node::Client(client, _) = node else { panic!("not a client") };
            client.start(now, name);
            node.collect(now);
        });
    }

    fn results(&self, client: usize) -> &[(Instant, Result<Vec<u8>, Failure>)] {
        self.world.node(self.clients[client]).results()
    }

    /// Goes on until every client has `count` results.
    fn finish(&mut self, count: usize, deadline: f64) {
        let clients = self.clients.clone();
        let done = self.world.run_while(secs(deadline), |world| {
            clients.iter().any(|&client| world.node(client).results().len() < count)
        });
        assert!(done, "not all have {count} results by {deadline} s");
    }

    /// Downloads one file with one client and gives what that came to.
    fn get(&mut self, name: &str) -> Result<Vec<u8>, Failure> {
        let (client, before) = (self.clients[0], self.results(0).len());
        self.start(0, name);
        let deadline = self.world.now() + Duration::from_secs(1_000);
        let done = self.world.run_while(deadline, |world| world.node(client).results().len() == before);
        assert!(done, "no result for `{name}`");
        self.results(0)[before].1.clone()
    }

    fn restart_server(&mut self) {
        let node = ServerNode::new(&self.root, self.world.fork_rng()).unwrap();
        self.world.restart(self.server, Node::Server(Box::new(node)));
    }
}

/// N clients ask at once. The last one's time by N × F ÷ u, and by the first one's.
fn race(loss: f64, clients: usize, len: usize, (rate, theirs): (u64, u64)) -> (f64, f64) {
    let directory = Directory::new(&format!("race-{clients}-{len}-{rate}-{theirs}-{loss}"));
    let content = directory.file("film.mkv", len, 1);
    let faults = Faults { loss, ..Faults::none() };
    let mut scene = Scene::with_rates(1, faults, directory.path(), (rate, theirs), clients);
    (0..clients).for_each(|client| scene.start(client, "film.mkv"));
    let bound = (clients * len) as f64 / rate as f64;
    scene.finish(1, 10.0 * bound + 10.0);
    let times: Vec<f64> = (0..clients)
        .map(|client| {
            let (at, result) = &scene.results(client)[0];
            assert!(result.as_ref() == Ok(&content), "client {client} has another file");
            at.as_secs_f64()
        })
        .collect();
    let last = times.iter().copied().fold(0.0, f64::max);
    let first = times.iter().copied().fold(f64::MAX, f64::min);
    println!(
        "{clients} × {len} B from {rate} B/s to {theirs} B/s, loss {loss}: {last:.2} s, {:.4} of the bound; first ÷ last {:.4}; queue {:?}",
        last / bound,
        first / last,
        scene.world.stats(scene.server).max_queue_up,
    );
    (last / bound, first / last)
}

#[test]
fn the_uplink_is_filled_and_shared_evenly() {
    let (ratio, evenness) = race(0.0, 4, 500_000, (100_000, 100_000));
    assert!(ratio <= 1.06 && evenness >= 0.96, "{ratio} {evenness}");
    let (ratio, evenness) = race(0.0, 20, 2_000_000, (1_000_000, 1_000_000));
    assert!(ratio <= 1.06 && evenness >= 0.95, "{ratio} {evenness}");
    let (ratio, evenness) = race(0.0, 4, 148_539, (5_000, 100_000));
    assert!(ratio <= 1.08 && evenness >= 0.95, "{ratio} {evenness}");
    let (ratio, _) = race(0.0, 1, 5_000_000, (1_000_000, 1_000_000));
    assert!(ratio <= 1.06, "{ratio}");
}

#[test]
fn loss_costs_what_is_lost() {
    let (ratio, _) = race(0.1, 4, 500_000, (100_000, 100_000));
    assert!(ratio <= 1.06 / 0.9 * 1.1, "{ratio}");
}

#[test]
fn a_bad_network_damages_no_file() {
    let directory = Directory::new("bad");
    let content = directory.file("a", 60_000, 1);
    let mut unreached = 0;
    for seed in 0..100 {
        let faults = Faults { corruption_fixes_crc: 0.0, ..Faults::random(&mut Rng::from_seed(seed)) };
        let mut scene = Scene::new(seed, faults, directory.path(), 100_000, 2);
        (0..2).for_each(|client| scene.start(client, "a"));
        scene.finish(1, 300.0);
        for client in 0..2 {
            match &scene.results(client)[0].1 {
                Ok(got) => assert!(*got == content, "seed {seed}"),
                // Faults may silence the server for longer than the model's patience.
                Err(Failure::Unreachable) => unreached += 1,
                Err(other) => panic!("seed {seed}: {other:?}"),
            }
        }
    }
    assert!(unreached <= 2, "{unreached} of 200 gave up");
}

#[test]
fn sizes_at_the_edges_arrive() {
    let directory = Directory::new("sizes");
    let mut scene = Scene::new(1, Faults::none(), directory.path(), 1_000_000, 1);
    for len in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK] {
        let content = directory.file("a", len, len as u64);
        assert_eq!(scene.get("a"), Ok(content), "{len} B");
    }
    // All over one connection.
    let Node::Server(server) = scene.world.node(scene.server) else { panic!("not a server") };
    assert_eq!((server.stats().requests, server.stats().finished, server.transfers()), (6, 6, 0));
}

#[test]
fn a_name_outside_the_root_is_unknown() {
    let outer = Directory::new("names");
    let root = outer.path().join("root");
    fs::create_dir_all(root.join("folder")).unwrap();
    let secret = outer.file("secret", 100, 1);
    fs::write(root.join("folder/a"), "content").unwrap();
    symlink("../secret", root.join("link")).unwrap();
    symlink("..", root.join("up")).unwrap();
    let mut scene = Scene::new(1, Faults::none(), &root, 1_000_000, 1);
    assert_eq!(scene.get("folder/a"), Ok(b"content".to_vec()));
    let absolute = outer.path().join("secret").to_str().unwrap().to_owned();
    let long = "x/".repeat(1_000);
    for name in
        ["missing", "", "folder", "../secret", "folder/../../secret", "link", "up/secret", &absolute, &long]
    {
        assert_eq!(scene.get(name), Err(Failure::NotFound), "{name}");
    }
    fs::write(root.join("copy"), &secret).unwrap();
    assert_eq!(scene.get("copy"), Ok(secret));
}

#[test]
fn a_restarted_server_is_asked_for_the_rest_only() {
    let directory = Directory::new("restart");
    let content = directory.file("a", 400_000, 1);
    let mut scene = Scene::new(1, Faults::none(), directory.path(), 100_000, 1);
    scene.start(0, "a");
    scene.world.run_until(secs(2.0));
    scene.world.crash(scene.server);
    scene.world.run_until(secs(5.0));
    scene.restart_server();
    scene.finish(1, 30.0);
    let (at, result) = &scene.results(0)[0];
    assert_eq!(result.as_ref(), Ok(&content));
    let Node::Server(server) = scene.world.node(scene.server) else { panic!("not a server") };
    println!("whole after {at:?}, {} B of 400,000 from the restarted server", server.stats().bytes);
    assert!(server.stats().bytes < 250_000, "{:?}", server.stats());
}

#[test]
fn a_file_that_changed_meanwhile_is_sent_anew() {
    let directory = Directory::new("changed");
    directory.file("a", 400_000, 1);
    let mut scene = Scene::new(1, Faults::none(), directory.path(), 100_000, 1);
    scene.start(0, "a");
    scene.world.run_until(secs(2.0));
    scene.world.crash(scene.server);
    let changed = directory.file("a", 300_000, 2);
    scene.restart_server();
    scene.finish(1, 30.0);
    assert_eq!(scene.results(0)[0].1.as_ref(), Ok(&changed));
}

#[test]
fn a_file_that_shrinks_is_given_up_and_the_next_one_arrives() {
    let directory = Directory::new("shrinks");
    directory.file("a", 400_000, 1);
    let content = directory.file("b", 50_000, 2);
    let mut scene = Scene::new(1, Faults::none(), directory.path(), 100_000, 1);
    scene.start(0, "a");
    scene.world.run_until(secs(1.0));
    fs::write(directory.path().join("a"), [0; 1_000]).unwrap();
    scene.finish(1, 10.0);
    assert_eq!(scene.results(0)[0].1, Err(Failure::ServerFailed));
    assert_eq!(scene.get("b"), Ok(content));
}

#[test]
fn another_download_takes_the_place_of_the_first() {
    let directory = Directory::new("instead");
    directory.file("a", 400_000, 1);
    let content = directory.file("b", 50_000, 2);
    let mut scene = Scene::new(1, Faults::none(), directory.path(), 100_000, 1);
    scene.start(0, "a");
    scene.world.run_until(secs(1.0));
    assert_eq!(scene.get("b"), Ok(content));
    scene.world.run_until(secs(20.0));
    assert_eq!(scene.results(0).len(), 1);
}

#[test]
fn a_server_that_is_gone_is_given_up_in_time() {
    let directory = Directory::new("gone");
    directory.file("a", 400_000, 1);
    let mut scene = Scene::new(1, Faults::none(), directory.path(), 100_000, 2);
    scene.start(0, "a");
    scene.world.run_until(secs(2.0));
    scene.world.crash(scene.server);
    scene.start(1, "a");
    scene.finish(1, 20.0);
    for client in 0..2 {
        let (at, result) = &scene.results(client)[0];
        assert_eq!(result, &Err(Failure::Unreachable));
        let after = at.since(secs(2.0));
        assert!(after <= PATIENCE + Duration::from_millis(200) && after > PATIENCE / 2, "{after:?}");
    }
    // And it may come back.
    scene.restart_server();
    assert_eq!(scene.get("a").map(|content| content.len()), Ok(400_000));
}

#[test]
fn clients_that_leave_free_their_share() {
    let directory = Directory::new("leave");
    let content = directory.file("a", 300_000, 1);
    let mut scene = Scene::new(1, Faults::none(), directory.path(), 100_000, 4);
    (0..4).for_each(|client| scene.start(client, "a"));
    scene.world.run_until(secs(2.0));
    // One says so, two vanish.
    scene.world.with_node(scene.clients[1], |node, _| {
        let Node::Client(client, _) = node else { panic!("not a client") };
        client.close();
    });
    scene.world.crash(scene.clients[2]);
    scene.world.crash(scene.clients[3]);
    scene.clients.truncate(1);
    scene.finish(1, 60.0);
    let (at, result) = &scene.results(0)[0];
    println!("alone after 2 s of 4: {at:?}");
    assert_eq!(result.as_ref(), Ok(&content));
    // rudp may take 4 s to notice. With the two still in the line it would be 9.5 s, with all three 12 s.
    assert!(*at < secs(9.0), "{at:?}");
}

#[test]
fn messages_that_make_no_sense_end_the_connection_and_nothing_else() {
    let directory = Directory::new("strange");
    let content = directory.file("a", 50_000, 1);
    let mut scene = Scene::new(1, Faults::none(), directory.path(), 100_000, 1);
    let stranger = scene.add_stranger(9, Vec::new());
    let messages: Vec<Vec<u8>> = vec![
        vec![],
        vec![0xff; 100],
        Reply::NotFound.encode(),
        Get { name: "x".repeat(5_000), offset: 0, stamp: 0 }.encode(),
    ];
    for message in &messages {
        scene.world.with_node(stranger, |node, now| {
            let endpoint = &mut node.stranger().endpoint;
            let handle: Handle = endpoint.connect(now, addr(0));
            endpoint.send(handle, Class::Control, 0, message.clone());
        });
    }
    scene.start(0, "a");
    scene.finish(1, 10.0);
    assert_eq!(scene.results(0)[0].1.as_ref(), Ok(&content));
    scene.world.with_node(stranger, |node, _| {
        assert_eq!((node.stranger().closed, node.stranger().heard.len()), (messages.len(), 0));
    });
}

#[test]
fn a_lying_server_is_seen_through() {
    let directory = Directory::new("lying");
    let lies = |answers: Vec<Vec<u8>>| {
        let mut scene = Scene::new(1, Faults::none(), directory.path(), 100_000, 0);
        let liar = scene.add_stranger(9, answers);
        let node = ClientNode::new(addr(9), scene.world.fork_rng());
        let node = Node::Client(Box::new(node), Vec::new());
        scene.clients.push(scene.world.add_node(addr(1), node, link(0, 0)));
        let result = scene.get("a");
        (
            result,
            scene.world.now().as_secs_f64(),
            scene.world.with_node(liar, |node, _| node.stranger().asked),
        )
    };
    let found = Reply::Found { size: 5, stamp: 1, offset: 0 }.encode();
    let block = Reply::Block { offset: 0, data: b"hello" }.encode();
    let hash = crate::Fid::of(b"other");
    let (result, _, _) = lies(vec![found.clone(), block.clone(), Reply::Done { hash }.encode()]);
    assert_eq!(result, Err(Failure::Integrity(hash)));
    // Nonsense each time it is asked: it is asked again, with pauses, but not for ever.
    for nonsense in [
        vec![found.clone(), found.clone()],
        vec![vec![0x77]],
        vec![Get { name: "a".to_owned(), offset: 0, stamp: 0 }.encode()],
    ] {
        let (result, end, asked) = lies(nonsense);
        assert_eq!(result, Err(Failure::Unreachable));
        assert!((2..=8).contains(&asked) && end < 30.0, "{asked} times in {end} s");
    }
}

/// The library's surface over real sockets on this machine.
fn serve(server: &Arc<Server>) -> std::thread::JoinHandle<crate::Result<()>> {
    let server = Arc::clone(server);
    std::thread::spawn(move || server.start())
}

#[test]
fn real_proxies_carry_downloads_and_close_ends_all() {
    let directory = Directory::new("real");
    let content = directory.file("a", 300_000, 1);
    directory.file("large", 5_000_000, 2);
    let server = Arc::new(Server::new(directory.path(), 0, 0, None).unwrap());
    let addr = server.local_addr();
    let serving = serve(&server);

    let client = Arc::new(Client::new(addr, 0).unwrap());
    assert!(client.download("a").unwrap() == content);
    assert!(matches!(client.download("../a"), Err(Error::NoSuchName(name)) if name == "../a"));
    let others: Vec<_> = (0..3)
        .map(|_| {
            let client = Arc::clone(&client);
            std::thread::spawn(move || client.download("a").unwrap())
        })
        .collect();
    others.into_iter().for_each(|other| assert!(other.join().unwrap() == content));

    // Closed in the middle of a download: it ends, and so does every later one.
    let slow = Arc::new(Client::with_rates(addr, 0, 20_000).unwrap());
    let downloading = {
        let slow = Arc::clone(&slow);
        std::thread::spawn(move || slow.download("large"))
    };
    assert!(client.download("a").unwrap() == content);
    slow.close();
    assert!(matches!(downloading.join().unwrap(), Err(Error::Closed)));
    assert!(matches!(slow.download("a"), Err(Error::Closed)));

    server.close();
    assert!(matches!(serving.join().unwrap(), Ok(())));
    assert!(matches!(server.start(), Err(Error::Closed)));
    server.close();
    // The port is free, and the client finds the new server there.
    let again = Arc::new(Server::bind(directory.path(), addr, 0, 0).unwrap());
    let serving = serve(&again);
    assert!(client.download("a").unwrap() == content);
    drop(client);
    again.close();
    assert!(serving.join().unwrap().is_ok());
}

#[test]
fn what_cannot_work_fails_at_once() {
    let directory = Directory::new("fails");
    directory.file("a", 1, 1);
    for root in ["missing", "a"] {
        let path = directory.path().join(root);
        let refused = Server::new(&path, 0, 0, None);
        assert!(matches!(refused, Err(Error::File { path: named, .. }) if named == path), "{root}");
    }
    let server = Server::new(directory.path(), 0, 0, None).unwrap();
    assert!(matches!(
        Server::new(directory.path(), 0, 0, Some(server.local_addr().port())),
        Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::AddrInUse
    ));
    assert!(matches!(Client::new("no port", 0), Err(Error::BadAddress(_))));
    // Closed before it was started.
    server.close();
    assert!(matches!(server.start(), Err(Error::Closed)));
}
