//! All that is done to one swarm, drawn from one seed; nothing is played here.
//!
//! Each kind of fault is absent from about half of the plans: what one fault breaks, another often hides.

use std::ops::RangeInclusive;

use swarmcast::rand::Rng;
use swarmcast::rudp::packet::Kind;
use swarmcast::sim::Faults;
use swarmcast::time::Duration;

use crate::lab::{Clock, Rates};

/// All parameters of one world. Times count from its beginning.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// All chance follows from it.
    pub(super) seed: u64,
    /// The file's size: 0..=1,000,000 B, mostly below 100 kB.
    pub(super) size: usize,
    /// What the network does to each datagram: loss 0–30 %, duplication and reordering 0–50 %, flipped bits 0–5 % (half of
    /// them with a crc that fits), each by up to 0.5 s.
    pub(super) faults: Faults,
    /// Longer datagrams vanish, B.
    pub(super) max_datagram: usize,
    /// When all faults end, 2–20 s. From then on everybody who is to come back is there, and must complete.
    pub(super) lasts: Duration,
    /// How much each peer lets another make it hold, B.
    pub(super) receive_window: u64,
    /// 1–3 sources, then 0–31 receivers; 32 at most.
    pub(super) peers: Vec<PeerPlan>,
    /// In the order of time.
    pub(super) incidents: Vec<Incident>,
}

/// One peer.
#[derive(Clone, Debug)]
pub(super) struct PeerPlan {
    /// Whether it has the file from the beginning.
    pub(super) is_source: bool,
    /// Up and down, 5 kB/s to 2 MB/s.
    pub(super) rates: Rates,
    /// Of its end, one way: 0–250 ms.
    pub(super) latency: Duration,
    /// Of its end: 0–100 ms.
    pub(super) jitter: Duration,
    /// What its clock shows, beside the world's.
    pub(super) clock: Clock,
    /// When it begins to share or to fetch.
    pub(super) joins: Duration,
}

/// Something that happens at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Incident {
    pub(super) at: Duration,
    /// To this node: 0 is the tracker, `n` the peer `n - 1`. Of no meaning for [`What::Lose`].
    pub(super) who: usize,
    pub(super) what: What,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// The process dies. After this long it starts again, with an empty memory; never, if `None`.
    Crash(Option<Duration>),
    /// It closes, and starts again in the same way.
    Close(Option<Duration>),
    /// It cancels the file, and takes it up again in the same way.
    Cancel(Option<Duration>),
    /// Its address changes.
    Move,
    /// Its address changes, and another node moves to the one that it had: what is under way comes to a stranger.
    GiveAddressTo(usize),
    /// Nothing leaves or arrives for so long; then all at once.
    Clog(Duration),
    /// Nothing comes from it to another node for so long.
    OneWay(usize, Duration),
    /// Its links have other rates from now on.
    Rates(Rates),
    /// Its end has another latency from now on, as when a route changes.
    Latency(Duration),
    /// For so long these datagrams are lost, whoever sends them.
    Lose(Particular, Duration),
}

/// Datagrams that are lost in particular.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Particular {
    /// The first so many from one node over one connection.
    First(u32),
    /// Those with the end of a message in them.
    Last,
    /// Those without content: acks, and what peers say to each other.
    Small,
    /// Those with content.
    Large,
    /// All of one kind.
    Of(Kind),
}

impl Plan {
    pub(super) fn from_seed(seed: u64) -> Plan {
        let rng = &mut Rng::from_seed(seed);
        let lasts = Duration::from_millis(2_000 + rng.below(18_000));
        let size = match rng.below(20) {
            0 => rng.index(5),
            1..3 => rng.index(5_000),
            3..15 => rng.index(100_000),
            15..19 => rng.index(300_000),
            _ => rng.index(1_000_001),
        };
        let sources = 1 + rng.index(3).saturating_sub(rng.index(2));
        let receivers = match rng.below(50) {
            0 => 0,
            1..35 => 1 + rng.index(4),
            35..45 => 5 + rng.index(6),
            45..49 => 11 + rng.index(10),
            _ => 21 + rng.index(10),
        };
        let peers: Vec<PeerPlan> =
            (0..sources + receivers).map(|n| PeerPlan::draw(rng, n < sources, n == 0, lasts)).collect();
        let count = if rng.chance(0.2) { 0 } else { rng.index(3 + peers.len() / 2).min(12) };
        let mut incidents: Vec<Incident> =
            (0..count).map(|_| Incident::draw(rng, peers.len(), lasts)).collect();
        incidents.sort_by_key(|incident| incident.at);
        Plan {
            seed,
            size,
            faults: draw_faults(rng),
            max_datagram: if rng.chance(0.3) { 1_200 + rng.index(8_000) } else { usize::MAX },
            lasts,
            receive_window: [256 << 10, 1 << 20, 4 << 20][rng.index(3)],
            peers,
            incidents,
        }
    }
}

