//! A receiver and its sources, as a dialogue: this peer has that, so this is asked of whom.

mod portions;
mod takeover;

use super::*;
use crate::pclient::peer::STALL;

const PIECE: u64 = 4_096;

/// A receiver of a file of `pieces` pieces, and the peers it knows.
struct Table {
    download: Download,
    availability: Availability,
    peers: Peers,
    rng: Rng,
    now: Instant,
}

impl Table {
    fn new(pieces: u64) -> Table {
        let lengths = Lengths::new(pieces * PIECE, 12).unwrap();
        let download = Download::new(lengths, Bitfield::new(&lengths));
        let availability = Availability::new(lengths);
        Table { download, availability, peers: Peers::new(), rng: Rng::from_seed(1), now: Instant::ORIGIN }
    }

    fn peer(&mut self, key: u64, pieces: Bitfield, began_complete: bool) -> Handle {
        let handle = Handle::for_test(key);
        let remote = format!("10.0.0.{key}:1").parse().unwrap();
        let mut peer = Peer::new(remote, key, self.now);
        peer.began_complete = began_complete;
        peer.pieces = Announced::Known(pieces);
        self.availability.count_peer(&peer);
        self.peers.insert(handle, peer);
        self.download.add_peer(&self.peers);
        handle
    }

    /// A source that had the whole file when it joined.
    fn origin(&mut self, key: u64) -> Handle {
        self.peer(key, Bitfield::full(&self.download.lengths), true)
    }

    /// A fellow receiver that has these pieces.
    fn relay(&mut self, key: u64, pieces: &[u64]) -> Handle {
        let mut have = Bitfield::new(&self.download.lengths);
        pieces.iter().for_each(|&piece| {
            have.set(self.download.lengths.piece(piece).unwrap());
        });
        self.peer(key, have, false)
    }

    fn fill(&mut self, key: Handle) -> Vec<Ask> {
        self.download.fill(self.now, &mut self.peers, &self.availability, key, &mut self.rng)
    }

    fn unstall(&mut self, key: Handle, spread: Instant) -> Vec<Ask> {
        self.download.unstall(self.now, &mut self.peers, key, spread)
    }

    fn arrives(&mut self, from: Handle, id: u64, piece: u64) -> Arrival {
        let data = vec![piece as u8; PIECE as usize];
        self.download.on_block(self.now, &mut self.peers, from, id, (piece, 0), &data)
    }

    /// A piece arrives and proves right.
    fn delivers(&mut self, from: Handle, id: u64, piece: u64) -> Vec<(Handle, Ask)> {
        let arrival = self.arrives(from, id, piece);
        assert!(matches!(arrival, Arrival::Whole(_)), "{arrival:?}");
        let piece = self.download.lengths.piece(piece).unwrap();
        self.download.on_verified(&mut self.peers, piece)
    }
}

/// The pieces that were asked for in particular.
fn pieces(asks: &[Ask]) -> Vec<u32> {
    let piece = |ask: &Ask| match ask {
        Ask::Blocks { target, .. } => Some(target.piece.get()),
        Ask::Any { .. } | Ask::Cancel { .. } => None,
    };
    let mut pieces: Vec<u32> = asks.iter().filter_map(piece).collect();
    pieces.sort_unstable();
    pieces
}

#[test]
fn an_origin_chooses_and_a_relay_is_asked_for_what_it_has() {
    let mut table = Table::new(8);
    let (origin, relay) = (table.origin(1), table.relay(2, &[3, 5]));
    assert_eq!(
        table.fill(origin),
        [Ask::Any { id: 0, credits: 5, residue: 0, modulus: 1 }],
        "several at a time"
    );
    assert_eq!(pieces(&table.fill(relay)), [3, 5]);
    for (id, piece) in [(0, 7), (1, 0), (2, 1)] {
        assert_eq!(table.fill(origin), []);
        table.delivers(origin, id, piece);
    }
    assert_eq!(table.fill(origin), [Ask::Any { id: 5, credits: 1, residue: 0, modulus: 1 }], "one is left");
}

