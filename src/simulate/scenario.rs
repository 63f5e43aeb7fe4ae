//! What a scenario is, and how it is written down: TOML that a person can write, and the ones that are built in.
//!
//! Nothing runs here. Every key is explained at its field; an unknown one is an error that names it. Sizes and rates read
//! as on the command line (`6.2MB`, `100k`; 0 is unlimited), times as seconds (`2.5`) or with a unit (`50ms`, `3m`).

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use crate::pclient::pieces::Lengths;
use crate::time::Duration;
use crate::units::{ByteSize, Rate};

/// More nodes than this are surely a mistake.
const MAX_NODES: u64 = 100_000;
/// All content is kept in memory, once.
const MAX_SIZE: u64 = 8 << 30;

/// The scenarios that are built in, by name.
const BUILT_IN: [(&str, &str); 12] = [
    ("s1", include_str!("../../scenarios/s1.toml")),
    ("s2", include_str!("../../scenarios/s2.toml")),
    ("s3", include_str!("../../scenarios/s3.toml")),
    ("s4", include_str!("../../scenarios/s4.toml")),
    ("s5", include_str!("../../scenarios/s5.toml")),
    ("s6", include_str!("../../scenarios/s6.toml")),
    ("s7", include_str!("../../scenarios/s7.toml")),
    ("s8", include_str!("../../scenarios/s8.toml")),
    ("s9", include_str!("../../scenarios/s9.toml")),
    ("mixed", include_str!("../../scenarios/mixed.toml")),
    ("noise", include_str!("../../scenarios/noise.toml")),
    ("tft", include_str!("../../scenarios/tft.toml")),
];

/// A file, a network, and who comes and goes when.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is about, for people.
    #[serde(default)]
    pub about: String,
    /// How long the file is, B.
    #[serde(deserialize_with = "text_or_number")]
    pub size: ByteSize,
    /// All chance follows from it.
    #[serde(default = "one")]
    pub seed: u64,
    /// The rate of the tracker, both ways; 10 kB/s unless told otherwise.
    #[serde(default = "tracker_rate", deserialize_with = "text_or_number")]
    pub tracker: Rate,
    /// When to give up on those who aren't done; without it, after 20 times the bound and a minute.
    #[serde(default)]
    pub give_up: Option<Seconds>,
    /// What the network does to datagrams.
    #[serde(default)]
    pub network: Network,
    /// Who takes part.
    #[serde(default)]
    pub nodes: Vec<Group>,
}

/// What the network does to datagrams, besides the rates of links. Probabilities are per datagram.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Probability that a datagram is lost.
    pub loss: f64,
    /// Probability that a datagram comes a second time.
    pub duplicate: f64,
    /// Probability that a datagram is held back, and so overtaken.
    pub reordering: f64,
    /// The longest that a datagram is held back, or a second one comes later.
    pub reordering_delay: Seconds,
    /// How long a path takes, one way; between groups with latencies of their own, the mean of the two.
    pub latency: Seconds,
    /// The longest that chance adds to the latency of a datagram, without reordering.
    pub jitter: Seconds,
    /// Datagrams longer than this are lost, B; without it none is too long. An Ethernet carries 1,472 B.
    pub max_datagram: Option<usize>,
}

impl Default for Network {
    /// No fault, and a latency of 100 µs.
    fn default() -> Network {
        Network {
            loss: 0.0,
            duplicate: 0.0,
            reordering: 0.0,
            reordering_delay: Seconds(Duration::from_millis(100)),
            latency: Seconds(Duration::from_micros(100)),
            jitter: Seconds(Duration::ZERO),
            max_datagram: None,
        }
    }
}

