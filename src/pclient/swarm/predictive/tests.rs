//! A receiver among many, and what it says to whom while a piece comes.

use super::*;
use crate::Fid;
use crate::pclient::manifest::Manifest;
use crate::pclient::storage::MemoryStorage;
use crate::rand::Rng;
use crate::rudp::stats::Arrivals;

const CHANNEL: u64 = 7;
const SOURCE: u64 = 0;

/// A receiver that knows all hashes, a source, and fellow receivers 1, 2, ….
struct Swarmed {
    swarm: Swarm,
    content: Vec<u8>,
    now: Instant,
}

impl Swarmed {
    fn among(relays: u64) -> Swarmed {
        let mut content = vec![0; 20_000];
        Rng::from_seed(1).fill(&mut content);
        let (manifest, now) = (Manifest::of(&content), Instant::ORIGIN + Duration::from_secs(1));
        let make_storage = Box::new(|size| Ok(Box::new(MemoryStorage::with_size(size)?) as Box<_>));
        let swarm = Swarm::fetch(1, Fid::of(&content), make_storage, Rng::from_seed(2), now);
        let mut swarmed = Swarmed { swarm, content, now };
        swarmed.opens(SOURCE, true);
        let (outline, channel) = (manifest.outline(), CHANNEL);
        let (size, proof) = (outline.lengths().size(), outline.size_proof().to_bytes());
        swarmed.says(SOURCE, &Message::Outline { channel, size, proof: &proof, joints: outline.joints() });
        swarmed.says(SOURCE, &Message::Hashes { channel, part: 1, hashes: manifest.hashes() });
        (1..=relays).for_each(|relay| swarmed.opens(relay, false));
        swarmed.hears();
        swarmed
    }

    fn opens(&mut self, peer: u64, is_complete: bool) {
        let remote = format!("10.0.0.{peer}:1").parse().unwrap();
        self.swarm.on_open(self.now, Handle::for_test(peer), remote, CHANNEL, is_complete, is_complete);
    }

    fn says(&mut self, peer: u64, message: &Message<'_>) {
        self.swarm.on_message(self.now, Handle::for_test(peer), message);
    }

    fn has(&mut self, peer: u64, piece: u64) {
        self.says(peer, &Message::Have { channel: CHANNEL, pieces: vec![piece] });
    }

    fn asks(&mut self, peer: u64, piece: u64) {
        self.says(peer, &Message::Request { channel: CHANNEL, id: 0, piece, first: 0, count: 1 });
    }

    /// Most of what `peer` was asked for first arrives.
    fn begins_to_give(&mut self, peer: u64) {
        self.now += Duration::from_millis(20);
        self.swarm.stir(self.now, Handle::for_test(peer), Arrivals { partial: 4_000, ..Arrivals::default() });
    }

    /// The whole piece arrives, is verified and stored.
    fn gives(&mut self, peer: u64, piece: u64) {
        let start = piece as usize * 4_096;
        let data = self.content[start..start + 4_096].to_vec();
        self.says(peer, &Message::Block { channel: CHANNEL, id: 0, piece, block: 0, data: &data });
        while let Some(job) = self.swarm.poll_job() {
            job()(&mut self.swarm, self.now);
        }
    }

    fn passes(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(50);
            self.swarm.handle_timeout(self.now, None);
        }
    }

    /// What was said since this was last called, of pieces: to whom, and what.
    fn hears(&mut self) -> Vec<(u64, String)> {
        let mut outbox = Vec::new();
        self.swarm.take_outbox(&mut outbox);
        let tell = |(to, _, bytes): &(Handle, Class, Vec<u8>)| {
            let peer = (0..100).find(|&peer| Handle::for_test(peer) == *to)?;
            let said = match Message::decode(bytes).unwrap() {
                Message::Have { pieces, .. } => format!("have {pieces:?}"),
                Message::DontHave { pieces, .. } => format!("don't have {pieces:?}"),
                Message::Request { piece, .. } => format!("want {piece}"),
                Message::Reject { .. } => "no".into(),
                _ => return None,
            };
            Some((peer, said))
        };
        outbox.iter().filter_map(tell).collect()
    }

    /// How each request that was sent since anything was last heard travels.
    fn asks_by(&mut self) -> Vec<Class> {
        let mut outbox = Vec::new();
        self.swarm.take_outbox(&mut outbox);
        let is_request = |bytes: &[u8]| matches!(Message::decode(bytes), Ok(Message::Request { .. }));
        outbox.iter().filter(|(.., bytes)| is_request(bytes)).map(|(_, class, _)| *class).collect()
    }

    /// To whom a block goes next, if to anybody.
    fn serves(&mut self) -> Option<Handle> {
        self.swarm.next_block(self.now, true, |_| true).map(|(to, _)| to)
    }
}

fn said(to: impl IntoIterator<Item = u64>, what: &str) -> Vec<(u64, String)> {
    to.into_iter().map(|peer| (peer, what.to_string())).collect()
}

#[test]
fn a_piece_is_announced_while_it_comes_and_given_when_it_is_here() {
    let mut node = Swarmed::among(14);
    node.has(1, 3);
    assert_eq!(node.hears(), said([1], "want 3"));
    node.begins_to_give(1);
    node.passes(Duration::from_millis(200));
    assert_eq!(node.hears(), said(2..=14, "have [3]"), "the source is told when it is true");
    node.opens(15, false);
    node.passes(Duration::from_millis(200));
    assert_eq!(node.hears(), said([15], "have [3]"), "a newcomer knows as much");
    node.asks(2, 3);
    assert_eq!((node.hears(), node.serves()), (vec![], None), "it may wait");
    node.gives(1, 3);
    assert_eq!((node.serves(), node.serves()), (Some(Handle::for_test(2)), None));
    node.passes(Duration::from_secs(1));
    assert_eq!(node.hears(), said([SOURCE], "have [3]"));
}

