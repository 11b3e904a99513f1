//! Requests are shared out among endpoints as it is set.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::ask::Ask;
use crate::support::crowd::crowd;
use crate::support::gateway::{Gateway, Key};
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};
use crate::support::wait::eventually;

#[test]
fn endpoints_get_requests_by_their_weights_whichever_worker_they_come_to() {
    for balance in ["round_robin", "least_requests", "random"] {
        let (heavy, light) = (Upstream::echo(), Upstream::echo());
        let weights = [(heavy.address(), 3), (light.address(), 1)];
        let setup = Setup::empty().upstream_weighing("api", &weights);
        let setup = setup.upstream_line(&format!("balance = {balance:?}"));
        let gateway = Gateway::start(&setup.route("all", "path = \"/\""));
        let key = gateway.mint("crm");
        // New connections come to all four workers.
        for _ in 0..80 {
            let mut client = gateway.client();
            for _ in 0..10 {
                assert_eq!(client.ask(&Ask::get("/").key(&key)).status, 200);
            }
        }
        assert_eq!(heavy.asked() + light.asked(), 800);
        // Four times what chance is off by; turns are exact but for where each worker stands.
        let off = if balance == "round_robin" { 8 } else { 50 };
        assert!(light.asked().abs_diff(200) <= off, "{balance}: {}", light.asked());
    }
}

#[test]
fn of_two_endpoints_the_ten_times_slower_gets_less_than_a_fifth() {
    let slow = |time: u64| {
        Upstream::answering(move |_| {
            thread::sleep(Duration::from_millis(time));
            ok("ok")
        })
    };
    // Long enough that a busy machine does not make them alike.
    let (fast, slow) = (slow(40), slow(400));
    let setup = Setup::empty().upstream("api", &[fast.address(), slow.address()]);
    let setup = setup.upstream_line("balance = \"least_requests\"");
    let gateway = Gateway::start(&setup.route("all", "path = \"/\""));
    let key = gateway.mint("crm");
    crowd(16, |_| {
        let mut client = gateway.client();
        for _ in 0..40 {
            assert_eq!(client.ask(&Ask::get("/").key(&key)).status, 200);
        }
    });
    let share = slow.asked() * 100 / (slow.asked() + fast.asked());
    assert!(share < 20, "it got {share} %");
}

/// Where each key's requests go; all of them to the same endpoint, over whichever worker.
#[track_caller]
fn homes(gateway: &Gateway, keys: &[Key]) -> HashMap<String, String> {
    let home = |key: &Key| {
        let ask = Ask::get("/").key(key);
        let first = ask.to(gateway).body;
        assert!((0..3).all(|_| ask.to(gateway).body == first), "a key has two homes");
        String::from_utf8(first).unwrap()
    };
    keys.iter().map(|key| (key.id.clone(), home(key))).collect()
}

/// Answers with its name, until the one called "two" is gone.
fn named(name: &'static str, is_gone: &Arc<AtomicBool>) -> Upstream {
    let is_gone = Arc::clone(is_gone);
    Upstream::scripted(move |conversation| {
        while conversation.request()?.is_some() {
            if name == "two" && is_gone.load(Ordering::Relaxed) {
                return Ok(());
            }
            conversation.send(ok(name))?;
        }
        Ok(())
    })
}

#[test]
fn with_hash_a_key_stays_where_it_is_and_only_those_of_a_lost_endpoint_move() {
    let is_gone = Arc::<AtomicBool>::default();
    let [one, two, three] = ["one", "two", "three"].map(|name| named(name, &is_gone));
    let all = [one.address(), two.address(), three.address()];
    let setup = Setup::empty().upstream("api", &all).upstream_line("balance = \"hash\"");
    let setup = setup.route("all", "path = \"/\"");
    let setup = setup.route("public", "path = \"/public/\"\naccess = \"public\"");
    let gateway = Gateway::start(&setup);
    let keys: Vec<Key> = (0..60).map(|it| gateway.mint(&format!("key {it}"))).collect();
    let before = homes(&gateway, &keys);
    for name in ["one", "two", "three"] {
        let count = before.values().filter(|it| *it == name).count();
        assert!(count > 5, "{name} got {count} of 60 keys");
    }
    is_gone.store(true, Ordering::Relaxed);
    drop(two);
    let after = homes(&gateway, &keys);
    for (key, home) in &before {
        let moved = after[key] != *home;
        assert_eq!(moved, home == "two", "{key} at {home}");
    }
    // Without a key there is nothing to go by, and everybody takes part.
    let (first, third) = (one.asked(), three.asked());
    for _ in 0..50 {
        assert_eq!(Ask::get("/public/").to(&gateway).status, 200);
    }
    assert!(one.asked() > first && three.asked() > third);
}

