//! Everything that turns bytes into values: it ends, and what it takes in comes back as it was.

use std::num::NonZeroU16;

use swarmcast::Fid;
use swarmcast::coding::{Reader, Writer as _};
use swarmcast::discovery::{self, Content};
use swarmcast::name::FileName;
use swarmcast::pclient::collection::{self, Collection, Entry, Listing, MAX_NAMES, RelativePath};
use swarmcast::pclient::manifest::Manifest;
use swarmcast::pclient::message::Message;
use swarmcast::pclient::size_proof::SizeProof;
use swarmcast::rudp::cookie::{Cookie, CookieJar};
use swarmcast::rudp::frame::{Ack, Fragment, Frame, MAX_ACK_RANGES};
use swarmcast::rudp::handshake::{Hello, Welcome};
use swarmcast::rudp::packet::{self, ConnectionId, Header, Kind, Transaction};
use swarmcast::time::{Duration, Instant};
use swarmcast::tracker::protocol::{
    Announcement, Asked, FoundFile, Holder, MAX_DATAGRAM, Refusal, Request, Response,
};

use crate::notes::{magnitude, reached};

const KINDS: [Kind; 6] = [Kind::Hello, Kind::Retry, Kind::Welcome, Kind::Data, Kind::Close, Kind::Oneshot];
const ID: ConnectionId = ConnectionId(0x89ab_cdef);
const TRANSACTION: Transaction = Transaction(0x0123_4567_89ab_cdef);
/// As if this many packets had been sent, so that acks have something to ack.
const HIGHEST_SENT: u64 = (5 << 32) + 1_000;
/// A delay below this comes back exactly; above, it is as good as for ever.
const LONGEST_DELAY: Duration = Duration::from_secs(1 << 40);

fn rng(seed: u64) -> swarmcast::rand::Rng {
    swarmcast::rand::Rng::from_seed(seed)
}

fn a_cookie() -> Cookie {
    CookieJar::new(&mut rng(1)).make(Instant::ORIGIN, ([127, 0, 0, 1], 1).into())
}

/// What opens is exactly what would be written.
pub(crate) fn packet(data: &[u8]) {
    let opened = packet::open(data);
    reached(0, opened.map_or_else(|error| error as u64, |(header, _)| 10 + header.kind as u64));
    let Ok((header, body)) = opened else { return };
    let mut again = Vec::new();
    packet::begin(&mut again, header);
    again.bytes(body);
    packet::seal(&mut again);
    assert_eq!(again, data);
}

/// A datagram of each kind.
pub(crate) fn packet_seeds() -> Vec<Vec<u8>> {
    let seed = |kind: Kind| {
        let mut seed = Vec::new();
        packet::begin(&mut seed, Header { kind, connection: ID, number: u32::MAX });
        seed.bytes(&[kind as u8; 20]);
        packet::seal(&mut seed);
        seed
    };
    KINDS.into_iter().map(seed).collect()
}

fn is_exact(frame: &Frame<'_>) -> bool {
    match frame {
        Frame::Ack(ack) => ack.delay < LONGEST_DELAY,
        _ => true,
    }
}

/// Frames up to the first that is none: each says the same when it is written and read again.
pub(crate) fn frames(data: &[u8]) {
    let mut reader = Reader::new(data);
    let mut buf = Vec::new();
    for n in 0.. {
        assert!(n <= data.len(), "more frames than bytes");
        let frame = match Frame::decode(&mut reader, HIGHEST_SENT) {
            Ok(Some(frame)) => frame,
            Ok(None) => return reached(0, 0),
            Err(_) => return reached(0, 1),
        };
        match &frame {
            Frame::Ping => reached(1, 0),
            Frame::ImmediateAck => reached(1, 1),
            Frame::Timestamp { unsettled, .. } => reached(2, magnitude(*unsettled)),
            Frame::Abandon { message, .. } => reached(3, magnitude(*message)),
            Frame::PathChallenge(_) => reached(1, 2),
            Frame::PathResponse(_) => reached(1, 3),
            Frame::Fragment(fragment) => {
                reached(4, magnitude(fragment.offset) << 1 | u64::from(fragment.fin));
            }
            Frame::Ack(ack) => {
                assert!((1..=MAX_ACK_RANGES).contains(&ack.ranges.len()));
                assert!(ack.ranges.iter().all(|range| range.start < range.end));
                assert!(ack.ranges.windows(2).all(|pair| pair[1].end < pair[0].start));
                reached(5, ack.ranges.len() as u64);
            }
        }
        buf.clear();
        frame.encode(&mut buf);
        let mut again = Reader::new(&buf);
        let read = Frame::decode(&mut again, HIGHEST_SENT).expect("what was written can be read");
        assert!(again.is_empty());
        assert!(read.as_ref() == Some(&frame) || !is_exact(&frame), "{frame:?} became {read:?}");
    }
}

