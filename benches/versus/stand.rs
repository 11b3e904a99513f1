//! The test stand: a temporary folder, addresses, and the upstream.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Result;
use tempfile::TempDir;

use crate::contender::configure;
use crate::process::{Cores, Process};

/// The kernel hands out ports from 32768 on to clients: below, none is lost to a connection.
static NEXT_PORT: AtomicU16 = AtomicU16::new(18_000);

/// What all contenders share.
pub struct Stand {
    pub upstream: SocketAddr,
    // Declared before the folder which it writes to, so that it ends first.
    _upstream_process: Process,
    folder: TempDir,
}

impl Stand {
    /// Makes the folder and starts the upstream in it.
    pub fn set_up(upstream_cores: Cores) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("versus-").tempdir()?;
        let upstream = free_address()?;
        Ok(Self {
            upstream,
            _upstream_process: start_upstream(&folder, upstream, upstream_cores)?,
            folder,
        })
    }

    /// A folder of its own for each `name`.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }
}

/// A loopback address on which nobody listens.
pub fn free_address() -> Result<SocketAddr> {
    loop {
        let port = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        anyhow::ensure!(port < 32_768, "no free port is left");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
}

fn start_upstream(folder: &TempDir, address: SocketAddr, cores: Cores) -> Result<Process> {
    let config = folder.path().join("upstream.conf");
    let values =
        [("@FOLDER@", &*folder.path().to_string_lossy()), ("@LISTEN@", &address.to_string())];
    configure(&config, include_str!("configs/upstream.conf"), &values)?;
    let mut command = cores.command("nginx");
    command.args(["-e", "stderr", "-c"]).arg(&config);
    let mut process = Process::start("upstream", command, folder.path())?;
    process.wait_until(|| TcpStream::connect(address).is_ok())?;
    Ok(process)
}