#[test]
fn requests_wait_for_content_to_travel_with_unless_the_peers_are_many() {
    let asked = |relays| {
        let mut node = Swarmed::among(relays);
        node.says(1, &Message::Have { channel: CHANNEL, pieces: vec![0, 1, 2, 3, 4] });
        node.asks_by()
    };
    assert_eq!(asked(3), [Class::Patient; 3]);
    assert_eq!(asked(14), [Class::Control; 3]);
}

#[test]
fn what_no_fellow_receiver_has_is_told_at_once() {
    let mut node = Swarmed::among(14);
    node.gives(SOURCE, 2);
    assert_eq!(node.hears(), said(1..=14, "have [2]"));
    node.has(1, 3);
    node.hears();
    node.gives(1, 3);
    assert_eq!(node.hears(), [], "this one they can get elsewhere");
    node.passes(Duration::from_secs(1));
    assert_eq!(node.hears(), [said(2..=14, "have [3]"), said([SOURCE], "have [2, 3]")].concat());
    node.has(1, 1);
    node.begins_to_give(1);
    node.passes(Duration::from_millis(200));
    node.swarm.remove_peer(node.now, Handle::for_test(1));
    node.passes(Duration::from_millis(50));
    assert!(node.hears().contains(&(2, "don't have [1]".into())));
    node.gives(SOURCE, 1);
    assert_eq!(node.hears(), [], "what was taken back waits, so as not to come first");
}

#[test]
fn what_does_not_come_is_taken_back_and_not_announced_again_before_it_is_here() {
    let leaves = |node: &mut Swarmed| {
        node.swarm.remove_peer(node.now, Handle::for_test(1));
        node.passes(Duration::from_millis(50));
    };
    let is_silent = |node: &mut Swarmed| node.passes(HORIZON + OVERDUE);
    for (fails, told) in [(leaves as fn(&mut Swarmed), 2..=14), (is_silent, 1..=14)] {
        let mut node = Swarmed::among(14);
        node.has(1, 3);
        node.begins_to_give(1);
        node.passes(Duration::from_millis(200));
        node.asks(2, 3);
        node.hears();
        fails(&mut node);
        assert_eq!(node.hears(), said(told, "don't have [3]"));
        node.asks(2, 3);
        assert_eq!((node.hears(), node.serves()), (said([2], "no"), None));
        node.has(2, 3);
        node.begins_to_give(2);
        node.passes(Duration::from_millis(200));
        assert!(!node.hears().iter().any(|(_, said)| said.starts_with("have")));
        node.gives(2, 3);
        node.passes(Duration::from_millis(200));
        assert!(node.hears().contains(&(14, "have [3]".into())));
        assert_eq!(node.serves(), None, "what it had asked for is forgotten");
    }
}

#[test]
fn a_request_that_waits_can_be_taken_back() {
    let mut node = Swarmed::among(14);
    node.has(1, 3);
    node.begins_to_give(1);
    node.asks(2, 3);
    node.says(2, &Message::Cancel { channel: CHANNEL, id: 0 });
    node.gives(1, 3);
    assert_eq!(node.serves(), None);
}

#[test]
fn who_takes_back_what_it_announced_on_and_on_is_a_flooder() {
    let mut node = Swarmed::among(14);
    let remote = node.swarm.peers()[&Handle::for_test(1)].remote;
    let dont_have = Message::DontHave { channel: CHANNEL, pieces: vec![2] };
    for n in 0..=2 * 5 {
        assert!(!node.swarm.is_banned(node.now, remote), "after {n}");
        node.has(1, 2);
        node.says(1, &dont_have);
    }
    assert!(node.swarm.is_banned(node.now, remote));
}

#[test]
fn a_peer_that_has_not_got_what_it_announced_is_offered_it() {
    let mut node = Swarmed::among(14);
    node.has(1, 3);
    assert_eq!(node.hears(), said([1], "want 3"));
    node.says(1, &Message::DontHave { channel: CHANNEL, pieces: vec![3, 2] });
    node.has(2, 3);
    assert_eq!(node.hears(), said([2], "want 3"), "it is free to be asked of another");
    node.gives(2, 3);
    node.passes(Duration::from_millis(200));
    assert!(node.hears().contains(&(1, "have [3]".into())));
    // Another seemed to have it, and wasn't told.
    node.has(4, 2);
    node.has(3, 2);
    node.gives(4, 2);
    node.passes(Duration::from_millis(200));
    assert!(!node.hears().contains(&(3, "have [2]".into())));
    node.says(3, &Message::DontHave { channel: CHANNEL, pieces: vec![2] });
    node.passes(Duration::from_millis(200));
    assert!(node.hears().contains(&(3, "have [2]".into())));
}

#[test]
fn among_few_nothing_is_announced_before_it_is_here() {
    let mut node = Swarmed::among(FEW as u64 - 1);
    node.has(1, 3);
    node.begins_to_give(1);
    node.passes(Duration::from_millis(200));
    assert_eq!(node.hears(), said([1], "want 3"));
}
