//! What a user may want otherwise of a node, and what follows from it.

use crate::pclient::swarm::Swarm;
use crate::rudp;
use crate::time::Duration;
use crate::units::Rate;

/// How many peers that miss something a source takes in.
const SOURCE_NEIGHBOURS: usize = 100;
/// A receiver takes others in until it has so many more than it wants. Whoever has more neighbours than others hears and says more, and
/// has the less left for content; but the last who dials needs to find a place.
const SPARE_PLACES: usize = 2;

/// A swarm of so many times the neighbours that one has is large.
const LARGE: usize = 10;

/// Everything about a node that a user may want otherwise.
#[derive(Clone, Debug)]
pub struct Config {
    /// The transport.
    pub rudp: rudp::Config,
    /// About how many peers a receiver has in a large swarm: it dials half of them, more if few dial it.
    pub neighbours: usize,
    /// How long a tracker may be silent before a call that needs it gives up.
    pub tracker_timeout: Duration,
    /// How long a download waits for anything new before it gives up.
    pub stall_timeout: Duration,
    /// How long `cancel` and `close` wait for what has left already and for the tracker's answer.
    pub farewell_timeout: Duration,
    /// The rate of this node's downlink as its owner knows it. Nothing is held to it here, that is the proxy's business:
    /// it tells an [`Account`](crate::pclient::account::Account) when the downlink is full. Unlimited also means that it isn't known.
    pub download_limit: Rate,
    /// Whether those who give most go first where many want something ([`choker`](crate::pclient::choker)); else all are alike.
    pub choking: bool,
    /// Whether anything of what is fetched is passed on. Who gives nothing comes last.
    pub gives: bool,
}

impl Config {
    /// How many peers a receiver dials, if enough dial it. With many more neighbours, each gives its own piece so slowly that many
    /// are half there and none can be passed on.
    pub(super) fn dials(&self) -> usize {
        self.neighbours.div_ceil(2)
    }

    /// Without how many peers a receiver dials and looks for more, in a swarm of `known`. How many dial it is chance. Where content comes
    /// through many hands, whoever has few neighbours hears late of what spreads, and is among the last to be done; where there are
    /// fewer, more neighbours would only have more to say to each other.
    pub(super) fn least_peers(&self, known: usize) -> usize {
        let is_large = known > LARGE * self.neighbours;
        if is_large { (self.neighbours * 17).div_ceil(20) } else { self.dials() }
    }

    /// So many in one answer of the tracker that are not done are a crowd. It names thirty at most, of which some may be done.
    pub(super) fn crowd(&self) -> usize {
        (self.neighbours * 3 / 4).clamp(8, 20)
    }

    /// How many peers that miss something a node takes in of a file. A source has more, as what it gives is new to all.
    pub(super) fn most_peers(&self, swarm: &Swarm) -> usize {
        if swarm.is_source() { SOURCE_NEIGHBOURS } else { self.neighbours + SPARE_PLACES }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            rudp: rudp::Config::default(),
            neighbours: 20,
            tracker_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            farewell_timeout: Duration::from_millis(800),
            download_limit: Rate::UNLIMITED,
            choking: true,
            gives: true,
        }
    }
}
