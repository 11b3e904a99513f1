//! Claims about the admin listener, over real sockets and a real store.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::admin::first::{Entered, First};
use crate::admin::health::Health;
use crate::admin::reload::Reloads;
use crate::admin::{Admin, Parts, Scrape, serve};
use crate::clock::Timestamp;
use crate::config::sources::load;
use crate::config::{Config, Location, WhenUnreachable};
use crate::gate::follow;
use crate::gate::hashing::Hashing;
use crate::gate::keyring::{self, Keyring};
use crate::gate::vault::Vault;
use crate::gate::writeback::Writeback;
use crate::key::argon2id::Cost;
use crate::key::seal::{Pepper, Peppers};
use crate::store::Store;
use crate::store::gateway::{GatewayCard, GatewayId};
use crate::store::sqlite::Sqlite;
use crate::tasks::Tasks;

mod access;
mod fleet;
mod keys;
mod limits;
mod lists;
mod operators;
mod preview;
mod serving;

/// A gateway without a data plane: its store, what follows it, and its admin listener.
struct Place {
    address: SocketAddr,
    /// The first operator's token.
    root: String,
    client: Client,
    keyring: Arc<Keyring>,
    health: Arc<Health>,
    server: Tasks,
    directory: tempfile::TempDir,
}

/// What came back.
#[derive(Debug)]
struct Reply {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

impl Place {
    async fn new() -> Self {
        Self::with_scrape(Box::new(|| "# EOF\n".to_owned())).await
    }

    async fn with_scrape(scrape: Scrape) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = Arc::new(config(&directory));
        let keyring = Arc::new(keyring(&config));
        let first = First::mint(&keyring, Timestamp::now()).await.unwrap();
        assert_eq!(first.enter(&keyring).await.unwrap(), Entered::Now);
        let (follower, server) = (Tasks::default(), Tasks::default());
        let draining = Arc::<AtomicBool>::default();
        let following = (Arc::clone(&keyring), card("a", 60_000), Arc::clone(&draining));
        follower.spawn(follow::run(following.0, following.1, following.2, follower.clone()));
        let health = Arc::new(Health::new(Arc::clone(&keyring), draining));
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let admin = Arc::new(Admin::new(Parts {
            keyring: Arc::clone(&keyring),
            config: Arc::new(ArcSwap::new(config)),
            health: Arc::clone(&health),
            scrape,
            tally: Arc::default(),
            // Nobody reads anything again here.
            reloads: Reloads::channel().0,
        }));
        let words = serve::Words { stop: server.clone(), close: server.clone() };
        let rules = (serve::doors(512), words);
        server.spawn(serve::run(listener, serve::Transport::Plain, admin, rules));
        let client = Client::builder().no_proxy().build().unwrap();
        let root = first.token().expose().to_owned();
        let place = Self { address, root, client, keyring, health, server, directory };
        while place.ask(Method::GET, "/readyz").await.status != 200 {}
        place
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    /// Without a token.
    async fn ask(&self, method: Method, path: &str) -> Reply {
        reply(self.request(method, path)).await
    }

    /// As the first operator.
    fn by_root(&self, method: Method, path: &str) -> RequestBuilder {
        self.request(method, path).bearer_auth(&self.root)
    }

    async fn get(&self, path: &str) -> Reply {
        reply(self.by_root(Method::GET, path)).await
    }

    async fn post(&self, path: &str, body: &Value) -> Reply {
        reply(self.by_root(Method::POST, path).json(body)).await
    }

    async fn patch(&self, path: &str, body: &Value) -> Reply {
        reply(self.by_root(Method::PATCH, path).json(body)).await
    }

    async fn delete(&self, path: &str) -> Reply {
        reply(self.by_root(Method::DELETE, path)).await
    }

    /// Mints a key and gives its document.
    async fn mint(&self, body: Value) -> Value {
        let minted = self.post("/v1/keys", &body).await;
        assert_eq!(minted.status, 201, "{minted:?}");
        minted.body
    }

    /// The token of a new operator with these permissions.
    async fn operator(&self, permissions: &[&str]) -> (String, String) {
        let body = json!({"name": "an operator", "permissions": permissions});
        let made = self.post("/v1/operators", &body).await;
        assert_eq!(made.status, 201, "{made:?}");
        (text(&made.body["id"]), text(&made.body["token"]))
    }
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |it| it.to_str().unwrap())
    }

    #[track_caller]
    fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, &self.body["code"]), (status, &json!(code)), "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.body["request_id"], self.header("x-request-id"));
    }
}

async fn reply(request: RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.unwrap();
    Reply { status, headers, body: serde_json::from_slice(&body).unwrap_or_default() }
}

#[track_caller]
fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn path_of(key: &Value) -> String {
    format!("/v1/keys/{}", key["id"].as_str().unwrap())
}

fn config(directory: &tempfile::TempDir) -> Config {
    let file = directory.path().join("keyward.toml");
    std::fs::write(&file, CONFIG).unwrap();
    load(Some(&file), &[], std::iter::empty()).unwrap().config
}

fn keyring(config: &Config) -> Keyring {
    let Location::Sqlite(path) = &config.store.location else { unreachable!() };
    let store = Sqlite::open(path).unwrap();
    let store = Store::Embedded(Arc::new(store));
    let peppers = Peppers::new(Pepper::new([7; 32]), Vec::new());
    let (threads, queue) = (config.keys.argon2_threads, config.keys.argon2_queue);
    let cost = Cost { memory_kib: 8, iterations: 1 };
    let parts = keyring::Parts {
        vault: Vault::new(peppers, store.identity().clone()),
        store,
        hashing: Hashing::start(cost, threads, queue).unwrap(),
        writeback: Writeback::channel().0,
        background: (Tasks::default(), Handle::current()),
        first_account: 0,
    };
    Keyring::new(parts, &config.limits, &config.store)
}

fn card(name: &str, lease_ms: u64) -> GatewayCard {
    GatewayCard {
        id: GatewayId(format!("gateway-{name}")),
        name: name.to_owned(),
        version: "1.2.3".to_owned(),
        started_at: Timestamp::from_micros(1_800_000_000_000_000),
        lease_ms,
        policy: WhenUnreachable::ServeKnown,
        serve_known_for_ms: 60_000,
        replicas: 0,
        keys: 0,
        complete: true,
        draining: false,
        closed: Vec::new(),
    }
}

/// A second scheme, and a lease so long that a busy machine does not lose it.
const CONFIG: &str = r#"
[store]
lease = "30s"
response_timeout = "20s"

[[schemes]]
name = "partners"
prefix = "kwp"
rate = "5/s"

[[upstreams]]
name = "contacts"
endpoints = ["http://127.0.0.1:9"]

[[routes]]
name = "contacts"
path = "/v3/"
upstream = "contacts"
"#;
