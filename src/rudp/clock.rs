//! The clock of the wire: when a datagram left or arrived, as two ends tell each other.
//!
//! Arithmetic alone. Only differences mean anything, as the two ends' clocks were never set to each other.

use crate::time::{Duration, Instant};

/// Ticks of 62.5 ns by the clock of one end, wrapping after 268 s. Data and acks carry the upper 24 bits, a grain of 16 µs.
pub type Ticks = u32;

const TICKS_PER_16_MICROS: u64 = 1 << 8;
const NANOS_PER_2_TICKS: u64 = 125;

/// What the clock shows at `instant`.
pub fn at(instant: Instant) -> Ticks {
    ticks(instant.since(Instant::ORIGIN))
}

/// A span in ticks, wrapping.
pub fn ticks(span: Duration) -> Ticks {
    (span.as_nanos() * 2 / u128::from(NANOS_PER_2_TICKS)) as u32
}

/// The span of so many ticks.
pub fn span(ticks: Ticks) -> Duration {
    Duration::from_nanos(u64::from(ticks) * NANOS_PER_2_TICKS / 2)
}

/// The 24 bits that data and acks carry.
pub fn to_wire(ticks: Ticks) -> u32 {
    ticks / TICKS_PER_16_MICROS as u32
}

/// What those 24 bits stand for.
pub fn from_wire(wire: u32) -> Ticks {
    wire.wrapping_mul(TICKS_PER_16_MICROS as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_survive_the_wrap_and_the_wire() {
        for start in [0, 268_435_450_000, 4_000_000_000_000] {
            let (sent, received) = (Instant::from_nanos(start), Instant::from_nanos(start + 60_000_000));
            let exact = span(at(received).wrapping_sub(at(sent)));
            assert!(exact.abs_diff(Duration::from_millis(60)) < Duration::from_nanos(200), "{exact:?}");
            let [sent, received] = [sent, received].map(|time| from_wire(to_wire(at(time))));
            let rough = span(received.wrapping_sub(sent));
            assert!(rough.abs_diff(Duration::from_millis(60)) <= Duration::from_micros(16), "{rough:?}");
        }
    }
}