/// One of each frame, and all together.
pub(crate) fn frame_seeds() -> Vec<Vec<u8>> {
    let ack = |ranges| Ack {
        ranges,
        received: 17 << 8,
        delay: Duration::from_micros(6_400),
        downlink_queue: Duration::from_millis(64),
        credit: 200,
    };
    let most = (0..MAX_ACK_RANGES as u64).map(|n| HIGHEST_SENT - 3 * n..HIGHEST_SENT - 3 * n + 1);
    let frames = [
        Frame::Ack(ack(most.collect())),
        Frame::Ping,
        Frame::ImmediateAck,
        Frame::Timestamp { sent: 1 << 31, unsettled: 70 },
        Frame::Abandon { message: 16_384, len: 700 },
        Frame::PathChallenge([0x5a; 8]),
        Frame::PathResponse([0xa5; 8]),
        Frame::Ack(ack(vec![HIGHEST_SENT - 3..HIGHEST_SENT + 1, HIGHEST_SENT - 90..HIGHEST_SENT - 4])),
        Frame::Fragment(Fragment { message: 1, offset: 0, fin: true, data: b"whole" }),
        Frame::Fragment(Fragment { message: 1 << 30, offset: 16_000, fin: false, data: b"part" }),
    ];
    let alone = frames.iter().map(|frame| {
        let mut seed = Vec::new();
        frame.encode(&mut seed);
        seed
    });
    let mut seeds: Vec<Vec<u8>> = alone.collect();
    seeds.push(seeds.concat());
    seeds
}

/// The three bodies of a handshake.
pub(crate) fn handshake(data: &[u8]) {
    let mut buf = Vec::new();
    if let Ok((hello, frames)) = Hello::decode(data) {
        hello.encode(&mut buf);
        buf.extend(frames);
        assert_eq!(Hello::decode(&buf), Ok((hello, frames)));
        reached(0, u64::from(hello.cookie.is_some()));
    }
    if let Ok(welcome) = Welcome::decode(data) {
        buf.clear();
        welcome.encode(&mut buf);
        assert!(data.starts_with(&buf));
        reached(1, 0);
    }
    if let Ok(cookie) = Cookie::decode(&mut Reader::new(data)) {
        buf.clear();
        cookie.encode(&mut buf);
        assert!(data.starts_with(&buf) && buf.len() == Cookie::LEN);
        let jar = CookieJar::new(&mut rng(2));
        assert!(!jar.accepts(Instant::ORIGIN, ([127, 0, 0, 1], 1).into(), &cookie), "a cookie was guessed");
        reached(2, 0);
    }
}

/// A hello without and with a cookie, and a welcome.
pub(crate) fn handshake_seeds() -> Vec<Vec<u8>> {
    let hello = |cookie| {
        let mut seed = Vec::new();
        Hello { cookie, receive_window: 1 << 20, datagram_size: 1_200, sent: 77 }.encode(&mut seed);
        seed
    };
    let mut welcome = Vec::new();
    Welcome {
        receive_window: 5,
        datagram_size: 1_200,
        hello_sent: 7,
        hello_received: 8,
        sent: 9,
        downlink_queue: 10,
    }
    .encode(&mut welcome);
    vec![hello(None), hello(Some(a_cookie())), welcome]
}

/// The body of a datagram that the tracker's protocol wrote.
fn body_of(datagram: &[u8]) -> &[u8] {
    assert!(datagram.len() <= MAX_DATAGRAM, "{} B", datagram.len());
    packet::open(datagram).expect("what was sealed opens").1
}

/// A question to a tracker.
pub(crate) fn tracker_request(data: &[u8]) {
    let Ok(asked) = Asked::decode(data) else { return reached(0, 0) };
    reached(1, u64::from(data[0]) << 1 | u64::from(asked.cookie.is_some()));
    let Ok(request) = &asked.request else { return reached(0, 1) };
    let mut buf = Vec::new();
    request.encode(TRANSACTION, asked.cookie.as_ref(), &mut buf);
    assert_eq!(body_of(&buf), data, "there is one way to write {asked:?}");
}

