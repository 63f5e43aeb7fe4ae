//! How far a transfer is: a bar on a terminal, a line now and then in a pipe.
//!
//! Nothing is measured here but what is passed in; [`Meter`] makes rates of it, [`Display`] shows them.

use std::collections::VecDeque;

use indicatif::{ProgressBar, ProgressStyle};
use swarmcast::pclient::account::{Account, AtBest, Cause, Spent};
use swarmcast::time::{Duration, Instant};
use swarmcast::units::{ByteSize, Rate};

use super::json::{Event, Pace};
use super::screen::Screen;

/// The rate that is shown is that of the last seconds.
const WINDOW: Duration = Duration::from_secs(4);
/// A step of this many percent is worth a line,
const LINE_STEP: u64 = 10;
/// but not more often than this,
const LINE_SOONEST: Duration = Duration::from_secs(1);
/// and so much silence is worth one in any case.
const LINE_LATEST: Duration = Duration::from_secs(10);
/// Nobody asks what held up a transfer that was shorter than this.
const WORTH_A_WORD: Duration = Duration::from_secs(1);

/// What is known of a transfer at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Snapshot {
    /// Verified so far, B.
    pub(super) done: u64,
    /// Of that, what was here before this transfer began, B.
    pub(super) found: u64,
    /// Of so many, B.
    pub(super) total: u64,
    /// Peers that take part.
    pub(super) peers: usize,
    /// What has held it back; `None` before it has begun.
    pub(super) account: Option<Account>,
}

/// The rate over the last seconds. Its samples are in the order of time, and no two are of the same moment.
#[derive(Debug, Default)]
pub(super) struct Meter {
    samples: VecDeque<(Instant, u64)>,
}

impl Meter {
    /// Takes note that `done` B had been reached at `now`.
    pub(super) fn note(&mut self, now: Instant, done: u64) {
        if self.samples.back().is_none_or(|(last, _)| *last < now) {
            self.samples.push_back((now, done));
        }
        // One that is as old as the window stays, as its beginning.
        while self.samples.get(1).is_some_and(|(at, _)| now.since(*at) >= WINDOW) {
            self.samples.pop_front();
        }
    }

    /// B/s; 0 until there is something to tell.
    pub(super) fn rate(&self) -> u64 {
        let (Some((first, before)), Some((last, after))) = (self.samples.front(), self.samples.back()) else {
            return 0;
        };
        let seconds = last.since(*first).as_secs_f64();
        if seconds > 0.0 { (after.saturating_sub(*before) as f64 / seconds) as u64 } else { 0 }
    }

    /// How long `rest` B will take at this rate, in whole seconds, rounded up; if it goes on at all.
    pub(super) fn time_for(&self, rest: u64) -> Option<Duration> {
        let rate = self.rate();
        (rate > 0).then(|| Duration::from_secs(rest.div_ceil(rate)))
    }
}

/// Shows a transfer on the screen.
pub(super) struct Display<'a> {
    screen: &'a Screen,
    meter: Meter,
    pace: Pace,
    bar: Option<ProgressBar>,
    /// When the last line was written, and at how many percent.
    last_line: (Instant, u64),
}

