//! Calls that overtake each other, peers that ask for too much, and addresses where nobody is, on a node whose tracker never answers.

use super::*;
use crate::pclient::pieces::Lengths;
use crate::pclient::storage::MemoryStorage;
use crate::pclient::upload::MAX_WANTED;
use crate::rudp::{self, CloseReason, Handle};
use crate::tracker::{self, Holder};

const TRACKER: &str = "127.0.0.1:9";

/// A node that takes part in a file, and the file's id. The tracker never answers.
fn node() -> (Node, Fid) {
    let mut node = Node::new(Config::default(), TRACKER.parse().unwrap(), Rng::from_seed(1));
    share(&mut node);
    (node, Fid::of(b"a"))
}

fn share(node: &mut Node) {
    let manifest = Manifest::from_reader(&b"a"[..], 1).unwrap();
    let storage = MemoryStorage::with_size(1).unwrap();
    storage.write_at(0, b"a").unwrap();
    node.share(Instant::ORIGIN, None, manifest, Box::new(storage));
}

fn fetch(node: &mut Node, fid: Fid) {
    node.fetch(Instant::ORIGIN, fid, Box::new(|size| Ok(Box::new(MemoryStorage::with_size(size)?))));
}

#[test]
fn a_cancel_is_over_when_the_file_is_taken_part_in_again() {
    for again in [share as fn(&mut Node), |node| fetch(node, Fid::of(b"a"))] {
        let (mut node, fid) = node();
        assert!(node.cancel(Instant::ORIGIN, fid));
        assert!(node.poll_event().is_none(), "the tracker hasn't answered");
        again(&mut node);
        assert!(matches!(node.poll_event(), Some(Event::Cancelled(which)) if which == fid));
        assert!(node.progress(fid).is_some());
    }
}

#[test]
fn what_is_registered_while_it_is_fetched_is_there() {
    let mut node = Node::new(Config::default(), TRACKER.parse().unwrap(), Rng::from_seed(1));
    let fid = Fid::of(b"a");
    fetch(&mut node, fid);
    share(&mut node);
    assert!(matches!(node.poll_event(), Some(Event::Downloaded(which)) if which == fid));
    let (storage, size) = node.swarm(fid).unwrap().stored().unwrap();
    let mut content = vec![0; size as usize];
    storage.read_at(0, &mut content).unwrap();
    assert_eq!(content, b"a");
}

#[test]
fn a_failed_second_registration_does_not_end_the_sharing() {
    let (mut node, fid) = node();
    node.on_tracker_event(Instant::ORIGIN, tracker::Event::Confirmed { fid });
    share(&mut node);
    node.handle_timeout(Instant::ORIGIN + Duration::from_secs(11));
    assert!(matches!(node.poll_event(), Some(Event::Registered(_))));
    assert!(matches!(node.poll_event(), Some(Event::Failed(_, Error::TrackerUnreachable { .. }))));
    assert!(node.progress(fid).is_some());
}

#[test]
fn who_leaves_begins_nothing_any_more() {
    let (mut node, fid) = node();
    node.leave(Instant::ORIGIN);
    share(&mut node);
    fetch(&mut node, fid);
    for _ in 0..2 {
        assert!(matches!(node.poll_event(), Some(Event::Failed(_, Error::Closed))));
    }
    assert!(node.progress(fid).is_none());
}

/// A file that is one piece, of the full length.
fn piece() -> Vec<u8> {
    vec![1; Lengths::choose(1).unwrap().full_piece_len() as usize]
}

/// A peer at the other end of a connection, who has all of [`piece`].
struct Source(Handle, SocketAddr);

impl Source {
    fn says(&self, node: &mut Node, message: &Message<'_>) {
        self.says_at(node, Instant::ORIGIN, message);
    }

    fn says_at(&self, node: &mut Node, now: Instant, message: &Message<'_>) {
        node.on_message(now, self.0, message, &message.encode());
        node.settle(now);
    }

