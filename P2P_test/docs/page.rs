//! A page of the guide as a test reads it: its code blocks, what each is to be taken for, its links and headings.
//!
//! Nothing is run here. The words after a block's language say how it is run:
//!
//! | fence | meaning |
//! |---|---|
//! | `sh` | each line is a command that has to succeed, whatever it prints |
//! | `console` | `$ ` begins a command, the lines that follow are all that it prints; `…` stands for any text in a line, or any lines |
//! | `console varies` | numbers, and the units after them, may be others |
//! | `… elsewhere` | on another machine: in a directory that is empty |
//! | `… background` | the command goes on until the page ends; it prints these lines first, or, in `sh`, a ticket |
//! | `sh untested: why` | not run, and why |
//! | `toml file=NAME` | written to that file, for commands after it |

use std::collections::BTreeSet;

/// A code block.
pub(crate) struct Block {
    /// Where its fence stands.
    pub(crate) line: usize,
    /// All that stands after the fence's back-ticks.
    info: String,
    /// What is in it; each line ends.
    pub(crate) text: String,
}

/// What is to be done with a block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Run {
    /// It is nothing to run, or says why it isn't.
    Not,
    /// It is what this file shall hold.
    File(String),
    /// Its commands are run.
    Commands(Way),
}

/// How the commands of a block are run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) in_background: bool,
    pub(crate) elsewhere: bool,
    pub(crate) varies: bool,
}

/// One command of a block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) command: String,
    /// What it shall print; `None` if that doesn't matter.
    pub(crate) output: Option<String>,
}

impl Block {
    /// All blocks of a page, in order.
    pub(crate) fn all(page: &str) -> Vec<Block> {
        let (mut blocks, mut open) = (Vec::new(), None::<Block>);
        for (at, line) in page.lines().enumerate() {
            match (line.strip_prefix("```"), &mut open) {
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(info), None) => {
                    open = Some(Block { line: at + 1, info: info.to_owned(), text: String::new() });
                }
                (None, Some(block)) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "the last code block doesn't end");
        blocks
    }

    pub(crate) fn is_shell(&self) -> bool {
        matches!(self.info.split(' ').next(), Some("sh" | "console" | "bash" | "shell"))
    }

    /// What is to be done with it.
    ///
    /// # Errors
    /// What about its fence isn't understood.
    pub(crate) fn run(&self) -> Result<Run, String> {
        let (language, rest) = self.info.split_once(' ').unwrap_or((&self.info, ""));
        if let Some(path) = rest.strip_prefix("file=") {
            return Ok(Run::File(path.to_owned()));
        }
        match (language, rest) {
            ("sh" | "console", rest) if rest.starts_with("untested: ") => Ok(Run::Not),
            ("sh" | "console", rest) => {
                let mut way = Way::default();
                for word in rest.split_whitespace() {
                    match word {
                        "background" => way.in_background = true,
                        "elsewhere" => way.elsewhere = true,
                        "varies" => way.varies = true,
                        _ => return Err(format!("`{word}`: say `untested: why` if it can't be run")),
                    }
                }
                Ok(Run::Commands(way))
            }
            ("text" | "json" | "toml" | "ini" | "rust" | "dockerfile", "") => Ok(Run::Not),
            _ => Err(format!("```{}: neither run (sh, console) nor known as something else", self.info)),
        }
    }

    /// Its commands.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        for line in self.text.lines() {
            if self.info.starts_with("sh") {
                steps.push(Step { command: line.to_owned(), output: None });
            } else if let Some(command) = line.strip_prefix("$ ") {
                steps.push(Step { command: command.to_owned(), output: Some(String::new()) });
            } else if let Some(Step { output: Some(output), .. }) = steps.last_mut() {
                output.push_str(line);
                output.push('\n');
            } else {
                panic!("line {}: output before a command: {line}", self.line);
            }
        }
        steps
    }
}

/// Whether `output` is what `expected` says.
pub(crate) fn matches(expected: &str, output: &str, varies: bool) -> bool {
    let norm = |line: &str| if varies { without_numbers(line) } else { line.trim_end().to_owned() };
    let lines = |text: &str| text.lines().map(norm).collect::<Vec<_>>();
    all_match(&lines(expected), &lines(output))
}

fn all_match(expected: &[String], lines: &[String]) -> bool {
    match (expected.split_first(), lines.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "…" => {
            (0..=lines.len()).any(|skip| all_match(rest, &lines[skip..]))
        }
        (Some((first, rest)), Some((line, more))) => line_matches(first, line) && all_match(rest, more),
        _ => false,
    }
}

