//! The world itself: nodes, the clock, the events, and the way of a datagram from one machine to another.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::thread;

use xxhash_rust::xxh3::xxh3_64;

use super::faults::{Corruption, Fate, Faults, up_to};
use super::link::{LinkConfig, LinkStats};
use super::node::{Context, Node, NodeId};
use super::pool::Slot;
use super::queue::{Event, EventQueue};
use super::trace::Outcome;
use crate::machine::Machine;
use crate::rand::Rng;
use crate::time::{Duration, Instant};
use crate::units::Rate;

/// So often nodes are called ahead all together, in simulated time: long enough for many calls each, and shorter than the
/// queues that stand in busy downlinks.
const AHEAD: Duration = Duration::from_millis(10);

/// Fewer nodes are not worth other threads.
const MANY: usize = 64;

type Action<M> = Box<dyn FnOnce(&mut World<M>)>;
type Filter = Box<dyn FnMut(Instant, NodeId, NodeId, &[u8]) -> bool>;

/// Machines, the links between them, and a clock that goes from event to event.
///
/// - Building: [`new`](World::new), [`add_node`](World::add_node), [`fork_rng`](World::fork_rng).
/// - Going on: [`step`](World::step), [`run_until`](World::run_until), [`run_while`](World::run_while).
/// - Looking: [`now`](World::now), [`node`](World::node), [`stats`](World::stats),
///   [`trace_hash`](World::trace_hash).
/// - Commands to machines: [`with_node`](World::with_node).
/// - The scenario: all others, at once or by [`schedule`](World::schedule).
///
/// The polling contract of [`Machine`] is kept after every call: each timeout, datagram and command is followed by
/// draining the transmits and arming the timer.
pub struct World<M: Machine> {
    now: Instant,
    nodes: Vec<Node<M>>,
    /// For lookup only: its order must decide nothing.
    by_addr: HashMap<SocketAddr, NodeId>,
    queue: EventQueue,
    actions: BTreeMap<u64, Action<M>>,
    /// When actions happen and clogs end, which may change anything.
    barriers: BinaryHeap<Reverse<Instant>>,
    context: Context,
    faults: Faults,
    filter: Option<Filter>,
    /// Until when nothing comes from the first to the second.
    partitions: HashMap<(NodeId, NodeId), Instant>,
    /// When the latest datagram from the first comes to the second; only for pairs with jitter.
    latest_arrival: HashMap<(NodeId, NodeId), Instant>,
    /// Draws all that the network does. Apart from `node_rng`, so that other faults don't make other machines.
    network_rng: Rng,
    node_rng: Rng,
    /// The contexts of other threads.
    aside: Vec<Context>,
    /// When nodes will be called ahead all together.
    next_ahead: Instant,
}

impl<M: Machine> World<M> {
    /// An empty world at [`Instant::ORIGIN`], all of whose chance follows from `seed`.
    pub fn new(seed: u64, faults: Faults) -> World<M> {
        let mut rng = Rng::from_seed(seed);
        World {
            now: Instant::ORIGIN,
            nodes: Vec::new(),
            by_addr: HashMap::new(),
            queue: EventQueue::default(),
            actions: BTreeMap::new(),
            barriers: BinaryHeap::new(),
            context: Context::default(),
            aside: Vec::new(),
            next_ahead: Instant::ORIGIN,
            faults,
            filter: None,
            partitions: HashMap::new(),
            latest_arrival: HashMap::new(),
            network_rng: rng.fork(),
            node_rng: rng.fork(),
        }
    }

    /// A generator for a machine or for the scenario. The faults draw from another.
    pub fn fork_rng(&mut self) -> Rng {
        self.node_rng.fork()
    }

