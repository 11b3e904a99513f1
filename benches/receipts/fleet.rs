//! Gateways and an admin node on one Redis, and somebody who operates them.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::contender::{Contender, Duty, configure};
use crate::http::{Connection, request};
use crate::process::{Cores, Process};
use crate::redis::Server;
use crate::stand::{Stand, free_address};

/// All its processes.
pub struct Fleet {
    /// Where the gateways serve.
    pub gateways: Vec<SocketAddr>,
    node: SocketAddr,
    token: String,
    _processes: Vec<Process>,
}

/// Somebody at the node, over one connection.
pub struct Operator {
    connection: Connection,
    headers: [(&'static str, String); 3],
}

impl Fleet {
    /// Starts so many gateways and the node.
    pub fn start(stand: &Stand, binary: &Path, redis: &Server, gateways: usize) -> Result<Self> {
        let common = stand.folder("common")?;
        let pepper = common.join("fleet.pepper");
        if !pepper.exists() {
            fs::write(&pepper, PEPPER)?;
        }
        let (mut addresses, mut processes) = (Vec::new(), Vec::new());
        let mut node = None;
        let token = common.join(format!("operator-{}.token", redis.address.port()));
        for number in 0..=gateways {
            let folder = stand.folder(&format!("{}-{number}", redis.address.port()))?;
            if token.exists() {
                fs::copy(&token, folder.join("operator.token"))?;
            }
            let [listen, admin] = [free_address()?, free_address()?];
            let is_node = number == gateways;
            let listening =
                if is_node { String::new() } else { format!("{:?}", listen.to_string()) };
            let values = [
                ("@LISTEN@", &*listening),
                ("@ADMIN@", &admin.to_string()),
                ("@REDIS@", &redis.url()),
                ("@PEPPER@", &pepper.display().to_string()),
                ("@UPSTREAM@", &stand.upstream.to_string()),
            ];
            configure(&folder.join("keyward.toml"), include_str!("keyward.toml"), &values)?;
            let config = folder.join("keyward.toml").display().to_string();
            let contender = Contender {
                name: "keyward",
                duty: Duty::Check,
                address: listen,
                admin: Some(admin),
                program: binary.to_owned(),
                arguments: ["serve", "--config", &config].map(String::from).into(),
                folder: folder.clone(),
            };
            processes.push(contender.start(Cores::Any)?);
            fs::copy(folder.join("operator.token"), &token)?;
            if is_node { node = Some(admin) } else { addresses.push(listen) }
        }
        let token = fs::read_to_string(token)?.trim().to_owned();
        let node = node.ok_or_else(|| anyhow::anyhow!("no node"))?;
        Ok(Self { gateways: addresses, node, token, _processes: processes })
    }

    pub fn operator(&self) -> Result<Operator> {
        let headers = [
            ("host", self.node.to_string()),
            ("authorization", format!("Bearer {}", self.token)),
            ("content-type", "application/json".to_owned()),
        ];
        Ok(Operator { connection: Connection::open(self.node)?, headers })
    }
}

impl Operator {
    /// Mints a key: its id and its plaintext.
    pub fn mint(&mut self) -> Result<(String, String)> {
        let (status, document) = self.call("POST /v1/keys", r#"{"name":"bench"}"#)?;
        ensure!(status == 201, "minting got {status}: {document}");
        let text = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
        Ok((text("id"), text("key")))
    }

    /// Revokes a key, and expects a complete answer from so many.
    pub fn revoke(&mut self, id: &str, followers: usize) -> Result<()> {
        let (status, document) = self.call(&format!("DELETE /v1/keys/{id}"), "")?;
        ensure!(status == 200, "revoking got {status}: {document}");
        let receipts = document["propagation"]["gateways"].as_array().map_or(0, Vec::len);
        ensure!(receipts == followers, "{receipts} receipts: {document}");
        Ok(())
    }

    fn call(&mut self, line: &str, body: &str) -> Result<(u16, Value)> {
        let headers = self.headers.each_ref().map(|(name, value)| (*name, &**value));
        let answer = self.connection.send(&request(line, &headers, body))?;
        Ok((answer.status, serde_json::from_str(&answer.body)?))
    }
}

const PEPPER: [u8; 32] = [7; 32];
