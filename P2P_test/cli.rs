//! The program as its users meet it: real processes on loopback, judged by output, exit code and what lies on the disk.
//!
//! Of the library, little is called but its random numbers, which make the files.

#[path = "cli/endings.rs"]
mod endings;
#[path = "cli/events.rs"]
mod events;
#[path = "cli/folders.rs"]
mod folders;
#[path = "cli/hostile.rs"]
mod hostile;
#[path = "cli/hostile_folders.rs"]
mod hostile_folders;
#[path = "cli/offline.rs"]
mod offline;
#[path = "cli/sources.rs"]
mod sources;

use std::collections::BTreeMap;
use std::fs;

use nix::sys::signal::Signal;

use self::processes::{Ended, Running, Sandbox, Stream, names};

mod processes;

#[test]
fn a_file_goes_from_one_process_to_two_others() {
    let sandbox = Sandbox::new();
    let content = sandbox.file("lecture 3.bin", 3_000_000, 1);
    let (share, ticket) = sandbox.share(&["lecture 3.bin"]);
    let (a, b) = (sandbox.directory("a"), sandbox.directory("b"));
    // One by the ticket's name in the current directory, one to a name of its own.
    let gets = [Running::start(&a, &["get", &ticket]), Running::start(&b, &["get", &ticket, "-o", "x"])];
    let [by_name, by_path] = gets.map(Running::end);
    by_name.succeeded();
    by_path.succeeded();
    assert!(by_name.stdout.starts_with("lecture 3.bin: 3.00 MB in "), "{by_name:?}");
    assert!(by_path.stdout.starts_with("x: 3.00 MB in "), "{by_path:?}");
    assert_eq!((names(&a), names(&b)), (vec!["lecture 3.bin".to_owned()], vec!["x".to_owned()]));
    assert!(fs::read(a.join("lecture 3.bin")).unwrap() == content, "the first copy differs");
    assert!(fs::read(b.join("x")).unwrap() == content, "the second copy differs");

    // What is there stays as it is.
    let again = Running::start(&a, &["get", &ticket]).end();
    again.failed(7, &["lecture 3.bin exists already", "-o"]);
    fs::write(b.join("mine"), "mine").unwrap();
    sandbox.run(&["get", &ticket, "-o", "b/mine"]).failed(7, &["b/mine exists already"]);
    assert_eq!(fs::read(b.join("mine")).unwrap(), b"mine");
    // A directory as target holds the ticket's name.
    sandbox.run(&["get", &ticket, "-o", "a"]).failed(7, &["a/lecture 3.bin exists already"]);
    sandbox.run(&["get", &ticket, "-o", "nowhere/x"]).failed(1, &["nowhere: there is no such"]);

    let ended = share.interrupt();
    ended.succeeded();
    assert!(ended.stderr.contains("swarmcast get swarmcast1:"), "{ended:?}");
    assert!(ended.stderr.contains("sharing ended: "), "{ended:?}");
    assert_eq!(ended.stdout.lines().collect::<Vec<_>>(), [ticket]);
}

#[test]
fn a_ticket_that_cant_be_used_says_why() {
    let sandbox = Sandbox::new();
    sandbox.file("f", 10, 2);
    let (_share, ticket) = sandbox.share(&["f"]);
    let last = if ticket.ends_with('a') { "q" } else { "a" };
    let damaged = format!("{}{last}", &ticket[..ticket.len() - 1]);
    sandbox.run(&["get", &damaged]).failed(2, &["damaged", "copy it again"]);
    sandbox.run(&["get", &ticket[..40]]).failed(2, &["damaged"]);
    let newer = ticket.replace("swarmcast1:", "swarmcast2:");
    sandbox.run(&["get", &newer]).failed(2, &["version 2", "same version of swarmcast"]);
    sandbox.run(&["get", "magnet:?xt=urn:btih:0"]).failed(2, &["not a ticket", "swarmcast share"]);
    assert_eq!(names(&sandbox.0), ["f"]);
}

#[test]
fn a_file_that_nobody_shares_any_more_is_unknown() {
    let sandbox = Sandbox::new();
    sandbox.file("f", 1_000, 3);
    let mut tracker = sandbox.start(&["tracker", "--bind", "0"]);
    let line = tracker.line(Stream::Stdout, "tracker at 127.0.0.1:");
    let addr = line.strip_prefix("tracker at ").unwrap();
    let (share, ticket) = sandbox.share(&["f", "--tracker", addr]);
    share.interrupt().succeeded();
    let get = sandbox.run(&["get", &ticket, "-o", "g"]);
    get.failed(3, &["nobody shares g", addr]);
    assert!(get.seconds < 5.0, "{get:?}");
    // And where nobody listens at all:
    tracker.interrupt().succeeded();
    sandbox.run(&["get", &ticket, "-o", "g"]).failed(5, &[addr, "no answer", "see that it is running"]);
    assert_eq!(names(&sandbox.0), ["f"]);
}

