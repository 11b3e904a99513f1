//! What the claims about a fleet stand on does what it says.

use crate::support::cluster::{Cluster, Replicas};
use crate::support::issuer::{Issuer, Validity};
use crate::support::redis::durability::Durability;
use crate::support::redis::{Redis, Terms, Tls};
use crate::support::sentinel::Sentinel;
use crate::support::wait::eventually;

#[test]
fn a_redis_that_is_killed_has_kept_what_it_answered() {
    for durability in [Durability::Always, Durability::EverySecond] {
        let redis = Redis::start_with(&Terms::default().durability(durability));
        assert_eq!(redis.cli(&["SET", "key", "value"]), "OK");
        let run_id = redis.run_id();
        redis.kill();
        assert!(redis.try_cli(&["PING"]).unwrap_err().contains("refused"));
        redis.restart();
        assert_eq!(redis.cli(&["GET", "key"]), "value");
        assert_ne!(redis.run_id(), run_id);
    }
}

#[test]
fn a_redis_that_keeps_nothing_or_is_emptied_has_lost_all() {
    let redis = Redis::start();
    redis.cli(&["SET", "key", "value"]);
    redis.restart_empty();
    assert_eq!(redis.cli(&["EXISTS", "key"]), "0");
    let redis = Redis::start_with(&Terms::default().durability(Durability::Nothing));
    redis.cli(&["SET", "key", "value"]);
    redis.restart();
    assert_eq!(redis.cli(&["EXISTS", "key"]), "0");
}

#[test]
fn a_redis_that_is_full_refuses_writes_and_goes_on_reading() {
    let redis = Redis::start_with(&Terms::default().memory(4 << 20, "noeviction"));
    redis.cli(&["SET", "key", "value"]);
    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(redis.cli(&["SET", "key", "other"]).starts_with("OOM"));
    assert_eq!(redis.cli(&["GET", "key"]), "value");
    assert_eq!(redis.info("maxmemory_policy"), "noeviction");
}

#[test]
fn a_redis_that_is_frozen_answers_once_it_is_thawed() {
    let redis = Redis::start();
    redis.freeze();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| redis.cli(&["PING"]));
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!asking.is_finished());
        redis.thaw();
        assert_eq!(asking.join().unwrap(), "PONG");
    });
    redis.freeze();
}

#[test]
fn a_redis_with_tls_and_a_user_answers_nobody_else() {
    let issuer = Issuer::new();
    let terms = tls_terms(&issuer).user("keyward", "secret", "~kw:* &* +@all -flushall");
    let redis = Redis::start_with(&terms);
    assert!(redis.url().starts_with("rediss://127.0.0.1:"));
    let by = |password: &str, words: &[&str]| redis.cli_as("keyward", password, words).unwrap();
    assert_eq!(by("secret", &["SET", "kw:key", "value"]), "OK");
    assert!(by("secret", &["SET", "other", "value"]).starts_with("NOPERM"));
    assert!(by("secret", &["FLUSHALL"]).starts_with("NOPERM"));
    assert!(by("wrong", &["GET", "kw:key"]).starts_with("NOAUTH"));
    assert_eq!(redis.cli(&["GET", "kw:key"]), "value");
    redis.restart();
    assert_eq!(redis.cli(&["GET", "kw:key"]), "value");
}

#[test]
fn many_start_at_once_and_none_is_left_behind() {
    let started: Vec<Redis> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(Redis::start)).collect();
        threads.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let pids: Vec<u32> = started.iter().map(Redis::pid).collect();
    started[0].freeze();
    drop(started);
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}

/// With a certificate of an authority whose files last as long as it does.
fn tls_terms(issuer: &Issuer) -> Terms {
    let identity = issuer.certify("127.0.0.1", Validity::Valid);
    Terms::default().tls(Tls {
        certificate: identity.certificate,
        private_key: identity.private_key,
        ca: issuer.ca(),
    })
}

/// Waits until the replicas have all that has been written to a primary so far. `WAIT` is of no use
/// here: it waits for what was written on its own connection, and each command has one of its own.
#[track_caller]
fn wait_until_they_have_it(primary: &Redis, replicas: &[&Redis]) {
    assert!(!replicas.is_empty());
    let place = |it: &Redis, field: &str| it.info(field).parse::<u64>().unwrap();
    let written = place(primary, "master_repl_offset");
    eventually("the replicas have what was written", || {
        replicas.iter().all(|it| place(it, "slave_repl_offset") >= written)
    });
}

