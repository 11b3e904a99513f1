//! Decides what the demo shows: who is let in, who is not, and what a revocation changes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::cli::Streams;
use crate::cli::api::{Api, Token, Wire};
use crate::cli::documents::{Credential, Receipt, Secret};
use crate::cli::failure::Failure;
use crate::cli::words;
use crate::clock::Moment;
use crate::server::Addresses;

/// A gateway that is ready, and a key that was just minted.
pub struct Stage {
    gateway: Wire,
    admin: Api,
    addresses: (String, String),
    token_file: PathBuf,
    key: Key,
}

struct Key {
    id: String,
    plaintext: Secret,
}

impl Stage {
    /// Waits for the gateway and mints a key.
    pub fn set(addresses: &Addresses, directory: &Path) -> Result<Self, Failure> {
        let gateway = url(&addresses.gateway)?;
        let admin = url(&addresses.admin)?;
        wait_until_ready(&Wire::new(&admin, None)?)?;
        let token_file = directory.join("operator.token");
        let api = Api::new(&admin, None, Token::from_file(&token_file)?)?;
        let key = mint(&api)?;
        Ok(Self {
            gateway: Wire::new(&gateway, None)?,
            admin: api,
            addresses: (gateway, admin),
            token_file,
            key,
        })
    }

    /// Prints what to paste.
    pub fn tell(&self, streams: &mut Streams<'_>) -> Result<(), Failure> {
        let Self { addresses: (gateway, admin), token_file, key, .. } = self;
        let (id, plaintext) = (&key.id, key.plaintext.expose());
        let token = token_file.display();
        let keyward = program();
        let text = format!(
            "\
A sample API, a gateway before it and an admin listener are running on this machine.

  gateway  {gateway}
  admin    {admin}
  key      {id}, minted for this

Let in:
  curl -i -H 'api-key: {plaintext}' {gateway}/v3/contacts

Refused, without a key:
  curl -i {gateway}/v3/contacts

Revoke the key; the answer names the gateways that have confirmed it:
  KEYWARD_ADMIN_URL={admin} KEYWARD_ADMIN_TOKEN_FILE={token} {keyward} keys revoke {id}

After that the first one is refused too. A public route needs no key:
  curl -i {gateway}/v3/ping

Ctrl-C ends it and removes everything.
"
        );
        streams.out.write_all(text.as_bytes())?;
        Ok(streams.out.flush()?)
    }

    /// Makes the requests itself and shows what was answered; a failure if one was not as it
    /// should be.
    pub fn play(&self, streams: &mut Streams<'_>) -> Result<(), Failure> {
        for scene in &BEFORE {
            self.show(scene, streams)?;
        }
        self.revoke(streams)?;
        self.show(&AFTER, streams)?;
        writeln!(streams.out, "Everything was as it should be.")?;
        Ok(streams.out.flush()?)
    }

    fn show(&self, scene: &Scene, streams: &mut Streams<'_>) -> Result<(), Failure> {
        let (flags, shown) = match scene.caller {
            Caller::Nobody => ("", None),
            Caller::Key => (" -H 'api-key: kw_…'", Some(self.key.plaintext.expose())),
        };
        let Scene { title, method, path, body, .. } = scene;
        let data = body.map(|it| format!(" -d '{it}'")).unwrap_or_default();
        writeln!(streams.out, "{title}\n  $ curl{flags}{data} {}{path}", self.addresses.0)?;
        let mut request = self.gateway.request(method.clone(), path);
        if let Some(key) = shown {
            request = request.header("api-key", key);
        }
        if let Some(body) = *body {
            request = request.header("content-type", "application/json").body(body);
        }
        let (status, body) = self.gateway.send(request)?;
        let body = String::from_utf8_lossy(&body);
        writeln!(streams.out, "  {status}\n  {}\n", body.trim_end())?;
        scene.check(status, &body)
    }