#[test]
fn origins_choose_from_classes_of_their_own() {
    let mut table = Table::new(8);
    let (first, second) = (table.origin(1), table.origin(2));
    table.relay(3, &[]);
    assert_eq!(table.fill(second), [Ask::Any { id: 0, credits: 2, residue: 1, modulus: 2 }]);
    assert_eq!(table.fill(first), [Ask::Any { id: 0, credits: 2, residue: 0, modulus: 2 }]);
}

#[test]
fn origins_that_serve_nobody_else_are_asked_in_particular() {
    let mut table = Table::new(16);
    let (first, second) = (table.origin(1), table.origin(2));
    let mut asked = [pieces(&table.fill(first)), pieces(&table.fill(second))].concat();
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked.len(), 4, "nothing of two at once");
    assert_eq!((table.fill(first), table.fill(second)), (vec![], vec![]));
}

#[test]
fn blocks_that_come_together_count_each_by_itself() {
    let mut table = Table::new(1);
    let (first, second) = (table.relay(1, &[0]), table.relay(2, &[0]));
    table.fill(first);
    let come = |table: &mut Table, from, id, block, count: usize| {
        table.download.on_block(table.now, &mut table.peers, from, id, (0, block), &vec![1; count << 10])
    };
    assert_eq!(come(&mut table, first, 0, 1, 2), Arrival::Partial, "the first one won't come any more");
    assert_eq!(table.fill(second).len(), 1, "and is asked of another");
    assert_eq!(come(&mut table, second, 0, 0, 1), Arrival::Partial);
    assert_eq!(table.fill(second), [], "the last is under way");
    assert_eq!(table.fill(first), []);
    assert!(matches!(come(&mut table, first, 0, 3, 1), Arrival::Whole(_)));
    assert_eq!(table.download.duplicate_bytes, 0);
}

#[test]
fn an_origin_with_nothing_left_to_choose_is_asked_in_particular_in_the_end() {
    let mut table = Table::new(2);
    let origin = table.origin(1);
    for refusal in 0..MAX_REFUSALS {
        let first = u64::from(2 * refusal);
        assert_eq!(table.fill(origin), [Ask::Any { id: first, credits: 2, residue: 0, modulus: 1 }]);
        table.download.on_none(table.now, &mut table.peers, origin, first, 2);
        if refusal + 1 < MAX_REFUSALS {
            assert_eq!(table.fill(origin), [], "there is a pause after a refusal");
        }
        table.now += MAX_CREDIT_PAUSE;
    }
    assert_eq!(pieces(&table.fill(origin)), [0, 1]);
}

#[test]
fn the_rarest_piece_goes_first() {
    let mut table = Table::new(4);
    table.relay(1, &[0, 1, 2]);
    table.relay(2, &[0, 1]);
    let both = table.relay(3, &[0, 1, 2, 3]);
    assert_eq!(pieces(&table.fill(both)), [2, 3]);
}

#[test]
fn what_a_peer_owes_is_free_when_it_leaves() {
    let mut table = Table::new(2);
    let (leaver, stayer) = (table.relay(1, &[0, 1]), table.relay(2, &[0, 1]));
    assert_eq!(pieces(&table.fill(leaver)), [0, 1]);
    assert_eq!(table.fill(stayer), []);
    let gone = table.peers.remove(&leaver).unwrap();
    table.availability.discount_peer(&gone);
    table.download.remove_peer(&table.peers, gone);
    assert_eq!(pieces(&table.fill(stayer)), [0, 1]);
}

