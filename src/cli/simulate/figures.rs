//! What came of a simulated run, in words for people and as JSON for programs. Nothing is run here.

use swarmcast::pclient::account::{Cause, Spent};
use swarmcast::simulate::{ReceiverReport, Report, Scenario, Watched};
use swarmcast::time::Duration;

use super::super::fairness::table;
use super::super::progress::measured;

/// More receivers than this are shown as a few that stand for all.
const MOST_ROWS: usize = 24;

/// A table, and a summary in one line.
pub(super) fn for_people(report: &Report) -> String {
    let head = format!(
        "{:<14} {:>9} {:>9} {:>9} {:>7} {:>8} {:>8} {:>8}",
        "receiver", "joined", "done", "at best", "ratio", "sent", "received", "twice"
    );
    let mut lines = vec![head];
    let mut rows: Vec<&ReceiverReport> = report.receivers.iter().collect();
    let mut shown: Vec<(String, &ReceiverReport)> = Vec::new();
    if rows.len() <= MOST_ROWS {
        shown.extend(rows.iter().map(|receiver| (receiver.name.clone(), *receiver)));
    } else {
        // Those that aren't done stand at the end.
        rows.sort_by(|a, b| a.done.unwrap_or(f64::MAX).total_cmp(&b.done.unwrap_or(f64::MAX)));
        let last = rows.len() - 1;
        for percent in [0, 10, 50, 90, 99, 100] {
            let receiver = rows[last * percent / 100];
            let name = match percent {
                0 => "first".to_owned(),
                100 => "last".to_owned(),
                _ => format!("{percent} % are done"),
            };
            shown.push((name, receiver));
        }
    }
    lines.extend(shown.iter().map(|(name, receiver)| row(name, receiver)));
    for receiver in &report.receivers {
        if let Some(why) =
            receiver.failed.as_ref().filter(|_| !receiver.has_left()).filter(|_| lines.len() < 40)
        {
            lines.push(format!("{}: {why}", receiver.name));
        }
    }
    let outcome = match report.last {
        Some(last) => format!(
            "last {}, at best D = {}, last ÷ D = {}",
            time(last),
            time(report.bound),
            report.ratio().map_or("–".to_owned(), |ratio| format!("{ratio:.3}"))
        ),
        None => format!("nobody is done; at best D = {}", time(report.bound)),
    };
    let sent = report.source_copies;
    lines.push(format!("{outcome}; the sources sent {sent:.3} F; history {:016x}", report.trace_hash));
    lines.extend(held_back(&shown));
    lines.join("\n")
}

/// What held each of `receivers` back, in percent of its time, as a table; nothing if nobody knows.
fn held_back(receivers: &[(String, &ReceiverReport)]) -> Vec<String> {
    let row = |(name, receiver): &(String, &ReceiverReport)| {
        let spent = receiver.held_back?;
        let cells = Cause::ALL.map(|cause| format!("{:>8.1} %", 100.0 * spent.share(cause)));
        Some(format!("{name:<14}{}", cells.concat()))
    };
    let rows: Vec<String> = receivers.iter().filter_map(row).collect();
    if rows.is_empty() {
        return rows;
    }
    let heads = Cause::ALL.map(|cause| {
        let head = match cause {
            Cause::Connecting => "connect",
            Cause::OwnDownlink => "downlink",
            Cause::Storing => "disk",
            cause => cause.name(),
        };
        format!("{head:>10}")
    });
    [String::new(), format!("{:<14}{}", "held back by", heads.concat())].into_iter().chain(rows).collect()
}

/// A receiver's line. What it sent, received and received twice is in copies of the file.
fn row(name: &str, receiver: &ReceiverReport) -> String {
    let done = match receiver.done {
        Some(done) => time(done),
        None if receiver.has_left() => "left".to_owned(),
        None => "never".to_owned(),
    };
    format!(
        "{name:<14} {:>9} {done:>9} {:>9} {:>7} {:>6.3} F {:>6.3} F {:>6.3} F",
        time(receiver.joined),
        if receiver.has_left() { "–".to_owned() } else { time(receiver.bound) },
        receiver.ratio().map_or("–".to_owned(), |ratio| format!("{ratio:.3}")),
        receiver.sent,
        receiver.received,
        receiver.duplicates
    )
}

