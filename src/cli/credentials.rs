//! Does what keys and operators' tokens have in common: mints, lists and revokes them.

use std::io::{self, Write};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::cli::Streams;
use crate::cli::api::{Answer, Api, Token, segment};
use crate::cli::args::{Access, Output};
use crate::cli::documents::{Credential, Page, Receipt};
use crate::cli::failure::Failure;
use crate::cli::words;
use crate::config;
use crate::key::text::{ApiKey, KeyId};

/// The keys, or the operators, that the admin API knows.
#[derive(Debug)]
pub struct Credentials {
    api: Api,
    path: &'static str,
    kind: &'static str,
    output: Output,
}

impl Credentials {
    /// Those under `path`; people call one a `kind`.
    pub fn new(kind: &'static str, path: &'static str, access: &Access) -> Result<Self, Failure> {
        let token = Token::find(config::environment())?;
        let api = Api::new(&access.admin_url, access.authority.file(), token)?;
        Ok(Self { api, path, kind, output: access.form.output })
    }

    /// How answers are to look.
    pub fn output(&self) -> Output {
        self.output
    }

    /// A call about one of them, or, where `id` is empty, about all.
    pub fn call(&self, method: Method, id: &str) -> RequestBuilder {
        let path = self.path;
        if id.is_empty() {
            return self.api.call(method, path);
        }
        self.api.call(method, &format!("{path}/{}", segment(id)))
    }

    /// A call about what belongs to one of them.
    pub fn call_below(&self, method: Method, id: &str, below: &str) -> RequestBuilder {
        self.api.call(method, &format!("{}/{}/{below}", self.path, segment(id)))
    }

    /// Makes a call.
    pub fn send(&self, call: RequestBuilder) -> Result<Answer, Failure> {
        self.api.send(call)
    }

    /// Mints one. Its plaintext goes alone to standard output, words about it do not.
    pub fn mint(&self, call: RequestBuilder, streams: &mut Streams<'_>) -> Result<(), Failure> {
        let answer = self.send(call)?;
        let minted: Credential = answer.read()?;
        let id = &minted.id;
        let text = match (self.output, minted.key.as_ref().or(minted.token.as_ref())) {
            (Output::Json, _) => words::json(&answer.document),
            (Output::Table, Some(secret)) => format!("{}\n", secret.expose()),
            (Output::Table, None) => return Err(self.nothing_minted(&minted)),
        };
        write_whole(streams.out, &text).map_err(|fault| {
            Failure::Failed(format!(
                "the {} {id} was minted and could not be shown ({fault}): revoke it and mint another",
                self.kind
            ))
        })?;
        if self.output == Output::Table {
            write!(streams.err, "{}", words::minted(self.kind, &minted))?;
        }
        Ok(words::propagation(streams.err, minted.propagation.as_ref())?)
    }

    fn nothing_minted(&self, earlier: &Credential) -> Failure {
        Failure::Failed(format!(
            "nothing was minted: the same call has minted {id} before. Its plaintext was shown \
             then and is kept nowhere; if it did not arrive, `keyward {kind}s revoke {id}` and \
             mint another under another idempotency key",
            kind = self.kind,
            id = earlier.id,
        ))
    }

    /// Revokes them, one after the other, and shows the receipts. What the API refuses, or not every
    /// gateway confirms, does not keep the others from being revoked; but it is not done.
    pub fn revoke(&self, typed: &[String], streams: &mut Streams<'_>) -> Result<(), Failure> {
        let ids: Vec<KeyId> = typed.iter().map(|it| id(it)).collect::<Result<_, _>>()?;
        let mut done = Ok(());
        for id in ids {
            match self.revoke_one(id, streams) {
                Err(refused @ Failure::Refused(_)) => {
                    write!(streams.err, "{id}: ")?;
                    refused.say(streams)?;
                    done = Err(Failure::Partly);
                }
                Err(unconfirmed @ Failure::Partly) => done = Err(unconfirmed),
                other => other?,
            }
        }
        done
    }

    fn revoke_one(&self, id: KeyId, streams: &mut Streams<'_>) -> Result<(), Failure> {
        let answer = self.send(self.call(Method::DELETE, id.as_str()))?;
        let receipt: Receipt = answer.read()?;
        let text = match self.output {
            Output::Json => words::json(&answer.document),
            Output::Table => words::receipt(&receipt),
        };
        write_whole(streams.out, &text)?;
        words::warn_of_missing(streams.err, &receipt.propagation)?;
        if receipt.propagation.complete { Ok(()) } else { Err(Failure::Partly) }
    }

    /// One page of them.
    pub fn page(&self, query: &[(&str, String)]) -> Result<List, Failure> {
        let page: Page = self.send(self.call(Method::GET, "").query(query))?.read()?;
        Ok(List { items: page.items, next_cursor: page.next_cursor })
    }
}

/// Those on one page, or on several.
#[derive(Debug)]
pub struct List {
    items: Vec<Value>,
    next_cursor: Option<String>,
}

impl List {
    /// Adds the next page; whether there was one.
    pub fn go_on(
        &mut self,
        credentials: &Credentials,
        query: &[(&str, String)],
    ) -> Result<bool, Failure> {
        let Some(cursor) = self.next_cursor.take() else { return Ok(false) };
        let mut query = query.to_vec();
        query.push(("cursor", cursor));
        let next = credentials.page(&query)?;
        self.items.extend(next.items);
        self.next_cursor = next.next_cursor;
        Ok(true)
    }

    /// Shows them as a table of `rows`, or as the API would in one page.
    pub fn show(
        self,
        rows: impl Fn(&[Credential]) -> String,
        credentials: &Credentials,
        streams: &mut Streams<'_>,
    ) -> Result<(), Failure> {
        let Self { items, next_cursor } = self;
        if credentials.output == Output::Json {
            let document = json!({ "items": items, "next_cursor": next_cursor });
            return Ok(write_whole(streams.out, &words::json(&document))?);
        }
        let items: Vec<Credential> = Answer { document: items.into() }.read()?;
        write_whole(streams.out, &rows(&items))?;
        if next_cursor.is_some() {
            writeln!(streams.err, "There are more: --all shows them.")?;
        }
        Ok(())
    }
}

/// The id that was typed; of a whole key its id. What is neither is not repeated: it may be nearly
/// a key.
pub fn id(typed: &str) -> Result<KeyId, Failure> {
    let of_key = || ApiKey::parse(typed.as_bytes()).map(|it| it.id());
    typed.parse().or_else(|_no_id| of_key()).map_err(|_neither| {
        Failure::Usage("expected an id: twelve letters and digits, as `list` shows them".to_owned())
    })
}

/// Writes all of it and lets it go.
pub fn write_whole(to: &mut dyn Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes())?;
    to.flush()
}
