//! Reading while it comes: what is needed next comes next, and fellow receivers hardly notice.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use swarmcast::pclient::storage::{MemoryStorage, Storage};
use swarmcast::sim::{Faults, NodeId};
use swarmcast::time::{Duration, Instant};

use crate::lab::{Lab, Rates};

/// How often it is looked who has what.
const LOOK: Duration = Duration::from_millis(5);
const LIMIT: Duration = Duration::from_secs(600);

/// What was written, B.
#[derive(Default)]
struct Written {
    /// All before this offset.
    prefix: u64,
    total: u64,
    /// Begin and end of each stretch beyond.
    apart: BTreeMap<u64, u64>,
}

/// Memory that tells how much of its beginning is there, and whether somebody reads that.
struct Tape {
    memory: MemoryStorage,
    is_read: bool,
    written: Arc<Mutex<Written>>,
}

impl Storage for Tape {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.memory.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.memory.write_at(offset, data)?;
        let written = &mut *self.written.lock();
        written.total += data.len() as u64;
        written.apart.insert(offset, offset + data.len() as u64);
        while let Some(end) = written.apart.remove(&written.prefix) {
            written.prefix = end;
        }
        Ok(())
    }

    fn finish(&self) -> io::Result<()> {
        self.memory.finish()
    }

    fn abandon(&self) {}

    fn is_read_in_order(&self) -> bool {
        self.is_read
    }
}

/// What became of a receiver, in seconds since all began and shares of the file.
#[derive(Clone, Debug)]
struct Figures {
    /// When the first byte could be read.
    first: f64,
    done: f64,
    /// How much of what had come couldn't be read yet, on average and at most.
    mean_lag: f64,
    worst_lag: f64,
}

struct Receiver {
    id: NodeId,
    written: Arc<Mutex<Written>>,
    first: Option<Instant>,
    lags: Vec<f64>,
}

impl Receiver {
    fn join(lab: &mut Lab, rates: Rates, is_read: bool) -> Receiver {
        let (id, fid, written) = (lab.add(rates), lab.fid, Arc::default());
        let at = Arc::clone(&written);
        lab.with(id, |node, now| {
            let make = move |size| {
                let memory = MemoryStorage::with_size(size)?;
                Ok(Box::new(Tape { memory, is_read, written: at }) as Box<dyn Storage>)
            };
            node.fetch(now, fid, Box::new(make));
        });
        Receiver { id, written, first: None, lags: Vec::new() }
    }

    fn look(&mut self, lab: &Lab) {
        let written = self.written.lock();
        if written.prefix > 0 && self.first.is_none() {
            self.first = Some(lab.world.now());
        }
        if lab.done_at(self.id).is_none() {
            self.lags.push((written.total - written.prefix) as f64 / lab.content.len() as f64);
        }
    }

    fn figures(&self, lab: &Lab, began: Instant) -> Figures {
        let since = |at: Option<Instant>| at.expect("it is done").since(began).as_secs_f64();
        Figures {
            first: since(self.first),
            done: since(lab.done_at(self.id)),
            mean_lag: self.lags.iter().sum::<f64>() / self.lags.len() as f64,
            worst_lag: self.lags.iter().copied().fold(0.0, f64::max),
        }
    }
}

/// A file of `size` B from sources and to receivers of these rates, of which some are read from.
fn play(seed: u64, size: usize, sources: &[Rates], receivers: &[(Rates, bool)]) -> Vec<Figures> {
    let mut lab = Lab::new(seed, size, Faults::none());
    for &rates in sources {
        let source = lab.add(rates);
        lab.share(source);
    }
    lab.world.run_until(Instant::ORIGIN + Duration::from_secs(2));
    let began = lab.world.now();
    let mut receivers: Vec<Receiver> =
        receivers.iter().map(|&(rates, is_read)| Receiver::join(&mut lab, rates, is_read)).collect();
    while receivers.iter().any(|receiver| lab.done_at(receiver.id).is_none()) {
        assert!(lab.world.now().since(began) < LIMIT, "{}", lab.replay());
        lab.world.run_until(lab.world.now() + LOOK);
        receivers.iter_mut().for_each(|receiver| receiver.look(&lab));
    }
    receivers.iter().for_each(|receiver| lab.assert_content(receiver.id));
    receivers.iter().map(|receiver| receiver.figures(&lab, began)).collect()
}

