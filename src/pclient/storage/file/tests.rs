//! Tests of files on disk: nothing is overwritten, nothing is left behind, nothing short is taken for whole.

use super::*;

/// A directory of its own for one test, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("swarmcast-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> io::ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn a_file_appears_under_its_name_when_it_is_whole() {
    let directory = Directory::new("appears");
    let target = directory.file("film.mkv");
    let storage = FileStorage::create(&target, 11, &mut Rng::from_seed(1)).unwrap();
    let names = directory.names();
    assert!(names[0].starts_with(".film.mkv.swarmcast-") && names[0].ends_with(".part"), "{names:?}");
    storage.write_at(6, b"world").unwrap();
    storage.write_at(0, b"hello ").unwrap();
    storage.finish().unwrap();
    storage.finish().unwrap();
    assert_eq!(directory.names(), ["film.mkv"]);
    assert_eq!(fs::read(&target).unwrap(), b"hello world");
    // It goes on serving others, and can't be spoilt any more.
    let mut buf = [0; 5];
    storage.read_at(6, &mut buf).unwrap();
    assert_eq!(&buf, b"world");
    assert_eq!(kind(storage.write_at(0, b"x")), io::ErrorKind::PermissionDenied);
    drop(storage);
    assert_eq!(directory.names(), ["film.mkv"]);
}

#[test]
fn an_unfinished_file_leaves_nothing() {
    let directory = Directory::new("unfinished");
    let storage = FileStorage::create(&directory.file("x"), 4, &mut Rng::from_seed(1)).unwrap();
    storage.write_at(0, b"ab").unwrap();
    drop(storage);
    assert!(directory.names().is_empty());
    // A size that no file system takes fails in `create`.
    FileStorage::create(&directory.file("x"), u64::MAX, &mut Rng::from_seed(1)).unwrap_err();
    assert!(directory.names().is_empty());
}

#[test]
fn nothing_is_overwritten() {
    let directory = Directory::new("overwrite");
    let target = directory.file("x");
    let storage = FileStorage::create(&target, 3, &mut Rng::from_seed(1)).unwrap();
    storage.write_at(0, b"new").unwrap();
    // It appears while we download.
    fs::write(&target, b"old").unwrap();
    assert_eq!(kind(storage.finish()), io::ErrorKind::AlreadyExists);
    assert_eq!(kind(FileStorage::create(&target, 3, &mut Rng::from_seed(2))), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&target).unwrap(), b"old");
    // The download isn't lost: once the way is free, it can be tried again.
    fs::remove_file(&target).unwrap();
    storage.finish().unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"new");
}

#[test]
fn nothing_is_overwritten_however_it_is_renamed() {
    let directory = Directory::new("rename");
    let (from, to) = (directory.file("from"), directory.file("to"));
    for rename in [rename_without_overwrite, rename_by_link, rename_over_placeholder] {
        fs::write(&from, b"new").unwrap();
        fs::write(&to, b"old").unwrap();
        assert_eq!(kind(rename(&from, &to)), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&to).unwrap(), b"old");
        fs::remove_file(&to).unwrap();
        rename(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"new");
        assert_eq!(kind(rename(&from, &directory.file("other"))), io::ErrorKind::NotFound);
        assert_eq!(directory.names(), ["to"]);
    }
}

#[test]
fn links_laid_out_for_us_are_not_followed() {
    let directory = Directory::new("links");
    let victim = directory.file("victim");
    fs::write(&victim, b"precious").unwrap();
    // The first temporary name of this seed is taken by a link: another one is used.
    let tag = format!("{:08x}", Rng::from_seed(7).u32());
    let taken = directory.0.join(partial::hidden_name(Path::new("x"), &tag, "part"));
    std::os::unix::fs::symlink(&victim, &taken).unwrap();
    let storage = FileStorage::create(&directory.file("x"), 3, &mut Rng::from_seed(7)).unwrap();
    storage.write_at(0, b"new").unwrap();
    storage.finish().unwrap();
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    // A dangling link at the target counts as something that is there.
    let dangling = directory.file("dangling");
    std::os::unix::fs::symlink(directory.file("nowhere"), &dangling).unwrap();
    assert_eq!(kind(FileStorage::create(&dangling, 3, &mut Rng::from_seed(1))), io::ErrorKind::AlreadyExists);
}

