//! Downloads to disk that end too early, and go on: little is fetched twice, and nothing is trusted.

use std::fs;
use std::path::{Path, PathBuf};

use swarmcast::time::Duration;
use swarmcast::{Error, Proxy};

use crate::common::{Folder, LARGE, Peer, Pending, Swarm, TestFile, begin, until};

const MINUTE: Duration = Duration::from_secs(60);
/// What comes beside the content: headers, acks, hashes. A twentieth of the file fetched twice would show.
const OVERHEAD: f64 = 1.05;
/// Progress counts whole pieces, B, though the last one is shorter.
const PIECE: u64 = 8_192;

/// A swarm with one source of a large file, and a place for the copy.
struct Scene {
    swarm: Swarm,
    folder: Folder,
    file: TestFile,
    source: Peer,
    target: PathBuf,
}

impl Scene {
    fn new() -> Scene {
        let (swarm, folder) = (Swarm::new(), Folder::new());
        let file = folder.file("F", 1, LARGE);
        let source = swarm.join("the source", 8_000_000, 0);
        source.shares(&file);
        fs::create_dir(folder.join("to")).expect("a folder for the copy");
        let target = folder.join("to/copy");
        Scene { swarm, folder, file, source, target }
    }

    fn begin(&self, peer: &Peer) -> Pending<Result<(), Error>> {
        let (client, fid, target) = (peer.client(), self.file.fid(), self.target.clone());
        begin("a download to disk", move || client.download_to(fid, target))
    }

    /// Lets a client fetch `part` of the file, closes it, and gives how much it had, B.
    fn interrupted_at(&self, part: f64) -> u64 {
        let peer = self.swarm.join("the first", 0, 0);
        let download = self.begin(&peer);
        peer.reaches(self.file.fid(), (LARGE as f64 * part) as usize);
        let had = peer.progress(self.file.fid()).expect("it is under way");
        assert!(had.is_kept && had.found == 0, "{had:?}");
        peer.close().expect("closing can't fail");
        assert!(matches!(download.within(MINUTE), Err(Error::Closed)));
        assert_eq!(self.names().len(), 2, "content and record: {:?}", self.names());
        had.verified
    }

    /// Gets the rest in a new client, and gives what it found, and how much came, B.
    fn goes_on(&self) -> (u64, u64) {
        let proxy = Proxy::new(0, 0, None).expect("a port");
        let peer = self.swarm.join_on("the second", proxy.clone(), MINUTE);
        self.begin(&peer).within(MINUTE).expect("the source has it");
        let came = proxy.stats().bytes_received;
        let progress = peer.progress(self.file.fid()).expect("it serves it now");
        assert!(!progress.is_looking_back);
        self.is_right();
        (progress.found, came)
    }

    fn is_right(&self) {
        self.file.assert_same("the copy", &fs::read(&self.target).expect("it is there"));
        assert_eq!(self.names(), ["copy"]);
    }

    fn names(&self) -> Vec<String> {
        names(&self.folder.join("to"))
    }