#[test]
fn where_little_can_be_asked_for_each_is_asked_for_one_piece() {
    let mut table = Table::new(100);
    let offer = |from: u64, count: u32| (from..from + u64::from(count)).collect::<Vec<_>>();
    let few = |from| offer(from, SCARCE - 1);
    let first = table.relay(1, &few(0));
    assert_eq!(table.fill(first).len(), 2, "there are few peers");
    for key in 2..=MANY_PEERS as u64 {
        table.relay(key, &[]);
    }
    let last = table.relay(MANY_PEERS as u64 + 1, &few(20));
    assert_eq!(table.fill(last).len(), 1);
    let rich = table.relay(MANY_PEERS as u64 + 2, &offer(40, SCARCE));
    assert_eq!(table.fill(rich).len(), 2);
    // The same with those that give so much that the least doesn't count: half as much.
    let asked = [(few(60), 3), (offer(80, SCARCE), 4)].map(|(pieces, key)| {
        let fast = table.relay(MANY_PEERS as u64 + key, &pieces);
        table.peers.get_mut(&fast).unwrap().source.meter.add(table.now, 8 * PIECE);
        table.fill(fast).len()
    });
    assert!(asked[0] > 1 && asked[1] >= 2 * asked[0] - 1, "{asked:?}");
}

#[test]
fn what_comes_twice_is_counted_and_what_cannot_be_is_nonsense() {
    let mut table = Table::new(3);
    let relay = table.relay(1, &[0, 1, 2]);
    let Ask::Blocks { id, target } = table.fill(relay)[0].clone() else { panic!() };
    let first = u64::from(target.piece.get());
    assert_eq!(table.arrives(relay, 77, first), Arrival::Duplicate, "nobody asked for that");
    table.delivers(relay, id, first);
    assert_eq!(table.fill(relay).len(), 1);
    assert_eq!(table.arrives(relay, id, first), Arrival::Duplicate);
    assert_eq!(table.download.duplicate_bytes, 2 * PIECE);
    assert_eq!(table.arrives(relay, id, first), Arrival::Nonsense, "three were asked for, four have come");
    assert_eq!(table.arrives(relay, 1, 3), Arrival::Nonsense);
    let nonsense = |table: &mut Table, block, len| {
        table.download.on_block(table.now, &mut table.peers, relay, 1, (1, block), &vec![0; len])
    };
    assert_eq!(nonsense(&mut table, 1, PIECE as usize), Arrival::Nonsense);
    assert_eq!(nonsense(&mut table, u64::MAX, PIECE as usize), Arrival::Nonsense);
    assert_eq!(nonsense(&mut table, 0, PIECE as usize - 1), Arrival::Nonsense);
}

#[test]
fn a_spoiled_piece_is_asked_for_again() {
    let mut table = Table::new(1);
    let (liar, honest) = (table.relay(1, &[0]), table.relay(2, &[0]));
    table.fill(liar);
    let whole = table.arrives(liar, 0, 0);
    let Arrival::Whole(WholePiece { givers, .. }) = whole else { panic!("{whole:?}") };
    assert_eq!(givers, [table.peers[&liar].remote; 4], "of each block");
    let piece = table.download.lengths.piece(0).unwrap();
    table.download.give_up(&mut table.peers, piece);
    assert_eq!(pieces(&table.fill(honest)), [0]);
}

#[test]
fn a_source_that_stalls_is_asked_anew() {
    let mut table = Table::new(2);
    let relay = table.relay(1, &[0, 1]);
    assert_eq!(pieces(&table.fill(relay)), [0, 1]);
    table.now += STALL - Duration::from_millis(1);
    assert_eq!(table.unstall(relay, Instant::ORIGIN), []);
    table.now += Duration::from_millis(1);
    assert_eq!(table.unstall(relay, Instant::ORIGIN), [Ask::Cancel { id: 0 }, Ask::Cancel { id: 1 }]);
    assert_eq!(pieces(&table.fill(relay)), [0, 1]);
    table.now += STALL;
    assert_eq!(table.unstall(relay, Instant::ORIGIN), [], "asking anew may have put off our turn");
    table.now += STALL;
    assert_eq!(table.unstall(relay, Instant::ORIGIN).len(), 2);
}

