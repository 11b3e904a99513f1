//! The real program on a store.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::frame;
use crate::http::{Connection, request};
use crate::place::{self, Place};
use crate::upstream;

/// A gateway of two workers.
pub struct Gateway {
    pub process: Child,
    pub address: SocketAddr,
    admin: SocketAddr,
    begun: Instant,
}

impl Gateway {
    /// Starts it, and waits for nothing.
    pub fn start(place: &Place) -> Result<Self> {
        let (address, admin) = (free()?, free()?);
        let config = format!(
            "{}[gateway]\nlisten = [\"{address}\"]\nworkers = 2\n\
             [admin]\nlisten = [\"{admin}\"]\noperator_token_file = \"operator.token\"\n\
             [log]\nlevel = \"warn\"\naccess = false\n\
             [[upstreams]]\nname = \"u\"\nendpoints = [\"http://{}\"]\n\
             [[routes]]\nname = \"r\"\npath = \"/\"\nupstream = \"u\"\n",
            place.store,
            upstream::start()?
        );
        let folder = place.folder.path();
        fs::write(folder.join("keyward.toml"), config)?;
        let mut command = Command::new(frame::binary()?);
        command.args(["serve", "--config", "keyward.toml"]).current_dir(folder);
        let begun = Instant::now();
        let process = command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn()?;
        Ok(Self { process, address, admin, begun })
    }

    /// The seconds until a key is let in.
    pub fn await_answer(&self, place: &Place) -> Result<f64> {
        let key = place::key(place.keys / 2)?;
        let request = asking(key.expose());
        self.eventually("a key is let in", || {
            let answer = Connection::open(self.address)?.send(&request)?;
            ensure!(answer.status == 200, "answered {}: {}", answer.status, answer.body);
            Ok(())
        })
    }

    /// The seconds until every key is in memory.
    pub fn await_all(&self, place: &Place) -> Result<f64> {
        let wanted = format!("keyward_key_entries {}", place.keys + 1);
        self.eventually("every key is there", || {
            let token = fs::read_to_string(place.folder.path().join("operator.token"))?;
            let (host, bearer) = (self.admin.to_string(), format!("Bearer {}", token.trim()));
            let headers = [("host", &*host), ("authorization", &*bearer)];
            let mut admin = Connection::open(self.admin)?;
            let scrape = admin.send(&request("GET /metrics", &headers, ""))?;
            let says = |line: &str| scrape.body.lines().any(|it| it == line);
            ensure!(says(&wanted) && says("keyward_key_entries_complete 1"), "not {wanted}");
            Ok(())
        })
    }

    /// What it holds once it has nothing to do.
    pub fn rest_and_weigh(&self) -> Result<u64> {
        thread::sleep(REST);
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }

    fn eventually(&self, what: &str, ask: impl Fn() -> Result<()>) -> Result<f64> {
        while let Err(fault) = ask() {
            if self.begun.elapsed() > PATIENCE {
                return Err(fault.context(format!("waited in vain: {what}")));
            }
            thread::sleep(PAUSE);
        }
        Ok(self.begun.elapsed().as_secs_f64())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.process.kill().unwrap_or_default();
        drop(self.process.wait());
    }
}

/// A request that shows a key.
pub fn asking(key: &str) -> String {
    request("GET /", &[("host", "bench"), ("api-key", key)], "")
}

/// An address on which nobody listens.
pub fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Longer than an allocator keeps what was freed.
const REST: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_mins(5);
