//! Claims about single keys.

use futures_util::future::join_all;
use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::admin::tests::{Place, Reply, path_of, reply, text};
use crate::clock::Moment;
use crate::gate::Refusal;
use crate::key::text::PresentedKey;

impl Place {
    /// What the gate says of a plaintext right now.
    async fn prove(&self, plaintext: &Value) -> Result<(), Refusal> {
        let key = PresentedKey::parse(plaintext.as_str().unwrap().as_bytes()).unwrap();
        let (entry, now) = self.keyring.prove(&key, [10, 0, 0, 9].into(), Moment::now()).await?;
        entry.known().judge_state(self.keyring.lease().store_time(now))
    }
}

#[tokio::test]
async fn a_minted_key_is_shown_as_the_contract_says() {
    let place = Place::new().await;
    let body = json!({
        "name": "Billing é", "owner": "acme", "scheme": "default", "rate": null,
        "expires_at": "2100-01-01T00:00:00Z", "routes": ["contacts"],
        "allow_addresses": ["10.0.0.7", "10.1.2.3/8", "2001:db8::/32"],
        "metadata": {"team": "blue"},
    });
    let minted = place.post("/v1/keys", &body).await;
    assert_eq!(minted.status, 201, "{minted:?}");
    assert_eq!(minted.header("etag"), "\"1\"");
    assert_eq!(minted.header("cache-control"), "no-store");
    assert_eq!(minted.header("location"), path_of(&minted.body));
    let (key, mut document) = (text(&minted.body["key"]), minted.body);
    assert!(key.starts_with("kw_") && key.ends_with(document["last_digits"].as_str().unwrap()));
    assert_eq!(document["propagation"]["complete"], true);
    assert_eq!(document["propagation"]["gateways"][0]["state"], "confirmed");
    assert_eq!(place.prove(&json!(key)).await, Ok(()));

    let shown = place.get(minted.headers["location"].to_str().unwrap()).await;
    assert_eq!(shown.header("etag"), "\"1\"");
    document.as_object_mut().unwrap().retain(|it, _| it != "key" && it != "propagation");
    document["last_used_at"] = shown.body["last_used_at"].clone();
    assert_eq!(shown.body, document);
    let expected = json!({
        "id": document["id"], "name": "Billing é", "last_digits": document["last_digits"],
        "scheme": "default", "owner": "acme", "state": "active", "rate": null, "quota": null,
        "max_in_flight": null, "routes": ["contacts"],
        "allow_addresses": ["10.0.0.7/32", "10.0.0.0/8", "2001:db8::/32"],
        "metadata": {"team": "blue"}, "created_at": document["created_at"],
        "created_by": document["created_by"], "last_used_at": document["last_used_at"],
        "expires_at": "2100-01-01T00:00:00Z", "revoked_at": null, "successor": null,
        "revision": 1,
    });
    assert_eq!(document, expected);
}

#[tokio::test]
async fn everything_that_is_wrong_is_said_at_once() {
    let place = Place::new().await;
    let body = r#"{
        "name": "", "owner": 7, "expires_at": "2001-01-01T00:00:00Z", "routes": ["contact", 1],
        "rate": "100/h", "nmae": "x", "allow_addresses": ["10.0.0.1", "ten"], "metadata": [],
        "scheme": "v2", "disabled": true, "owner": 7
    }"#;
    let request = place.by_root(Method::POST, "/v1/keys").header("idempotency-key", "a b");
    let refused = reply(request.body(body)).await;
    refused.refused(400, "bad_request");
    let mut paths: Vec<&str> = refused.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["path"].as_str().unwrap())
        .collect();
    paths.sort_unstable();
    let expected = [
        "Content-Type",
        "Idempotency-Key",
        "allow_addresses[1]",
        "disabled",
        "expires_at",
        "metadata",
        "name",
        "nmae",
        "owner",
        "owner",
        "rate",
        "routes[0]",
        "routes[1]",
        "scheme",
    ];
    assert_eq!(paths, expected);
    let details = refused.body["detail"].as_str().unwrap();
    assert!(details.contains("did you mean \"name\"?"), "{details}");
    assert!(details.contains("did you mean \"contacts\"?"), "{details}");
}

#[tokio::test]
async fn five_faults_are_reported_as_five() {
    let place = Place::new().await;
    let body = json!({"name": "x".repeat(129), "owner": "\u{7}", "routes": 5, "max_in_flight": 0,
        "metadata": {"a": "b".repeat(4096)}});
    let refused = place.post("/v1/keys", &body).await;
    assert_eq!(refused.body["errors"].as_array().unwrap().len(), 5, "{refused:?}");
}

