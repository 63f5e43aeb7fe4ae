//! The commands that measure: models compared on real links and in virtual time, scenarios, and the path to another machine.

use std::collections::BTreeMap;
use std::fs;

use super::processes::{Sandbox, Stream, names};

#[test]
fn a_comparison_comes_out_for_the_swarm() {
    let sandbox = Sandbox::new();
    // D = 1 s; the server needs 3 s.
    let args = ["compare", "--size", "400k", "--rate", "400k", "--receivers", "3"];
    let ended = sandbox.run(&args);
    ended.succeeded();
    let row = |model: &str| -> Vec<f64> {
        let line = ended.stdout.lines().find(|line| line.starts_with(model)).expect("a row for the model");
        line.split_whitespace().filter_map(|cell| cell.parse().ok()).collect()
    };
    let (swarm, server) = (row("swarm"), row("server-client"));
    let &[last, first, bound, ratio] = &swarm[..] else { panic!("{swarm:?}") };
    assert!(bound == 1.0 && first >= 0.9 && last >= first && (ratio - last).abs() < 0.02, "{swarm:?}");
    assert!(server[2] == 3.0 && server[0] >= 2.9, "{server:?}");
    assert!(last < server[0], "{ended:?}");
    assert!(ended.stdout.contains("all 6 copies are identical"), "{ended:?}");
    assert!(ended.stdout.contains("\nwhat held the swarm back: "), "{ended:?}");
}

#[test]
fn three_models_are_compared_on_real_links() {
    let sandbox = Sandbox::new();
    let args =
        ["compare", "--size", "200k", "--rate", "400k", "--receivers", "3", "--models", "p2p,server,relay"];
    let ended = sandbox.run(&args);
    ended.succeeded();
    let models = ["swarm", "server-client", "relay, k = 2"];
    let rows = models.map(|model| ended.stdout.lines().position(|line| line.starts_with(model)));
    assert!(rows.is_sorted() && rows[0].is_some(), "{ended:?}");
    assert!(ended.stdout.contains("all 9 copies are identical"), "{ended:?}");
}