    /// Takes part, and proves the size, so that it is asked for the only piece.
    fn begins(&self, node: &mut Node, fid: Fid) {
        let manifest = Manifest::of(&piece());
        let size = manifest.lengths().size();
        let (outline, proof) = (manifest.outline(), manifest.outline().size_proof().to_bytes());
        self.says(node, &Message::Open { channel: 7, fid, has_manifest: true, is_complete: true });
        self.says(node, &Message::Outline { channel: 7, size, proof: &proof, joints: outline.joints() });
        let asked = node.swarm(fid).unwrap().peers()[&self.0].source.requests().len();
        assert_eq!(asked, 1);
    }

    /// Gives the rest of the manifest.
    fn proves(&self, node: &mut Node) {
        self.says(node, &Message::Hashes { channel: 7, part: 1, hashes: Manifest::of(&piece()).hashes() });
    }

    fn opens(&self, node: &mut Node, fid: Fid) {
        self.begins(node, fid);
        self.proves(node);
    }

    fn gives(&self, node: &mut Node) {
        self.gives_instead(node, &piece());
    }

    fn gives_instead(&self, node: &mut Node, data: &[u8]) {
        self.says(node, &Message::Block { channel: 7, id: 0, piece: 0, block: 0, data });
    }
}

#[test]
fn a_piece_that_comes_before_its_hash_counts_when_that_has_come_and_it_is_true() {
    let is_true = |data: &[u8]| {
        let mut node = Node::new(Config::default(), TRACKER.parse().unwrap(), Rng::from_seed(1));
        let (fid, source) = (Fid::of(&piece()), Source(Handle::for_test(1), "10.0.0.1:1".parse().unwrap()));
        node.on_connected(Instant::ORIGIN, source.0, source.1, true);
        fetch(&mut node, fid);
        source.begins(&mut node, fid);
        source.gives_instead(&mut node, data);
        assert!(node.poll_job().is_none(), "nothing can be verified, and nothing is stored");
        assert!(!node.is_banned(Instant::ORIGIN, source.0));
        source.proves(&mut node);
        let outcome = node.poll_job().expect("it can be verified now")();
        outcome(&mut node, Instant::ORIGIN);
        let is_here = node.progress(fid).is_some_and(|progress| progress.verified > 0);
        assert_ne!(is_here, node.is_banned(Instant::ORIGIN, source.0));
        is_here
    };
    assert!(is_true(&piece()));
    assert!(!is_true(&vec![2; piece().len()]));
}

#[test]
fn what_was_asked_for_before_a_cancel_may_still_come_but_no_more_than_that() {
    let mut node = Node::new(Config::default(), TRACKER.parse().unwrap(), Rng::from_seed(1));
    let (fid, source) = (Fid::of(&piece()), Source(Handle::for_test(1), "10.0.0.1:1".parse().unwrap()));
    node.on_connected(Instant::ORIGIN, source.0, source.1, true);
    fetch(&mut node, fid);
    source.opens(&mut node, fid);
    assert!(node.cancel(Instant::ORIGIN, fid));
    fetch(&mut node, fid);
    source.opens(&mut node, fid);
    // One for each time that it was asked.
    for _ in 0..2 {
        source.gives(&mut node);
        assert!(!node.is_banned(Instant::ORIGIN, source.0));
    }
    source.gives(&mut node);
    assert!(node.is_banned(Instant::ORIGIN, source.0), "nobody asked for that");
}

/// The largest number that a message can hold.
const EVERYTHING: u64 = (1 << 62) - 1;

#[test]
fn credits_beyond_measure_are_a_flood_and_take_no_more_memory_than_one_of_requests() {
    let most = MAX_WANTED as u64;
    for (messages, credits, is_flood) in
        [(1, most, false), (2, most, true), (1, most + 1, true), (most + 1, 1, true), (1, EVERYTHING, true)]
    {
        let (mut node, fid) = node();
        let receiver = Source(Handle::for_test(1), "10.0.0.1:1".parse().unwrap());
        node.on_connected(Instant::ORIGIN, receiver.0, receiver.1, true);
        let open = Message::Open { channel: 7, fid, has_manifest: false, is_complete: false };
        receiver.says(&mut node, &open);
        for id in 0..messages {
            let ask = Message::Any { channel: 7, id: id << 32, credits, residue: 0, modulus: 1 };
            receiver.says(&mut node, &ask);
        }
        let waiting = node.swarm(fid).unwrap().peers()[&receiver.0].queue.wanted.len();
        assert!(waiting <= MAX_WANTED + 1, "{messages} × {credits}: {waiting} wait");
        assert_eq!(node.is_banned(Instant::ORIGIN, receiver.0), is_flood, "{messages} × {credits}");
    }
}