#[test]
fn sentinels_fail_over_and_what_the_replicas_never_heard_of_is_lost() {
    let fleet = Sentinel::start();
    let first = fleet.primary();
    first.cli(&["SET", "kept", "value"]);
    wait_until_they_have_it(first, &fleet.replicas());
    let second = fleet.fail_over();
    assert_ne!(second.address(), first.address());
    assert_eq!(second.cli(&["GET", "kept"]), "value");
    assert!(first.cli(&["SET", "kept", "other"]).starts_with("READONLY"));

    let third = fleet.lose(|it| assert_eq!(it.cli(&["SET", "lost", "value"]), "OK"));
    assert_ne!(third.address(), second.address());
    assert_eq!(third.cli(&["EXISTS", "kept", "lost"]), "1");
    second.restart();
    fleet.settle();
    assert_eq!(second.cli(&["EXISTS", "kept", "lost"]), "1");
}

#[test]
fn a_primary_that_stands_still_is_replaced_and_wakes_as_another_primary() {
    let fleet = Sentinel::start();
    let first = fleet.primary();
    first.freeze();
    fleet.sentinels()[0].kill();
    let second = fleet.promoted_after(first.address());
    first.thaw();
    fleet.sentinels()[0].restart();
    assert_eq!(fleet.primary().address(), second.address());
    fleet.settle();
    assert_eq!(fleet.replicas().len(), 2);
}

#[test]
fn replicas_that_are_parted_hear_nothing_until_they_are_joined() {
    let fleet = Sentinel::start();
    let primary = fleet.primary();
    fleet.part_replicas();
    assert_eq!(primary.cli(&["SET", "key", "value"]), "OK");
    assert_eq!(primary.info("connected_slaves"), "0");
    fleet.join_replicas();
    fleet.settle();
    for it in fleet.servers() {
        assert_eq!(it.cli(&["GET", "key"]), "value");
    }
}

#[test]
fn sentinels_with_tls_and_a_user_fail_over() {
    let issuer = Issuer::new();
    let terms = tls_terms(&issuer).user("keyward", "secret", "~* &* +@all");
    let fleet = Sentinel::start_with(&terms);
    let old = fleet.primary();
    assert_ne!(fleet.fail_over().address(), old.address());
    assert!(fleet.url().starts_with("redis+sentinel://127.0.0.1:"));
}

#[test]
fn a_slot_that_moves_is_asked_for_elsewhere_and_then_found_there() {
    let issuer = Issuer::new();
    let terms = tls_terms(&issuer).user("keyward", "secret", "~* &* +@all");
    let cluster = Cluster::start_with(&terms, Replicas::None);
    let owner = cluster.owner_of("key");
    let to = cluster.others_than(owner)[0];
    let place = format!("{} {}", cluster.slot_of("key"), to.address());
    assert_eq!(owner.cli(&["SET", "key", "value"]), "OK");
    cluster.begin_move("key", to);
    assert_eq!(owner.cli(&["GET", "key"]), "value");
    assert_eq!(owner.cli(&["GET", "{key}other"]), format!("ASK {place}"));
    cluster.move_keys("key", to);
    assert_eq!(owner.cli(&["GET", "key"]), format!("ASK {place}"));
    cluster.end_move("key", to);
    assert_eq!(owner.cli(&["GET", "key"]), format!("MOVED {place}"));
    assert_eq!(to.cli(&["GET", "key"]), "value");
    assert_eq!(cluster.owner_of("key").address(), to.address());
    cluster.move_slot("key", owner);
    assert_eq!(owner.cli(&["GET", "key"]), "value");
    assert_eq!(cluster.url().matches("127.0.0.1:").count(), 3);
}

#[test]
fn a_replica_takes_the_place_of_its_master() {
    let cluster = Cluster::start_with(&Terms::default(), Replicas::One);
    let first = cluster.owner_of("key");
    first.cli(&["SET", "key", "value"]);
    wait_until_they_have_it(first, &cluster.replicas_of(first));
    let second = cluster.fail_over(first);
    assert_eq!(cluster.owner_of("key").address(), second.address());
    assert_eq!(cluster.kill_and_fail_over(second).address(), first.address());
    assert_eq!(first.cli(&["GET", "key"]), "value");
    second.restart();
    cluster.settle();
    assert_eq!(cluster.replicas_of(first)[0].address(), second.address());
}

#[test]
fn a_cluster_without_replicas_misses_a_master() {
    let cluster = Cluster::start();
    let owner = cluster.owner_of("key");
    owner.kill();
    eventually("the others notice", || {
        cluster
            .servers()
            .iter()
            .filter_map(|it| it.try_cli(&["GET", "{other}"]).ok())
            .all(|it| it.starts_with("CLUSTERDOWN"))
    });
    owner.restart_empty();
    cluster.settle();
}