#[test]
fn a_sweep_in_virtual_time_gives_a_table_json_and_a_drawing() {
    let sandbox = Sandbox::new();
    let sweep = ["compare", "--simulated", "--sizes", "2M,1M", "--receivers", "4,3", "--spread", "1"];
    let table = sandbox.run(&sweep);
    table.succeeded();
    for part in ["1.00 MB", "2.00 MB", "N = 3", "N = 4", "relay, k = 1", "all 42 copies are identical"] {
        assert!(table.stdout.contains(part), "{part}: {table:?}");
    }
    let json = sandbox.run(&[&sweep[..], &["--json", "--svg", "times.svg"]].concat());
    json.succeeded();
    assert_eq!(json.stdout.lines().count(), 1, "{json:?}");
    assert!(
        json.stdout.starts_with(r#"{"simulated":true,"runs":[{"size_bytes":1000000,"receivers":3,"#),
        "{json:?}"
    );
    assert_eq!(json.stdout.matches(r#""model":"relay""#).count(), 4, "{json:?}");
    let drawing = std::fs::read_to_string(sandbox.0.join("times.svg")).expect("a drawing");
    assert!(drawing.contains("relay, k = 1") && drawing.trim_end().ends_with("</svg>"));
    let missing = [&sweep[..], &["--svg", "missing/times.svg"]].concat();
    sandbox.run(&missing).failed(1, &["missing", "no such file or directory"]);
}

#[test]
fn an_interrupted_comparison_leaves_nothing() {
    let sandbox = Sandbox::new();
    let mut compare = sandbox.start(&["compare", "--rate", "100k"]);
    compare.line(Stream::Stderr, "6.20 MB to 4 receivers");
    assert_eq!(names(&sandbox.0).len(), 1, "its folder is there");
    compare.interrupt().failed(130, &["interrupted"]);
    assert_eq!(names(&sandbox.0), [""; 0]);
}

#[test]
fn a_scenario_is_simulated_and_drawn() {
    let sandbox = Sandbox::new();
    let list = sandbox.run(&["simulate"]);
    list.succeeded();
    assert!(list.stdout.lines().count() == 12 && list.stdout.starts_with("s1  equal rates"), "{list:?}");

    let people = sandbox.run(&["simulate", "s3", "--svg", "s3.svg"]);
    people.succeeded();
    for part in ["receiver 3 ", "at best D = 7.43 s, last ÷ D = 1.", "history ", "\nheld back by "] {
        assert!(people.stdout.contains(part), "{part:?} isn't in {people:?}");
    }
    let picture = fs::read_to_string(sandbox.0.join("s3.svg")).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("each receiver"), "{picture}");
    sandbox.run(&["simulate", "s3", "--svg", "s3.svg"]).failed(7, &["s3.svg exists already", "another name"]);

    // One object a run, the same each time.
    let several = ["simulate", "s3", "--seed", "7", "--seeds", "2", "--json", "-q"];
    let json = sandbox.run(&several);
    json.succeeded();
    let runs: Vec<&str> = json.stdout.lines().collect();
    assert_eq!((runs.len(), json.stderr.as_str()), (2, ""));
    for (run, seed) in runs.iter().zip([7, 8]) {
        assert!(
            run.starts_with(&format!("{{\"scenario\":\"s3\",\"seed\":{seed},\"size_bytes\":148539,")),
            "{run}"
        );
        assert!(run.contains("\"undone\":0,") && run.ends_with("\"failed\":null}]}"), "{run}");
        assert_eq!(run.matches("\"held_back_seconds\":{\"tracker\":0.").count(), 3, "{run}");
    }
    assert_eq!(sandbox.run(&several).stdout, json.stdout);
}

#[test]
fn a_scenario_with_a_mistake_says_which() {
    let sandbox = Sandbox::new();
    let source = "size = \"10k\"\n[[nodes]]\nrole = \"source\"\nup = \"10k\"\ndown = 0\n";
    let receiver = "[[nodes]]\nrole = \"receiver\"\nup = 0\ndown = \"10k\"\n";
    let write = |name: &str, text: String| fs::write(sandbox.0.join(name), text).unwrap();
    write("typo.toml", format!("{source}{receiver}cuont = 3\n"));
    sandbox.run(&["simulate", "typo.toml"]).failed(2, &["typo.toml: line 10: ", "`cuont`", "`count`"]);
    write("alone.toml", source.to_owned());
    sandbox.run(&["simulate", "alone.toml"]).failed(2, &["alone.toml: nobody is a receiver", "[[nodes]]"]);
    sandbox.run(&["simulate", "none.toml"]).failed(1, &["none.toml", "no such file"]);
    // Well formed, but the source goes before it has sent all.
    write("short.toml", format!("{source}leave = 0.5\n{receiver}").replace("size", "give_up = 5\nsize"));
    let short = sandbox.run(&["simulate", "short.toml"]);
    short.failed(1, &["one receiver is not done"]);
    assert!(short.stdout.contains("nobody is done"), "{short:?}");
}

#[test]
fn a_path_is_measured_from_one_process_to_another() {
    let sandbox = Sandbox::new();
    let mut listener = sandbox.start(&["bench", "--listen", "0"]);
    let line = listener.line(Stream::Stdout, "listening at 127.0.0.1:");
    let addr = line.strip_prefix("listening at ").unwrap();
    let limited = ["bench", addr, "--seconds", "1", "--limit-up", "2MB", "--json", "-q"];
    let json = sandbox.run(&limited);
    json.succeeded();
    assert_eq!((json.stdout.lines().count(), json.stderr.as_str()), (1, ""));
    let found = flat_object(json.stdout.trim_end());
    assert_eq!(found["remote"], format!("\"{addr}\""));
    let number = |name: &str| -> f64 { found[name].parse().unwrap() };
    let rate = number("payload_bytes_per_second");
    assert!((1e6..2e6).contains(&rate), "{found:?}");
    assert!((number("payload_bytes") / number("seconds") / rate - 1.0).abs() < 0.01, "{found:?}");
    assert!(number("rtt_min_ms") > 0.0 && number("rtt_smoothed_ms") >= number("rtt_min_ms"), "{found:?}");
    assert!(number("datagram_bytes") >= 1_200.0, "{found:?}");
    assert!(number("datagrams_sent") * 65_507.0 > number("payload_bytes"), "{found:?}");
    // The other side says the same of it, and that it was all.
    let served = listener.line(Stream::Stdout, " MB/s");
    assert!(served.contains(" in 1.") && !served.contains("not to the end"), "{served}");

    // Cut short, it has figures as well.
    let mut people = sandbox.start(&["bench", addr, "--seconds", "60"]);
    people.line(Stream::Stderr, "measuring the path");
    let people = people.interrupt();
    people.failed(130, &["interrupted: the figures are those of"]);
    for part in ["path to 127.0.0.1:", "rate ", "round trip ", "queue ", "loss ", "datagrams "] {
        assert!(people.stdout.contains(part), "{part:?} isn't in {people:?}");
    }

    // The listener leaves while it is measured to; nobody is there afterwards.
    let mut left = sandbox.start(&["bench", addr, "--seconds", "60"]);
    left.line(Stream::Stderr, "measuring the path");
    let listener = listener.interrupt();
    listener.succeeded();
    assert!(listener.stdout.contains("not to the end"), "{listener:?}");
    left.end().failed(1, &[addr, "ended before the measurement did"]);
    let nobody = sandbox.run(&["bench", addr]);
    nobody.failed(5, &[addr, "no answer in 5 s", "bench --listen"]);
    assert!((4.0..8.0).contains(&nobody.seconds), "{nobody:?}");
}

/// The fields of a JSON object whose values hold no comma: numbers as they stand, strings with their quotes.
fn flat_object(text: &str) -> BTreeMap<&str, &str> {
    let inside = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).expect("an object");
    let field = |text| str::strip_prefix(text, '"')?.split_once("\":");
    inside.split(',').map(|text| field(text).unwrap_or_else(|| panic!("no field: {text:?}"))).collect()
}
