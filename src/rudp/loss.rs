//! When an unacknowledged packet counts as lost (RFC 9002 §6.1). A pure decision, without state.

use crate::time::{Duration, Instant};

/// What is known of a packet whose successor has been acked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is lost.
    Lost,
    /// It will count as lost at this instant, unless it is acked before.
    LostAt(Instant),
}

/// Judges the packet `number`, sent at `sent`, below the highest acked number `largest_acked`. How many later packets, and
/// how much time, is enough for a loss, [`Reordering`](super::reordering::Reordering) knows.
pub fn judge(
    number: u64,
    sent: Instant,
    largest_acked: u64,
    packet_threshold: u64,
    loss_delay: Duration,
    now: Instant,
) -> Outcome {
    let deadline = sent + loss_delay;
    if largest_acked >= number + packet_threshold || deadline <= now {
        Outcome::Lost
    } else {
        Outcome::LostAt(deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_by_count_or_by_time() {
        let ms = Duration::from_millis;
        let at = |millis| Instant::ORIGIN + ms(millis);
        assert_eq!(judge(7, at(0), 9, 3, ms(100), at(50)), Outcome::LostAt(at(100)));
        assert_eq!(judge(7, at(0), 10, 3, ms(100), at(50)), Outcome::Lost);
        assert_eq!(judge(7, at(0), 8, 3, ms(100), at(100)), Outcome::Lost);
        assert_eq!(judge(7, at(0), 17, 11, ms(120), at(110)), Outcome::LostAt(at(120)));
    }
}
