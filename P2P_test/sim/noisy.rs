//! One receiver, five channels of different and varying rates, loss; then the sources leave.
//!
//! The swarm's receiver is raced against two that split the file between the channels, over the same transport, links,
//! noise and piece length, and against what the channels together could have carried. Rates, noise, loss and latency
//! are those of the scenario `s8`.

mod split;
mod weather;

use std::sync::Arc;

use swarmcast::pclient::node::{Event, Node};
use swarmcast::pclient::pieces::Lengths;
use swarmcast::sim::{Faults, LinkConfig, NodeId, World};
use swarmcast::simulate::scenario::{Group, Role};
use swarmcast::simulate::{Scenario, run};
use swarmcast::time::{Duration, Instant};

use self::split::{Policy, Receiver, Server, Split};
use self::weather::Weather;
use crate::lab::Lab;

/// Races of the daily run.
const SEEDS: u64 = 20;
/// Nothing may take longer than this.
const LIMIT: Duration = Duration::from_secs(300);
/// What was on its way when it was taken back has come by then.
const AFTER: Duration = Duration::from_secs(10);

/// One seed's channels.
struct Race {
    seed: u64,
    scenario: Scenario,
    weather: Weather,
}

/// How long everybody took, s.
struct Times {
    /// What the channels together could have carried, but for loss.
    possible: f64,
    swarm: f64,
    /// What part of the content came to the swarm's receiver twice.
    twice: f64,
    modulo: f64,
    /// One piece at a time from each channel.
    cursor: f64,
    /// Two, so that no channel waits for the next question.
    busy_cursor: f64,
}

impl Race {
    fn new(seed: u64) -> Race {
        let scenario = Scenario::built_in("s8").expect("it is built in");
        let channels = scenario.nodes.iter().filter(|group| group.role == Role::Source);
        let weather = Weather::new(seed, channels);
        Race { seed, scenario, weather }
    }

    fn run(&self) -> Times {
        let arrives = 1.0 - self.scenario.network.loss;
        let (swarm, mut lab, _, receiver) = self.swarm();
        lab.world.run_until(lab.world.now() + AFTER);
        let twice = lab.peer(receiver).node.swarm(lab.fid).expect("it is shared now").duplicate_bytes();
        Times {
            possible: self.weather.capacity().time_to_carry(0.0, self.size() as f64 / arrives),
            swarm,
            twice: twice as f64 / self.size() as f64,
            modulo: self.split(Policy::Modulo),
            cursor: self.split(Policy::Cursor { ahead: 1 }),
            busy_cursor: self.split(Policy::Cursor { ahead: 2 }),
        }
    }

    fn size(&self) -> usize {
        self.scenario.size.0 as usize
    }

    fn faults(&self) -> Faults {
        Faults { loss: self.scenario.network.loss, ..Faults::none() }
    }

    fn link(&self, group: &Group) -> LinkConfig {
        let latency = self.scenario.network.latency.0 / 2;
        LinkConfig { up: group.up, down: group.down, latency, ..LinkConfig::default() }
    }

    fn sources(&self) -> impl Iterator<Item = &Group> {
        self.scenario.nodes.iter().filter(|group| group.role == Role::Source)
    }

    fn receiver(&self) -> &Group {
        self.scenario.nodes.iter().find(|group| group.role == Role::Receiver).expect("somebody receives")
    }

    /// The nodes that users run. Gives the time of the one receiver, s, and the world when it is done.
    fn swarm(&self) -> (f64, Lab, Vec<NodeId>, NodeId) {
        let mut lab = Lab::new(self.seed, self.size(), self.faults());
        let sources: Vec<NodeId> = self.sources().map(|group| lab.add_linked(self.link(group))).collect();
        sources.iter().for_each(|&id| lab.share(id));
        let deadline = Instant::ORIGIN + LIMIT;
        while !sources.iter().all(|&id| is_listed(&lab, id)) {
            assert!(lab.world.step() && lab.world.now() < deadline, "seed {}: nobody is listed", self.seed);
        }
        let start = lab.world.now();
        self.weather.begin(&mut lab.world, &sources);
        let receiver = lab.add_linked(self.link(self.receiver()));
        lab.fetch(receiver);
        assert!(lab.run_until_done(&[receiver], LIMIT), "{}", lab.replay());
        lab.assert_content(receiver);
        let took = lab.done_at(receiver).expect("done").since(start).as_secs_f64();
        (took, lab, sources, receiver)
    }

