//! Tests of unfinished files: found again by the next attempt, by one at a time, and never somebody's trap.

use std::os::unix::fs::symlink;

use super::*;
use crate::pclient::storage::{FileStorage, Resumable, Storage as _};
use crate::rand::Rng;

/// A directory of its own for one test, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("swarmcast-partial-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn target(&self) -> PathBuf {
        self.0.join("film")
    }

    fn part(&self) -> PathBuf {
        self.0.join(hidden_name(&self.target(), &fid().short(), "part"))
    }

    fn record(&self) -> PathBuf {
        self.0.join(hidden_name(&self.target(), &fid().short(), "have"))
    }

    fn resume(&self) -> FileStorage {
        FileStorage::resume(&self.target(), fid(), 11, &mut Rng::from_os()).unwrap()
    }

    fn names(&self) -> Vec<OsString> {
        let mut names: Vec<_> =
            fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn fid() -> Fid {
    Fid::of(b"hello world")
}

fn has_leftovers(storage: &FileStorage) -> Option<bool> {
    storage.resumable().map(Resumable::has_leftovers)
}

#[test]
fn the_next_attempt_finds_content_and_record() {
    let directory = Directory::new("finds");
    let storage = directory.resume();
    assert_eq!(has_leftovers(&storage), Some(false));
    assert_eq!(storage.resumable().unwrap().read_record(9).unwrap_err().kind(), io::ErrorKind::NotFound);
    storage.write_at(6, b"world").unwrap();
    storage.resumable().unwrap().write_record(b"first").unwrap();
    storage.resumable().unwrap().write_record(b"6..11").unwrap();
    drop(storage);
    assert_eq!(
        directory.names(),
        [directory.record(), directory.part()].map(|p| p.file_name().unwrap().to_owned())
    );

    // A process died while it wrote a record.
    fs::write(directory.0.join(hidden_name(&directory.target(), &fid().short(), "have-new")), "ha").unwrap();
    let storage = directory.resume();
    assert_eq!(has_leftovers(&storage), Some(true));
    let resumable = storage.resumable().unwrap();
    assert_eq!(resumable.read_record(9).unwrap(), b"6..11");
    assert_eq!(resumable.read_record(1).unwrap(), b"6.", "no more than was asked for, and one");
    let mut world = [0; 5];
    storage.read_at(6, &mut world).unwrap();
    assert_eq!(&world, b"world");
    storage.write_at(0, b"hello ").unwrap();
    storage.resumable().unwrap().write_record(b"all").unwrap();
    storage.finish().unwrap();
    assert!(storage.resumable().is_none());
    assert_eq!(directory.names(), ["film"]);
    assert_eq!(fs::read(directory.target()).unwrap(), b"hello world");
    drop(storage);
    assert_eq!(directory.names(), ["film"]);
}

#[test]
fn what_is_given_up_or_was_never_begun_leaves_nothing() {
    let directory = Directory::new("given-up");
    drop(directory.resume());
    assert!(directory.names().is_empty());
    // Killed before anything was written.
    fs::write(directory.part(), "").unwrap();
    let storage = directory.resume();
    assert_eq!(has_leftovers(&storage), Some(false));
    drop(storage);
    assert!(directory.names().is_empty());

    let storage = directory.resume();
    storage.write_at(0, b"hello").unwrap();
    storage.resumable().unwrap().write_record(b"0..5").unwrap();
    storage.abandon();
    assert!(directory.names().is_empty() && storage.resumable().is_none());
    assert_eq!(storage.write_at(0, b"x").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    drop(storage);
    assert!(directory.names().is_empty());
}

#[test]
fn content_whose_record_is_gone_is_found_and_another_size_is_made_to_fit() {
    let directory = Directory::new("no-record");
    for (there, expected) in
        [(&b"hello"[..], b"hello\0\0\0\0\0\0"), (b"hello world and more", b"hello world")]
    {
        fs::write(directory.part(), there).unwrap();
        let storage = directory.resume();
        assert_eq!(has_leftovers(&storage), Some(true));
        let mut content = [1; 11];
        storage.read_at(0, &mut content).unwrap();
        assert_eq!(&content, expected);
        assert_eq!(storage.resumable().unwrap().next_data(0).unwrap().map(|data| data.start), Some(0));
        drop(storage);
        assert_eq!(fs::read(directory.part()).unwrap(), expected, "it is kept");
    }
}

#[test]
fn holes_are_told_from_what_was_written() {
    let directory = Directory::new("holes");
    let size = 16 << 20;
    let storage = FileStorage::resume(&directory.target(), fid(), size, &mut Rng::from_os()).unwrap();
    assert_eq!(storage.resumable().unwrap().next_data(0).unwrap(), None);
    storage.write_at(9 << 20, &[7; 100_000]).unwrap();
    let data = storage.resumable().unwrap().next_data(0).unwrap().unwrap();
    assert!(data.start <= 9 << 20 && data.end >= (9 << 20) + 100_000, "{data:?}");
    assert!(data.end - data.start < 2 << 20, "{data:?}: nearly all was never written");
    assert_eq!(storage.resumable().unwrap().next_data(data.end).unwrap(), None);
}

#[test]
fn two_at_once_never_write_to_the_same_file() {
    let directory = Directory::new("two");
    let first = directory.resume();
    let second = directory.resume();
    assert!(second.resumable().is_none(), "it is under a name of its own");
    first.write_at(0, b"hello world").unwrap();
    second.write_at(0, b"HELLO WORLD").unwrap();
    first.resumable().unwrap().write_record(b"all").unwrap();
    first.finish().unwrap();
    // The first one's file has another name now, and is nobody's to go on with.
    let mut rng = Rng::from_os();
    let third = FileStorage::resume(&directory.target(), fid(), 11, &mut rng);
    assert_eq!(third.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(second.finish().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    drop((first, second));
    assert_eq!(directory.names(), ["film"]);
    assert_eq!(fs::read(directory.target()).unwrap(), b"hello world");
}

#[test]
fn a_file_whose_name_is_taken_when_it_is_whole_is_kept() {
    let directory = Directory::new("taken");
    let storage = directory.resume();
    storage.write_at(0, b"hello world").unwrap();
    fs::write(directory.target(), "mine").unwrap();
    assert_eq!(storage.finish().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    drop(storage);
    assert_eq!(fs::read(directory.target()).unwrap(), b"mine");
    assert_eq!(fs::read(directory.part()).unwrap(), b"hello world");
    fs::remove_file(directory.target()).unwrap();
    let storage = directory.resume();
    assert_eq!(has_leftovers(&storage), Some(true));
    storage.finish().unwrap();
    assert_eq!(directory.names(), ["film"]);
}

#[test]
fn nothing_that_others_have_laid_out_is_opened() {
    let directory = Directory::new("traps");
    let victim = directory.0.join("victim");
    fs::write(&victim, "precious").unwrap();
    type Trap = fn(&Path, &Path);
    let traps: [(&str, Trap); 5] = [
        ("a link", |victim, path| symlink(victim, path).unwrap()),
        ("a dangling link", |_, path| symlink("nowhere", path).unwrap()),
        ("a second name", |victim, path| fs::hard_link(victim, path).unwrap()),
        ("a directory", |_, path| fs::create_dir(path).unwrap()),
        ("a pipe", |_, path| {
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        }),
    ];
    for (what, lay) in traps {
        lay(&victim, &directory.part());
        let storage = directory.resume();
        assert!(storage.resumable().is_none(), "{what} is used");
        storage.write_at(0, b"hello world").unwrap();
        storage.finish().unwrap();
        assert_eq!(fs::read(directory.target()).unwrap(), b"hello world");
        assert_eq!(fs::read(&victim).unwrap(), b"precious", "{what} is followed");
        fs::remove_file(directory.target()).unwrap();
        fs::remove_file(directory.part()).or_else(|_| fs::remove_dir(directory.part())).unwrap();
    }
    // The record's names, too.
    for kind in ["have", "have-new"] {
        let storage = directory.resume();
        storage.write_at(0, b"hello").unwrap();
        let path = directory.0.join(hidden_name(&directory.target(), &fid().short(), kind));
        symlink(&victim, &path).unwrap();
        let resumable = storage.resumable().unwrap();
        assert!(resumable.read_record(100).is_err(), "{kind} is followed");
        resumable.write_record(b"0..5").unwrap();
        assert_eq!(resumable.read_record(100).unwrap(), b"0..5");
        assert_eq!(fs::read(&victim).unwrap(), b"precious", "{kind} is followed");
        storage.abandon();
    }
}

#[test]
fn a_file_of_somebody_else_is_not_ours() {
    let directory = Directory::new("owner");
    fs::write(directory.part(), "hello").unwrap();
    // Only root can give files away; for anybody else there is nothing to see here.
    if std::os::unix::fs::chown(directory.part(), Some(12_345), None).is_ok() {
        assert!(directory.resume().resumable().is_none());
        assert_eq!(fs::read(directory.part()).unwrap(), b"hello");
    }
}

#[test]
fn the_longest_name_has_a_hidden_one() {
    for name in ["é".repeat(127), format!("x{}", "é".repeat(127)), "x".repeat(255)] {
        for kind in ["part", "have-new"] {
            let hidden = hidden_name(Path::new(&name), "01234567", kind).into_string().unwrap();
            let beginning: String = name.chars().take(20).collect();
            assert!(hidden.starts_with(&format!(".{beginning}")), "{hidden}");
            assert!((name::MAX_LEN - 1..=name::MAX_LEN).contains(&hidden.len()), "{hidden}");
        }
    }
}
