//! Several files at a time: they share the links fairly, and together they take no longer than one after the other.

use std::cell::RefCell;
use std::rc::Rc;

use swarmcast::Fid;
use swarmcast::pclient::manifest::Manifest;
use swarmcast::pclient::node::Event;
use swarmcast::pclient::storage::{MemoryStorage, Storage};
use swarmcast::rand::Rng;
use swarmcast::sim::{Faults, NodeId};
use swarmcast::time::{Duration, Instant};

use crate::lab::{Actor, Lab, Rates};

const SOURCE: Rates = (100_000, 100_000);
const RECEIVER: Rates = (500_000, 500_000);
/// Who begins is not measured before then.
const WARM_UP: Duration = Duration::from_secs(3);

/// Jain's fairness index: 1 if all are equal, 1/n if one has all.
fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    sum * sum / (shares.len() as f64 * shares.iter().map(|share| share * share).sum::<f64>())
}

/// A source with several files, and who fetches them.
struct Library {
    lab: Lab,
    source: NodeId,
    files: Vec<(Fid, Vec<u8>)>,
}

impl Library {
    fn new(sizes: &[usize]) -> Library {
        let mut lab = Lab::new(1, 0, Faults::none());
        let mut rng = Rng::from_seed(2);
        let source = lab.add(SOURCE);
        let mut file = |&size: &usize| {
            let mut content = vec![0; size];
            rng.fill(&mut content);
            let (manifest, storage) = (Manifest::of(&content), MemoryStorage::from(content.clone()));
            let fid = manifest.fid();
            lab.with(source, |node, now| node.share(now, None, manifest, Box::new(storage)));
            (fid, content)
        };
        let files = sizes.iter().map(&mut file).collect();
        lab.world.run_until(Instant::ORIGIN + Duration::from_secs(2));
        Library { lab, source, files }
    }

    fn fetch(&mut self, id: NodeId, file: usize) {
        let fid = self.files[file].0;
        self.lab.with(id, |node, now| {
            let make = |size| Ok(Box::new(MemoryStorage::with_size(size)?) as Box<dyn Storage>);
            node.fetch(now, fid, Box::new(make));
        });
    }

    fn verified(&self, id: NodeId, file: usize) -> u64 {
        self.lab.peer(id).node.progress(self.files[file].0).map_or(0, |progress| progress.verified)
    }

    /// Runs until one of `fetches`, each a node and a file, is done. Gives when that was.
    fn run_until_first(&mut self, fetches: &[(NodeId, usize)]) -> Instant {
        let wanted: Vec<(NodeId, Fid)> = fetches.iter().map(|&(id, file)| (id, self.files[file].0)).collect();
        let deadline = self.lab.world.now() + Duration::from_secs(1_000);
        let found = self.lab.world.run_while(deadline, |world| {
            !wanted.iter().any(|&(id, fid)| {
                let Actor::Peer(peer) = world.node(id) else { return false };
                peer.events.iter().any(|(_, event)| matches!(event, Event::Downloaded(done) if *done == fid))
            })
        });
        assert!(found, "nobody is done");
        self.lab.world.now()
    }

    /// Runs until all are done, and checks what they hold.
    fn run_until_all(&mut self, fetches: &[(NodeId, usize)]) -> Instant {
        fetches
            .iter()
            .map(|fetch| self.run_until_first(&[*fetch]))
            .max()
            .inspect(|_| {
                for &(id, file) in fetches {
                    let (fid, content) = &self.files[file];
                    let swarm = self.lab.peer(id).node.swarm(*fid).expect("it is shared on");
                    let (storage, size) = swarm.stored().expect("all is there");
                    let mut held = vec![0; size as usize];
                    storage.read_at(0, &mut held).expect("memory can be read");
                    assert!(held == *content, "other bytes");
                }
            })
            .expect("somebody fetches")
    }

