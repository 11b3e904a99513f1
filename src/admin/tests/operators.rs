//! Claims about operators.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::admin::first::{Entered, First};
use crate::admin::tests::{Place, reply, text};
use crate::clock::Timestamp;

#[tokio::test]
async fn an_operator_is_shown_as_the_contract_says() {
    let place = Place::new().await;
    let body = json!({"name": "CI", "permissions": ["keys:create", "keys:read"]});
    let made = place.post("/v1/operators", &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert!(text(&made.body["token"]).starts_with("kwop_"));
    assert_eq!(made.header("location"), format!("/v1/operators/{}", text(&made.body["id"])));
    let listed = place.get("/v1/operators").await.body;
    let expected = json!({
        "id": made.body["id"], "name": "CI", "permissions": ["keys:read", "keys:create"],
        "state": "active", "created_at": made.body["created_at"],
        "created_by": listed["items"][1]["id"], "expires_at": null, "last_used_at": null,
    });
    assert_eq!(listed["items"][0], expected);
    assert_eq!(listed["items"][1]["name"], "first operator");
    assert!(listed["items"][1]["last_used_at"].is_string());
}

#[tokio::test]
async fn nobody_grants_what_they_do_not_hold() {
    let place = Place::new().await;
    let (_, token) = place.operator(&["operators:manage", "keys:read"]).await;
    let make = |permissions: Value| {
        let request = place.request(Method::POST, "/v1/operators").bearer_auth(&token);
        reply(request.json(&json!({"name": "friend", "permissions": permissions})))
    };
    let refused = make(json!(["keys:read", "fleet:manage"])).await;
    refused.refused(403, "permission_denied");
    assert_eq!(refused.body["permission"], "fleet:manage");
    assert_eq!(make(json!(["keys:read"])).await.status, 201);
}

#[tokio::test]
async fn permissions_are_needed_and_known() {
    let place = Place::new().await;
    for (permissions, path) in [
        (json!(null), "permissions"),
        (json!([]), "permissions"),
        (json!("keys:read"), "permissions"),
        (json!(["keys:read", "keys:eat"]), "permissions[1]"),
    ] {
        let body = json!({"name": "a", "permissions": permissions});
        let refused = place.post("/v1/operators", &body).await;
        refused.refused(400, "bad_request");
        assert_eq!(refused.body["errors"][0]["path"], path, "{refused:?}");
    }
}

#[tokio::test]
async fn the_last_who_manages_operators_stays() {
    let place = Place::new().await;
    let root = text(&place.get("/v1/operators").await.body["items"][0]["id"]);
    place.operator(&["keys:read"]).await;
    let path = format!("/v1/operators/{root}");
    place.delete(&path).await.refused(409, "state_conflict");
    let (_, second) = place.operator(&["operators:manage"]).await;
    assert_eq!(place.delete(&path).await.status, 200);
    place.get("/v1/operators").await.refused(401, "unknown_token");
    let request = place.request(Method::GET, "/v1/operators").bearer_auth(second);
    assert_eq!(reply(request).await.status, 200);
}

#[tokio::test]
async fn who_will_expire_is_not_left_alone_with_the_operators() {
    let place = Place::new().await;
    let root = text(&place.get("/v1/operators").await.body["items"][0]["id"]);
    let body = json!({
        "name": "for today",
        "permissions": ["operators:manage"],
        "expires_at": "2999-01-01T00:00:00Z",
    });
    assert_eq!(place.post("/v1/operators", &body).await.status, 201);
    place.delete(&format!("/v1/operators/{root}")).await.refused(409, "state_conflict");
}

#[tokio::test]
async fn who_is_withdrawn_while_a_body_comes_changes_nothing_any_more() {
    let place = Place::new().await;
    let (id, token) = place.operator(&["keys:create"]).await;
    let body = json!({"name": "late"}).to_string();
    let mut stream = TcpStream::connect(place.address).await.unwrap();
    let head = format!(
        "POST /v1/keys HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        place.address,
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The head was let in: its body is asked for.
    let mut answer = [0; 25];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, *b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(place.delete(&format!("/v1/operators/{id}")).await.status, 200);
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, *b"HTTP/1.1 401");
    assert_eq!(place.get("/v1/keys").await.body["items"], json!([]));
}

#[tokio::test]
async fn two_who_take_each_other_away_leave_one() {
    let place = Place::new().await;
    let root = text(&place.get("/v1/operators").await.body["items"][0]["id"]);
    let (id, token) = place.operator(&["operators:manage"]).await;
    let second = place.request(Method::DELETE, &format!("/v1/operators/{root}"));
    let first = place.by_root(Method::DELETE, &format!("/v1/operators/{id}"));
    let replies = join_all([reply(first), reply(second.bearer_auth(token))]).await;
    let mut statuses: Vec<u16> = replies.iter().map(|it| it.status).collect();
    statuses.sort_unstable();
    assert!([[200, 401], [200, 409]].contains(&[statuses[0], statuses[1]]), "{replies:?}");
}

#[tokio::test]
async fn a_repeated_call_makes_one_operator() {
    let place = Place::new().await;
    let body = json!({"name": "a", "permissions": ["keys:read"]});
    let call = || {
        let request = place.by_root(Method::POST, "/v1/operators");
        reply(request.header("idempotency-key", "once").json(&body))
    };
    let (made, again) = (call().await, call().await);
    assert_eq!((made.status, again.status), (201, 200));
    assert_eq!((&again.body["id"], again.body.get("token")), (&made.body["id"], None));
}

#[tokio::test]
async fn keys_and_operators_are_not_mixed_up() {
    let place = Place::new().await;
    let key = text(&place.mint(json!({"name": "a"})).await["id"]);
    let (operator, _) = place.operator(&["keys:read"]).await;
    place.get(&format!("/v1/keys/{operator}")).await.refused(404, "not_found");
    place.delete(&format!("/v1/keys/{operator}")).await.refused(404, "not_found");
    let patched = place.patch(&format!("/v1/keys/{operator}"), &json!({"name": "b"})).await;
    patched.refused(404, "not_found");
    place.delete(&format!("/v1/operators/{key}")).await.refused(404, "not_found");
}

#[tokio::test]
async fn there_is_one_first_operator() {
    let place = Place::new().await;
    let other = First::mint(&place.keyring, Timestamp::now()).await.unwrap();
    assert_eq!(other.enter(&place.keyring).await.unwrap(), Entered::AnotherWas);
    let operators = place.get("/v1/operators").await.body;
    let permissions = operators["items"][0]["permissions"].as_array().unwrap().len();
    assert_eq!(permissions, crate::key::record::Permission::ALL.len());
}
