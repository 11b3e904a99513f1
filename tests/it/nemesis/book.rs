//! What operators have done to keys, and what they were told.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::nemesis::chance::Chance;
use crate::support::fleet::operator::Held;
use crate::support::history::Answer;

/// All keys of a run.
#[derive(Debug, Default)]
pub struct Book {
    all: Mutex<Vec<Arc<Leaf>>>,
    /// Those that are not known to be revoked.
    live: Mutex<Vec<Arc<Leaf>>>,
    /// One that somebody revokes now, for somebody else to meddle with.
    contested: Mutex<Option<Arc<Leaf>>>,
    /// How often a key was given another name so far.
    pub names: AtomicU64,
}

/// One key.
#[derive(Debug)]
pub struct Leaf {
    pub held: Held,
    /// Whether it is sure to be there, unless somebody revokes it.
    is_lasting: bool,
    is_contested: AtomicBool,
    is_revoked: AtomicBool,
    /// The last name that was confirmed everywhere.
    named: AtomicU64,
}

impl Book {
    /// Enters a key that was just minted.
    pub fn add(&self, held: Held, answer: &Answer) {
        let leaf = Arc::new(Leaf {
            held,
            is_lasting: answer.is_lasting(),
            is_contested: AtomicBool::new(false),
            is_revoked: AtomicBool::new(false),
            named: AtomicU64::new(0),
        });
        self.all.lock().unwrap().push(Arc::clone(&leaf));
        self.live.lock().unwrap().push(leaf);
    }

    /// How many keys are not known to be revoked.
    pub fn live(&self) -> usize {
        self.live.lock().unwrap().len()
    }

    /// Any of these.
    pub fn any(&self, chance: &mut Chance) -> Option<Arc<Leaf>> {
        let live = self.live.lock().unwrap();
        (!live.is_empty()).then(|| Arc::clone(chance.any(&live)))
    }

    /// Has somebody else know that this one is being revoked.
    pub fn contest(&self, leaf: &Arc<Leaf>) {
        *self.contested.lock().unwrap() = Some(Arc::clone(leaf));
    }

    /// What somebody else revokes now.
    pub fn contested(&self) -> Option<Arc<Leaf>> {
        self.contested.lock().unwrap().take()
    }

    /// Notes what was said of a revocation.
    pub fn note(&self, leaf: &Arc<Leaf>, answer: &Answer) {
        if *answer == Answer::Complete {
            leaf.is_revoked.store(true, Ordering::SeqCst);
            self.live.lock().unwrap().retain(|it| !Arc::ptr_eq(it, leaf));
        }
    }

    /// The last so many that must be there, and the last so many that must not.
    pub fn settled(&self, count: usize) -> [Vec<Arc<Leaf>>; 2] {
        let all = self.all.lock().unwrap();
        let last = |which: &dyn Fn(&Leaf) -> bool| {
            all.iter().rev().filter(|it| which(it)).take(count).cloned().collect()
        };
        [
            last(&|it| it.is_lasting && !it.is_contested.load(Ordering::SeqCst)),
            last(&|it| it.is_revoked()),
        ]
    }
}

impl Leaf {
    /// Notes that somebody begins to revoke it.
    pub fn begin_to_revoke(&self) {
        self.is_contested.store(true, Ordering::SeqCst);
    }

    /// Whether somebody was told that it is revoked everywhere.
    pub fn is_revoked(&self) -> bool {
        self.is_revoked.load(Ordering::SeqCst)
    }

    /// Notes that everybody has confirmed this name.
    pub fn set_named(&self, name: u64) {
        self.named.fetch_max(name, Ordering::SeqCst);
    }

    /// The last name that everybody has confirmed.
    pub fn named(&self) -> u64 {
        self.named.load(Ordering::SeqCst)
    }
}
