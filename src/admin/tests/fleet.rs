//! Claims about gateways.

use serde_json::{Value, json};

use crate::admin::tests::{Place, card, path_of};
use crate::store::Beat;

impl Place {
    /// A gateway that has synced once and is never heard of again.
    async fn vanished(&self) {
        let store = self.keyring.store();
        let position = store.ticket().await.unwrap().position;
        store.sync(Beat { card: card("b", 50), position, heard: None }).await.unwrap();
    }

    /// Whom the audit's rows of an action are about.
    fn audited(&self, action: &str) -> Vec<String> {
        let store = rusqlite::Connection::open(self.directory.path().join("keyward.db")).unwrap();
        let question = "SELECT target, operator_name, before FROM audit WHERE action = ?1";
        let mut rows = store.prepare(question).unwrap();
        let rows = rows.query_map([action], |row| {
            let [target, who, before] = [0, 1, 2].map(|it| row.get::<_, String>(it).unwrap());
            let before: Value = serde_json::from_str(&before).unwrap();
            Ok(format!("{target} by {who}, was {}", before["state"].as_str().unwrap()))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }
}

#[tokio::test]
async fn a_revocation_that_somebody_has_not_confirmed_says_so() {
    let place = Place::new().await;
    let key = place.mint(json!({"name": "a"})).await;
    place.vanished().await;
    let revoked = place.delete(&path_of(&key)).await;
    assert_eq!((revoked.status, &revoked.body["state"]), (202, &json!("revoked")));
    assert_eq!(revoked.body["propagation"]["complete"], false);
    assert_eq!(revoked.body["propagation"]["unconfirmed"], json!(["gateway-b"]));
    assert_eq!(revoked.body["propagation"]["gateways"][0]["id"], "gateway-a");

    let minted = place.post("/v1/keys", &json!({"name": "b"})).await;
    assert_eq!((minted.status, &minted.body["propagation"]["complete"]), (201, &json!(false)));
}

#[tokio::test]
async fn a_gateway_that_is_on_its_way_out_says_so_and_still_changes_what_it_is_asked_to() {
    let place = Place::new().await;
    let state = async || place.get("/v1/gateways").await.body["items"][0]["state"].clone();
    assert_eq!(state().await, "live");
    place.health.set_draining();
    let key = place.mint(json!({"name": "a"})).await;
    assert_eq!(place.delete(&path_of(&key)).await.status, 200);
    while state().await != "draining" {}
}

#[tokio::test]
async fn a_gateway_that_is_gone_can_be_forgotten_and_a_live_one_cannot() {
    let place = Place::new().await;
    let key = place.mint(json!({"name": "a"})).await;
    place.vanished().await;
    assert_eq!(place.delete(&path_of(&key)).await.status, 202);
    let mut items = json!(null);
    while items[1]["state"] != "unconfirmed" {
        items = place.get("/v1/gateways").await.body["items"].clone();
    }
    assert_eq!(items[0]["state"], "live", "{items}");
    assert_eq!((&items[0]["name"], &items[0]["version"]), (&json!("a"), &json!("1.2.3")));

    place.delete("/v1/gateways/gateway-a").await.refused(409, "state_conflict");
    place.delete("/v1/gateways/gateway-c").await.refused(404, "not_found");
    let forgotten = place.delete("/v1/gateways/gateway-b").await;
    assert_eq!((forgotten.status, &forgotten.body["state"]), (200, &json!("forgotten")));
    assert_eq!(forgotten.body["propagation"]["complete"], true, "{forgotten:?}");
    assert_eq!(forgotten.body["propagation"]["gateways"][0]["id"], "gateway-a");
    assert_eq!(forgotten.body["propagation"]["gateways"][1], json!(null));
    assert_eq!(place.audited("gateway.forget"), ["gateway-b by first operator, was unconfirmed"]);
    place.delete("/v1/gateways/gateway-b").await.refused(404, "not_found");
    assert_eq!(place.delete(&path_of(&key)).await.status, 200);
}
