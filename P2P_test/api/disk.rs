//! Files that change under the one who shares them.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;

use swarmcast::time::Duration;
use swarmcast::{Error, Proxy};

use crate::common::{Folder, MEDIUM, Swarm, until};

const SHORTLY: Duration = Duration::from_secs(5);

#[test]
fn who_edits_or_cuts_a_file_shares_it_no_longer() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    for (seed, cuts) in [(1, false), (2, true)] {
        let file = folder.file(&format!("F{seed}"), seed, MEDIUM);
        let a = swarm.join("A", 600_000, 0);
        let b = swarm.join_on("B", Proxy::new(0, 0, None).expect("a port"), Duration::from_secs(1));
        let fid = a.shares(&file);
        let download = b.begin_download(fid);
        b.reaches(fid, MEDIUM / 8);
        assert!(a.client().failure(fid).is_none());

        let opened = OpenOptions::new().write(true).open(&file.path).expect("it is there");
        if cuts {
            opened.set_len(MEDIUM as u64 / 10).expect("it can be cut");
        } else {
            opened.write_all_at(&vec![7; MEDIUM], 0).expect("it can be written");
        }
        until("A notices", SHORTLY, || a.client().failure(fid).is_some());
        assert!(matches!(a.client().failure(fid), Some(Error::Changed(which)) if which == fid));
        assert!(a.progress(fid).is_none(), "A goes on sharing it");
        let result = download.within(Duration::from_secs(15));
        assert!(matches!(result, Err(Error::NoHolder { .. })), "{:?}", result.map(|_| "all"));

        // It is another file now; the old content can be shared from elsewhere, or come back.
        let new = a.register(&file.path).expect("it can be read");
        assert_ne!(new, fid);
        fs::write(&file.path, &file.content).expect("it can be written");
        a.shares(&file);
        assert!(a.client().failure(fid).is_none());
        b.gets(&file);
    }
}
