//! The properties: what must never be seen, and what must be seen for a run to mean anything.

use stateright::Property;

use crate::config::Config;
use crate::state::{Fault, Minted, SLOTS, State, Turn};
use crate::values::Set;

pub const R1: &str = "nobody lets a revoked key in after the answer, but those it names";
pub const R3: &str = "a valid key is never answered 401";
pub const RECEIPT: &str = "who is named as confirmed has applied the change";
pub const UNDONE: &str = "a gateway that knows a revocation never forgets it";
/// The promises.
pub const BROKEN: [&str; 4] = [R1, R3, RECEIPT, UNDONE];

pub const COMPLETE: &str = "a revocation is answered as complete";
pub const FENCED: &str = "an answer is complete while a gateway without a lease does not know";
pub const REOPENED: &str = "an epoch after the first is open, and a gateway renews in it";
pub const LOST: &str = "a failover loses what was answered as complete";
pub const NAMED: &str = "an answer names a gateway, which goes on letting the key in";
pub const JOINED: &str = "a gateway that started later lets the key in";
pub const DENIED: &str = "a key that is not minted yet is answered 401";

pub fn promises() -> Vec<Property<Config>> {
    vec![
        Property::always(R1, |config: &Config, state: &State| !breaks_r1(config, state)),
        Property::always(R3, |config: &Config, state: &State| !breaks_r3(config, state)),
        Property::always(RECEIPT, |_, state: &State| state.fault != Fault::FalseReceipt),
        Property::always(UNDONE, |_, state: &State| state.fault != Fault::Undone),
        Property::sometimes(COMPLETE, |_, state: &State| is_complete(state)),
        Property::sometimes(FENCED, |_, state: &State| {
            let is_fenced = |g: usize| {
                let slot = &state.slots[g];
                slot.runs() && slot.record.is_active() && slot.left == 0
            };
            is_complete(state) && (0..SLOTS).any(is_fenced)
        }),
        Property::sometimes(REOPENED, |_, state: &State| {
            let renews = |g: usize| {
                let slot = &state.slots[g];
                slot.runs() && slot.epoch > 0 && slot.turn == Turn::Settled && slot.left > 0
            };
            (0..SLOTS).any(renews)
        }),
        Property::sometimes(LOST, |_, state: &State| {
            is_complete(state) && !state.newest().stream.record().is_revoked()
        }),
        Property::sometimes(NAMED, |config: &Config, state: &State| {
            let names = |g| state.admins.iter().any(|it| it.answered.is_some_and(|it| it.has(g)));
            (0..SLOTS).any(|g| names(g) && state.admits(config, g))
        }),
        Property::sometimes(JOINED, |config: &Config, state: &State| {
            (0..SLOTS).filter(|g| state.admits(config, *g)).count() > config.running
        }),
        Property::sometimes(DENIED, |config: &Config, state: &State| {
            (0..SLOTS).any(|g| state.denies(config, g))
        }),
    ]
}

fn is_complete(state: &State) -> bool {
    state.admins.iter().any(|it| it.answered.is_some_and(Set::is_empty))
}

fn breaks_r1(config: &Config, state: &State) -> bool {
    let mut answers = state.admins.iter().filter_map(|it| it.answered);
    answers.any(|named| (0..SLOTS).any(|g| state.admits(config, g) && !named.has(g)))
}

fn breaks_r3(config: &Config, state: &State) -> bool {
    state.minted == Minted::Answered && (0..SLOTS).any(|g| state.denies(config, g))
}