#[test]
fn a_source_that_serves_others_meanwhile_has_not_stalled() {
    let mut table = Table::new(2);
    let origin = table.origin(1);
    table.fill(origin);
    table.now += 3 * STALL;
    let spread = table.now - Duration::from_secs(1);
    assert_eq!(table.unstall(origin, spread), []);
    table.now = spread + STALL;
    assert_eq!(table.unstall(origin, spread).len(), 2);
}

#[test]
fn what_was_taken_back_and_comes_all_the_same_counts() {
    let mut table = Table::new(4);
    let (origin, relay) = (table.origin(1), table.relay(2, &[0, 1]));
    assert_eq!(table.fill(origin), [Ask::Any { id: 0, credits: 2, residue: 0, modulus: 1 }]);
    assert_eq!(pieces(&table.fill(relay)), [0, 1]);
    table.now += STALL;
    assert_eq!(table.unstall(origin, Instant::ORIGIN).len(), 2);
    table.delivers(origin, 0, 3);
    let cancels = table.delivers(origin, 1, 0);
    assert!(
        matches!(cancels[..], [(key, Ask::Cancel { .. })] if key == relay),
        "it needn't send that any more"
    );
    assert_eq!(table.arrives(origin, 1, 0), Arrival::Nonsense, "no more than was ever asked for");
    assert_eq!(table.download.duplicate_bytes, 0);
}

/// A receiver of one piece of four blocks, and what several sources make of it.
struct OnePiece(Table);

const COUNT: u32 = 4;

impl OnePiece {
    fn new() -> OnePiece {
        let mut table = Table::new(1);
        let lengths = Lengths::new(u64::from(COUNT * MAX_BLOCK_LEN), 16).unwrap();
        table.download = Download::new(lengths, Bitfield::new(&lengths));
        table.availability = Availability::new(lengths);
        OnePiece(table)
    }

    fn asked(&mut self, key: Handle) -> (u64, std::ops::Range<u32>) {
        match &self.0.fill(key)[..] {
            [Ask::Blocks { id, target }] => (*id, target.blocks.clone()),
            other => panic!("{other:?}"),
        }
    }

    fn arrives(&mut self, from: Handle, id: u64, block: u32) -> Arrival {
        let (now, data) = (self.0.now, vec![1; MAX_BLOCK_LEN as usize]);
        self.0.download.on_block(now, &mut self.0.peers, from, id, (0, block.into()), &data)
    }

    fn leaves(&mut self, key: Handle) {
        let gone = self.0.peers.remove(&key).unwrap();
        self.0.availability.discount_peer(&gone);
        self.0.download.remove_peer(&self.0.peers, gone);
    }
}

#[test]
fn who_has_left_still_answers_for_what_it_gave() {
    let mut blocks = OnePiece::new();
    let (liar, honest) = (blocks.0.relay(1, &[0]), blocks.0.relay(2, &[0]));
    let addrs = [liar, honest].map(|key| blocks.0.peers[&key].remote);
    let (id, _) = blocks.asked(liar);
    assert_eq!(blocks.arrives(liar, id, 0), Arrival::Partial);
    blocks.leaves(liar);
    let (id, rest) = blocks.asked(honest);
    assert_eq!(rest, 1..COUNT);
    (1..COUNT - 1).for_each(|block| assert_eq!(blocks.arrives(honest, id, block), Arrival::Partial));
    let whole = blocks.arrives(honest, id, COUNT - 1);
    let Arrival::Whole(WholePiece { givers, .. }) = whole else { panic!("{whole:?}") };
    assert_eq!(givers, [addrs[0], addrs[1], addrs[1], addrs[1]]);
}

/// A piece that one peer alone has to give: a peer of two has begun, under this name of a request, and the other could.
fn begun_alone() -> (OnePiece, Handle, u64, Handle) {
    let mut blocks = OnePiece::new();
    let (first, second) = (blocks.0.relay(1, &[0]), blocks.0.relay(2, &[0]));
    let piece = blocks.0.download.lengths.piece(0).unwrap();
    blocks.0.download.blocks.fetch_alone(piece);
    let (id, _) = blocks.asked(first);
    assert_eq!(blocks.arrives(first, id, 0), Arrival::Partial);
    (blocks, first, id, second)
}

