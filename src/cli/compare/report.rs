//! What came of comparisons, in words for people and as JSON for programs. Nothing is measured here.

use swarmcast::pclient::account::{Cause, Spent};
use swarmcast::time::Duration;
use swarmcast::units::ByteSize;

use super::super::progress::{measured, percents};
use super::scenario::{Found, Model, Outcome};

/// One scenario, a row for each model.
pub(super) fn table(found: &Found) -> String {
    let Found { scenario, outcomes } = found;
    let shortest = scenario.shortest();
    let time = |seconds| measured(Duration::from_secs_f64(seconds));
    let row = |&(model, outcome): &(Model, Outcome)| {
        let [last, first, ideal] = [outcome.last, outcome.first, scenario.ideal(model)]
            .map(|seconds| format!("{:>9}", time(seconds)));
        let ratio = outcome.last / shortest;
        format!("{:<14} {last} {first} {ideal} {ratio:>9.2}", model.label(scenario.spread))
    };
    let mut lines =
        vec![format!("{:<14} {:>9} {:>9} {:>9} {:>9}", "model", "last", "first", "ideal", "last/D")];
    lines.extend(outcomes.iter().map(row));
    let sentences = lines.len();
    lines.push(format!("the least possible, D, is {}{}", time(shortest), speed_up(outcomes)));
    let copies = outcomes.len() * scenario.receivers as usize;
    lines.push(if copies == 1 {
        "the copy is identical to the file".to_owned()
    } else {
        format!("all {copies} copies are identical to the file")
    });
    // What it waited for is the swarm's to tell: the others have nothing to choose from.
    lines.extend(outcomes.iter().filter_map(|(_, outcome)| {
        Some(format!("what held the swarm back: {}", percents(&outcome.held_back?)))
    }));
    lines.insert(sentences, String::new());
    lines.join("\n")
}

/// How many times as fast as the others the swarm is; nothing without it or without others.
fn speed_up(outcomes: &[(Model, Outcome)]) -> String {
    let Some((_, swarm)) = outcomes.iter().find(|(model, _)| *model == Model::Swarm) else {
        return String::new();
    };
    let times = |&(model, outcome): &(Model, Outcome)| {
        let factor = format!("{:.2} times as fast", outcome.last / swarm.last);
        match model {
            Model::Swarm => None,
            Model::Server => Some(format!("{factor} as the server")),
            Model::Relay => Some(format!("{factor} as the relay")),
        }
    };
    let times: Vec<String> = outcomes.iter().filter_map(times).collect();
    if times.is_empty() { String::new() } else { format!(";\nthe swarm is {}", times.join(", ")) }
}

/// Many scenarios, by size and number of receivers: seconds until the last receiver is done.
///
/// `found` has every size with every number of receivers, by size first.
pub(super) fn sweep(found: &[Found]) -> String {
    let Some(first) = found.first() else { return String::new() };
    let size = first.scenario.size;
    let columns: Vec<u32> =
        found.iter().take_while(|f| f.scenario.size == size).map(|f| f.scenario.receivers).collect();
    let cells = |cells: Vec<String>| cells.iter().map(|cell| format!("{cell:>9}")).collect::<String>();
    let mut lines = vec![
        "seconds until the last of N receivers is done, and how many times D that is".to_owned(),
        first.scenario.describe_rates(),
    ];
    for found in found.chunks(columns.len()) {
        let row = |name: &str, seconds: Vec<f64>| {
            let seconds = seconds.iter().map(|seconds| format!("{seconds:.2}")).collect();
            format!("{name:<14}{}", cells(seconds))
        };
        lines.push(String::new());
        let header = columns.iter().map(|n| format!("N = {n}")).collect();
        lines.push(format!("{:<14}{}", ByteSize(found[0].scenario.size).to_string(), cells(header)));
        for (place, &(model, _)) in first.outcomes.iter().enumerate() {
            let name = model.label(first.scenario.spread);
            lines.push(row(&name, found.iter().map(|f| f.outcomes[place].1.last).collect()));
            let ratios = found.iter().map(|f| f.outcomes[place].1.last / f.scenario.shortest());
            let ratios = ratios.map(|ratio| format!("{ratio:.2} D")).collect();
            lines.push(format!("{:<14}{}", "", cells(ratios)));
        }
        lines.push(row("D", found.iter().map(|f| f.scenario.shortest()).collect()));
    }
    let copies: usize = found.iter().map(|f| f.outcomes.len() * f.scenario.receivers as usize).sum();
    lines.extend([String::new(), format!("all {copies} copies are identical to the file")]);
    lines.join("\n")
}

