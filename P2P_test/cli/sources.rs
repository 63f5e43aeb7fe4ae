//! Where flags get their values from: the command line, variables, a file.

use std::fs;

use super::processes::{Sandbox, Stream};

const NOWHERE: &str = "127.0.0.1:1";

#[test]
fn flags_come_before_variables_and_those_before_the_file() {
    let sandbox = Sandbox::new();
    let home = sandbox.directory("config");
    fs::create_dir(home.join("swarmcast")).unwrap();
    fs::write(home.join("swarmcast/config.toml"), "bind = \"127.0.0.2:0\"\nlimit-up = \"5M\"\n").unwrap();
    let home = ("XDG_CONFIG_HOME", home.to_str().unwrap());
    let at = |args: &[&str], variables: &[(&str, &str)]| {
        let mut tracker = sandbox.start_with(&[&["tracker"], args].concat(), variables);
        let line = tracker.line(Stream::Stdout, "tracker at ");
        tracker.interrupt().succeeded();
        line.trim_start_matches("tracker at ").split(':').next().unwrap().to_owned()
    };
    let variable = ("SWARMCAST_BIND", "127.0.0.3:0");
    assert_eq!(at(&["--bind", "127.0.0.4:0"], &[home, variable]), "127.0.0.4");
    assert_eq!(at(&[], &[home, variable]), "127.0.0.3");
    assert_eq!(at(&[], &[home]), "127.0.0.2");
    assert_eq!(at(&["--bind", "0"], &[]), "127.0.0.1");
    // What can't be meant says where it may have come from.
    let wrong = sandbox.start_with(&["get", "x"], &[("SWARMCAST_LIMIT_UP", "fast")]).end();
    wrong.failed(2, &["these variables count as flags: SWARMCAST_LIMIT_UP"]);
    // A file that is named comes instead of the usual one.
    fs::write(sandbox.0.join("own.toml"), "bind = \"127.0.0.5:0\"").unwrap();
    assert_eq!(at(&["--config", "own.toml"], &[home]), "127.0.0.5");
    assert_eq!(at(&[], &[home, ("SWARMCAST_CONFIG", "own.toml")]), "127.0.0.5");
}

#[test]
fn a_file_with_a_mistake_says_which() {
    let sandbox = Sandbox::new();
    for (text, parts) in [
        ("bnd = \"x\"", &["c.toml: `bnd`: there is no such key", "bind"][..]),
        ("bind = 1\nbind = 2", &["c.toml: line 2: ", "duplicate key"]),
        ("limit-up = \"fast\"", &["c.toml: ", "--limit-up", "`fast` is not a size"]),
        ("seed = 3", &["c.toml: ", "--seed"]),
    ] {
        fs::write(sandbox.0.join("c.toml"), text).unwrap();
        sandbox.run(&["get", "x", "--config", "c.toml"]).failed(2, parts);
    }
    sandbox.run(&["get", "x", "--config", "none.toml"]).failed(2, &["none.toml", "no such file"]);
    // What takes part in no swarm doesn't mind.
    fs::write(sandbox.0.join("c.toml"), "bnd = 1").unwrap();
    sandbox.run(&["simulate", "--config", "c.toml"]).succeeded();
}

#[test]
fn several_trackers_are_a_list() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.0.join("c.toml"), format!("tracker = [\"{NOWHERE}\", \"1\", \"2\", \"3\"]")).unwrap();
    let many = "3 trackers at most";
    sandbox.run(&["share", "c.toml", "--config", "c.toml"]).failed(2, &[many]);
    let listed = format!("{NOWHERE},1,2,3");
    sandbox.start_with(&["share", "c.toml"], &[("SWARMCAST_TRACKER", &listed)]).end().failed(2, &[many]);
    // How a tracker of its own is reached says that one is wanted.
    let own = ["share", "c.toml", "--config", "c.toml", "--advertise", "127.0.0.1"];
    let mut share = sandbox.start(&own);
    share.line(Stream::Stdout, "swarmcast1:");
    share.interrupt().succeeded();
}

#[test]
fn of_flags_that_exclude_each_other_the_nearer_source_decides() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.0.join("f"), "f").unwrap();
    fs::write(sandbox.0.join("lan.toml"), "lan = true\nquiet = true\n").unwrap();
    fs::write(sandbox.0.join("tracker.toml"), format!("tracker = \"{NOWHERE}\"\n")).unwrap();
    let (lan, elsewhere) = (("SWARMCAST_LAN", "true"), ("SWARMCAST_TRACKER", NOWHERE));
    let said = |args: &[&str], variables: &[(&str, &str)]| {
        let mut share = sandbox.start_with(&[&["share", "f"], args].concat(), variables);
        share.line(Stream::Stdout, "swarmcast1:");
        let ended = share.interrupt();
        ended.succeeded();
        ended.stderr
    };
    // Typed before the variable, typed before the file, the variable before the file.
    for (args, variables) in [
        (&["--bind", "127.0.0.1"][..], &[lan][..]),
        (&["--bind", "127.0.0.1", "--config", "lan.toml", "-v"], &[]),
        (&["--advertise", "127.0.0.1"], &[elsewhere]),
        (&["--advertise", "127.0.0.1", "--config", "tracker.toml"], &[]),
        (&["--config", "lan.toml"], &[("SWARMCAST_BIND", "127.0.0.1"), ("SWARMCAST_VERBOSE", "1")]),
    ] {
        let stderr = said(args, variables);
        assert!(stderr.contains("tracker at 127.0.0.1:"), "{args:?} {variables:?}: {stderr}");
    }
    assert_eq!(said(&["--bind", "127.0.0.1", "--config", "lan.toml"], &[]), "", "that is quiet");
    // Two of the same source can't both be meant.
    let both = sandbox.start_with(&["share", "f"], &[lan, elsewhere]).end();
    both.failed(2, &["these variables count as flags: SWARMCAST_LAN, SWARMCAST_TRACKER"]);
}

#[test]
fn what_is_piped_has_no_colours() {
    let sandbox = Sandbox::new();
    for args in [&["--help"][..], &["get"], &["get", "x", "-v"]] {
        let ended = sandbox.start_with(args, &[("NO_COLOR", "1")]).end();
        assert!(!(ended.stdout.clone() + &ended.stderr).contains('\x1b'), "{args:?}: {ended:?}");
        let ended = sandbox.run(args);
        assert!(!(ended.stdout.clone() + &ended.stderr).contains('\x1b'), "{args:?}: {ended:?}");
    }
}
