//! What an endpoint can be told to do otherwise.

use crate::time::Duration;

/// The parameters of an [`Endpoint`](super::Endpoint).
#[derive(Clone, Debug)]
pub struct Config {
    /// The largest datagram to send or take in, B. The search for what the path carries begins at
    /// [`mtu::BASE`](super::mtu::BASE) and ends here.
    pub max_datagram_size: usize,
    /// The longest message that is taken in, B.
    pub max_message: u64,
    /// How much a peer may make this side hold, B, to within a 64th of it; bounds the rate to this much per round trip. 4 KiB at least.
    pub receive_window: u64,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// A connection that nobody needs is given up after this silence.
    pub idle_timeout: Duration,
    /// A peer that owes an answer is given up after this silence, or after three probe time-outs if those are longer.
    pub dead_after: Duration,
    /// How long a peer that is expected to send may be silent before it is asked whether it is there.
    pub keep_alive: Duration,
    /// Most connections at a time, and most from one IP address.
    pub max_connections: usize,
    /// See `max_connections`.
    pub max_connections_per_ip: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            max_datagram_size: 65_507,
            max_message: 128 << 10,
            receive_window: 4 << 20,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            dead_after: Duration::from_secs(4),
            keep_alive: Duration::from_millis(1_000),
            max_connections: 4_096,
            max_connections_per_ip: 1_024,
        }
    }
}
