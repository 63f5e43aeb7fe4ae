//! Lists of files written and read, those of honest people and of others; nothing of a disk.

use super::*;
use crate::rand::Rng;

fn file(path: &str, content: &[u8]) -> Entry {
    let kind = Kind::File { size: content.len() as u64, fid: Fid::of(content), is_executable: false };
    Entry { path: RelativePath::new(path).unwrap(), kind }
}

fn executable(path: &str, content: &[u8]) -> Entry {
    let kind = Kind::File { size: content.len() as u64, fid: Fid::of(content), is_executable: true };
    Entry { kind, ..file(path, content) }
}

fn empty_directory(path: &str) -> Entry {
    Entry { path: RelativePath::new(path).unwrap(), kind: Kind::EmptyDirectory }
}

fn collection(entries: Vec<Entry>) -> Collection {
    Collection::new(Arc::new(Listing::new(entries).unwrap()), Fid::of(b"stream")).unwrap()
}

fn refusal(entries: Vec<Entry>) -> CollectionError {
    Listing::new(entries).unwrap_err()
}

/// A blob with these entries, as they stand: kind, kept, rest, size.
fn forged(entries: &[(u8, u64, &[u8], Option<u64>)]) -> Vec<u8> {
    let mut blob = b"SwCo\x01".to_vec();
    blob.bytes(&[7; 32]);
    blob.varint(entries.len() as u64);
    for (kind, kept, rest, size) in entries {
        blob.u8(*kind);
        blob.varint(*kept);
        blob.varint(rest.len() as u64);
        blob.bytes(rest);
        if let Some(size) = size {
            blob.varint(*size);
            blob.bytes(Fid::of(if *size == 0 { b"" } else { b"x" }).as_bytes());
        }
    }
    blob
}

#[test]
fn a_folder_reads_as_it_was_written() {
    let all = vec![
        file("b", b"two"),
        executable("a/run", b"one"),
        file("a/b/c", b"two"),
        file("a.txt", b""),
        empty_directory("d/e"),
        file(".hidden", b"three"),
    ];
    for count in 0..=all.len() {
        let folder = collection(all[..count].to_vec());
        assert_eq!(Collection::decode(&folder.encode()), Ok(folder));
    }
    let folder = collection(all.clone());
    let names: Vec<&str> = folder.listing().entries().iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(names, [".hidden", "a/b/c", "a/run", "a.txt", "b", "d/e"]);
    assert_eq!((folder.listing().file_count(), folder.listing().size()), (5, 14));
    // However it was looked through, it is the same folder.
    let mut shuffled = all;
    Rng::from_seed(1).shuffle(&mut shuffled);
    assert_eq!(collection(shuffled).encode(), folder.encode());
}

#[test]
fn the_stream_has_every_content_once() {
    let entries = vec![
        file("a", b"22"),
        file("b", b""),
        file("c", b"333"),
        executable("d", b"22"),
        empty_directory("e"),
    ];
    let listing = Listing::new(entries).unwrap();
    let places: Vec<(u64, u64, usize)> =
        listing.contents().iter().map(|content| (content.offset, content.size, content.entry)).collect();
    assert_eq!(places, [(0, 2, 0), (2, 3, 2)]);
    let of: Vec<Option<usize>> = (0..5).map(|entry| listing.content_of(entry)).collect();
    assert_eq!(of, [Some(0), None, Some(1), Some(0), None]);
    assert_eq!((listing.stream_len(), listing.size()), (5, 7));
}

#[test]
fn a_selection_writes_a_content_where_it_is_wanted_first() {
    let folder = collection(vec![file("a", b"22"), file("c", b"333"), file("d", b"22"), file("e", b"4444")]);
    let select = |names: &[&str]| Selection::new(folder.clone(), |name| names.contains(&name));
    let some = select(&["c", "d"]);
    assert_eq!(some.homes(), [Some(2), Some(1), None]);
    assert_eq!((some.file_count(), some.size()), (2, 5));
    assert_eq!(select(&["a", "d"]).homes(), [Some(0), None, None]);
    assert_ne!(some.fid(), select(&["c"]).fid());
    assert_eq!(some.fid(), select(&["d", "c"]).fid());
}

#[test]
fn names_that_cant_stand_together_are_refused() {
    let with = |a: &str, b: &str| refusal(vec![file(a, b"1"), file("between", b"2"), file(b, b"3")]);
    assert!(matches!(with("a", "a"), CollectionError::Twice(_)));
    for (a, b) in [("a/x", "A/y"), ("Makefile", "makefile"), ("s/\u{c4}", "s/\u{e4}"), ("a/b/c", "a/B/d")] {
        assert!(matches!(with(a, b), CollectionError::Case(..)), "{a} {b}");
    }
    for (a, b) in [("a", "a/x"), ("a/b", "a/b/c/d"), ("x/a/y", "x/a")] {
        assert!(matches!(with(a, b), CollectionError::Within(..)), "{a} {b}");
    }
    // What sorts between the two hides nothing.
    let hidden = vec![file("a", b"1"), file("a-b", b"2"), file("a.b", b"3"), file("a/b", b"4")];
    assert!(matches!(refusal(hidden), CollectionError::Within(..)));
    assert!(matches!(refusal(vec![empty_directory("d"), file("d/x", b"")]), CollectionError::Within(..)));
    let message = with("a/x", "A/y").to_string();
    assert!(message.starts_with("a and A differ only in upper and lower case"), "{message}");
    assert!(Listing::new(vec![file("a-b", b"1"), file("a/b", b"2"), file("aB", b"3")]).is_ok());
}