#[test]
fn what_is_beyond_the_end_is_asked_for_in_vain() {
    let (mut node, fid) = node();
    let receiver = Source(Handle::for_test(1), "10.0.0.1:1".parse().unwrap());
    node.on_connected(Instant::ORIGIN, receiver.0, receiver.1, true);
    receiver.says(&mut node, &Message::Open { channel: 7, fid, has_manifest: false, is_complete: false });
    // The file is one piece of one block.
    let beyond = [(1, 0, 1), (0, 0, 2), (0, 1, 1), (0, 0, 0), (0, 1, EVERYTHING), (0, EVERYTHING, 1)];
    for (piece, first, count) in beyond.into_iter().chain([(1 << 32, 0, 1), (EVERYTHING, 0, 1), (0, 0, 1)]) {
        receiver.says(&mut node, &Message::Request { channel: 7, id: 0, piece, first, count });
        let waiting = node.swarm(fid).unwrap().peers()[&receiver.0].queue.wanted.len();
        assert_eq!(waiting, usize::from((piece, first, count) == (0, 0, 1)), "{piece}, {first}, {count}");
    }
}

#[test]
fn who_is_banned_takes_part_over_no_other_connection_either() {
    let (mut node, fid) = node();
    let addr = "10.0.0.1:1".parse().unwrap();
    let [first, second] = [1, 2].map(|key| Source(Handle::for_test(key), addr));
    let open = Message::Open { channel: 7, fid, has_manifest: false, is_complete: false };
    for connection in [&first, &second] {
        node.on_connected(Instant::ORIGIN, connection.0, addr, true);
        connection.says(&mut node, &open);
        let ask = Message::Any { channel: 7, id: 0, credits: EVERYTHING, residue: 0, modulus: 1 };
        connection.says(&mut node, &ask);
    }
    let peers = node.swarm(fid).unwrap().peers();
    assert!(peers.contains_key(&first.0) && !peers.contains_key(&second.0));
}

#[test]
fn a_file_has_one_channel_however_often_it_is_opened() {
    let (mut node, fid) = node();
    let receiver = Source(Handle::for_test(1), "10.0.0.1:1".parse().unwrap());
    node.on_connected(Instant::ORIGIN, receiver.0, receiver.1, true);
    for channel in 0..100 {
        receiver.says(&mut node, &Message::Open { channel, fid, has_manifest: false, is_complete: false });
    }
    assert_eq!(node.connections[&receiver.0].channels.len(), 1);
}

/// What a node says first over a connection that it has dialled, hello and openings, in the order of their numbers.
fn dials(
    node: &mut Node,
    now: Instant,
    to: &mut Endpoint,
    mut meanwhile: impl FnMut(&mut Node),
) -> Vec<Vec<u8>> {
    let mut buf = Vec::new();
    for _ in 0..20 {
        node.handle_timeout(now);
        while node.poll_transmit(now, &mut buf).is_some() {
            to.handle_datagram(now, "10.0.0.9:1".parse().unwrap(), &buf);
        }
        while to.poll_transmit(now, &mut buf).is_some() {
            node.handle_datagram(now, "10.0.0.1:1".parse().unwrap(), &buf);
        }
        meanwhile(node);
    }
    let mut said = Vec::new();
    while let Some(event) = to.poll_event() {
        if let rudp::Event::Message { data, .. } = event {
            said.push(data);
        }
    }
    said
}