/// How a node stood with its peers when it last saw them, as a table.
pub(super) fn of_peers(watched: &Watched) -> String {
    let last =
        watched.peers.iter().filter_map(|peer| Some((peer.name.clone(), &peer.moments.last()?.status)));
    table(&watched.name, last)
}

/// One of several runs, in a line.
pub(super) fn in_a_row(report: &Report) -> String {
    format!(
        "seed {:<6} last {:>9}  at best {:>9}  last ÷ D {:>6}  sources sent {:.3} F  history {:016x}{}",
        report.seed,
        report.last.map_or("never".to_owned(), time),
        time(report.bound),
        report.ratio().map_or("–".to_owned(), |ratio| format!("{ratio:.3}")),
        report.source_copies,
        report.trace_hash,
        match report.undone() {
            0 => String::new(),
            undone => format!("  {undone} not done"),
        }
    )
}

/// What several runs have in common.
pub(super) fn of_all(reports: &[Report]) -> String {
    let mut ratios: Vec<f64> = reports.iter().filter_map(Report::ratio).collect();
    ratios.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (ratios.first(), ratios.last()) else {
        return "last ÷ D: none to tell".to_owned();
    };
    let (count, mean) = (ratios.len(), ratios.iter().sum::<f64>() / ratios.len() as f64);
    format!("last ÷ D over {count} runs: mean {mean:.3}, {least:.3} to {most:.3}")
}

/// One JSON object in one line.
pub(super) fn for_programs(name: &str, scenario: &Scenario, report: &Report) -> String {
    let receivers = report.receivers.iter().map(|receiver| {
        object(&[
            ("name", string(&receiver.name)),
            ("joined_seconds", number(Some(receiver.joined))),
            ("done_seconds", number(receiver.done)),
            ("bound_seconds", number(Some(receiver.bound))),
            ("ratio", number(receiver.ratio())),
            ("sent_copies", number(Some(receiver.sent))),
            ("received_copies", number(Some(receiver.received))),
            ("duplicate_copies", number(Some(receiver.duplicates))),
            ("held_back_seconds", receiver.held_back.map_or("null".to_owned(), seconds_by_cause)),
            ("failed", receiver.failed.as_deref().map_or("null".to_owned(), string)),
        ])
    });
    let receivers: Vec<String> = receivers.collect();
    object(&[
        ("scenario", string(name)),
        ("seed", report.seed.to_string()),
        ("size_bytes", scenario.size.0.to_string()),
        ("bound_seconds", number(Some(report.bound))),
        ("last_seconds", number(report.last)),
        ("last_over_bound", number(report.ratio())),
        ("undone", report.undone().to_string()),
        ("source_copies", number(Some(report.source_copies))),
        ("trace_hash", format!("\"{:016x}\"", report.trace_hash)),
        ("receivers", format!("[{}]", receivers.join(","))),
    ])
}

fn seconds_by_cause(spent: Spent) -> String {
    object(&Cause::ALL.map(|cause| (cause.id(), number(Some(spent.on(cause).as_secs_f64())))))
}

fn object(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// JSON knows no infinity: what isn't a number is null.
fn number(value: Option<f64>) -> String {
    value.filter(|value| value.is_finite()).map_or("null".to_owned(), |value| value.to_string())
}

/// `text` as a JSON string: names come from a file, and may hold anything.
fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c < ' ' => quoted.push_str(&format!("\\u{:04x}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// Seconds, for people.
fn time(seconds: f64) -> String {
    match seconds.is_finite() {
        true => measured(Duration::from_secs_f64(seconds.max(0.0))),
        false => "never".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_well_formed_whatever_a_name_holds() {
        assert_eq!(string("a\"b\\c\nd\u{7f}é"), "\"a\\\"b\\\\c\\u000ad\u{7f}é\"");
        assert_eq!(number(Some(1.5)), "1.5");
        assert_eq!(number(Some(f64::INFINITY)), "null");
        assert_eq!(number(None), "null");
    }
}
