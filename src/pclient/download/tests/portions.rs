//! How much of a source is asked for at a time.

use super::*;

/// How many blocks each source was asked for at a time, in the order in which it gave them, until nothing was left to ask for.
fn portions(table: &mut Table, sources: &[Handle]) -> Vec<usize> {
    let mut portions = Vec::new();
    loop {
        let before = portions.len();
        for &source in sources {
            for ask in table.fill(source) {
                let Ask::Blocks { id, target } = ask else { panic!("{ask:?}") };
                portions.push(target.blocks.len());
                table.now += Duration::from_millis(100);
                let (first, data) = (target.blocks.start.into(), vec![1; target.blocks.len() << 10]);
                let at = (target.piece.get().into(), first);
                table.download.on_block(table.now, &mut table.peers, source, id, at, &data);
            }
        }
        if portions.len() == before {
            return portions;
        }
    }
}

#[test]
fn the_less_is_left_the_less_several_sources_are_asked_for_at_a_time() {
    let mut table = Table::new(32);
    let sources = [table.origin(1), table.origin(2)];
    let portions = portions(&mut table, &sources);
    assert_eq!(portions.iter().sum::<usize>(), 32 * 4, "nothing is asked for twice");
    assert!(portions.starts_with(&[4; 20]) && portions.ends_with(&[1; 12]), "{portions:?}");
}

#[test]
fn what_one_alone_has_to_give_is_asked_for_as_a_whole_to_the_end() {
    let mut table = Table::new(1);
    let sources = [table.origin(1), table.origin(2)];
    let piece = table.download.lengths.piece(0).unwrap();
    table.download.blocks.fetch_alone(piece);
    assert_eq!(portions(&mut table, &sources), [4]);
}

#[test]
fn who_relays_needs_whole_pieces_to_the_end() {
    let mut table = Table::new(8);
    let sources = [table.relay(1, &[0, 1, 2, 3, 4, 5, 6, 7]), table.origin(2), table.origin(3)];
    assert_eq!(portions(&mut table, &sources[..1]), [4; 8]);
}
