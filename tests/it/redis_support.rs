//! What the claims about a fleet stand on does what it says.

use crate::support::issuer::{Issuer, Validity};
use crate::support::redis::{Durability, Redis, Terms, Tls};

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
    let identity = issuer.certify("127.0.0.1", Validity::Valid);
    let tls = Tls {
        certificate: identity.certificate,
        private_key: identity.private_key,
        ca: issuer.ca(),
    };
    let terms = Terms::default().tls(tls).user("keyward", "secret", "~kw:* &* +@all -flushall");
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
