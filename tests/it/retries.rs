//! What is safe to repeat is repeated elsewhere, not too often, and nothing else is.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use crate::support::address::fresh;
use crate::support::ask::Ask;
use crate::support::crowd::crowd;
use crate::support::gateway::{Gateway, Key};
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};

const UNAVAILABLE: &str =
    "HTTP/1.1 503 Service Unavailable\r\nx-from: upstream\r\ncontent-length: 2\r\n\r\nno";

fn unavailable() -> Upstream {
    Upstream::answering(|_| UNAVAILABLE.into())
}

fn start(endpoints: &[&Upstream], lines: &str) -> (Gateway, Key) {
    let addresses: Vec<_> = endpoints.iter().map(|it| it.address()).collect();
    let setup = Setup::empty().upstream("api", &addresses).upstream_line(lines);
    let gateway = Gateway::start(&setup.route("all", "path = \"/\""));
    let key = gateway.mint("crm");
    (gateway, key)
}

/// Has eight clients ask 1,000 times in all; every answer is the upstream's own 503.
fn ask_a_thousand_times(gateway: &Gateway, ask: &Ask) {
    crowd(8, |_| {
        let mut client = gateway.client();
        for _ in 0..125 {
            let answer = client.ask(ask);
            assert_eq!((answer.status, &*answer.body), (503, &b"no"[..]));
            assert_eq!(answer.head.get("x-from"), Some("upstream"));
        }
    });
}

#[test]
fn with_all_endpoints_unavailable_no_more_is_asked_than_the_budget_allows() {
    for (budget, most) in [("20%", 1_200), ("5%", 1_050), ("0%", 1_000)] {
        let upstreams = [unavailable(), unavailable(), unavailable()];
        let lines = format!("retries = 3\nretry_budget = {budget:?}");
        let (gateway, key) = start(&upstreams.each_ref(), &lines);
        ask_a_thousand_times(&gateway, &Ask::get("/").key(&key));
        let asked: usize = upstreams.iter().map(Upstream::asked).sum();
        // A worker to which few clients came repeats three requests all the same.
        let slack = if budget == "0%" { 0 } else { 8 };
        assert!((1_000..=most + slack).contains(&asked), "{asked} with {budget}");
        assert_eq!(asked > 1_000, budget != "0%", "{asked} with {budget}");
        let counted = gateway.metrics().count("keyward_upstream_retries_total");
        assert_eq!(counted, u64::try_from(asked).unwrap() - 1_000);
    }
}

#[test]
fn a_post_that_was_answered_with_503_is_not_sent_again() {
    let upstreams = [unavailable(), unavailable()];
    let (gateway, key) = start(&upstreams.each_ref(), "retries = 3\nretry_budget = \"100%\"");
    ask_a_thousand_times(&gateway, &Ask::post("/", "x").key(&key));
    assert_eq!(upstreams.iter().map(Upstream::asked).sum::<usize>(), 1_000);
}

/// Answers a few requests on each connection and ends it with the next, in a way of its own.
fn breaking(seen: &Arc<Mutex<Vec<Vec<u8>>>>) -> Upstream {
    let seen = Arc::clone(seen);
    Upstream::scripted(move |conversation| {
        let number = conversation.number();
        for _ in 0..number % 3 {
            let Some(request) = conversation.request()? else { return Ok(()) };
            seen.lock().unwrap().push(request.body);
            conversation.send(ok("ok"))?;
        }
        let Some(request) = conversation.request()? else { return Ok(()) };
        seen.lock().unwrap().push(request.body);
        match number % 4 {
            0 => conversation.reset_at_end(),
            1 => conversation.send("HTTP/1.1 200")?,
            2 => conversation.send(UNAVAILABLE)?,
            _ => {}
        }
        Ok(())
    })
}

#[test]
fn a_post_that_was_sent_is_never_sent_again() {
    let seen = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let upstreams = [breaking(&seen), breaking(&seen)];
    let lines = "retries = 5\nretry_budget = \"100%\"\nejection = \"off\"";
    let (gateway, key) = start(&upstreams.each_ref(), lines);
    let statuses: Vec<u16> = crowd(4, |client| {
        let ask = |number: usize| {
            let body = format!("{client} {number}");
            Ask::post("/", body).key(&key).to(&gateway).status
        };
        (0..100).map(ask).collect::<Vec<_>>()
    })
    .concat();
    assert!(statuses.contains(&200) && statuses.contains(&502) && statuses.contains(&503));
    let seen = seen.lock().unwrap();
    let different: HashSet<_> = seen.iter().collect();
    assert_eq!(different.len(), seen.len(), "one was sent twice");
}

#[test]
fn a_get_that_one_endpoint_cannot_answer_is_answered_by_another() {
    let broken: [fn() -> Upstream; 3] = [
        unavailable,
        || Upstream::scripted(|conversation| conversation.request().map(|_| ())),
        || {
            Upstream::scripted(|conversation| {
                conversation.request()?;
                conversation.reset_at_end();
                Ok(())
            })
        },
    ];
    for broken in broken {
        let (broken, sound) = (broken(), Upstream::echo());
        let lines = "balance = \"round_robin\"\nejection = \"off\"\nretry_budget = \"100%\"";
        let (gateway, key) = start(&[&broken, &sound], lines);
        for method in ["GET", "HEAD", "PUT", "DELETE"] {
            for _ in 0..10 {
                assert_eq!(Ask::new(method, "/").key(&key).to(&gateway).status, 200, "{method}");
            }
        }
        assert_eq!(sound.asked(), 40);
        assert!(broken.asked() > 0);
    }
}

#[test]
fn a_request_with_a_body_is_repeated_only_if_nothing_of_it_was_sent() {
    let sound = Upstream::echo();
    let setup = Setup::empty().upstream("api", &[fresh(), sound.address()]);
    let setup = setup.upstream_line("ejection = \"off\"").route("all", "path = \"/\"");
    let gateway = Gateway::start(&setup);
    let key = gateway.mint("crm");
    for _ in 0..20 {
        let answer = Ask::with_body("PUT", "/", "hello").key(&key).to(&gateway);
        assert_eq!((answer.status, &answer.json()["body_bytes"]), (200, &5.into()));
    }
    let closing = Upstream::scripted(|conversation| conversation.request().map(|_| ()));
    let (gateway, key) = start(&[&closing, &sound], "balance = \"round_robin\"\nretries = 5");
    let statuses: Vec<u16> =
        (0..8).map(|_| Ask::with_body("PUT", "/", "hello").key(&key).to(&gateway).status).collect();
    let failed = statuses.iter().filter(|it| **it == 502).count();
    assert_eq!(failed, closing.asked());
    assert!(failed > 0);
}

#[test]
fn without_retries_nothing_goes_elsewhere() {
    let broken = unavailable();
    let lines = "retries = 0\nbalance = \"round_robin\"\nejection = \"off\"";
    let sound = Upstream::echo();
    let (gateway, key) = start(&[&broken, &sound], lines);
    let statuses: Vec<u16> = (0..40).map(|_| Ask::get("/").key(&key).to(&gateway).status).collect();
    let failed = statuses.iter().filter(|it| **it == 503).count();
    assert_eq!((failed, broken.asked() + sound.asked()), (broken.asked(), 40));
    assert!(failed > 10);
}
