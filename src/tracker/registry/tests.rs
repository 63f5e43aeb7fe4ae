//! The registry called directly: leases, names, caps, and its invariant under random calls.

use super::*;
use crate::rand::Rng;
use crate::tracker::protocol::COMPLETE;

fn at(seconds: u64) -> Instant {
    Instant::ORIGIN + Duration::from_secs(seconds)
}

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

fn fid(number: u64) -> Fid {
    Fid::of(&number.to_be_bytes())
}

fn holding(number: u64, name: &str) -> Announcement {
    Announcement { fid: fid(number), name: FileName::new(name).ok(), size: 10 + number, progress: 0, want: 0 }
}

fn holders(registry: &Registry, number: u64) -> Vec<u16> {
    registry.holders(fid(number)).map_or(vec![], |holders| holders.map(|holder| holder.addr.port()).collect())
}

/// Recounts every index from the files and compares.
fn check_invariant(registry: &Registry) {
    let (mut by_address, mut by_network, mut by_name, mut deadlines) =
        (BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    for (&fid, file) in &registry.files {
        assert!(!file.holders.is_empty());
        for (&addr, holding) in &file.holders {
            by_address.entry(addr).or_insert_with(BTreeSet::new).insert(fid);
            *by_network.entry(network(addr)).or_insert(0) += 1;
            if let Some(name) = &holding.name {
                *by_name.entry(name.clone()).or_insert_with(BTreeMap::new).entry(fid).or_insert(0) += 1;
            }
            deadlines.insert((holding.expires, fid, addr));
        }
    }
    assert_eq!(registry.by_address, by_address);
    assert_eq!(registry.by_network, by_network);
    assert_eq!(registry.by_name, by_name);
    assert_eq!(registry.deadlines, deadlines);
}

#[test]
fn who_announces_is_listed_once_with_its_last_progress() {
    let mut registry = Registry::new(Limits::default());
    registry.announce(at(0), addr(1), &holding(1, "a")).unwrap();
    registry.announce(at(1), addr(1), &Announcement { progress: COMPLETE, ..holding(1, "a") }).unwrap();
    let listed: Vec<Holder> = registry.holders(fid(1)).unwrap().collect();
    assert_eq!(listed, [Holder { addr: addr(1), progress: COMPLETE }]);
    assert!(registry.holders(fid(2)).is_none());
}

#[test]
fn a_lease_ends_unless_refreshed() {
    let mut registry = Registry::new(Limits::default());
    registry.announce(at(0), addr(1), &holding(1, "")).unwrap();
    registry.announce(at(10), addr(2), &holding(1, "")).unwrap();
    registry.announce(at(60), addr(1), &holding(1, "")).unwrap();
    assert_eq!(registry.next_expiry(), Some(at(100)));
    assert_eq!(registry.expire(at(99)), 0);
    assert_eq!(registry.expire(at(100)), 1);
    assert_eq!(holders(&registry, 1), [1]);
    assert_eq!(registry.expire(at(150)), 1);
    assert!(registry.holders(fid(1)).is_none());
    assert_eq!((registry.next_expiry(), registry.files(), registry.holdings()), (None, 0, 0));
}

#[test]
fn one_withdraws_its_own_and_nobody_elses() {
    let mut registry = Registry::new(Limits::default());
    for port in [1, 2] {
        for number in [1, 2, 3] {
            registry.announce(at(0), addr(port), &holding(number, "a")).unwrap();
        }
    }
    assert!(registry.withdraw(addr(1), fid(1)));
    assert!(!registry.withdraw(addr(1), fid(1)));
    assert_eq!((holders(&registry, 1), holders(&registry, 2)), (vec![2], vec![1, 2]));
    assert_eq!(registry.withdraw_all(addr(1)), 2);
    assert_eq!(registry.withdraw_all(addr(1)), 0);
    assert_eq!((holders(&registry, 2), registry.holdings()), (vec![2], 3));
}

#[test]
fn a_name_finds_the_files_that_have_it_now_most_holders_first() {
    let mut registry = Registry::new(Limits::default());
    let name = FileName::new("a").unwrap();
    registry.announce(at(0), addr(1), &holding(1, "a")).unwrap();
    registry.announce(at(0), addr(1), &holding(2, "a")).unwrap();
    registry.announce(at(0), addr(2), &holding(2, "other name of the same")).unwrap();
    let found = |number, holders| FoundFile { fid: fid(number), size: 10 + number, holders };
    assert_eq!(registry.find(&name), (2, vec![found(2, 2), found(1, 1)]));
    registry.announce(at(1), addr(1), &holding(2, "renamed")).unwrap();
    assert_eq!(registry.find(&name), (1, vec![found(1, 1)]));
    registry.withdraw(addr(1), fid(1));
    assert_eq!(registry.find(&name), (0, vec![]));
}

#[test]
fn a_name_of_many_files_gives_one_page_and_their_number() {
    let mut registry = Registry::new(Limits::default());
    for number in 0..100 {
        registry.announce(at(0), addr(1), &holding(number, "a")).unwrap();
    }
    registry.announce(at(0), addr(2), &holding(77, "a")).unwrap();
    let (total, files) = registry.find(&FileName::new("a").unwrap());
    assert_eq!((total, files.len(), files[0].fid), (100, MAX_FOUND, fid(77)));
}

#[test]
fn each_cap_refuses_what_is_new_and_lets_what_is_there_be_refreshed() {
    let open = Limits {
        files: 9,
        holdings: 9,
        per_file: 9,
        per_address: 9,
        per_network: 9,
        lease: Duration::from_secs(90),
    };
    // (limits, what is there, what is refused and why, what still goes)
    let cases = [
        (Limits { per_address: 1, ..open }, (1, 1), (1, 2), Refusal::AddressFull, (2, 2)),
        (Limits { per_file: 1, ..open }, (1, 1), (2, 1), Refusal::FileFull, (2, 2)),
        (Limits { files: 1, ..open }, (1, 1), (2, 2), Refusal::TrackerFull, (2, 1)),
    ];
    for (limits, (port, number), (refused_port, refused_number), why, (other_port, other_number)) in cases {
        let mut registry = Registry::new(limits);
        registry.announce(at(0), addr(port), &holding(number, "")).unwrap();
        assert_eq!(
            registry.announce(at(0), addr(refused_port), &holding(refused_number, "")),
            Err(why),
            "{limits:?}"
        );
        assert_eq!(registry.announce(at(1), addr(port), &holding(number, "")), Ok(()));
        assert_eq!(registry.announce(at(1), addr(other_port), &holding(other_number, "")), Ok(()));
        check_invariant(&registry);
    }
    let mut registry = Registry::new(Limits { holdings: 1, ..open });
    registry.announce(at(0), addr(1), &holding(1, "")).unwrap();
    assert_eq!(registry.announce(at(0), addr(2), &holding(1, "")), Err(Refusal::TrackerFull));
}

#[test]
fn all_ports_of_a_host_and_all_addresses_of_a_64_are_one_network() {
    for (network, other) in
        [(["10.0.0.1:1", "10.0.0.1:2"], "10.0.0.2:1"), (["[1::1]:1", "[1::2]:1"], "[1:0:0:1::1]:1")]
    {
        let mut registry = Registry::new(Limits { per_network: 1, ..Limits::default() });
        let [first, second] = network.map(|text| text.parse().unwrap());
        assert_eq!(registry.announce(at(0), first, &holding(1, "")), Ok(()));
        assert_eq!(registry.announce(at(0), second, &holding(1, "")), Err(Refusal::AddressFull));
        assert_eq!(registry.announce(at(0), other.parse().unwrap(), &holding(1, "")), Ok(()));
    }
}

#[test]
fn the_invariant_holds_whatever_is_done_in_whatever_order() {
    let mut rng = Rng::from_seed(1);
    let limits =
        Limits { files: 6, holdings: 30, per_file: 6, per_address: 5, per_network: 25, ..Limits::default() };
    let mut registry = Registry::new(limits);
    let (mut refused, mut expired) = (0, 0);
    for step in 0..20_000 {
        let (now, who, what) = (at(step), addr(rng.index(12) as u16), rng.below(12));
        match rng.below(20) {
            0 => _ = registry.withdraw_all(who),
            1..4 => _ = registry.withdraw(who, fid(what)),
            4 => expired += registry.expire(now),
            _ => {
                let name = ["", "a", "b"][rng.index(3)];
                refused += u32::from(registry.announce(now, who, &holding(what, name)).is_err());
            }
        }
        check_invariant(&registry);
        assert!(registry.holdings() <= 30 && registry.files() <= 6);
    }
    assert!(refused > 100 && expired > 100, "{refused} refused, {expired} expired: not much was tried");
}
