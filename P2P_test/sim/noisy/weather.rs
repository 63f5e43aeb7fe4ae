//! The rates of noisy channels over time, drawn once, so that all who race have the same.

use swarmcast::machine::Machine;
use swarmcast::rand::Rng;
use swarmcast::sim::{NodeId, World};
use swarmcast::simulate::bound::Capacity;
use swarmcast::simulate::scenario::Group;
use swarmcast::time::Duration;
use swarmcast::units::Rate;

/// For so long there is noise; afterwards the last rates stay.
const UNTIL: Duration = Duration::from_secs(200);

/// The uplinks' rates of all channels.
pub(super) struct Weather {
    channels: Vec<Channel>,
}

struct Channel {
    down: Rate,
    every: Duration,
    /// In each span of `every`, B/s.
    up: Vec<u64>,
}

impl Weather {
    pub(super) fn new<'a>(seed: u64, groups: impl Iterator<Item = &'a Group>) -> Weather {
        let mut rng = Rng::from_seed(seed ^ 0x401);
        let channel = |group: &Group| {
            let noise = group.noise.expect("channels are noisy");
            let spans = (UNTIL.as_secs_f64() / noise.every.0.as_secs_f64()) as usize;
            let mean = group.up.bytes_per_sec() as f64;
            let mut draw = || (mean * (noise.from + (noise.to - noise.from) * rng.unit())) as u64;
            Channel { down: group.down, every: noise.every.0, up: (0..spans).map(|_| draw()).collect() }
        };
        Weather { channels: groups.map(channel).collect() }
    }

    /// Has the channels, which are `nodes`, vary from now on.
    pub(super) fn begin<M: Machine + 'static>(&self, world: &mut World<M>, nodes: &[NodeId]) {
        for (channel, &id) in self.channels.iter().zip(nodes) {
            let mut at = world.now();
            for &up in &channel.up {
                let (up, down) = (Rate::new(up), channel.down);
                world.schedule(at, move |world| world.set_rates(id, up, down));
                at += channel.every;
            }
        }
    }

    /// All channels together, from the moment on when they begin to vary.
    pub(super) fn capacity(&self) -> Capacity {
        let capacities: Vec<Capacity> = self.channels.iter().map(Channel::capacity).collect();
        Capacity::sum(&capacities)
    }
}

impl Channel {
    fn capacity(&self) -> Capacity {
        let mut capacity = Capacity::default();
        for (span, &up) in self.up.iter().enumerate() {
            capacity.set(span as f64 * self.every.as_secs_f64(), up as f64);
        }
        capacity
    }
}
