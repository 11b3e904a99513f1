//! The protocol with all its rules: no promise is broken, in any row and under both policies.

use crate::check::{holds, is_full};
use crate::config::{
    Config, Hearing, LONG, Loading, NOTHING, Op, Opening, Policy, Row, SHORT, Watch,
};
use crate::promises::{COMPLETE, DENIED, FENCED, JOINED, LOST, NAMED, REOPENED};
use crate::state::Budget;
use crate::values::Record;

const BOTH: &[Op] = &[Op::Mint, Op::Revoke];

fn with(row: Row, budget: Budget) -> Config {
    Config { budget, ticks: SHORT, ..Config::new(row) }
}

const RESTART: Budget = Budget { restarts: 1, ..NOTHING };
const FAILOVER: Budget = Budget { failovers: 1, ..NOTHING };

#[test]
fn one_redis_that_starts_again_breaks_nothing() {
    let budget = Budget { restarts: 2, ..NOTHING };
    holds(
        Config { ticks: LONG, ..with(Row::Single, budget) },
        600_000,
        &[COMPLETE, FENCED, REOPENED],
    );
}

#[test]
fn a_key_minted_and_revoked_on_one_redis_is_never_refused_early_nor_let_in_late() {
    let config =
        Config { ops: [BOTH, &[]], ..with(Row::Single, Budget { restarts: 2, ..NOTHING }) };
    holds(config, 500_000, &[COMPLETE, FENCED, REOPENED, DENIED]);
}

#[test]
fn a_gateway_may_start_and_load_slowly_beside_a_mint_and_a_revocation() {
    let config = Config {
        ops: [BOTH, &[]],
        running: 1,
        loading: Loading::Slow,
        ..with(Row::Single, RESTART)
    };
    holds(config, 800_000, &[COMPLETE, FENCED, REOPENED, JOINED, DENIED]);
}

#[test]
fn gateways_and_admins_may_die() {
    let budget = Budget { restarts: 1, crashes: 1, admin_restarts: 1, ..NOTHING };
    holds(Config { ops: [BOTH, &[]], ..with(Row::Single, budget) }, 200_000, &[COMPLETE, REOPENED]);
    let budget = Budget { failovers: 1, crashes: 1, admin_restarts: 1, ..NOTHING };
    holds(with(Row::Fewer, budget), 200_000, &[COMPLETE, REOPENED, LOST]);
}

#[test]
fn an_admin_may_skip_whose_beat_stands_still() {
    let budget = Budget { crashes: 1, leaves: 1, ..NOTHING };
    let config = Config { watch: Watch::On, ..with(Row::Single, budget) };
    holds(config, 100_000, &[COMPLETE, FENCED]);
    let config =
        Config { watch: Watch::On, policy: Policy::ServeKnown, ..with(Row::Single, NOTHING) };
    holds(config, 500_000, &[COMPLETE, NAMED]);
}

#[test]
fn under_serve_known_an_answer_names_whoever_may_still_let_in() {
    let known = |row, budget| Config { policy: Policy::ServeKnown, ..with(row, budget) };
    holds(Config { ticks: LONG, ..known(Row::Single, RESTART) }, 400_000, &[COMPLETE, NAMED]);
    holds(known(Row::All, FAILOVER), 500_000, &[COMPLETE, NAMED, REOPENED]);
    holds(known(Row::Fewer, FAILOVER), 1_500_000, &[COMPLETE, NAMED, REOPENED]);
}

#[test]
fn two_admins_may_revoke_at_once() {
    let two = |row, budget| Config { ops: [&[Op::Revoke], &[Op::Revoke]], ..with(row, budget) };
    holds(two(Row::Single, NOTHING), 2_000, &[COMPLETE, FENCED]);
    holds(two(Row::Single, RESTART), 100_000, &[COMPLETE, FENCED, REOPENED]);
}

#[test]
fn two_primaries_at_once_break_nothing_where_all_replicas_count() {
    let config = Config { ticks: LONG, ..with(Row::All, FAILOVER) };
    holds(config, 600_000, &[COMPLETE, FENCED, REOPENED]);
    holds(
        Config { running: 1, ..with(Row::All, FAILOVER) },
        600_000,
        &[COMPLETE, REOPENED, JOINED],
    );
}

#[test]
fn a_key_minted_and_revoked_around_a_failover_is_never_refused_early_nor_let_in_late() {
    let both = |row| Config { ops: [BOTH, &[]], ..with(row, FAILOVER) };
    holds(both(Row::All), 600_000, &[COMPLETE, FENCED, REOPENED, DENIED]);
    holds(both(Row::Fewer), 800_000, &[COMPLETE, FENCED, REOPENED, DENIED, LOST]);
}

#[test]
fn another_change_may_race_with_a_revocation_around_a_failover() {
    let budget = Budget { patches: 1, ..FAILOVER };
    holds(with(Row::All, budget), 900_000, &[COMPLETE, FENCED, REOPENED]);
    holds(with(Row::Fewer, budget), 400_000, &[COMPLETE, FENCED, REOPENED, LOST]);
}