#[tokio::test]
async fn what_is_no_object_is_one_fault() {
    let place = Place::new().await;
    for body in ["", "[]", "null", "{\"name\":\"a\"", "{\"name\":\"a\"} {}"] {
        let request = place.by_root(Method::POST, "/v1/keys");
        let request = request.header("content-type", "application/json; charset=utf-8");
        let refused = reply(request.body(body)).await;
        refused.refused(400, "bad_request");
        assert_eq!(refused.body["errors"].as_array().unwrap().len(), 1, "{body}: {refused:?}");
    }
}

#[tokio::test]
async fn five_repetitions_at_once_mint_one_key() {
    let place = Place::new().await;
    let mint = |body: Value| {
        let request = place.by_root(Method::POST, "/v1/keys").header("idempotency-key", "once");
        reply(request.json(&body))
    };
    let replies = join_all((0..5).map(|_| mint(json!({"name": "a", "owner": "b"})))).await;
    let (minted, replayed): (Vec<Reply>, Vec<Reply>) =
        replies.into_iter().partition(|it| it.status == 201);
    assert_eq!((minted.len(), replayed.len()), (1, 4));
    for reply in replayed {
        assert_eq!((reply.status, &reply.body["id"]), (200, &minted[0].body["id"]));
        assert_eq!((&reply.body["replayed"], reply.body.get("key")), (&json!(true), None));
    }
    assert_eq!(place.get("/v1/keys").await.body["items"].as_array().unwrap().len(), 1);
    mint(json!({"name": "another"})).await.refused(409, "idempotency_conflict");
}

#[tokio::test]
async fn a_change_says_what_stays_what_goes_and_what_comes() {
    let place = Place::new().await;
    let body = json!({"name": "a", "owner": "b", "routes": [], "metadata": {"x": {"y": 1}}});
    let key = place.mint(body).await;
    let body = json!({"owner": null, "disabled": true, "allow_addresses": ["::1"]});
    let changed = place.patch(&path_of(&key), &body).await;
    assert_eq!((changed.status, changed.header("etag")), (200, "\"2\""), "{changed:?}");
    let document = &changed.body;
    assert_eq!((&document["name"], &document["owner"]), (&json!("a"), &Value::Null));
    assert_eq!((&document["state"], &document["routes"]), (&json!("disabled"), &json!([])));
    assert_eq!(document["metadata"], json!({"x": {"y": 1}}));
    assert_eq!(document["propagation"]["complete"], true);
    assert_eq!(place.prove(&key["key"]).await, Err(Refusal::DisabledKey));
    place.patch(&path_of(&key), &json!({"disabled": null})).await;
    assert_eq!(place.prove(&key["key"]).await, Ok(()));
    place.patch(&path_of(&key), &json!({"name": null})).await.refused(400, "bad_request");
}

#[tokio::test]
async fn what_changes_nothing_writes_nothing() {
    let place = Place::new().await;
    let key = place.mint(json!({"name": "a"})).await;
    for body in [json!({}), json!({"name": "a", "owner": null, "disabled": false})] {
        let reply = place.patch(&path_of(&key), &body).await;
        assert_eq!((reply.status, &reply.body["revision"]), (200, &json!(1)));
        assert_eq!(reply.body["propagation"]["complete"], true);
    }
}

#[tokio::test]
async fn metadata_is_replaced_or_patched_as_the_content_type_says() {
    let place = Place::new().await;
    let key = place.mint(json!({"name": "a", "metadata": {"x": 1, "y": 2}})).await;
    let patch = |kind: &'static str| {
        let request = place.by_root(Method::PATCH, &path_of(&key));
        reply(request.header("content-type", kind).body(r#"{"metadata":{"y":null,"z":3}}"#))
    };
    let merged = patch("application/merge-patch+json").await;
    assert_eq!(merged.body["metadata"], json!({"x": 1, "z": 3}));
    let replaced = patch("application/json").await;
    assert_eq!(replaced.body["metadata"], json!({"y": null, "z": 3}));
    patch("text/plain").await.refused(400, "bad_request");
}

#[tokio::test]
async fn of_two_changes_to_one_revision_one_is_refused() {
    let place = Place::new().await;
    let key = place.mint(json!({"name": "a"})).await;
    let change = |name: &'static str| {
        let request = place.by_root(Method::PATCH, &path_of(&key)).header("if-match", "\"1\"");
        reply(request.json(&json!({"name": name})))
    };
    let mut replies = join_all([change("b"), change("c")]).await;
    replies.sort_by_key(|it| it.status);
    assert_eq!(replies[0].status, 200);
    replies[1].refused(412, "revision_conflict");
    assert_eq!(replies[1].body["revision"], 2);
}

