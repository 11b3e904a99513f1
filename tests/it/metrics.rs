//! What is counted moves as requests do, and by as much.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::address::fresh;
use crate::support::ask::Ask;
use crate::support::crowd::crowd;
use crate::support::gateway::Gateway;
use crate::support::metrics::Metrics;
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};
use crate::support::wait::eventually;

fn total(metrics: &Metrics, name: &str) -> u64 {
    metrics.count(&format!("keyward_{name}_total"))
}

/// The duration histogram of a route: requests up to `seconds`, all requests, their sum.
fn durations(metrics: &Metrics, route: &str, seconds: &str) -> (u64, u64, f64) {
    let name = "keyward_request_duration_seconds";
    // Labels may stand in either order.
    let up_to = [
        format!("{name}_bucket{{le=\"{seconds}\",route=\"{route}\"}}"),
        format!("{name}_bucket{{route=\"{route}\",le=\"{seconds}\"}}"),
    ];
    let labels = format!("{{route=\"{route}\"}}");
    (
        up_to.iter().map(|it| metrics.count(it)).sum(),
        metrics.count(&format!("{name}_count{labels}")),
        metrics.value(&format!("{name}_sum{labels}")),
    )
}

#[test]
fn a_requests_time_is_in_its_routes_histogram_and_ours_in_another() {
    let upstream = Upstream::answering(|request| {
        if request.target() == "/slow" {
            thread::sleep(SLOW);
        }
        ok("ok")
    });
    let gateway = Gateway::start(&Setup::to(upstream.address()));
    let key = gateway.mint("crm");
    for _ in 0..5 {
        assert_eq!(Ask::get("/public/a").to(&gateway).status, 200);
        assert_eq!(Ask::get("/").to(&gateway).status, 401);
    }
    for _ in 0..2 {
        assert_eq!(Ask::get("/slow").key(&key).to(&gateway).status, 200);
    }
    eventually("all are counted", || {
        let metrics = gateway.metrics();
        durations(&metrics, "all", "+Inf").1 == 7 && durations(&metrics, "public", "+Inf").1 == 5
    });
    let metrics = gateway.metrics();
    let (within, all, sum) = durations(&metrics, "all", "+Inf");
    assert_eq!((within, all), (7, 7), "{metrics:?}");
    assert!(sum >= 2.0 * SLOW.as_secs_f64(), "{sum}");
    // Two took longer than any bound below theirs; what was refused did not wait for an upstream.
    assert!(durations(&metrics, "all", "0.25").0 <= 5, "{metrics:?}");
    assert_eq!(durations(&metrics, "_none", "+Inf").1, 0);

    // Nothing of the upstream's time is ours, and what went nowhere has none.
    assert_eq!(metrics.count("keyward_overhead_seconds_count"), 7);
    let ours = metrics.value("keyward_overhead_seconds_sum");
    let everybodys = sum + durations(&metrics, "public", "+Inf").2;
    assert!(ours > 0.0 && ours < everybodys - 2.0 * SLOW.as_secs_f64(), "{ours}");
    Ask::get("/nowhere").header("host", "").to(&gateway);
    eventually("what has no route is counted apart", || {
        durations(&gateway.metrics(), "_none", "+Inf").1 == 1
    });
}

#[test]
fn upstream_counters_tell_a_new_connection_from_one_used_again() {
    let upstream = Upstream::scripted(|conversation| {
        while let Some(request) = conversation.request()? {
            // The first connection is gone when it is used for the fourth time.
            let is_gone = conversation.number() == 0 && request.target() == "/gone";
            if is_gone || request.target() == "/never" {
                return Ok(());
            }
            conversation.send(ok("ok"))?;
        }
        Ok(())
    });
    let setup = Setup::to(upstream.address()).gateway("workers = 1");
    let setup = setup
        .upstream_line("retries = 0")
        .upstream("away", &[fresh()])
        .route("away", "path = \"/away/\"\nupstream = \"away\"\naccess = \"public\"");
    let gateway = Gateway::start(&setup);
    let key = gateway.mint("crm");
    let ask = |path: &str| Ask::get(path).key(&key).to(&gateway).status;
    let counts = || {
        let metrics = gateway.metrics();
        ["opened", "reused"].map(|it| total(&metrics, &format!("upstream_connections_{it}")))
    };
    let faults = || ["upstream_retries", "upstream_errors"].map(|it| total(&gateway.metrics(), it));
    assert_eq!((counts(), faults()), ([0, 0], [0, 0]));
    for _ in 0..3 {
        assert_eq!(ask("/"), 200);
    }
    assert_eq!((counts(), faults()), ([1, 2], [0, 0]));
    assert_eq!(ask("/gone"), 200);
    assert_eq!((counts(), faults()), ([2, 3], [1, 0]));
    assert_eq!(ask("/"), 200);
    assert_eq!((counts(), faults()), ([2, 4], [1, 0]));
    // On a connection that was used before it is tried again; on a new one it has failed.
    assert_eq!(ask("/never"), 502);
    assert_eq!((counts(), faults()), ([3, 5], [2, 1]));
    assert_eq!(ask("/away/"), 502);
    assert_eq!(counts(), [3, 5]);
}

