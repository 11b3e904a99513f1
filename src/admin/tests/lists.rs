//! Claims about lists of keys.

use std::collections::HashMap;

use futures_util::future::{join, join_all};
use serde_json::{Value, json};

use crate::admin::tests::{Place, path_of, text};

impl Place {
    /// Every page from the first to the last.
    async fn walk(&self, question: &str) -> Vec<Value> {
        let (mut items, mut next) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("/v1/keys?{question}{next}")).await;
            assert_eq!(page.status, 200, "{page:?}");
            items.extend_from_slice(page.body["items"].as_array().unwrap());
            let Some(cursor) = page.body["next_cursor"].as_str() else { return items };
            next = format!("&cursor={cursor}");
        }
    }

    async fn mint_many(&self, names: impl Iterator<Item = String>) -> Vec<Value> {
        join_all(names.map(|name| self.mint(json!({"name": name})))).await
    }
}

#[tokio::test]
async fn a_walk_shows_every_key_that_was_there_all_along_exactly_once() {
    let place = Place::new().await;
    let there = place.mint_many((0..40).map(|it| format!("there {it}"))).await;
    let leaving = place.mint_many((0..10).map(|it| format!("leaving {it}"))).await;
    let meanwhile = async {
        for key in &leaving {
            place.delete(&path_of(key)).await;
            place.mint(json!({"name": "new"})).await;
        }
    };
    let (seen, ()) = join(place.walk("limit=7"), meanwhile).await;
    let mut counts: HashMap<String, usize> = HashMap::new();
    for key in &seen {
        *counts.entry(text(&key["id"])).or_default() += 1;
    }
    for key in there.iter().chain(&leaving) {
        assert_eq!(counts.get(key["id"].as_str().unwrap()), Some(&1), "{key}");
    }
}

#[tokio::test]
async fn a_list_is_newest_first_and_holds_no_operators() {
    let place = Place::new().await;
    for name in ["a", "b", "c"] {
        place.mint(json!({"name": name})).await;
        place.operator(&["keys:read"]).await;
    }
    let names: Vec<Value> = place.walk("").await.iter().map(|it| it["name"].clone()).collect();
    assert_eq!(names, ["c", "b", "a"]);
}

#[tokio::test]
async fn a_page_is_as_long_as_was_asked_and_the_last_one_says_so() {
    let place = Place::new().await;
    place.mint_many((0..60).map(|it| it.to_string())).await;
    for (question, length, is_last) in
        [("", 50, false), ("limit=59", 59, false), ("limit=60", 60, true), ("limit=500", 60, true)]
    {
        let page = place.get(&format!("/v1/keys?{question}")).await.body;
        assert_eq!(page["items"].as_array().unwrap().len(), length, "{question}");
        assert_eq!(page["next_cursor"].is_null(), is_last, "{question}");
    }
}

#[tokio::test]
async fn filters_fit_state_owner_and_text() {
    let place = Place::new().await;
    let blue = place.mint(json!({"name": "Billing", "owner": "Blue"})).await;
    let green = place.mint(json!({"name": "contacts", "owner": "green"})).await;
    let none = place.mint(json!({"name": "contacts of blue"})).await;
    place.delete(&path_of(&green)).await;
    place.patch(&path_of(&none), &json!({"disabled": true})).await;
    let digits = format!("q={}", blue["last_digits"].as_str().unwrap());
    let id = format!("q={}", text(&green["id"]).to_uppercase());
    for (question, expected) in [
        ("state=revoked", vec![&green]),
        ("state=disabled", vec![&none]),
        ("state=active&owner=Blue", vec![&blue]),
        ("owner=blue", vec![]),
        ("q=BLUE", vec![&none, &blue]),
        ("q=contacts&state=revoked", vec![&green]),
        (&digits, vec![&blue]),
        (&id, vec![&green]),
        ("q=%25", vec![]),
    ] {
        let found = place.walk(question).await;
        let ids: Vec<&Value> = found.iter().map(|it| &it["id"]).collect();
        assert_eq!(ids, expected.iter().map(|it| &it["id"]).collect::<Vec<_>>(), "{question}");
    }
}

#[tokio::test]
async fn a_question_that_cannot_be_answered_is_refused_with_all_its_faults() {
    let place = Place::new().await;
    place.mint_many((0..3).map(|it| it.to_string())).await;
    let question = "/v1/keys?state=gone&limit=501&page=2&cursor=x&owner=a&owner=b";
    let refused = place.get(question).await;
    refused.refused(400, "bad_request");
    let paths: Vec<&Value> =
        refused.body["errors"].as_array().unwrap().iter().map(|it| &it["path"]).collect();
    assert_eq!(paths, ["state", "limit", "page", "owner", "cursor"]);
    let cursor = text(&place.get("/v1/keys?limit=1").await.body["next_cursor"]);
    let other = format!("/v1/keys?owner=a&cursor={cursor}");
    place.get(&other).await.refused(400, "bad_request");
}