#[test]
fn a_blob_is_written_in_one_way_only() {
    let decode = |entries: &[(u8, u64, &[u8], Option<u64>)]| Collection::decode(&forged(entries));
    assert!(decode(&[(0, 0, b"a/x", Some(0)), (1, 2, b"y", Some(1)), (2, 0, b"z", None)]).is_ok());
    for (entries, why) in [
        (vec![(3, 0, &b"a"[..], Some(0))], "a kind that isn't known"),
        (vec![(0, 1, b"a", Some(0))], "the beginning of nothing"),
        (vec![(0, 0, b"a", Some(0)), (0, 2, b"b", Some(0))], "more than there was"),
        (vec![(0, 0, b"ab", Some(0)), (0, 0, b"ac", Some(0))], "less than could be kept"),
        (vec![(0, 0, b"b", Some(0)), (0, 0, b"a", Some(0))], "out of order"),
        (vec![(0, 0, b"a\xff", Some(0))], "no UTF-8"),
    ] {
        assert_eq!(decode(&entries), Err(CollectionError::Malformed), "{why}");
    }
    assert!(matches!(decode(&[(0, 0, b"a", Some(0)), (0, 1, b"", Some(0))]), Err(CollectionError::Twice(_))));
    let sizes = [(0, 0, &b"a"[..], Some(1)), (0, 0, b"b", Some(2))];
    assert!(matches!(decode(&sizes), Err(CollectionError::Size(_))), "one fid with two sizes");
    let good = forged(&sizes[..1]);
    for end in 0..good.len() {
        assert_eq!(Collection::decode(&good[..end]), Err(CollectionError::Malformed), "{end} B");
    }
    assert_eq!(Collection::decode(&[&good[..], b"x"].concat()), Err(CollectionError::Malformed));
    let newer = [b"SwCo\x02", &good[5..]].concat();
    assert_eq!(Collection::decode(&newer), Err(CollectionError::Version(2)));
}

#[test]
fn names_of_strangers_stay_in_the_folder() {
    for name in
        ["..", ".", "", "../x", "/etc/passwd", "a//b", "a/", "a/../b", "a/./b", "a\\b", "a\0", "\x1b[2J/x"]
    {
        let blob = forged(&[(0, 0, name.as_bytes(), Some(0))]);
        assert!(matches!(Collection::decode(&blob), Err(CollectionError::Name { .. })), "{name:?}");
    }
    let (long, deep) = ("x".repeat(256), "x/".repeat(MAX_PATH / 2) + "y");
    assert!(matches!(RelativePath::new(&long), Err(CollectionError::Name { .. })));
    assert_eq!(RelativePath::new(&deep), Err(CollectionError::LongPath(MAX_PATH + 1)));
    assert_eq!(
        Collection::decode(&forged(&[(0, 0, deep.as_bytes(), None)])),
        Err(CollectionError::LongPath(MAX_PATH + 1))
    );
}

/// A small blob can't say so much that the memory runs full.
#[test]
fn what_a_blob_says_is_bounded() {
    let mut blob = b"SwCo\x01".to_vec();
    blob.bytes(&[7; 32]);
    blob.varint(MAX_ENTRIES as u64 + 1);
    assert_eq!(Collection::decode(&blob), Err(CollectionError::TooMany));

    let stem = "x".repeat(250) + "/" + &"y".repeat(250) + "/" + &"z".repeat(250) + "/";
    let names: Vec<String> = (0..MAX_NAMES / 700).map(|n| format!("{n:05}")).collect();
    let first = stem.clone() + &names[0];
    let kept =
        |n: usize| stem.len() as u64 + common_prefix(names[n - 1].as_bytes(), names[n].as_bytes()) as u64;
    let rest = |n: usize| &names[n].as_bytes()[(kept(n) as usize - stem.len())..];
    let entries: Vec<_> = [(DIRECTORY, 0, first.as_bytes(), None)]
        .into_iter()
        .chain((1..names.len()).map(|n| (DIRECTORY, kept(n), rest(n), None)))
        .collect();
    assert_eq!(Collection::decode(&forged(&entries)), Err(CollectionError::LongNames));
    assert!(Collection::decode(&forged(&entries[..1_000])).is_ok());

    let huge = |path: &str, byte: u8| {
        let kind = Kind::File { size: 1 << 41, fid: Fid::of(&[byte]), is_executable: false };
        Entry { kind, ..file(path, b"") }
    };
    assert_eq!(refusal(vec![huge("a", 1), huge("b", 2)]), CollectionError::TooLarge);
}