/// Nodes that are alike.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// What to call them; without it, what they are.
    #[serde(default)]
    pub name: Option<String>,
    /// Whether they have the file or want it.
    pub role: Role,
    /// How many they are; 1 unless told otherwise.
    #[serde(default = "one")]
    pub count: u64,
    /// How fast each sends; 0 is unlimited.
    #[serde(deserialize_with = "text_or_number")]
    pub up: Rate,
    /// How fast each receives; 0 is unlimited.
    #[serde(deserialize_with = "text_or_number")]
    pub down: Rate,
    /// As [`Network::latency`], where it differs.
    #[serde(default)]
    pub latency: Option<Seconds>,
    /// How long each piece takes to be verified and written, one after the other; no time unless told otherwise.
    #[serde(default)]
    pub disk: Seconds,
    /// When the first joins. Sources that join at 0 are known to the tracker by then.
    #[serde(default)]
    pub join: Seconds,
    /// How much later each other joins than the one before.
    #[serde(default)]
    pub join_every: Seconds,
    /// When they leave; without it, never.
    #[serde(default)]
    pub leave: Option<Seconds>,
    /// How they leave; by `close` unless told otherwise.
    #[serde(default)]
    pub leave_by: LeaveBy,
    /// Other rates from some time on.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// Rates that vary by chance.
    #[serde(default)]
    pub noise: Option<Noise>,
    /// Whether those that give most go first at their uplinks; they do unless told otherwise.
    #[serde(default = "yes")]
    pub choking: bool,
    /// Whether they pass on what they get; they do unless told otherwise. A source gives in any case.
    #[serde(default = "yes")]
    pub gives: bool,
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It has the file and shares it.
    Source,
    /// It fetches the file, and serves it on.
    Receiver,
}

/// How a node leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaveBy {
    /// It tells everybody that it stops sharing the file.
    Cancel,
    /// It tells everybody that it goes.
    #[default]
    Close,
    /// It falls silent.
    Crash,
}

/// Other rates from a time on.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// From when on.
    pub at: Seconds,
    /// How fast each sends then; as before if it isn't given.
    #[serde(default, deserialize_with = "maybe_rate")]
    pub up: Option<Rate>,
    /// How fast each receives then; as before if it isn't given.
    #[serde(default, deserialize_with = "maybe_rate")]
    pub down: Option<Rate>,
}

/// Rates that are drawn again and again: each link's is its own times a factor, uniform between the two.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// The smallest factor, above 0.
    pub from: f64,
    /// The largest factor.
    pub to: f64,
    /// How often it is drawn; once a second unless told otherwise.
    #[serde(default = "one_second")]
    pub every: Seconds,
}

/// A time as it is written in a scenario.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub Duration);

/// Why a scenario can't be run; one line that names the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScenarioError(String);

impl Scenario {
    /// The scenario that is built in under this name, such as `s1`.
    pub fn built_in(name: &str) -> Option<Scenario> {
        let text = BUILT_IN.iter().find(|(known, _)| *known == name)?.1;
        Some(Scenario::parse(text).expect("a built-in scenario is well formed"))
    }

