//! What a connection can tell about itself.

use crate::time::Duration;

/// How what a peer sends arrives.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrivals {
    /// Of messages that aren't whole yet, what has arrived, B, overheads included.
    pub partial: u64,
    /// The shortest round trip so far; zero before the first.
    pub min_rtt: Duration,
}

/// Counters and present values of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Smoothed round-trip time.
    pub srtt: Duration,
    /// The shortest round-trip time seen; zero before the first.
    pub min_rtt: Duration,
    /// What the path delivers, B/s.
    pub rate: u64,
    /// The largest datagram in use, B.
    pub datagram_size: usize,
    /// Queueing delay on the way out.
    pub queue: Duration,
    /// Congestion window, B.
    pub window: u64,
    /// Sent, neither acked nor lost, B.
    pub in_flight: u64,
    /// Held for messages that have arrived in part, B, with what each costs beside its bytes.
    pub held: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// Fresh datagrams received.
    pub received: u64,
    /// Datagrams received again.
    pub duplicates: u64,
    /// Datagrams whose frames could not be read.
    pub malformed: u64,
    /// Bytes sent, headers included.
    pub bytes_sent: u64,
    /// Bytes of messages that were sent again.
    pub bytes_retransmitted: u64,
    /// Bytes acked, headers included.
    pub bytes_acked: u64,
    /// Bytes of messages received.
    pub bytes_received: u64,
    /// Packets declared lost.
    pub lost: u64,
    /// Of those, packets that were acked later.
    pub spurious: u64,
    /// Probe time-outs.
    pub probes: u64,
}

impl Stats {
    /// Adds the counters of another connection; of the present values the larger delays are kept.
    pub fn add(&mut self, other: &Stats) {
        self.srtt = self.srtt.max(other.srtt);
        self.min_rtt = self.min_rtt.max(other.min_rtt);
        self.queue = self.queue.max(other.queue);
        self.rate += other.rate;
        self.datagram_size = self.datagram_size.max(other.datagram_size);
        self.bytes_retransmitted += other.bytes_retransmitted;
        self.window += other.window;
        self.in_flight += other.in_flight;
        self.held += other.held;
        self.sent += other.sent;
        self.received += other.received;
        self.duplicates += other.duplicates;
        self.malformed += other.malformed;
        self.bytes_sent += other.bytes_sent;
        self.bytes_acked += other.bytes_acked;
        self.bytes_received += other.bytes_received;
        self.lost += other.lost;
        self.spurious += other.spurious;
        self.probes += other.probes;
    }
}
