//! Claims about what limits would have refused.

use serde_json::{Value, json};

use crate::admin::tests::{Place, path_of};
use crate::clock::{Moment, Timestamp};
use crate::gate::history::Tally;
use crate::key::text::KeyId;
use crate::rate::timeline::Hour;
use crate::store::usage::{UsageRow, beginning_of, hour_of};

/// What another gateway has counted in one second, so long ago.
async fn counted_elsewhere(place: &Place, key: &Value, seconds: u64, count: u32) {
    let time = now(place).before(std::time::Duration::from_secs(seconds));
    let (hour, mut counted) = (hour_of(time), Hour::default());
    let second = time.since(beginning_of(hour)).as_secs();
    counted.note(u16::try_from(second).unwrap(), count);
    let row = UsageRow { key: id(key), hour, gateway: 1, cells: counted.written() };
    place.keyring.store().note_usage(vec![row]).await.unwrap();
}

fn now(place: &Place) -> Timestamp {
    place.keyring.lease().store_time(Moment::now())
}

fn id(key: &Value) -> KeyId {
    key["id"].as_str().unwrap().parse().unwrap()
}

async fn preview(place: &Place, key: &Value, body: Value) -> Value {
    let answer = place.post(&format!("{}/limits/preview", path_of(key)), &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

#[tokio::test]
async fn a_preview_counts_what_all_gateways_saw_and_changes_nothing() {
    let place = Place::new().await;
    let key = place.mint(json!({"name": "a"})).await;
    counted_elsewhere(&place, &key, 7_200, 40).await;
    let history = place.keyring.entries().history();
    history.note(id(&key), Tally { time: now(&place), count: 60 });
    let shown = preview(&place, &key, json!({"rate": "10/s burst 10", "quota": "1000/day"})).await;
    let refused = shown["refused"].as_u64().unwrap();
    // Of requests that are spread over a second, as many more get in as come within it.
    assert!((62..=80).contains(&refused), "{shown}");
    assert_eq!((&shown["id"], &shown["requests"]), (&key["id"], &json!(100)));
    assert_eq!(shown["by_limit"]["rate"]["refused"], refused);
    assert_eq!(shown["share"], f64::from(u32::try_from(refused).unwrap()) / 100.0);
    assert_eq!(shown["by_limit"]["quota"]["refused"], 0);
    assert_eq!(shown["by_limit"]["max_in_flight"], Value::Null);
    assert_eq!(shown["resolution"], json!({"exact": 1.0, "summarised": 0.0}));
    assert_eq!(shown.get("note"), None);
    let again = preview(&place, &key, json!({"quota": "10/month"})).await;
    assert_eq!((&again["refused"], &again["requests"]), (&json!(90), &json!(100)), "{again}");
    assert_eq!(place.get(&path_of(&key)).await.body["revision"], 1);
}

#[tokio::test]
async fn what_is_older_than_a_day_is_in_a_days_quota_and_not_in_the_share() {
    let place = Place::new().await;
    let key = place.mint(json!({"name": "a"})).await;
    counted_elsewhere(&place, &key, 24 * 3_600 + 120, 500).await;
    let shown = preview(&place, &key, json!({"rate": "1/s"})).await;
    assert_eq!((&shown["requests"], &shown["refused"]), (&json!(0), &json!(0)), "{shown}");
    assert_eq!((&shown["share"], &shown["resolution"]["exact"]), (&json!(0.0), &json!(1.0)));
}

#[tokio::test]
async fn what_is_not_given_is_as_the_key_has_it_and_null_is_the_schemes() {
    let place = Place::new().await;
    let body = json!({"name": "a", "scheme": "partners", "quota": "7/day", "max_in_flight": 3});
    let key = place.mint(body).await;
    for (body, proposed) in [
        (json!({}), json!({"rate": "5/s", "quota": "7/day", "max_in_flight": 3})),
        (
            json!({"rate": "9/s shadow", "quota": null, "max_in_flight": "unlimited"}),
            json!({"rate": "9/s shadow", "quota": "unlimited", "max_in_flight": "unlimited"}),
        ),
        (
            json!({"rate": null, "max_in_flight": null}),
            json!({"rate": "5/s", "quota": "7/day", "max_in_flight": "unlimited"}),
        ),
    ] {
        let shown = preview(&place, &key, body).await;
        assert_eq!(shown["proposed"], proposed);
        let is_noted = shown["note"].as_str().is_some_and(|it| it.contains("max_in_flight"));
        assert_eq!(is_noted, proposed["max_in_flight"] == 3, "{shown}");
    }
}

#[tokio::test]
async fn a_preview_that_cannot_be_made_says_why() {
    let place = Place::new().await;
    place.post("/v1/keys/000000000000/limits/preview", &json!({})).await.refused(404, "not_found");
    let key = place.mint(json!({"name": "a"})).await;
    let path = format!("{}/limits/preview", path_of(&key));
    let refused = place.post(&path, &json!({"rate": "1/h", "quota": 0, "burst": 5})).await;
    refused.refused(400, "bad_request");
    let faults = refused.body["errors"].as_array().unwrap();
    let paths: Vec<&str> = faults.iter().map(|it| it["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["rate", "quota", "burst"]);
}