/// One of each question.
pub(crate) fn tracker_request_seeds() -> Vec<Vec<u8>> {
    let (fid, name) = (Fid::of(b"content"), FileName::new("a file.bin").expect("a name"));
    let announcement = Announcement { fid, name: Some(name.clone()), size: 1 << 40, progress: 7, want: 30 };
    let unnamed = Announcement { name: None, ..announcement.clone() };
    let requests = [
        Request::Hello,
        Request::Announce(announcement),
        Request::Announce(unnamed),
        Request::Lookup { fid, want: 30 },
        Request::Find { name },
        Request::Cancel { fid },
        Request::Leave,
    ];
    let mut buf = Vec::new();
    let mut seed = |request: &Request| {
        request.encode(TRANSACTION, Some(&a_cookie()), &mut buf);
        body_of(&buf).to_vec()
    };
    requests.iter().map(&mut seed).collect()
}

/// A tracker's answer.
pub(crate) fn tracker_response(data: &[u8]) {
    let Ok(response) = Response::decode(data) else { return reached(0, 0) };
    reached(1, (u64::from(data[0]) << 12) | (data.len() as u64 / 16));
    let mut buf = Vec::new();
    response.encode(TRANSACTION, &mut buf);
    assert_eq!(body_of(&buf), data, "there is one way to write {response:?}");
}

/// One of each answer, with lists of both kinds.
pub(crate) fn tracker_response_seeds() -> Vec<Vec<u8>> {
    let fid = Fid::of(b"content");
    let holder = |n: u8| Holder {
        addr: if n.is_multiple_of(2) { ([10, 0, 0, n], 7).into() } else { ([u16::from(n); 8], 7).into() },
        progress: n,
    };
    let file = |n: u32| FoundFile { fid, size: u64::from(n) << 40, holders: n };
    let responses = [
        Response::NeedCookie(a_cookie()),
        Response::Holders { lease_seconds: 60, total: 5, holders: (0..5).map(holder).collect() },
        Response::Holders { lease_seconds: 60, total: 99, holders: vec![holder(1); 30] },
        Response::Unknown { fid },
        Response::Found { total: 2, files: vec![file(1), file(2)] },
        Response::Done,
        Response::Refused(Refusal::TrackerFull),
        Response::Introduction { cookie: a_cookie(), total: 9, holders: (0..3).map(holder).collect() },
    ];
    let mut buf = Vec::new();
    let mut seed = |response: &Response| {
        response.encode(TRANSACTION, &mut buf);
        body_of(&buf).to_vec()
    };
    responses.iter().map(&mut seed).collect()
}

/// A question to the local network, or an answer.
pub(crate) fn discovery(data: &[u8]) {
    let Some(said) = discovery::Datagram::decode(data) else { return reached(0, 0) };
    reached(1, u64::from(said.content == Content::Question));
    let mut buf = Vec::new();
    said.encode(&mut buf);
    assert_eq!(buf, data, "there is one way to write {said:?}");
    assert_eq!(data.len(), discovery::LEN);
    assert!(!said.is_about(&Fid::of(b"known to nobody")), "a proof was guessed");
}

/// A question and two answers.
pub(crate) fn discovery_seeds() -> Vec<Vec<u8>> {
    let port = |port| Content::Answer(NonZeroU16::new(port).expect("a port"));
    let seed = |content| {
        let mut seed = Vec::new();
        discovery::Datagram::new(TRANSACTION, content, &Fid::of(b"content")).encode(&mut seed);
        seed
    };
    [Content::Question, port(1), port(10086)].map(seed).to_vec()
}

/// What peers say.
pub(crate) fn message(data: &[u8]) {
    let Ok(message) = Message::decode(data) else { return reached(0, 0) };
    reached(1, u64::from(data[0]));
    reached(2, u64::from(data[0]) << 8 | magnitude(data.len() as u64));
    let again = message.encode();
    assert!(again.len() <= data.len(), "the shortest form is written");
    assert_eq!(Message::decode(&again), Ok(message));
}

