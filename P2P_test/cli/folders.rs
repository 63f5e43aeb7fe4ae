//! Folders: what goes in comes out, no more than is wanted and no more than once.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::hostile::tree;
use crate::{Ended, Running, Sandbox, Stream, names};

const EXECUTABLE: u32 = 0o100;

/// A folder of its own with these files, each of so many bytes that follow from a seed.
fn folder(sandbox: &Sandbox, files: &[(&str, usize, u64)]) {
    for &(name, len, seed) in files {
        let path = sandbox.0.join(name);
        fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("it can be made");
        sandbox.file(name, len, seed);
    }
}

/// All files below a directory, with what they hold and whether they may be executed.
fn held(directory: &Path) -> BTreeMap<String, (Vec<u8>, bool)> {
    let is_executable = |name: &str| {
        let metadata = directory.join(name).metadata().expect("it is there");
        metadata.permissions().mode() & EXECUTABLE != 0
    };
    let files = tree(directory).into_iter();
    files.map(|(name, content)| (name.clone(), (content, is_executable(&name)))).collect()
}

/// What a process that shared says it has sent, B.
fn sent(ended: &Ended) -> f64 {
    ended.succeeded();
    let amount = ended.stderr.split_once("sharing ended: ").expect("it says how much").1;
    let (number, rest) = amount.split_once(' ').expect("a number and a unit");
    let unit = match rest.split_whitespace().next() {
        Some("B") => 1.0,
        Some("kB") => 1e3,
        Some("MB") => 1e6,
        other => panic!("no unit: {other:?}"),
    };
    number.parse::<f64>().expect("a number") * unit
}

fn percent(ended: &Ended, before: &str) -> u64 {
    let rest = ended.stderr.split_once(before).unwrap_or_else(|| panic!("no {before:?} in {ended:?}")).1;
    rest.split(" % (").next().expect("something").parse().expect("a number")
}

#[test]
fn a_folder_arrives_as_it_is_and_what_is_twice_in_it_is_fetched_once() {
    let sandbox = Sandbox::new();
    let files = [
        ("trip/photos/1.raw", 700_000, 1),
        ("trip/photos/more/1 again.raw", 700_000, 1),
        ("trip/1 once more.raw", 700_000, 1),
        ("trip/photos/2.raw", 50_001, 2),
        ("trip/.notes", 3, 3),
        ("trip/empty", 0, 4),
        ("trip/run", 20, 5),
    ];
    folder(&sandbox, &files);
    fs::create_dir(sandbox.0.join("trip/nothing")).expect("it can be made");
    fs::set_permissions(sandbox.0.join("trip/run"), Permissions::from_mode(0o755)).expect("it is ours");
    symlink("run", sandbox.0.join("trip/link")).expect("it can be made");
    let (share, ticket) = sandbox.share(&["trip/"]);
    let target = sandbox.directory("target");
    let get = Running::start(&target, &["get", &ticket]).end();
    get.succeeded();
    assert!(get.stdout.starts_with("trip: 7 files, 2.15 MB in "), "{get:?}");
    assert_eq!((names(&target), names(&target.join("trip/nothing"))), (vec!["trip".into()], vec![]));
    let mut expected = held(&sandbox.0.join("trip"));
    expected.remove("link");
    assert!(held(&target.join("trip")) == expected, "{:?}", tree(&target));

    // What is there stays as it is.
    Running::start(&target, &["get", &ticket]).end().failed(7, &["trip exists already", "-o"]);
    assert!(held(&target.join("trip")) == expected);
    // The copy is the same folder, so it has the same ticket but for the tracker.
    let (again, same) = sandbox.share(&["target/trip"]);
    assert_eq!(ticket[..60], same[..60]);
    drop(again);
    let ended = share.interrupt();
    for said in
        ["trip/link is a link or a special file: it is left out", "sharing trip/ (7 files, 2.15 MB), "]
    {
        assert!(ended.stderr.contains(said), "{said:?} isn't in {ended:?}");
    }
    let bytes = sent(&ended);
    assert!((750_000.0..900_000.0).contains(&bytes), "{bytes} B for 750 kB of different content");
}

