//! Who may know whom: the table, and the scan that finds an arrow which isn't in it.

use std::collections::BTreeMap;

use super::source::{PathUse, paths, tokens, without_tests};
use super::{File, Violation};

/// For each module, what it may name of this package besides itself. The longest entry that fits a file holds for it,
/// and a submodule that has an entry of its own is on the list of others only by its own name or its parent's.
///
/// The rule of the house: `time, rand, units` ← `machine, proxy::shaper` ← `rudp` ← `tracker` ← `pclient` ← `cli`;
/// only the blocking surfaces touch the driver. A new module or arrow is a decision: make it here, and say why in
/// ARCHITECTURE.md.
const ALLOWED: &[(&str, &[&str])] = &[
    // Leaves.
    ("coding", &[]),
    ("fid", &[]),
    ("name", &[]),
    ("rand", &[]),
    ("small", &[]),
    ("time", &[]),
    ("units", &["time"]),
    ("error", &["fid"]),
    ("machine", &["time"]),
    // The sealed network knows no protocol; its law is pure.
    ("proxy::shaper", &["time", "units"]),
    ("proxy", &["time", "units"]),
    // Protocols: no disk in the tracker, no piece in rudp, no socket in either.
    ("rudp", &["coding", "machine", "proxy::shaper", "rand", "small", "time", "units"]),
    ("tracker", &["coding", "error", "fid", "machine", "name", "rand", "rudp", "time", "units"]),
    (
        "pclient",
        &["coding", "error", "fid", "machine", "name", "rand", "rudp", "small", "time", "tracker", "units"],
    ),
    // Speaks to the local network itself: a question and an answer, with no machine to drive.
    ("discovery", &["coding", "fid", "proxy", "rand", "rudp", "time"]),
    // The two worlds.
    ("driver", &["error", "machine", "proxy", "rand", "time", "units"]),
    ("sim", &["machine", "proxy::shaper", "rand", "rudp::packet", "time", "units"]),
    // The blocking surfaces, which put a machine and the real world together.
    (
        "tracker::service",
        &["driver", "error", "fid", "machine", "name", "proxy", "rand", "rudp", "time", "tracker", "units"],
    ),
    (
        "pclient::client",
        &[
            "driver", "error", "fid", "machine", "name", "pclient", "proxy", "rand", "rudp", "time",
            "tracker", "units",
        ],
    ),
    (
        "sc_model",
        &["coding", "driver", "error", "fid", "machine", "name", "proxy", "rand", "rudp", "time", "units"],
    ),
    // Puts the machines that users run into the simulated world.
    ("simulate", &["fid", "machine", "pclient", "proxy::shaper", "rand", "sim", "time", "tracker", "units"]),
    // The binary.
    (
        "cli",
        &[
            "coding",
            "discovery",
            "error",
            "fid",
            "name",
            "pclient",
            "proxy",
            "rand",
            "sc_model",
            "simulate",
            "time",
            "tracker",
            "units",
        ],
    ),
    // Measures the path beneath all that: a user of rudp, like pclient.
    (
        "cli::bench",
        &["cli", "coding", "driver", "error", "machine", "proxy", "rand", "rudp", "time", "units"],
    ),
    // Runs all models in the simulated world too: it puts their machines there as the surfaces put them on proxies.
    (
        "cli::compare",
        &["cli", "error", "fid", "machine", "pclient", "rand", "sc_model", "sim", "time", "tracker", "units"],
    ),
    ("main", &["cli"]),
];

/// Names that the crate's root re-exports, with the module that each comes from.
pub(crate) type Exports = BTreeMap<String, String>;

/// The names that `lib` (the text of src/lib.rs) re-exports.
pub(crate) fn exports(lib: &str) -> Exports {
    paths(&without_tests(&tokens(lib)))
        .into_iter()
        .map(|path| {
            let skip = usize::from(matches!(path.segments[0].as_str(), "crate" | "self"));
            let module = &path.segments[skip..path.segments.len() - 1];
            (path.segments[path.segments.len() - 1].clone(), module.join("::"))
        })
        .collect()
}

/// The path of the module that `file` holds: `src/a/b.rs` is `a::b`, `src/a/mod.rs` is `a`, `SC_Model` is `sc_model`.
pub(crate) fn module_of(file: &str) -> Vec<String> {
    let path = file.strip_suffix(".rs").unwrap_or(file);
    let path = match (path.strip_prefix("src/"), path.strip_prefix("SC_Model/")) {
        (Some(inside), _) => inside.to_owned(),
        (_, Some(inside)) => format!("sc_model/{inside}"),
        _ => path.to_owned(),
    };
    let path = path.strip_suffix("/mod").unwrap_or(&path);
    path.split('/').map(str::to_owned).collect()
}

/// The entry of the table that holds for `module`.
fn entry(module: &str) -> Option<&'static (&'static str, &'static [&'static str])> {
    ALLOWED.iter().filter(|(name, _)| is_within(module, name)).max_by_key(|(name, _)| name.len())
}

