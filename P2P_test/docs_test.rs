//! What README.md and docs/ show is true: their commands are run and say what stands there, and their bytes are the code's.
//!
//! No judgement of the program itself, which the other tests pass. `page` says how a page is read, `shell` how it is acted out,
//! `wire` whence the bytes in docs/protocol.md come.

#[path = "docs/page.rs"]
mod page;
#[path = "docs/shell.rs"]
mod shell;
#[path = "docs/wire.rs"]
mod wire;

mod processes;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::ScopedJoinHandle;

use self::page::{Block, Run};
use self::shell::Shell;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README.md and all of docs/, in order: name and text.
fn pages() -> Vec<(String, String)> {
    let mut paths = vec![root().join("README.md")];
    let listed = fs::read_dir(root().join("docs")).expect("there is a guide");
    let mut guide: Vec<PathBuf> = listed.map(|entry| entry.expect("it can be listed").path()).collect();
    guide.sort();
    paths
        .extend(guide.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    let name = |path: &Path| path.strip_prefix(root()).expect("it is below").display().to_string();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).expect("it is text"))).collect()
}

#[test]
fn what_the_pages_show_is_what_happens() {
    let pages = pages();
    let ran: usize = std::thread::scope(|scope| {
        let acted: Vec<_> = pages.iter().map(|(name, text)| scope.spawn(|| act_out(name, text))).collect();
        // All are heard, so that one run tells all that is wrong.
        let outcomes: Vec<_> = acted.into_iter().map(ScopedJoinHandle::join).collect();
        outcomes.into_iter().map(|outcome| outcome.expect("see above")).sum()
    });
    assert!(ran > 20, "of all pages only {ran} blocks were run");
}

/// Does what a page says, in a place of its own. How many blocks were run.
fn act_out(name: &str, text: &str) -> usize {
    let mut shell = Shell::new();
    let mut ran = 0;
    for block in Block::all(text) {
        let at = format!("{name}:{}", block.line);
        match block.run().unwrap_or_else(|why| panic!("{at}: {why}")) {
            Run::Not => continue,
            Run::File(path) => shell.write(&path, &block.text),
            Run::Commands(way) => shell.act(&block.steps(), way).unwrap_or_else(|why| panic!("{at}: {why}")),
        }
        ran += 1;
    }
    ran
}

/// What the pages say that is not run has at least the flags that there are.
#[test]
fn no_page_names_a_flag_that_is_not_there() {
    let help = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_swarmcast")).args(args).output().expect("it runs");
        String::from_utf8(output.stdout).expect("help is text")
    };
    for (name, text) in pages() {
        for block in Block::all(&text).into_iter().filter(Block::is_shell) {
            for words in block.text.lines().filter_map(page::arguments) {
                let Some(subcommand) = words.first().filter(|word| !word.starts_with('-')) else { continue };
                let known = help(&[subcommand, "--help"]);
                for flag in words.iter().filter(|word| word.starts_with("--")) {
                    let flag = flag.split('=').next().unwrap_or(flag);
                    assert!(known.contains(flag), "{name}:{}: `{subcommand}` has no {flag}", block.line);
                }
            }
        }
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    for (name, text) in pages() {
        let page = root().join(&name);
        for target in page::links(&text).into_iter().filter(|target| !target.contains("://")) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { page.clone() } else { page.with_file_name(file) };
            let found = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {target}: {error}"));
            assert!(heading.is_empty() || page::headings(&found).contains(heading), "{name}: no {target}");
        }
    }
}

#[test]
fn the_examples_run() {
    let examples = Path::new(env!("CARGO_BIN_EXE_swarmcast")).with_file_name("examples");
    let source = root().join("examples");
    let run = |name: String| {
        let program = examples.join(&name);
        let output = Command::new(&program).output();
        let output = output.unwrap_or_else(|error| {
            panic!("{}: {error}: `cargo test` builds it; else: cargo build --examples", program.display())
        });
        assert!(output.status.success(), "{name}: {output:?}");
        assert!(!output.stdout.is_empty(), "{name} shows nothing");
    };
    let names = fs::read_dir(source)
        .expect("there are examples")
        .map(|entry| entry.expect("it can be listed").path());
    let names: Vec<String> = names.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    assert!(names.len() >= 3, "{names:?}");
    std::thread::scope(|scope| names.into_iter().for_each(|name| _ = scope.spawn(|| run(name))));
}

#[test]
fn the_bytes_on_the_page_of_the_protocol_are_the_codes() {
    let page = fs::read_to_string(root().join("docs/protocol.md")).expect("there is such a page");
    let blocks = Block::all(&page);
    let has = |text: &str| blocks.iter().any(|block| block.text == text);
    for module in ["src/rudp/mod.rs", "src/tracker/mod.rs", "src/pclient/message.rs"] {
        let source = fs::read_to_string(root().join(module)).expect("it is there");
        let diagrams = page::diagrams(&source);
        assert!(!diagrams.is_empty(), "{module} has no diagram");
        for diagram in diagrams {
            assert!(has(&diagram), "docs/protocol.md hasn't this diagram of {module}:\n{diagram}");
        }
    }
    for (title, bytes) in wire::tables() {
        assert!(has(&bytes), "docs/protocol.md, {title}: this is what the code writes:\n{bytes}");
    }
}
