//! What one source is slow to give is asked of another: what is taken over, what is doubled, and when.

use super::*;

#[test]
fn an_idle_source_takes_over_the_tail_of_a_slow_one() {
    let mut table = Table::new(3);
    let slow = table.relay(1, &[0, 1]);
    assert_eq!(pieces(&table.fill(slow)), [0, 1]);
    table.now += Duration::from_secs(1);
    let fast = table.relay(2, &[0, 1, 2]);
    let Ask::Blocks { id, .. } = table.fill(fast)[0].clone() else { panic!() };
    table.delivers(fast, id, 2);
    let stolen = table.download.steal(table.now, &mut table.peers, fast);
    let [(from, Ask::Cancel { id: 1 }), (to, Ask::Blocks { target, .. })] = &stolen[..] else {
        panic!("{stolen:?}")
    };
    assert_eq!((*from, *to), (slow, fast));
    // The first in line is on its way: it is doubled, not taken away, since the slow one has been silent.
    table.peers.get_mut(&slow).unwrap().source.on_arriving(table.now, 1);
    let again = table.delivers(fast, 1, target.piece.get().into());
    assert_eq!(again, []);
    let doubled = table.download.steal(table.now, &mut table.peers, fast);
    assert!(matches!(doubled[..], [(to, Ask::Blocks { .. })] if to == fast), "{doubled:?}");
    let Ask::Blocks { id, target } = doubled[0].1.clone() else { panic!() };
    assert_eq!(table.delivers(fast, id, target.piece.get().into()), [(slow, Ask::Cancel { id: 0 })]);
    assert!(table.download.blocks.have().is_complete());
}

#[test]
fn a_request_that_waits_for_its_turn_elsewhere_is_taken_over() {
    let mut table = Table::new(2);
    let busy = table.relay(1, &[0]);
    assert_eq!(pieces(&table.fill(busy)), [0]);
    let idle = table.relay(2, &[0, 1]);
    assert_eq!(pieces(&table.fill(idle)), [1]);
    table.delivers(idle, 0, 1);
    table.now += Duration::from_millis(499);
    assert_eq!(table.download.steal(table.now, &mut table.peers, idle), []);
    table.now += Duration::from_millis(1);
    let taken = table.download.steal(table.now, &mut table.peers, idle);
    let [(from, Ask::Cancel { id: 0 }), (to, Ask::Blocks { .. })] = taken[..] else { panic!("{taken:?}") };
    assert_eq!((from, to), (busy, idle));
}

#[test]
fn what_a_slow_one_has_not_begun_is_taken_over_at_the_end() {
    for (begun, is_at_end) in [(0, true), (1, true), (0, false)] {
        let mut table = Table::new(if is_at_end { 3 } else { 4 });
        let slow = table.relay(1, &[0, 1]);
        assert_eq!(pieces(&table.fill(slow)), [0, 1]);
        table.now += Duration::from_secs(8);
        table.delivers(slow, 0, 0);
        let idle = table.relay(2, &[0, 1, 2]);
        let Ask::Blocks { id, .. } = table.fill(idle)[0].clone() else { panic!() };
        table.delivers(idle, id, 2);
        table.now += Duration::from_millis(249);
        assert_eq!(table.download.steal(table.now, &mut table.peers, idle), [], "it may be about to come");
        table.now += Duration::from_millis(1);
        table.peers.get_mut(&slow).unwrap().source.on_arriving(table.now, begun);
        let taken = table.download.steal(table.now, &mut table.peers, idle);
        let is_taken = matches!(taken[..], [(from, Ask::Cancel { id: 1 }), _] if from == slow);
        assert_eq!(is_taken, begun == 0 && is_at_end, "{taken:?}");
    }
}

#[test]
fn what_stops_coming_in_the_middle_is_doubled_at_the_end() {
    for is_at_end in [true, false] {
        let mut table = Table::new(if is_at_end { 3 } else { 4 });
        let slow = table.relay(1, &[0, 1]);
        assert_eq!(pieces(&table.fill(slow)), [0, 1]);
        table.now += Duration::from_secs(1);
        table.delivers(slow, 0, 0);
        table.peers.get_mut(&slow).unwrap().source.on_arriving(table.now, 1_000);
        let idle = table.relay(2, &[0, 1, 2]);
        let Ask::Blocks { id, .. } = table.fill(idle)[0].clone() else { panic!() };
        table.delivers(idle, id, 2);
        // A quarter of a second, and of its usual time.
        table.now += Duration::from_millis(499);
        assert_eq!(
            table.download.steal(table.now, &mut table.peers, idle),
            [],
            "the next datagram may be due"
        );
        table.now += Duration::from_millis(1);
        let doubled = table.download.steal(table.now, &mut table.peers, idle);
        let is_doubled = matches!(doubled[..], [(to, Ask::Blocks { .. })] if to == idle);
        assert_eq!(is_doubled, is_at_end, "{doubled:?}");
        assert_eq!(table.peers[&slow].source.misses(), 0, "it isn't its fault");
    }
}

