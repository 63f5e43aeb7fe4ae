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
#[path = "cli/measuring.rs"]
mod measuring;
#[path = "cli/offline.rs"]
mod offline;
#[path = "cli/sources.rs"]
mod sources;

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
        (&["simulate", "mixed", "--receivers", "9"], "--receivers 9: it has several groups"),
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
