//! Plays a [`Plan`]: the world, the users of its peers, and what must hold all the while.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use swarmcast::pclient::node::{Event, Node};
use swarmcast::pclient::swarm::Swarm;
use swarmcast::rudp::packet::{self, ConnectionId};
use swarmcast::sim::NodeId;
use swarmcast::time::{Duration, Instant};
use swarmcast::units::Rate;

use super::plan::{Incident, Particular, Plan, What};
use super::witness::fragments;
use crate::lab::Lab;

/// So often it is looked at who is done, who has failed, and whether all bounds are kept.
const LOOK: Duration = Duration::from_millis(200);
/// A user tries again what failed after this.
const RETRY: Duration = Duration::from_secs(1);
/// When all faults have ended, nobody may need longer than three times what the content takes, and this.
const GRACE: Duration = Duration::from_secs(60);
/// A cancel and a close are answered within this.
const FAREWELL: Duration = Duration::from_secs(1);
/// Datagrams up to this long carry no content, B.
const SMALL: usize = 150;

/// What a user does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// Starts the process, if it doesn't run, and takes the file up.
    Begin(usize),
    /// The same, if it is the tracker's.
    BeginTracker,
    Incident(usize),
}

/// One peer and its user.
struct User {
    id: NodeId,
    /// Whether it is to have the file in the end.
    stays: bool,
    /// Whether it runs, and takes part.
    takes_part: bool,
    /// How many of the node's events have been seen.
    seen: usize,
    /// A cancel or a close that was not answered yet, since when, and when the user comes back.
    farewell: Option<(Instant, Option<Duration>)>,
    /// Whether it is a close: until that is answered the process begins nothing any more.
    closes: bool,
}

/// What became of a world.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Outcome {
    pub(super) trace: u64,
    /// From the end of the faults until the last one was done.
    pub(super) took: Duration,
    /// What the content takes at least about, had all to begin anew then.
    pub(super) ideal: Duration,
    pub(super) datagrams: u64,
}

impl Outcome {
    /// How much longer it took, s.
    pub(super) fn lateness(&self) -> f64 {
        self.took.as_secs_f64() - self.ideal.as_secs_f64()
    }
}

/// A world with a plan.
pub(super) struct Stage {
    plan: Plan,
    lab: Lab,
    users: Vec<User>,
    agenda: BTreeMap<(Instant, Step), ()>,
    /// What is lost in particular, and until when.
    losses: Rc<RefCell<Vec<(Particular, Instant)>>>,
    ports: u16,
}

/// Says how to see it again, should it fail.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("replay with SEED={} cargo test --test sim -- --nocapture one_chaos", self.0);
        }
    }
}

impl Stage {
    pub(super) fn new(plan: Plan) -> Stage {
        let mut lab = Lab::new(plan.seed, plan.size, plan.faults.clone());
        // Patient users: what counts here is that it ends right.
        lab.config.tracker_timeout = Duration::from_secs(3_600);
        lab.config.stall_timeout = lab.config.tracker_timeout;
        lab.config.rudp.receive_window = plan.receive_window;
        let mut agenda = BTreeMap::new();
        let mut users = Vec::new();
        for (n, peer) in plan.peers.iter().enumerate() {
            let id = lab.add(peer.rates);
            lab.world.set_latency(id, peer.latency, peer.jitter);
            lab.observe(id, peer.clock);
            users.push(User { id, stays: true, takes_part: false, seen: 0, farewell: None, closes: false });
            agenda.insert((Instant::ORIGIN + peer.joins, Step::Begin(n)), ());
        }
        for (n, incident) in plan.incidents.iter().enumerate() {
            agenda.insert((Instant::ORIGIN + incident.at, Step::Incident(n)), ());
        }
        let losses = Rc::default();
        lab.world.set_filter(filter(plan.max_datagram, Rc::clone(&losses)));
        Stage { plan, lab, users, agenda, losses, ports: 8_000 }
    }