#[test]
fn who_answers_is_told_once_who_dials_and_what_for() {
    let now = Instant::ORIGIN;
    let mut node = Node::new(Config::default(), TRACKER.parse().unwrap(), Rng::from_seed(1));
    let mut peer = Endpoint::new(rudp::Config::default(), Rng::from_seed(2));
    let (first, second) = (Fid::of(b"1"), Fid::of(b"2"));
    fetch(&mut node, first);
    names(&mut node, first, &["10.0.0.1:1".parse().unwrap()]);
    // Another is wanted of the same peer, as soon as that has answered.
    let mut is_known = false;
    let said = dials(&mut node, now, &mut peer, |node| {
        if !std::mem::replace(&mut is_known, true) {
            fetch(node, second);
            names(node, second, &["10.0.0.1:1".parse().unwrap()]);
        }
    });
    let said: Vec<Message<'_>> = said.iter().map(|data| Message::decode(data).unwrap()).collect();
    let opened =
        |fid| said.iter().filter(|m| matches!(m, Message::Open { fid: of, .. } if *of == fid)).count();
    let hellos = said.iter().filter(|message| matches!(message, Message::Hello { .. })).count();
    assert_eq!([hellos, opened(first), opened(second)], [1, 1, 1], "{said:?}");
}

#[test]
fn who_has_not_answered_the_opening_is_told_that_it_is_over() {
    let mut node = Node::new(Config::default(), TRACKER.parse().unwrap(), Rng::from_seed(1));
    let mut peer = Endpoint::new(rudp::Config::default(), Rng::from_seed(2));
    let fid = Fid::of(b"1");
    fetch(&mut node, fid);
    names(&mut node, fid, &["10.0.0.1:1".parse().unwrap()]);
    let mut is_over = false;
    let said = dials(&mut node, Instant::ORIGIN, &mut peer, |node| {
        if node.connections.values().any(|c| c.opened.contains(&fid))
            && !std::mem::replace(&mut is_over, true)
        {
            assert!(node.swarm(fid).unwrap().peers().is_empty());
            assert!(node.cancel(Instant::ORIGIN, fid));
        }
    });
    let said: Vec<Message<'_>> = said.iter().map(|data| Message::decode(data).unwrap()).collect();
    assert!(said.iter().any(|message| matches!(message, Message::Open { .. })), "{said:?}");
    assert!(said.iter().any(|message| matches!(message, Message::Shut { .. })), "{said:?}");
}

#[test]
fn what_the_banned_say_with_their_hello_is_not_heard() {
    let mut node = Node::new(Config::default(), TRACKER.parse().unwrap(), Rng::from_seed(1));
    let (fid, liar) = (Fid::of(&piece()), Source(Handle::for_test(1), "10.0.0.1:1".parse().unwrap()));
    fetch(&mut node, fid);
    share(&mut node);
    node.on_connected(Instant::ORIGIN, liar.0, liar.1, true);
    liar.opens(&mut node, fid);
    liar.gives(&mut node);
    liar.gives(&mut node);
    assert!(node.swarm(fid).unwrap().is_banned(Instant::ORIGIN, liar.1));
    // It comes again, for another file.
    let again = Source(Handle::for_test(2), liar.1);
    node.on_connected(Instant::ORIGIN, again.0, again.1, true);
    let other = Fid::of(b"a");
    again.says(&mut node, &Message::Open { channel: 1, fid: other, has_manifest: false, is_complete: false });
    assert!(node.swarm(other).unwrap().peers().is_empty());
}

#[test]
fn who_is_banned_is_not_dialled_either() {
    let mut node = Node::new(Config::default(), TRACKER.parse().unwrap(), Rng::from_seed(1));
    let (fid, source) = (Fid::of(&piece()), Source(Handle::for_test(1), "10.0.0.1:1".parse().unwrap()));
    fetch(&mut node, fid);
    node.on_connected(Instant::ORIGIN, source.0, source.1, true);
    source.opens(&mut node, fid);
    names(&mut node, fid, &[source.1]);
    source.gives(&mut node);
    source.gives(&mut node);
    let reason = CloseReason::Local;
    let closed = rudp::Event::Closed { handle: source.0, remote: source.1, reason };
    node.on_rudp_event(Instant::ORIGIN, closed);
    for (millis, dialled) in [(0, 0), (900, 0), (1_000, 1)] {
        node.handle_timeout(Instant::ORIGIN + Duration::from_millis(millis));
        assert_eq!(node.endpoint.connection_count(), dialled, "after {millis} ms");
    }
}