/// One of each message.
pub(crate) fn message_seeds() -> Vec<Vec<u8>> {
    let fid = Fid::of(b"content");
    let hashes = [[1; 32], [2; 32]];
    let messages = [
        Message::Hello { node: u64::MAX },
        Message::Open { channel: 70, fid, has_manifest: true, is_complete: false },
        Message::Shut { channel: 1 },
        Message::Refuse { fid },
        Message::AskManifest { channel: 1, part: Some(512) },
        Message::Outline { channel: 1, size: 1 << 40, proof: b"proof", joints: &hashes },
        Message::Hashes { channel: 1, part: 3, hashes: &hashes },
        Message::Bitfield { channel: 1, bytes: b"\xff\x01" },
        Message::Have { channel: 1, pieces: vec![0, 100, 100_000] },
        Message::Request { channel: 1, id: 2, piece: 3, first: 4, count: 5 },
        Message::Any { channel: 1, id: 2, credits: 3, residue: 4, modulus: 5 },
        Message::None { channel: 1, id: 2, credits: 3 },
        Message::Cancel { channel: 1, id: 2 },
        Message::Reject { channel: 1, id: 2 },
        Message::Block { channel: 1, id: 2, piece: 3, block: 4, data: b"content" },
        Message::AskPeers { channel: 1 },
        Message::Peers { channel: 1, peers: vec![([10, 0, 0, 1], 7).into(), ([1; 8], 7).into()] },
        Message::AskManifest { channel: 1, part: None },
        Message::DontHave { channel: 1, pieces: vec![0, 100, 100_000] },
    ];
    messages.iter().map(Message::encode).collect()
}

/// A size in 8 B, then what is said to prove it.
pub(crate) fn size_proof(data: &[u8]) {
    let mut reader = Reader::new(data);
    let Ok(size) = reader.u64() else { return };
    let bytes = reader.rest();
    let Some(proof) = SizeProof::from_bytes(size, bytes) else { return reached(0, 0) };
    assert_eq!(proof.to_bytes(), bytes);
    reached(1, magnitude(size));
    // Nothing here hashes to this one.
    assert!(!proof.proves(&Fid::from_bytes([0; 32]), size));
}

/// True proofs of some sizes.
pub(crate) fn size_proof_seeds() -> Vec<Vec<u8>> {
    let seed = |size: usize| {
        let proof = Manifest::of(&vec![5; size]).outline().size_proof().to_bytes();
        [&(size as u64).to_be_bytes()[..], &proof].concat()
    };
    [0, 1, 1_024, 1_025, 5_000, 70_000].into_iter().map(seed).collect()
}

/// The list of a folder's files.
pub(crate) fn collection(data: &[u8]) {
    let Ok(folder) = Collection::decode(data) else { return reached(0, 0) };
    let entries = folder.listing().entries();
    assert!(entries.iter().map(|entry| entry.path.as_str().len()).sum::<usize>() <= MAX_NAMES);
    assert!(entries.windows(2).all(|pair| pair[0].path < pair[1].path));
    for path in entries.iter().map(|entry| entry.path.as_str()) {
        assert!(path.split('/').all(|component| FileName::new(component).is_ok()), "{path:?}");
    }
    reached(1, entries.len() as u64);
    reached(2, folder.listing().contents().len() as u64);
    let again = folder.encode();
    assert!(again.len() <= data.len(), "the shortest form is written");
    assert_eq!(Collection::decode(&again), Ok(folder));
}

/// Folders with files that share something.
pub(crate) fn collection_seeds() -> Vec<Vec<u8>> {
    let entry = |path: &str, content: Option<&[u8]>| {
        let of = |content: &[u8]| collection::Kind::File {
            size: content.len() as u64,
            fid: Fid::of(content),
            is_executable: content.len() % 2 == 1,
        };
        Entry {
            path: RelativePath::new(path).expect("a name"),
            kind: content.map_or(collection::Kind::EmptyDirectory, of),
        }
    };
    let folders = [
        vec![],
        vec![entry("a", Some(b"1"))],
        vec![entry("a/b", Some(b"22")), entry("a/bc", Some(b"22")), entry("d", Some(b""))],
        vec![
            entry("a/\u{dc}", Some(b"1")),
            entry("a/b/c", None),
            entry("b", None),
            entry("b-c", Some(b"333")),
        ],
    ];
    let seed = |entries: Vec<Entry>| {
        let listing = Listing::new(entries).expect("they can stand together");
        Collection::new(listing.into(), Fid::of(b"stream")).expect("it is short").encode()
    };
    folders.into_iter().map(seed).collect()
}