#[test]
fn of_two_trackers_either_may_be_gone() {
    let sandbox = Sandbox::new();
    let content = sandbox.file("f", 300_000, 14);
    let mut trackers = [0, 1].map(|_| sandbox.start(&["tracker", "--bind", "0"]));
    let addrs = trackers.each_mut().map(|tracker| {
        tracker.line(Stream::Stdout, "tracker at ").trim_start_matches("tracker at ").to_owned()
    });
    let (_share, ticket) = sandbox.share(&["f", "--tracker", &addrs[0], "--tracker", &addrs[1]]);
    sandbox.run(&["get", &ticket, "-o", "both"]).succeeded();
    let [first, second] = trackers;
    first.interrupt().succeeded();
    let get = sandbox.run(&["get", &ticket, "-o", "one"]);
    get.succeeded();
    assert!(get.seconds < 5.0 && get.stderr.contains(&format!("{} and {}", addrs[0], addrs[1])), "{get:?}");
    assert!(fs::read(sandbox.0.join("one")).unwrap() == content, "the copy differs");
    // Who comes back without a memory is told all again; the other may go then.
    let port = addrs[0].rsplit_once(':').unwrap().1;
    let mut first = sandbox.start(&["tracker", "--bind", port]);
    first.line(Stream::Stdout, "tracker at ");
    let get = sandbox.run(&["get", &ticket, "-o", "again"]);
    get.succeeded();
    second.interrupt().succeeded();

    let many = ["share", "f", "--tracker", "1", "--tracker", "2", "--tracker", "3", "--tracker", "4"];
    sandbox.run(&many).failed(2, &["3 trackers at most"]);
    let long = format!("{}.example:1", "h".repeat(50));
    let other = format!("{}.example:1", "g".repeat(50));
    sandbox.run(&["share", "f", "--tracker", &long, "--tracker", &other]).failed(5, &["can't be found"]);
}

#[test]
fn a_get_says_what_held_it_back_and_a_short_one_does_not() {
    let sandbox = Sandbox::new();
    sandbox.file("f", 900_000, 10);
    sandbox.file("short", 1_000, 11);
    let (_share, ticket) = sandbox.share(&["f"]);
    // Its limit lets it have that in 3 s; a line comes with each step of 10 %.
    let get = sandbox.run(&["get", &ticket, "-o", "g", "--limit-down", "300k"]);
    get.succeeded();
    assert!(get.stderr.contains(" left; ") && get.stderr.contains(" in all, at best 3s\n"), "{get:?}");
    let best = " × the least possible as far as known (3.00 s: own downlink)\n";
    let ratio = get.stderr.split_once(best).expect("it tells the bound").0.lines().last().expect("a ratio");
    assert!((1.0..2.0).contains(&ratio.parse::<f64>().expect("a number")), "{get:?}");
    let causes = get.stderr.split_once("\nheld back by ").expect("it tells the causes").1;
    let (first, rest) = causes.split_once(" %").expect("a share");
    let percent: u64 = first.strip_prefix("own downlink ").expect("the limit's share").parse().unwrap();
    assert!(percent > 50 && rest.ends_with('\n'), "{get:?}");
    assert_eq!(get.stdout.lines().count(), 1, "{get:?}");

    let (_share, ticket) = sandbox.share(&["short"]);
    let get = sandbox.run(&["get", &ticket, "-o", "h"]);
    get.succeeded();
    assert!(!get.stderr.contains("held back") && !get.stderr.contains("possible"), "{get:?}");
}

