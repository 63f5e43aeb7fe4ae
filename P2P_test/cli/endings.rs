//! How commands end: by what they were asked for, by a reader that goes, by a user who doesn't wait.

use std::fs;
use std::io::Read as _;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use super::processes::{Running, Sandbox, Stream, names};

#[test]
fn a_file_goes_to_stdout_in_order() {
    let sandbox = Sandbox::new();
    let content: Vec<u8> = sandbox.file("f", 2_000_000, 60).iter().map(|byte| b'a' + byte % 26).collect();
    fs::write(sandbox.0.join("f"), &content).unwrap();
    let (_share, ticket) = sandbox.share(&["f"]);
    let target = sandbox.directory("target");
    let get = Running::start(&target, &["get", &ticket, "-o", "-"]).end();
    get.succeeded();
    assert!(get.stdout.as_bytes().strip_suffix(b"\n") == Some(&content[..]), "stdout differs");
    assert!(get.stderr.contains("stdout: 2.00 MB in "), "{}", get.stderr);
    assert_eq!(names(&target), [""; 0]);
    sandbox.run(&["get", &ticket, "-o", "-", "--json"]).failed(2, &["--json", "-o -"]);
}

#[test]
fn a_reader_that_goes_ends_a_get_without_a_word() {
    let sandbox = Sandbox::new();
    sandbox.file("f", 2_000_000, 61);
    let (_share, ticket) = sandbox.share(&["f"]);
    let mut get = Command::new(env!("CARGO_BIN_EXE_swarmcast"))
        .args(["get", &ticket, "-q", "-o", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = get.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    drop(stdout);
    let ended = get.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), String::from_utf8(ended.stderr).unwrap()), (Some(141), String::new()));
}

#[test]
fn who_serves_for_a_time_or_a_share_ends_by_itself() {
    let sandbox = Sandbox::new();
    sandbox.file("f", 300_000, 62);
    let mut tracker = sandbox.start(&["tracker", "--bind", "0"]);
    let line = tracker.line(Stream::Stdout, "tracker at ");
    let (share, ticket) = sandbox.share(&["f", "--tracker", line.trim_start_matches("tracker at ")]);
    let ended = sandbox.run(&["get", &ticket, "-o", "for", "--seed-for", "0.5"]);
    ended.succeeded();
    assert!(ended.seconds > 0.5 && ended.stderr.contains("sharing ended"), "{ended:?}");
    // Without the source, the next one has to take all from this, and gets no more than half of it for sure.
    let mut seed = sandbox.start(&["get", &ticket, "-o", "ratio", "--seed-ratio", "0.5", "--json"]);
    seed.line(Stream::Stdout, "\"kind\":\"done\"");
    share.interrupt().succeeded();
    let _next = sandbox.start(&["get", &ticket, "-o", "next"]);
    let ended = seed.line(Stream::Stdout, "\"kind\":\"ended\"");
    let ended: serde_json::Value = serde_json::from_str(&ended).unwrap();
    assert!(ended["served_bytes"].as_u64() >= Some(150_000), "{ended}");
    seed.end().succeeded();
}

#[test]
fn who_serves_a_share_stays_until_the_last_block_is_there() {
    let sandbox = Sandbox::new();
    let content = sandbox.file("f", 10_000, 64);
    let mut tracker = sandbox.start(&["tracker", "--bind", "0"]);
    let line = tracker.line(Stream::Stdout, "tracker at ");
    let (share, ticket) = sandbox.share(&["f", "--tracker", line.trim_start_matches("tracker at ")]);
    // At this rate its last block takes longer than it is between two looks at whether it is enough.
    let mut seed =
        sandbox.start(&["get", &ticket, "-o", "one", "--seed-ratio", "1", "--limit-up", "10k", "--json"]);
    seed.line(Stream::Stdout, "\"kind\":\"done\"");
    share.interrupt().succeeded();
    sandbox.run(&["get", &ticket, "-o", "next"]).succeeded();
    assert!(fs::read(sandbox.0.join("next")).unwrap() == content, "the copy differs");
    seed.end().succeeded();
}

#[test]
fn a_user_who_doesnt_wait_is_not_kept_waiting() {
    let sandbox = Sandbox::new();
    sandbox.file("f", 3_000_000, 63);
    let (share, ticket) = sandbox.share(&["f"]);
    let mut get = sandbox.start(&["get", &ticket, "-o", "g", "--limit-down", "100k", "--json"]);
    get.line(Stream::Stdout, "\"peers\":1");
    // Nobody answers its farewell, so that takes a moment.
    share.signal(Signal::SIGSTOP);
    let ended = get.interrupt_until_it_ends();
    ended.failed(130, &["ended at once"]);
    assert!(ended.seconds < 1.0, "{ended:?}");
    share.signal(Signal::SIGCONT);
}