#[test]
fn writes_beyond_the_size_are_refused() {
    let directory = Directory::new("beyond");
    let storage = FileStorage::create(&directory.file("x"), 4, &mut Rng::from_seed(1)).unwrap();
    for offset in [2, 4, u64::MAX] {
        assert_eq!(kind(storage.write_at(offset, b"abc")), io::ErrorKind::InvalidInput);
    }
    let mut buf = [1; 4];
    storage.read_at(0, &mut buf).unwrap();
    assert_eq!(buf, [0; 4]);
}

#[test]
fn a_file_truncated_under_us_is_an_error_and_not_garbage() {
    let directory = Directory::new("truncated");
    let path = directory.file("x");
    fs::write(&path, b"0123456789").unwrap();
    let storage = FileStorage::open(&path).unwrap();
    assert_eq!(storage.size(), 10);
    let mut buf = [0; 6];
    storage.read_at(4, &mut buf).unwrap();
    assert_eq!(&buf, b"456789");
    File::options().write(true).open(&path).unwrap().set_len(7).unwrap();
    assert_eq!(kind(storage.read_at(4, &mut buf)), io::ErrorKind::UnexpectedEof);
    assert_eq!(kind(storage.read_at(1 << 40, &mut buf)), io::ErrorKind::UnexpectedEof);
}

#[test]
fn what_is_shared_is_never_written_and_stays() {
    let directory = Directory::new("shared");
    let path = directory.file("x");
    fs::write(&path, b"abc").unwrap();
    let storage = FileStorage::open(&path).unwrap();
    assert_eq!(kind(storage.write_at(0, b"x")), io::ErrorKind::PermissionDenied);
    storage.finish().unwrap();
    drop(storage);
    assert_eq!(fs::read(&path).unwrap(), b"abc");
}

#[test]
fn only_regular_files_are_shared_or_made() {
    let directory = Directory::new("regular");
    assert_eq!(kind(FileStorage::open(&directory.0)), io::ErrorKind::IsADirectory);
    assert_eq!(kind(FileStorage::open(Path::new("/dev/null"))), io::ErrorKind::InvalidInput);
    assert_eq!(kind(FileStorage::open(&directory.file("none"))), io::ErrorKind::NotFound);
    let mut rng = Rng::from_seed(1);
    let in_none = directory.file("none").join("x");
    assert_eq!(kind(FileStorage::create(&in_none, 1, &mut rng)), io::ErrorKind::NotFound);
    assert_eq!(kind(FileStorage::create(&directory.file(".."), 1, &mut rng)), io::ErrorKind::InvalidInput);
}

#[test]
fn the_longest_name_has_a_temporary_one() {
    let directory = Directory::new("longest");
    for name in ["é".repeat(127), format!("x{}", "é".repeat(127)), "x".repeat(255)] {
        let target = directory.file(&name);
        FileStorage::create(&target, 0, &mut Rng::from_seed(1)).unwrap().finish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"");
    }
}

#[test]
fn what_is_abandoned_is_gone_at_once_and_stays_so() {
    let directory = Directory::new("abandoned");
    let target = directory.file("a");
    let storage = FileStorage::create(&target, 4, &mut Rng::from_seed(1)).unwrap();
    storage.write_at(0, b"half").unwrap();
    storage.abandon();
    assert!(directory.names().is_empty());
    assert_eq!(kind(storage.write_at(0, b"more")), io::ErrorKind::PermissionDenied);
    assert_eq!(kind(storage.finish()), io::ErrorKind::PermissionDenied);
    assert!(directory.names().is_empty());
    let finished = FileStorage::create(&target, 0, &mut Rng::from_seed(2)).unwrap();
    finished.finish().unwrap();
    finished.abandon();
    assert_eq!(directory.names(), ["a"]);
}

#[test]
fn what_was_just_written_is_read_without_waiting() {
    let directory = Directory::new("quick");
    let storage = FileStorage::create(&directory.file("a"), 11, &mut Rng::from_seed(1)).unwrap();
    storage.write_at(0, b"hello world").unwrap();
    let mut buf = [0; 5];
    assert!(storage.try_read_at(6, &mut buf).unwrap());
    assert_eq!(&buf, b"world");
    assert_eq!(kind(storage.try_read_at(7, &mut buf)), io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_file_without_a_name_is_written_and_read_like_others() {
    let storage = FileStorage::unnamed(10).unwrap();
    storage.write_at(5, b"world").unwrap();
    storage.write_at(0, b"hello").unwrap();
    assert_eq!(storage.write_at(8, b"abc").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    storage.finish().unwrap();
    let mut buf = [0; 10];
    storage.read_at(0, &mut buf).unwrap();
    assert_eq!(&buf, b"helloworld");
    assert!(storage.resumable().is_none(), "no other attempt can find it");
}
