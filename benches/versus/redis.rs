//! A Redis of the benchmark's own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use anyhow::Result;

use crate::process::{Cores, Process};

/// A server which ends when it is dropped.
pub struct Server {
    pub address: SocketAddr,
    _process: Process,
}

impl Server {
    /// Starts one in `folder`, with this `appendfsync`; without one nothing is on disk.
    pub fn start(
        cores: Cores,
        folder: &Path,
        address: SocketAddr,
        fsync: Option<&str>,
    ) -> Result<Self> {
        let mut command = cores.command("redis-server");
        command.args(["--port", &address.port().to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", ""]).arg("--dir").arg(folder);
        if let Some(fsync) = fsync {
            command.args(["--appendonly", "yes", "--appendfsync", fsync]);
        }
        let mut process = Process::start("redis", command, folder)?;
        process.wait_until(|| answers(address).unwrap_or(false))?;
        Ok(Self { address, _process: process })
    }

    /// As a configuration names it.
    pub fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }
}

fn answers(address: SocketAddr) -> Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    Ok(answer == *b"+PONG")
}