    /// Adds a node whose machine starts now.
    ///
    /// # Panics
    /// If another node has this address.
    pub fn add_node(&mut self, addr: SocketAddr, machine: M, link: LinkConfig) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).expect("fewer than 2³² nodes"));
        let taken = self.by_addr.insert(addr, id);
        assert!(taken.is_none(), "{addr} is taken by {taken:?}");
        self.nodes.push(Node::new(id, addr, machine, link));
        self.settle(id);
        id
    }

    /// The present.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Goes to the next event and lets it happen. False if there is none.
    pub fn step(&mut self) -> bool {
        self.step_up_to(Instant::ORIGIN)
    }

    /// The same, but the machine that is called may be called up to `deadline`, as far as it is known what comes to it.
    fn step_up_to(&mut self, deadline: Instant) -> bool {
        let Some(entry) = self.queue.pop() else { return false };
        self.now = entry.at;
        match entry.event {
            Event::Call(id) => {
                self.node_mut(id).calls.went_off();
                // It may have been called ahead since, and have more by now; but that has time.
                match self.nodes[id.index()].next_call() {
                    Some(next) if next <= self.now => self.call(id, deadline),
                    _ => self.arm(id),
                }
            }
            Event::Uplink(id) => {
                self.node_mut(id).departures.went_off();
                self.pump_uplink(id);
            }
            Event::Arrival(slot) => self.arrive(slot),
            Event::Unclog(id) => {
                self.barriers.pop();
                self.unclog(id);
            }
            Event::Action => {
                self.barriers.pop();
                let action =
                    self.actions.remove(&entry.sequence).expect("an action is stored with its event");
                action(self);
            }
        }
        true
    }

    /// Lets everything happen up to `deadline`, at which it is now then.
    ///
    /// Nodes take turns of many events each as far as one can't hear of another: where there are many, the memory of each is
    /// fetched less often.
    pub fn run_until(&mut self, deadline: Instant) {
        while self.queue.next_time().is_some_and(|next| next <= deadline) {
            self.step_up_to(deadline);
        }
        self.now = self.now.max(deadline);
    }

    /// Lets events happen while `goes_on` holds, up to `deadline`. Tells whether `goes_on` ended it.
    ///
    /// `goes_on` is asked before every event: it had better be cheap.
    pub fn run_while(&mut self, deadline: Instant, mut goes_on: impl FnMut(&mut World<M>) -> bool) -> bool {
        loop {
            if !goes_on(self) {
                return true;
            }
            if self.queue.next_time().is_none_or(|next| next > deadline) {
                self.now = self.now.max(deadline);
                return false;
            }
            self.step();
        }
    }

    /// The machine of a node, or what is left of it after a crash.
    pub fn node(&self, id: NodeId) -> &M {
        &self.nodes[id.index()].machine
    }

    /// Gives a command to the machine of a node.
    ///
    /// # Panics
    /// If the node has crashed.
    pub fn with_node<R>(&mut self, id: NodeId, command: impl FnOnce(&mut M, Instant) -> R) -> R {
        let now = self.now;
        let node = self.node_mut(id);
        assert!(node.alive, "{id:?} has crashed and takes no command");
        let result = command(&mut node.machine, now);
        self.settle(id);
        result
    }

    /// The address of a node.
    pub fn addr(&self, id: NodeId) -> SocketAddr {
        self.nodes[id.index()].addr
    }

    /// Whether a node is running: added or restarted, and not crashed since.
    pub fn is_alive(&self, id: NodeId) -> bool {
        self.nodes[id.index()].alive
    }

    /// All nodes, in the order in which they were added.
    pub fn node_ids(&self) -> impl Iterator<Item = NodeId> + use<M> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// What happened at the links of a node so far. A crash doesn't reset it.
    pub fn stats(&self, id: NodeId) -> LinkStats {
        let node = &self.nodes[id.index()];
        LinkStats {
            max_queue_up: node.up.max_queue,
            max_queue_down: node.down.max_queue,
            busy_up: node.up.busy,
            busy_down: node.down.busy,
            ..node.stats
        }
    }

    /// How many datagrams are under way, those in the queues of the links included.
    pub fn datagrams_under_way(&self) -> usize {
        self.contexts().map(|context| context.pool.taken()).sum::<isize>().unsigned_abs()
    }

    #[cfg(test)]
    pub(super) fn pending_events(&self) -> usize {
        self.queue.len()
    }

    /// The hash of all that has happened to datagrams so far. Equal for two histories only if they are the same.
    pub fn trace_hash(&self) -> u64 {
        self.contexts().map(|context| context.trace.hash()).fold(0, u64::wrapping_add)
    }

    /// Lets `action` happen at `at`, or now if that has passed.
    pub fn schedule(&mut self, at: Instant, action: impl FnOnce(&mut World<M>) + 'static) {
        let at = at.max(self.now);
        self.barriers.push(Reverse(at));
        let sequence = self.queue.push(at, Event::Action);
        self.actions.insert(sequence, Box::new(action));
    }

    /// A power cut: the machine is not called any more, what waits in the links of the node is lost, and what comes
    /// for it finds nobody. What had left its uplink still arrives. Harmless if it has crashed already.
    pub fn crash(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        node.alive = false;
        let outgoing: Vec<Slot> = node.up.cut().chain(node.held_out.drain(..)).collect();
        let incoming: Vec<Slot> = node.down.cut().chain(node.held_in.drain(..)).collect();
        node.stats.crashed += outgoing.len() as u64;
        for slot in outgoing {
            self.context.pool.release(slot);
        }
        for slot in incoming {
            self.drop_unreachable(slot);
        }
    }

    /// Crashes the node if it runs, and starts `machine` in its place, at the same address and links.
    pub fn restart(&mut self, id: NodeId, machine: M) {
        self.crash(id);
        let node = self.node_mut(id);
        node.alive = true;
        node.machine = machine;
        self.settle(id);
    }

    /// Changes the rates of a node, also for what is queued.
    pub fn set_rates(&mut self, id: NodeId, up: Rate, down: Rate) {
        // What has left by now left at the old rate.
        self.pump_uplink(id);
        self.call(id, self.now);
        let now = self.now;
        let node = self.node_mut(id);
        node.up.set_rate(now, up);
        node.down.set_rate(now, down);
        self.pump_uplink(id);
        self.call(id, now);
    }

    /// Changes the latency and the jitter of a node's end, for what departs from now on.
    ///
    /// Where the latency falls, what departs later may arrive earlier, as when a route changes.
    pub fn set_latency(&mut self, id: NodeId, latency: Duration, jitter: Duration) {
        let node = self.node_mut(id);
        (node.latency, node.jitter) = (latency, jitter);
    }

    /// Moves a node to another address. What is under way to the old one finds nobody.
    ///
    /// # Panics
    /// If another node has this address.
    pub fn set_addr(&mut self, id: NodeId, addr: SocketAddr) {
        let old = std::mem::replace(&mut self.node_mut(id).addr, addr);
        self.by_addr.remove(&old);
        let taken = self.by_addr.insert(addr, id);
        assert!(taken.is_none(), "{addr} is taken by {taken:?}");
    }

    /// Loses all that departs from `from` to `to` before `until`; the other way stays open. A later call replaces it.
    pub fn partition(&mut self, from: NodeId, to: NodeId, until: Instant) {
        self.partitions.insert((from, to), until);
    }

    /// Holds all that leaves or arrives at `id` until `until`, when it goes on at once, in order. The links work
    /// meanwhile, so that the queues move on; the machine runs. A later call can prolong it, not shorten it.
    pub fn clog(&mut self, id: NodeId, until: Instant) {
        let until = until.max(self.now);
        let node = self.node_mut(id);
        node.clogged_until = node.clogged_until.max(until);
        self.barriers.push(Reverse(until));
        self.queue.push(until, Event::Unclog(id));
    }

    /// Other faults from now on, for what departs.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// Loses from now on all that `passes` refuses, asked with time, sender, receiver and content as they depart.
    ///
    /// For scenarios that lose a particular datagram. A later call replaces it.
    pub fn set_filter(&mut self, passes: impl FnMut(Instant, NodeId, NodeId, &[u8]) -> bool + 'static) {
        self.filter = Some(Box::new(passes));
    }

    /// Ends faults, filter, partitions and clogs. Crashed nodes stay so. From here on everything must complete.
    pub fn heal(&mut self) {
        self.faults = Faults::none();
        self.filter = None;
        self.partitions.clear();
        for id in self.node_ids() {
            let now = self.now;
            let node = self.node_mut(id);
            node.clogged_until = node.clogged_until.min(now);
            self.unclog(id);
        }
    }

    fn contexts(&self) -> impl Iterator<Item = &Context> {
        std::iter::once(&self.context).chain(&self.aside)
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node<M> {
        &mut self.nodes[id.index()]
    }

    /// What the polling contract asks for after a call beside those that come by themselves.
    fn settle(&mut self, id: NodeId) {
        self.nodes[id.index()].settle(self.now, &mut self.context);
        self.arm(id);
    }

    /// Calls the machine of a node for all that is there now, and for what is known to come up to `deadline`.
    fn call(&mut self, id: NodeId, deadline: Instant) {
        let (now, limit) = (self.now, self.undisturbed_until(deadline));
        let node = &mut self.nodes[id.index()];
        node.call(now, limit.min(node.is_known_until()).max(now), &mut self.context);
        self.arm(id);
    }

    /// The time before the next barrier, `deadline` at most.
    fn undisturbed_until(&self, deadline: Instant) -> Instant {
        let before = |barrier: &Reverse<Instant>| barrier.0 - Duration::from_nanos(1);
        self.barriers.peek().map_or(deadline, |barrier| deadline.min(before(barrier)))
    }

    /// Lets out what has left the uplink, and sees to it that the node's next events come.
    fn arm(&mut self, id: NodeId) {
        self.pump_uplink(id);
        let now = self.now;
        let node = self.node_mut(id);
        if let Some(next) = node.next_call().map(|next| next.max(now)).filter(|&next| node.calls.arm(next)) {
            self.queue.push(next, Event::Call(id));
        }
    }

    /// Lets out what has left the uplink.
    fn pump_uplink(&mut self, id: NodeId) {
        let now = self.now;
        while let Some(slot) = self.node_mut(id).up.pop(now, now) {
            let node = self.node_mut(id);
            if now < node.clogged_until || !node.held_out.is_empty() {
                node.held_out.push_back(slot);
            } else {
                self.cross(slot);
            }
        }
        let node = self.node_mut(id);
        if let Some(departure) = node.up.next_departure().filter(|&departure| node.departures.arm(departure))
        {
            self.queue.push(departure, Event::Uplink(id));
        }
    }

    /// Sends a datagram that has left the uplink through the faults and on its way.
    fn cross(&mut self, mut slot: Slot) {
        let now = self.now;
        let datagram = &mut *slot;
        let sender = &mut self.nodes[datagram.sender.index()];
        datagram.from = sender.addr;
        datagram.receiver = self.by_addr.get(&datagram.to).copied().unwrap_or(NodeId::NOBODY);
        sender.stats.datagrams_sent += 1;
        sender.stats.bytes_sent += datagram.bytes.len() as u64;
        let (from, to) = (datagram.sender, datagram.receiver);
        if to == NodeId::NOBODY {
            self.drop_unreachable(slot);
            return;
        }
        let bytes = &slot.bytes;
        let cut =
            !self.partitions.is_empty() && self.partitions.get(&(from, to)).is_some_and(|&until| now < until);
        let refused = self.filter.as_mut().is_some_and(|passes| !passes(now, from, to, bytes));
        let fate =
            if cut || refused { Fate::Lost } else { self.faults.fate(&mut self.network_rng, bytes.len()) };
        match fate {
            Fate::Lost => {
                self.node_mut(from).stats.lost += 1;
                self.context.trace.record(now, &slot, Outcome::Lost);
                self.context.pool.release(slot);
            }
            Fate::Arrives { held_back, corruption, copy } => {
                if let Some(delay) = copy {
                    let copy = self.context.pool.duplicate(&slot);
                    self.node_mut(from).stats.duplicated += 1;
                    self.context.trace.record(now, &copy, Outcome::Copied);
                    let arrival = now + self.latency(from, to) + delay;
                    self.queue.push(arrival, Event::Arrival(copy));
                }
                if let Some(corruption) = corruption {
                    self.corrupt(&mut slot, corruption);
                }
                let arrival = match held_back {
                    Some(delay) => {
                        self.node_mut(from).stats.reordered += 1;
                        now + self.latency(from, to) + delay
                    }
                    None => self.arrival_in_order(from, to),
                };
                self.context.trace.record(now, &slot, Outcome::Crosses);
                self.queue.push(arrival, Event::Arrival(slot));
            }
        }
    }

    fn corrupt(&mut self, slot: &mut Slot, corruption: Corruption) {
        let datagram = slot;
        corruption.apply(&mut datagram.bytes);
        datagram.digest = xxh3_64(&datagram.bytes);
        let sender = datagram.sender;
        self.node_mut(sender).stats.corrupted += 1;
    }

    /// The latency from one node to another, without jitter.
    fn latency(&self, from: NodeId, to: NodeId) -> Duration {
        self.nodes[from.index()].latency + self.nodes[to.index()].latency
    }

    /// When a datagram that departs now arrives, if nothing overtakes it: jitter alone doesn't reorder.
    fn arrival_in_order(&mut self, from: NodeId, to: NodeId) -> Instant {
        let undisturbed = self.now + self.latency(from, to);
        let jitter = self.nodes[from.index()].jitter + self.nodes[to.index()].jitter;
        if jitter.is_zero() {
            return undisturbed;
        }
        let drawn = undisturbed + up_to(&mut self.network_rng, jitter);
        let latest = self.latest_arrival.entry((from, to)).or_default();
        *latest = drawn.max(*latest);
        *latest
    }

    /// Puts a datagram that has crossed into its receiver's downlink.
    fn arrive(&mut self, slot: Slot) {
        let now = self.now;
        let datagram = &slot;
        let (id, len) = (datagram.receiver, datagram.bytes.len());
        let node = &mut self.nodes[id.index()];
        if !node.alive || node.addr != datagram.to {
            self.drop_unreachable(slot);
            return;
        }
        let was_idle = node.down.next_departure().is_none();
        match node.down.push(now, len, slot) {
            // What is delivered at once need not go through the queue of events.
            Ok(()) if node.down.next_departure() <= Some(now) => self.call(id, now),
            Ok(()) if was_idle => self.arm(id),
            Ok(()) => {}
            Err(slot) => {
                node.stats.overflowed += 1;
                self.context.trace.record(now, &slot, Outcome::Overflowed);
                self.context.pool.release(slot);
            }
        }
    }

    /// Lets go on what a clog held, unless it was prolonged.
    fn unclog(&mut self, id: NodeId) {
        let now = self.now;
        let node = self.node_mut(id);
        if now < node.clogged_until {
            return;
        }
        let outgoing = std::mem::take(&mut node.held_out);
        let incoming = std::mem::take(&mut node.held_in);
        for slot in outgoing {
            self.cross(slot);
        }
        for slot in incoming {
            self.nodes[id.index()].deliver(now, slot, &mut self.context);
        }
        self.arm(id);
    }

    fn drop_unreachable(&mut self, slot: Slot) {
        let datagram = &slot;
        self.nodes[datagram.sender.index()].stats.unreachable += 1;
        self.context.trace.record(self.now, datagram, Outcome::Unreachable);
        self.context.pool.release(slot);
    }
}

