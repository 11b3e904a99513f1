//! `HAProxy` as a contender.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;

use crate::contender::{Contender, Duty, configure};
use crate::credential::Credential;
use crate::stand::{Stand, free_address};

/// The configurations which `HAProxy` competes with.
pub struct Haproxy {
    folder: PathBuf,
    upstream: SocketAddr,
}

impl Haproxy {
    /// Writes the list of keys and the map to their holders.
    pub fn new(stand: &Stand, credentials: &[Credential]) -> Result<Self> {
        let haproxy = Self { folder: stand.folder("haproxy")?, upstream: stand.upstream };
        haproxy.write_lines("keys.lst", credentials, |it| it.key.clone())?;
        haproxy.write_lines("holders.lst", credentials, |it| {
            format!("{} {}|{}|{}", it.key, it.id, it.name, it.owner)
        })?;
        Ok(haproxy)
    }

    /// The configuration which does what Keyward does.
    pub fn full(&self) -> Result<Contender> {
        let template = include_str!("configs/haproxy.cfg");
        self.contender("haproxy", Duty::Identify, template)
    }

    /// The same without the list, out of the map alone.
    pub fn map(&self) -> Result<Contender> {
        let template = include_str!("configs/haproxy_map.cfg");
        self.contender("haproxy_map", Duty::Identify, template)
    }

    /// The configuration which only checks the key.
    pub fn bare(&self) -> Result<Contender> {
        let template = include_str!("configs/haproxy_bare.cfg");
        self.contender("haproxy_bare", Duty::Check, template)
    }

    /// The configuration which does not even look at the request.
    pub fn relay(&self) -> Result<Contender> {
        let template = include_str!("configs/l4.cfg");
        self.contender("l4", Duty::Relay, template)
    }

    fn contender(&self, name: &'static str, duty: Duty, template: &str) -> Result<Contender> {
        let address = free_address()?;
        let config = self.folder.join(format!("{name}.cfg"));
        let values = [
            ("@MAPS@", &*self.folder.to_string_lossy()),
            ("@LISTEN@", &address.to_string()),
            ("@UPSTREAM@", &self.upstream.to_string()),
        ];
        configure(&config, template, &values)?;
        let config = config.to_string_lossy();
        Ok(Contender {
            name,
            duty,
            address,
            admin: None,
            program: "haproxy".into(),
            arguments: ["-db", "-f", &config].map(String::from).into(),
            folder: self.folder.clone(),
        })
    }

    fn write_lines(
        &self,
        name: &str,
        credentials: &[Credential],
        line: impl Fn(&Credential) -> String,
    ) -> Result<()> {
        let lines = credentials.iter().map(|credential| line(credential) + "\n");
        Ok(fs::write(self.folder.join(name), lines.collect::<String>())?)
    }
}
