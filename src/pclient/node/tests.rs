//! Calls that overtake each other, on a node whose tracker never answers.

use super::*;
use crate::pclient::pieces::Lengths;
use crate::pclient::storage::MemoryStorage;
use crate::rudp::Handle;
use crate::tracker;

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
        node.on_message(Instant::ORIGIN, self.0, message, &message.encode());
        node.settle(Instant::ORIGIN);
    }

    /// Takes part, and gives the manifest, so that it is asked for the only piece.
    fn opens(&self, node: &mut Node, fid: Fid) {
        let manifest = Manifest::of(&piece());
        let size = manifest.lengths().size();
        let (outline, proof) = (manifest.outline(), manifest.outline().size_proof().to_bytes());
        self.says(node, &Message::Open { channel: 7, fid, has_manifest: true, is_complete: true });
        self.says(node, &Message::Outline { channel: 7, size, proof: &proof, joints: outline.joints() });
        self.says(node, &Message::Hashes { channel: 7, part: 1, hashes: manifest.hashes() });
        let asked = node.swarm(fid).unwrap().peers()[&self.0].source.requests().len();
        assert_eq!(asked, 1);
    }

    fn gives(&self, node: &mut Node) {
        self.says(node, &Message::Block { channel: 7, id: 0, piece: 0, block: 0, data: &piece() });
    }
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