#[test]
fn with_fewer_replicas_a_confirmed_revocation_comes_back_after_a_failover() {
    let config = Config { ticks: LONG, ..with(Row::Fewer, FAILOVER) };
    holds(config, 250_000, &[COMPLETE, FENCED, REOPENED, LOST]);
    let joins = Config { running: 1, ..with(Row::Fewer, FAILOVER) };
    holds(joins, 500_000, &[COMPLETE, FENCED, REOPENED, LOST, JOINED]);
}

#[test]
fn who_holds_its_lease_when_it_finds_an_epoch_may_open_it_without_the_others() {
    let alone = |budget| Config { opening: Opening::Alone, ..with(Row::Fewer, budget) };
    let joins = Config { running: 1, ..alone(FAILOVER) };
    holds(joins, 300_000, &[COMPLETE, FENCED, REOPENED, LOST, JOINED]);
    let dies = Budget { crashes: 1, admin_restarts: 1, ..FAILOVER };
    holds(alone(dies), 300_000, &[COMPLETE, REOPENED, LOST]);
    if is_full() {
        let both = Config { ops: [BOTH, &[]], ..alone(FAILOVER) };
        holds(both, 1_000_000, &[COMPLETE, FENCED, REOPENED, LOST, DENIED]);
        let twice = Budget { failovers: 2, ..NOTHING };
        holds(alone(twice), 4_500_000, &[COMPLETE, FENCED, REOPENED, LOST]);
    }
}

#[test]
fn what_is_heard_may_be_applied_before_anybody_says_whose_it_is() {
    let hears = |row, budget| Config { hearing: Hearing::On, ..with(row, budget) };
    holds(hears(Row::Single, RESTART), 50_000, &[COMPLETE, FENCED, REOPENED]);
    holds(hears(Row::All, FAILOVER), 800_000, &[COMPLETE, FENCED, REOPENED]);
    let budget = Budget { patches: 1, ..FAILOVER };
    holds(hears(Row::Fewer, budget), 1_500_000, &[COMPLETE, FENCED, REOPENED, LOST]);
    if is_full() {
        let both = |row| Config { ops: [BOTH, &[]], ..hears(row, FAILOVER) };
        holds(both(Row::All), 600_000, &[COMPLETE, FENCED, REOPENED, DENIED]);
        holds(both(Row::Fewer), 800_000, &[COMPLETE, FENCED, REOPENED, DENIED, LOST]);
        holds(hears(Row::All, budget), 900_000, &[COMPLETE, FENCED, REOPENED]);
    }
}

#[test]
fn three_gateways_and_more_faults_break_nothing() {
    if !is_full() {
        let config = Config { running: 3, processes: 3, ..with(Row::Single, NOTHING) };
        holds(config, 1_000, &[COMPLETE, FENCED]);
        return;
    }
    let three = |row, budget| Config { running: 3, processes: 3, ..with(row, budget) };
    holds(three(Row::Single, RESTART), 400_000, &[COMPLETE, FENCED, REOPENED]);
    let twice = Budget { failovers: 2, ..NOTHING };
    holds(with(Row::All, twice), 2_500_000, &[COMPLETE, FENCED, REOPENED]);
    holds(with(Row::Fewer, twice), 3_000_000, &[COMPLETE, FENCED, REOPENED, LOST]);
    let joins = Config { ops: [BOTH, &[]], running: 1, ..with(Row::Fewer, FAILOVER) };
    holds(joins, 5_000_000, &[COMPLETE, FENCED, REOPENED, LOST, JOINED, DENIED]);
    let joins = Config { running: 1, ticks: LONG, ..with(Row::Fewer, FAILOVER) };
    holds(joins, 2_000_000, &[COMPLETE, FENCED, REOPENED, LOST, JOINED]);
    let known = Config { policy: Policy::ServeKnown, ..with(Row::Fewer, FAILOVER) };
    let joins = Config { running: 1, opening: Opening::Alone, ..known };
    holds(joins, 12_000_000, &[COMPLETE, NAMED, REOPENED, JOINED]);
    let budget = Budget { restarts: 1, crashes: 1, leaves: 1, ..NOTHING };
    let watched = Config { watch: Watch::On, ..with(Row::Single, budget) };
    holds(watched, 4_000_000, &[COMPLETE, FENCED, REOPENED]);
}

#[test]
fn merging_never_undoes_a_revocation() {
    let config = Config::new(Row::Single);
    let patched = Record::MINTED.patched();
    let all =
        [Record::default(), Record::MINTED, patched, Record::MINTED.revoked(), patched.revoked()];
    for mine in all {
        for stores in all {
            let merged = crate::gateway::merge(&config, mine, stores);
            assert_eq!(merged.is_revoked(), mine.is_revoked() || stores.is_revoked());
            assert!(!merged.is_absent() || (mine.is_absent() && stores.is_absent()));
        }
    }
}
