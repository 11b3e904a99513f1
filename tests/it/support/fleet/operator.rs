//! Mints and revokes, and notes what was answered.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use keyward::clock::Timestamp;
use serde_json::{Value, json};

use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::history::{Answer, Kind, Notes, Recorder, now};
use crate::support::http::Response;

/// Somebody who operates a fleet by way of one of its processes. What was noted is handed over when
/// this is dropped.
#[derive(Debug)]
pub struct Operator {
    admin: SocketAddr,
    token: String,
    client: Option<Client>,
    recorder: Recorder,
    notes: Notes,
}

/// A key, as a history knows it and as it is shown.
#[derive(Clone, Debug)]
pub struct Held {
    pub number: u32,
    pub id: String,
    pub plaintext: String,
}

impl Operator {
    /// By way of the process that listens there.
    pub fn new(admin: SocketAddr, token: &str, recorder: &Recorder) -> Self {
        let (token, notes) = (token.to_owned(), recorder.notes());
        Self { admin, token, client: None, recorder: recorder.clone(), notes }
    }

    /// Mints a key; nothing where the answer does not say so.
    pub fn mint(&mut self) -> Option<Held> {
        self.mint_told().map(|(held, _)| held)
    }

    /// The same, and what was said of it.
    pub fn mint_told(&mut self) -> Option<(Held, Answer)> {
        let begun = now();
        let answer = self.call("POST", "/v1/keys", &json!({ "name": "crm" })).ok()?;
        self.take(&answer, begun, &Kind::Mint { expires: None })
    }

    /// The same, for so long.
    pub fn mint_for(&mut self, time: Duration) -> Option<Held> {
        let micros = i64::try_from(time.as_micros()).unwrap();
        let begun = now();
        let end = Timestamp::from_micros(Timestamp::now().as_micros() + micros);
        let document = json!({ "name": "crm", "expires_at": end.to_string() });
        let answer = self.call("POST", "/v1/keys", &document).ok()?;
        let kind = Kind::Mint { expires: Some(begun + nanos(time)) };
        self.take(&answer, begun, &kind).map(|(held, _)| held)
    }

    /// Revokes a key; what was answered. Where it was refused, nothing has changed, and nothing is
    /// noted.
    #[track_caller]
    pub fn revoke(&mut self, key: &Held) -> Answer {
        let begun = now();
        let answer = match self.call("DELETE", &format!("/v1/keys/{}", key.id), &Value::Null) {
            Ok(answer) if matches!(answer.status, 200 | 202) => {
                let document = answer.json();
                let is_complete = document["propagation"]["complete"] == true;
                assert_eq!(answer.status == 200, is_complete, "{document}");
                self.answer_of(&document)
            }
            Ok(refused) if (400..500).contains(&refused.status) => return Answer::Unknown,
            Ok(_) | Err(_) => Answer::Unknown,
        };
        self.notes.change(key.number, Kind::Revoke, begun, answer.clone());
        answer
    }

    /// Any call, over the same connection as the last one.
    pub fn call(&mut self, method: &str, path: &str, document: &Value) -> io::Result<Response> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::over(TcpStream::connect(self.admin)?),
        };
        let ask = if document.is_null() {
            Ask::new(method, path)
        } else {
            let ask = Ask::with_body(method, path, document.to_string());
            ask.header("content-type", "application/json")
        };
        let ask = ask.header("host", &self.admin.to_string());
        let ask = ask.header("authorization", &format!("Bearer {}", self.token));
        let answer = client.try_ask(&ask)?;
        if answer.head.get("connection") != Some("close") {
            self.client = Some(client);
        }
        Ok(answer)
    }

    fn take(&mut self, answer: &Response, begun: u64, kind: &Kind) -> Option<(Held, Answer)> {
        let ended = now();
        if answer.status != 201 {
            return None;
        }
        let document = answer.json();
        let text = |name: &str| document[name].as_str().unwrap().to_owned();
        let id = text("id");
        let held = Held { number: self.recorder.key(&id), id, plaintext: text("key") };
        let answer = self.answer_of(&document);
        self.notes.change_until(held.number, kind.clone(), (begun, ended), answer.clone());
        Some((held, answer))
    }

    fn answer_of(&self, document: &Value) -> Answer {
        let propagation = &document["propagation"];
        if propagation["complete"] == true {
            return Answer::Complete;
        }
        // Whoever has confirmed it, it is the store that cannot promise it.
        if propagation["too_few_replicas"] == true {
            return Answer::NotHeld;
        }
        let missing = propagation["unconfirmed"].as_array().unwrap();
        assert!(!missing.is_empty(), "{document}");
        let names: Vec<&str> = missing.iter().map(|it| it.as_str().unwrap()).collect();
        Answer::Unconfirmed(self.recorder.gateways(&names))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap()
}
