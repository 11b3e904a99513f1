//! Keyward as a contender, and the keys which it mints for all.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};

use crate::contender::{AccessLog, Contender, Duty, Limits, configure};
use crate::credential::{self, Credential};
use crate::http::{self, Connection};
use crate::process::Cores;
use crate::stand::{Stand, free_address};

/// In a file beside the configuration.
pub const EMBEDDED: &str = "sqlite:keyward.db";

const PEPPER: [u8; 32] = [7; 32];
const MINTERS: usize = 32;

/// One store of keys, and the configurations which serve it.
pub struct Keyward {
    name: &'static str,
    binary: PathBuf,
    folder: PathBuf,
    upstream: SocketAddr,
    address: SocketAddr,
    admin: SocketAddr,
    store: String,
    /// None, unless another is asked for.
    pub limits: Limits,
}

impl Keyward {
    /// An empty store at `url`, and a folder named after it.
    pub fn new(name: &'static str, binary: &Path, stand: &Stand, url: &str) -> Result<Self> {
        let folder = stand.folder(name)?;
        if url != EMBEDDED {
            // Who may be one of several makes none.
            fs::write(folder.join("keyward.pepper"), PEPPER)?;
        }
        Ok(Self {
            name,
            binary: binary.to_owned(),
            folder,
            upstream: stand.upstream,
            address: free_address()?,
            admin: free_address()?,
            store: store(url, name),
            limits: Limits::None,
        })
    }

    /// Keyward with so many workers.
    pub fn contender(&self, workers: usize, access_log: AccessLog) -> Result<Contender> {
        let file = format!("{workers}-workers-log-{}.toml", access_log.name());
        let config = self.folder.join(file);
        let access = matches!(access_log, AccessLog::On);
        let values = [
            ("@LISTEN@", &*self.address.to_string()),
            ("@ADMIN@", &self.admin.to_string()),
            ("@WORKERS@", &workers.to_string()),
            ("@ACCESS@", &access.to_string()),
            ("@UPSTREAM@", &self.upstream.to_string()),
            ("@STORE@", &self.store),
            ("@LIMITS@", limits(self.limits)),
        ];
        configure(&config, include_str!("configs/keyward.toml"), &values)?;
        let config = config.to_string_lossy();
        Ok(Contender {
            name: self.name,
            duty: Duty::Identify,
            address: self.address,
            admin: Some(self.admin),
            program: self.binary.clone(),
            arguments: ["serve", "--config", &config].map(String::from).into(),
            folder: self.folder.clone(),
        })
    }

    /// Fills the store with `count` keys.
    pub fn mint(&self, count: usize) -> Result<Vec<Credential>> {
        eprintln!("versus: minting {count} keys for {}", self.name);
        let process = self.contender(1, AccessLog::Off)?.start(Cores::Any)?;
        process.explain(self.mint_in_parallel(count))
    }

    fn mint_in_parallel(&self, count: usize) -> Result<Vec<Credential>> {
        let token = fs::read_to_string(self.folder.join("operator.token"))
            .context("cannot read the operator's token")?;
        let minter =
            Minter { admin: self.admin, authorization: format!("Bearer {}", token.trim()) };
        thread::scope(|scope| {
            let handles: Vec<_> = (0..MINTERS)
                .map(|first| (first..count).step_by(MINTERS))
                .map(|numbers| scope.spawn(|| minter.mint(numbers)))
                .collect();
            let mut credentials = Vec::with_capacity(count);
            for handle in handles {
                let share = handle.join().map_err(|_| anyhow!("a minter panicked"))?;
                credentials.extend(share?);
            }
            Ok(credentials)
        })
    }
}

/// The keys of each Keyward are apart, also where others are at the same place.
fn store(url: &str, name: &str) -> String {
    let namespace =
        if url == EMBEDDED { String::new() } else { format!("\nnamespace = \"{name}\"") };
    format!("url = \"{url}\"{namespace}")
}

/// Of every key, one that nobody exceeds.
fn limits(limits: Limits) -> &'static str {
    match limits {
        Limits::None => "",
        Limits::Rate => "rate = \"1000000/s\"",
    }
}

struct Minter {
    admin: SocketAddr,
    authorization: String,
}

impl Minter {
    fn mint(&self, numbers: impl Iterator<Item = usize>) -> Result<Vec<Credential>> {
        let mut connection = Connection::open(self.admin)?;
        numbers.map(|number| self.mint_one(&mut connection, number)).collect()
    }

    fn mint_one(&self, connection: &mut Connection, number: usize) -> Result<Credential> {
        let (name, owner) = (credential::name(number), credential::owner(number));
        let headers = [
            ("host", &*self.admin.to_string()),
            ("authorization", &*self.authorization),
            ("content-type", "application/json"),
        ];
        let body = json!({ "name": name, "owner": owner }).to_string();
        let response = connection.send(&http::request("POST /v1/keys", &headers, &body))?;
        let (status, body) = (response.status, response.body);
        ensure!(status == 201, "{name} got {status}: {body}");
        let minted: Value = serde_json::from_str(&body)?;
        Ok(Credential { key: text(&minted, "key")?, id: text(&minted, "id")?, name, owner })
    }
}

fn text(object: &Value, field: &str) -> Result<String> {
    let value = object[field].as_str().map(String::from);
    value.with_context(|| format!("a minted key without {field:?}"))
}
