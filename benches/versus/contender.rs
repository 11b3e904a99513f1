//! A proxy which can be started, whatever it is.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::http::{self, Connection};
use crate::process::{Cores, Process};

/// What a proxy does with a request.
#[derive(Clone, Copy)]
pub enum Duty {
    /// Checks the key, removes it and tells the upstream whose it was.
    Identify,
    /// Checks the key and removes it.
    Check,
    /// Relays bytes.
    Relay,
}

/// Whether a line is logged for each request.
#[derive(Clone, Copy)]
pub enum AccessLog {
    Off,
    On,
}

/// Whether every key has a rate, which nobody exceeds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Limits {
    None,
    Rate,
}

/// A configured proxy.
pub struct Contender {
    pub name: &'static str,
    pub duty: Duty,
    pub address: SocketAddr,
    /// Where it says that it is ready, unless listening says so.
    pub admin: Option<SocketAddr>,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// Where its output goes.
    pub folder: PathBuf,
}

impl AccessLog {
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
        }
    }
}

impl Contender {
    /// Starts it on `cores` and waits until it serves.
    pub fn start(&self, cores: Cores) -> Result<Process> {
        let mut command = cores.command(&self.program);
        command.args(&self.arguments);
        let mut process = Process::start(self.name, command, &self.folder)?;
        process.wait_until(|| self.is_ready())?;
        Ok(process)
    }

    fn is_ready(&self) -> bool {
        match self.admin {
            Some(admin) => answers_readyz(admin).unwrap_or(false),
            None => TcpStream::connect(self.address).is_ok(),
        }
    }
}

/// Writes a configuration made from a template, whose `@NAMES@` are replaced.
pub fn configure(path: &PathBuf, template: &str, values: &[(&str, &str)]) -> Result<()> {
    let text =
        values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(name, value));
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn answers_readyz(admin: SocketAddr) -> Result<bool> {
    let host = admin.to_string();
    let request = http::request("GET /readyz", &[("host", &host)], "");
    Ok(Connection::open(admin)?.send(&request)?.status == 200)
}