#[test]
fn an_interrupted_get_keeps_what_it_has_and_the_same_command_goes_on() {
    let sandbox = Sandbox::new();
    let content = sandbox.file("f", 3_000_000, 4);
    let (_share, ticket) = sandbox.share(&["f"]);
    let target = sandbox.directory("target");
    let mut get = Running::start(&target, &["get", &ticket, "--limit-down", "300k"]);
    // It is well under way, and far from its end.
    get.line(Stream::Stderr, "MB of 3.00 MB");
    assert!(names(&target).iter().any(|name| name.ends_with(".part")), "{:?}", names(&target));
    let ended = get.interrupt();
    ended.failed(130, &["interrupted: f: ", " MB) is kept, the same command goes on"]);
    let percent = |text: &str| -> u64 { text.split(" % (").next().unwrap().parse().unwrap() };
    let kept = percent(ended.stderr.split("interrupted: f: ").nth(1).expect("what is kept"));
    assert!(kept >= 10 && names(&target).len() == 2, "{ended:?}, {:?}", names(&target));

    let again = Running::start(&target, &["get", &ticket]).end();
    again.succeeded();
    let hint = again.stderr.lines().find(|line| line.ends_with(" was here already")).expect("a hint");
    assert!(percent(hint).abs_diff(kept) <= 1, "{again:?}");
    assert_eq!(names(&target), ["f"]);
    assert!(fs::read(target.join("f")).unwrap() == content, "the copy differs");

    // Ended before anything has come, it leaves nothing.
    let empty = sandbox.directory("empty");
    let mut get = Running::start(&empty, &["get", &ticket, "--limit-down", "1"]);
    get.line(Stream::Stderr, "getting f");
    get.interrupt().failed(130, &["interrupted: f was not written"]);
    assert_eq!(names(&empty), [""; 0]);
}

#[test]
fn a_file_that_changes_is_no_longer_shared() {
    let sandbox = Sandbox::new();
    sandbox.file("f", 2_000_000, 12);
    let (share, ticket) = sandbox.share(&["f", "--limit-up", "300k"]);
    let mut get = sandbox.start(&["get", &ticket, "-o", "g"]);
    get.line(Stream::Stderr, "MB of 2.00 MB");
    sandbox.file("f", 2_000_000, 13);
    share.end().failed(6, &["f has changed since it was read", "share it again"]);
}

#[test]
fn who_has_got_a_file_can_take_over_from_the_source() {
    let sandbox = Sandbox::new();
    let content = sandbox.file("f", 500_000, 9);
    let mut tracker = sandbox.start(&["tracker", "--bind", "0"]);
    let line = tracker.line(Stream::Stdout, "tracker at ");
    let (share, ticket) = sandbox.share(&["f", "--tracker", line.strip_prefix("tracker at ").unwrap()]);
    let mut first = sandbox.start(&["get", &ticket, "-o", "first", "--seed"]);
    first.line(Stream::Stdout, "first: 500.0 kB in ");
    share.interrupt().succeeded();
    sandbox.run(&["get", &ticket, "-o", "second"]).succeeded();
    assert!(fs::read(sandbox.0.join("second")).unwrap() == content, "the copy differs");
    first.interrupt().succeeded();
}

#[test]
fn a_file_that_cant_be_shared_says_why() {
    let sandbox = Sandbox::new();
    sandbox.run(&["share", "missing"]).failed(1, &["missing: there is no such file"]);
    sandbox.run(&["share", "/dev/null"]).failed(1, &["/dev/null", "not a regular file"]);
}

#[test]
fn names_that_hide_and_files_without_content_arrive_as_well() {
    let sandbox = Sandbox::new();
    sandbox.file(".hidden", 0, 5);
    let (_share, ticket) = sandbox.share(&["--", ".hidden"]);
    let get = Running::start(&sandbox.directory("target"), &["get", &ticket]).end();
    get.succeeded();
    assert!(get.stderr.contains("saved as _hidden"), "{get:?}");
    assert_eq!(names(&sandbox.0.join("target")), ["_hidden"]);
    assert_eq!(fs::read(sandbox.0.join("target/_hidden")).unwrap(), b"");
}

#[test]
fn all_addresses_of_a_machine_are_none_that_others_can_call() {
    let sandbox = Sandbox::new();
    let content = sandbox.file("f", 100_000, 6);
    sandbox.run(&["share", "f", "--bind", "0.0.0.0"]).failed(2, &["--bind 0.0.0.0", "--advertise"]);
    sandbox.run(&["share", "f", "--bind", "[::]"]).failed(2, &["--bind ::", "--advertise"]);
    sandbox.run(&["share", "f", "--advertise", "0.0.0.0"]).failed(2, &["--advertise", "nobody can call"]);
    let (_share, ticket) = sandbox.share(&["f", "--bind", "0.0.0.0", "--advertise", "127.0.0.1"]);
    sandbox.run(&["get", &ticket, "-o", "g"]).succeeded();
    assert!(fs::read(sandbox.0.join("g")).unwrap() == content, "the copy differs");
}

