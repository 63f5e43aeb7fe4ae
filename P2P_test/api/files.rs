//! Which files can be shared and fetched, how often, and to where.

use std::fs;
use std::path::PathBuf;

use swarmcast::time::Duration;
use swarmcast::{Error, Fid};

use crate::common::{Folder, MEDIUM, SMALL, Stopwatch, Swarm};

/// At once, on a computer that does other things too.
const AT_ONCE: Duration = Duration::from_secs(1);

#[test]
fn every_size_arrives_to_the_byte() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let (a, b) = (swarm.join("A", 0, 0), swarm.join("B", 0, 0));
    let sizes = [
        0, 1, 2, 3, 1023, 1024, 1025, 2047, 2049, 4095, 4096, 4097, 16_383, 16_384, 16_385, 65_535, 65_537,
        99_999, 123_457, SMALL,
    ];
    for (seed, size) in (100..).zip(sizes) {
        let file = folder.file(&format!("{size}.bin"), seed, size);
        a.shares(&file);
        b.gets(&file);
    }
}

#[test]
fn a_client_fetches_two_files_at_once_and_serves_two_at_once() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let files = [folder.file("F", 1, MEDIUM), folder.file("G", 2, SMALL)];
    let (a, b) = (swarm.join("A", 500_000, 0), swarm.join("B", 0, 0));
    let [first, second] = files.each_ref().map(|file| a.shares(file));
    let downloads = [b.begin_download(first), b.begin_download(second)];
    for (file, download) in files.iter().zip(downloads) {
        b.has_got(download, file);
    }
}

#[test]
fn threads_of_a_client_that_want_the_same_file_share_one_transfer() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let file = folder.file("F", 3, MEDIUM);
    let (a, b) = (swarm.join("A", 500_000, 0), swarm.join("B", 0, 0));
    let fid = a.shares(&file);
    let watch = Stopwatch::start();
    for download in [b.begin_download(fid), b.begin_download(fid), b.begin_download(fid)] {
        b.has_got(download, &file);
    }
    let fluid = MEDIUM as f64 / 500_000.0;
    let ratio = watch.elapsed().as_secs_f64() / fluid;
    assert!(ratio < 1.8, "{ratio:.2} of the time of one transfer: it was fetched more than once");

    // What is there already is not fetched again.
    assert!(b.gets(&file) < AT_ONCE);
    assert!(a.gets(&file) < AT_ONCE);
}

#[test]
fn the_same_content_is_the_same_file_whatever_its_name_and_whoever_has_it() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let (one, other) = (folder.file("one.bin", 4, SMALL), folder.file("ÄÖ ü.tar.gz", 4, SMALL));
    let (a, b, c) = (swarm.join("A", 0, 0), swarm.join("B", 0, 0), swarm.join("C", 0, 0));
    let fid = a.shares(&one);
    assert_eq!(a.shares(&other), fid);
    assert_eq!(a.shares(&other), fid);
    assert_eq!(b.shares(&other), fid);
    c.gets(&one);
    // One cancel is enough: it is one file.
    a.cancel(fid).expect("A shares it");
    assert!(matches!(a.cancel(fid), Err(Error::NotShared(which)) if which == fid));
}

#[test]
fn threads_of_a_client_may_register_the_same_file_at_once() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let file = folder.file("F", 5, SMALL);
    let (a, b) = (swarm.join("A", 0, 0), swarm.join("B", 0, 0));
    for registering in
        [a.begin_register(&file.path), a.begin_register(&file.path), a.begin_register(&file.path)]
    {
        assert_eq!(
            registering.within(Duration::from_secs(20)).expect("nothing is wrong with it"),
            file.fid()
        );
    }
    b.gets(&file);
}

#[test]
fn what_can_not_be_read_is_an_error_at_once() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let file = folder.file("F", 6, 1000);
    let a = swarm.join("A", 0, 0);
    let pipe = folder.join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo is there");
    std::os::unix::fs::symlink("nowhere", folder.join("dangling")).expect("a link can be made");
    let cases: [(&str, PathBuf); 9] = [
        ("missing", folder.join("missing")),
        ("a folder", folder.path().to_owned()),
        ("below a file", file.path.join("F")),
        ("a dangling link", folder.join("dangling")),
        ("a pipe that nobody writes to", pipe),
        ("a device without end", "/dev/zero".into()),
        ("nothing", "".into()),
        ("not a path", "a\0b".into()),
        ("too long", "x".repeat(5000).into()),
    ];
    for (what, path) in cases {
        let watch = Stopwatch::start();
        let result = a.register(&path);
        assert!(
            matches!(&result, Err(Error::File { path: named, .. }) if *named == path),
            "{what}: {result:?}"
        );
        assert!(watch.elapsed() < AT_ONCE, "{what}: {:?}", watch.elapsed());
    }
    a.shares(&file);
}

