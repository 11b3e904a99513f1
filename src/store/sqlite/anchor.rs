//! Tells whether the store's file still stands where it was opened.
//!
//! SQLite goes on with a file that was removed: all that is written to it is gone with the process.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ffi;

/// Where a file stands, and which file it is.
#[derive(Clone, Debug)]
pub struct Anchor(Arc<(PathBuf, FileId)>);

/// Its device, and its number there.
type FileId = (u64, u64);

impl Anchor {
    /// Of the file that stands at `path` now.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self(Arc::new((path.to_owned(), identify(path)?))))
    }

    /// Where the file stands.
    pub fn path(&self) -> &Path {
        &self.0.0
    }

    /// An error unless the same file stands there still.
    pub fn check(&self) -> rusqlite::Result<()> {
        if identify(self.path()).ok() == Some(self.0.1) {
            return Ok(());
        }
        let why = "its file was removed or replaced while it was in use".to_owned();
        Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_NOTFOUND), Some(why)))
    }
}

fn identify(path: &Path) -> io::Result<FileId> {
    fs::metadata(path).map(|it| (it.dev(), it.ino()))
}
