//! What limits would have refused is what was asked, over restarts and over all gateways.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use keyward::clock::{Moment, Timestamp};
use keyward::rate::bucket::Pace;
use keyward::rate::quota::Window;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::commands::Shell;
use crate::support::fleet::{Fleet, Plan};
use crate::support::gateway::{Gateway, Key};
use crate::support::redis::Redis;
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::wait::eventually;

#[track_caller]
fn preview(gateway: &Gateway, key: &Key, limits: &Value) -> Value {
    let path = format!("/v1/keys/{}/limits/preview", key.id);
    let answer = gateway.admin("POST", &path, Some(limits));
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()
}

fn counts(preview: &Value) -> (u64, u64) {
    (preview["requests"].as_u64().unwrap(), preview["refused"].as_u64().unwrap())
}

/// The statuses of so many requests, one after another.
fn ask(client: &mut Client, key: &Key, count: usize) -> Vec<u16> {
    (0..count).map(|_| client.ask(&Ask::get("/").key(key)).status).collect()
}

/// A moment soon after a second of the clock began.
fn await_a_second() {
    eventually("a second begins", || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.subsec_millis() < 100
    });
}

/// What `10/s` would have refused of requests at these moments.
fn refused_one_by_one(moments: &[Instant]) -> u64 {
    let pace = Pace::new(&"10/s".parse().unwrap(), 1);
    let (start, mut full) = (Moment::from_nanos(0), Moment::from_nanos(0));
    let mut refused = 0;
    for moment in moments {
        match pace.take(full, 1, start.after(*moment - moments[0])) {
            Ok(after) => full = after,
            Err(_) => refused += 1,
        }
    }
    refused
}

#[test]
fn a_preview_is_what_a_limit_would_have_refused_and_survives_restarts() {
    let upstream = Upstream::echo();
    let mut gateway = Gateway::start(&Setup::to(upstream.address()).gateway("workers = 2"));
    let key = gateway.mint("crm");
    let mut client = gateway.client();
    let mut moments = Vec::new();
    await_a_second();
    for number in 0..90 {
        if number >= 60 {
            thread::sleep(Duration::from_millis(100));
        }
        moments.push(Instant::now());
        assert_eq!(ask(&mut client, &key, 1), [200]);
    }
    drop(client);
    let expected = refused_one_by_one(&moments);
    let limits = json!({ "rate": "10/s", "quota": "1000/day" });
    let shown = preview(&gateway, &key, &limits);
    assert!(shown.get("note").is_none(), "{shown}");
    // From the third day of a month on, its first is not known.
    let of_month = preview(&gateway, &key, &json!({ "quota": "1000/month" }));
    let is_told = of_month["note"].as_str().is_some_and(|it| it.contains("is not known"));
    assert_eq!(is_told, Window::Day.at(Timestamp::now()).name % 100 > 2, "{of_month}");
    let (requests, refused) = counts(&shown);
    assert_eq!(requests, 90);
    // In a second requests are taken to be spread: so many more may get in as come within it.
    assert!((expected.saturating_sub(12)..=expected + 12).contains(&refused), "{expected} {shown}");
    assert_eq!(shown["resolution"]["exact"], 1.0);
    assert_eq!(counts(&preview(&gateway, &key, &json!({ "quota": "50/day" }))), (90, 40));

    let shell = Shell::of_operator(&gateway);
    let typed = ["keys", "preview", &key.id, "--rate", "10/s", "--quota", "1000/day"];
    let table = shell.done(&typed);
    let mut lines = table.lines().map(|it| it.split_whitespace().collect::<Vec<_>>().join(" "));
    assert!(lines.next().unwrap().starts_with("90 requests from "), "{table}");
    assert_eq!(lines.next().unwrap(), "LIMIT WOULD BE REFUSED SHARE");
    assert!(lines.next().unwrap().starts_with(&format!("all together - {refused} ")), "{table}");
    assert!(lines.next().unwrap().starts_with(&format!("rate 10/s {refused} ")), "{table}");
    assert_eq!(lines.next().unwrap(), "quota 1000/day 0 0.00 %");
    assert_eq!(lines.next(), None);
    let document = shell.document(&typed);
    assert_eq!(counts(&document), (requests, refused));

    gateway.stop();
    gateway.restart();
    assert_eq!(counts(&preview(&gateway, &key, &limits)), (90, refused));
    ask(&mut gateway.client(), &key, 5);
    assert_eq!(counts(&preview(&gateway, &key, &limits)).0, 95);
    // What it has not written yet is gone with it, and no more than that.
    gateway.kill9();
    gateway.restart();
    let (requests, _) = counts(&preview(&gateway, &key, &limits));
    assert!((90..=95).contains(&requests), "{requests}");
    assert_eq!(gateway.metrics().count("keyward_history_lost_total"), 0);
}

#[test]
fn requests_that_a_limit_refused_count_by_what_they_cost() {
    let upstream = Upstream::echo();
    let setup = Setup::empty().upstream("api", &[upstream.address()]);
    let setup = setup.route("all", "path = \"/\"").route("bulk", "path = \"/bulk\"\ncost = 10");
    let gateway = Gateway::start(&setup);
    let key = gateway.mint_as(&json!({ "name": "crm", "quota": "5/day" }));
    let mut client = gateway.client();
    let statuses = ask(&mut client, &key, 20);
    assert_eq!(statuses.iter().filter(|it| **it == 429).count(), 15);
    assert_eq!(client.ask(&Ask::get("/bulk").key(&key)).status, 429);
    let shown = preview(&gateway, &key, &json!({ "quota": "25/day" }));
    assert_eq!(counts(&shown), (30, 5));
    assert_eq!(counts(&preview(&gateway, &key, &json!({ "quota": "unlimited" }))), (30, 0));
    assert_eq!(counts(&preview(&gateway, &key, &json!({}))), (30, 25));
}

#[test]
fn a_preview_counts_what_every_gateway_of_a_fleet_saw() {
    let redis = Redis::start();
    let fleet = Fleet::start(&Plan::of(2, &redis.url()));
    let (first, second) = (fleet.gateway(0), fleet.gateway(1));
    // Whoever waits for a slice of it asks twice, and is counted once.
    let key = first.mint_as(&json!({ "name": "crm", "rate": "1000/s", "quota": "10000/day" }));
    eventually("both know it", || ask(&mut second.client(), &key, 1) == [200]);
    let known = counts(&preview(second, &key, &json!({}))).0;
    assert_eq!(ask(&mut first.client(), &key, 30), [200; 30]);
    assert_eq!(ask(&mut second.client(), &key, 12), [200; 12]);
    let limits = json!({ "quota": "20/day" });
    assert_eq!(counts(&preview(second, &key, &limits)).0, known + 12);
    assert_eq!(counts(&preview(first, &key, &limits)), (30, 10));
    // It tells the store when it ends, if not before.
    first.signal(Signal::TERM);
    eventually("all is counted", || {
        counts(&preview(second, &key, &limits)) == (known + 42, known + 22)
    });
}