    /// A receiver that splits the file. Its time, s.
    fn split(&self, policy: Policy) -> f64 {
        let mut world = World::new(self.seed, self.faults());
        let mut content = vec![0; self.size()];
        swarmcast::rand::Rng::from_seed(self.seed).fill(&mut content);
        let content = Arc::new(content);
        let lengths = Lengths::choose(self.size() as u64).expect("a size that can be shared");
        let channels: Vec<NodeId> = (0u8..)
            .zip(self.sources())
            .map(|(n, group)| {
                let server = Server::new(world.fork_rng(), Arc::clone(&content), lengths);
                world.add_node(([10, 0, 2, n], 7000).into(), Split::Server(server), self.link(group))
            })
            .collect();
        self.weather.begin(&mut world, &channels);
        let receiver = Receiver::new(world.fork_rng(), policy, lengths);
        let link = self.link(self.receiver());
        let receiver = world.add_node(([10, 0, 3, 1], 7000).into(), Split::Receiver(receiver), link);
        let remotes: Vec<_> = channels.iter().map(|&id| world.addr(id)).collect();
        world.with_node(receiver, |node, now| node.dial(now, &remotes));
        let is_done =
            world.run_while(Instant::ORIGIN + LIMIT, |world| world.node(receiver).whole().is_none());
        assert!(is_done, "seed {}: {policy:?} isn't done", self.seed);
        let whole = world.node(receiver).whole().expect("just seen");
        assert!(whole == *content, "seed {}: {policy:?} has other bytes", self.seed);
        world.now().as_secs_f64()
    }
}

fn is_listed(lab: &Lab, id: NodeId) -> bool {
    lab.peer(id).events.iter().any(|(_, event)| matches!(event, Event::Registered(_)))
}

#[test]
fn the_swarm_beats_every_split() {
    println!("seconds, and how many times what was possible; worst and mean of {SEEDS} seeds at the end");
    println!(
        "         possible           swarm          cursor cursor, 2 ahead          modulo  swarm, twice"
    );
    let (mut worst, mut sums) = ([0.0f64; 4], [0.0; 5]);
    let mut twice = Vec::new();
    for seed in 0..SEEDS {
        let result = Race::new(seed).run();
        let times = [result.swarm, result.cursor, result.busy_cursor, result.modulo];
        let ratios = times.map(|time| time / result.possible);
        print!("seed {seed:>2}  {:>8.2}", result.possible);
        times.iter().zip(ratios).for_each(|(time, ratio)| print!("  {time:>6.2} ({ratio:.3})"));
        println!("  {:>5.2} %", 100.0 * result.twice);
        twice.push(result.twice);
        sums[0] += result.possible;
        times.iter().zip(&mut sums[1..]).for_each(|(time, sum)| *sum += time);
        ratios.iter().zip(&mut worst).for_each(|(&ratio, worst)| *worst = worst.max(ratio));
        assert!(result.swarm < result.modulo, "seed {seed}: {times:?}");
    }
    let [possible, swarm, cursor, _, modulo] = sums.map(|sum| sum / SEEDS as f64);
    println!("means    {:>8.2?}; worst ratios {worst:.3?}", sums.map(|sum| sum / SEEDS as f64));
    assert!(swarm <= 0.98 * cursor && swarm <= 0.75 * modulo, "{swarm} s, {cursor} s, {modulo} s");
    assert!(swarm <= 1.08 * possible && worst[0] <= 1.13, "{swarm} s, {possible} s, {worst:?}");
    assert!(twice.iter().all(|&twice| twice <= 0.01), "{twice:?}");
    assert!(twice.iter().sum::<f64>() <= 0.005 * SEEDS as f64, "{twice:?}");
}

#[test]
fn who_comes_when_the_sources_have_gone_gets_it_from_the_first_receiver() {
    let race = Race::new(1);
    let (_, mut lab, sources, first) = race.swarm();
    let fid = lab.fid;
    for (n, &id) in sources.iter().enumerate() {
        match n % 3 {
            0 => lab.world.crash(id),
            1 => lab.with(id, Node::leave),
            _ => assert!(lab.with(id, |node, now| node.cancel(now, fid))),
        }
        lab.world.run_until(lab.world.now() + Duration::from_secs(1));
    }
    let (late, start) = (lab.add_linked(race.link(race.receiver())), lab.world.now());
    lab.fetch(late);
    assert!(lab.run_until_done(&[late], LIMIT), "{}", lab.replay());
    lab.assert_content(late);
    let took = lab.done_at(late).expect("done").since(start).as_secs_f64();
    let possible =
        race.size() as f64 / race.receiver().up.bytes_per_sec() as f64 / (1.0 - race.faults().loss);
    let ratio = took / possible;
    println!("from the first receiver alone: {took:.2} s, possible {possible:.2} s, ratio {ratio:.3}");
    assert!(lab.world.stats(first).bytes_sent >= race.size() as u64);
    assert!(took <= 1.3 * possible, "{took} s, {possible} s");
}

#[test]
fn the_scenario_s8_goes_as_told() {
    let report = run(&Scenario::built_in("s8").expect("it is built in"));
    let [first, late] = &report.receivers[..] else { panic!("{report:?}") };
    println!("first {:?} of {:.2} s, late {:?} of {:.2} s", first.done, first.bound, late.done, late.bound);
    assert_eq!((report.undone(), late.joined), (0, 60.0));
    assert!(first.done.expect("done") < 50.0, "the sources begin to leave then: {first:?}");
    assert!(first.ratio().expect("done") <= 1.25 && late.done.expect("done") <= 71.0, "{first:?} {late:?}");
}
