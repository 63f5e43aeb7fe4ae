//! The rules of the house that no compiler knows, checked by reading the source text.
//!
//! Six rules: who may know whom, sockets in the proxy alone, time and chance from one place each, secrets compared in constant time, a
//! header on every module, every module in ARCHITECTURE.md. Each has a test by which it is seen to fail. Clippy's lists
//! (clippy.toml) look through aliases, which this doesn't; this looks at all files, whatever is compiled.

#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

/// A source file.
struct File {
    /// From the root of the package, with `/`.
    path: String,
    text: String,
}

impl File {
    fn new(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    fn violation(&self, line: usize, what: String) -> Violation {
        Violation { path: self.path.clone(), line, what }
    }
}

/// A breach of a rule.
struct Violation {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files of the package, sorted by path.
fn files() -> Vec<File> {
    fn collect(folder: &str, files: &mut Vec<File>) {
        // A folder may not be there yet.
        let Ok(entries) = fs::read_dir(root().join(folder)) else { return };
        for entry in entries {
            let entry = entry.expect("a folder of the package can be listed");
            let path = format!("{folder}/{}", entry.file_name().display());
            if entry.path().is_dir() {
                collect(&path, files);
            } else if path.ends_with(".rs") {
                let text = fs::read_to_string(entry.path()).expect("source is UTF-8");
                files.push(File { path, text });
            }
        }
    }
    let mut files = Vec::new();
    for folder in ["src", "SC_Model", "P2P_test", "examples", "benches", "fuzz"] {
        collect(folder, &mut files);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.iter().any(|file| file.path == "src/lib.rs"), "no source found below {}", root().display());
    files
}

/// Fails with one line for each violation.
fn assert_none(violations: &[Violation]) {
    let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} against the rules:\n{}", lines.len(), lines.join("\n"));
}

/// Names that belong in a few places only.
struct Confined {
    /// Identifiers, or neighbours in a path.
    names: &'static [&'static str],
    /// Files and folders where they may stand.
    places: &'static [&'static str],
    reason: &'static str,
}

/// Sockets, clocks and chance.
const CONFINED: &[Confined] = &[
    Confined {
        names: &[
            "UdpSocket",
            "TcpStream",
            "TcpListener",
            "UnixStream",
            "UnixListener",
            "UnixDatagram",
            "socket2",
            "mio",
            "quinn_udp",
            "tokio",
            "async_std",
            "smol",
            "libc::socket",
            "rustix::net",
            "nix::sys::socket",
        ],
        places: &["src/proxy/"],
        reason: "the network is sealed: only src/proxy opens a socket",
    },
    Confined {
        names: &["Instant::now", "SystemTime", "UNIX_EPOCH"],
        places: &["src/time.rs"],
        reason: "time is passed in: only src/time.rs reads a clock",
    },
    Confined {
        names: &["thread::sleep", "thread::sleep_until", "thread::park_timeout"],
        places: &[],
        reason: "wait for a condition, not for a time",
    },
    Confined {
        names: &["thread_rng", "rand::random", "getrandom", "OsRng", "SysRng", "fastrand", "rand_chacha"],
        places: &["src/rand.rs"],
        reason: "chance is passed in: only src/rand.rs draws from the system",
    },
];

/// Confined names that `file` names and shouldn't, in tests as well.
fn confined_violations(file: &File) -> Vec<Violation> {
    let tokens = source::tokens(&file.text);
    let words = tokens.iter().map(|token| (token.line, token.text.clone()));
    let paths = source::paths(&tokens).into_iter().map(|path| (path.line, path.segments.join("::")));
    let named: BTreeSet<(usize, String)> = words.chain(paths).collect();
    let mut found = Vec::new();
    for rule in CONFINED.iter().filter(|rule| !rule.places.iter().any(|place| file.path.starts_with(place))) {
        for name in rule.names {
            // A single word is a token; neighbours are part of a path.
            let names = |text: &str| match name.contains("::") {
                true => format!("::{text}::").contains(&format!("::{name}::")),
                false => text == *name,
            };
            for (line, _) in named.iter().filter(|(_, text)| names(text)) {
                found.push(file.violation(*line, format!("`{name}`: {}", rule.reason)));
            }
        }
    }
    found
}

