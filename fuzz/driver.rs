//! Runs a target on its corpus and on what becomes of it. Knows no target from inside.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use swarmcast::Fid;
use swarmcast::rand::Rng;
use swarmcast::time::Clock;

use super::mutate::{mutate, reseal};
use super::notes;
use super::targets::Target;

/// The inputs in memory take at most this much, B; beyond that none is added.
const MAX_CORPUS_BYTES: usize = 16 << 20;

/// How long to search, and from where.
pub(crate) struct Plan {
    pub(crate) runs: u64,
    pub(crate) seed: u64,
    /// Whether to print how it goes.
    pub(crate) report: bool,
}

/// An input that a target doesn't survive.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) input: Vec<u8>,
    pub(crate) message: String,
    run: u64,
    seed: u64,
}

impl Found {
    /// Puts the input into a file of its own.
    pub(crate) fn save(&self, dir: &Path) -> PathBuf {
        let name = Fid::of(&self.input).to_string();
        let file = dir.join(format!("crash-{}", &name[..8]));
        fs::create_dir_all(dir).expect("the corpus can be written");
        fs::write(&file, &self.input).expect("the corpus can be written");
        file
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex: String = self.input.iter().map(|byte| format!("{byte:02x}")).collect();
        write!(f, "{} (run {} of SEED={}) by the input {hex}", self.message, self.run, self.seed)
    }
}

/// Where the inputs of a target lie.
pub(crate) fn corpus_dir(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// The files of a corpus, sorted by name.
fn corpus_files(target: &str) -> Vec<PathBuf> {
    // A target may have no corpus.
    let Ok(entries) = fs::read_dir(corpus_dir(target)) else { return Vec::new() };
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.expect("a folder of the package can be listed").path()).collect();
    files.sort();
    files
}

/// Runs the target on all of its corpus and tells how many inputs that were. A panic names the file.
pub(crate) fn replay(target: &Target) -> usize {
    let files = corpus_files(target.name);
    for file in &files {
        let input = fs::read(file).expect("the corpus can be read");
        if let Err(message) = run(target, &input) {
            panic!("{}: {message}", file.display());
        }
    }
    files.len()
}

/// Looks for an input that breaks the target, from its corpus and seeds on.
pub(crate) fn search(target: &Target, plan: &Plan) -> Option<Found> {
    let mut rng = Rng::from_seed(plan.seed);
    let mut inputs = (target.seeds)();
    inputs.extend(corpus_files(target.name).iter().map(|file| fs::read(file).expect("readable")));
    let mut bytes: usize = inputs.iter().map(Vec::len).sum();
    let mut seen = HashSet::new();
    let clock = Clock::new();
    for n in 0..plan.runs {
        let known = inputs.get(n as usize).cloned();
        let is_new = known.is_none();
        let input = known.unwrap_or_else(|| {
            // Half of them from the newest findings, where most is still to be found.
            let recent = inputs.len().saturating_sub(64);
            let from = if rng.chance(0.5) {
                recent + rng.index(inputs.len() - recent)
            } else {
                rng.index(inputs.len())
            };
            let mut input = inputs[from].clone();
            mutate(&mut rng, &mut input, &inputs, target.max_len);
            if target.sealed && rng.chance(0.9) {
                reseal(&mut input);
            }
            input
        });
        if let Err(message) = run(target, &input) {
            return Some(Found { input, message, run: n, seed: plan.seed });
        }
        let mut has_news = false;
        for note in notes::take() {
            has_news |= seen.insert(note);
        }
        if has_news && is_new && bytes + input.len() <= MAX_CORPUS_BYTES {
            bytes += input.len();
            inputs.push(input);
        }
        if plan.report && (n + 1).is_power_of_two() | (n + 1 == plan.runs) {
            let seconds = clock.now().as_secs_f64();
            println!(
                "{:>16}: {:>9} runs, {seconds:>7.1} s, {:>5} inputs, {:>5} notes, seed {}",
                target.name,
                n + 1,
                inputs.len(),
                seen.len(),
                plan.seed
            );
        }
    }
    None
}

fn run(target: &Target, input: &[u8]) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}