#[test]
fn in_a_large_swarm_whom_few_dial_dials_more_itself() {
    for (total, inbound, dialled) in [(200, 0, 10), (201, 0, 17), (201, 4, 13), (201, 8, 10)] {
        let mut node = Node::new(Config::default(), TRACKER.parse().unwrap(), Rng::from_seed(1));
        let fid = Fid::of(&piece());
        fetch(&mut node, fid);
        for number in 0..inbound {
            let peer = Source(
                Handle::for_test(1_000 + u64::from(number)),
                SocketAddr::from(([10, 0, 1, number], 1)),
            );
            node.on_connected(Instant::ORIGIN, peer.0, peer.1, true);
            peer.says(&mut node, &Message::Open { channel: 7, fid, has_manifest: false, is_complete: false });
        }
        let holder = |host| Holder { addr: SocketAddr::from(([10, 0, 0, host], 1)), progress: COMPLETE };
        let holders = (1..=30).map(holder).collect();
        node.on_tracker_event(Instant::ORIGIN, tracker::Event::Holders { fid, total, holders });
        node.handle_timeout(Instant::ORIGIN);
        assert_eq!(node.endpoint.connection_count(), dialled, "of {total}, when {inbound} have dialled");
    }
}

fn names(node: &mut Node, fid: Fid, holders: &[SocketAddr]) {
    let total = holders.len() as u32;
    let holders = holders.iter().map(|&addr| Holder { addr, progress: COMPLETE }).collect();
    node.on_tracker_event(Instant::ORIGIN, tracker::Event::Holders { fid, total, holders });
}

#[test]
fn where_nobody_answers_is_dialled_after_ever_longer_pauses() {
    let config = Config { stall_timeout: Duration::from_secs(1_000), ..Config::default() };
    let mut node = Node::new(config, TRACKER.parse().unwrap(), Rng::from_seed(1));
    let fid = Fid::of(b"a");
    fetch(&mut node, fid);
    names(&mut node, fid, &["10.0.0.1:1".parse().unwrap()]);
    let (mut now, mut buf, mut given_up, mut pauses) = (Instant::ORIGIN, Vec::new(), None, Vec::new());
    while now.as_secs_f64() < 200.0 {
        node.handle_timeout(now);
        while node.poll_transmit(now, &mut buf).is_some() {}
        let is_dialling = node.endpoint.connection_count() > 0;
        if is_dialling {
            // To the tenth of a second: downloads look around twenty times a second.
            pauses.extend(given_up.take().map(|since| now.since(since).as_millis() / 100));
        } else {
            given_up.get_or_insert(now);
        }
        now = node.poll_timeout().expect("it goes on asking the tracker").0;
    }
    assert_eq!(pauses, [5, 10, 20, 40, 80], "then it is forgotten");
}

#[test]
fn of_many_addresses_where_nobody_is_ten_are_tried_each_second_and_fifty_at_once() {
    let mut node = Node::new(Config::default(), TRACKER.parse().unwrap(), Rng::from_seed(1));
    let fid = Fid::of(b"a");
    let nobody: Vec<SocketAddr> = (1..=200).map(|port| ([10, 0, 0, 1], port).into()).collect();
    fetch(&mut node, fid);
    names(&mut node, fid, &nobody);
    for (second, dialled) in [(0, 10), (1, 20), (2, 30), (3, 40), (4, 50), (5, 50), (8, 50)] {
        let now = Instant::ORIGIN + Duration::from_secs(second);
        node.handle_timeout(now);
        assert_eq!(node.endpoint.connection_count(), dialled, "after {second} s");
    }
}

