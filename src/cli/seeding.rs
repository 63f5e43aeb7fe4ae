//! How long `get` goes on serving others once all is here. Nothing is served here.

use std::str::FromStr;

use swarmcast::simulate::scenario::Seconds;
use swarmcast::time::Duration;

/// When serving ends, besides at Ctrl-C.
#[derive(Clone, Copy, Debug, Default, PartialEq, clap::Args)]
pub(super) struct Seeding {
    /// Once it is here, go on serving it to others until Ctrl-C
    #[arg(long)]
    seed: bool,

    /// Once it is here, go on serving it to others for this long, such as 90, 10m or 2h
    #[arg(long, value_name = "TIME")]
    seed_for: Option<Seconds>,

    /// Once it is here, go on until so many times its size was given to others, such as 1.5
    ///
    /// What was given while it came counts. With --seed-for, whichever is first.
    #[arg(long, value_name = "R")]
    seed_ratio: Option<Ratio>,
}

/// How many times its size, from 0 on.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ratio(f64);

/// A text that is no ratio.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a ratio: write how many times the size, such as 1 or 1.5")]
struct ParseRatioError(String);

impl FromStr for Ratio {
    type Err = ParseRatioError;
    fn from_str(text: &str) -> Result<Ratio, ParseRatioError> {
        let ratio = text.parse().ok().filter(|ratio: &f64| ratio.is_finite() && *ratio >= 0.0);
        ratio.map(Ratio).ok_or_else(|| ParseRatioError(text.to_owned()))
    }
}

impl Seeding {
    /// Whether others are to be served at all.
    pub(super) fn is_wanted(&self) -> bool {
        *self != Seeding::default()
    }

    /// Whether it is enough after `time` since all was here, when others have got `given` B of a file of `size` B.
    pub(super) fn is_over(&self, time: Duration, given: u64, size: u64) -> bool {
        self.seed_for.is_some_and(|limit| time >= limit.0)
            || self.seed_ratio.is_some_and(|Ratio(ratio)| given as f64 >= ratio * size as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whichever_comes_first_ends_it() {
        let seeding = |seed_for: Option<u64>, seed_ratio| Seeding {
            seed: true,
            seed_for: seed_for.map(|seconds| Seconds(Duration::from_secs(seconds))),
            seed_ratio,
        };
        let over =
            |seeding: Seeding, seconds, given| seeding.is_over(Duration::from_secs(seconds), given, 10);
        assert!(!over(seeding(None, None), 1_000_000, u64::MAX));
        let both = seeding(Some(5), Some(Ratio(1.5)));
        assert!(!over(both, 4, 14) && over(both, 5, 0) && over(both, 0, 15));
        assert!(over(seeding(None, Some(Ratio(0.0))), 0, 0));
        assert!(!Seeding::default().is_wanted() && both.is_wanted());
    }

    #[test]
    fn a_ratio_is_a_number_from_zero_on() {
        assert_eq!("1.5".parse(), Ok(Ratio(1.5)));
        for text in ["", "-1", "inf", "NaN", "150%"] {
            assert!(text.parse::<Ratio>().is_err(), "{text}");
        }
    }
}
