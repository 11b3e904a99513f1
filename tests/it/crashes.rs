//! Whatever moment the process is killed at, what was acknowledged holds.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;
use rusqlite::Connection;
use serde_json::json;

use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::crowd::crowd;
use crate::support::gateway::operate::{closed_streams, key_of};
use crate::support::gateway::{Gateway, Key};
use crate::support::http::Response;
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};
use crate::support::wait::rounds;

/// What is known of a key that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Minted,
    Revoked,
    /// Its revocation was asked for and never answered.
    MaybeRevoked,
}

/// What one client did before the process was killed.
#[derive(Default)]
struct Deeds {
    fates: Vec<(Key, Fate)>,
    /// A mint that was asked for and never answered, by its name.
    unanswered: Option<String>,
}

/// Mints and revokes until nobody answers any more.
fn work(gateway: &Gateway, asks: &Asks, prefix: &str) -> Deeds {
    let mut deeds = Deeds::default();
    let mut client = Client::connect(gateway.admin_address());
    for number in 0.. {
        let name = format!("{prefix}-{number}");
        let Ok(minted) = client.try_ask(&asks.mint(&name)) else {
            deeds.unanswered = Some(name);
            return deeds;
        };
        deeds.fates.push((key_of(&minted), Fate::Minted));
        // Every other key is revoked, some time after it was minted.
        if number % 2 == 0 {
            continue;
        }
        let (key, fate) = &mut deeds.fates[number / 2];
        *fate = Fate::MaybeRevoked;
        let Ok(revoked) = client.try_ask(&asks.revoke(&key.id)) else { return deeds };
        assert_eq!(revoked.status, 200, "{revoked:?}");
        *fate = Fate::Revoked;
    }
    deeds
}

/// Requests with a token that was read before anybody was killed.
struct Asks {
    host: String,
    token: String,
}

impl Asks {
    fn of(gateway: &Gateway) -> Self {
        Self { host: gateway.admin_address().to_string(), token: gateway.operator_token() }
    }

    fn signed(&self, ask: Ask) -> Ask {
        ask.header("host", &self.host).header("authorization", &format!("Bearer {}", self.token))
    }

    fn mint(&self, name: &str) -> Ask {
        let ask = Ask::post("/v1/keys", json!({ "name": name }).to_string());
        let ask = ask.header("content-type", "application/json").header("idempotency-key", name);
        self.signed(ask)
    }

    fn revoke(&self, id: &str) -> Ask {
        self.signed(Ask::new("DELETE", &format!("/v1/keys/{id}")))
    }
}

/// Shows a key; the code of the refusal, if it is refused.
fn show(client: &mut Client, key: &Key) -> Option<String> {
    let answer = client.ask(&Ask::get("/").key(key));
    (answer.status != 200).then(|| answer.json()["code"].as_str().unwrap().to_owned())
}

/// Holds every key to its fate; one that may have been revoked has a certain fate from now on.
#[track_caller]
fn check(gateway: &Gateway, fates: &mut [(Key, Fate)]) {
    let mut client = gateway.client();
    for (key, fate) in fates {
        let code = show(&mut client, key);
        match (*fate, code.as_deref()) {
            (Fate::Minted | Fate::MaybeRevoked, None) => *fate = Fate::Minted,
            (Fate::Revoked | Fate::MaybeRevoked, Some("revoked_key")) => *fate = Fate::Revoked,
            (fate, code) => panic!("{fate:?} key {} was answered {code:?}", key.id),
        }
    }
}

/// Repeats a mint that nobody answered: with the first one there is exactly one such key.
#[track_caller]
fn repeat(gateway: &Gateway, asks: &Asks, name: &str) {
    let repeated: Response = gateway.admin_ask(&asks.mint(name));
    let was_made = match repeated.status {
        200 => repeated.json()["replayed"] == true && repeated.json()["key"].is_null(),
        201 => repeated.json()["replayed"].is_null(),
        _ => false,
    };
    assert!(was_made, "{repeated:?}");
    let found = gateway.admin("GET", &format!("/v1/keys?q={name}&limit=500"), None).json();
    let items = found["items"].as_array().unwrap().iter();
    assert_eq!(items.filter(|it| it["name"] == name).count(), 1, "{found}");
}

fn random_below(end: u64) -> u64 {
    SysRng.try_next_u64().unwrap() % end
}

#[test]
fn nothing_acknowledged_is_lost_or_comes_back_when_the_process_is_killed() {
    let upstream = Upstream::answering(|_| ok("ok"));
    let mut gateway = Gateway::start(&Setup::to(upstream.address()));
    let asks = Asks::of(&gateway);
    let mut earlier: Vec<(Key, Fate)> = Vec::new();
    for round in 0..rounds(12, 100) {
        // A random moment is the claim.
        let moment = Duration::from_millis(random_below(400));
        let deeds = thread::scope(|scope| {
            let working = scope.spawn(|| {
                crowd(CLIENTS, |number| work(&gateway, &asks, &format!("k-{round}-{number}-x")))
            });
            thread::sleep(moment);
            gateway.kill9_unwaited();
            working.join().unwrap()
        });
        gateway.kill9();
        gateway.restart();
        let (mut fates, mut unanswered) = (Vec::new(), Vec::new());
        for it in deeds {
            fates.extend(it.fates);
            unanswered.extend(it.unanswered);
        }
        check(&gateway, &mut fates);
        for name in &unanswered {
            repeat(&gateway, &asks, name);
        }
        let key = gateway.mint("after");
        assert_eq!(closed_streams(&gateway.revoke(&key.id), &[&gateway.id()]), 0);
        earlier.extend(fates);
    }
    check(&gateway, &mut earlier);
    gateway.stop();
    let count = |fate| earlier.iter().filter(|it| it.1 == fate).count();
    eprintln!("{} keys minted, {} revoked", earlier.len(), count(Fate::Revoked));
    assert!(count(Fate::Minted) > 0 && count(Fate::Revoked) > 0, "it did nothing");
    let ids: HashMap<&str, Fate> = earlier.iter().map(|it| (&*it.0.id, it.1)).collect();
    assert_eq!(ids.len(), earlier.len(), "ids were drawn twice");
    let store = Connection::open(gateway.file("keyward.db")).unwrap();
    let sound: String = store.query_row("PRAGMA integrity_check", [], |it| it.get(0)).unwrap();
    assert_eq!(sound, "ok");
}

#[test]
fn a_process_killed_while_it_starts_starts_again() {
    let upstream = Upstream::answering(|_| ok("ok"));
    let mut gateway = Gateway::start(&Setup::to(upstream.address()));
    let keys = gateway.mint_many(200);
    for _ in 0..rounds(6, 50) {
        gateway.kill9();
        gateway.start_unwaited();
        thread::sleep(Duration::from_millis(random_below(60)));
    }
    gateway.kill9();
    gateway.restart();
    check(&gateway, &mut keys.into_iter().map(|it| (it, Fate::Minted)).collect::<Vec<_>>());
}

const CLIENTS: usize = 6;