#[test]
fn of_a_folder_only_what_is_wanted_is_fetched() {
    let sandbox = Sandbox::new();
    folder(
        &sandbox,
        &[
            ("f/a/one.txt", 400_000, 1),
            ("f/a/two.bin", 900_000, 2),
            ("f/b/three.txt", 5_000, 3),
            ("f/c", 10, 4),
        ],
    );
    let (share, ticket) = sandbox.share(&["f"]);
    let target = sandbox.directory("target");
    let get = |args: &[&str]| Running::start(&target, &[&["get", ticket.as_str()], args].concat()).end();

    let list = get(&["--list"]);
    list.succeeded();
    let lines: Vec<&str> = list.stdout.lines().map(str::trim_start).collect();
    assert_eq!(lines, ["400.0 kB  a/one.txt", "900.0 kB  a/two.bin", "5.00 kB  b/three.txt", "10 B  c"]);
    let list = get(&["--list", "--only", "**/*.txt", "-q"]);
    assert_eq!((list.stdout.lines().count(), list.stderr.as_str()), (2, ""));
    get(&["--only", "*.txt"]).failed(2, &["--only '*.txt'", "--list"]);
    let unclosed = get(&["--only", "["]);
    assert!(unclosed.code == Some(2) && unclosed.stderr.contains("--only"), "{unclosed:?}");
    assert_eq!(names(&target), [""; 0]);

    let some = get(&["--only", "**/*.txt", "--only", "c"]);
    some.succeeded();
    assert!(some.stdout.starts_with("f: 3 files, 405.0 kB in "), "{some:?}");
    let mut expected = held(&sandbox.0.join("f"));
    expected.remove("a/two.bin");
    assert!(held(&target.join("f")) == expected, "{:?}", tree(&target));
    // A directory is all that is in it; who has a part serves that part.
    get(&["--only", "b", "-o", "b"]).succeeded();
    assert_eq!((names(&target), names(&target.join("b"))), (vec!["b".into(), "f".into()], vec!["b".into()]));
    let bytes = sent(&share.interrupt());
    assert!((400_000.0..600_000.0).contains(&bytes), "{bytes} B for 410 kB");

    let (_share, file) = sandbox.share(&["f/c"]);
    sandbox.run(&["get", &file, "--list"]).failed(2, &["--list", "single file"]);
}

#[test]
fn an_interrupted_folder_is_gone_on_with() {
    let sandbox = Sandbox::new();
    let files: Vec<(String, usize, u64)> = (0..40).map(|n| (format!("f/{}/{n}", n % 3), 75_000, n)).collect();
    folder(&sandbox, &files.iter().map(|(name, len, seed)| (name.as_str(), *len, *seed)).collect::<Vec<_>>());
    let (share, ticket) = sandbox.share(&["f"]);
    let target = sandbox.directory("target");
    let mut get = Running::start(&target, &["get", &ticket, "--limit-down", "500k"]);
    get.line(Stream::Stderr, "MB of 3.00 MB");
    let hidden = names(&target);
    assert!(hidden.len() == 1 && hidden[0].starts_with(".f.swarmcast-"), "{hidden:?}");
    let ended = get.interrupt();
    ended.failed(130, &["interrupted: f: ", " MB) is kept, the same command goes on"]);
    let kept = percent(&ended, "interrupted: f: ");
    assert!(kept >= 10 && names(&target) == hidden, "{ended:?}");

    let again = Running::start(&target, &["get", &ticket]).end();
    again.succeeded();
    let hint = again.stderr.lines().find(|line| line.ends_with(" was here already")).expect("a hint");
    let found: u64 = hint.split(" % (").next().expect("a share").parse().expect("a number");
    assert!(found.abs_diff(kept) <= 1, "{again:?}");
    assert_eq!(names(&target), ["f"]);
    assert!(held(&target.join("f")) == held(&sandbox.0.join("f")), "the copy differs");
    // What had been fetched isn't fetched again: 3 MB and a tenth for headers, and what was under way.
    let bytes = sent(&share.interrupt());
    assert!(bytes < 3_900_000.0, "{bytes} B for 3 MB");
}

#[test]
fn a_folder_that_changes_is_no_longer_shared() {
    let sandbox = Sandbox::new();
    folder(&sandbox, &[("f/a", 1_000_000, 1), ("f/b/c", 1_000_000, 2)]);
    let (share, ticket) = sandbox.share(&["f", "--limit-up", "300k"]);
    let mut get = sandbox.start(&["get", &ticket, "-o", "g"]);
    get.line(Stream::Stderr, "MB of 2.00 MB");
    sandbox.file("f/a", 1_000_000, 3);
    sandbox.file("f/b/c", 1_000_000, 4);
    share.end().failed(6, &["f has changed since it was read", "share it again"]);
}

#[test]
fn a_folder_whose_names_cant_travel_says_which() {
    let sandbox = Sandbox::new();
    folder(&sandbox, &[("f/Makefile", 1, 1), ("f/makefile", 1, 2), ("g/a\\b", 1, 3), ("h/ok/\x1bx", 1, 4)]);
    sandbox.run(&["share", "f"]).failed(1, &["f can't be shared", "Makefile and makefile", "rename one"]);
    sandbox.run(&["share", "g"]).failed(1, &["g can't be shared: a\\\\b: ", "rename it"]);
    sandbox.run(&["share", "h"]).failed(1, &["h can't be shared: ok/\\u{1b}x: ", "control character"]);
}