    /// The names of the scenarios that are built in.
    pub fn built_in_names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// Reads a scenario from its TOML.
    ///
    /// # Errors
    /// What is wrong, in which line; and what can't be meant.
    pub fn parse(text: &str) -> Result<Scenario, ScenarioError> {
        let scenario: Scenario = toml::from_str(text).map_err(|error| {
            let line = |at: usize| text[..at].matches('\n').count() + 1;
            let place = error.span().map_or(String::new(), |span| format!("line {}: ", line(span.start)));
            ScenarioError(format!("{place}{}", error.message().replace('\n', ", ")))
        })?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Has `count` nodes in the one group of receivers.
    ///
    /// # Errors
    /// If there are several such groups, or `count` can't be meant.
    pub fn set_receivers(&mut self, count: u64) -> Result<(), ScenarioError> {
        let mut groups = self.nodes.iter_mut().filter(|group| group.role == Role::Receiver);
        match (groups.next(), groups.next()) {
            (Some(only), None) => only.count = count,
            _ => {
                return bad(
                    "it has several groups of receivers: which are to be more? Change `count` in a file",
                );
            }
        }
        self.check()
    }

    /// How many nodes there are of a role.
    pub fn count(&self, role: Role) -> u64 {
        self.nodes.iter().filter(|group| group.role == role).map(|group| group.count).sum()
    }

    /// The place of the node that tables call `name`, among all nodes in their order.
    pub fn place_of(&self, name: &str) -> Option<usize> {
        let names = self.nodes.iter().flat_map(|group| (0..group.count).map(|number| group.name_of(number)));
        names.enumerate().find(|(_, known)| known == name).map(|(place, _)| place)
    }

    /// Refuses what is well formed and still can't be meant.
    fn check(&self) -> Result<(), ScenarioError> {
        if self.size.0 == 0 || self.size.0 > MAX_SIZE || Lengths::choose(self.size.0).is_err() {
            return bad(format!(
                "size: {} can't be simulated: give 1 B to {}",
                self.size,
                ByteSize(MAX_SIZE)
            ));
        }
        for (name, probability) in [
            ("loss", self.network.loss),
            ("duplicate", self.network.duplicate),
            ("reordering", self.network.reordering),
        ] {
            if !(0.0..=1.0).contains(&probability) {
                return bad(format!("network.{name}: {probability} is no probability: give 0 to 1"));
            }
        }
        if self.network.max_datagram.is_some_and(|max| max < 1_200) {
            return bad("network.max_datagram: the transport needs 1200 B at least");
        }
        for (role, name) in [(Role::Source, "source"), (Role::Receiver, "receiver")] {
            if self.count(role) == 0 {
                return bad(format!("nobody is a {name}: add a [[nodes]] with role = \"{name}\""));
            }
        }
        if self.nodes.iter().fold(0u64, |sum, group| sum.saturating_add(group.count)) > MAX_NODES {
            return bad(format!("count: more than {MAX_NODES} nodes can't be simulated"));
        }
        self.nodes.iter().try_for_each(Group::check)
    }
}

impl Group {
    /// What to call the nodes.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(match self.role {
            Role::Source => "source",
            Role::Receiver => "receiver",
        })
    }

    /// What to call the node of this number among them.
    pub fn name_of(&self, number: u64) -> String {
        match self.count {
            1 => self.name().to_owned(),
            _ => format!("{} {}", self.name(), number + 1),
        }
    }

    fn check(&self) -> Result<(), ScenarioError> {
        let name = self.name();
        let last_join = self.join.0 + self.join_every.0 * self.count.saturating_sub(1) as u32;
        if self.leave.is_some_and(|leave| leave.0 <= last_join) {
            return bad(format!("nodes `{name}`: leave: it must be later than the last of them joins"));
        }
        if let Some(noise) = self.noise
            && !(noise.from > 0.0
                && noise.from <= noise.to
                && noise.to.is_finite()
                && !noise.every.0.is_zero())
        {
            return bad(format!("nodes `{name}`: noise: write {{ from = 0.3, to = 1.7, every = 1 }}"));
        }
        Ok(())
    }
}

fn bad<T>(what: impl Into<String>) -> Result<T, ScenarioError> {
    Err(ScenarioError(what.into()))
}

fn yes() -> bool {
    true
}

fn one() -> u64 {
    1
}

fn one_second() -> Seconds {
    Seconds(Duration::from_secs(1))
}

fn tracker_rate() -> Rate {
    Rate::new(10_000)
}

impl FromStr for Seconds {
    type Err = ScenarioError;

    fn from_str(text: &str) -> Result<Seconds, ScenarioError> {
        let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let factor = match text[unit_at..].trim() {
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "" | "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => f64::NAN,
        };
        let seconds = text[..unit_at].parse::<f64>().map_or(f64::NAN, |number| number * factor);
        // A year: far beyond any run, and far from where time saturates.
        match seconds {
            0.0..=31_536_000.0 => Ok(Seconds(Duration::from_secs_f64(seconds))),
            _ => bad(format!("`{text}` is not a time: write seconds such as 2.5, or 50ms, 3m")),
        }
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Seconds, D::Error> {
        text_or_number(deserializer)
    }
}

/// Reads a number as if it stood in quotes.
fn text_or_number<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    struct Text<T>(std::marker::PhantomData<T>);

    impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number, or a number with a unit in quotes")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
            self.visit_str(&number.to_string())
        }

        fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
            self.visit_str(&number.to_string())
        }
    }

    deserializer.deserialize_any(Text(std::marker::PhantomData))
}

fn maybe_rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rate>, D::Error> {
    text_or_number(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
        size = "100k"
        [[nodes]]
        role = "source"
        up = "10k"
        down = 0
        [[nodes]]
        role = "receiver"
        count = 3
        up = 5000
        down = "1M"
        join = "250ms"
        changes = [{ at = 2.5, up = "1k" }]
        noise = { from = 0.3, to = 1.7 }
    "#;

    fn error(text: &str) -> String {
        Scenario::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn a_scenario_reads_as_people_write_it() {
        let scenario = Scenario::parse(SMALL).unwrap();
        assert_eq!((scenario.size.0, scenario.seed, scenario.tracker), (100_000, 1, Rate::new(10_000)));
        let [source, receivers] = &scenario.nodes[..] else { panic!("{scenario:?}") };
        assert!(source.down.is_unlimited() && source.count == 1 && source.name() == "source");
        assert_eq!((receivers.up, receivers.down), (Rate::new(5_000), Rate::new(1_000_000)));
        assert_eq!(receivers.join.0, Duration::from_millis(250));
        assert_eq!(receivers.changes[0].at.0, Duration::from_millis(2_500));
        assert_eq!((receivers.changes[0].up, receivers.changes[0].down), (Some(Rate::new(1_000)), None));
        assert_eq!(receivers.noise.unwrap().every, one_second());
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        let with = |line: &str| SMALL.replace("count = 3", line);
        for (text, parts) in [
            (with("cuont = 3"), &["line 9", "`cuont`", "`count`"][..]),
            (with("up = 1"), &["line 10", "duplicate", "up"]),
            (with("latency = \"5 apples\""), &["line 9", "`5 apples` is not a time"]),
            (with("leave = -1"), &["line 9", "`-1` is not a time"]),
            (with("leave_by = \"magic\""), &["line 9", "`magic`", "crash"]),
            (with("leave = 0.1"), &["`receiver`", "leave", "later"]),
            (with("count = 0"), &["receiver"]),
            (with("count = 1000000"), &["count", "100000"]),
            (SMALL.replace("\"10k\"", "\"fast\""), &["line 5", "`fast` is not a size"]),
            (SMALL.replace("0.3", "0.0"), &["noise", "from = 0.3"]),
            (SMALL.replace("\"100k\"", "0"), &["size", "0 B"]),
            (SMALL.replace("size = \"100k\"", ""), &["size"]),
            (format!("{SMALL}\n[network]\nloss = 2"), &["network.loss", "2", "0 to 1"]),
            (format!("{SMALL}\n[netwrok]\nloss = 0"), &["`netwrok`"]),
            (String::new(), &["size"]),
        ] {
            let error = error(&text);
            for part in parts {
                assert!(error.contains(part), "{part:?} isn't in {error:?}");
            }
            assert!(!error.contains('\n'), "{error:?}");
        }
    }

    #[test]
    fn the_built_in_ones_can_be_read() {
        for name in Scenario::built_in_names() {
            let scenario = Scenario::built_in(name).expect(name);
            assert!(!scenario.about.is_empty(), "{name} says what it is about");
        }
        assert!(Scenario::built_in("s10").is_none());
        let mut s6 = Scenario::built_in("s6").unwrap();
        s6.set_receivers(50).unwrap();
        assert_eq!(s6.count(Role::Receiver), 50);
        assert!(Scenario::built_in("mixed").unwrap().set_receivers(50).is_err());
    }
}