#[test]
fn of_two_endpoints_with_few_connections_the_slower_holds_up_few_requests() {
    let pausing = |time: u64| {
        Upstream::answering(move |_| {
            thread::sleep(Duration::from_millis(time));
            ok("ok")
        })
    };
    let (fast, slow) = (pausing(20), pausing(400));
    let setup = Setup::empty().upstream("api", &[fast.address(), slow.address()]);
    let setup = setup
        .upstream_line("balance = \"least_requests\"")
        .upstream_line("max_connections = 2\nwait_timeout = \"30s\"")
        .route("all", "path = \"/\"");
    let gateway = Gateway::start(&setup);
    let key = gateway.mint("crm");
    crowd(16, |_| {
        let mut client = gateway.client();
        for _ in 0..25 {
            assert_eq!(client.ask(&Ask::get("/").key(&key)).status, 200);
        }
    });
    let share = slow.asked() * 100 / (slow.asked() + fast.asked());
    assert!(share < 25, "it got {share} %");
}

#[test]
fn an_endpoint_that_comes_back_gets_a_share_that_grows() {
    let is_well = Arc::new(AtomicBool::new(true));
    let answers = Arc::clone(&is_well);
    let used = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&used);
    let returning = Upstream::answering(move |request| {
        if request.target() != "/healthz" {
            counted.fetch_add(1, Ordering::SeqCst);
        } else if !answers.load(Ordering::SeqCst) {
            return b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".to_vec();
        }
        ok("ok")
    });
    let other = Upstream::echo();
    let setup = Setup::empty().upstream("api", &[returning.address(), other.address()]);
    let health =
        "{ path = \"/healthz\", interval = \"100ms\", unhealthy_after = 1, healthy_after = 1 }";
    let setup = setup
        .gateway("workers = 1")
        .upstream_line("balance = \"round_robin\"\nslow_start = \"10s\"")
        .upstream_line(&format!("health = {health}"))
        .route("all", "path = \"/\"");
    let gateway = Gateway::start(&setup);
    let key = gateway.mint("crm");
    // Of a hundred.
    let share = || {
        let (mut client, before) = (gateway.client(), used.load(Ordering::SeqCst));
        for _ in 0..100 {
            assert_eq!(client.ask(&Ask::get("/").key(&key)).status, 200);
        }
        used.load(Ordering::SeqCst) - before
    };
    assert!((49..=51).contains(&share()), "it was never away");
    let healthy = || gateway.metrics().with("keyward_upstream_endpoint_healthy", "");
    is_well.store(false, Ordering::SeqCst);
    eventually("it is not well", || healthy() == 1);
    assert_eq!(share(), 0);
    is_well.store(true, Ordering::SeqCst);
    eventually("it is well", || healthy() == 2);
    let first = share();
    assert!(first < 30, "it got {first} of 100 at once");
    let mut shares = vec![first];
    eventually("it gets as much as the other", || {
        thread::sleep(Duration::from_millis(500));
        shares.push(share());
        shares.last().is_some_and(|it| *it >= 49)
    });
    // Evenly, but for where a hundred begin and end.
    assert!(shares.windows(2).all(|it| it[0] <= it[1] + 2), "{shares:?}");
    assert!(shares.iter().any(|it| (15..45).contains(it)), "{shares:?}");
}
