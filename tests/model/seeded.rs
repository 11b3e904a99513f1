//! Each rule left out is found: a counterexample, and the promise that it breaks.

use crate::check::finds;
use crate::config::{Config, Hearing, NOTHING, Opening, Policy, Row, SHORT, Seed, Watch};
use crate::promises::{R1, RECEIPT, UNDONE};
use crate::state::Budget;

const FAILOVER: Budget = Budget { failovers: 1, ..NOTHING };

fn seeded(row: Row, seed: Seed, budget: Budget) -> Config {
    Config { seed, budget, ticks: SHORT, ..Config::new(row) }
}

/// One gateway at the start, and a second that joins.
fn joins(row: Row, seed: Seed, budget: Budget) -> Config {
    Config { running: 1, processes: 2, ..seeded(row, seed, budget) }
}

#[test]
fn renewing_from_a_read_is_found() {
    finds(joins(Row::All, Seed::RenewFromRead, FAILOVER), R1);
    let watched = seeded(Row::Single, Seed::RenewFromRead, NOTHING);
    finds(Config { watch: Watch::On, ..watched }, R1);
}

#[test]
fn renewing_without_wait_is_found() {
    let config = joins(Row::All, Seed::RenewWithoutWait, FAILOVER);
    finds(Config { running: 0, ..config }, R1);
}

#[test]
fn counting_from_the_reply_is_found() {
    finds(seeded(Row::Single, Seed::CountFromReply, NOTHING), R1);
}

#[test]
fn a_position_without_its_nonce_is_found() {
    let budget = Budget { patches: 1, ..FAILOVER };
    finds(seeded(Row::Fewer, Seed::SyncWithoutNonce, budget), RECEIPT);
    finds(seeded(Row::Fewer, Seed::AdminWithoutNonce, budget), RECEIPT);
}

#[test]
fn a_register_that_expires_is_found() {
    finds(seeded(Row::Single, Seed::RegisterExpires, NOTHING), R1);
}

#[test]
fn a_quick_answer_in_the_first_lease_of_an_epoch_is_found() {
    finds(joins(Row::Fewer, Seed::QuickInNewEpoch, FAILOVER), R1);
}

#[test]
fn an_admin_that_trusts_the_epoch_it_starts_in_is_found() {
    let budget = Budget { admin_restarts: 1, ..FAILOVER };
    finds(joins(Row::Fewer, Seed::TrustedFromStart, budget), R1);
}

#[test]
fn an_answer_without_a_last_look_is_found() {
    finds(joins(Row::Fewer, Seed::NoLastLook, FAILOVER), R1);
}

#[test]
fn an_answer_by_a_look_of_long_ago_is_found() {
    finds(joins(Row::Fewer, Seed::OldLook, FAILOVER), R1);
}

#[test]
fn what_is_heard_without_its_nonce_is_found() {
    let budget = Budget { patches: 1, ..FAILOVER };
    let config = seeded(Row::All, Seed::HeardWithoutNonce, budget);
    finds(Config { hearing: Hearing::On, ..config }, RECEIPT);
}

#[test]
fn a_fresh_gateway_that_opens_at_once_is_found() {
    finds(joins(Row::Fewer, Seed::FreshOpens, FAILOVER), R1);
}

#[test]
fn opening_on_the_strength_of_a_lease_that_has_run_out_is_found() {
    let config = joins(Row::Fewer, Seed::None, FAILOVER);
    finds(Config { opening: Opening::Ever, ..config }, R1);
}

#[test]
fn opening_at_once_with_fewer_replicas_is_found() {
    let config = joins(Row::Fewer, Seed::None, FAILOVER);
    finds(Config { opening: Opening::AtOnce, ..config }, R1);
}

#[test]
fn merging_by_revision_alone_is_found() {
    let budget = Budget { patches: 2, ..FAILOVER };
    finds(seeded(Row::Fewer, Seed::RevisionWins, budget), UNDONE);
}

#[test]
fn leaving_the_register_before_the_lease_is_given_up_is_found() {
    let budget = Budget { leaves: 1, ..NOTHING };
    finds(seeded(Row::Single, Seed::LeaveEarly, budget), R1);
}

#[test]
fn waiting_no_longer_than_a_lease_is_found() {
    finds(seeded(Row::Single, Seed::NoMargin, NOTHING), R1);
}

#[test]
fn a_clock_read_before_the_head_is_found() {
    finds(seeded(Row::Single, Seed::ClockBeforeHead, NOTHING), R1);
}

#[test]
fn a_wait_that_covers_nothing_is_found() {
    let budget = Budget { admin_restarts: 1, ..FAILOVER };
    finds(seeded(Row::All, Seed::WaitWithoutWrite, budget), R1);
}

#[test]
fn serving_past_a_lease_without_a_join_on_all_replicas_is_found() {
    let config = joins(Row::Fewer, Seed::ServeUnjoined, FAILOVER);
    finds(Config { policy: Policy::ServeKnown, ..config }, R1);
}
