//! Operators who mint, change and revoke without end, and get in each other's way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::json;

use crate::nemesis::book::{Book, Leaf};
use crate::nemesis::chance::Chance;
use crate::support::fleet::operator::Operator;
use crate::support::fleet::traffic::Keys;

/// A thread for each. They end when this is dropped.
#[derive(Debug)]
pub struct Operators {
    stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// One of them at work.
struct Hand {
    operator: Operator,
    book: Arc<Book>,
    keys: Keys,
    chance: Chance,
}

impl Operators {
    /// Each begins at once.
    pub fn begin(operators: Vec<Operator>, book: &Arc<Book>, keys: &Keys, seed: u64) -> Self {
        let stopped = Arc::<AtomicBool>::default();
        let begin = |(purpose, operator)| {
            let chance = Chance::of(seed, purpose);
            let hand = Hand { operator, book: Arc::clone(book), keys: keys.clone(), chance };
            let stopped = Arc::clone(&stopped);
            thread::spawn(move || hand.go_on(&stopped))
        };
        let threads = (100..).zip(operators).map(begin).collect();
        Self { stopped, threads }
    }

    /// Ends, once each has its last answer.
    #[track_caller]
    pub fn end(mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.threads.drain(..).for_each(|it| it.join().unwrap());
    }
}

impl Drop for Operators {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        for it in self.threads.drain(..) {
            drop(it.join());
        }
    }
}

impl Hand {
    fn go_on(mut self, stopped: &AtomicBool) {
        while !stopped.load(Ordering::SeqCst) {
            self.act();
            thread::sleep(self.chance.millis(10, 120));
        }
    }

    fn act(&mut self) {
        if let Some(leaf) = self.book.contested() {
            if self.chance.one_in(2) {
                self.revoke(&leaf);
            } else {
                self.rename(&leaf);
            }
            return;
        }
        let live = self.book.live();
        let choice = self.chance.below(10);
        let leaf = self.book.any(&mut self.chance).filter(|_| live >= LIVE_MIN);
        match (choice, leaf) {
            (0..4, _) if live < LIVE_MAX => self.mint(),
            (_, None) => self.mint(),
            (4..6, Some(leaf)) => self.rename(&leaf),
            (6..8, Some(leaf)) => self.revoke(&leaf),
            (_, Some(leaf)) => {
                self.book.contest(&leaf);
                thread::sleep(Duration::from_millis(self.chance.next() % 3));
                self.revoke(&leaf);
            }
        }
    }

    fn mint(&mut self) {
        if let Some((held, answer)) = self.operator.mint_told() {
            self.keys.add(&held);
            self.book.add(held, &answer);
        }
    }

    fn revoke(&mut self, leaf: &Arc<Leaf>) {
        leaf.begin_to_revoke();
        let answer = self.operator.revoke(&leaf.held);
        self.book.note(leaf, &answer);
    }

    fn rename(&mut self, leaf: &Leaf) {
        let was_revoked = leaf.is_revoked();
        let name = self.book.names.fetch_add(1, Ordering::SeqCst) + 1;
        let path = format!("/v1/keys/{}", leaf.held.id);
        let document = json!({ "name": name.to_string() });
        let Ok(answer) = self.operator.call("PATCH", &path, &document) else { return };
        if answer.status == 200 {
            assert!(!was_revoked, "a revoked key was changed: {}", answer.json());
            if answer.json()["propagation"]["complete"] == true {
                leaf.set_named(name);
            }
        }
    }
}

const LIVE_MIN: usize = 6;
const LIVE_MAX: usize = 30;