#[test]
fn what_overtakes_what_was_lost_on_its_way_leaves_it_as_good_as_ever() {
    let mut blocks = OnePiece::new();
    let source = blocks.0.relay(1, &[0]);
    let (id, _) = blocks.asked(source);
    assert_eq!(blocks.arrives(source, id, 1), Arrival::Partial);
    assert_eq!(blocks.arrives(source, id, 0), Arrival::Partial);
    assert_eq!(blocks.arrives(source, id, 2), Arrival::Partial);
    assert!(matches!(blocks.arrives(source, id, 3), Arrival::Whole(_)));
    assert_eq!(blocks.0.download.duplicate_bytes, 0);
}

#[test]
fn who_gives_only_the_end_of_what_it_alone_has_to_give_leaves_nothing_of_it() {
    let mut blocks = OnePiece::new();
    let (liar, honest) = (blocks.0.relay(1, &[0]), blocks.0.relay(2, &[0]));
    let piece = blocks.0.download.lengths.piece(0).unwrap();
    blocks.0.download.blocks.fetch_alone(piece);
    let (id, _) = blocks.asked(liar);
    assert_eq!(blocks.arrives(liar, id, COUNT - 1), Arrival::Partial);
    assert_eq!(blocks.asked(honest).1, 0..COUNT);
}

#[test]
fn a_piece_that_several_have_spoiled_comes_from_one_alone() {
    let (mut blocks, first, id, second) = begun_alone();
    // It falls silent: all of the piece is asked of the other, and what comes late of the first counts for nothing.
    blocks.0.now += Duration::from_secs(9);
    let now = blocks.0.now;
    blocks.0.peers.get_mut(&second).unwrap().source.meter.add(now, 1_000_000);
    let stolen = blocks.0.download.steal(blocks.0.now, &mut blocks.0.peers, second);
    let [(from, Ask::Cancel { .. }), (_, Ask::Blocks { id: new, target })] = &stolen[..] else {
        panic!("{stolen:?}")
    };
    assert_eq!((*from, target.blocks.clone()), (first, 0..COUNT));
    assert_eq!(blocks.arrives(second, *new, 0), Arrival::Partial);
    assert_eq!(blocks.arrives(first, id, 1), Arrival::Duplicate);
    (1..COUNT - 1).for_each(|block| assert_eq!(blocks.arrives(second, *new, block), Arrival::Partial));
    assert!(matches!(blocks.arrives(second, *new, COUNT - 1), Arrival::Whole(_)));
}

#[test]
fn such_a_piece_is_taken_away_after_silence_alone() {
    let mut blocks = OnePiece::new();
    let (first, second) = (blocks.0.relay(1, &[0]), blocks.0.relay(2, &[0]));
    let piece = blocks.0.download.lengths.piece(0).unwrap();
    blocks.0.download.blocks.fetch_alone(piece);
    let (id, _) = blocks.asked(first);
    blocks.0.now += Duration::from_secs(1);
    assert_eq!(blocks.arrives(first, id, 0), Arrival::Partial);
    blocks.0.peers.get_mut(&first).unwrap().source.on_arriving(blocks.0.now, 1_000);
    blocks.0.now += Duration::from_secs(1);
    let now = blocks.0.now;
    blocks.0.peers.get_mut(&second).unwrap().source.meter.add(now, 1_000_000);
    assert!(blocks.0.peers[&first].source.is_stuck(now));
    assert_eq!(blocks.0.download.steal(now, &mut blocks.0.peers, second), []);
}

#[test]
fn who_leaves_in_the_middle_of_such_a_piece_leaves_nothing_of_it() {
    let (mut blocks, first, _, second) = begun_alone();
    blocks.leaves(first);
    let (_, all) = blocks.asked(second);
    assert_eq!(all, 0..COUNT);
}

