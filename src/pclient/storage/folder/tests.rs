//! Folders in a directory of their own: what is laid over them, and what is left of unfinished ones.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;
use crate::Fid;
use crate::pclient::collection::Collection;
use crate::pclient::collection::hash::Hashed;

/// A directory of its own, removed afterwards.
struct Room(PathBuf);

impl Room {
    fn new() -> Room {
        let path = std::env::temp_dir().join(format!("swarmcast-folder-{:016x}", Rng::from_os().u64()));
        fs::create_dir(&path).unwrap();
        Room(path)
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.0.join(directory)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn all(collection: &Collection) -> Selection {
    Selection::new(collection.clone(), |_| true)
}

/// A folder with a file in each of two directories, a copy of one of them, an empty file and an empty directory.
fn source(room: &Room) -> Collection {
    room.write("from/a/one", b"one");
    room.write("from/b/two", b"second");
    room.write("from/b/two again", b"second");
    room.write("from/empty", b"");
    fs::create_dir(room.0.join("from/nothing")).unwrap();
    fs::set_permissions(room.0.join("from/b/two again"), fs::Permissions::from_mode(0o755)).unwrap();
    Hashed::of(&room.0.join("from")).unwrap().collection
}

#[test]
fn what_is_read_of_one_folder_and_written_to_another_makes_the_same() {
    let room = Room::new();
    let collection = source(&room);
    let from = FolderStorage::open(&room.0.join("from"), Arc::clone(collection.listing()));
    let mut stream = vec![0; 9];
    from.read_at(0, &mut stream).unwrap();
    assert_eq!(stream, b"onesecond");
    assert_eq!(collection.stream(), Fid::of(&stream));
    let mut middle = [0; 4];
    assert!(from.try_read_at(2, &mut middle).unwrap());
    assert_eq!(&middle, b"esec");

    let to = FolderStorage::resume(&room.0.join("to"), &all(&collection), &mut Rng::from_seed(1)).unwrap();
    // In any order, across files.
    for range in [6..9, 0..2, 2..6] {
        to.write_at(range.start as u64, &stream[range]).unwrap();
    }
    assert!(!room.0.join("to").exists());
    to.finish().unwrap();
    assert_eq!(room.names(""), ["from", "to"]);
    assert_eq!(Hashed::of(&room.0.join("to")).unwrap().collection, collection);
    assert_eq!(room.names("to"), ["a", "b", "empty", "nothing"]);
    // And it can be read where it is now.
    to.read_at(2, &mut middle).unwrap();
    assert_eq!(&middle, b"esec");
    assert!(to.write_at(0, b"x").is_err());
}

#[test]
fn of_a_piece_that_is_not_wanted_whole_the_rest_is_kept_elsewhere() {
    let room = Room::new();
    let collection = source(&room);
    let selection = Selection::new(collection, |name| name == "b/two again");
    let to = FolderStorage::resume(&room.0.join("to"), &selection, &mut Rng::from_seed(1)).unwrap();
    assert!(to.wants(&(0..4)) && to.wants(&(3..4)) && to.wants(&(8..9)) && !to.wants(&(0..3)));
    to.write_at(0, b"onesecond").unwrap();
    to.finish().unwrap();
    assert_eq!((room.names("to"), room.names("to/b")), (vec!["b".to_owned()], vec!["two again".to_owned()]));
    // To serve the piece, all of it is needed.
    let mut stream = [0; 9];
    to.read_at(0, &mut stream).unwrap();
    assert_eq!(&stream, b"onesecond");
    assert_eq!(room.names(""), ["from", "to"]);
}

#[test]
fn an_unfinished_folder_waits_for_the_same_selection_and_one_process() {
    let room = Room::new();
    let collection = source(&room);
    let target = room.0.join("to");
    let resume = |selection: &Selection, seed| {
        FolderStorage::resume(&target, selection, &mut Rng::from_seed(seed)).unwrap()
    };
    let first = resume(&all(&collection), 1);
    first.write_at(0, b"one").unwrap();
    first.resumable().unwrap().write_record(b"a record").unwrap();
    // Another that comes meanwhile, and one that wants something else, begin anew.
    let second = resume(&all(&collection), 2);
    assert!(second.resumable().is_none());
    let other = resume(&Selection::new(collection.clone(), |name| name == "a/one"), 3);
    assert!(!other.resumable().unwrap().has_leftovers());
    drop((second, other));
    assert_eq!(room.names("").len(), 2, "only the first one's is left");
    drop(first);

    let again = resume(&all(&collection), 4);
    let kept = again.resumable().unwrap();
    assert!(kept.has_leftovers());
    assert_eq!(kept.read_record(100).unwrap(), b"a record");
    let mut start = [0; 3];
    again.read_at(0, &mut start).unwrap();
    assert_eq!(&start, b"one");
    assert!(again.read_at(3, &mut start).is_err(), "that was never written");
    again.abandon();
    assert_eq!(room.names(""), ["from"]);
    assert!(again.write_at(0, b"one").is_err() && again.finish().is_err());
}

#[test]
fn a_place_that_others_can_reach_is_not_used() {
    let room = Room::new();
    let collection = source(&room);
    let first = FolderStorage::resume(&room.0.join("to"), &all(&collection), &mut Rng::from_seed(1)).unwrap();
    first.write_at(0, b"one").unwrap();
    drop(first);
    let part = room.names("").into_iter().find(|name| name.starts_with(".to.swarmcast-")).unwrap();
    fs::set_permissions(room.0.join(&part), fs::Permissions::from_mode(0o755)).unwrap();
    let next =
        || FolderStorage::resume(&room.0.join("to"), &all(&collection), &mut Rng::from_seed(2)).unwrap();
    assert!(next().resumable().is_none());
    fs::remove_dir_all(room.0.join(&part)).unwrap();
    room.write("elsewhere/x", b"");
    fs::set_permissions(room.0.join("elsewhere"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("elsewhere", room.0.join(&part)).unwrap();
    assert!(next().resumable().is_none());
    assert_eq!(room.names("elsewhere"), ["x"]);
}

#[test]
fn what_came_in_the_place_of_a_file_counts_as_a_change() {
    let room = Room::new();
    let collection = source(&room);
    let read = || {
        // Nothing is open yet.
        let from = FolderStorage::open(&room.0.join("from"), Arc::clone(collection.listing()));
        from.read_at(0, &mut [0; 3]).unwrap_err().kind()
    };
    let path = room.0.join("from/a/one");
    fs::write(&path, b"on").unwrap();
    assert_eq!(read(), io::ErrorKind::UnexpectedEof);
    fs::remove_file(&path).unwrap();
    assert_eq!(read(), io::ErrorKind::UnexpectedEof);
    symlink("../b/two", &path).unwrap();
    assert_eq!(read(), io::ErrorKind::UnexpectedEof);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(read(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_folder_never_takes_the_place_of_anything() {
    let room = Room::new();
    let collection = source(&room);
    let target = room.0.join("to");
    let to = FolderStorage::resume(&target, &all(&collection), &mut Rng::from_seed(1)).unwrap();
    to.write_at(0, b"onesecond").unwrap();
    fs::create_dir(&target).unwrap();
    assert_eq!(to.finish().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    let late = FolderStorage::resume(&target, &all(&collection), &mut Rng::from_seed(1));
    assert_eq!(late.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    // It may be tried again.
    fs::remove_dir(&target).unwrap();
    to.finish().unwrap();
    assert_eq!(room.names("to/b"), ["two", "two again"]);
}
