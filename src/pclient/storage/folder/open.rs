//! The files of a folder that are open at the moment: a few, those used last.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

/// So many files are open at most, whatever their number.
const MAX_OPEN: usize = 64;

/// Open files by their index, that used last first.
#[derive(Debug, Default)]
pub(super) struct OpenFiles(Mutex<VecDeque<(usize, Arc<File>)>>);

impl OpenFiles {
    /// The file `index`: as `open` opens it, if it isn't open yet.
    ///
    /// # Errors
    /// Those of `open`.
    pub(super) fn get(&self, index: usize, open: impl FnOnce() -> io::Result<File>) -> io::Result<Arc<File>> {
        let mut files = self.0.lock();
        if let Some(place) = files.iter().position(|(of, _)| *of == index) {
            let found = files.remove(place).expect("it was found there");
            let file = Arc::clone(&found.1);
            files.push_front(found);
            return Ok(file);
        }
        drop(files);
        // Another thread may open it at the same time: then it is open twice for a while.
        let file = Arc::new(open()?);
        let mut files = self.0.lock();
        files.push_front((index, Arc::clone(&file)));
        files.truncate(MAX_OPEN);
        Ok(file)
    }
}