    /// Runs the fetches. Gives Jain's index of what the source sent to each group of nodes while all groups ran, and
    /// the time of the last ÷ what the source's uplink needs for one copy of each file.
    fn share_out(&mut self, fetches: &[(NodeId, usize)], groups: &[Vec<NodeId>]) -> (f64, f64) {
        let sent = Rc::new(RefCell::new(vec![0u64; groups.len()]));
        let (count, source, members) = (Rc::clone(&sent), self.source, groups.to_vec());
        self.lab.world.set_filter(move |_, from, to, datagram| {
            if from == source
                && let Some(group) = members.iter().position(|group| group.contains(&to))
            {
                count.borrow_mut()[group] += datagram.len() as u64;
            }
            true
        });
        let start = self.lab.world.now();
        fetches.iter().for_each(|&(id, file)| self.fetch(id, file));
        self.lab.world.run_until(start + WARM_UP);
        let before = sent.borrow().clone();
        self.run_until_first(fetches);
        let shares: Vec<f64> =
            sent.borrow().iter().zip(before).map(|(after, before)| (after - before) as f64).collect();
        let total: usize = self.files.iter().map(|(_, content)| content.len()).sum();
        let took = self.run_until_all(fetches).since(start).as_secs_f64();
        (jain(&shares), took / (total as f64 / SOURCE.0 as f64))
    }
}

#[test]
fn files_for_different_receivers_share_the_uplink_evenly() {
    // Pieces of 4 KiB, 8 KiB and, of the longest, 16 KiB.
    for (sizes, receivers) in [
        (&[900_000, 3_000_000][..], &[1, 1][..]),
        (&[900_000, 3_000_000, 5_000_000], &[1, 1, 1]),
        (&[3_000_000, 3_000_000], &[1, 2]),
        (&[900_000, 3_000_000, 90_000_000], &[1, 2, 3]),
    ] {
        let mut library = Library::new(sizes);
        let (mut fetches, mut groups) = (Vec::new(), Vec::new());
        for (file, &count) in receivers.iter().enumerate() {
            let group: Vec<NodeId> = (0..count).map(|_| library.lab.add(RECEIVER)).collect();
            fetches.extend(group.iter().map(|&id| (id, file)));
            groups.push(group);
        }
        let (index, ratio) = library.share_out(&fetches, &groups);
        println!(
            "{sizes:?} for {receivers:?} receivers: Jain {index:.3}, the last after {ratio:.3} of the uplink's time"
        );

        assert!(index >= 0.95 && ratio <= 1.1, "{index} {ratio}");
    }
}

#[test]
fn a_receiver_of_two_files_gets_both_at_once() {
    let mut library = Library::new(&[900_000, 3_000_000]);
    let receiver = library.lab.add(RECEIVER);
    let start = library.lab.world.now();
    (0..2).for_each(|file| library.fetch(receiver, file));
    library.lab.world.run_until(start + WARM_UP);
    let at = |library: &Library| [0, 1].map(|file| library.verified(receiver, file) as f64);
    let before = at(&library);
    library.run_until_first(&[(receiver, 0), (receiver, 1)]);
    let after = at(&library);
    let shares = [after[0] - before[0], after[1] - before[1]];
    let took = library.run_until_all(&[(receiver, 0), (receiver, 1)]).since(start).as_secs_f64();
    let ratio = took / (3_900_000.0 / SOURCE.0 as f64);
    println!(
        "two files over one connection: {shares:?} B, Jain {:.3}, {ratio:.3} of the uplink's time",
        jain(&shares)
    );
    assert!(jain(&shares) >= 0.95 && ratio <= 1.1, "{shares:?} {ratio}");
}

#[test]
fn files_of_two_sources_share_a_downlink_evenly() {
    let mut library = Library::new(&[2_000_000]);
    let other = library.lab.add(SOURCE);
    let mut content = vec![0; 900_000];
    Rng::from_seed(3).fill(&mut content);
    let (manifest, storage) = (Manifest::of(&content), MemoryStorage::from(content.clone()));
    library.files.push((manifest.fid(), content));
    library.lab.with(other, |node, now| node.share(now, None, manifest, Box::new(storage)));
    library.lab.world.run_until(library.lab.world.now() + Duration::from_secs(2));
    let (receiver, start) = (library.lab.add((100_000, 100_000)), library.lab.world.now());
    (0..2).for_each(|file| library.fetch(receiver, file));
    library.lab.world.run_until(start + WARM_UP);
    let at = |library: &Library| [0, 1].map(|file| library.verified(receiver, file) as f64);
    let before = at(&library);
    library.run_until_first(&[(receiver, 0), (receiver, 1)]);
    let after = at(&library);
    let shares = [after[0] - before[0], after[1] - before[1]];
    let took = library.run_until_all(&[(receiver, 0), (receiver, 1)]).since(start).as_secs_f64();
    let ratio = took / (2_900_000.0 / 100_000.0);
    println!("two sources, one downlink: {shares:?} B, Jain {:.3}, {ratio:.3} of its time", jain(&shares));
    assert!(jain(&shares) >= 0.95 && ratio <= 1.1, "{shares:?} {ratio}");
}
