//! What happened when, in the time of histories, for whoever looks into one.

use std::fmt;
use std::sync::{Arc, Mutex};

use crate::support::history::now;

/// Notes of one run.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<Vec<(u64, String)>>>);

impl Journal {
    /// Notes what happens now.
    pub fn note(&self, words: &str) {
        self.0.lock().unwrap().push((now(), words.to_owned()));
    }
}

impl fmt::Display for Journal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (time, words) in self.0.lock().unwrap().iter() {
            writeln!(formatter, "{time} {words}")?;
        }
        Ok(())
    }
}