#[test]
fn what_a_slow_one_takes_long_for_is_doubled_at_the_end_where_peers_are_few() {
    for (others, is_at_end, rate) in
        [(0, true, 2_000), (0, false, 2_000), (0, true, 8_000), (15, true, 2_000)]
    {
        let mut table = Table::new(if is_at_end { 3 } else { 4 });
        let slow = table.relay(1, &[0, 1]);
        (0..others).for_each(|n| _ = table.relay(3 + n, &[]));
        table.fill(slow);
        let comes = |table: &mut Table, bytes: u64| {
            for tenth in 1..=bytes * 10 / rate {
                table.now += Duration::from_millis(100);
                let source = &mut table.peers.get_mut(&slow).unwrap().source;
                source.on_arriving(table.now, tenth * rate / 10);
            }
        };
        comes(&mut table, PIECE);
        table.delivers(slow, 0, 0);
        let idle = table.relay(2, &[0, 1, 2]);
        let Ask::Blocks { id, .. } = table.fill(idle)[0].clone() else { panic!() };
        table.delivers(idle, id, 2);
        table.fill(slow);
        comes(&mut table, 1_000);
        let doubled = table.download.steal(table.now, &mut table.peers, idle);
        let is_doubled = matches!(doubled[..], [(to, Ask::Blocks { .. })] if to == idle);
        let is_expected = others == 0 && is_at_end && rate == 2_000;
        assert_eq!(is_doubled, is_expected, "{others} others, {is_at_end}, {rate} B/s: {doubled:?}");
    }
}

#[test]
fn what_has_been_doubled_and_is_here_is_not_doubled_again() {
    let mut blocks = OnePiece::new();
    let (slow, idle) = (blocks.0.relay(1, &[0]), blocks.0.relay(2, &[0]));
    let (id, _) = blocks.asked(slow);
    blocks.0.now += Duration::from_secs(2);
    assert_eq!(blocks.arrives(slow, id, 0), Arrival::Partial);
    blocks.0.peers.get_mut(&slow).unwrap().source.on_arriving(blocks.0.now, 1_000);
    for block in 1..COUNT {
        // Overdue, but not silent.
        blocks.0.now += Duration::from_secs(1);
        let doubled = blocks.0.download.steal(blocks.0.now, &mut blocks.0.peers, idle);
        let [(to, Ask::Blocks { id, target })] = &doubled[..] else { panic!("{doubled:?}") };
        assert_eq!((*to, &target.blocks), (idle, &(block..block + 1)));
        let arrival = blocks.arrives(idle, *id, block);
        assert_eq!(matches!(arrival, Arrival::Whole(_)), block == COUNT - 1, "{arrival:?}");
    }
    assert_eq!(blocks.0.download.steal(blocks.0.now, &mut blocks.0.peers, idle), []);
}

#[test]
fn who_has_been_idle_takes_over_from_who_drips() {
    let mut table = Table::new(3);
    let honest = table.relay(1, &[0, 1]);
    for (id, piece) in [(0, 0), (1, 1)] {
        table.fill(honest);
        table.now += Duration::from_millis(100);
        table.delivers(honest, id, piece);
    }
    let dripping = table.relay(2, &[2]);
    assert_eq!(pieces(&table.fill(dripping)), [2]);
    table.now += Duration::from_secs(20);
    // More than the block has, of which nothing is of use.
    table.peers.get_mut(&dripping).unwrap().source.on_arriving(table.now, 2 * PIECE);
    table.peers.get_mut(&honest).unwrap().pieces = Announced::Known(Bitfield::full(&table.download.lengths));
    let doubled = table.download.steal(table.now, &mut table.peers, honest);
    assert!(matches!(doubled[..], [(to, Ask::Blocks { .. })] if to == honest), "{doubled:?}");
}
