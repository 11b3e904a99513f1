//! A gateway under test, and what its operator can do.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use keyward::key::text::{ApiKey, Prefix};
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::address::fresh;
use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::http::Response;
use crate::support::metrics::Metrics;
use crate::support::process::Process;
use crate::support::setup::Setup;
use crate::support::wait::PATIENCE;

pub mod files;
pub mod operate;
pub mod workers;

/// The real program, serving, with a directory of its own.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    address: SocketAddr,
    admin: SocketAddr,
    /// Last, so that it outlives the process.
    directory: TempDir,
}

/// A key that was minted.
#[derive(Clone, Debug)]
pub struct Key {
    pub id: String,
    pub plaintext: String,
}

impl Key {
    /// A well-formed key that nobody minted.
    pub fn unknown() -> Self {
        let key = ApiKey::mint(&Prefix::default(), &mut UnwrapErr(SysRng));
        Self { id: key.id().to_string(), plaintext: key.expose().to_owned() }
    }

    /// A well-formed key with the same id.
    pub fn with_another_secret(&self) -> Self {
        let other = Self::unknown().plaintext;
        let secret = &other[other.len() - 49..other.len() - 6];
        let text = format!("kw_{}_{secret}", self.id);
        let plaintext = format!("{text}{}", checksum(text.as_bytes()));
        Self { id: self.id.clone(), plaintext }
    }
}

/// CRC-32 in six digits of base62, as the key's format says.
fn checksum(text: &[u8]) -> String {
    let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let sum = crc32fast::hash(text);
    let places = (0..6).rev().map(|it| digits[(sum / 62_u32.pow(it) % 62) as usize]);
    places.map(char::from).collect()
}

impl Gateway {
    /// Starts one, and waits until it is ready.
    #[track_caller]
    pub fn start(setup: &Setup) -> Self {
        let (address, admin) = (fresh(), fresh());
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), setup.text(address, admin)).unwrap();
        let process = serve(directory.path());
        let mut this = Self { process, address, admin, directory };
        this.wait_until_ready();
        this
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where operators connect.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Where its files are: `keyward.toml`, `keyward.db`, `keyward.pepper`, `operator.token`.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A new connection.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// Mints a key.
    #[track_caller]
    pub fn mint(&self, name: &str) -> Key {
        self.mint_as(&json!({ "name": name }))
    }

    /// Mints a key with all that is said of it.
    #[track_caller]
    pub fn mint_as(&self, document: &Value) -> Key {
        let minted = self.admin("POST", "/v1/keys", Some(document));
        assert_eq!(minted.status, 201, "{}", String::from_utf8_lossy(&minted.body));
        let text = |name: &str| minted.json()[name].as_str().unwrap().to_owned();
        Key { id: text("id"), plaintext: text("key") }
    }

    /// Revokes a key; the receipt.
    #[track_caller]
    pub fn revoke(&self, id: &str) -> Value {
        let revoked = self.admin("DELETE", &format!("/v1/keys/{id}"), None);
        assert_eq!(revoked.status, 200, "{}", String::from_utf8_lossy(&revoked.body));
        revoked.json()
    }

    /// A call of the admin API by the first operator.
    #[track_caller]
    pub fn admin(&self, method: &str, path: &str, document: Option<&Value>) -> Response {
        let body = document.map_or_else(Vec::new, |it| it.to_string().into_bytes());
        self.admin_ask(&self.admin_request(method, path, body))
    }

    /// A request with the first operator's token, to be completed and sent by [`Self::admin_ask`].
    pub fn admin_request(&self, method: &str, path: &str, body: Vec<u8>) -> Ask {
        let ask = if body.is_empty() {
            Ask::new(method, path)
        } else {
            Ask::with_body(method, path, body).header("content-type", "application/json")
        };
        let ask = ask.header("host", &self.admin.to_string());
        ask.header("authorization", &format!("Bearer {}", self.operator_token()))
    }

    /// Sends any request to the admin listener.
    #[track_caller]
    pub fn admin_ask(&self, ask: &Ask) -> Response {
        Client::connect(self.admin_address()).ask(ask)
    }

    /// The first operator's token.
    #[track_caller]
    pub fn operator_token(&self) -> String {
        let text = fs::read_to_string(self.directory().join("operator.token")).unwrap();
        text.trim().to_owned()
    }

    /// What `/readyz` says.
    pub fn readiness(&self) -> Option<u16> {
        let ask = Ask::get("/readyz").header("host", &self.admin.to_string());
        let stream = std::net::TcpStream::connect(self.admin).ok()?;
        Client::over(stream).try_ask(&ask).ok().map(|it| it.status)
    }

    /// What `/metrics` says.
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        let scrape = self.admin("GET", "/metrics", None);
        assert_eq!(scrape.status, 200, "{}", String::from_utf8_lossy(&scrape.body));
        Metrics::parse(std::str::from_utf8(&scrape.body).unwrap())
    }

    /// All it has written.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for its end; the exit code, unless a signal ended it.
    #[track_caller]
    pub fn wait(&mut self) -> Option<i32> {
        self.process.wait().code()
    }

    /// Ends it as a power cut would.
    #[track_caller]
    pub fn kill9(&mut self) {
        self.process.signal(Signal::KILL);
        self.process.wait();
    }

    /// Starts it again on the same files and addresses, after it has ended.
    #[track_caller]
    pub fn restart(&mut self) {
        assert!(self.process.has_ended(), "it still runs");
        self.process = serve(self.directory.path());
        self.wait_until_ready();
    }

    /// What it has in memory now, in KiB.
    pub fn rss_kib(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most it has had in memory since [`Self::forget_peak`], in KiB.
    pub fn peak_rss_kib(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// Counts the peak from what it has in memory now.
    pub fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5").unwrap();
    }

    fn memory(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|it| it.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[track_caller]
    fn wait_until_ready(&mut self) {
        let end = Instant::now() + PATIENCE;
        while self.readiness() != Some(200) {
            assert!(!self.process.has_ended(), "it ended at once");
            assert!(Instant::now() < end, "it does not become ready");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

fn serve(directory: &Path) -> Process {
    Process::start(directory, &["serve", "--config", FILE])
}

/// The configuration's name.
pub const FILE: &str = "keyward.toml";
