//! Who of the peers goes first, on the command line: two flags of `share` and `get`, and the table of peers.

use swarmcast::PClient;
use swarmcast::pclient::status::PeerStatus;
use swarmcast::time::{Duration, Instant};
use swarmcast::units::ByteSize;

use super::screen::Screen;

/// How often the table is shown.
const EVERY: Duration = Duration::from_secs(5);

/// What is to be done about peers that give little.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Fairness {
    /// Show every five seconds how this machine stands with each peer: who goes first here, and why
    #[arg(long)]
    peers: bool,

    /// Serve all alike, however little they give to others
    #[arg(long)]
    pub(super) no_choking: bool,
}

/// When the table was last shown.
#[derive(Debug)]
pub(super) struct Watch {
    due: Option<Instant>,
}

impl Fairness {
    /// Shows the table from `now` on, if that is wanted.
    pub(super) fn watch(self, now: Instant) -> Watch {
        Watch { due: self.peers.then_some(now + EVERY) }
    }
}

impl Watch {
    /// Shows the table if that is due and there is anybody.
    pub(super) fn show(&mut self, now: Instant, client: &PClient, screen: &Screen) {
        if self.due.take_if(|due| *due <= now).is_none() {
            return;
        }
        self.due = Some(now + EVERY);
        let peers = client.peers();
        if !peers.is_empty() {
            let rows = peers.iter().map(|status| (status.addr.to_string(), status));
            screen.hint(table("peer", rows));
        }
    }
}

/// How a node stands with its peers, each with what it is called.
pub(super) fn table<'a>(head: &str, peers: impl Iterator<Item = (String, &'a PeerStatus)>) -> String {
    // No wider than 120 columns.
    let row = |cells: [&str; 8]| {
        let [name, from, to, got, given, credit, standing, ours] = cells;
        let row =
            format!("{name:<21} {from:>10} {to:>10} {got:>8} {given:>8} {credit:>9}  {standing:<30} {ours}");
        row.trim_end().to_owned()
    };
    let mut rows = vec![row([head, "from it", "to it", "got", "given", "credit", "it is", "we are"])];
    for (name, status) in peers {
        let rate = |rate: f64| format!("{}/s", ByteSize(rate as u64));
        let since = |time: Duration| format!("{} s", time.as_secs());
        let credit = status.credit();
        let sign = if credit < 0 { "-" } else { "" };
        let ours = if status.chokes_us { "choked" } else { "unchoked" };
        rows.push(row([
            &name,
            &rate(status.download_rate),
            &rate(status.upload_rate),
            &ByteSize(status.downloaded).to_string(),
            &ByteSize(status.uploaded).to_string(),
            &format!("{sign}{}", ByteSize(credit.unsigned_abs())),
            &format!("{}, {}", status.standing, since(status.standing_for)),
            &format!("{ours}, {}", since(status.chokes_us_for)),
        ]));
    }
    rows.join("\n")
}
