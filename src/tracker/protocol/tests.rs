//! The codec there and back, cut, lengthened and fed with noise. No machine is at work here.

use super::*;
use crate::rand::Rng;
use crate::rudp::cookie::CookieJar;
use crate::time::Instant;

const TRANSACTION: Transaction = Transaction(0x0102_0304_0506_0708);

fn cookie() -> Cookie {
    CookieJar::new(&mut Rng::from_seed(1)).make(Instant::ORIGIN, "10.0.0.1:1".parse().unwrap())
}

fn requests() -> Vec<Request> {
    let name = FileName::new("notes.txt").unwrap();
    let announcement =
        Announcement { fid: Fid::of(b"a"), name: None, size: u64::MAX, progress: COMPLETE, want: 30 };
    vec![
        Request::Hello,
        Request::Announce(announcement.clone()),
        Request::Announce(Announcement { name: Some(name.clone()), progress: 0, want: 0, ..announcement }),
        Request::Lookup { fid: Fid::of(b"b"), want: 7 },
        Request::Find { name },
        Request::Find { name: FileName::new(&"x".repeat(255)).unwrap() },
        Request::Cancel { fid: Fid::of(b"c") },
        Request::Leave,
    ]
}

fn responses() -> Vec<Response> {
    let holder = |text: &str, progress| Holder { addr: text.parse().unwrap(), progress };
    let found = FoundFile { fid: Fid::of(b"d"), size: 6_200_000, holders: 3 };
    let mut all = vec![
        Response::NeedCookie(cookie()),
        Response::Holders { lease_seconds: 90, total: 0, holders: vec![] },
        Response::Holders {
            lease_seconds: u16::MAX,
            total: u32::MAX,
            holders: vec![holder("10.0.0.2:7", 0), holder("[2001:db8::1]:65535", COMPLETE)],
        },
        Response::Introduction { cookie: cookie(), total: 0, holders: vec![] },
        Response::Introduction {
            cookie: cookie(),
            total: u32::MAX,
            holders: vec![holder("10.0.0.2:7", 0), holder("[2001:db8::1]:65535", COMPLETE)],
        },
        Response::Unknown { fid: Fid::of(b"a") },
        Response::Found { total: 0, files: vec![] },
        Response::Found { total: 2, files: vec![found; 2] },
        Response::Done,
    ];
    all.extend(Refusal::ALL.map(Response::Refused));
    all
}

fn body(datagram: &[u8]) -> &[u8] {
    let (header, body) = packet::open(datagram).unwrap();
    assert_eq!(header, Header::oneshot(TRANSACTION));
    body
}

#[test]
fn every_request_comes_back_with_and_without_a_cookie() {
    let mut buf = Vec::new();
    for request in requests() {
        for cookie in [None, Some(cookie())] {
            request.encode(TRANSACTION, cookie.as_ref(), &mut buf);
            assert_eq!(Asked::decode(body(&buf)), Ok(Asked { cookie, request: Ok(request.clone()) }));
        }
    }
}

#[test]
fn every_response_comes_back() {
    let mut buf = Vec::new();
    for response in responses() {
        response.encode(TRANSACTION, &mut buf);
        assert_eq!(Response::decode(body(&buf)), Ok(response));
    }
}

#[test]
fn every_cut_and_every_extra_byte_is_noticed_and_neither_side_takes_the_others_words() {
    let mut buf = Vec::new();
    for request in requests() {
        request.encode(TRANSACTION, None, &mut buf);
        let body = body(&buf);
        for len in 0..body.len() {
            assert_eq!(Asked::decode(&body[..len]), Err(Malformed), "{request:?} cut to {len}");
        }
        assert_eq!(Asked::decode(&[body, &[0]].concat()), Err(Malformed));
        assert_eq!(Response::decode(body), Err(Malformed));
    }
    for response in responses() {
        response.encode(TRANSACTION, &mut buf);
        let body = body(&buf);
        for len in 0..body.len() {
            assert_eq!(Response::decode(&body[..len]), Err(Malformed), "{response:?} cut to {len}");
        }
        assert_eq!(Response::decode(&[body, &[0]].concat()), Err(Malformed));
        assert_eq!(Asked::decode(body), Err(Malformed));
    }
}

#[test]
fn what_decodes_from_random_bytes_encodes_to_the_same_bytes() {
    let mut rng = Rng::from_seed(2);
    let mut buf = Vec::new();
    let (mut asked, mut answered) = (0, 0);
    for _ in 0..200_000 {
        let mut bytes = vec![0; rng.index(80)];
        rng.fill(&mut bytes);
        if let Some(first) = bytes.first_mut() {
            *first &= 0x87;
        }
        if let Ok(Asked { cookie, request: Ok(request) }) = Asked::decode(&bytes) {
            request.encode(TRANSACTION, cookie.as_ref(), &mut buf);
            assert_eq!(body(&buf), bytes);
            asked += 1;
        }
        if let Ok(response) = Response::decode(&bytes) {
            response.encode(TRANSACTION, &mut buf);
            assert_eq!(body(&buf), bytes);
            answered += 1;
        }
    }
    assert!(
        asked > 100 && answered > 100,
        "the bytes are too random: {asked} requests, {answered} responses"
    );
}

#[test]
fn a_request_is_never_shorter_than_the_cookie_it_may_get() {
    let (mut reply, mut buf) = (Vec::new(), Vec::new());
    Response::NeedCookie(cookie()).encode(TRANSACTION, &mut reply);
    for request in requests() {
        request.encode(TRANSACTION, None, &mut buf);
        assert!(buf.len() >= reply.len(), "{request:?}: {} B < {} B", buf.len(), reply.len());
    }
}

#[test]
fn the_longest_lists_fill_one_datagram_and_longer_ones_are_cut() {
    let mut buf = Vec::new();
    let holder = Holder { addr: "[2001:db8::1]:65535".parse().unwrap(), progress: 1 };
    Response::Holders { lease_seconds: 90, total: 200, holders: vec![holder; 200] }
        .encode(TRANSACTION, &mut buf);
    assert!(buf.len() <= MAX_DATAGRAM, "{} B", buf.len());
    assert_eq!(
        Response::decode(body(&buf)),
        Ok(Response::Holders { lease_seconds: 90, total: 200, holders: vec![holder; MAX_HOLDERS] })
    );
    let file = FoundFile { fid: Fid::of(b""), size: 0, holders: 1 };
    Response::Found { total: 300, files: vec![file; 300] }.encode(TRANSACTION, &mut buf);
    assert!(buf.len() <= MAX_DATAGRAM, "{} B", buf.len());
    assert_eq!(
        Response::decode(body(&buf)),
        Ok(Response::Found { total: 300, files: vec![file; MAX_FOUND] })
    );
}

#[test]
fn a_hostile_name_is_a_refusal_and_no_request() {
    let mut buf = Vec::new();
    Request::Find { name: FileName::new("ab").unwrap() }.encode(TRANSACTION, None, &mut buf);
    for name in [&b".."[..], b"a/", b"\0a", b"a\n", b"\xff\xfe"] {
        let at = buf.len() - 2;
        buf[at..].copy_from_slice(name);
        let refused = Asked { cookie: None, request: Err(Refusal::Name) };
        assert_eq!(Asked::decode(&buf[HEADER_LEN..]), Ok(refused), "{name:?}");
    }
}