#[test]
fn a_busy_port_is_named() {
    let sandbox = Sandbox::new();
    let mut first = sandbox.start(&["tracker", "--bind", "127.0.0.1:0"]);
    let addr = first.line(Stream::Stdout, "tracker at ").strip_prefix("tracker at ").unwrap().to_owned();
    sandbox.run(&["tracker", "--bind", &addr]).failed(1, &[&addr, "in use", "--bind"]);
    // A bare port means the same.
    let port = addr.rsplit_once(':').unwrap().1;
    sandbox.run(&["tracker", "--bind", port]).failed(1, &[&addr, "in use"]);
    let ended = first.interrupt();
    ended.succeeded();
    assert!(ended.stderr.contains("tracker ended"), "{ended:?}");
    // The port is free again.
    let mut second = sandbox.start(&["tracker", "--bind", &addr]);
    second.line(Stream::Stdout, &addr);
    // An end that the system asks for is one as well.
    second.signal(Signal::SIGTERM);
    second.end().succeeded();
}

#[test]
fn wrong_arguments_are_refused_before_anything_is_done() {
    let sandbox = Sandbox::new();
    sandbox.file("f", 10, 7);
    for (args, part) in [
        (&["tracker", "--bind", "1.2.3.4.5:80"][..], "this is no address: write HOST:PORT"),
        (&["tracker", "--bind", "127.0.0.1:65536"], "this is no address"),
        (&["share", "f", "--tracker", "http://x/"], "this is no address"),
        (&["share", "f", "--limit-up", "fast"], "`fast` is not a size"),
        (&["compare", "--receivers", "0"], "0 is not in"),
        (&["compare", "--rate", "0"], "--rate: without a limit"),
        (&["compare", "--size", "0"], "--size: an empty file"),
        (&["simulate", "s10"], "s10: no such scenario: give one of s1, s2"),
        (&["simulate", "s4", "--receivers", "9"], "--receivers 9: it has several groups"),
        (&["simulate", "s1", "--receivers", "0"], "nobody is a receiver"),
        (&["simulate", "s1", "--seeds", "0"], "0 is not in"),
        (&["simulate", "s1", "--seeds", "2", "--svg", "f"], "cannot be used with"),
        (&["compare", "--sizes", "1M,2M"], "--size: on real links one at a time"),
        (&["compare", "--receivers", "3,4"], "--receivers: on real links one at a time"),
        (&["compare", "--models", "p2p,ftp"], "invalid value 'ftp'"),
        (&["compare", "--spread", "0"], "0 is not in"),
        (&["compare", "--svg", "x.svg"], "--simulated"),
        (&["compare", "--simulated", "--svg", "."], "--svg: . is a directory"),
        (&["bench"], "ADDR"),
        (&["bench", "--listen", "--json"], "cannot be used with"),
        (&["bench", "127.0.0.1", "--seconds", "0"], "0 is not in"),
        (&["get"], "TICKET"),
        (&["get", "x", "--seed-for", "soon"], "`soon` is not a time"),
        (&["get", "x", "--seed-ratio", "-1"], "-1"),
        (&["get", "x", "--seed-ratio=-1"], "is not a ratio"),
        (&["sharre"], "share"),
        (&[], "Usage"),
    ] {
        let ended = sandbox.run(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {ended:?}");
        assert!(ended.stderr.contains(part), "{args:?}: {ended:?}");
    }
    // A fine address, but another machine's (TEST-NET-1, RFC 5737).
    sandbox
        .run(&["tracker", "--bind", "192.0.2.1"])
        .failed(1, &["192.0.2.1:10086", "no address of this machine"]);
}

#[test]
fn the_help_tells_the_exit_codes() {
    let sandbox = Sandbox::new();
    let help = sandbox.run(&["--help"]);
    help.succeeded();
    let codes = help.stdout.split_once("Exit codes:").expect("a table").1;
    let codes: Vec<&str> = codes.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(codes, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "130", "141"]);
    for subcommand in [
        "tracker",
        "share",
        "get",
        "info",
        "verify",
        "hash",
        "compare",
        "simulate",
        "bench",
        "completions",
        "man",
    ] {
        assert!(help.stdout.contains(&format!("\n  {subcommand} ")), "{help:?}");
        sandbox.run(&[subcommand, "--help"]).succeeded();
    }
}

#[test]
fn quiet_leaves_the_result_alone() {
    let sandbox = Sandbox::new();
    sandbox.file("f", 10_000, 8);
    let (share, ticket) = sandbox.share(&["-q", "f"]);
    let get = sandbox.run(&["get", "--quiet", &ticket, "-o", "g"]);
    get.succeeded();
    assert_eq!((get.stdout.lines().count(), get.stderr.as_str()), (1, ""));
    let share = share.interrupt();
    share.succeeded();
    assert_eq!((share.stdout.lines().count(), share.stderr.as_str()), (1, ""));
}

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
    assert!(list.stdout.lines().count() == 11 && list.stdout.starts_with("s1  equal rates"), "{list:?}");

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