/// Whether `path` is `module` or lies in it.
fn is_within(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The path from the crate's root that `path`, found in `module`, stands for; `None` if it leads elsewhere.
fn from_root(path: &PathUse, module: &[String]) -> Option<Vec<String>> {
    let segments = &path.segments;
    let ups = segments.iter().take_while(|segment| *segment == "super").count();
    match segments[0].as_str() {
        "crate" | "swarmcast" => Some(segments[1..].to_vec()),
        // Inside an inline module the first steps up only leave that.
        "super" if ups > path.depth => {
            let outside = module.len().saturating_sub(ups - path.depth);
            Some([&module[..outside], &segments[ups..]].concat())
        }
        _ => None,
    }
}

/// Arrows in `file` that the table doesn't have. The root (src/lib.rs) is the table of contents and may name all.
pub(crate) fn violations(file: &File, exports: &Exports) -> Vec<Violation> {
    let module = module_of(&file.path);
    if module == ["lib"] || module.iter().any(|name| name == "tests") {
        return Vec::new();
    }
    let name = module.join("::");
    let Some((own, allowed)) = entry(&name) else {
        return vec![
            file.violation(1, format!("module `{name}` is not in the table of P2P_test/tidy/layers.rs")),
        ];
    };
    let mut found = Vec::new();
    for path in paths(&without_tests(&tokens(&file.text))) {
        let Some(mut target) = from_root(&path, &module) else { continue };
        if let Some(origin) = target.first().and_then(|first| exports.get(first)) {
            target.splice(..1, origin.split("::").map(str::to_owned));
        }
        let target = target.join("::");
        if !std::iter::once(own).chain(*allowed).any(|allowed| is_within(&target, allowed)) {
            let may = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") };
            found.push(
                file.violation(path.line, format!("`{own}` may not know `{target}`; it may know {may}")),
            );
        }
    }
    found
}

#[test]
fn the_table_has_no_circle() {
    let top = |module: &'static str| module.split("::").next().unwrap_or(module);
    // Surfaces and low-level parts are nodes of their own; an arrow to a module is one to what it has besides those.
    let mut order: Vec<&str> = Vec::new();
    while order.len() < ALLOWED.len() {
        let ready = ALLOWED.iter().find(|(name, allowed)| {
            !order.contains(name)
                && allowed.iter().all(|to| {
                    order.contains(to)
                        || !ALLOWED.iter().any(|(name, _)| name == to) && order.contains(&top(to))
                })
        });
        let (name, _) =
            ready.unwrap_or_else(|| panic!("a circle among the modules that are not in {order:?}"));
        order.push(name);
    }
}

#[test]
fn an_arrow_that_is_not_in_the_table_is_found() {
    let exports = exports(
        "pub mod rand; mod fid;\npub use fid::{Fid, ParseFidError}; pub use pclient::client::PClient;",
    );
    let check = |path: &str, text: &str| {
        violations(&File::new(path, text), &exports)
            .iter()
            .map(|violation| violation.line)
            .collect::<Vec<_>>()
    };
    // Upwards, sideways, through a tree, a re-export, `super`, the crate's own name, an expression.
    assert_eq!(check("src/rudp/packet.rs", "\nuse crate::tracker::registry;"), [2]);
    assert_eq!(check("src/tracker/server.rs", "use crate::{rudp, pclient::pieces};"), [1]);
    assert_eq!(check("src/rudp/packet.rs", "use crate::Fid;"), [1]);
    assert_eq!(check("src/tracker/server.rs", "use crate::Fid;"), []);
    assert_eq!(check("src/tracker/server.rs", "use crate::PClient;"), [1]);
    assert_eq!(check("src/pclient/pieces.rs", "fn f() { super::super::driver::run(); }"), [1]);
    assert_eq!(
        check("src/pclient/pieces.rs", "mod m { use super::super::super::driver; use super::super::x; }"),
        [1]
    );
    assert_eq!(check("src/time.rs", "use super::units;"), [1]);
    assert_eq!(check("src/units.rs", "let x = swarmcast::rand::Rng::from_os();"), [1]);
    assert_eq!(check("src/rudp/mod.rs", "use crate::*;"), [1]);
    // Part of a module may be lower, or higher, than the whole.
    assert_eq!(check("src/rudp/pacer.rs", "use crate::proxy::shaper::Shaper; use crate::proxy::Proxy;"), [1]);
    assert_eq!(check("src/rudp/pacer.rs", "use crate::proxy;"), [1]);
    assert_eq!(check("src/proxy/shaper.rs", "use super::socket::Socket;"), [1]);
    assert_eq!(check("src/proxy/mod.rs", "use self::shaper::Shaper; use crate::proxy::shaper::X;"), []);
    assert_eq!(check("src/pclient/node.rs", "use crate::driver::run;"), [1]);
    assert_eq!(check("src/pclient/client.rs", "use crate::driver::run;"), []);
    assert_eq!(check("SC_Model/server.rs", "use crate::rudp; use crate::tracker;"), [1]);
    // Neither comments nor tests are arrows, and a new module has to be placed.
    assert_eq!(check("src/fid.rs", "//! [`crate::cli`]\n#[cfg(test)]\nmod tests { use crate::cli; }"), []);
    assert_eq!(check("src/fid/tests.rs", "use crate::cli;"), []);
    assert_eq!(check("src/fid/tests/more.rs", "use crate::cli;"), []);
    assert_eq!(check("src/novelty.rs", ""), [1]);
}