    /// The file of which the name ends in `.kind`.
    fn hidden(&self, kind: &str) -> PathBuf {
        let name = self.names().into_iter().find(|name| name.ends_with(&format!(".{kind}")));
        self.folder.join("to").join(name.expect("it is kept"))
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("it can be listed");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

#[test]
fn a_closed_client_leaves_all_that_it_had_to_the_next() {
    let scene = Scene::new();
    let had = scene.interrupted_at(0.5);
    let (found, came) = scene.goes_on();
    assert!(found + PIECE >= had, "{found} B of {had} B were found");
    let rest = LARGE as u64 - found;
    assert!(came as f64 <= rest as f64 * OVERHEAD, "{came} B for the last {rest} B");
}

#[test]
fn a_download_that_fails_goes_on_in_the_same_client() {
    let scene = Scene::new();
    let peer =
        scene.swarm.join_on("the receiver", Proxy::new(0, 0, None).expect("a port"), Duration::from_secs(2));
    let fid = scene.file.fid();
    let download = scene.begin(&peer);
    peer.reaches(fid, LARGE / 2);
    scene.source.cancel(fid).expect("it shares it");
    assert!(matches!(download.within(MINUTE), Err(Error::NoHolder { .. })));
    scene.source.shares(&scene.file);
    scene.begin(&peer).within(MINUTE).expect("the source has it again");
    let found = peer.progress(fid).expect("it serves it now").found;
    assert!(found >= LARGE as u64 / 2, "only {found} B were found");
    scene.is_right();
}

#[test]
fn a_download_that_is_cancelled_leaves_nothing() {
    let scene = Scene::new();
    let peer = scene.swarm.join("the receiver", 0, 0);
    let download = scene.begin(&peer);
    peer.reaches(scene.file.fid(), LARGE / 4);
    peer.cancel(scene.file.fid()).expect("it is under way");
    assert!(matches!(download.within(MINUTE), Err(Error::Cancelled(_))));
    assert!(scene.names().is_empty(), "{:?}", scene.names());
}

#[test]
fn what_is_damaged_meanwhile_is_fetched_again_and_nothing_else() {
    let scene = Scene::new();
    let had = scene.interrupted_at(0.6);
    // Of the 64 kB around the middle of what is there, a piece at least is spoilt.
    let part = scene.hidden("part");
    let mut content = fs::read(&part).expect("it is there");
    assert_eq!(content.len(), LARGE);
    let same = |at: &usize| content[*at] == scene.file.content[*at] && content[*at] != 0;
    let at = (0..LARGE).filter(same).nth(had as usize / 2).expect("half of it is there");
    content[at] ^= 1;
    fs::write(&part, content).expect("it can be written");
    let (found, _) = scene.goes_on();
    assert!(found < had + 100_000 && found + 2 * PIECE >= had, "{found} B of {had} B were found");
}

#[test]
fn a_record_that_is_no_use_is_rebuilt_from_the_content() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 4] = [
        ("cut", |record| record.truncate(record.len() / 2)),
        ("empty", Vec::clear),
        ("flipped", |record| record[50] ^= 4),
        ("foreign", |record| *record = b"another program's".repeat(99)),
    ];
    for (what, damage) in damages {
        let scene = Scene::new();
        let had = scene.interrupted_at(0.3);
        let path = scene.hidden("have");
        let mut record = fs::read(&path).expect("it is there");
        damage(&mut record);
        fs::write(&path, record).expect("it can be written");
        let (found, _) = scene.goes_on();
        assert!(found + PIECE >= had, "{what}: {found} B of {had} B were found");
    }
    let scene = Scene::new();
    let had = scene.interrupted_at(0.3);
    fs::remove_file(scene.hidden("have")).expect("it is there");
    let (found, _) = scene.goes_on();
    assert!(found + PIECE >= had, "missing: {found} B of {had} B were found");
}

#[test]
fn content_that_is_cut_short_is_missing_from_there_on() {
    let scene = Scene::new();
    let had = scene.interrupted_at(0.7);
    let part = fs::File::options().write(true).open(scene.hidden("part")).expect("it is there");
    part.set_len(LARGE as u64 / 2).expect("it can be cut");
    let (found, _) = scene.goes_on();
    assert!(found > 0 && found < had, "{found} B of {had} B were found");
}

#[test]
fn of_two_at_once_one_has_the_name_and_neither_spoils_the_other() {
    let scene = Scene::new();
    let had = scene.interrupted_at(0.2);
    let peers = [scene.swarm.join("one", 0, 0), scene.swarm.join("other", 0, 0)];
    let downloads = peers.each_ref().map(|peer| scene.begin(peer));
    let fid = scene.file.fid();
    let keeps = |peer: &Peer| peer.progress(fid).is_some_and(|progress| progress.is_kept);
    until("one of them goes on with what is there", MINUTE, || peers.iter().any(keeps));
    let results = downloads.map(|download| download.within(MINUTE));
    let there =
        results.iter().filter(|result| matches!(result, Err(Error::Storage { .. } | Error::File { .. })));
    assert!(there.count() == 1 && results.iter().any(Result::is_ok), "{results:?}");
    let found = peers.iter().filter_map(|peer| peer.progress(fid)).map(|progress| progress.found).max();
    assert!(found.is_some_and(|found| found == 0 || found + PIECE >= had), "{found:?} of {had} B");
    scene.file.assert_same("the copy", &fs::read(&scene.target).expect("it is there"));
    // If it was the other that came first, what this one has is kept: who knows what it found under the name.
    let names = scene.names();
    assert!(names == ["copy"] || names.len() == 3 && names[2] == "copy", "{names:?}");
}
