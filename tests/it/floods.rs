//! However many wrong keys come, they cost little, and whoever has a good one is let in.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::crowd::crowd;
use crate::support::gateway::{Gateway, Key};
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};
use crate::support::wait::eventually;

struct Stage {
    upstream: Upstream,
    gateway: Gateway,
}

/// How often which refusal came; `"let in"` where there was none.
type Answers = BTreeMap<String, usize>;

impl Stage {
    fn new(store_line: &str) -> Self {
        let upstream = Upstream::answering(|_| ok("ok"));
        let setup = Setup::to(upstream.address()).store(store_line);
        Self { gateway: Gateway::start(&setup), upstream }
    }

    /// One whose keys, minted here, have no tag under a pepper that it has; the first operator has.
    fn without_tags(count: usize) -> (Self, Vec<Key>) {
        let mut this = Self::new("");
        let keys = this.gateway.mint_many(count);
        let (gateway, upstream) = (&mut this.gateway, &this.upstream);
        let setup = Setup::to(upstream.address());
        gateway.stop();
        std::fs::rename(gateway.file("keyward.pepper"), gateway.file("old.pepper")).unwrap();
        std::fs::write(gateway.file("keyward.pepper"), [7; 32]).unwrap();
        gateway.configure(&setup.clone().store("retired_pepper_files = [\"old.pepper\"]"));
        gateway.restart();
        gateway.stop();
        gateway.configure(&setup);
        gateway.restart();
        (this, keys)
    }

    fn argon2_runs(&self) -> u64 {
        self.gateway.metrics().count("keyward_argon2_runs_total{purpose=\"verify\"}")
    }

    /// Sends so many requests over one connection from `source`, many at a time.
    fn send(&self, source: [u8; 4], count: usize, ask: impl Fn(usize) -> Ask) -> Answers {
        let mut client = Client::connect_from(IpAddr::from(source), self.gateway.address());
        let (mut answers, mut sent) = (Answers::new(), 0);
        while sent < count {
            let asks: Vec<Ask> = (sent..count).take(PIPELINED).map(&ask).collect();
            client.send(asks.iter().flat_map(Ask::bytes).collect::<Vec<u8>>());
            for _ in &asks {
                *answers.entry(code(&client.read())).or_default() += 1;
            }
            sent += asks.len();
        }
        answers
    }

    /// Uses a key as its owner does; how often it was let in, which is every time.
    #[track_caller]
    fn use_until(&self, ended: &AtomicBool, key: &Key) -> usize {
        let mut client = Client::connect_from(OWNER.into(), self.gateway.address());
        let mut count = 0;
        while !ended.load(Ordering::Relaxed) {
            assert_eq!(client.ask(&Ask::get("/").key(key)).status, 200);
            count += 1;
        }
        count
    }

    /// Shows wrong secrets for these keys, over and over.
    fn show_wrong_ones_until(&self, ended: &AtomicBool, keys: &[Key]) -> Answers {
        let wrong: Vec<Key> = keys.iter().map(Key::with_another_secret).collect();
        let mut answers = Vec::new();
        while !ended.load(Ordering::Relaxed) {
            let ask = |it: usize| Ask::get("/").key(&wrong[it % wrong.len()]);
            answers.push(self.send(ATTACKER, PIPELINED, ask));
        }
        sum(answers)
    }

    /// Sends them over several connections at once, while the owner of `key` uses it from another
    /// address and is always let in. After it, as much again needs no more memory.
    #[track_caller]
    fn flood(&self, key: &Key, ask: impl Fn(usize) -> Ask + Sync) -> Answers {
        let flood = || {
            crowd(CONNECTIONS, |number| self.send(ATTACKER, FLOOD, |it| ask(number * FLOOD + it)))
        };
        flood();
        self.gateway.forget_peak();
        let (before, ended) = (self.gateway.rss_kib(), AtomicBool::new(false));
        let answers = thread::scope(|scope| {
            let owner = scope.spawn(|| self.use_until(&ended, key));
            let flooded = flood();
            ended.store(true, Ordering::Relaxed);
            assert!(owner.join().unwrap() > 0);
            flooded
        });
        let grown_kib = self.gateway.peak_rss_kib().saturating_sub(before);
        assert!(grown_kib < PEAK_KIB_MAX, "it grew by {grown_kib} KiB for a while");
        self.assert_needs_no_more_memory(|| drop(flood()));
        sum(answers)
    }

