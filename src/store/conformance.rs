//! Holds what every store promises: claims against [`Store`], run for each store that there is.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::WhenUnreachable;
use crate::key::seal::Sealed;
use crate::key::text::KeyId;
use crate::store::gateway::{GatewayCard, GatewayId};
use crate::store::{
    Audit, Beat, Change, Expect, Idempotency, Kind, More, Position, Revoked, Row, Store, Synced,
    Ticket, Write, Written,
};

pub mod changes;
pub mod following;
pub mod model;
pub mod receipts;
pub mod slices;
pub mod usage;

/// Hands every claim to the macro `$then`, behind what else it is given.
macro_rules! claims {
    ($then:ident, $($given:expr),*) => {
        $then! { $($given),*;
            changes::numbers_have_no_gaps_under_concurrent_writers,
            changes::an_id_is_taken_once,
            changes::a_change_needs_the_revision_it_was_made_from,
            changes::a_revoked_record_takes_no_other_change,
            changes::of_five_first_operators_there_is_one,
            changes::five_repetitions_at_once_mint_one_key,
            changes::another_body_under_the_same_idempotency_key_is_a_conflict,
            changes::operators_do_not_see_each_others_idempotency_keys,
            changes::operators_are_found_among_keys,
            changes::pages_are_newest_first_and_go_on_after_their_mark,
            changes::a_page_is_whole_however_large_it_is,
            changes::a_walk_shows_every_earlier_key_once_while_a_thousand_are_minted,
            changes::resealing_leaves_the_revision_and_announces_nothing,
            changes::what_was_changed_meanwhile_is_not_resealed,
            changes::an_offer_is_taken_where_the_store_knows_less,
            changes::a_time_of_last_use_never_moves_back,
            changes::a_store_knows_its_records_and_its_pepper,
            following::a_change_is_there_for_whoever_syncs,
            following::a_long_way_behind_is_brought_in_pieces,
            following::a_position_that_never_was_is_lost,
            following::who_is_lost_confirms_nothing,
            following::who_is_further_behind_than_the_changes_reach_is_lost,
            following::an_alarm_rings_for_what_came_before_it,
            following::an_alarm_rings_for_what_comes,
            receipts::with_nobody_in_the_register_a_change_is_complete,
            receipts::receipts_wait_for_every_gateway,
            receipts::sixty_four_writers_get_their_receipts,
            receipts::a_receipt_says_how_many_streams_were_closed,
            receipts::a_silent_gateway_is_unconfirmed_after_its_lease_and_not_before,
            receipts::a_silent_gateway_that_refuses_is_fenced_after_its_lease_and_not_before,
            receipts::who_leaves_is_not_waited_for,
            receipts::who_is_forgotten_was_known_before,
            receipts::who_came_back_is_not_forgotten,
            receipts::who_stays_silent_goes_out_of_the_register,
            slices::no_more_of_a_quota_is_leased_than_there_is,
            slices::what_is_returned_of_a_quota_can_be_leased_again,
            slices::what_was_spent_without_the_store_counts,
            slices::what_is_too_little_is_not_given,
            slices::a_rate_is_leased,
            slices::what_is_spent_in_a_day_is_spent_in_its_month_and_the_other_way,
            slices::a_month_goes_on_over_a_midnight,
            slices::what_was_leased_yesterday_takes_nothing_off_what_is_spent_today,
            slices::what_was_spent_without_the_store_counts_in_both_windows,
            usage::what_gateways_counted_is_there_by_the_hour,
            usage::an_hour_that_is_written_again_is_what_it_was_last,
            usage::many_hours_are_written_at_once,
        }
    };
}

/// Makes a test of every claim; `$open` makes a place with a new `store` in it.
macro_rules! a_test_each {
    ($open:expr; $($part:ident::$claim:ident,)*) => {
        $(
            #[tokio::test]
            async fn $claim() {
                let place = $open;
                crate::store::conformance::$part::$claim(&place.store).await;
            }
        )*
    };
}

/// Holds every claim, one after another; `$open` makes a new store of a claim's name.
macro_rules! in_turn {
    ($open:expr; $($part:ident::$claim:ident,)*) => {
        $(
            let store = $open(stringify!($claim)).await;
            crate::store::conformance::$part::$claim(&store).await;
        )*
    };
}

/// The id of the key that the tests call `number`.
pub fn id(number: u32) -> KeyId {
    format!("{number:012}").parse().unwrap()
}

