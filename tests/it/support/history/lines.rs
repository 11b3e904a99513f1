//! Histories as files, one thing a line, so that a run that fails can be looked at again.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Change, History, Request};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Gateways(Vec<String>),
    Keys(Vec<String>),
    Change(Change),
    Request(Request),
}

impl History {
    /// Writes it into a file.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        let mut put = |line: &Line| -> io::Result<()> {
            serde_json::to_writer(&mut file, line)?;
            file.write_all(b"\n")
        };
        put(&Line::Gateways(self.gateways.clone()))?;
        put(&Line::Keys(self.keys.clone()))?;
        self.changes.iter().try_for_each(|it| put(&Line::Change(it.clone())))?;
        self.requests.iter().try_for_each(|it| put(&Line::Request(*it)))?;
        file.flush()
    }

    /// Reads one that was written.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut history = Self::default();
        for line in BufReader::new(File::open(path)?).lines() {
            match serde_json::from_str(&line?)? {
                Line::Gateways(gateways) => history.gateways = gateways,
                Line::Keys(keys) => history.keys = keys,
                Line::Change(change) => history.changes.push(change),
                Line::Request(request) => history.requests.push(request),
            }
        }
        Ok(history)
    }

    /// Leaves it where it outlives the test; where that is.
    #[track_caller]
    pub fn leave(&self) -> PathBuf {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("histories");
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join(format!("{}-{}.jsonl", std::process::id(), super::now()));
        self.write(&path).unwrap();
        path
    }
}