#[test]
fn what_is_read_comes_in_order() {
    const RATE: Rates = (500_000, 500_000);
    let [anyhow, read] =
        [false, true].map(|is_read| play(1, 1_000_000, &[RATE], &[(RATE, is_read)]).remove(0));
    println!("{anyhow:?}\n{read:?}");
    assert!(read.first < 0.2 && read.mean_lag < 0.02 && read.worst_lag < 0.1, "{read:?}");
    assert!(anyhow.mean_lag > 0.2, "{anyhow:?}: what isn't read comes in any order");
    assert!(read.done < 1.02 * anyhow.done, "{read:?}, {anyhow:?}");
}

#[test]
fn fellow_receivers_hardly_notice_who_reads_nor_how_many() {
    const RATE: Rates = (200_000, 200_000);
    let [none, one, all] = [0, 1, 5].map(|readers| {
        let cast: Vec<_> = (0..5).map(|n| (RATE, n < readers)).collect();
        let figures = play(1, 1_000_000, &[RATE], &cast);
        let last = figures.iter().map(|figures| figures.done).fold(0.0, f64::max);
        println!("{readers} of 5 read, the last is done after {last:.2} s; the first: {:?}", figures[0]);
        (figures[0].clone(), last)
    });
    assert!(none.0.mean_lag > 0.2 && one.0.mean_lag < 0.1 && all.0.mean_lag < 0.1);
    assert!(one.1 < 1.05 * none.1 && all.1 < 1.1 * none.1);
}

/// Receivers by their rates, and whether each reads in order.
type Readers = Vec<(Rates, bool)>;

/// `--nocapture` prints the table.
#[test]
#[ignore = "a measurement"]
fn reading_in_order_measured() {
    const FAST: Rates = (4_000_000, 4_000_000);
    const SLOW: Rates = (1_000_000, 1_000_000);
    const SLOWER: Rates = (500_000, 1_000_000);
    let alone = |is_read| vec![(FAST, is_read)];
    let among = |readers: usize, rates| (0..11).map(|n| (rates, n < readers)).collect::<Vec<_>>();
    let cases: [(&str, &[Rates], [Readers; 2]); 6] = [
        ("one source, 4 MB/s, alone", &[FAST], [alone(false), alone(true)]),
        ("four sources of 1 MB/s, alone", &[SLOW; 4], [alone(false), alone(true)]),
        ("one source, one of 11", &[SLOW], [among(0, SLOW), among(1, SLOW)]),
        ("one source, 11 of 11", &[SLOW], [among(0, SLOW), among(11, SLOW)]),
        ("three sources, one of 11", &[SLOW; 3], [among(0, SLOWER), among(1, SLOWER)]),
        ("a fast source, one of 11", &[(20_000_000, 20_000_000)], [among(0, SLOW), among(1, SLOW)]),
    ];
    for (name, sources, casts) in cases {
        println!("{name}");
        for cast in casts {
            let all: Vec<Vec<Figures>> = (1..=3).map(|seed| play(seed, 20_000_000, sources, &cast)).collect();
            let mean = |of: &dyn Fn(&Vec<Figures>) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
            let others = |figures: &Vec<Figures>| figures[1..].iter().map(|f| f.done).fold(0.0, f64::max);
            println!(
                "  {} readers: first byte {:6.2} s, lag mean {:5.1} %, worst {:5.1} %; done {:6.2} s, the last other {:6.2} s",
                cast.iter().filter(|(_, is_read)| *is_read).count(),
                mean(&|f| f[0].first),
                100.0 * mean(&|f| f[0].mean_lag),
                100.0 * mean(&|f| f[0].worst_lag),
                mean(&|f| f[0].done),
                mean(&others),
            );
        }
    }
}