impl PeerPlan {
    fn draw(rng: &mut Rng, is_source: bool, is_first: bool, lasts: Duration) -> PeerPlan {
        let is_far = rng.chance(0.3);
        PeerPlan {
            is_source,
            rates: draw_rates(rng),
            latency: Duration::from_micros(rng.below(if is_far { 250_000 } else { 5_000 })),
            jitter: Duration::from_micros(if rng.chance(0.3) { rng.below(100_000) } else { 0 }),
            clock: Clock {
                ahead: Duration::from_millis(if rng.chance(0.5) { rng.below(10_000_000) } else { 0 }),
                drift_ppm: rng.below(201) as i32 - 100,
            },
            joins: if is_first { Duration::ZERO } else { rare(rng, 0.5, Duration::ZERO..=lasts) },
        }
    }
}

impl Incident {
    fn draw(rng: &mut Rng, peers: usize, lasts: Duration) -> Incident {
        let at = Duration::ZERO + span(rng, Duration::ZERO..=lasts);
        let who = rng.index(peers + 1);
        let seconds = |rng: &mut Rng| span(rng, Duration::from_millis(100)..=Duration::from_secs(8));
        // Who had the file first comes back, whatever happens: others may have lost it.
        let pause = |rng: &mut Rng| {
            (who <= 1 || rng.chance(0.8)).then(|| span(rng, Duration::ZERO..=Duration::from_secs(5)))
        };
        let other = |rng: &mut Rng| (who + 1 + rng.index(peers.max(1))) % (peers + 1);
        let what = match rng.below(12) {
            0 => What::Lose(Particular::draw(rng), Duration::from_secs(5)),
            1 => What::Clog(Duration::from_secs(5)),
            2 => What::OneWay(other(rng), seconds(rng)),
            3 => What::Rates(draw_rates(rng)),
            4 => What::Latency(Duration::from_micros(rng.below(250_000))),
            5 if who > 0 => What::Close(pause(rng)),
            6 if who > 0 => What::Cancel(pause(rng)),
            7 | 8 if who > 0 => What::Move,
            9 if who > 0 && peers > 1 => What::GiveAddressTo(1 + who % peers),
            _ => What::Crash(pause(rng)),
        };
        Incident { at, who, what }
    }
}

impl Particular {
    fn draw(rng: &mut Rng) -> Particular {
        const KINDS: [Kind; 5] = [Kind::Hello, Kind::Retry, Kind::Welcome, Kind::Close, Kind::Oneshot];
        match rng.below(5) {
            0 => Particular::First(1 + rng.below(4) as u32),
            1 => Particular::Last,
            2 => Particular::Small,
            3 => Particular::Large,
            _ => Particular::Of(KINDS[rng.index(KINDS.len())]),
        }
    }
}

fn draw_faults(rng: &mut Rng) -> Faults {
    let mut up_to = |most: f64| if rng.chance(0.5) { most * rng.unit() } else { 0.0 };
    Faults {
        loss: up_to(0.3),
        duplication: up_to(0.5),
        corruption: up_to(0.05),
        corruption_fixes_crc: 0.5,
        reordering: up_to(0.5),
        delay: Duration::ZERO..=Duration::from_millis(1 + rng.below(500)),
    }
}

/// Up and down; as often between 5 and 10 kB/s as between 1 and 2 MB/s.
fn draw_rates(rng: &mut Rng) -> Rates {
    let mut rate = || (5_000.0 * 400f64.powf(rng.unit())) as u64;
    (rate(), rate())
}

fn span(rng: &mut Rng, range: RangeInclusive<Duration>) -> Duration {
    *range.start() + (*range.end() - *range.start()).mul_f64(rng.unit())
}

fn rare(rng: &mut Rng, probability: f64, range: RangeInclusive<Duration>) -> Duration {
    if rng.chance(probability) { span(rng, range) } else { Duration::ZERO }
}