    fn revoke(&self, streams: &mut Streams<'_>) -> Result<(), Failure> {
        let id = &self.key.id;
        writeln!(streams.out, "Revoke it:\n  $ {} keys revoke {id}", program())?;
        let call = self.admin.call(Method::DELETE, &format!("/v1/keys/{id}"));
        let receipt: Receipt = self.admin.send(call)?.read()?;
        let text = words::receipt(&receipt);
        for line in text.lines() {
            writeln!(streams.out, "  {line}")?;
        }
        writeln!(streams.out)?;
        if receipt.propagation.complete {
            Ok(())
        } else {
            Err(unexpected("the revocation is not confirmed"))
        }
    }
}

/// One request and what should come of it.
struct Scene {
    title: &'static str,
    caller: Caller,
    method: Method,
    path: &'static str,
    body: Option<&'static str>,
    status: u16,
    code: Option<&'static str>,
}

enum Caller {
    Nobody,
    Key,
}

impl Scene {
    fn check(&self, status: StatusCode, body: &str) -> Result<(), Failure> {
        let document: Value = serde_json::from_str(body).unwrap_or_default();
        let code = document.get("code").and_then(Value::as_str);
        if status.as_u16() == self.status && code == self.code {
            return Ok(());
        }
        let expected = format!("{} {}", self.status, self.code.unwrap_or_default());
        Err(unexpected(&format!("{} {} should be {}", self.method, self.path, expected.trim_end())))
    }
}

fn unexpected(what: &str) -> Failure {
    Failure::Failed(format!("not as it should be: {what}"))
}

fn mint(api: &Api) -> Result<Key, Failure> {
    let body = json!({ "name": "demo", "owner": "you" });
    let minted: Credential = api.send(api.call(Method::POST, "/v1/keys").json(&body))?.read()?;
    let plaintext =
        minted.key.ok_or_else(|| unexpected("a new key should come with its plaintext"))?;
    Ok(Key { id: minted.id, plaintext })
}

fn wait_until_ready(admin: &Wire) -> Result<(), Failure> {
    let start = Moment::now();
    loop {
        let (status, _body) = admin.send(admin.request(Method::GET, "/readyz"))?;
        if status.is_success() {
            return Ok(());
        }
        if Moment::now().since(start) > READY_TIMEOUT {
            return Err(unexpected("the gateway does not get ready"));
        }
        std::thread::sleep(READY_PAUSE);
    }
}

fn url(addresses: &[SocketAddr]) -> Result<String, Failure> {
    let first = addresses.first().ok_or_else(|| unexpected("nothing listens"))?;
    Ok(format!("http://{first}"))
}

/// As this program was called.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "keyward".to_owned())
}

const BEFORE: [Scene; 4] = [
    Scene {
        title: "A public route needs no key:",
        caller: Caller::Nobody,
        method: Method::GET,
        path: "/v3/ping",
        body: None,
        status: 200,
        code: None,
    },
    Scene {
        title: "Any other is refused without one:",
        caller: Caller::Nobody,
        method: Method::GET,
        path: "/v3/contacts",
        body: None,
        status: 401,
        code: Some("missing_key"),
    },
    Scene {
        title: "With the key it is let in:",
        caller: Caller::Key,
        method: Method::GET,
        path: "/v3/contacts",
        body: None,
        status: 200,
        code: None,
    },
    Scene {
        title: "To change something too:",
        caller: Caller::Key,
        method: Method::POST,
        path: "/v3/contacts",
        body: Some(r#"{"email":"alan@example.com","name":"Alan Turing"}"#),
        status: 201,
        code: None,
    },
];

const AFTER: Scene = Scene {
    title: "From then on the same key is refused:",
    caller: Caller::Key,
    method: Method::GET,
    path: "/v3/contacts",
    body: None,
    status: 401,
    code: Some("revoked_key"),
};

const READY_TIMEOUT: Duration = Duration::from_secs(20);
const READY_PAUSE: Duration = Duration::from_millis(20);
