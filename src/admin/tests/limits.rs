//! Claims about what is said of a key's limits, and about schemes.

use serde_json::{Value, json};

use crate::admin::tests::{Place, Reply, path_of, text};

/// The faults of a refusal, by path.
#[track_caller]
fn fault<'a>(refused: &'a Reply, path: &str) -> &'a str {
    refused.refused(400, "bad_request");
    let faults = refused.body["errors"].as_array().unwrap();
    let fault = faults.iter().find(|it| it["path"] == path);
    fault.unwrap_or_else(|| panic!("{path}: {refused:?}"))["detail"].as_str().unwrap()
}

fn limits(document: &Value) -> [&Value; 3] {
    ["rate", "quota", "max_in_flight"].map(|it| &document[it])
}

#[tokio::test]
async fn a_key_shows_what_it_says_of_its_limits_itself() {
    let place = Place::new().await;
    for (body, shown) in [
        (json!({}), json!([null, null, null])),
        (
            json!({"rate": "100/s", "quota": "5/day", "max_in_flight": 50}),
            json!(["100/s", "5/day", 50]),
        ),
        (
            json!({"rate": "1/s burst 2 shadow", "quota": "9/month shadow", "max_in_flight": "50"}),
            json!(["1/s burst 2 shadow", "9/month shadow", 50]),
        ),
        (
            json!({"rate": "unlimited", "quota": "unlimited", "max_in_flight": "unlimited"}),
            json!(["unlimited", "unlimited", "unlimited"]),
        ),
        (json!({"rate": null, "max_in_flight": "5 shadow"}), json!([null, null, "5 shadow"])),
        // Said again in the grammar's own spelling.
        (json!({"rate": "7/min  burst 7"}), json!(["7/min", null, null])),
    ] {
        let mut body = body;
        body["name"] = json!("a");
        let minted = place.mint(body.clone()).await;
        assert_eq!(json!(limits(&minted)), shown, "{body}");
        let found = place.get(&path_of(&minted)).await.body;
        assert_eq!(json!(limits(&found)), shown, "{body}");
    }
}

#[tokio::test]
async fn a_limit_changes_and_goes_back_to_the_schemes() {
    let place = Place::new().await;
    let key = place.mint(json!({"name": "a", "rate": "1/s", "quota": "5/day"})).await;
    let changed = place.patch(&path_of(&key), &json!({"rate": "2/s", "max_in_flight": 3})).await;
    assert_eq!(changed.header("etag"), "\"2\"");
    assert_eq!(limits(&changed.body), [&json!("2/s"), &json!("5/day"), &json!(3)]);
    let patch = json!({"rate": null, "quota": "unlimited", "max_in_flight": null});
    let changed = place.patch(&path_of(&key), &patch).await;
    assert_eq!(limits(&changed.body), [&Value::Null, &json!("unlimited"), &Value::Null]);
    let same = place.patch(&path_of(&key), &json!({"quota": "unlimited"})).await;
    assert_eq!(same.body["revision"], 3, "nothing changed: {same:?}");
}

#[tokio::test]
async fn what_is_no_limit_is_refused_in_the_grammars_words() {
    let place = Place::new().await;
    let body = json!({"name": "a", "rate": "100/h", "quota": 5, "max_in_flight": 0});
    let refused = place.post("/v1/keys", &body).await;
    assert_eq!(
        fault(&refused, "rate"),
        "expected a rate like \"100/s\", \"6000/min\" or \"100/s burst 200\", with numbers above 0, or \"unlimited\""
    );
    let quota = "expected a quota like \"100000/day\" or \"1000000/month\", with a number above 0, or \"unlimited\"";
    assert_eq!(fault(&refused, "quota"), quota);
    let key = place.mint(json!({"name": "a"})).await;
    for wrong in [
        json!(0),
        json!(-1),
        json!(1.5),
        json!(4_294_967_296_u64),
        json!(""),
        json!([]),
        json!(true),
    ] {
        let refused = place.patch(&path_of(&key), &json!({"max_in_flight": wrong})).await;
        let words = "expected a number above 0, like 50, or \"50 shadow\", or \"unlimited\"";
        assert_eq!(fault(&refused, "max_in_flight"), words, "{wrong}");
    }
}

#[tokio::test]
async fn a_key_of_a_scheme_begins_with_its_prefix_and_stays_in_it() {
    let place = Place::new().await;
    let key = place.mint(json!({"name": "a", "scheme": "partners"})).await;
    assert!(text(&key["key"]).starts_with("kwp_"), "{key}");
    assert_eq!(key["scheme"], "partners");
    assert_eq!(limits(&key), [&Value::Null; 3], "it says nothing of them itself");
    let plain = place.mint(json!({"name": "a", "scheme": null})).await;
    assert!(text(&plain["key"]).starts_with("kw_") && plain["scheme"] == "default", "{plain}");
    let refused = place.patch(&path_of(&key), &json!({"scheme": "default"})).await;
    assert!(fault(&refused, "scheme").contains("cannot be changed"), "{refused:?}");
    let changed = place.patch(&path_of(&key), &json!({"rate": "1/s"})).await;
    assert_eq!(
        (&changed.body["scheme"], &changed.body["rate"]),
        (&json!("partners"), &json!("1/s"))
    );
}

#[tokio::test]
async fn who_names_no_scheme_that_there_is_is_told_the_nearest() {
    let place = Place::new().await;
    let refused = place.post("/v1/keys", &json!({"name": "a", "scheme": "partner"})).await;
    assert_eq!(fault(&refused, "scheme"), "there is no such scheme; did you mean \"partners\"?");
    let refused = place.post("/v1/keys", &json!({"name": "a", "scheme": "v2"})).await;
    assert_eq!(fault(&refused, "scheme"), "there is no such scheme; there are default, partners");
}
