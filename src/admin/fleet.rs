//! The calls on gateways: who follows the store, and who is not waited for any more.

use std::time::Duration;

use serde::Serialize;

use crate::admin::answer::{Answer, Done};
use crate::admin::asked::Asked;
use crate::admin::rejection::Rejection;
use crate::clock::Timestamp;
use crate::store::Left;
use crate::store::gateway::GatewayId;
use crate::store::sight::{Seen, Watched};

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
pub fn list(asked: &Asked) -> Result<Answer, Rejection> {
    let seen = asked.admin.keyring.store().sight().watch().borrow().clone();
    let items = seen.entries.iter().map(|it| gateway(it, &seen)).collect();
    Answer::json(Done::Well, &Gateways { items })
}

/// Takes a gateway out of the register: an operator knows that it is gone for good. One that is
/// still heard of stays, since nobody would wait for it any more.
pub async fn forget(asked: Asked) -> Result<Answer, Rejection> {
    let (store, id) = (asked.admin.keyring.store(), asked.id()?);
    let gone = GatewayId(id.to_owned());
    let seen = store.sight().watch().borrow().clone();
    let watched = seen.entry(&gone).ok_or(Rejection::NotFound)?;
    if state(watched, silence(watched, &seen)) != State::Unconfirmed {
        return Err(Rejection::StateConflict(
            "this gateway is alive: stop it, and it takes itself out of the register",
        ));
    }
    match store.leave(&gone).await? {
        Left::Now => {
            let operator = &asked.operator;
            tracing::info!(
                event = "audit",
                action = "gateway.forget",
                gateway.id = id,
                operator.id = %operator.id(),
                operator.name = operator.name(),
                address = %operator.address(),
                "an operator had a gateway forgotten"
            );
            Answer::json(Done::Well, &Forgotten { id, state: State::Forgotten })
        }
        Left::Unknown => Err(Rejection::NotFound),
    }
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