    /// Lets it all happen, and then everybody complete.
    ///
    /// # Panics
    /// If somebody doesn't in time, or something is wrong before.
    pub(super) fn play(mut self) -> Outcome {
        let _replay = Replay(self.plan.seed);
        let healed = Instant::ORIGIN + self.plan.lasts;
        self.run_until(healed, |_| false);
        self.heal();
        log::debug!("healed");
        let ideal = self.ideal();
        let is_done = self.run_until(healed + 3 * ideal + GRACE, Stage::is_done);
        if !is_done {
            self.tell();
            panic!("not done {:?} after the faults have ended", self.lab.world.now().since(healed));
        }
        let took = self.lab.world.now().since(healed);
        let stay: Vec<NodeId> = self.users.iter().filter(|user| user.stays).map(|user| user.id).collect();
        stay.iter().for_each(|&id| self.lab.assert_content(id));
        self.close();
        let datagrams = self.lab.world.node_ids().map(|id| self.lab.world.stats(id).datagrams_sent).sum();
        Outcome { trace: self.lab.world.trace_hash(), took, ideal, datagrams }
    }

    /// Runs until `is_over`, asked now and then; false if it isn't at `deadline`.
    fn run_until(&mut self, deadline: Instant, is_over: impl Fn(&Stage) -> bool) -> bool {
        loop {
            if is_over(self) {
                return true;
            }
            let now = self.lab.world.now();
            if now >= deadline {
                return false;
            }
            let next = self.agenda.keys().next().map_or(deadline, |&(at, _)| at);
            self.lab.world.run_until(next.min(now + LOOK).min(deadline));
            self.look();
            while let Some(entry) = self.agenda.first_entry()
                && entry.key().0 <= self.lab.world.now()
            {
                let ((_, step), ()) = entry.remove_entry();
                self.do_step(step);
            }
        }
    }

    fn do_step(&mut self, step: Step) {
        match step {
            Step::Begin(n) => self.begin(n),
            Step::BeginTracker => self.lab.restart_tracker(),
            Step::Incident(n) => self.on_incident(self.plan.incidents[n]),
        }
    }

    fn begin(&mut self, n: usize) {
        let user = &mut self.users[n];
        if !user.stays || (user.closes && user.farewell.is_some()) {
            return;
        }
        if !self.lab.world.is_alive(user.id) {
            self.lab.restart(user.id);
            user.seen = 0;
        }
        (user.takes_part, user.farewell) = (true, None);
        if self.plan.peers[n].is_source { self.lab.share(user.id) } else { self.lab.fetch(user.id) }
    }

    fn on_incident(&mut self, incident: Incident) {
        let now = self.lab.world.now();
        let ids: Vec<NodeId> = self.lab.world.node_ids().collect();
        let (who, id) = (incident.who, ids[incident.who]);
        match incident.what {
            What::Crash(back) => {
                self.lab.world.crash(id);
                match (who.checked_sub(1), back) {
                    (None, back) => self.later(back.unwrap_or_default(), Step::BeginTracker),
                    (Some(n), back) => self.leave(n, back),
                }
            }
            What::Close(back) | What::Cancel(back) => {
                let user = &mut self.users[who - 1];
                if !user.takes_part || user.farewell.is_some() {
                    return;
                }
                user.farewell = Some((now, back));
                user.closes = matches!(incident.what, What::Close(_));
                if user.closes {
                    self.lab.with(id, Node::leave);
                } else {
                    let fid = self.lab.fid;
                    self.lab.with(id, |node, now| node.cancel(now, fid));
                }
            }
            What::Move => self.move_to_new_port(id),
            What::GiveAddressTo(other) => {
                let addr = self.lab.world.addr(id);
                self.move_to_new_port(id);
                if ids[other] != id {
                    self.lab.world.set_addr(ids[other], addr);
                }
            }
            What::Clog(lasts) => self.lab.world.clog(id, now + lasts),
            What::OneWay(other, lasts) => self.lab.world.partition(id, ids[other], now + lasts),
            // The tracker's are part of its nature.
            What::Rates(_) if who == 0 => {}
            What::Rates((up, down)) => self.lab.world.set_rates(id, Rate::new(up), Rate::new(down)),
            What::Latency(latency) => self.lab.world.set_latency(id, latency, Duration::ZERO),
            What::Lose(particular, lasts) => self.losses.borrow_mut().push((particular, now + lasts)),
        }
    }