impl<M: Machine + Send> World<M> {
    /// As [`run_until`](World::run_until), on several threads where there are many nodes. The history doesn't depend on how
    /// many threads there are.
    pub fn run_until_on(&mut self, threads: usize, deadline: Instant) {
        while let Some(next) = self.queue.next_time().filter(|&next| next <= deadline) {
            if next < self.next_ahead {
                self.step_up_to(deadline);
                continue;
            }
            self.now = next;
            self.call_ahead(threads, deadline);
            self.next_ahead = next + AHEAD;
        }
        self.now = self.now.max(deadline);
    }

    /// Calls all machines for what is known to come to each, up to `deadline`.
    fn call_ahead(&mut self, threads: usize, deadline: Instant) {
        let (now, limit) = (self.now, self.undisturbed_until(deadline));
        let call = |nodes: &mut [Node<M>], context: &mut Context| {
            for node in nodes {
                let until = limit.min(node.is_known_until());
                if until > now {
                    node.call(now, until, context);
                }
            }
        };
        if threads < 2 || self.nodes.len() < MANY {
            call(&mut self.nodes, &mut self.context);
        } else {
            let part = self.nodes.len().div_ceil(threads);
            let (own, others) = self.nodes.split_at_mut(part);
            let others = others.chunks_mut(part);
            self.aside.resize_with(others.len().max(self.aside.len()), Context::default);
            thread::scope(|scope| {
                for (nodes, context) in others.zip(&mut self.aside) {
                    scope.spawn(move || call(nodes, context));
                }
                call(own, &mut self.context);
            });
        }
        self.node_ids().for_each(|id| self.arm(id));
    }
}