fn line_matches(expected: &str, line: &str) -> bool {
    let Some((first, rest)) = expected.split_once('…') else { return expected == line };
    let Some(line) = line.strip_prefix(first) else { return false };
    line.char_indices().map(|(at, _)| at).chain([line.len()]).any(|at| line_matches(rest, &line[at..]))
}

/// A line with `0` for each number, its unit included, and one space for several: columns move with what is in them.
fn without_numbers(line: &str) -> String {
    const UNITS: [&str; 12] = ["B/s", "kB/s", "MB/s", "GB/s", "B", "kB", "MB", "GB", "µs", "ms", "s", "%"];
    let words = line.split_whitespace().map(|word| {
        let core = word.trim_matches(|c: char| !c.is_alphanumeric() && c != '%' && c != '…');
        let is_number = core.starts_with(|c: char| c.is_ascii_digit())
            && core.chars().all(|c| c.is_ascii_digit() || ".,msh:".contains(c));
        if is_number { word.replace(core, "0") } else { word.to_owned() }
    });
    let mut kept: Vec<String> = Vec::new();
    for word in words {
        let core = word.trim_end_matches([',', ';', ':', ')']);
        match kept.last_mut() {
            Some(number) if UNITS.contains(&core) && number.ends_with('0') => {
                number.push_str(&word[core.len()..]);
            }
            _ => kept.push(word),
        }
    }
    kept.join(" ")
}

/// The arguments of the program in a line of a shell, if it calls it: up to what leads elsewhere.
pub(crate) fn arguments(line: &str) -> Option<Vec<&str>> {
    let line = line.strip_prefix("$ ").unwrap_or(line);
    let called = ["swarmcast ", "cargo run --release -- "].iter().find_map(|call| line.strip_prefix(call))?;
    Some(called.split_whitespace().take_while(|word| !["|", ">", "#", "&&", "&"].contains(word)).collect())
}

/// Where the links of a page lead.
pub(crate) fn links(page: &str) -> Vec<&str> {
    page.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
}

/// The headings of a page, as a link names them.
pub(crate) fn headings(page: &str) -> BTreeSet<String> {
    let named = |heading: &str| -> String {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|&c| c.is_alphanumeric() || c == ' ' || c == '-' || c == '_');
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    page.lines().filter(|line| line.starts_with('#')).map(named).collect()
}

/// The diagrams in a module's header: its `text` blocks.
pub(crate) fn diagrams(source: &str) -> Vec<String> {
    let header: String = source
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line)))
        .collect();
    Block::all(&header).into_iter().filter(|block| block.info == "text").map(|block| block.text).collect()
}

#[test]
fn a_fence_that_is_neither_run_nor_marked_is_found() {
    let run = |info: &str| Block::all(&format!("```{info}\nls\n```\n"))[0].run();
    assert_eq!(run("sh"), Ok(Run::Commands(Way::default())));
    assert_eq!(
        run("console varies background"),
        Ok(Run::Commands(Way { in_background: true, elsewhere: false, varies: true }))
    );
    assert_eq!(run("sh untested: takes an hour"), Ok(Run::Not));
    assert_eq!(run("toml file=a.toml"), Ok(Run::File("a.toml".into())));
    for bad in ["", "bash", "sh no_run", "console untested", "shell", "text untested: why"] {
        assert!(run(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn output_that_differs_is_found() {
    for (expected, output, varies) in [
        ("a\n", "a\n", false),
        ("a…c\n", "a b c\n", false),
        ("…\nc\n", "a\nb\nc\n", false),
        ("a\n…\n", "a\n", false),
        ("f: 6.22 MB in 67.3 s, 92.5 kB/s\n", "f: 62 kB in 150 ms, 1.2 MB/s\n", true),
        ("  1.00   2 s;\n", " 10 20 ms;\n", true),
    ] {
        assert!(matches(expected, output, varies), "{expected:?} {output:?}");
    }
    for (expected, output, varies) in [
        ("a\n", "b\n", false),
        ("a\n", "a\nb\n", false),
        ("a\nb\n", "a\n", false),
        ("a…c\n", "a b\n", false),
        ("1 s\n", "2 s\n", false),
        ("f: 1 MB\n", "g: 1 MB\n", true),
        ("1 peers\n", "1 files\n", true),
    ] {
        assert!(!matches(expected, output, varies), "{expected:?} {output:?}");
    }
}