/// How long a giver is banned for its second false piece, after `good` true ones.
fn second_ban_after(good: u32) -> Duration {
    let piece_len = piece().len();
    let content: Vec<u8> = (0..40).flat_map(|n| vec![n; piece_len]).collect();
    let (fid, addr) = (Fid::of(&content), "10.0.0.1:1".parse().unwrap());
    let manifest = Manifest::of(&content);
    let (size, proof) = (manifest.lengths().size(), manifest.outline().size_proof().to_bytes());
    let mut node = Node::new(Config::default(), TRACKER.parse().unwrap(), Rng::from_seed(1));
    let mut now = Instant::ORIGIN;
    node.fetch(now, fid, Box::new(|size| Ok(Box::new(MemoryStorage::with_size(size)?))));
    let come = |node: &mut Node, now: Instant, key: u64| {
        let source = Source(Handle::for_test(key), addr);
        node.on_connected(now, source.0, addr, true);
        let joints = manifest.outline().joints().to_vec();
        source.says_at(node, now, &Message::Open { channel: 7, fid, has_manifest: true, is_complete: true });
        source.says_at(node, now, &Message::Outline { channel: 7, size, proof: &proof, joints: &joints });
        source.says_at(node, now, &Message::Hashes { channel: 7, part: 1, hashes: manifest.hashes() });
        source
    };
    let give = |node: &mut Node, now: Instant, source: &Source, is_true: bool| {
        let request = node.swarm(fid).unwrap().peers()[&source.0].source.requests()[0].clone();
        // The first time it may choose.
        let piece = request.target.map_or(0, |target| target.piece.get());
        let data = vec![if is_true { piece as u8 } else { 99 }; piece_len];
        let block = Message::Block { channel: 7, id: request.id, piece: piece.into(), block: 0, data: &data };
        source.says_at(node, now, &block);
        while let Some(job) = node.poll_job() {
            job()(node, now);
        }
        node.settle(now);
    };
    let first = come(&mut node, now, 1);
    give(&mut node, now, &first, false);
    assert!(node.swarm(fid).unwrap().is_banned(now, addr));
    now += Duration::from_secs(1);
    assert!(!node.swarm(fid).unwrap().is_banned(now, addr));
    let second = come(&mut node, now, 2);
    (0..good).for_each(|_| give(&mut node, now, &second, true));
    give(&mut node, now, &second, false);
    assert!(node.swarm(fid).unwrap().is_banned(now, addr));
    let is_over = |after: &Duration| !node.swarm(fid).unwrap().is_banned(now + *after, addr);
    [1, 2, 4].map(Duration::from_secs).into_iter().find(is_over).expect("a short ban")
}

#[test]
fn good_pieces_make_up_for_a_false_one() {
    assert_eq!([7, 8].map(second_ban_after), [2, 1].map(Duration::from_secs));
}

#[test]
fn who_takes_part_in_one_file_and_does_not_answer_for_another_is_dialled_anew() {
    let (mut node, shared) = node();
    let mut peer = Endpoint::new(rudp::Config::default(), Rng::from_seed(2));
    let (here, there): (SocketAddr, SocketAddr) =
        ("10.0.0.9:1".parse().unwrap(), "10.0.0.1:1".parse().unwrap());
    let handle = peer.connect(Instant::ORIGIN, here);
    let open = Message::Open { channel: 7, fid: shared, has_manifest: false, is_complete: false };
    peer.send(handle, Class::Control, 0, open.encode());
    let wanted = Fid::of(b"1");
    let (mut buf, mut openings, mut is_wanted) = (Vec::new(), Vec::new(), false);
    for tenths in 0..200 {
        let now = Instant::ORIGIN + Duration::from_millis(100 * tenths);
        node.handle_timeout(now);
        peer.handle_timeout(now);
        for _ in 0..20 {
            while node.poll_transmit(now, &mut buf).is_some() {
                peer.handle_datagram(now, here, &buf);
            }
            while peer.poll_transmit(now, &mut buf).is_some() {
                node.handle_datagram(now, there, &buf);
            }
        }
        if !is_wanted && node.swarm(shared).unwrap().peers().len() == 1 {
            is_wanted = true;
            fetch(&mut node, wanted);
            names(&mut node, wanted, &[there]);
        }
        while let Some(event) = peer.poll_event() {
            if let rudp::Event::Message { data, .. } = event
                && matches!(Message::decode(&data), Ok(Message::Open { fid, .. }) if fid == wanted)
            {
                openings.push(now);
            }
        }
    }
    let [first, again] = openings[..] else { panic!("{openings:?}") };
    assert!((5..=15).contains(&again.since(first).as_secs()), "{openings:?}");
}
