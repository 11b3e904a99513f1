//! Finds the primary: the host itself, whom Sentinel names, or who owns our slot in a cluster.

use std::time::Duration;

use futures_util::future::join_all;
use redis::{Cmd, Value};
use tokio::time::timeout;

use crate::config::{HostPort, RedisPlace, Topology};
use crate::store::redis::dial::{Dial, DialFault, Introduce};
use crate::store::redis::reply::{Malformed, Reply};
use crate::store::redis::text;

/// The primary, as far as those who were asked know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Primary {
    /// Where it is.
    pub host: HostPort,
    /// How many replicas it is said to have.
    pub replicas: u32,
}

/// Why there is no primary.
#[derive(Debug, thiserror::Error)]
pub enum PlaceFault {
    /// A server cannot be reached, or says no.
    #[error("{host}: {fault}")]
    Server {
        /// Which.
        host: HostPort,
        /// Why.
        fault: DialFault,
    },
    /// It took too long.
    #[error("{0}: it does not answer")]
    Silent(HostPort),
    /// No Sentinel knows it.
    #[error("no Sentinel knows a primary called {name:?} ({why})")]
    NoSentinel {
        /// Under this name.
        name: String,
        /// What the last one said.
        why: String,
    },
    /// No node of the cluster says who owns the slot.
    #[error("no node of the cluster says who owns our slot ({0})")]
    NoOwner(String),
}

/// Asks for the primary; whoever holds the key `ours`.
/// Nobody who is asked is waited for longer than `patience`.
pub async fn find(
    place: &RedisPlace,
    dial: &Dial,
    (ours, patience): (&str, Duration),
) -> Result<Primary, PlaceFault> {
    let patience = patience.min(ANSWER);
    match &place.topology {
        Topology::Standalone => {
            let host = place.hosts.first().cloned();
            let host = host.ok_or_else(|| PlaceFault::NoOwner("no host".to_owned()))?;
            Ok(Primary { host, replicas: 0 })
        }
        Topology::Sentinel(name) => by_sentinels(place, dial, (name, patience)).await,
        Topology::Cluster => by_cluster(place, dial, (ours, patience)).await,
    }
}

/// Asks all of them: one that was cut off may name a primary of the past.
async fn by_sentinels(
    place: &RedisPlace,
    dial: &Dial,
    (name, patience): (&str, Duration),
) -> Result<Primary, PlaceFault> {
    let asked = place.hosts.iter().map(|it| async move {
        match timeout(patience, ask_sentinel(dial, it, name)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(PlaceFault::Silent(it.clone())),
        }
    });
    let mut newest: Option<(u64, Primary)> = None;
    let mut why = "none was asked".to_owned();
    for answer in join_all(asked).await {
        match answer {
            Ok(it) if newest.as_ref().is_none_or(|(epoch, _)| *epoch < it.0) => newest = Some(it),
            Ok(_older) => {}
            Err(fault) => why = fault.to_string(),
        }
    }
    let none = || PlaceFault::NoSentinel { name: name.to_owned(), why };
    newest.map(|(_, it)| it).ok_or_else(none)
}

/// The primary, and in which epoch of Sentinel's own it became one.
async fn ask_sentinel(
    dial: &Dial,
    host: &HostPort,
    name: &str,
) -> Result<(u64, Primary), PlaceFault> {
    let mut command = redis::cmd("SENTINEL");
    command.arg("MASTER").arg(name);
    let said = match ask(dial, host, Introduce::No, &command).await {
        Err(PlaceFault::Server { fault: DialFault::Refused(it), .. })
            if it.code() == Some("NOAUTH") =>
        {
            ask(dial, host, Introduce::Yes, &command).await
        }
        said => said,
    }?;
    let malformed = |_| PlaceFault::NoSentinel {
        name: name.to_owned(),
        why: format!("{host} does not answer as a Sentinel does"),
    };
    read_sentinel(said).map_err(malformed)
}