/// One JSON object in one line. Its values are numbers and words without quotes, so nothing needs escaping.
pub(super) fn for_programs(found: &[Found], simulated: bool) -> String {
    let run = |found: &Found| {
        let Found { scenario, outcomes } = found;
        let shortest = scenario.shortest();
        let model = |&(model, outcome): &(Model, Outcome)| {
            object(&[
                ("model", format!("\"{}\"", model.id())),
                ("last_seconds", outcome.last.to_string()),
                ("first_seconds", outcome.first.to_string()),
                ("ideal_seconds", scenario.ideal(model).to_string()),
                ("last_by_d", (outcome.last / shortest).to_string()),
                ("held_back_shares", outcome.held_back.map_or("null".to_owned(), |spent| shares(&spent))),
            ])
        };
        object(&[
            ("size_bytes", scenario.size.to_string()),
            ("receivers", scenario.receivers.to_string()),
            ("rate_bytes_per_second", scenario.rate.to_string()),
            ("source_rate_bytes_per_second", scenario.source_rate.to_string()),
            ("spread", scenario.spread.to_string()),
            ("d_seconds", shortest.to_string()),
            ("models", array(outcomes.iter().map(model))),
        ])
    };
    object(&[("simulated", simulated.to_string()), ("runs", array(found.iter().map(run)))])
}

fn shares(spent: &Spent) -> String {
    object(&Cause::ALL.map(|cause| (cause.id(), spent.share(cause).to_string())))
}

fn object(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::super::scenario::Scenario;
    use super::*;

    fn found(size: u64, receivers: u32) -> Found {
        let scenario = Scenario { size, receivers, rate: 1_000_000, source_rate: 1_000_000, spread: 2 };
        let outcomes = vec![
            (Model::Swarm, Outcome { first: 6.3, last: 6.51, held_back: None }),
            (Model::Server, Outcome { first: 24.9, last: 26.04, held_back: None }),
            (Model::Relay, Outcome { first: 12.5, last: 19.53, held_back: None }),
        ];
        Found { scenario, outcomes }
    }

    #[test]
    fn a_table_tells_last_first_bound_ratio_and_speed_up() {
        let table = table(&found(6_200_000, 4));
        let cells: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(cells[1], ["swarm", "6.51", "s", "6.30", "s", "6.20", "s", "1.05"]);
        assert_eq!(cells[2], ["server-client", "26.0", "s", "24.9", "s", "24.8", "s", "4.20"]);
        assert_eq!(cells[3], ["relay,", "k", "=", "2", "19.5", "s", "12.5", "s", "18.6", "s", "3.15"]);
        for part in ["4.00 times as fast as the server", "3.00 times as fast as the relay", "all 12 copies"] {
            assert!(table.contains(part), "{part} isn't in:\n{table}");
        }
        assert!(table.lines().all(|line| line.len() <= 80), "{table}");
    }

    #[test]
    fn a_sweep_has_a_block_for_each_size_and_a_column_for_each_number() {
        let all = [(6_200_000, 3), (6_200_000, 4), (62_000_000, 3), (62_000_000, 4)];
        let text = sweep(&all.map(|(size, receivers)| found(size, receivers)));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[3].split_whitespace().collect::<Vec<_>>(),
            ["6.20", "MB", "N", "=", "3", "N", "=", "4"]
        );
        assert_eq!(lines[4].split_whitespace().collect::<Vec<_>>(), ["swarm", "6.51", "6.51"]);
        assert_eq!(lines[5].split_whitespace().collect::<Vec<_>>(), ["1.05", "D", "1.05", "D"]);
        assert_eq!(lines[10].split_whitespace().collect::<Vec<_>>(), ["D", "6.20", "6.20"]);
        assert!(
            text.contains("62.0 MB") && text.ends_with("all 42 copies are identical to the file"),
            "{text}"
        );
    }

    #[test]
    fn programs_read_plain_numbers() {
        let text = for_programs(&[found(6_200_000, 4)], true);
        assert!(
            text.starts_with(r#"{"simulated":true,"runs":[{"size_bytes":6200000,"receivers":4,"#),
            "{text}"
        );
        assert!(
            text.contains(r#"{"model":"swarm","last_seconds":6.51,"first_seconds":6.3,"ideal_seconds":6.2,"#)
        );
        assert!(text.ends_with("}]}]}"), "{text}");
    }
}
