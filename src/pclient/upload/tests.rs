//! A source and the peers that want something of it, as a dialogue: who asks for what, and who is served.

use super::*;

/// A source of `pieces` pieces of four blocks each, and the peers that want them.
struct Table {
    upload: Upload,
    availability: Availability,
    peers: Peers,
    rng: Rng,
}

impl Table {
    fn new(pieces: u64, peers: u64) -> Table {
        Table::of(Lengths::new(pieces * 4_096, 12).unwrap(), peers)
    }

    fn of(lengths: Lengths, peers: u64) -> Table {
        let mut table = Table {
            upload: Upload::new(lengths),
            availability: Availability::new(lengths),
            peers: Peers::new(),
            rng: Rng::from_seed(1),
        };
        for key in 0..peers {
            let remote = format!("10.0.0.{key}:1").parse().unwrap();
            let mut peer = Peer::new(remote, key, Instant::ORIGIN);
            peer.pieces = Announced::Known(Bitfield::new(&lengths));
            table.peers.insert(Handle::for_test(key), peer);
        }
        table
    }

    fn wants_any(&mut self, key: u64, ids: std::ops::Range<u64>) {
        let key = Handle::for_test(key);
        let peer = self.peers.get_mut(&key).unwrap();
        for id in ids {
            assert!(self.upload.want(key, peer, Wanted { id, what: What::Any { residue: 0, modulus: 1 } }));
        }
    }

    fn wants(&mut self, key: u64, id: u64, piece: PieceIndex) {
        let key = Handle::for_test(key);
        let what = What::Blocks(Target { piece, blocks: 0..4 });
        assert!(self.upload.want(key, self.peers.get_mut(&key).unwrap(), Wanted { id, what }));
    }

    fn next(&mut self) -> Option<Next> {
        self.next_for(|_| true)
    }

    fn next_for(&mut self, may_go: impl Fn(Handle) -> bool) -> Option<Next> {
        self.upload.next(Instant::ORIGIN, &mut self.peers, &self.availability, true, &mut self.rng, may_go)
    }

    fn serves(&mut self) -> (Handle, PieceIndex) {
        match self.next() {
            Some(Next::Block(serve)) => (serve.to, serve.target.piece),
            other => panic!("{other:?}"),
        }
    }

    fn leaves(&mut self, key: Handle) {
        let peer = self.peers.remove(&key).unwrap();
        self.availability.discount_peer(&peer);
        self.upload.remove_peer(&self.peers, &self.availability, key, &peer);
    }

    fn announces(&mut self, key: u64, piece: PieceIndex) {
        let handle = Handle::for_test(key);
        let peer = self.peers.get_mut(&handle).unwrap();
        if let Announced::Known(pieces) = &mut peer.pieces {
            pieces.set(piece);
        }
        self.availability.count(peer, piece);
        self.upload.on_announced(Instant::ORIGIN, &mut self.peers, handle, piece);
    }
}

#[test]
fn what_was_sent_to_nobody_goes_out_nearly_in_order() {
    let mut table = Table::new(100, 1);
    table.wants_any(0, 0..100);
    let sent: Vec<usize> = (0..100).map(|_| table.serves().1.as_usize()).collect();
    let is_near = |(turn, &piece): (usize, &usize)| piece < turn + NEAR;
    assert!(sent.iter().enumerate().all(is_near), "{sent:?}");
    assert!(!sent.is_sorted(), "two sources must not choose alike");
}

#[test]
fn a_freeloader_gets_nothing_that_only_it_would_have() {
    let mut table = Table::new(40, 2);
    let rider = Handle::for_test(1);
    table.peers.get_mut(&rider).unwrap().dealings.standing = Standing::Freeloads;
    table.wants_any(0, 0..40);
    table.wants_any(1, 0..1);
    let given: Vec<PieceIndex> = (0..EARNED).map(|_| table.serves().1).collect();
    // The other's window is full now.
    let is_alone = |key| key == rider;
    assert_eq!(table.next_for(is_alone), Some(Next::Refuse { to: rider, first: 0, credits: 1 }));
    let fresh = table.upload.unsent.iter().next().unwrap();
    table.wants(1, 1, fresh);
    assert_eq!(table.next_for(is_alone), None, "nor if it asks for it in particular");
    table.peers.get_mut(&rider).unwrap().queue.wanted.clear();
    table.wants(1, 2, given[0]);
    let Some(Next::Block(serve)) = table.next_for(is_alone) else { panic!() };
    assert_eq!((serve.to, serve.target.piece), (rider, given[0]), "what another has it may have");
}

