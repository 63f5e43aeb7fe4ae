//! Disks that fail, and files that change while they are shared: nothing false leaves, and the swarm goes on.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use swarmcast::Error;
use swarmcast::pclient::manifest::Manifest;
use swarmcast::pclient::node::Event;
use swarmcast::pclient::storage::{MemoryStorage, Storage};
use swarmcast::sim::{Faults, NodeId};
use swarmcast::time::{Duration, Instant};

use crate::lab::Lab;

const SIZE: usize = 400_000;
const RATE: u64 = 50_000;

/// What has befallen a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    None,
    /// One bit in each 4 kB is another.
    Flipped,
    Truncated,
    Unreadable,
    Full,
}

/// Memory that behaves like a disk, and whose state the test decides.
struct Disk {
    memory: MemoryStorage,
    harm: Arc<Mutex<Harm>>,
}

impl Storage for Disk {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.memory.read_at(offset, buf)?;
        match *self.harm.lock() {
            Harm::None | Harm::Full => {}
            Harm::Flipped => buf.iter_mut().step_by(4_096).for_each(|byte| *byte ^= 1),
            Harm::Truncated => return Err(io::ErrorKind::UnexpectedEof.into()),
            Harm::Unreadable => return Err(io::Error::other("input/output error")),
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match *self.harm.lock() {
            Harm::Full => Err(io::ErrorKind::StorageFull.into()),
            _ => self.memory.write_at(offset, data),
        }
    }

    fn finish(&self) -> io::Result<()> {
        self.memory.finish()
    }

    fn abandon(&self) {}
}

/// Two sources, the first of them on a disk that is harmed in mid transfer; and a receiver.
fn lab(harm: &Arc<Mutex<Harm>>) -> (Lab, [NodeId; 2], NodeId) {
    let mut lab = Lab::new(1, SIZE, Faults::none());
    let sources = [lab.add((RATE, RATE)), lab.add((RATE, RATE))];
    let (content, disk) = (Arc::clone(&lab.content), Arc::clone(harm));
    lab.with(sources[0], |node, now| {
        let storage = Disk { memory: MemoryStorage::from(content.to_vec()), harm: disk };
        node.share(now, None, Manifest::of(&content), Box::new(storage));
    });
    lab.share(sources[1]);
    lab.world.run_until(Instant::ORIGIN + Duration::from_secs(2));
    let receiver = lab.add((200_000, 200_000));
    lab.fetch(receiver);
    lab.world.run_until(lab.world.now() + Duration::from_secs(2));
    (lab, sources, receiver)
}

fn failure(lab: &Lab, id: NodeId) -> Option<(Instant, Error)> {
    lab.peer(id).events.iter().find_map(|(at, event)| match event {
        Event::Failed(_, error) => Some((*at, error.clone())),
        _ => None,
    })
}

#[test]
fn a_source_whose_file_is_no_longer_what_it_was_says_so_and_lies_to_nobody() {
    for harm in [Harm::Flipped, Harm::Truncated, Harm::Unreadable] {
        let disk = Arc::new(Mutex::new(Harm::None));
        let (mut lab, sources, receiver) = lab(&disk);
        assert!(failure(&lab, sources[0]).is_none());
        *disk.lock() = harm;
        let harmed = lab.world.now();
        assert!(lab.run_until_done(&[receiver], Duration::from_secs(60)), "{harm:?}; {}", lab.replay());
        lab.assert_content(receiver);
        let (at, error) = failure(&lab, sources[0]).expect("it gives up");
        println!("{harm:?} at {harmed:?}; at {at:?}: {error}");
        assert!(at.since(harmed) < Duration::from_secs(1), "{harm:?}");
        assert!(matches!((harm, &error), (Harm::Unreadable, Error::Storage { .. }) | (_, Error::Changed(_))));
        assert!(lab.peer(sources[0]).node.progress(lab.fid).is_none(), "it is still shared");
        let swarm = lab.peer(receiver).node.swarm(lab.fid).expect("it shares the file");
        let addr = "10.0.1.1:7000".parse().expect("an address");
        assert!(!swarm.is_banned(lab.world.now(), addr), "{harm:?}: it sent what can't be right");
        // The other source took over what was left: 8 s alone, 4 s together.
        let took = lab.done_at(receiver).unwrap().since(harmed).as_secs_f64();
        assert!(took < 7.5, "{took:.2} s");
    }
}

#[test]
fn a_full_disk_ends_the_download_and_spares_the_others() {
    let none = Arc::new(Mutex::new(Harm::None));
    let (mut lab, _, other) = lab(&none);
    let (fid, full) = (lab.fid, Arc::new(Mutex::new(Harm::None)));
    let (receiver, disk) = (lab.add((200_000, 200_000)), Arc::clone(&full));
    lab.with(receiver, |node, now| {
        let make = move |size| {
            let memory = MemoryStorage::with_size(size)?;
            Ok(Box::new(Disk { memory, harm: disk }) as Box<dyn Storage>)
        };
        node.fetch(now, fid, Box::new(make));
    });
    lab.world.run_until(lab.world.now() + Duration::from_secs(1));
    *full.lock() = Harm::Full;
    let filled = lab.world.now();
    assert!(lab.run_until_done(&[other], Duration::from_secs(60)), "{}", lab.replay());
    lab.assert_content(other);
    let (at, error) = failure(&lab, receiver).expect("it gives up");
    assert!(at.since(filled) < Duration::from_secs(1), "{at:?}");
    assert!(matches!(&error, Error::Storage { source, .. } if source.kind() == io::ErrorKind::StorageFull));
    assert!(lab.done_at(receiver).is_none());
}