fn read_sentinel(said: Value) -> Result<(u64, Primary), Malformed> {
    let mut fields = Reply::of(said)?;
    let (mut host, mut port, mut epoch, mut replicas) = (None, None, 0, 0);
    while let Some(field) = fields.maybe_bytes()? {
        let value = fields.bytes()?;
        match field.as_slice() {
            b"ip" => host = String::from_utf8(value).ok(),
            b"port" => port = Some(text::number(&value)?),
            b"config-epoch" => epoch = text::number(&value)?,
            b"num-slaves" => replicas = text::number(&value)?,
            _ => {}
        }
    }
    let (host, port) = (host.ok_or(Malformed)?, port.ok_or(Malformed)?);
    Ok((epoch, Primary { host: HostPort { host, port }, replicas }))
}

/// Asks all of them, and believes what most say: one that was cut off names an owner of the past.
async fn by_cluster(
    place: &RedisPlace,
    dial: &Dial,
    (ours, patience): (&str, Duration),
) -> Result<Primary, PlaceFault> {
    let asked = place.hosts.iter().map(|it| async move {
        match timeout(patience, ask_node(dial, it, ours)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(PlaceFault::Silent(it.clone())),
        }
    });
    let mut named: Vec<(Primary, usize)> = Vec::new();
    let mut why = "none was asked".to_owned();
    for answer in join_all(asked).await {
        match answer {
            Ok(primary) => match named.iter_mut().find(|(it, _)| it.host == primary.host) {
                Some((_, votes)) => *votes += 1,
                None => named.push((primary, 1)),
            },
            Err(fault) => why = fault.to_string(),
        }
    }
    // Of several with as many votes, the first: whoever was asked first said it.
    let most = named.into_iter().rev().max_by_key(|(_, votes)| *votes);
    most.map(|(it, _)| it).ok_or(PlaceFault::NoOwner(why))
}

async fn ask_node(dial: &Dial, host: &HostPort, ours: &str) -> Result<Primary, PlaceFault> {
    let server = |fault| PlaceFault::Server { host: host.clone(), fault };
    let mut node = dial.connect(host, Introduce::Yes).await.map_err(server)?;
    let mut slot = redis::cmd("CLUSTER");
    slot.arg("KEYSLOT").arg(ours);
    let mut slots = redis::cmd("CLUSTER");
    slots.arg("SLOTS");
    let slot = node.ask(&slot).await.map_err(server)?;
    let slots = node.ask(&slots).await.map_err(server)?;
    let owner = read_slots(&slot, slots, host).ok().flatten();
    let unknown = || PlaceFault::NoOwner(format!("{host} knows of no owner"));
    let (owner, id) = owner.ok_or_else(unknown)?;
    // The list of slots leaves out replicas that are away; they count all the same.
    let mut replicas = redis::cmd("CLUSTER");
    replicas.arg("REPLICAS").arg(id);
    let Value::Array(replicas) = node.ask(&replicas).await.map_err(server)? else {
        return Err(unknown());
    };
    let replicas = u32::try_from(replicas.len()).unwrap_or(u32::MAX);
    Ok(Primary { host: owner, replicas })
}

/// Who owns a slot: where it is, and its name in the cluster.
fn read_slots(
    slot: &Value,
    slots: Value,
    asked: &HostPort,
) -> Result<Option<(HostPort, String)>, Malformed> {
    let Value::Int(slot) = *slot else { return Err(Malformed) };
    let mut ranges = Reply::of(slots)?;
    while let Ok(range) = ranges.any() {
        let mut range = Reply::of(range)?;
        let (first, last) = (range.number()?, range.number()?);
        if !(first..=last).contains(&slot.cast_unsigned()) {
            continue;
        }
        let mut owner = range.inner()?;
        // A node that does not know its own address is the one that was asked.
        let host = owner.text().ok().filter(|it| !it.is_empty());
        let host = host.unwrap_or_else(|| asked.host.clone());
        let port = u16::try_from(owner.number()?).map_err(|_large| Malformed)?;
        return Ok(Some((HostPort { host, port }, owner.text()?)));
    }
    Ok(None)
}

async fn ask(
    dial: &Dial,
    host: &HostPort,
    introduce: Introduce,
    command: &Cmd,
) -> Result<Value, PlaceFault> {
    let server = |fault| PlaceFault::Server { host: host.clone(), fault };
    dial.connect(host, introduce).await.map_err(server)?.ask(command).await.map_err(server)
}

const ANSWER: Duration = Duration::from_millis(400);
