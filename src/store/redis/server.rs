//! Asks a Redis server what it is, and how it keeps what it is told.

use redis::Value;

use crate::store::redis::dial::{DialFault, Dialled};
use crate::store::redis::script::Dialect;

/// What a server says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// What its scripts may say.
    pub dialect: Dialect,
    /// Whether it takes writes.
    pub is_primary: bool,
    /// What it drops where memory is full.
    pub eviction: Eviction,
    /// When what it was told is on its disk.
    pub disk: Disk,
}

/// What is dropped where memory is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// Nothing.
    Off,
    /// What it likes: records too.
    On,
}

/// When a write is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// Before it is answered.
    Always,
    /// Within two seconds.
    EverySecond,
    /// When the system likes.
    Whenever,
    /// There is no append-only file.
    Never,
}

/// Asks it. How it writes its file, where an ACL user may not ask, is taken to be Redis's default.
pub async fn ask(dialled: &mut Dialled) -> Result<Server, DialFault> {
    let said = dialled.ask(&redis::cmd("INFO")).await?;
    let info = text(said);
    let field = |name: &str| {
        let mut lines = info.lines();
        lines.find_map(|it| it.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default().trim()
    };
    if field("loading") == "1" {
        return Err(DialFault::Loading);
    }
    let major: u32 =
        field("redis_version").split('.').next().unwrap_or_default().parse().unwrap_or(0);
    let disk = if field("aof_enabled") == "1" { fsync(dialled).await? } else { Disk::Never };
    Ok(Server {
        dialect: if major >= 7 { Dialect::Flagged } else { Dialect::Plain },
        is_primary: field("role") == "master",
        eviction: if field("maxmemory_policy") == "noeviction" {
            Eviction::Off
        } else {
            Eviction::On
        },
        disk,
    })
}

async fn fsync(dialled: &mut Dialled) -> Result<Disk, DialFault> {
    let mut command = redis::cmd("CONFIG");
    command.arg("GET").arg("appendfsync");
    let said = match dialled.ask(&command).await {
        // Not for this user.
        Err(DialFault::Refused(fault)) if fault.code().is_some() => return Ok(Disk::EverySecond),
        said => said?,
    };
    let Value::Array(said) = said else { return Ok(Disk::EverySecond) };
    Ok(match said.into_iter().nth(1).map(text).as_deref() {
        Some("always") => Disk::Always,
        Some("no") => Disk::Whenever,
        Some(_) | None => Disk::EverySecond,
    })
}

fn text(value: Value) -> String {
    let Value::BulkString(bytes) = value else { return String::new() };
    String::from_utf8_lossy(&bytes).into_owned()
}
