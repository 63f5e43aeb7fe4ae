//! A download that is written to stdout, in order, while it comes only nearly so.
//!
//! It is kept in a temporary file without a name, from which what is whole from the beginning on is read: the memory that this takes
//! doesn't grow with the file, and those who receive serve each other as always. Nothing is verified here: only verified pieces
//! reach a storage.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use std::thread;

use parking_lot::{Condvar, Mutex};
use swarmcast::pclient::storage::{FileStorage, Storage};
use swarmcast::{Error, Fid, PClient, Result};

/// What is read and written in one go, B.
const CHUNK_LEN: u64 = 1 << 20;

/// Fetches a file and writes it to `out`, in order, as it comes.
///
/// # Errors
/// As [`PClient::download`]; [`Error::File`] with the path `stdout` if it can't be written to `out`.
pub(super) fn download(client: &PClient, fid: Fid, out: impl Write + Send) -> Result<()> {
    let stream = Arc::new(Stream::default());
    thread::scope(|scope| {
        let copying = scope.spawn(|| {
            let copied = stream.copy_to(out);
            if copied.is_err() {
                // It may be over already, or be closed.
                let _ = client.cancel(fid);
            }
            copied
        });
        let inflow = Inflow(Arc::clone(&stream));
        let fetched = client.download_with(fid, move |size| {
            inflow.0.begin(size).map_err(|source| Error::file(std::env::temp_dir(), source))?;
            Ok(Box::new(inflow))
        });
        if fetched.is_err() {
            stream.end();
        }
        let copied = copying.join().expect("what copies doesn't panic");
        copied.map_err(|source| Error::file("stdout", source)).and(fetched)
    })
}

/// Content on its way from a swarm to a reader.
#[derive(Default)]
struct Stream {
    /// Set when the size is known.
    file: OnceLock<FileStorage>,
    written: Mutex<Written>,
    changed: Condvar,
}

/// What is there.
#[derive(Default)]
struct Written {
    /// B; `None` until it is known.
    size: Option<u64>,
    /// All before this offset is there.
    ready: u64,
    /// Begin and end of each stretch that is there beyond.
    apart: BTreeMap<u64, u64>,
    /// Nothing comes any more.
    has_ended: bool,
}

impl Written {
    fn add(&mut self, start: u64, end: u64) {
        self.apart.insert(start, end);
        while let Some(first) = self.apart.first_entry()
            && *first.key() <= self.ready
        {
            self.ready = self.ready.max(first.remove());
        }
    }
}

impl Stream {
    fn begin(&self, size: u64) -> io::Result<()> {
        // Asked for once, so it isn't set yet.
        let _ = self.file.set(FileStorage::unnamed(size)?);
        self.written.lock().size = Some(size);
        self.changed.notify_all();
        Ok(())
    }

    fn end(&self) {
        self.written.lock().has_ended = true;
        self.changed.notify_all();
    }

    fn file(&self) -> io::Result<&FileStorage> {
        self.file.get().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Waits until more than the first `done` B are there, and says how many; `None` if no more come.
    fn wait_beyond(&self, done: u64) -> Option<u64> {
        let mut written = self.written.lock();
        loop {
            if written.ready > done {
                return Some(written.ready);
            }
            if written.has_ended || written.size == Some(done) {
                return None;
            }
            self.changed.wait(&mut written);
        }
    }

    /// Writes all to `out`, or what there is when nothing comes any more.
    fn copy_to(&self, mut out: impl Write) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK_LEN as usize];
        let mut done = 0;
        while let Some(ready) = self.wait_beyond(done) {
            let part = &mut chunk[..CHUNK_LEN.min(ready - done) as usize];
            self.file()?.read_at(done, part)?;
            out.write_all(part)?;
            done += part.len() as u64;
        }
        out.flush()
    }
}

/// The swarm's end of a stream.
struct Inflow(Arc<Stream>);

impl Storage for Inflow {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.file()?.read_at(offset, buf)
    }

    fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<bool> {
        self.0.file()?.try_read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.file()?.write_at(offset, data)?;
        self.0.written.lock().add(offset, offset + data.len() as u64);
        self.0.changed.notify_all();
        Ok(())
    }

    fn finish(&self) -> io::Result<()> {
        Ok(())
    }

    fn abandon(&self) {
        self.0.end();
    }

    fn is_read_in_order(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_in_any_order_is_read_in_order() {
        let stream = Arc::new(Stream::default());
        let reader = Arc::clone(&stream);
        let copying = thread::spawn(move || {
            let mut out = Vec::new();
            reader.copy_to(&mut out).map(|()| out)
        });
        stream.begin(10).unwrap();
        let inflow = Inflow(Arc::clone(&stream));
        for (offset, data) in [(8, &b"89"[..]), (4, b"45"), (0, b"0123"), (6, b"67")] {
            inflow.write_at(offset, data).unwrap();
        }
        assert_eq!(copying.join().unwrap().unwrap(), b"0123456789");
        assert!(stream.written.lock().apart.is_empty());
    }

    #[test]
    fn what_never_comes_is_not_waited_for() {
        let stream = Stream::default();
        stream.begin(10).unwrap();
        stream.written.lock().add(5, 10);
        stream.end();
        let mut out = Vec::new();
        stream.copy_to(&mut out).unwrap();
        assert_eq!(out, b"");
        let empty = Stream::default();
        empty.begin(0).unwrap();
        empty.copy_to(&mut out).unwrap();
        assert_eq!(out, b"");
    }
}