/// The superuser may read what he may not, so the judge is the system itself.
#[test]
fn what_the_system_lets_nobody_read_can_not_be_registered() {
    use std::os::unix::fs::PermissionsExt;
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let file = folder.file("secret", 7, 1000);
    let a = swarm.join("A", 0, 0);
    fs::set_permissions(&file.path, fs::Permissions::from_mode(0o000)).expect("it is the test's own file");
    match fs::read(&file.path) {
        Ok(_) => assert_eq!(a.shares(&file), file.fid()),
        Err(_) => assert!(matches!(a.register(&file.path), Err(Error::File { .. }))),
    }
}

#[test]
fn a_file_that_nobody_has_is_unknown_at_once() {
    let swarm = Swarm::new();
    let (b, fid) = (swarm.join("B", 0, 0), Fid::of(b"nobody has this"));
    for _ in 0..3 {
        let watch = Stopwatch::start();
        let result = b.download(fid);
        assert!(matches!(result, Err(Error::UnknownFile(which)) if which == fid), "{result:?}");
        assert!(watch.elapsed() < 2 * AT_ONCE, "{:?}", watch.elapsed());
    }
    assert!(matches!(b.cancel(fid), Err(Error::NotShared(which)) if which == fid));
    assert!(b.progress(fid).is_none());
}

#[test]
fn a_file_that_is_fetched_to_a_path_is_served_from_there() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let (file, other) = (folder.file("F", 8, SMALL), folder.file("G", 9, SMALL));
    let (a, b, c) = (swarm.join("A", 0, 0), swarm.join("B", 0, 0), swarm.join("C", 0, 0));
    let (fid, other_fid) = (a.shares(&file), a.shares(&other));

    let target = folder.join("fetched.bin");
    b.download_to(fid, &target).expect("A has it");
    file.assert_same("the path", &fs::read(&target).expect("it is there"));
    assert_eq!(names_like(&folder, "fetched"), ["fetched.bin"], "nothing else is left behind");
    a.cancel(fid).expect("A shares it");
    c.gets(&file);

    // What is there in memory, or at another path, is copied.
    for (who, name) in [(&b, "copied.bin"), (&c, "from-memory.bin")] {
        who.download_to(fid, folder.join(name)).expect("it is there already");
        file.assert_same(name, &fs::read(folder.join(name)).expect("it is there"));
    }

    // An existing target is an error, and as it was.
    for taken in ["G", "fetched.bin"] {
        let before = fs::read(folder.join(taken)).expect("it is there");
        let result = b.download_to(other_fid, folder.join(taken));
        assert!(matches!(result, Err(Error::File { .. })), "{taken}: {result:?}");
        assert!(fs::read(folder.join(taken)).expect("it is still there") == before, "{taken} was touched");
    }
    let nowhere = b.download_to(other_fid, folder.join("no/such/folder"));
    assert!(matches!(nowhere, Err(Error::File { .. })), "{nowhere:?}");

    // None of that has spoilt the file.
    b.gets(&other);
}

#[test]
fn threads_of_a_client_may_fetch_the_same_file_to_memory_and_to_paths_at_once() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let file = folder.file("F", 10, MEDIUM);
    let (a, b) = (swarm.join("A", 800_000, 0), swarm.join("B", 0, 0));
    let fid = a.shares(&file);
    let (one, two) = (folder.join("one"), folder.join("two"));
    let to_one = crate::common::begin("to one", {
        let (client, path) = (b.client(), one.clone());
        move || client.download_to(fid, path)
    });
    let to_memory = b.begin_download(fid);
    b.download_to(fid, &two).expect("A has it");
    b.has_got(to_memory, &file);
    to_one.within(Duration::from_secs(20)).expect("A has it");
    for path in [one, two] {
        file.assert_same("a path", &fs::read(path).expect("it is there"));
    }
}

#[test]
fn a_file_that_changes_after_it_was_shared_never_arrives_wrong() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let (file, sound) = (folder.file("F", 11, SMALL), folder.file("G", 12, SMALL));
    let a = swarm.join("A", 0, 0);
    let proxy = swarmcast::Proxy::new(0, 0, None).expect("a port");
    let b = swarm.join_on("B", proxy, Duration::from_secs(2));
    let (fid, _) = (a.shares(&file), a.shares(&sound));
    fs::write(&file.path, vec![7; SMALL / 2]).expect("the test's file can be written");
    let result = b.download(fid);
    assert!(
        matches!(result, Err(Error::NoHolder { .. } | Error::Integrity(_))),
        "{:?}",
        result.map(|got| got.len())
    );
    // The other file is none the worse for it, at a client that has not banned A.
    swarm.join("C", 0, 0).gets(&sound);
}

/// The names in a folder that contain `part`, sorted.
fn names_like(folder: &Folder, part: &str) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).expect("the test's own folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.contains(part)).collect();
    names.sort();
    names
}
