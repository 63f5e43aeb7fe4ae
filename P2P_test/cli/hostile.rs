//! Names that strangers chose: whatever stands in a ticket, nothing is made outside the folder that the user is in.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;

use data_encoding::BASE32_NOPAD;
use swarmcast::rand::Rng;

use crate::{Running, Sandbox, names};

const COUNT: usize = 500;
const AT_ONCE: usize = 4;

/// What names are put together from. The last four are harmless.
const PARTS: [&[u8]; 24] = [
    b"..",
    b".",
    b"/",
    b"\\",
    b"../",
    b"..\\",
    b"/etc/",
    b"~",
    b"~root/",
    b"\0",
    b"\x1b[2J",
    b"\r",
    b"\n",
    b"\xff",
    b"\xc0\xaf",
    "\u{202e}".as_bytes(),
    "\u{2215}".as_bytes(),
    b"C:",
    b"-o",
    b"victim",
    b"link",
    b"a",
    b".txt",
    b" ",
];

pub(super) fn name(rng: &mut Rng) -> Vec<u8> {
    let long = rng.below(20) == 0;
    let parts = if long { 300 } else { 1 + rng.index(4) };
    (0..parts).flat_map(|_| PARTS[rng.index(PARTS.len())]).copied().take(60).collect()
}

/// The same ticket with another name in it.
fn renamed(ticket: &str, own: &[u8], name: &[u8]) -> String {
    let body = ticket.strip_prefix("swarmcast1:").expect("a ticket").to_ascii_uppercase();
    let bytes = BASE32_NOPAD.decode(body.as_bytes()).expect("base32");
    let payload = bytes[..bytes.len() - 4].strip_suffix(own).expect("the name stands last");
    let payload = [payload, name].concat();
    let bytes = [&payload[..], &crc32fast::hash(&payload).to_be_bytes()].concat();
    format!("swarmcast1:{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
}

/// All that is below a directory: relative paths, and what a file holds or a link says.
pub(super) fn tree(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for name in names(directory) {
        let path = directory.join(&name);
        let kind = path.symlink_metadata().expect("it was listed").file_type();
        if kind.is_dir() {
            found.extend(tree(&path).into_iter().map(|(below, held)| (format!("{name}/{below}"), held)));
        } else if kind.is_symlink() {
            found.push((name, fs::read_link(&path).expect("a link").into_os_string().into_encoded_bytes()));
        } else {
            found.push((name, fs::read(&path).expect("a file")));
        }
    }
    found
}

#[test]
fn hostile_names_make_nothing_outside_the_folder() {
    let sandbox = Sandbox::new();
    let content = sandbox.file("a", 1_000, 1);
    let (_share, ticket) = sandbox.share(&["a"]);
    let outside = sandbox.directory("outside");
    fs::write(outside.join("victim"), b"untouched").expect("it can be written");
    let folder = outside.join("folder");
    fs::create_dir(&folder).expect("it can be made");
    // Laid out for whoever follows links.
    symlink("../victim", folder.join("victim")).expect("it can be made");
    symlink("../new", folder.join("link")).expect("it can be made");
    let mut before = tree(&outside);

    let mut rng = Rng::from_seed(3);
    // Each once: two at a time for one target are another story.
    let mut strange = BTreeSet::new();
    while strange.len() < COUNT {
        strange.insert(name(&mut rng));
    }
    let tickets: Vec<String> = strange.iter().map(|name| renamed(&ticket, b"a", name)).collect();
    let codes: Vec<i32> = thread::scope(|scope| {
        let play = |chunk: &[String]| -> Vec<i32> {
            let get = |ticket: &String| Running::start(&folder, &["get", ticket]).end();
            chunk.iter().map(|ticket| get(ticket).code.expect("it ends by itself")).collect()
        };
        let threads: Vec<_> =
            tickets.chunks(COUNT.div_ceil(AT_ONCE)).map(|chunk| scope.spawn(move || play(chunk))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no test failed")).collect()
    });
    let count = |code| codes.iter().filter(|&&is| is == code).count();
    // Refused as a ticket, saved, or not saved as something has that name.
    assert_eq!(count(2) + count(0) + count(7), COUNT, "{codes:?}");
    assert!(count(2) > COUNT / 4 && count(0) > COUNT / 20 && count(7) > 0, "{codes:?}");

    let mut after = tree(&outside);
    let saved: Vec<_> =
        names(&folder).into_iter().filter(|name| name != "victim" && name != "link").collect();
    assert_eq!(saved.len(), count(0), "{saved:?}");
    for name in &saved {
        assert!(!name.starts_with('.'), "{name:?} is hidden");
        assert!(fs::read(folder.join(name)).expect("a file") == content, "{name:?}");
        after.retain(|(path, _)| *path != format!("folder/{name}"));
    }
    before.sort();
    after.sort();
    assert_eq!(after, before);
}
