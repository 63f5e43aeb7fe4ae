//! What needs no swarm: hashes, tickets, what shells and man pages read.

use std::fs;

use super::processes::Sandbox;

/// Of 102,400 B that count from 0 to 250 and again: the test vector that BLAKE3 publishes, and what b3sum prints.
const VECTOR: &str = "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085";

#[test]
fn a_hash_is_printed_as_b3sum_prints_it() {
    let sandbox = Sandbox::new();
    let content: Vec<u8> = (0..=250).cycle().take(102_400).collect();
    fs::write(sandbox.0.join("vector"), content).unwrap();
    let hash = sandbox.run(&["hash", "vector", "./vector"]);
    hash.succeeded();
    assert_eq!(hash.stdout, format!("{VECTOR}  vector\n{VECTOR}  ./vector\n"));
    // One that is missing keeps no other from being hashed.
    let hash = sandbox.run(&["hash", "missing", "vector", "."]);
    hash.failed(1, &["missing: there is no such file", ". is a directory"]);
    assert_eq!(hash.stdout, format!("{VECTOR}  vector\n"));
}

#[test]
fn a_file_is_compared_with_its_ticket() {
    let sandbox = Sandbox::new();
    let content = sandbox.file("f", 100_000, 50);
    let (share, ticket) = sandbox.share(&["f"]);
    share.interrupt().succeeded();
    let good = sandbox.run(&["verify", "f", &ticket]);
    good.succeeded();
    assert_eq!(good.stdout, "f: 100.0 kB are as the ticket says\n");
    fs::write(sandbox.0.join("short"), &content[1..]).unwrap();
    sandbox.run(&["verify", "short", &ticket]).failed(6, &["short is not", "99999 B", "100000 B"]);
    fs::write(sandbox.0.join("other"), [&content[1..], b"x"].concat()).unwrap();
    sandbox.run(&["verify", "other", &ticket]).failed(6, &["other is not", "its hash is"]);
    sandbox.run(&["verify", "missing", &ticket]).failed(1, &["missing: there is no such file"]);
    sandbox.run(&["verify", ".", &ticket]).failed(1, &[". is a directory"]);
    sandbox.run(&["verify", "f", "x"]).failed(2, &["not a ticket"]);
}

#[test]
fn a_ticket_tells_what_it_holds() {
    let sandbox = Sandbox::new();
    let long = format!("{}.tar", "ü".repeat(120));
    let content = sandbox.file(&long, 1_000, 51);
    let (share, ticket) = sandbox.share(&[&long]);
    share.interrupt().succeeded();
    let info = sandbox.run(&["info", &ticket]);
    info.succeeded();
    for part in
        ["size     1.00 kB (1000 B)\n", "tracker  127.0.0.1:", "version  1\n", "name     üüü", ".tar\n"]
    {
        assert!(info.stdout.contains(part), "{part:?} isn't in {info:?}");
    }
    assert!(info.stdout.contains(&format!("fid      {}\n", swarmcast::Fid::of(&content))), "{info:?}");
    let json = sandbox.run(&["info", "--json", &ticket]);
    json.succeeded();
    let told: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&told["kind"], &told["ticket"]), (&"ticket".into(), &ticket.as_str().into()));
    let older = ticket.replace("swarmcast1:", "swarmcast0:");
    for (text, part) in
        [(&ticket[..50], "copy it again"), (&older, "version 0"), ("https://x", "not a ticket")]
    {
        for command in ["info", "get"] {
            sandbox.run(&[command, text]).failed(2, &[part]);
        }
    }
}

#[test]
fn shells_and_man_pages_get_what_they_read() {
    let sandbox = Sandbox::new();
    for (shell, part) in
        [("bash", "complete "), ("zsh", "#compdef swarmcast"), ("fish", "complete -c swarmcast")]
    {
        let script = sandbox.run(&["completions", shell]);
        script.succeeded();
        assert!(script.stdout.contains(part) && script.stdout.contains("seed-ratio"), "{script:?}");
    }
    let page = sandbox.run(&["man"]);
    page.succeeded();
    assert!(page.stdout.contains(".TH swarmcast 1") && page.stdout.contains("Exit codes"), "{page:?}");
    let page = sandbox.run(&["man", "get"]);
    page.succeeded();
    assert!(page.stdout.contains(".TH swarmcast-get 1") && page.stdout.contains("seed\\-ratio"), "{page:?}");
    sandbox.run(&["man", "x"]).failed(2, &["x: there is no such subcommand"]);
    sandbox.run(&["completions", "x"]).code.filter(|code| *code == 2).expect("a usage error");
}