#[test]
fn who_never_completes_such_a_piece_is_not_asked_for_a_while() {
    let (mut blocks, first, id, _) = begun_alone();
    let rejects = |blocks: &mut OnePiece, id| {
        let (now, table) = (blocks.0.now, &mut blocks.0);
        table.download.on_reject(now, &mut table.peers, first, id);
    };
    rejects(&mut blocks, id);
    for _ in 0..3 {
        let (id, _) = blocks.asked(first);
        assert_eq!(blocks.arrives(first, id, 0), Arrival::Partial);
        rejects(&mut blocks, id);
    }
    assert_eq!(blocks.0.fill(first), [], "four times in vain");
}

#[test]
fn however_fast_the_sources_are_what_is_under_way_fits_into_memory() {
    let mut table = Table::new(1);
    let lengths = Lengths::new(1 << 30, 16).unwrap();
    table.download = Download::new(lengths, Bitfield::new(&lengths));
    table.availability = Availability::new(lengths);
    let all: Vec<u64> = (0..lengths.piece_count().into()).collect();
    let sources: Vec<Handle> = (1..=5).map(|key| table.relay(key, &all)).collect();
    let now = table.now;
    for &key in &sources {
        table.peers.get_mut(&key).unwrap().source.meter.add(now, 1 << 30);
        table.fill(key);
    }
    let under_way: u64 = table.peers.values().map(|peer| peer.source.outstanding()).sum();
    let least = MIN_PORTIONS * u64::from(lengths.full_piece_len());
    assert!((MAX_UNDER_WAY..=MAX_UNDER_WAY + 5 * least).contains(&under_way), "{under_way} B");
}

#[test]
fn what_may_have_been_left_is_asked_of_nobody_before_it_has_been_looked_at() {
    let mut table = Table::new(6);
    let (origin, relay) = (table.origin(1), table.relay(2, &[2, 3]));
    let piece = |table: &Table, index| table.download.lengths.piece(index).unwrap();
    table.download.blocks.check_all();
    assert_eq!((table.fill(origin), table.fill(relay)), (vec![], vec![]));
    assert!(table.download.blocks.missing().is_empty(), "it has arrived, as it seems");
    // Only these can be there; of the others, an origin must not choose as long as it doesn't know what is here.
    let mut listed = Bitfield::new(&table.download.lengths);
    [0, 1, 2].iter().for_each(|&index| _ = listed.set(piece(&table, index)));
    table.download.blocks.check_only(&listed);
    assert_eq!(pieces(&table.fill(relay)), [3]);
    let asked = pieces(&table.fill(origin));
    assert_eq!(asked, [4, 5]);
    assert_eq!(table.download.blocks.next_to_check(2 * PIECE).len(), 2);
    for (index, is_there) in [(0, true), (1, false), (2, true)] {
        assert!(table.download.blocks.is_looking_back());
        let piece = piece(&table, index);
        table.download.blocks.on_checked(piece, is_there);
        table.download.blocks.on_checked(piece, !is_there);
    }
    assert!(!table.download.blocks.is_looking_back());
    assert!(table.download.blocks.have().iter().map(PieceIndex::get).eq([0, 2]));
    table.delivers(origin, 0, u64::from(asked[0]));
    assert_eq!(table.fill(origin), [Ask::Any { id: 2, credits: 1, residue: 0, modulus: 1 }]);
    table.delivers(origin, 2, 1);
    assert_eq!((table.fill(origin), table.fill(relay)), (vec![], vec![]));
}

/// The pieces that were asked for in particular, in that order, and whether the source may decline.
fn needed(asks: &[Ask]) -> Vec<(u64, bool)> {
    let piece = |ask: &Ask| match *ask {
        Ask::Blocks { ref target, .. } => (u64::from(target.piece.get()), false),
        Ask::Any { credits: 1, residue, modulus: 1_000_000, .. } => (residue, true),
        ref other => panic!("{other:?}"),
    };
    asks.iter().map(piece).collect()
}