impl<'a> Display<'a> {
    /// A display of a transfer that begins `now`.
    pub(super) fn new(screen: &'a Screen, now: Instant) -> Display<'a> {
        let bar = screen.is_watched().then(|| {
            let style = ProgressStyle::with_template("[{wide_bar}] {msg}\n{prefix}")
                .expect("the template is well formed");
            screen.add(ProgressBar::new(1).with_style(style.progress_chars("=> ")))
        });
        Display { screen, meter: Meter::default(), pace: Pace::default(), bar, last_line: (now, 0) }
    }

    /// Shows how things are.
    pub(super) fn show(&mut self, now: Instant, snapshot: Snapshot) {
        self.meter.note(now, snapshot.done.saturating_sub(snapshot.found));
        if self.pace.is_due(now) {
            let left = self.meter.time_for(snapshot.total.saturating_sub(snapshot.done));
            self.screen.event(|| Event::progress(snapshot, self.meter.rate(), left));
        }
        if let Some(bar) = &self.bar {
            bar.set_length(snapshot.total.max(1));
            bar.set_position(snapshot.done);
            bar.set_message(self.for_bar(snapshot));
            bar.set_prefix(self.outlook(snapshot));
        } else if !self.screen.is_quiet() && self.is_line_due(now, percent(snapshot.done, snapshot.total)) {
            self.last_line = (now, percent(snapshot.done, snapshot.total));
            self.screen.hint(self.for_line(snapshot));
        }
    }

    /// Takes the bar off the screen.
    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn is_line_due(&self, now: Instant, percent: u64) -> bool {
        let (at, before) = self.last_line;
        let silence = now.since(at);
        silence >= LINE_LATEST || silence >= LINE_SOONEST && percent >= before + LINE_STEP
    }

    /// Of constant width as long as the size is, so that nothing dances.
    fn for_bar(&self, snapshot: Snapshot) -> String {
        let left = self.meter.time_for(snapshot.total.saturating_sub(snapshot.done));
        format!(
            "{:>3}% {:>8}/{} {:>10}/s {:>2} {} {:>10}",
            percent(snapshot.done, snapshot.total),
            size(snapshot.done),
            size(snapshot.total),
            size(self.meter.rate()),
            snapshot.peers,
            if snapshot.peers == 1 { "peer " } else { "peers" },
            left.map_or_else(String::new, |left| format!("ETA {}", brief(left))),
        )
    }

    /// How long it will take in all at the present rate, and at best.
    fn expected(&self, snapshot: Snapshot) -> Option<(Duration, AtBest)> {
        let account = snapshot.account?;
        let (rest, rate) = (snapshot.total.saturating_sub(snapshot.done), self.meter.rate());
        let left = (rate > 0).then(|| Rate::new(rate).time_for(rest))?;
        let (now, best) = (account.spent.total().saturating_add(left), account.at_best?);
        // What was measured can be slower than what comes next.
        Some((now, AtBest { time: best.time.min(now), ..best }))
    }

    /// The line below the bar.
    fn outlook(&self, snapshot: Snapshot) -> String {
        let waits_for = match snapshot.account.and_then(|account| account.waits_for) {
            Some(Cause::Tracker) => "waiting for the tracker",
            Some(Cause::Connecting) => "connecting",
            Some(Cause::OwnDownlink) => "own downlink is full",
            Some(Cause::Source) => "waiting for the source",
            Some(Cause::Peers) => "waiting for peers",
            Some(Cause::Storing) => "verifying and writing",
            None => "",
        };
        match self.expected(snapshot) {
            Some((now, best)) => format!("at best {}, now {} in all; {waits_for}", about(best), rounded(now)),
            None => waits_for.to_owned(),
        }
    }

    fn for_line(&self, snapshot: Snapshot) -> String {
        let left = self.meter.time_for(snapshot.total.saturating_sub(snapshot.done));
        let left = left.map_or_else(String::new, |left| format!(", {} left", brief(left)));
        let outlook = self.expected(snapshot).map_or_else(String::new, |(now, best)| {
            format!("; {} in all, at best {}", rounded(now), about(best))
        });
        format!(
            "{}%, {} of {}, {}/s, {}{left}{outlook}",
            percent(snapshot.done, snapshot.total),
            size(snapshot.done),
            size(snapshot.total),
            size(self.meter.rate()),
            peers(snapshot.peers),
        )
    }
}

/// The least time possible, with a word of caution where it was measured.
fn about(best: AtBest) -> String {
    format!("{}{}", if best.is_measured { "about " } else { "" }, rounded(best.time))
}

/// A duration to the nearest second, so that two that hardly differ look alike.
fn rounded(duration: Duration) -> String {
    brief(duration.saturating_add(Duration::from_millis(500)))
}

/// What came of a download, in a line for the least time possible and one for what held it back. What was over within a
/// second isn't worth a word.
pub(super) fn in_retrospect(account: &Account) -> Vec<String> {
    let total = account.spent.total();
    if total < WORTH_A_WORD {
        return Vec::new();
    }
    let mut lines = Vec::new();
    if let Some(AtBest { time, by, is_measured }) = account.at_best {
        let ratio = total.as_secs_f64() / time.min(total).as_secs_f64().max(1e-9);
        let time = measured(time.min(total));
        let why = match is_measured {
            true => format!("about {time}: {}, measured", by.name()),
            false => format!("{time}: {}", by.name()),
        };
        lines.push(format!("{ratio:.2} × the least possible as far as known ({why})"));
    }
    lines.push(format!("held back by {}", percents(&account.spent)));
    lines
}

/// `own downlink 93 %, source 6 %`.
pub(super) fn percents(spent: &Spent) -> String {
    let parts = spent.percents().into_iter().map(|(cause, n)| format!("{} {n} %", cause.name()));
    parts.collect::<Vec<_>>().join(", ")
}

/// Whole percents; 100 only when all is there.
pub(super) fn percent(done: u64, total: u64) -> u64 {
    let percent = u128::from(done) * 100 / u128::from(total.max(1));
    u64::try_from(percent).unwrap_or(100).min(100)
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

/// `1 peer`, `2 peers`.
pub(super) fn peers(count: usize) -> String {
    format!("{count} peer{}", if count == 1 { "" } else { "s" })
}

/// A duration to the second: `5s`, `3m07s`, `2h05m`, `9d`.
fn brief(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ ..60 => format!("{seconds}s"),
        seconds @ ..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        seconds @ ..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// A duration that has been measured: `0.42 s`, `12.3 s`, `3m07s`.
pub(super) fn measured(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds @ ..10.0 => format!("{seconds:.2} s"),
        seconds @ ..120.0 => format!("{seconds:.1} s"),
        _ => brief(duration),
    }
}

/// `bytes` B over `duration`, B/s.
pub(super) fn mean_rate(bytes: u64, duration: Duration) -> u64 {
    (bytes as f64 / duration.as_secs_f64().max(1e-9)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Instant {
        Instant::ORIGIN + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut meter = Meter::default();
        assert_eq!((meter.rate(), meter.time_for(5)), (0, None));
        for tenth in 0..100_u64 {
            meter.note(at(tenth as f64 / 10.0), tenth * 100);
        }
        assert!((999..=1_000).contains(&meter.rate()), "{}", meter.rate());
        // It stops: half a window later the rate is half of it, after a whole one it is nothing.
        meter.note(at(9.9 + 2.0), 9_900);
        assert!((480..=520).contains(&meter.rate()), "{}", meter.rate());
        assert_eq!(meter.time_for(4_000).map(|left| left.as_secs()), Some(4_000_u64.div_ceil(meter.rate())));
        assert_eq!(meter.time_for(1), Some(Duration::from_secs(1)));
        meter.note(at(9.9 + 4.0), 9_900);
        assert_eq!((meter.rate(), meter.time_for(4_000)), (0, None));
        assert!(meter.samples.len() < 5);
    }

    #[test]
    fn a_line_comes_with_a_step_but_not_too_often() {
        let screen = Screen::new(true, false);
        let mut display = Display::new(&screen, at(0.0));
        assert!(!display.is_line_due(at(0.5), 50));
        assert!(!display.is_line_due(at(1.0), 9));
        assert!(display.is_line_due(at(1.0), 10));
        assert!(display.is_line_due(at(10.0), 0));
        display.last_line = (at(10.0), 40);
        assert!(!display.is_line_due(at(10.9), 60));
        assert!(!display.is_line_due(at(12.0), 49));
        assert!(display.is_line_due(at(12.0), 50));
    }

    #[test]
    fn a_bar_and_its_text_fit_80_columns() {
        let screen = Screen::new(true, false);
        let mut display = Display::new(&screen, at(0.0));
        let snapshot = |done| Snapshot { done, found: 0, total: 999_900_000_000, peers: 20, account: None };
        display.meter.note(at(0.0), 0);
        let widths = [999_900, 1_000_000, 120_300_000_000, 999_899_999_999].map(|done| {
            display.meter.note(at(done as f64 / 1e9 + 1.0), done);
            display.for_bar(snapshot(done)).chars().count()
        });
        // Beside brackets, a space, and a bar that deserves the name.
        assert!(widths.iter().all(|width| *width <= 57 && *width == widths[0]), "{widths:?}");
        assert_eq!(percent(999_899_999_999, 999_900_000_000), 99);
        assert_eq!(percent(0, 0), 0);
    }

    fn account(at_best: Option<AtBest>) -> Account {
        let mut spent = Spent::default();
        spent.add(Cause::OwnDownlink, Duration::from_secs(60));
        spent.add(Cause::Source, Duration::from_millis(2_100));
        spent.add(Cause::Tracker, Duration::from_millis(200));
        Account { spent, waits_for: Some(Cause::OwnDownlink), at_best }
    }

    #[test]
    fn the_outlook_fits_below_a_bar_and_is_never_better_than_the_best() {
        let screen = Screen::new(true, false);
        let mut display = Display::new(&screen, at(0.0));
        let best = |seconds, is_measured| {
            Some(AtBest { time: Duration::from_secs(seconds), by: Cause::OwnDownlink, is_measured })
        };
        let snapshot = |at_best| Snapshot {
            done: 500,
            found: 0,
            total: 1_000,
            peers: 1,
            account: Some(account(at_best)),
        };
        assert_eq!(display.outlook(snapshot(best(50, false))), "own downlink is full");
        display.meter.note(at(0.0), 0);
        display.meter.note(at(1.0), 500);
        assert_eq!(display.outlook(snapshot(None)), "own downlink is full");
        let shown = display.outlook(snapshot(best(50, false)));
        assert_eq!(shown, "at best 50s, now 1m03s in all; own downlink is full");
        let line = display.for_line(snapshot(best(99, true)));
        assert!(line.ends_with("1s left; 1m03s in all, at best about 1m03s"), "{line}");
        assert!(display.outlook(snapshot(best(99, true))).len() < 80);
        assert_eq!(display.outlook(Snapshot::default()), "");
    }

    #[test]
    fn what_is_over_is_told_in_two_lines_that_fit_80_columns() {
        let told = AtBest { time: Duration::from_secs(58), by: Cause::OwnDownlink, is_measured: false };
        let lines = in_retrospect(&account(Some(told)));
        assert_eq!(lines[0], "1.07 × the least possible as far as known (58.0 s: own downlink)");
        assert_eq!(lines[1], "held back by own downlink 96 %, source 4 %");
        let seen = AtBest { time: Duration::from_secs(70), by: Cause::OwnDownlink, is_measured: true };
        let lines = in_retrospect(&account(Some(seen)));
        assert!(lines[0].starts_with("1.00 × ") && lines[0].contains("(about 62.3 s: own"), "{lines:?}");
        assert!(lines[0].chars().count() <= 80, "{lines:?}");
        assert_eq!(in_retrospect(&account(None)).len(), 1);
        let short = Account { spent: Spent::default(), waits_for: None, at_best: Some(told) };
        assert_eq!(in_retrospect(&short), [""; 0]);
    }

    #[test]
    fn durations_read_well() {
        let shown = [0, 59, 60, 187, 3_599, 7_500, 86_400 * 9].map(|s| brief(Duration::from_secs(s)));
        assert_eq!(shown, ["0s", "59s", "1m00s", "3m07s", "59m59s", "2h05m", "9d"]);
        let shown = [0.4249, 12.34, 119.0, 187.0].map(|s| measured(Duration::from_secs_f64(s)));
        assert_eq!(shown, ["0.42 s", "12.3 s", "119.0 s", "3m07s"]);
        assert_eq!(mean_rate(3_000, Duration::from_secs(2)), 1_500);
    }
}