/// Where what only its maker knows is compared. A comparison that ends at the first difference tells how far a guess was right. (The
/// token of a path isn't guessed: it is new for each question, and counts for one address and a moment.)
const SECRETS: &[&str] = &["src/rudp/cookie.rs"];

/// Comparisons of a module that guards a secret that may end early.
fn secret_violations(file: &File) -> Vec<Violation> {
    if !SECRETS.contains(&file.path.as_str()) {
        return Vec::new();
    }
    let tokens = source::tokens(&file.text);
    let pairs =
        tokens.windows(2).filter(|pair| pair[1].text == "=" && ["=", "!"].contains(&pair[0].text.as_str()));
    let why = "`==` and `!=` end at the first difference: compare with `constant_time_eq`";
    pairs.map(|pair| file.violation(pair[0].line, why.to_owned())).collect()
}

/// A file that doesn't open by saying what it is.
fn header_violations(file: &File) -> Vec<Violation> {
    let says = |line: &str| line.strip_prefix("//!").is_some_and(|text| !text.trim().is_empty());
    if file.text.lines().next().is_some_and(says) {
        return Vec::new();
    }
    vec![file.violation(1, "a module opens with `//!` and says what it is, and what it is not".to_owned())]
}

/// The modules among `paths` that `map`, the text of ARCHITECTURE.md, doesn't name: as `` `name` ``, `src/name`, or
/// `name/` and `name.rs` in a drawing.
fn unmapped(map: &str, paths: &[&str]) -> Vec<String> {
    let top = |path: &&str| match path.split_once('/') {
        Some(("src", inside)) => inside.split(['/', '.']).next().map(str::to_owned),
        Some(("SC_Model", _)) => Some("SC_Model".to_owned()),
        _ => None,
    };
    let modules: BTreeSet<String> = paths.iter().filter_map(top).collect();
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let names = |module: &String| {
        map.match_indices(module.as_str()).any(|(at, _)| {
            let (before, after) = (&map[..at], &map[at + module.len()..]);
            !before.ends_with(is_name)
                && (before.ends_with("src/")
                    || before.ends_with('`') && after.starts_with('`')
                    || after.starts_with('/')
                    || after.starts_with(".rs"))
                && !after.starts_with(is_name)
        })
    };
    modules.into_iter().filter(|module| !names(module)).collect()
}

#[test]
fn modules_know_only_whom_they_may() {
    let files = files();
    let lib = files.iter().find(|file| file.path == "src/lib.rs").expect("the library has a root");
    let exports = layers::exports(&lib.text);
    let inside =
        files.iter().filter(|file| file.path.starts_with("src/") || file.path.starts_with("SC_Model/"));
    assert_none(&inside.flat_map(|file| layers::violations(file, &exports)).collect::<Vec<_>>());
}

#[test]
fn sockets_clocks_and_chance_stay_in_their_place() {
    assert_none(&files().iter().flat_map(confined_violations).collect::<Vec<_>>());
}

#[test]
fn secrets_are_compared_in_constant_time() {
    let files = files();
    let guards: Vec<&File> = files.iter().filter(|file| SECRETS.contains(&file.path.as_str())).collect();
    assert_eq!(guards.len(), SECRETS.len());
    let compares =
        |file: &&File| source::tokens(&file.text).iter().any(|token| token.text == "constant_time_eq");
    assert!(guards.iter().all(compares));
    assert_none(&guards.into_iter().flat_map(secret_violations).collect::<Vec<_>>());
}

#[test]
fn every_module_says_what_it_is() {
    assert_none(&files().iter().flat_map(header_violations).collect::<Vec<_>>());
}

