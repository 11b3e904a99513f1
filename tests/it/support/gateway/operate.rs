//! What operators do to many keys at once, and what they read in answers.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::{Gateway, Key};
use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::crowd::crowd;
use crate::support::http::Response;

impl Gateway {
    /// Mints so many keys over many connections.
    #[track_caller]
    pub fn mint_many(&self, count: usize) -> Vec<Key> {
        let left = AtomicUsize::new(count);
        let take = || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |it| it.checked_sub(1));
        let body = json!({ "name": "one of many" }).to_string().into_bytes();
        let ask = self.admin_request("POST", "/v1/keys", body);
        let minted = crowd(MINTING_CONNECTIONS.min(count), |_| {
            let mut client = Client::connect(self.admin_address());
            let mut minted = Vec::new();
            while take().is_ok() {
                minted.push(key_of(&client.ask(&ask)));
            }
            minted
        });
        minted.concat()
    }

    /// Changes a key; the document with its propagation.
    #[track_caller]
    pub fn patch(&self, id: &str, change: &Value) -> Value {
        let changed = self.admin("PATCH", &format!("/v1/keys/{id}"), Some(change));
        assert_eq!(changed.status, 200, "{}", String::from_utf8_lossy(&changed.body));
        changed.json()
    }

    /// A key's document.
    #[track_caller]
    pub fn show(&self, id: &str) -> Value {
        let shown = self.admin("GET", &format!("/v1/keys/{id}"), None);
        assert_eq!(shown.status, 200, "{}", String::from_utf8_lossy(&shown.body));
        shown.json()
    }

    /// The id under which this process stands in the register.
    #[track_caller]
    pub fn id(&self) -> String {
        let gateways = self.admin("GET", "/v1/gateways", None).json();
        let ending = format!("-{}", self.process.id());
        let items = gateways["items"].as_array().unwrap();
        let own = items.iter().find(|it| it["name"].as_str().unwrap().ends_with(&ending));
        own.unwrap_or_else(|| panic!("{gateways}"))["id"].as_str().unwrap().to_owned()
    }

    /// Makes an operator; the token.
    #[track_caller]
    pub fn operator(&self, name: &str, permissions: &[&str]) -> Key {
        let document = json!({ "name": name, "permissions": permissions });
        let made = self.admin("POST", "/v1/operators", Some(&document));
        assert_eq!(made.status, 201, "{}", String::from_utf8_lossy(&made.body));
        let text = |field: &str| made.json()[field].as_str().unwrap().to_owned();
        Key { id: text("id"), plaintext: text("token") }
    }

    /// A request to the admin listener with another token than the first operator's.
    pub fn admin_request_by(&self, token: &str, method: &str, path: &str, body: &Value) -> Ask {
        let ask = if body.is_null() {
            Ask::new(method, path)
        } else {
            let ask = Ask::with_body(method, path, body.to_string());
            ask.header("content-type", "application/json")
        };
        let ask = ask.header("host", &self.admin_address().to_string());
        ask.header("authorization", &format!("Bearer {token}"))
    }
}

/// The key that an answer brings.
#[track_caller]
pub fn key_of(minted: &Response) -> Key {
    assert_eq!(minted.status, 201, "{}", String::from_utf8_lossy(&minted.body));
    let document = minted.json();
    let text = |name: &str| document[name].as_str().unwrap().to_owned();
    Key { id: text("id"), plaintext: text("key") }
}

/// Holds a receipt to being complete and from these gateways alone; how many streams were closed.
#[track_caller]
pub fn closed_streams(document: &Value, gateways: &[&str]) -> u64 {
    let propagation = &document["propagation"];
    assert_eq!(propagation["complete"], true, "{document}");
    assert_eq!(propagation["unconfirmed"], json!([]), "{document}");
    let receipts = propagation["gateways"].as_array().unwrap();
    let mut ids: Vec<&str> = receipts.iter().map(|it| it["id"].as_str().unwrap()).collect();
    let mut expected = gateways.to_vec();
    ids.sort_unstable();
    expected.sort_unstable();
    assert_eq!(ids, expected, "{document}");
    assert!(receipts.iter().all(|it| it["state"] == "confirmed"), "{document}");
    receipts.iter().map(|it| it["closed_streams"].as_u64().unwrap()).sum()
}

/// Fewer than may wait for argon2.
const MINTING_CONNECTIONS: usize = 60;
