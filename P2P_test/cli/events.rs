//! What programs read with `--json`: each line of stdout is one object, and says what it is.

use serde_json::Value;

use super::processes::{Ended, Running, Sandbox, Stream};

/// The objects that it said, of which each has the version and a kind.
fn events(ended: &Ended) -> Vec<Value> {
    let parse = |line| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    let events: Vec<Value> = ended.stdout.lines().map(parse).collect();
    assert!(events.iter().all(|event| event["v"] == 1 && event["kind"].is_string()), "{ended:?}");
    events
}

/// The kinds, each once where several of one follow each other.
fn kinds(events: &[Value]) -> Vec<&str> {
    let mut kinds: Vec<&str> = events.iter().filter_map(|event| event["kind"].as_str()).collect();
    kinds.dedup();
    kinds
}

/// The next event of this kind.
fn next(running: &mut Running, kind: &str) -> Value {
    let line = running.line(Stream::Stdout, &format!("\"kind\":\"{kind}\""));
    serde_json::from_str(&line).unwrap()
}

#[test]
fn a_transfer_is_told_in_events() {
    let sandbox = Sandbox::new();
    let content = sandbox.file("f\"1\".bin", 600_000, 30);
    let mut tracker = sandbox.start(&["tracker", "--bind", "0", "--json"]);
    let addr = next(&mut tracker, "tracker")["address"].as_str().unwrap().to_owned();
    let mut share = sandbox.start(&["share", "f\"1\".bin", "--tracker", &addr, "--json"]);
    let ticket = next(&mut share, "ticket");
    assert_eq!((&ticket["size_bytes"], &ticket["name"]), (&content.len().into(), &"f\"1\".bin".into()));
    assert_eq!(ticket["trackers"], serde_json::json!([addr]));
    let text = ticket["ticket"].as_str().unwrap();

    let limited = ["get", text, "-o", "g", "--json", "--limit-down", "400k"];
    let got = sandbox.run(&limited);
    got.succeeded();
    let told = events(&got);
    assert_eq!(kinds(&told), ["begun", "progress", "done"]);
    assert_eq!(told[0]["fid"], ticket["fid"]);
    // It takes 1.5 s, and there are two a second at most.
    let progress = &told[1..told.len() - 1];
    assert!((2..=6).contains(&progress.len()), "{told:?}");
    let done: Vec<u64> = progress.iter().filter_map(|event| event["done_bytes"].as_u64()).collect();
    assert!(done.len() == progress.len() && done.is_sorted(), "{told:?}");
    let end = &told[told.len() - 1];
    assert_eq!((&end["size_bytes"], &end["bound_by"]), (&content.len().into(), &"own_downlink".into()));
    assert!(end["seconds"].as_f64() > Some(1.4) && end["ratio"].as_f64() >= Some(1.0), "{end}");
    assert!(end["held_back_seconds"]["own_downlink"].as_f64() > Some(0.5), "{end}");

    // What goes wrong is told as well, as the last thing.
    let again = sandbox.run(&limited);
    again.failed(7, &["g exists already"]);
    let told = events(&again);
    assert_eq!((kinds(&told), &told[0]["code"]), (vec!["error"], &7.into()));
    assert!(told[0]["message"].as_str().is_some_and(|message| message.contains("g exists already")));

    let shared = share.interrupt();
    shared.succeeded();
    let told = events(&shared);
    assert_eq!(kinds(&told), ["ticket", "serving", "ended"]);
    let served = told[told.len() - 1]["served_bytes"].as_u64();
    assert!(served >= Some(content.len() as u64), "{told:?}");
    let ended = tracker.interrupt();
    ended.succeeded();
    assert_eq!(kinds(&events(&ended)), ["tracker"]);
}

#[test]
fn an_interruption_is_told_in_events() {
    let sandbox = Sandbox::new();
    sandbox.file("f", 3_000_000, 31);
    let (_share, ticket) = sandbox.share(&["f"]);
    let mut get = sandbox.start(&["get", &ticket, "-o", "g", "--json", "--limit-down", "300k"]);
    while next(&mut get, "progress")["done_bytes"].as_u64() == Some(0) {}
    let ended = get.interrupt();
    ended.failed(130, &["is kept"]);
    let told = events(&ended);
    assert_eq!(kinds(&told), ["begun", "progress", "kept", "error"]);
    let kept = told[told.len() - 2]["done_bytes"].as_u64().expect("a number");
    assert!(kept > 0, "{told:?}");
    assert_eq!(told[told.len() - 1]["code"], 130);

    let again = sandbox.run(&["get", &ticket, "-o", "g", "--json"]);
    again.succeeded();
    let told = events(&again);
    let found = told.iter().find(|event| event["kind"] == "found").expect("it goes on");
    // What was stored at the last moment may be missing in the record.
    assert!(found["bytes"].as_u64().is_some_and(|bytes| bytes + 100_000 >= kept && bytes > 0), "{told:?}");
}
