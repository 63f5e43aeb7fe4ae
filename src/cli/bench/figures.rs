//! What a measurement found, in words for people and as JSON for programs. Nothing is measured here.

use swarmcast::time::Duration;
use swarmcast::units::ByteSize;

use super::super::progress::{mean_rate, measured};
use super::probe::Measured;

/// A few lines for people.
pub(super) fn for_people(found: &Measured) -> String {
    let Measured { remote, received, stats, .. } = found;
    let rate = ByteSize(mean_rate(received.bytes, received.time));
    [
        format!("path to {remote}, {} of payload in {}", ByteSize(received.bytes), measured(received.time)),
        format!("  rate        {rate}/s"),
        format!("  round trip  {} at least, {} while it was full", millis(stats.min_rtt), millis(found.srtt)),
        format!("  queue       {} standing, {} at most", millis(found.queue_median), millis(found.queue_max)),
        format!(
            "  loss        {:.2} %: {} of {} datagrams, besides {} that were only late",
            100.0 * loss(found),
            stats.lost.saturating_sub(stats.spurious),
            stats.sent,
            stats.spurious
        ),
        format!("  datagrams   up to {} B", stats.datagram_size),
    ]
    .join("\n")
}

/// One JSON object in one line. Its values are numbers and an address, so nothing needs escaping.
pub(super) fn for_programs(found: &Measured) -> String {
    let Measured { remote, received, stats, .. } = found;
    let fields = [
        ("remote", format!("\"{remote}\"")),
        ("seconds", received.time.as_secs_f64().to_string()),
        ("payload_bytes", received.bytes.to_string()),
        ("payload_bytes_per_second", mean_rate(received.bytes, received.time).to_string()),
        ("rtt_min_ms", as_millis(stats.min_rtt).to_string()),
        ("rtt_smoothed_ms", as_millis(found.srtt).to_string()),
        ("queue_median_ms", as_millis(found.queue_median).to_string()),
        ("queue_max_ms", as_millis(found.queue_max).to_string()),
        ("datagram_bytes", stats.datagram_size.to_string()),
        ("datagrams_sent", stats.sent.to_string()),
        ("datagrams_lost", stats.lost.to_string()),
        ("datagrams_lost_spuriously", stats.spurious.to_string()),
        ("bytes_sent", stats.bytes_sent.to_string()),
        ("bytes_retransmitted", stats.bytes_retransmitted.to_string()),
        ("probe_timeouts", stats.probes.to_string()),
        ("window_bytes", stats.window.to_string()),
    ];
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// What share of the datagrams was lost: those that came late are not.
fn loss(found: &Measured) -> f64 {
    let lost = found.stats.lost.saturating_sub(found.stats.spurious);
    lost as f64 / found.stats.sent.max(1) as f64
}

fn as_millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

/// `0.08 ms`, `12.3 ms`, `240 ms`.
fn millis(duration: Duration) -> String {
    match as_millis(duration) {
        ms @ ..10.0 => format!("{ms:.2} ms"),
        ms @ ..100.0 => format!("{ms:.1} ms"),
        ms => format!("{ms:.0} ms"),
    }
}

#[cfg(test)]
mod tests {
    use swarmcast::rudp::stats::Stats;

    use super::super::message::Received;
    use super::*;

    fn found() -> Measured {
        Measured {
            remote: "[2001:db8::1]:9".parse().unwrap(),
            received: Received { bytes: 50_000_000, time: Duration::from_secs(5) },
            stats: Stats {
                min_rtt: Duration::from_micros(81),
                datagram_size: 1_452,
                sent: 40_000,
                lost: 110,
                spurious: 10,
                ..Stats::default()
            },
            srtt: Duration::from_micros(12_345),
            queue_median: Duration::from_micros(11_987),
            queue_max: Duration::from_millis(240),
        }
    }

    #[test]
    fn people_read_rates_and_shares() {
        let text = for_people(&found());
        for part in [
            "to [2001:db8::1]:9, 50.0 MB of payload in 5.00 s",
            "rate        10.0 MB/s",
            "0.08 ms at least, 12.3 ms while",
            "12.0 ms standing, 240 ms at most",
            "0.25 %: 100 of 40000 datagrams, besides 10",
            "up to 1452 B",
        ] {
            assert!(text.contains(part), "{part:?} isn't in:\n{text}");
        }
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    }

    #[test]
    fn programs_read_plain_numbers() {
        let text = for_programs(&found());
        assert!(text.starts_with(r#"{"remote":"[2001:db8::1]:9","seconds":5,"#), "{text}");
        assert!(text.contains(r#""payload_bytes_per_second":10000000,"#), "{text}");
        assert!(text.contains(r#""rtt_min_ms":0.081,"rtt_smoothed_ms":12.345,"#), "{text}");
        assert!(text.ends_with('}') && !text.contains('\n'), "{text}");
    }
}
