//! Makes, lists and revokes operators.

use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::cli::Streams;
use crate::cli::args::{Operators, OperatorsAction, OperatorsCreate};
use crate::cli::credentials::Credentials;
use crate::cli::failure::Failure;
use crate::cli::words;
use crate::clock::Timestamp;

/// Does what was typed after `keyward operators`.
pub fn operators(typed: &Operators, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let operators = Credentials::new("operator", "/v1/operators", &typed.access)?;
    match &typed.action {
        OperatorsAction::Create(it) => {
            let call = operators.call(Method::POST, "");
            operators.mint(call.json(&create_body(it, Timestamp::now())), streams)
        }
        OperatorsAction::List => operators.page(&[])?.show(words::operators, &operators, streams),
        OperatorsAction::Revoke(it) => operators.revoke(&it.ids, streams),
    }
}

fn create_body(typed: &OperatorsCreate, now: Timestamp) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("name".to_owned(), typed.name.as_str().into());
    body.insert("permissions".to_owned(), json!(typed.permissions));
    if let Some(at) = typed.expiry.at(now) {
        body.insert("expires_at".to_owned(), at.to_string().into());
    }
    body
}