    /// Holds the gateway to being no larger after several floods than before them. What it has once
    /// it may keep, and some floods go by until it has it all; what is lost with each request is
    /// lost again with each flood.
    #[track_caller]
    fn assert_needs_no_more_memory(&self, flood: impl Fn()) {
        let mut sizes_kib = vec![self.gateway.rss_kib()];
        while sizes_kib.len() <= FLOODS_MAX {
            flood();
            sizes_kib.push(self.gateway.rss_kib());
            if let [.., before, _, _, after] = sizes_kib[..]
                && after < before + KEPT_KIB_MAX
            {
                return;
            }
        }
        panic!("it grows with every flood: {sizes_kib:?} KiB");
    }
}

fn code(answer: &crate::support::http::Response) -> String {
    if answer.status == 200 {
        return "let in".to_owned();
    }
    answer.json()["code"].as_str().unwrap().to_owned()
}

fn sum(all: Vec<Answers>) -> Answers {
    let mut sum = Answers::new();
    for (code, count) in all.into_iter().flatten() {
        *sum.entry(code).or_default() += count;
    }
    sum
}

#[track_caller]
fn assert_only(answers: &Answers, code: &str) {
    assert_eq!(answers, &Answers::from([(code.to_owned(), CONNECTIONS * FLOOD)]));
}

#[test]
fn wrong_secrets_for_one_id_run_no_argon2() {
    let stage = Stage::new("");
    let key = stage.gateway.mint("attacked");
    let wrong: Vec<Key> = (0..2_000).map(|_| key.with_another_secret()).collect();
    let answers = stage.flood(&key, |it| Ask::get("/").key(&wrong[it % wrong.len()]));
    assert_only(&answers, "unknown_key");
    assert_eq!(stage.argon2_runs(), 0);
}

#[test]
fn unknown_ids_with_right_checksums_run_no_argon2_and_ask_no_store() {
    let stage = Stage::new("");
    let key = stage.gateway.mint("crm");
    let answers = stage.flood(&key, |_| Ask::get("/").key(&Key::unknown()));
    assert_only(&answers, "unknown_key");
    assert_eq!(stage.argon2_runs(), 0);
    let metrics = stage.gateway.metrics();
    assert_eq!(metrics.count("keyward_key_fills_total"), 0);
    assert_eq!(metrics.count("keyward_key_entries"), 2);
}

#[test]
fn garbage_is_refused_before_anything_is_looked_up() {
    let stage = Stage::new("");
    let key = stage.gateway.mint("crm");
    let half = &key.plaintext[..key.plaintext.len() / 2];
    let garbage = [half, "kw_", "\u{ff}\u{fe}", &"k".repeat(400), &key.plaintext.to_lowercase()]
        .map(str::to_owned);
    let answers = stage.flood(&key, |it| {
        Ask::get("/").header("api-key", &format!("{}{}", garbage[it % garbage.len()], it % 10))
    });
    assert_only(&answers, "malformed_key");
    assert_eq!(stage.argon2_runs(), 0);
    assert_eq!(stage.gateway.metrics().count("keyward_key_fills_total"), 0);
}

#[test]
fn unknown_ids_ask_the_store_nothing_even_where_not_every_key_is_in_memory() {
    let stage = Stage::new("max_keys_in_memory = 50");
    let keys = stage.gateway.mint_many(150);
    let answers = stage.flood(&keys[0], |_| Ask::get("/").key(&Key::unknown()));
    assert_only(&answers, "unknown_key");
    let metrics = stage.gateway.metrics();
    assert!(metrics.count("keyward_key_entries") <= 51);
    // Nobody asked but, once, for the owner's key.
    assert!(metrics.count("keyward_key_fills_total") <= 1);
    // Whose key exists is let in, however many such keys one address shows.
    let others: Answers = stage.send(OWNER, 150, |it| Ask::get("/").key(&keys[it]));
    assert_eq!(others, Answers::from([("let in".to_owned(), 150)]));
}

