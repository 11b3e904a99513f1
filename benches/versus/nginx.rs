//! nginx as a contender.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::contender::{AccessLog, Contender, Duty, Limits, configure};
use crate::credential::Credential;
use crate::stand::{Stand, free_address};

/// The configurations which nginx competes with.
pub struct Nginx {
    folder: PathBuf,
    upstream: SocketAddr,
}

impl Nginx {
    /// Writes the maps from keys to their holders.
    pub fn new(stand: &Stand, credentials: &[Credential]) -> Result<Self> {
        let folder = stand.folder("nginx")?;
        write_map(&folder.join("ids.map"), credentials, |it| (&it.key, &it.id))?;
        write_map(&folder.join("names.map"), credentials, |it| (&it.id, &it.name))?;
        write_map(&folder.join("owners.map"), credentials, |it| (&it.id, &it.owner))?;
        Ok(Self { folder, upstream: stand.upstream })
    }

    /// The configuration which does what Keyward does, under any name. Where keys have limits, it
    /// says the same and counts nothing.
    pub fn full(
        &self,
        name: &'static str,
        access_log: AccessLog,
        limits: Limits,
    ) -> Result<Contender> {
        let said = match limits {
            Limits::None => "",
            Limits::Rate => SAID,
        };
        self.counting(name, access_log, ("", said))
    }

    /// The same, which counts by key.
    pub fn limited(&self, access_log: AccessLog) -> Result<Contender> {
        let counted = format!("limit_req zone=keys burst=1000000 nodelay; {SAID}");
        self.counting("nginx_limit_req", access_log, (ZONE, &counted))
    }

    fn counting(
        &self,
        name: &'static str,
        access_log: AccessLog,
        (zone, limits): (&str, &str),
    ) -> Result<Contender> {
        // Standard output goes to a file which is emptied at each start, as Keyward's does.
        let access_log = match access_log {
            AccessLog::Off => "off",
            AccessLog::On => "/dev/stdout keyed buffer=64k",
        };
        let template = include_str!("configs/nginx.conf")
            .replace("@ACCESS_LOG@", access_log)
            .replace("@LIMIT_ZONE@", zone)
            .replace("@LIMITS@", limits);
        self.contender(name, Duty::Identify, &template)
    }

    /// The configuration which only checks the key.
    pub fn bare(&self) -> Result<Contender> {
        self.contender("nginx_bare", Duty::Check, include_str!("configs/nginx_bare.conf"))
    }

    fn contender(&self, name: &'static str, duty: Duty, template: &str) -> Result<Contender> {
        let address = free_address()?;
        let config = self.folder.join(format!("{name}-{}.conf", address.port()));
        let folder = self.folder.to_string_lossy();
        let values = [
            ("@NAME@", name),
            ("@FOLDER@", &folder),
            ("@MAPS@", &*folder),
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
            program: "nginx".into(),
            arguments: ["-e", "stderr", "-c", &config].map(String::from).into(),
            folder: self.folder.clone(),
        })
    }
}

/// Room for every key, and a rate that nobody exceeds.
const ZONE: &str = "limit_req_zone $key_id zone=keys:16m rate=1000000r/s;";

/// As long as what Keyward says.
const SAID: &str = r#"add_header ratelimit-policy '"rate";q=1000000;w=1' always;
            add_header ratelimit '"rate";r=$request_length;t=1' always;"#;

fn write_map(
    path: &Path,
    credentials: &[Credential],
    pair: impl Fn(&Credential) -> (&str, &str),
) -> Result<()> {
    let lines = credentials.iter().map(|credential| {
        let (from, to) = pair(credential);
        format!("{from} {to};\n")
    });
    Ok(fs::write(path, lines.collect::<String>())?)
}
