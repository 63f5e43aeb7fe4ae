//! Units as types: a size divided by a rate is a duration, and both read and print as people write them.

use std::fmt;
use std::str::FromStr;

use crate::time::Duration;

/// A rate in bytes per second (B/s). Zero stands for "unlimited", as in the constructors of the public surface.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Rate(u64);

impl Rate {
    /// No limit: everything takes no time.
    pub const UNLIMITED: Rate = Rate(0);

    /// `rate` B/s; 0 is [`Rate::UNLIMITED`].
    pub const fn new(rate: u64) -> Rate {
        Rate(rate)
    }

    /// B/s; 0 if unlimited.
    pub const fn bytes_per_sec(self) -> u64 {
        self.0
    }

    /// Whether there is no limit.
    pub const fn is_unlimited(self) -> bool {
        self.0 == 0
    }

    /// How long `bytes` B occupy a link of this rate, rounded up to the nanosecond; zero if unlimited.
    pub const fn time_for(self, bytes: u64) -> Duration {
        if self.0 == 0 {
            return Duration::ZERO;
        }
        // Asked for every datagram, several times: the wide division is far slower, and needed from 18 GB on only.
        if let Some(nanos) = bytes.checked_mul(1_000_000_000) {
            return Duration::from_nanos(nanos.div_ceil(self.0));
        }
        let nanos = (bytes as u128 * 1_000_000_000).div_ceil(self.0 as u128);
        Duration::from_nanos(if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_unlimited() { f.write_str("unlimited") } else { write!(f, "{}/s", ByteSize(self.0)) }
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Rate {
    type Err = ParseSizeError;
    fn from_str(s: &str) -> Result<Rate, ParseSizeError> {
        if s.eq_ignore_ascii_case("unlimited") {
            return Ok(Rate::UNLIMITED);
        }
        ByteSize::from_str(s.strip_suffix("/s").unwrap_or(s)).map(|size| Rate(size.0))
    }
}

/// A number of bytes that prints as `6.2 MB` and reads `6.2MB`, `100k`, `4MiB` or `148539`.
///
/// Decimal letters are powers of 1,000, `Ki`, `Mi`, `Gi` powers of 1,024.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ByteSize(pub u64);

/// Suffixes and their factors; the longer spelling stands first.
const SUFFIXES: [(&str, u64); 8] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("k", 1_000),
    ("m", 1_000_000),
    ("g", 1_000_000_000),
    ("t", 1_000_000_000_000),
];

/// A size or a rate that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size: write a number of bytes such as 148539, 800k, 6.2MB or 4MiB")]
pub struct ParseSizeError(String);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = match self.0 {
            0..1_000 => return write!(f, "{} B", self.0),
            1_000..1_000_000 => ("kB", 1e3),
            1_000_000..1_000_000_000 => ("MB", 1e6),
            1_000_000_000..1_000_000_000_000 => ("GB", 1e9),
            _ => ("TB", 1e12),
        };
        let value = self.0 as f64 / factor;
        if value < 10.0 { write!(f, "{value:.2} {unit}") } else { write!(f, "{value:.1} {unit}") }
    }
}

impl FromStr for ByteSize {
    type Err = ParseSizeError;
    fn from_str(s: &str) -> Result<ByteSize, ParseSizeError> {
        let bad = || ParseSizeError(s.to_owned());
        let lower = s.trim().to_ascii_lowercase();
        let digits_end = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
        let (number, suffix) = (&lower[..digits_end], lower[digits_end..].trim());
        let unit = suffix.strip_suffix('b').filter(|unit| !unit.ends_with('i')).unwrap_or(suffix);
        let factor = match unit {
            "" => 1,
            unit => SUFFIXES.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?.1,
        };
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(factor).map(ByteSize).ok_or_else(bad);
        }
        let value = number.parse::<f64>().map_err(|_| bad())? * factor as f64;
        if value.is_finite() && value < u64::MAX as f64 {
            Ok(ByteSize(value.round() as u64))
        } else {
            Err(bad())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_over_rate_is_a_duration() {
        assert_eq!(Rate::new(100_000).time_for(6_200_000), Duration::from_secs(62));
        assert_eq!(Rate::new(3).time_for(1), Duration::from_nanos(333_333_334));
        assert_eq!(Rate::UNLIMITED.time_for(u64::MAX), Duration::ZERO);
        assert_eq!(Rate::new(1).time_for(u64::MAX), Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, bytes) in [
            ("148539", 148_539),
            ("100k", 100_000),
            ("6.2MB", 6_200_000),
            ("4MiB", 4 << 20),
            ("1 GB", 1_000_000_000),
            ("0", 0),
            ("12b", 12),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "k", "-1", "1.2.3", "5 apples", "99999999999T", "4ib"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        assert_eq!("10k/s".parse(), Ok(Rate::new(10_000)));
        assert_eq!("unlimited".parse(), Ok(Rate::UNLIMITED));
    }

    #[test]
    fn sizes_print_as_people_read_them() {
        assert_eq!(ByteSize(999).to_string(), "999 B");
        assert_eq!(ByteSize(6_219_177).to_string(), "6.22 MB");
        assert_eq!(Rate::new(100_000).to_string(), "100.0 kB/s");
        assert_eq!(Rate::UNLIMITED.to_string(), "unlimited");
    }
}