#[test]
fn what_only_a_freeloader_got_goes_out_again_when_all_has_gone_out() {
    let mut table = Table::new(3, 2);
    let (honest, rider) = (Handle::for_test(0), Handle::for_test(1));
    table.wants_any(1, 0..1);
    let (to, wasted) = table.serves();
    assert_eq!(to, rider, "nobody knows it yet");
    table.peers.get_mut(&rider).unwrap().dealings.standing = Standing::Freeloads;
    table.wants_any(0, 0..4);
    let served: Vec<_> = (0..3).map(|_| table.serves()).collect();
    assert!(served.iter().all(|&(to, _)| to == honest));
    assert_eq!(served[2].1, wasted, "after all that nobody has");
    assert!(matches!(table.next(), Some(Next::Refuse { .. })), "once");
}

#[test]
fn who_freeloads_or_did_is_not_given_again_what_it_has_got() {
    for standing in [Standing::Freeloads, Standing::Room] {
        for modulus in [1, Lengths::MAX_PIECES] {
            let mut table = Table::new(2, 2);
            let rider = Handle::for_test(1);
            table.wants_any(1, 0..2);
            let [first, second] = [0, 1].map(|_| table.serves().1);
            assert_ne!(first, second);
            table.peers.get_mut(&rider).unwrap().dealings.standing = Standing::Freeloads;
            table.upload.restore_given_away(&table.peers, &table.availability);
            assert!(!table.upload.unsent.is_empty(), "they are to go out again");
            let peer = table.peers.get_mut(&rider).unwrap();
            peer.dealings.standing = standing;
            let what = What::Any { residue: 0, modulus };
            assert!(table.upload.want(rider, peer, Wanted { id: 9, what }));
            // The uplink idles: even a freeloader may have what nobody else has.
            let (peers, availability) = (&mut table.peers, &table.availability);
            let next =
                table
                    .upload
                    .next(Instant::ORIGIN + IDLE, peers, availability, true, &mut table.rng, |_| true);
            assert!(matches!(next, Some(Next::Refuse { .. })), "{standing:?}: {next:?}");
        }
    }
}

#[test]
fn what_goes_out_again_is_owed_by_who_has_it_now() {
    let mut table = Table::new(1, 3);
    let (honest, rider) = (Handle::for_test(0), Handle::for_test(1));
    table.wants_any(1, 0..1);
    let (_, piece) = table.serves();
    table.peers.get_mut(&rider).unwrap().dealings.standing = Standing::Freeloads;
    table.wants_any(0, 0..1);
    assert_eq!(table.serves(), (honest, piece));
    let unspread = |table: &Table| [honest, rider].map(|key| table.peers[&key].queue.unspread);
    assert_eq!(unspread(&table), [1, 0]);
    table.announces(2, piece);
    assert_eq!(unspread(&table), [0, 0]);
}

#[test]
fn what_came_to_others_without_us_keeps_nothing_from_going_out_again() {
    let mut table = Table::new(2, 3);
    let rider = Handle::for_test(1);
    table.wants_any(1, 0..1);
    let (_, wasted) = table.serves();
    table.peers.get_mut(&rider).unwrap().dealings.standing = Standing::Freeloads;
    let other = table.upload.unsent.iter().next().unwrap();
    table.announces(2, other);
    table.wants_any(0, 0..1);
    assert_eq!(table.serves(), (Handle::for_test(0), wasted));
}

#[test]
fn each_piece_goes_out_once_before_any_goes_twice() {
    let mut table = Table::new(6, 2);
    table.wants_any(0, 0..4);
    table.wants_any(1, 0..4);
    let mut served: Vec<_> = (0..6).map(|_| table.serves()).collect();
    served.sort_by_key(|&(_, piece)| piece);
    let pieces: Vec<u32> = served.iter().map(|(_, piece)| piece.get()).collect();
    assert_eq!(pieces, [0, 1, 2, 3, 4, 5]);
    assert_eq!(served.iter().filter(|(to, _)| *to == Handle::for_test(0)).count(), 3);
    assert!(matches!(table.next(), Some(Next::Refuse { first: 3, credits: 1, .. })));
    assert!(matches!(table.next(), Some(Next::Refuse { first: 3, credits: 1, .. })));
    assert_eq!(table.next(), None);
}

