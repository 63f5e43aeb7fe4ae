//! Cancel: what it ends, what it leaves, and what meets it half-way.

use swarmcast::time::Duration;
use swarmcast::{Error, Proxy};

use crate::common::{Folder, MEDIUM, SMALL, Swarm};

const SHORTLY: Duration = Duration::from_secs(2);

#[test]
fn a_download_that_is_cancelled_ends_at_once_and_can_be_begun_anew() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let file = folder.file("F", 1, MEDIUM);
    let (a, b) = (swarm.join("A", 400_000, 0), swarm.join("B", 0, 0));
    let fid = a.shares(&file);
    let downloads = [b.begin_download(fid), b.begin_download(fid)];
    b.reaches(fid, MEDIUM / 8);
    b.cancel(fid).expect("B downloads it");
    for download in downloads {
        let result = download.within(SHORTLY);
        assert!(
            matches!(result, Err(Error::Cancelled(which)) if which == fid),
            "a cancelled download gave {result:?}"
        );
    }
    assert!(b.progress(fid).is_none());
    b.gets(&file);
}

#[test]
fn after_cancel_nobody_gets_another_byte() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let file = folder.file("F", 2, MEDIUM);
    let proxy = Proxy::new(200_000, 0, None).expect("a port");
    let a = swarm.join_on("A", proxy.clone(), Duration::from_secs(30));
    let b = swarm.join_on("B", Proxy::new(0, 0, None).expect("a port"), Duration::from_secs(2));
    let fid = a.shares(&file);
    let download = b.begin_download(fid);
    b.reaches(fid, MEDIUM / 8);

    a.cancel(fid).expect("A shares it");
    let sent = proxy.stats().bytes_sent;
    let had = b.progress(fid).expect("B still wants it").verified;
    let result = download.within(Duration::from_secs(15));
    assert!(
        matches!(result, Err(Error::NoHolder { fid: which, .. }) if which == fid),
        "{:?}",
        result.map(|_| "all")
    );
    let more = proxy.stats().bytes_sent - sent;
    assert!(more < 4_000, "A sent {more} B after it had cancelled; B had {had} B of {MEDIUM} B");

    // Who changes his mind shares again.
    a.shares(&file);
    proxy.set_upload_rate(0);
    b.gets(&file);
}

#[test]
fn what_is_not_shared_can_not_be_cancelled() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let file = folder.file("F", 3, SMALL);
    let (a, b) = (swarm.join("A", 0, 0), swarm.join("B", 0, 0));
    let fid = a.shares(&file);
    assert!(matches!(b.cancel(fid), Err(Error::NotShared(which)) if which == fid));
    a.cancel(fid).expect("A shares it");
    assert!(matches!(a.cancel(fid), Err(Error::NotShared(which)) if which == fid));
    let result = b.download(fid);
    assert!(
        matches!(result, Err(Error::UnknownFile(which)) if which == fid),
        "after the last holder left: {result:?}"
    );
}

/// Each of these once undid what the other waited for.
#[test]
fn cancel_and_register_at_once_both_return() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let file = folder.file("F", 4, SMALL);
    let (a, b) = (swarm.join("A", 0, 0), swarm.join("B", 0, 0));
    let fid = a.shares(&file);
    // Few rounds, as what is announced already is announced again after a second only.
    for _ in 0..4 {
        let cancelling = crate::common::begin("A cancels", {
            let client = a.client();
            move || client.cancel(fid)
        });
        let registering = a.begin_register(&file.path);
        let cancelled = cancelling.within(Duration::from_secs(15));
        let registered = registering.within(Duration::from_secs(15));
        assert!(matches!(cancelled, Ok(()) | Err(Error::NotShared(_))), "{cancelled:?}");
        assert!(matches!(registered, Ok(_) | Err(Error::Cancelled(_))), "{registered:?}");
        // Whichever came last, it can be shared.
        a.shares(&file);
    }
    b.gets(&file);
}

#[test]
fn cancel_and_download_at_once_both_return() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let file = folder.file("F", 5, SMALL);
    let (a, b) = (swarm.join("A", 0, 0), swarm.join("B", 0, 0));
    let fid = a.shares(&file);
    for _ in 0..10 {
        b.gets(&file);
        let cancelling = crate::common::begin("B cancels", {
            let client = b.client();
            move || client.cancel(fid)
        });
        let downloads = [b.begin_download(fid), b.begin_download(fid)];
        cancelling.within(Duration::from_secs(15)).expect("B has it");
        for download in downloads {
            match download.within(Duration::from_secs(15)) {
                Ok(content) => file.assert_same("B", &content),
                Err(error) => assert!(matches!(error, Error::Cancelled(_)), "{error}"),
            }
        }
    }
}

#[test]
fn who_registers_what_it_downloads_has_downloaded_it() {
    let (swarm, folder) = (Swarm::new(), Folder::new());
    let file = folder.file("F", 6, MEDIUM);
    let (a, b) = (swarm.join("A", 100_000, 0), swarm.join("B", 0, 0));
    let fid = a.shares(&file);
    let to_memory = b.begin_download(fid);
    let target = folder.join("target");
    let to_path = crate::common::begin("B downloads to a path", {
        let (client, target) = (b.client(), target.clone());
        move || client.download_to(fid, target)
    });
    b.reaches(fid, 1);
    b.shares(&file);
    assert!(b.has_got(to_memory, &file) < Duration::from_secs(6), "A alone takes 8 s");
    to_path.within(SHORTLY).expect("B has it");
    file.assert_same("the path", &std::fs::read(target).expect("it is there"));
}

#[test]
fn the_swarm_goes_on_without_its_tracker() {
    let (mut swarm, folder) = (Swarm::new(), Folder::new());
    let file = folder.file("F", 7, MEDIUM);
    let (a, b) = (swarm.join("A", 400_000, 0), swarm.join("B", 0, 0));
    let fid = a.shares(&file);
    let download = b.begin_download(fid);
    b.reaches(fid, MEDIUM / 8);
    swarm.stop_tracker();
    b.has_got(download, &file);
    // Nobody confirms, and nobody is waited for: neither here nor in close.
    for peer in [&a, &b] {
        let client = peer.client();
        let cancelling = crate::common::begin("cancels", move || client.cancel(fid));
        cancelling.within(SHORTLY).expect("it shares it");
        peer.begin_close().within(SHORTLY).expect("closing can't fail");
    }
}