    fn move_to_new_port(&mut self, id: NodeId) {
        let mut addr = self.lab.world.addr(id);
        self.ports += 1;
        addr.set_port(self.ports);
        self.lab.world.set_addr(id, addr);
    }

    /// A peer is gone, and comes back after this long.
    fn leave(&mut self, n: usize, back: Option<Duration>) {
        let user = &mut self.users[n];
        (user.takes_part, user.farewell, user.closes) = (false, None, false);
        match back {
            Some(back) => self.later(back, Step::Begin(n)),
            None => user.stays = false,
        }
    }

    fn later(&mut self, wait: Duration, step: Step) {
        self.agenda.insert((self.lab.world.now() + wait, step), ());
    }

    /// Does what users do about what their nodes have told them, and checks all bounds.
    fn look(&mut self) {
        let now = self.lab.world.now();
        for n in 0..self.users.len() {
            let user = &mut self.users[n];
            if !self.lab.world.is_alive(user.id) {
                continue;
            }
            let events = &self.lab.peer(user.id).events[user.seen..];
            user.seen += events.len();
            let has_failed = events.iter().any(|(_, event)| matches!(event, Event::Failed(..)));
            let has_left = events.iter().any(|(_, event)| matches!(event, Event::Left));
            let has_cancelled = events.iter().any(|(_, event)| matches!(event, Event::Cancelled(_)));
            if let Some((since, back)) = user.farewell {
                if has_left {
                    self.lab.world.crash(user.id);
                }
                if has_left || has_cancelled {
                    self.leave(n, back);
                } else {
                    assert!(now.since(since) <= FAREWELL + LOOK, "peer {n} waits since {since:?} to leave");
                }
            } else if has_failed && user.takes_part {
                self.later(RETRY, Step::Begin(n));
            }
        }
        self.check_bounds();
    }

    fn check_bounds(&self) {
        let (now, world) = (self.lab.world.now(), &self.lab.world);
        for user in self.users.iter().filter(|user| world.is_alive(user.id)) {
            let node = &self.lab.peer(user.id).node;
            let (count, peers) = (node.endpoint().connection_count(), self.users.len());
            assert!(count <= 4 * peers + 4, "{count} connections between {peers} peers");
            let Some(swarm) = node.swarm(self.lab.fid) else { continue };
            for (&key, peer) in swarm.peers().iter() {
                let stats = node.endpoint().stats(now, key).expect("who takes part is connected");
                let most = self.plan.receive_window * 65 / 64;
                assert!(stats.held <= most, "{} B are held, {most} B were granted", stats.held);
                assert!(stats.in_flight <= 1 << 20, "{} B are in flight", stats.in_flight);
                assert!(peer.queue.wanted.len() <= 2_000, "{} requests wait", peer.queue.wanted.len());
                let is_honest = self.plan.faults.corruption > 0.0 || !swarm.is_banned(now, peer.remote);
                assert!(is_honest, "{} is banned, and gave nothing wrong", peer.remote);
            }
        }
        let (under_way, nodes) = (world.datagrams_under_way(), self.users.len() + 1);
        assert!(under_way <= 2_000 * nodes, "{under_way} datagrams are under way between {nodes} nodes");
    }

    /// Ends all faults, and brings back who is to come back.
    fn heal(&mut self) {
        self.lab.world.heal();
        for entry in std::mem::take(&mut self.agenda).into_keys() {
            match entry.1 {
                Step::Incident(_) => {}
                step => self.do_step(step),
            }
        }
        for n in 0..self.users.len() {
            if let Some((_, back)) = self.users[n].farewell {
                self.users[n].farewell = Some((self.lab.world.now(), back.map(|_| Duration::ZERO)));
            }
        }
    }

    /// What the content takes at the present rates, were each link shared by all who remain.
    fn ideal(&self) -> Duration {
        let size = self.plan.size as f64;
        let stay = || self.users.iter().filter(|user| user.stays);
        let mut rates: Vec<(f64, f64, bool)> = Vec::new();
        for user in stay() {
            let n = self.users.iter().position(|other| other.id == user.id).expect("it is one of them");
            let (up, down) = self.rates(n);
            rates.push((up as f64, down as f64, self.plan.peers[n].is_source));
        }
        let receivers = rates.iter().filter(|(_, _, is_source)| !is_source);
        let slowest = receivers.clone().map(|&(_, down, _)| down).fold(f64::INFINITY, f64::min);
        let sum: f64 = rates.iter().map(|&(up, _, _)| up).sum();
        let sources: f64 = rates.iter().filter(|(_, _, s)| *s).map(|&(up, _, _)| up).sum();
        let count = receivers.count() as f64;
        Duration::from_secs_f64((size / slowest).max(size / sources).max(count * size / sum))
    }