#[test]
fn whoever_relays_is_served_and_whoever_hoards_waits() {
    let mut table = Table::new(9, 3);
    (0..3).for_each(|key| table.wants_any(key, 0..3));
    let first: Vec<_> = (0..3).map(|_| table.serves()).collect();
    // What the peer 1 got first is announced by another; the others' pieces are not.
    let (_, spread) = first.iter().find(|(to, _)| *to == Handle::for_test(1)).copied().unwrap();
    table.announces(1, spread);
    table.announces(2, spread);
    assert_eq!(table.serves().0, Handle::for_test(1));
}

#[test]
fn what_was_not_finished_counts_as_unsent() {
    let mut table = Table::new(1, 2);
    table.wants_any(0, 0..1);
    table.wants_any(1, 0..1);
    let (to, piece) = table.serves();
    table.leaves(to);
    let (other, again) = table.serves();
    assert!(other != to && again == piece);
}

#[test]
fn what_left_with_the_only_one_who_had_it_counts_as_unsent() {
    let mut table = Table::new(1, 3);
    let served = |table: &mut Table, key| {
        table.wants_any(key, 0..1);
        let (to, piece) = table.serves();
        assert_eq!(to, Handle::for_test(key));
        table.announces(key, piece);
    };
    served(&mut table, 0);
    table.leaves(Handle::for_test(0));
    served(&mut table, 1);
    // As long as somebody has it, it is for that one to relay.
    table.wants_any(2, 0..1);
    assert!(matches!(table.next(), Some(Next::Refuse { .. })));
}

#[test]
fn what_is_asked_for_goes_together_as_far_as_a_message_carries() {
    // Pieces of four blocks of 8 KiB, two of which fill a message.
    let lengths = Lengths::new(3 << 15, 15).unwrap();
    let mut table = Table::of(lengths, 1);
    let piece = |index| lengths.piece(index).unwrap();
    for (id, piece, blocks) in [(0, piece(0), 0..4), (1, piece(1), 1..4), (2, piece(2), 3..4)] {
        let peer = table.peers.get_mut(&Handle::for_test(0)).unwrap();
        let what = What::Blocks(Target { piece, blocks });
        assert!(table.upload.want(Handle::for_test(0), peer, Wanted { id, what }));
    }
    for (id, blocks) in [(0, 0..2), (0, 2..4), (1, 1..3), (1, 3..4), (2, 3..4)] {
        let Some(Next::Block(serve)) = table.next() else { panic!() };
        assert_eq!((serve.id, serve.target), (id, Target { piece: piece(id), blocks }));
    }
    assert_eq!(table.next(), None);
}

#[test]
fn a_cancelled_request_is_not_served() {
    let mut table = Table::new(2, 1);
    let piece = table.upload.lengths.piece(1).unwrap();
    let handle = Handle::for_test(0);
    let wanted = Wanted { id: 7, what: What::Blocks(Target { piece, blocks: 0..4 }) };
    table.upload.want(handle, table.peers.get_mut(&handle).unwrap(), wanted);
    table.upload.cancel(&mut table.peers, &table.availability, handle, 7);
    assert_eq!(table.next(), None);
}

#[test]
fn nobody_is_served_beyond_what_may_go() {
    let mut table = Table::new(2, 2);
    table.wants_any(0, 0..1);
    table.wants_any(1, 0..1);
    let only = Handle::for_test(1);
    let next = table.next_for(|key| key == only);
    assert!(matches!(next, Some(Next::Block(serve)) if serve.to == only));
    assert_eq!(table.next_for(|key| key == only), None);
    // The other is asked again only when something has happened to its connection.
    let other = Handle::for_test(0);
    table.upload.stir(other);
    assert!(matches!(table.next(), Some(Next::Block(serve)) if serve.to == other));
}

#[test]
fn whoever_waits_for_the_disk_holds_nobody_up() {
    let mut table = Table::new(2, 2);
    table.wants_any(0, 0..1);
    table.wants_any(1, 0..1);
    let Some(Next::Block(held)) = table.next() else { panic!("nothing to serve") };
    table.upload.hold_back(&mut table.peers, &held);
    let (other, _) = table.serves();
    assert!(other != held.to);
    assert_eq!(table.next(), None);
    table.upload.on_loaded(&table.peers, held.target.piece);
    assert_eq!(table.next(), Some(Next::Block(held)));
}

#[test]
fn a_flood_of_requests_is_noticed() {
    let mut table = Table::new(2, 1);
    table.wants_any(0, 0..MAX_WANTED as u64);
    let key = Handle::for_test(0);
    let peer = table.peers.get_mut(&key).unwrap();
    let one_more = Wanted { id: 0, what: What::Any { residue: 0, modulus: 1 } };
    assert!(!table.upload.want(key, peer, one_more));
}