#[test]
fn argon2_that_has_no_time_refuses_and_counts_what_it_refused() {
    let setup = Setup::empty().keys("argon2 = { memory = \"32MiB\", iterations = 2, queue = 1 }");
    let gateway = Gateway::start(&setup);
    let runs = || gateway.metrics().count("keyward_argon2_runs_total{purpose=\"mint\"}");
    let (first, busy) = (runs(), gateway.metrics().value("keyward_argon2_busy_seconds_total"));
    let ask = gateway.admin_request("POST", "/v1/keys", json!({ "name": "a" }).to_string().into());
    let statuses = crowd(24, |_| {
        let answer = gateway.admin_ask(&ask);
        if answer.status != 201 {
            answer.assert_problem(503, "overloaded");
        }
        answer.status
    });
    let minted = statuses.iter().filter(|it| **it == 201).count() as u64;
    let refused = statuses.len() as u64 - minted;
    assert!(minted > 0 && refused > 0, "{statuses:?}");
    let metrics = gateway.metrics();
    assert_eq!(total(&metrics, "argon2_rejected"), refused);
    assert_eq!(runs() - first, minted);
    assert!(metrics.value("keyward_argon2_busy_seconds_total") > busy);
    assert_eq!(metrics.count("keyward_argon2_queue_depth"), 0);
    assert_eq!(metrics.count("keyward_argon2_runs_total{purpose=\"verify\"}"), 0);
}

#[test]
fn entries_are_complete_until_some_have_to_leave() {
    let upstream = Upstream::answering(|_| ok("ok"));
    let setup = Setup::to(upstream.address()).store("max_keys_in_memory = 20");
    let setup = setup.limits("failures_per_address = \"unlimited\"");
    let gateway = Gateway::start(&setup);
    let level = |name: &str| gateway.metrics().count(&format!("keyward_key_entries{name}"));
    // The first operator's is one.
    assert_eq!((level(""), level("_complete"), level("_evicted_total")), (1, 1, 0));
    let keys = gateway.mint_many(10);
    assert_eq!((level(""), level("_complete"), level("_evicted_total")), (11, 1, 0));
    assert_eq!(total(&gateway.metrics(), "key_fills"), 0);
    let more = gateway.mint_many(60);
    let mut client = gateway.client();
    for key in keys.iter().chain(&more) {
        assert_eq!(client.ask(&Ask::get("/").key(key)).status, 200);
    }
    assert_eq!(level("_complete"), 0);
    assert!(level("_evicted_total") > 0 && level("") < 40);
    assert!(total(&gateway.metrics(), "key_fills") > 0);
    assert_eq!(gateway.metrics().count("keyward_store_up"), 1);
}

#[test]
fn a_scrape_names_every_family_and_needs_a_token() {
    let upstream = Upstream::answering(|_| ok("ok"));
    let gateway = Gateway::start(&Setup::to(upstream.address()).log("access = true"));
    assert_eq!(Ask::get("/public/a").to(&gateway).status, 200);
    let scrape = gateway.admin("GET", "/metrics", None);
    let kind = scrape.head.get("content-type").unwrap();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let text = String::from_utf8(scrape.body).unwrap();
    for family in [
        "requests counter",
        "request_duration_seconds histogram",
        "overhead_seconds histogram",
        "panics counter",
        "access_log_dropped counter",
        "auth_decisions counter",
        "key_entries gauge",
        "key_entries_complete gauge",
        "argon2_runs counter",
        "argon2_queue_depth gauge",
        "argon2_rejected counter",
        "connections_open gauge",
        "connections_accepted counter",
        "upstream_errors counter",
        "store_up gauge",
        "build_info gauge",
    ] {
        assert!(text.contains(&format!("# TYPE keyward_{family}\n")), "{family} in\n{text}");
    }
    let nobody = Ask::get("/metrics").header("host", &gateway.admin_address().to_string());
    gateway.admin_ask(&nobody).assert_problem(401, "missing_token");
}

const SLOW: Duration = Duration::from_millis(300);
