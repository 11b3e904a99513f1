//! Measures what a connection costs on which nobody asks any more: resident memory after so many
//! connections with one request each, less that before, divided by their number.

#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a benchmark, not a server"
)]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

#[path = "../versus/frame.rs"]
mod frame;
#[path = "../memory/upstream.rs"]
mod upstream;

const CONNECTIONS: u64 = 10_000;

/// How long nobody asks before it is measured.
const REST: Duration = Duration::from_secs(20);

const PLAIN_KIB_TARGET: f64 = 8.0;
const TLS_KIB_TARGET: f64 = 40.0;

fn main() -> ExitCode {
    frame::run("idle", measure)
}

fn measure() -> Result<bool> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let folder = tempfile::tempdir()?;
    let upstream = upstream::start()?;
    let plain = round(folder.path(), upstream, &Side::Plain)?;
    let tls = round(folder.path(), upstream, &Side::Tls(certify(folder.path())?))?;
    let met = [
        verdict("in plaintext", plain, PLAIN_KIB_TARGET),
        verdict("through TLS", tls, TLS_KIB_TARGET),
    ];
    let results = json!({ "connections": CONNECTIONS, "plain_kib": plain, "tls_kib": tls });
    frame::write_results("idle", results)?;
    Ok(met.iter().all(|it| *it))
}

fn verdict(what: &str, kib: f64, target: f64) -> bool {
    let met = kib <= target;
    let word = if met { "PASS" } else { "FAIL" };
    println!("{kib:.2} KiB for an idle connection {what} (at most {target} KiB)  {word}");
    met
}

/// What is spoken below HTTP.
enum Side {
    Plain,
    Tls(Arc<ClientConfig>),
}

/// KiB for each connection.
fn round(folder: &Path, upstream: SocketAddr, side: &Side) -> Result<f64> {
    let gateway = Gateway::start(folder, upstream)?;
    let address = match side {
        Side::Plain => gateway.plain,
        Side::Tls(_) => gateway.tls,
    };
    // What is needed once is there afterwards.
    drop((0..100).map(|_| connect(address, side)).collect::<Result<Vec<_>>>()?);
    thread::sleep(Duration::from_secs(3));
    let before = gateway.rss_kib()?;
    let held = (0..CONNECTIONS).map(|_| connect(address, side)).collect::<Result<Vec<_>>>()?;
    thread::sleep(REST);
    let after = gateway.rss_kib()?;
    drop(held);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let each = after.saturating_sub(before) as f64 / CONNECTIONS as f64;
    Ok(each)
}

/// A connection after one request.
fn connect(address: SocketAddr, side: &Side) -> Result<Box<dyn Send>> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    match side {
        Side::Plain => {
            let mut stream = stream;
            ask(&mut stream)?;
            Ok(Box::new(stream))
        }
        Side::Tls(config) => {
            let name = ServerName::try_from("localhost")?;
            let client = ClientConnection::new(Arc::clone(config), name)?;
            let mut stream = StreamOwned::new(client, stream);
            ask(&mut stream)?;
            Ok(Box::new(stream.sock))
        }
    }
}

fn ask(stream: &mut (impl Read + Write)) -> Result<()> {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(b"\r\n\r\nok") {
        let count = stream.read(&mut chunk)?;
        ensure!(count > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&chunk[..count]);
    }
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// A gateway with a public route.
struct Gateway {
    process: Child,
    plain: SocketAddr,
    tls: SocketAddr,
}

impl Gateway {
    fn start(folder: &Path, upstream: SocketAddr) -> Result<Self> {
        let [plain, tls, admin] = [free()?, free()?, free()?];
        let certificates = if folder.join("cert.pem").exists() {
            format!(
                "listen_tls = [\"{tls}\"]\ncertificates = [{{ certificate = \"cert.pem\", private_key = \"key.pem\" }}]"
            )
        } else {
            String::new()
        };
        let config = format!(
            "[gateway]\nlisten = [\"{plain}\"]\nworkers = 2\nidle_timeout = \"10m\"\n{certificates}\n\
             [admin]\nlisten = [\"{admin}\"]\n\
             [[upstreams]]\nname = \"u\"\nendpoints = [\"http://{upstream}\"]\n\
             [[routes]]\nname = \"r\"\npath = \"/\"\nupstream = \"u\"\naccess = \"public\"\n"
        );
        fs::write(folder.join("keyward.toml"), config)?;
        let mut command = Command::new(frame::binary()?);
        command.args(["serve", "--config", "keyward.toml"]).current_dir(folder);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let this = Self { process, plain, tls };
        let end = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(plain).is_err() || !is_ready(admin) {
            ensure!(Instant::now() < end, "the gateway does not become ready");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(this)
    }

    fn rss_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.process.kill().unwrap_or_default();
        drop(self.process.wait());
    }
}

fn is_ready(admin: SocketAddr) -> bool {
    let asked = || -> Result<bool> {
        let mut stream = TcpStream::connect(admin)?;
        write!(stream, "GET /readyz HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    asked().unwrap_or(false)
}

/// A certificate for `localhost` in the folder, and a client that believes it.
fn certify(folder: &Path) -> Result<Arc<ClientConfig>> {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    fs::write(folder.join("cert.pem"), issued.cert.pem())?;
    fs::write(folder.join("key.pem"), issued.signing_key.serialize_pem())?;
    let mut roots = RootCertStore::empty();
    roots.add(issued.cert.der().clone())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
