//! Claims about who gets in.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::admin::router::{CALLS, Call, Need};
use crate::admin::tests::{Place, Reply, reply};
use crate::key::record::Permission;

/// The path of a row with something in place of `{id}`.
fn path(row: &str) -> String {
    row.replace("{id}", "000000000000")
}

#[tokio::test]
async fn every_call_needs_its_permission_and_no_other() {
    let place = Place::new().await;
    for held in Permission::ALL {
        let (_, token) = place.operator(&[held.as_str()]).await;
        for call in CALLS {
            let request = place.request(call.method.clone(), &path(call.path));
            check(call, held, &reply(request.bearer_auth(&token)).await);
        }
    }
}

#[track_caller]
fn check(call: &Call, held: Permission, reply: &Reply) {
    let what = format!("{} {} with {held}", call.method, call.path);
    match call.need {
        Need::Nothing(_) => assert_eq!(reply.status, 200, "{what}"),
        Need::Permission(needed, _) if needed == held => {
            assert!(![401, 403, 405, 421, 500].contains(&reply.status), "{what}");
        }
        Need::Permission(needed, _) => {
            reply.refused(403, "permission_denied");
            assert_eq!(reply.body["permission"], needed.as_str(), "{what}");
        }
    }
}

#[tokio::test]
async fn without_a_token_nobody_learns_what_there_is() {
    let place = Place::new().await;
    let rows = CALLS.iter().filter(|it| matches!(it.need, Need::Permission(..)));
    let rows = rows.map(|it| (it.method.clone(), path(it.path)));
    let others = [
        (Method::GET, "/"),
        (Method::GET, "/v1/nothing"),
        (Method::PUT, "/v1/keys"),
        (Method::POST, "/readyz"),
        (Method::OPTIONS, "/v1/keys"),
        (Method::GET, "/v1/keys/"),
        (Method::GET, "//livez"),
    ];
    let others = others.map(|(method, path)| (method, path.to_owned()));
    for (method, path) in rows.chain(others) {
        let reply = place.ask(method, &path).await;
        reply.refused(401, "missing_token");
        assert_eq!(reply.header("www-authenticate"), "Bearer");
    }
    assert_eq!(place.ask(Method::GET, "/livez").await.body, json!({"status": "live"}));
    assert_eq!(place.ask(Method::GET, "/readyz").await.body, json!({"status": "ready"}));
}

#[tokio::test]
async fn with_a_token_what_does_not_exist_is_said_to_be_missing() {
    let place = Place::new().await;
    place.get("/v1/nothing").await.refused(404, "not_found");
    place.get("/v1/keys/%FF").await.refused(404, "not_found");
    let reply = reply(place.by_root(Method::PUT, "/v1/keys")).await;
    reply.refused(405, "method_not_allowed");
    assert_eq!(reply.header("allow"), "POST, GET");
}

#[tokio::test]
async fn a_wrong_token_is_not_known() {
    let place = Place::new().await;
    let key = place.mint(json!({"name": "a key is no token"})).await;
    let (id, revoked) = place.operator(&["keys:read"]).await;
    assert_eq!(place.delete(&format!("/v1/operators/{id}")).await.status, 200);
    let (_, mut twisted) = place.operator(&["keys:read"]).await;
    twisted.truncate(twisted.len() - 1);
    for token in [key["key"].as_str().unwrap(), &revoked, &twisted, "kwop_", ""] {
        let request = place.request(Method::GET, "/v1/keys").bearer_auth(token);
        reply(request).await.refused(401, "unknown_token");
    }
}

#[tokio::test]
async fn whoever_tries_too_many_tokens_waits_and_the_right_one_still_gets_in() {
    let place = Place::new().await;
    let tries =
        (0..100).map(|_| reply(place.request(Method::GET, "/v1/keys").bearer_auth("kwop_wrong")));
    let replies = join_all(tries).await;
    let late = replies.iter().find(|it| it.status == 429).unwrap();
    late.refused(429, "too_many_attempts");
    assert_eq!(late.header("retry-after"), "1");
    assert_eq!(place.get("/v1/keys").await.status, 200);
}

#[tokio::test]
async fn a_request_for_another_host_or_from_another_origin_is_refused() {
    let place = Place::new().await;
    let get = |name, value: &str| reply(place.by_root(Method::GET, "/v1/keys").header(name, value));
    get("host", "evil.example").await.refused(421, "wrong_host");
    get("host", "127.0.0.2").await.refused(421, "wrong_host");
    assert_eq!(get("host", "localhost").await.status, 200);
    let foreign = get("origin", "http://evil.example").await;
    foreign.refused(403, "permission_denied");
    assert_eq!(foreign.body.get("permission"), Some(&json!(null)));
    get("origin", "null").await.refused(403, "permission_denied");
    assert_eq!(get("origin", &format!("http://{}", place.address)).await.status, 200);
}

#[tokio::test]
async fn reasons_are_for_who_may_read_of_the_fleet() {
    let place = Place::new().await;
    let (_, stranger) = place.operator(&["keys:read"]).await;
    place.health.set_draining();
    let ready = |token: &str| reply(place.request(Method::GET, "/readyz").bearer_auth(token));
    let (told, untold) = (ready(&place.root).await, ready(&stranger).await);
    assert_eq!((told.status, untold.status), (503, 503));
    assert_eq!(untold.header("retry-after"), "1");
    let reasons = json!(["this gateway was told to stop"]);
    let survives = json!(["kill -9", "power loss"]);
    let report = json!({"status": "draining", "reasons": reasons, "survives": survives});
    assert_eq!(told.body, report);
    assert_eq!(untold.body, json!({"status": "draining"}));
}