#[tokio::test]
async fn without_a_revision_all_changes_are_made() {
    let place = Place::new().await;
    let key = place.mint(json!({"name": "a"})).await;
    let change = |number: usize| {
        let body = json!({"metadata": {"number": number}});
        let request = place.by_root(Method::PATCH, &path_of(&key)).json(&body);
        reply(request)
    };
    let replies = join_all((0..10).map(change)).await;
    assert!(replies.iter().all(|it| it.status == 200), "{replies:?}");
    assert_eq!(place.get(&path_of(&key)).await.body["revision"], 11);
}

#[tokio::test]
async fn a_revocation_is_for_good_and_can_be_repeated() {
    let place = Place::new().await;
    let key = place.mint(json!({"name": "a"})).await;
    let first = place.delete(&path_of(&key)).await;
    assert_eq!((first.status, &first.body["state"]), (200, &json!("revoked")), "{first:?}");
    assert_eq!(first.body["propagation"]["complete"], true);
    assert_eq!(place.prove(&key["key"]).await, Err(Refusal::RevokedKey));
    let again = place.delete(&path_of(&key)).await;
    assert_eq!((again.status, &again.body["revoked_at"]), (200, &first.body["revoked_at"]));
    assert_eq!(again.body["propagation"]["gateways"][0]["state"], "confirmed");
    place.patch(&path_of(&key), &json!({"name": "b"})).await.refused(409, "revoked");
    let shown = place.get(&path_of(&key)).await.body;
    assert_eq!((&shown["state"], &shown["revision"]), (&json!("revoked"), &json!(2)));
}

#[tokio::test]
async fn a_revocation_wins_among_many_changes() {
    let place = Place::new().await;
    let key = place.mint(json!({"name": "a"})).await;
    let changes = join_all((0..8).map(async |number: u8| {
        place.patch(&path_of(&key), &json!({"metadata": {"number": number}})).await.status
    }));
    let path = path_of(&key);
    let (statuses, revoked) = futures_util::future::join(changes, place.delete(&path)).await;
    assert_eq!(revoked.status, 200);
    assert!(statuses.iter().all(|it| [200, 409].contains(it)), "{statuses:?}");
    assert_eq!(place.get(&path_of(&key)).await.body["state"], "revoked");
}

#[tokio::test]
async fn a_plaintext_is_kept_nowhere() {
    let place = Place::new().await;
    let key = place.mint(json!({"name": "a", "metadata": {"b": "c"}})).await;
    place.patch(&path_of(&key), &json!({"owner": "d"})).await;
    place.delete(&path_of(&key)).await;
    let path = place.directory.path().join("keyward.db");
    let (plaintext, token) = (text(&key["key"]), place.root.clone());
    for file in [path.clone(), path.with_extension("db-wal")] {
        let bytes = std::fs::read(file).unwrap();
        for secret in [&plaintext, &token] {
            let secret = &secret.as_bytes()[secret.len() - 49..];
            assert!(!bytes.windows(secret.len()).any(|it| it == secret));
        }
    }
    let audit = audit(&path);
    let actions: Vec<&str> = audit.iter().map(|it| it[0].as_str()).collect();
    assert_eq!(actions, ["operator.create", "key.create", "key.update", "key.revoke"]);
    for line in audit {
        assert!(!line.iter().any(|it| it.contains("argon2") || it.contains("tag")), "{line:?}");
    }
}

/// Action, operator's name, address, the document before and after.
fn audit(path: &std::path::Path) -> Vec<[String; 5]> {
    let store = Connection::open(path).unwrap();
    let sql = "SELECT action, operator_name, address, coalesce(before, ''), after FROM audit";
    let mut lines = store.prepare(sql).unwrap();
    let lines = lines
        .query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?]))
        .unwrap();
    lines.map(Result::unwrap).collect()
}

#[tokio::test]
async fn the_audit_log_says_who_from_where_and_what() {
    let place = Place::new().await;
    let key = place.mint(json!({"name": "a"})).await;
    place.patch(&path_of(&key), &json!({"name": "b"})).await;
    let audit = audit(&place.directory.path().join("keyward.db"));
    let [action, operator, address, before, after] = &audit[2];
    assert_eq!([action, operator, address], ["key.update", "first operator", "127.0.0.1"]);
    let [before, after] = [before, after].map(|it| serde_json::from_str::<Value>(it).unwrap());
    assert_eq!((&before["name"], &after["name"]), (&json!("a"), &json!("b")));
    assert_eq!((&before["revision"], &after["revision"]), (&json!(1), &json!(2)));
}