#[test]
fn the_map_of_the_house_has_every_module() {
    let Ok(map) = fs::read_to_string(root().join("ARCHITECTURE.md")) else { return };
    let files = files();
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let missing = unmapped(&map, &paths);
    assert!(missing.is_empty(), "ARCHITECTURE.md doesn't name {}", missing.join(", "));
}

#[test]
fn a_confined_name_elsewhere_is_found() {
    let lines = |path: &str, text: &str| {
        confined_violations(&File::new(path, text)).iter().map(|found| found.line).collect::<Vec<_>>()
    };
    for bad in [
        "let s = std::net::UdpSocket::bind(addr)?;",
        "use std::net::{SocketAddr, TcpListener as L};",
        "use mio::net::UdpSocket as S;",
        "use mio::{Poll};",
        "fn f(s: socket2::Socket) {}",
        "unsafe { libc::socket(2, 2, 0) };",
        "use rustix::{fs, net};",
        "use std::os::unix::net::*; fn f() -> UnixStream { todo() }",
        "#[cfg(test)] mod tests { fn f(s: UdpSocket) {} }",
        "let t = std::time::Instant::now();",
        "let t = std::time::SystemTime::now();",
        "std::thread::sleep(d);",
        "use std::thread::{self, sleep};",
        "let x: u8 = rand::random();",
        "getrandom::fill(&mut seed);",
    ] {
        assert!(!lines("src/rudp/mod.rs", bad).is_empty(), "{bad}");
        assert!(!lines("P2P_test/cli.rs", bad).is_empty(), "{bad}");
    }
    for good in [
        "use std::net::{SocketAddr, IpAddr, ToSocketAddrs};",
        "// a UdpSocket and Instant::now",
        "let text = \"TcpStream, thread::sleep\";",
        "let now = clock.now(); let t: Instant = Instant::from_nanos(1);",
        "fn sleep() {} use libc::close;",
    ] {
        assert_eq!(lines("src/rudp/mod.rs", good), [], "{good}");
    }
    assert_eq!(lines("src/proxy/socket.rs", "\nuse mio::net::UdpSocket;"), []);
    assert_eq!(lines("src/proxy/socket.rs", "\nstd::thread::sleep(d); let t = Instant::now();"), [2, 2]);
    assert_eq!(lines("src/time.rs", "Instant::now()"), []);
    assert_eq!(lines("src/rand.rs", "getrandom::fill(x); SystemTime::now()"), [1]);
}

#[test]
fn a_comparison_of_secrets_that_ends_early_is_found() {
    for (text, bad) in
        [("a == b", 1), ("a\n!= b", 1), ("a <= b; c >= d; e = !f; |g| {}; h => i; // j == k", 0)]
    {
        assert_eq!(secret_violations(&File::new(SECRETS[0], text)).len(), bad, "{text:?}");
        assert_eq!(secret_violations(&File::new("src/a.rs", text)).len(), 0, "no secret there");
    }
}

#[test]
fn a_missing_header_is_found() {
    for (text, bad) in [("//! What it is.\n", 0), ("//!\nuse a;", 1), ("// What.\n//! It is.", 1), ("", 1)] {
        assert_eq!(header_violations(&File::new("src/a.rs", text)).len(), bad, "{text:?}");
    }
}

#[test]
fn a_module_missing_from_the_map_is_found() {
    let paths = [
        "src/time.rs",
        "src/rudp/mod.rs",
        "src/rudp/seq.rs",
        "SC_Model/mod.rs",
        "src/fid.rs",
        "P2P_test/x.rs",
    ];
    let map = "`time` is the clock, src/rudp the reliability, SC_Model/ the model, `fid` a name.";
    assert_eq!(unmapped(map, &paths), [""; 0]);
    let poor = "Some time ago `rudp_old`, xsrc/rudpx, SC_Models and fid/ were made.";
    assert_eq!(unmapped(poor, &paths), ["SC_Model", "rudp", "time"]);
}
