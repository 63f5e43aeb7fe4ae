//! One of each datagram, frame, message, question and answer, as the code writes it: the tables of docs/protocol.md.
//!
//! That they are read back is tested where the codecs are.

use swarmcast::Fid;
use swarmcast::coding::{Reader, Writer as _};
use swarmcast::name::FileName;
use swarmcast::pclient::message::Message;
use swarmcast::rudp::cookie::Cookie;
use swarmcast::rudp::frame::{Ack, Fragment, Frame};
use swarmcast::rudp::handshake::{Hello, Welcome};
use swarmcast::rudp::packet::{self, ConnectionId, Header, Kind, Transaction};
use swarmcast::time::Duration;
use swarmcast::tracker::protocol::{Announcement, Request, Response};
use swarmcast::tracker::{COMPLETE, FoundFile, Holder, Refusal};

const FID: [u8; 32] = [0xf1; 32];
const HASH: [u8; 32] = [0xa5; 32];
const TRANSACTION: Transaction = Transaction(0x0102_0304_0506_0708);

/// The tables of the page, with their titles.
pub(crate) fn tables() -> [(&'static str, String); 4] {
    [
        ("datagrams", table(&datagrams())),
        ("frames", table(&frames())),
        ("messages", table(&messages())),
        ("questions and answers", table(&questions_and_answers())),
    ]
}

type Row = (&'static str, Vec<u8>);

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().map(|(name, bytes)| format!("{name:width$}  {}\n", hex(bytes))).collect()
}

/// Bytes in hexadecimal; many alike as `f1×32`.
fn hex(bytes: &[u8]) -> String {
    let runs = bytes.chunk_by(|a, b| a == b).map(|run| match run.len() {
        0..8 => vec![format!("{:02x}", run[0]); run.len()].join(" "),
        len => format!("{:02x}×{len}", run[0]),
    });
    runs.collect::<Vec<_>>().join(" ")
}

fn fid() -> Fid {
    Fid::from_bytes(FID)
}

fn cookie() -> Cookie {
    Cookie::decode(&mut Reader::new(&[0xc0; Cookie::LEN])).expect("it is long enough")
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut buf = Vec::new();
    write(&mut buf);
    buf
}

fn datagrams() -> Vec<Row> {
    let datagram = |kind, body: &[u8]| {
        written(|buf| {
            packet::begin(buf, Header { kind, connection: ConnectionId(0x0a0b_0c0d), number: 0x1000 });
            buf.bytes(body);
            packet::seal(buf);
        })
    };
    let hello = |cookie| {
        let hello = Hello { cookie, receive_window: 4 << 20, datagram_size: 65_507, sent: 0x0001_0000 };
        datagram(Kind::Hello, &written(|buf| hello.encode(buf)))
    };
    let welcome = Welcome {
        receive_window: 4 << 20,
        datagram_size: 65_507,
        hello_sent: 0x0001_0000,
        hello_received: 0x0002_0000,
        sent: 0x0002_0100,
        downlink_queue: 1_000,
    };
    vec![
        ("hello, no cookie", hello(None)),
        ("retry", datagram(Kind::Retry, &written(|buf| cookie().encode(buf)))),
        ("hello with cookie", hello(Some(cookie()))),
        ("welcome", datagram(Kind::Welcome, &written(|buf| welcome.encode(buf)))),
        ("data: a ping", datagram(Kind::Data, &written(|buf| Frame::Ping.encode(buf)))),
        ("close, code 0", datagram(Kind::Close, &written(|buf| buf.varint(0)))),
    ]
}

fn frames() -> Vec<Row> {
    let frame = |frame: Frame<'_>| written(|buf| frame.encode(buf));
    let ack = |ranges: &[(u64, u64)]| Ack {
        ranges: ranges.iter().map(|&(first, last)| first..last + 1).collect(),
        received: 0x0002_0100,
        delay: Duration::from_micros(640),
        downlink_queue: Duration::from_millis(7),
        credit: 64,
    };
    let fragment = |offset, fin| Fragment { message: 3, offset, fin, data: b"data" };
    vec![
        ("ping", frame(Frame::Ping)),
        ("ack of 0x1000 to 0x1003", frame(Frame::Ack(ack(&[(0x1000, 0x1003)])))),
        ("ack with a gap of 2", frame(Frame::Ack(ack(&[(0x1003, 0x1003), (0x1000, 0x1000)])))),
        ("immediate ack wanted", frame(Frame::ImmediateAck)),
        ("timestamp", frame(Frame::Timestamp { sent: 0x0001_0000, unsettled: 5 })),
        ("abandon", frame(Frame::Abandon { message: 3, len: 16_384 })),
        ("path challenge", frame(Frame::PathChallenge([7; 8]))),
        ("path response", frame(Frame::PathResponse([7; 8]))),
        ("fragment: a whole message", frame(Frame::Fragment(fragment(0, true)))),
        ("fragment: at 1,200", frame(Frame::Fragment(fragment(1_200, false)))),
        ("fragment to the end", written(|buf| fragment(1_200, true).encode(buf, true))),
    ]
}

fn messages() -> Vec<Row> {
    let channel = 1;
    [
        ("hello", Message::Hello { node: 0x0102_0304_0506_0708 }),
        ("open", Message::Open { channel, fid: fid(), has_manifest: true, is_complete: false }),
        ("shut", Message::Shut { channel }),
        ("refuse", Message::Refuse { fid: fid() }),
        ("ask", Message::AskManifest { channel, part: Some(0) }),
        ("outline", Message::Outline { channel, size: 148_539, proof: &[9; 4], joints: &[HASH] }),
        ("bitfield", Message::Bitfield { channel, bytes: &[0xff, 0x80] }),
        ("have", Message::Have { channel, pieces: vec![2, 300] }),
        ("request", Message::Request { channel, id: 5, piece: 300, first: 0, count: 2 }),
        ("any", Message::Any { channel, id: 6, credits: 4, residue: 1, modulus: 3 }),
        ("none", Message::None { channel, id: 6, credits: 4 }),
        ("cancel", Message::Cancel { channel, id: 5 }),
        ("reject", Message::Reject { channel, id: 5 }),
        ("block", Message::Block { channel, id: 5, piece: 300, block: 1, data: b"data" }),
        ("ask peers", Message::AskPeers { channel }),
        ("peers", Message::Peers { channel, peers: vec!["192.168.1.5:4000".parse().expect("an address")] }),
        ("hashes", Message::Hashes { channel, part: 1, hashes: &[HASH] }),
        ("choke", Message::Choke { channel }),
        ("unchoke", Message::Unchoke { channel }),
        ("dont have", Message::DontHave { channel, pieces: vec![2, 300] }),
    ]
    .map(|(name, message)| (name, message.encode()))
    .into()
}

fn questions_and_answers() -> Vec<Row> {
    let ask =
        |request: Request, cookie: Option<&Cookie>| written(|buf| request.encode(TRANSACTION, cookie, buf));
    let answer = |response: Response| written(|buf| response.encode(TRANSACTION, buf));
    let name = || FileName::new("film").expect("a name");
    let announcement =
        Announcement { fid: fid(), name: Some(name()), size: 148_539, progress: COMPLETE, want: 0 };
    let holder = Holder { addr: "192.168.1.5:4000".parse().expect("an address"), progress: COMPLETE };
    let found = FoundFile { fid: fid(), size: 148_539, holders: 4 };
    let cookie = cookie();
    vec![
        ("Hello", ask(Request::Hello, None)),
        ("Announce", ask(Request::Announce(announcement), Some(&cookie))),
        ("Lookup", ask(Request::Lookup { fid: fid(), want: 30 }, Some(&cookie))),
        ("Find", ask(Request::Find { name: name() }, Some(&cookie))),
        ("Cancel", ask(Request::Cancel { fid: fid() }, Some(&cookie))),
        ("Leave", ask(Request::Leave, Some(&cookie))),
        ("NeedCookie", answer(Response::NeedCookie(cookie))),
        ("Holders", answer(Response::Holders { lease_seconds: 90, total: 4, holders: vec![holder] })),
        ("Unknown", answer(Response::Unknown { fid: fid() })),
        ("Found", answer(Response::Found { total: 1, files: vec![found] })),
        ("Done", answer(Response::Done)),
        ("Refused", answer(Response::Refused(Refusal::TrackerFull))),
        ("Introduction", answer(Response::Introduction { cookie, total: 4, holders: vec![holder] })),
    ]
}
