//! Holds what the alarm clock brought until a sync has said whether it stands.
//!
//! In which life of the store it was said, nobody knows: so it goes ahead only where it is newer than
//! what is known, and brings no key in that may have been known before.

use crate::gate::entries::Entries;
use crate::store::Change;

/// What was heard, and what of it waits.
#[derive(Debug, Default)]
pub struct Hearsay {
    heard: Vec<Change>,
    doubtful: Vec<Change>,
}

impl Hearsay {
    /// Nothing, where it does not go on from the change `after`: then only the sync counts.
    pub fn behind(after: u64, heard: Vec<Change>) -> Self {
        let goes_on = heard.iter().zip(after + 1..).all(|(it, number)| it.number == number);
        if !goes_on || heard.iter().any(|it| it.row.sealed.is_newer()) {
            return Self::default();
        }
        Self { heard, doubtful: Vec::new() }
    }

    /// What may be applied at once; the rest waits.
    pub fn sift(&mut self, entries: &Entries) -> Vec<Change> {
        let knows_all = entries.is_complete();
        let is_sure = |it: &Change| match entries.get(it.row.id) {
            Some(entry) => entry.known().seniority() < it.row.seniority(),
            None => knows_all,
        };
        let (sure, rest) = self.heard.iter().cloned().partition(is_sure);
        self.doubtful = rest;
        sure
    }

    /// Its end, by number and nonce.
    pub fn end(&self) -> Option<(u64, u64)> {
        self.heard.last().map(|it| (it.number, it.nonce))
    }

    /// All of it, and what of that waited.
    pub fn into_parts(self) -> (Vec<Change>, Vec<Change>) {
        (self.heard, self.doubtful)
    }
}
