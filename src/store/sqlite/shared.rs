//! Holds what the threads of one open store tell those who wait.

use tokio::sync::watch;

use crate::clock::Moment;
use crate::key::seal::Identity;
use crate::store::Position;
use crate::store::sight::Sight;

/// What the threads share.
#[derive(Debug)]
pub struct Shared {
    identity: Identity,
    end: watch::Sender<Position>,
    sight: Sight,
}

impl Shared {
    /// Nothing was seen yet.
    pub fn new(identity: Identity) -> Self {
        let start = Position { epoch: identity.0.clone(), number: 0, nonce: 0 };
        let sight = Sight::blank();
        // Its one life, known since before anything happened in it.
        sight.begin(&identity.0, Moment::default());
        Self { identity, end: watch::Sender::new(start), sight }
    }

    /// The random name of the store, which is also its one epoch.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The register as it was seen.
    pub fn sight(&self) -> &Sight {
        &self.sight
    }

    /// Says where the changes end; wakes those for whom that is news.
    pub fn show_end(&self, end: Position) {
        self.end.send_if_modified(|it| {
            let moved = *it != end;
            *it = end;
            moved
        });
    }

    /// Resolves when the changes end elsewhere than at `after`.
    pub async fn end_is_not(&self, after: &Position) {
        let mut end = self.end.subscribe();
        // The sender lives as long as this does.
        drop(end.wait_for(|it| it != after).await);
    }
}
