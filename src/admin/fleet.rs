//! The calls on gateways: who follows the store, and who is not waited for any more.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::admin::answer::{Answer, Done};
use crate::admin::asked::Asked;
use crate::admin::rejection::Rejection;
use crate::admin::writing::{Action, Author, audit, tell};
use crate::clock::Timestamp;
use crate::store::gateway::{GatewayId, Register};
use crate::store::register::Propagation;
use crate::store::sight::{Seen, Watched};
use crate::store::{Audit, Left, Ticket};

#[derive(Serialize)]
struct Gateways<'a> {
    items: Vec<Gateway<'a>>,
}

#[derive(Serialize)]
struct Gateway<'a> {
    id: &'a GatewayId,
    name: &'a str,
    version: &'a str,
    started_at: Timestamp,
    state: State,
    /// For how long nothing was heard of it.
    lag_ms: u64,
    keys: u64,
    complete: bool,
}

#[derive(Serialize)]
struct Forgotten<'a> {
    id: &'a str,
    state: State,
    propagation: Propagation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Live,
    /// Its lease is over, and nobody knows what it does.
    Unconfirmed,
    Draining,
    Forgotten,
}

/// Lists every gateway in the register.
pub async fn list(asked: Asked) -> Result<Answer, Rejection> {
    let seen = asked.admin.keyring.store().sight().fresh(LOOK_MAX).await;
    let items = seen.entries.iter().map(|it| gateway(it, &seen)).collect();
    Answer::json(Done::Well, &Gateways { items })
}

/// How many gateways of each state there are in the register.
pub fn census(seen: &Seen) -> [(&'static str, u64); 3] {
    let states =
        [("live", State::Live), ("unconfirmed", State::Unconfirmed), ("draining", State::Draining)];
    states.map(|(name, wanted)| {
        let of = seen.entries.iter().filter(|it| state(it, silence(it, seen)) == wanted);
        (name, of.count() as u64)
    })
}

/// Takes a gateway out of the register: an operator knows that it is gone for good. One that is
/// still heard of stays, since nobody would wait for it any more.
///
/// The row of the audit is written first: stopped in between, it says too much and never too
/// little.
pub async fn forget(asked: Asked) -> Result<Answer, Rejection> {
    let (store, id) = (asked.admin.keyring.store(), asked.id()?);
    let author = Author::from(&asked.operator);
    let gone = GatewayId(id.to_owned());
    let seen = store.sight().watch().borrow().clone();
    let watched = seen.entry(&gone).ok_or(Rejection::NotFound)?;
    if state(watched, silence(watched, &seen)) != State::Unconfirmed {
        return Err(Rejection::StateConflict(
            "this gateway is alive: stop it, and it takes itself out of the register",
        ));
    }
    let ticket = without(&gone, store.ticket().await?);
    let before = serde_json::to_value(gateway(watched, &seen)).ok();
    let row = audit(&author, Action::GatewayForget, id.to_owned(), asked.now());
    store.note(Audit { before, ..row }).await?;
    if store.leave(&gone, Some(watched.entry.beat)).await? == Left::Unknown {
        return Err(Rejection::StateConflict("this gateway came back, or left, in this moment"));
    }
    tell(&author, Action::GatewayForget, id);
    let propagation = asked.admin.receipts(&ticket).await;
    Answer::json(Done::Well, &Forgotten { id, state: State::Forgotten, propagation })
}

/// A ticket for everybody but that gateway, taken while it is still there.
fn without(gone: &GatewayId, ticket: Ticket) -> Ticket {
    let Register { moves, mut entries } = ticket.register.as_ref().clone();
    entries.retain(|it| it.card.id != *gone);
    Ticket { register: Arc::new(Register { moves, entries }), ..ticket }
}

fn gateway<'a>(watched: &'a Watched, seen: &Seen) -> Gateway<'a> {
    let (card, silence) = (&watched.entry.card, silence(watched, seen));
    Gateway {
        id: &card.id,
        name: &card.name,
        version: &card.version,
        started_at: card.started_at,
        state: state(watched, silence),
        lag_ms: u64::try_from(silence.as_millis()).unwrap_or(u64::MAX),
        keys: card.keys,
        complete: card.complete,
    }
}

fn silence(watched: &Watched, seen: &Seen) -> Duration {
    watched.still_for(seen.looked)
}

fn state(watched: &Watched, silence: Duration) -> State {
    let card = &watched.entry.card;
    if silence > card.lease_over_after() {
        State::Unconfirmed
    } else if card.draining {
        State::Draining
    } else {
        State::Live
    }
}

/// Where the store is away, what was seen last is told.
const LOOK_MAX: Duration = Duration::from_secs(1);