#[test]
fn what_is_read_is_asked_for_in_order_and_an_origin_may_decline_it() {
    let mut table = Table::new(100);
    table.download.read_in_order();
    let (origin, relay) = (table.origin(1), table.relay(2, &[90, 7, 1, 12]));
    assert_eq!(needed(&table.fill(relay)), [(1, false), (7, false)]);
    assert_eq!(
        needed(&table.fill(origin)),
        [(0, true), (2, true)],
        "what is relayed isn't asked of an origin"
    );
    table.download.on_none(table.now, &mut table.peers, origin, 0, 1);
    assert_eq!(needed(&table.fill(origin)), [(3, true)], "somebody else is getting it");
    assert_eq!(table.delivers(origin, 1, 2), []);
    assert_eq!(needed(&table.fill(origin)), [(4, true)]);
    let newcomer = table.relay(3, &[0]);
    assert_eq!(needed(&table.fill(newcomer)), [(0, false)]);
    let gone = table.peers.remove(&newcomer).unwrap();
    table.availability.discount_peer(&gone);
    table.download.remove_peer(&table.peers, gone);
    table.delivers(origin, 2, 3);
    table.now += Duration::from_secs(2);
    assert_eq!(needed(&table.fill(origin)), [(0, false)], "nobody relays it after all");
}

#[test]
fn beyond_what_is_read_soon_all_is_asked_for_as_ever() {
    let mut table = Table::new(100);
    table.download.read_in_order();
    let first = table.relay(1, &(0..16).collect::<Vec<u64>>());
    let origin = table.origin(2);
    assert_eq!(needed(&table.fill(first)), [(0, false), (1, false)]);
    assert_eq!(table.fill(origin), [Ask::Any { id: 0, credits: 5, residue: 0, modulus: 1 }]);
    let far = table.relay(3, &[2, 16, 17, 18]);
    table.relay(4, &[16, 17]);
    assert_eq!(needed(&table.fill(far)), [(2, false), (18, false)], "then the rarest");
    table.delivers(first, 0, 0);
    assert_eq!(needed(&table.fill(first)), [(3, false)]);
}

#[test]
fn where_many_sources_are_asked_each_has_one_piece_to_send() {
    let mut table = Table::new(60);
    let all: Vec<u64> = (0..60).collect();
    let relays: Vec<Handle> = (1..=20).map(|key| table.relay(key, &all)).collect();
    let asked: Vec<usize> = relays.iter().map(|&relay| table.fill(relay).len()).collect();
    assert_eq!(asked[..8], [2; 8], "few are under way");
    assert_eq!(asked[9..], [1; 11], "the others are enough");
}

#[test]
fn of_many_peers_each_is_asked_for_the_next_piece_before_the_last_has_come_whole() {
    for (count, expected) in [(MANY_PEERS, 0), (40, 1)] {
        let mut table = Table::new(120);
        let all: Vec<u64> = (0..120).collect();
        let relays: Vec<Handle> = (1..=count as u64).map(|key| table.relay(key, &all)).collect();
        relays.iter().for_each(|&relay| _ = table.fill(relay));
        let last = relays[count - 1];
        // Slow enough for one piece to be all that it gives in 0.3 s.
        table.now += Duration::from_millis(900);
        let now = table.now;
        let arrive = |table: &mut Table, percent: u64| {
            let source = &mut table.peers.get_mut(&last).unwrap().source;
            source.on_arriving(now, PIECE * percent / 100);
        };
        arrive(&mut table, 60);
        assert!(!table.download.is_nearly_through(now, &table.peers, last), "it will take its time");
        arrive(&mut table, 75);
        assert_eq!(table.download.is_nearly_through(now, &table.peers, last), expected == 1);
        assert_eq!([table.fill(last).len(), table.fill(last).len()], [expected, 0], "of {count}");
    }
}
