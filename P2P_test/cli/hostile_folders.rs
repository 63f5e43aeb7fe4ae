//! Lists of files that strangers have forged: whatever names they hold, nothing is made outside the target.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::thread;

use data_encoding::BASE32_NOPAD;
use swarmcast::coding::Writer as _;
use swarmcast::rand::Rng;
use swarmcast::{Fid, PClient};

use super::hostile::{name, tree};
use crate::{Running, Sandbox, Stream, names};

const COUNT: usize = 200;
const AT_ONCE: usize = 4;
const CONTENT: &[u8] = b"what all files hold";

/// A list of one to three files with names made from strange parts, which all have the one content of the stream.
fn forged(rng: &mut Rng) -> Vec<u8> {
    let mut entries: Vec<Vec<u8>> = (0..1 + rng.index(3)).map(|_| name(rng)).collect();
    entries.sort();
    let mut blob = b"SwCo\x01".to_vec();
    blob.bytes(Fid::of(CONTENT).as_bytes());
    blob.varint(entries.len() as u64);
    let mut before: &[u8] = b"";
    for entry in &entries {
        let kept = before.iter().zip(entry).take_while(|(a, b)| a == b).count();
        blob.u8(rng.index(2) as u8);
        blob.varint(kept as u64);
        blob.varint((entry.len() - kept) as u64);
        blob.bytes(&entry[kept..]);
        blob.varint(CONTENT.len() as u64);
        blob.bytes(Fid::of(CONTENT).as_bytes());
        before = entry;
    }
    blob
}

/// The ticket of the file `a`, turned into one of a folder.
fn of_folder(ticket: &str, fid: Fid) -> String {
    let body = ticket.strip_prefix("swarmcast1:").expect("a ticket").to_ascii_uppercase();
    let bytes = BASE32_NOPAD.decode(body.as_bytes()).expect("base32");
    let middle = bytes[Fid::LEN..bytes.len() - 4].strip_suffix(b"a").expect("the name stands last");
    let payload = [fid.as_bytes(), middle, b"\x03a"].concat();
    let bytes = [&payload[..], &crc32fast::hash(&payload).to_be_bytes()].concat();
    format!("swarmcast1:{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
}

#[test]
fn forged_folders_make_nothing_outside_their_target() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.0.join("a"), CONTENT).expect("it can be written");
    let mut tracker = sandbox.start(&["tracker", "--bind", "0"]);
    let line = tracker.line(Stream::Stdout, "tracker at ");
    let addr = line.strip_prefix("tracker at ").expect("it begins so");
    let (_share, ticket) = sandbox.share(&["a", "--tracker", addr]);
    let tracker: SocketAddr = addr.parse().expect("an address");
    let forger = PClient::new(tracker, None, None, 0, 0).expect("a port is free");

    let outside = sandbox.directory("outside");
    let folder = sandbox.directory("outside/folder");
    fs::write(outside.join("victim"), b"untouched").expect("it can be written");
    symlink("../victim", folder.join("link")).expect("it can be made");
    let mut before = tree(&outside);

    let mut rng = Rng::from_seed(4);
    let blobs = sandbox.directory("blobs");
    let tickets: Vec<(String, String)> = (0..COUNT)
        .map(|n| {
            let path = blobs.join(n.to_string());
            fs::write(&path, forged(&mut rng)).expect("it can be written");
            let fid = forger.register(&path).expect("the tracker takes it");
            (of_folder(&ticket, fid), format!("t{n}"))
        })
        .collect();
    let play = |chunk: &[(String, String)]| -> Vec<i32> {
        let get =
            |(ticket, target): &(String, String)| Running::start(&folder, &["get", ticket, "-o", target]);
        chunk.iter().map(|errand| get(errand).end().code.expect("it ends by itself")).collect()
    };
    let codes: Vec<i32> = thread::scope(|scope| {
        let chunks = tickets.chunks(COUNT.div_ceil(AT_ONCE));
        let threads: Vec<_> = chunks.map(|chunk| scope.spawn(move || play(chunk))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no test failed")).collect()
    });
    let count = |code| codes.iter().filter(|&&is| is == code).count();
    // Refused as a folder, or harmless after all.
    assert_eq!(count(6) + count(0), COUNT, "{codes:?}");
    assert!(count(6) > COUNT / 2 && count(0) > COUNT / 20, "{codes:?}");

    let targets: Vec<String> = names(&folder).into_iter().filter(|name| name != "link").collect();
    assert_eq!(targets.len(), count(0), "{targets:?}");
    let mut after = tree(&outside);
    for target in &targets {
        assert!(target.starts_with('t'), "{target:?}");
        let below = tree(&folder.join(target));
        assert!(!below.is_empty() && below.iter().all(|(_, held)| held == CONTENT), "{target}: {below:?}");
        after.retain(|(path, _)| !path.starts_with(&format!("folder/{target}/")));
    }
    before.sort();
    after.sort();
    assert_eq!(after, before);
}