#[test]
fn whoever_shows_a_key_that_is_not_in_memory_is_let_in_however_many_show_it_at_once() {
    let upstream = Upstream::answering(|_| ok("ok"));
    let setup = Setup::to(upstream.address()).store("max_keys_in_memory = 10");
    let stage = Stage { gateway: Gateway::start(&setup), upstream };
    let keys = stage.gateway.mint_many(300);
    let barrier = Barrier::new(CONNECTIONS);
    let answers = crowd(CONNECTIONS, |number| {
        let mut client = stage.gateway.client();
        let ask = |key: &Key| {
            barrier.wait();
            code(&client.ask(&Ask::get("/").key(key)))
        };
        let codes: Vec<String> = keys.iter().map(ask).collect();
        Answers::from([(
            codes.iter().find(|it| *it != "let in").unwrap_or(&codes[0]).clone(),
            number,
        )])
    });
    let codes: Vec<String> = answers.into_iter().flatten().map(|it| it.0).collect();
    assert!(codes.iter().all(|it| it == "let in"), "{codes:?}");
}

/// Shows wrong secrets for these keys over many connections while `meanwhile` is done.
fn attack<T>(stage: &Stage, keys: &[Key], meanwhile: impl FnOnce() -> T) -> (Answers, T) {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let attack = || stage.show_wrong_ones_until(&ended, keys);
        let attackers: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(attack)).collect();
        let done = meanwhile();
        ended.store(true, Ordering::Relaxed);
        (sum(attackers.into_iter().map(|it| it.join().unwrap()).collect()), done)
    })
}

#[test]
fn wrong_secrets_for_a_key_without_a_tag_run_argon2_within_its_budget() {
    let (stage, keys) = Stage::without_tags(1);
    // The first scrape has the operator's own token judged.
    let (before, start) = (stage.argon2_runs(), Instant::now());
    let (answers, runs_at_the_end) = attack(&stage, &keys, || {
        eventually("argon2 has run for a while", || stage.argon2_runs() - before > 25);
        let runs = stage.argon2_runs() - before;
        let budget = 10 + 10 * (start.elapsed().as_secs() + 1);
        assert!(runs <= budget, "{runs} runs where {budget} are allowed");
        // The owner takes a turn from another address, and then there is a tag.
        let mut owner = Client::connect_from(OWNER.into(), stage.gateway.address());
        assert_eq!(owner.ask(&Ask::get("/").key(&keys[0])).status, 200);
        let runs = stage.argon2_runs();
        for _ in 0..2_000 {
            assert_eq!(owner.ask(&Ask::get("/").key(&keys[0])).status, 200);
        }
        runs
    });
    let codes: Vec<&str> = answers.keys().map(String::as_str).collect();
    assert_eq!(codes, ["overloaded", "unknown_key"]);
    assert_eq!(stage.argon2_runs(), runs_at_the_end, "with a tag nothing costs argon2");
}

#[test]
fn wrong_secrets_for_many_keys_without_tags_run_argon2_as_often_as_their_address_may() {
    let (stage, keys) = Stage::without_tags(100);
    let (before, start) = (stage.argon2_runs(), Instant::now());
    let (attacked, spared) = keys.split_at(90);
    let (answers, ()) = attack(&stage, attacked, || {
        eventually("its address may no more", || stage.argon2_runs() - before >= ADDRESS_BURST);
        let runs = stage.argon2_runs() - before;
        let budget = allowed_to_an_address(start.elapsed());
        assert!(runs <= budget, "{runs} runs where {budget} are allowed");
        let mut owner = Client::connect_from(OWNER.into(), stage.gateway.address());
        for key in spared.iter().chain(&attacked[..10]) {
            assert_eq!(owner.ask(&Ask::get("/").key(key)).status, 200);
        }
    });
    let codes: Vec<&str> = answers.keys().map(String::as_str).collect();
    assert_eq!(codes, ["overloaded", "unknown_key"]);
}

const ATTACKER: [u8; 4] = [127, 0, 0, 1];
const OWNER: [u8; 4] = [127, 0, 0, 2];
/// More than may wait for one id from one address.
const CONNECTIONS: usize = 20;
const FLOOD: usize = 1_500;
const PIPELINED: usize = 50;
const PEAK_KIB_MAX: u64 = 16 * 1024;
/// After three floods: 11 bytes of each request.
const KEPT_KIB_MAX: u64 = 1024;
const FLOODS_MAX: usize = 12;

/// How often an address may ask for what costs, where nothing else is said.
fn allowed_to_an_address(time: Duration) -> u64 {
    ADDRESS_BURST + 20 * (time.as_secs() + 1)
}

const ADDRESS_BURST: u64 = 200;
