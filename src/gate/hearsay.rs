//! Holds what the alarm clock brought until a sync has said whether it stands.
//!
//! In which life of the store it was said, nobody knows. So it is applied only as far as it is newer
//! than what is known; and where not every key is known, of a key that is not no more is taken over
//! than that it has to be asked for. With that the gateway may confirm it all.

use crate::gate::entries::Entries;
use crate::gate::intake::Read;
use crate::store::Change;

/// What was heard, and how it was applied.
#[derive(Debug)]
pub struct Hearsay {
    /// The changes, without gaps.
    pub heard: Vec<Change>,
    /// What of them was taken over.
    pub scope: Read,
}

impl Hearsay {
    /// Nothing.
    pub const NONE: Self = Self { heard: Vec::new(), scope: Read::Everything };

    /// What goes on from the change `after`; the rest is left to the sync alone.
    pub fn behind(after: u64, heard: Vec<Change>, entries: &Entries) -> Self {
        let scope = if entries.is_complete() { Read::Everything } else { Read::Known };
        let is_news = |it: &Change| {
            let known = entries.get(it.row.id);
            known.is_none_or(|known| known.known().seniority() < it.row.seniority())
        };
        let may_go_ahead = |(number, it): &(u64, Change)| {
            it.number == *number && !it.row.sealed.is_newer() && is_news(it)
        };
        let heard = (after + 1..).zip(heard).take_while(may_go_ahead);
        Self { heard: heard.map(|(_, it)| it).collect(), scope }
    }

    /// Its end, by number and nonce.
    pub fn end(&self) -> Option<(u64, u64)> {
        self.heard.last().map(|it| (it.number, it.nonce))
    }

    /// Takes it out.
    pub fn take(&mut self) -> Self {
        std::mem::replace(self, Self::NONE)
    }
}
