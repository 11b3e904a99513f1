//! A pipe that a program writes into, and that is read only when a test wants to.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use tempfile::TempDir;

/// A named pipe with a reader who waits.
#[derive(Debug)]
pub struct Pipe {
    reader: File,
    path: PathBuf,
    _place: TempDir,
}

impl Pipe {
    /// An empty one.
    pub fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RWXU).unwrap();
        // Without a writer yet it opens only so; from then on reading waits for what comes.
        let reader = rustix::fs::open(&path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty());
        let reader = reader.unwrap();
        rustix::fs::fcntl_setfl(&reader, OFlags::empty()).unwrap();
        Self { reader: reader.into(), path, _place: place }
    }

    /// What becomes a program whose standard output leads here.
    pub fn way(&self) -> [String; 4] {
        let script = format!("exec \"$@\" >{}", self.path.display());
        ["sh".to_owned(), "-c".to_owned(), script, "sh".to_owned()]
    }

    /// Everything, until nobody writes any more.
    #[track_caller]
    pub fn read_to_end(&mut self) -> String {
        let mut text = String::new();
        self.reader.read_to_string(&mut text).unwrap();
        text
    }
}