/// That key, just minted; later numbers are newer.
pub fn row(number: u32) -> Row {
    Row {
        id: id(number),
        kind: Kind::Key,
        created_at: Timestamp::from_micros(1_800_000_000_000_000 + i64::from(number)),
        revision: 1,
        revoked: Revoked::No,
        last_used_at: None,
        sealed: Sealed::from_bytes(format!("sealed {number}").into_bytes()),
    }
}

/// Mints a key.
pub fn mint(number: u32) -> Write {
    Write { row: row(number), expect: Expect::Absent, idempotency: None, audit: audit() }
}

/// Changes a key from `revision` to the next.
pub fn change(number: u32, revision: u64) -> Write {
    let row = Row { revision: revision + 1, ..row(number) };
    Write { row, expect: Expect::Revision(revision), idempotency: None, audit: audit() }
}

/// Revokes a key at `revision`.
pub fn revoke(number: u32, revision: u64) -> Write {
    let write = change(number, revision);
    Write { row: Row { revoked: Revoked::Yes, ..write.row }, ..write }
}

/// As repeated by one operator, under one key.
pub fn repeated(write: Write, body: u8) -> Write {
    let idempotency = Idempotency {
        operator: "alice".to_owned(),
        key: "the same".to_owned(),
        fingerprint: [body; 32],
    };
    Write { idempotency: Some(idempotency), ..write }
}

fn audit() -> Audit {
    Audit {
        at: Timestamp::from_micros(1_800_000_000_000_000),
        operator: "alice".to_owned(),
        operator_name: "Alice".to_owned(),
        address: "127.0.0.1".to_owned(),
        action: "key.create".to_owned(),
        target: "a key".to_owned(),
        before: None,
        after: Some(serde_json::json!({"name": "billing"})),
    }
}

/// The ticket of a write that must succeed.
pub async fn applied(store: &Store, write: Write) -> Ticket {
    match store.write(write).await {
        Ok(Written::Applied(ticket)) => ticket,
        other => panic!("not applied: {other:?}"),
    }
}

/// One who follows a store.
pub struct Gateway {
    /// What it says of itself.
    pub card: GatewayCard,
    /// What it has applied.
    pub position: Position,
    /// What it has heard behind that.
    pub heard: Option<(u64, u64)>,
    /// In the order in which they came.
    pub changes: Vec<Change>,
}

impl Gateway {
    /// Follows `store` from its beginning.
    pub async fn new(store: &Store, name: &str) -> Self {
        let card = GatewayCard {
            id: GatewayId(format!("{name}-id")),
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            started_at: Timestamp::from_micros(0),
            lease_ms: 60_000,
            policy: WhenUnreachable::ServeKnown,
            serve_known_for_ms: 60_000,
            replicas: 0,
            keys: 0,
            complete: true,
            draining: false,
            closed: Vec::new(),
        };
        let epoch = store.meta().await.unwrap().end.epoch;
        let position = Position { epoch, number: 0, nonce: 0 };
        Self { card, position, heard: None, changes: Vec::new() }
    }

    /// The same with another lease and policy.
    pub fn with(mut self, lease_ms: u64, policy: WhenUnreachable) -> Self {
        self.card.lease_ms = lease_ms;
        self.card.policy = policy;
        self
    }

    /// One sync.
    pub async fn sync(&mut self, store: &Store) -> Option<More> {
        let (card, position, heard) = (self.card.clone(), self.position.clone(), self.heard);
        let beat = Beat { card, position, heard };
        match store.sync(beat).await.unwrap() {
            Synced::Followed { changes, more, .. } => {
                if let Some(last) = changes.last() {
                    self.position.number = last.number;
                    self.position.nonce = last.nonce;
                }
                self.changes.extend(changes);
                Some(more)
            }
            Synced::Lost { epoch: _ } => None,
        }
    }

    /// Applies all there is, and confirms it.
    pub async fn catch_up(&mut self, store: &Store) {
        loop {
            let before = self.position.clone();
            self.sync(store).await.expect("lost");
            if self.position == before {
                return;
            }
        }
    }

    /// Follows for as long as it is asked to.
    pub async fn follow(&mut self, store: &Store) {
        loop {
            self.catch_up(store).await;
            store.alarm(&self.position, Duration::from_secs(1)).await;
        }
    }
}