    /// Of a peer, as last set.
    fn rates(&self, n: usize) -> (u64, u64) {
        let of_it = |incident: &&Incident| incident.who == n + 1;
        let last = self.plan.incidents.iter().rev().filter(of_it).find_map(|incident| match incident.what {
            What::Rates(rates) => Some(rates),
            _ => None,
        });
        last.unwrap_or(self.plan.peers[n].rates)
    }

    /// Whether all who are to have the file do.
    fn is_done(&self) -> bool {
        self.users.iter().filter(|user| user.stays).all(|user| {
            user.takes_part
                && user.farewell.is_none()
                && self.lab.peer(user.id).node.swarm(self.lab.fid).is_some_and(Swarm::is_finished)
        })
    }

    /// All close.
    fn close(&mut self) {
        for n in 0..self.users.len() {
            if self.lab.world.is_alive(self.users[n].id) {
                self.users[n].farewell = Some((self.lab.world.now(), None));
                self.lab.with(self.users[n].id, Node::leave);
            }
        }
        let deadline = self.lab.world.now() + 2 * FAREWELL;
        let is_over = |stage: &Stage| stage.users.iter().all(|user| !stage.lab.world.is_alive(user.id));
        assert!(self.run_until(deadline, is_over), "not all have left");
    }

    /// Who is how far, for whoever looks for the reason.
    fn tell(&self) {
        for (n, user) in self.users.iter().enumerate().filter(|(_, user)| user.stays) {
            let peer = self.lab.peer(user.id);
            let progress = peer.node.progress(self.lab.fid);
            let links = self.lab.world.stats(user.id);
            println!(
                "peer {n} at {}: source {}, {progress:?} of {} B, rates {:?}, received {} B, sent {} B",
                self.lab.world.addr(user.id),
                self.plan.peers[n].is_source,
                self.plan.size,
                self.rates(n),
                links.bytes_received,
                links.bytes_sent
            );
            peer.events.iter().for_each(|event| println!("    {event:?}"));
            if let Some(swarm) = peer.node.swarm(self.lab.fid).filter(|swarm| !swarm.is_finished()) {
                for (&key, other) in swarm.peers().iter() {
                    println!(
                        "    of {} with {} pieces, refused {} times, active {:?}: {:?}, stats {:?}",
                        other.remote,
                        other.piece_count(),
                        other.source.refusals,
                        other.source.active,
                        other.source.requests(),
                        peer.node.endpoint().stats(self.lab.world.now(), key)
                    );
                }
            }
        }
    }
}

/// What passes that is no longer than `most`, and not to be lost in particular.
fn filter(
    most: usize,
    losses: Rc<RefCell<Vec<(Particular, Instant)>>>,
) -> impl FnMut(Instant, NodeId, NodeId, &[u8]) -> bool + 'static {
    let mut counts: HashMap<(NodeId, ConnectionId), u32> = HashMap::new();
    move |now, from, _, datagram| {
        let header = packet::open(datagram).ok().map(|(header, _)| header);
        let count = header.map_or(u32::MAX, |header| {
            let count = counts.entry((from, header.connection)).or_default();
            *count += 1;
            *count
        });
        let mut losses = losses.borrow_mut();
        losses.retain(|&(_, until)| now < until);
        let is_lost = losses.iter().any(|&(particular, _)| match particular {
            Particular::First(first) => count <= first,
            Particular::Last => fragments(datagram).iter().any(|(_, fragment)| fragment.fin),
            Particular::Small => datagram.len() <= SMALL,
            Particular::Large => datagram.len() > SMALL,
            Particular::Of(kind) => header.is_some_and(|header| header.kind == kind),
        });
        datagram.len() <= most && !is_lost
    }
}
