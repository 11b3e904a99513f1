//! A gateway as Redis sees it: it runs the real scripts to follow the changes and to watch the
//! register, confirms changes at once, and serves nobody.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::connection::{Connection, Value};

/// Followers on threads of their own. They end when this is dropped.
pub struct Followers {
    stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

struct Follower {
    connection: Connection,
    script: String,
    identity: String,
    id: String,
    card: String,
    epoch: String,
    /// Number and nonce of what it has applied.
    place: (String, String),
    /// The same of what it has heard behind that.
    heard: Option<(String, String)>,
}

impl Followers {
    /// So many, all like the one that is in the register.
    pub fn start(count: usize, address: SocketAddr) -> Result<Self> {
        let stopped = Arc::<AtomicBool>::default();
        let mut threads = Vec::new();
        let pause = LOOK_EVERY_EACH * u32::try_from(count)?;
        let pause = pause.clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX);
        for number in 0..count {
            let follower = Follower::new(number, address)?;
            let watcher = Watcher::new(&follower.identity, address, pause)?;
            let [one, other] = [Arc::clone(&stopped), Arc::clone(&stopped)];
            threads.push(thread::spawn(move || follower.run(&one)));
            threads.push(thread::spawn(move || watcher.run(&other)));
        }
        Ok(Self { stopped, threads })
    }

    /// Ends all; how it went.
    pub fn end(mut self) -> Result<()> {
        self.stopped.store(true, Ordering::Relaxed);
        for it in self.threads.drain(..) {
            it.join().map_err(|_panic| anyhow!("a follower panicked"))??;
        }
        Ok(())
    }
}

impl Drop for Followers {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// Looks at what has moved in the register, as every gateway does.
struct Watcher {
    connection: Connection,
    script: String,
    identity: String,
    moves: String,
    pause: Duration,
}

impl Watcher {
    fn new(identity: &str, address: SocketAddr, pause: Duration) -> Result<Self> {
        let mut connection = Connection::open(address)?;
        let (script, identity) = (load(&mut connection, LOOK)?, identity.to_owned());
        Ok(Self { connection, script, identity, moves: "0".to_owned(), pause })
    }

    fn run(mut self, stopped: &AtomicBool) -> Result<()> {
        while !stopped.load(Ordering::Relaxed) {
            let mut words = vec!["EVALSHA", &*self.script, "9"];
            words.extend(KEYS);
            words.extend([&*self.identity, &*self.moves]);
            let moves = self.connection.ask(&[&words])?.at(1)?.text()?.to_owned();
            self.moves = moves;
            thread::sleep(self.pause);
        }
        Ok(())
    }
}

impl Follower {
    fn new(number: usize, address: SocketAddr) -> Result<Self> {
        let mut connection = Connection::open(address)?;
        let script = load(&mut connection, SYNC)?;
        let identity = connection.ask(&[&["HGET", "{kw}:meta", "identity"]])?.text()?.to_owned();
        let entries = connection.ask(&[&["HVALS", "{kw}:gateways"]])?;
        // Epoch, number, nonce, beat, card.
        let entry: Vec<&str> = entries.at(0)?.text()?.splitn(5, ' ').collect();
        let [epoch, place, nonce, _beat, card] = entry[..] else {
            return Err(anyhow!("an entry of the register is {entry:?}"));
        };
        let mut card: serde_json::Value = serde_json::from_str(card)?;
        let id = format!("simulated-{number}");
        card["id"] = id.clone().into();
        let (epoch, place) = (epoch.to_owned(), (place.to_owned(), nonce.to_owned()));
        let (card, heard) = (card.to_string(), None);
        Ok(Self { connection, script, identity, id, card, epoch, place, heard })
    }

    fn run(mut self, stopped: &AtomicBool) -> Result<()> {
        while !stopped.load(Ordering::Relaxed) {
            if self.sync()? {
                self.hear()?;
            }
        }
        let leave = [&["HDEL", "{kw}:gateways", &self.id][..], &["ZREM", "{kw}:beats", &self.id]];
        self.connection.ask(&leave).map(drop)
    }

    /// Waits for the alarm clock, and keeps where what it brings ends.
    fn hear(&mut self) -> Result<()> {
        let after = format!("{}-0", self.place.0);
        let words = ["XREAD", "COUNT", "16", "BLOCK", ALARM_MS, "STREAMS", "{kw}:changes", &after];
        let answer = self.connection.ask(&[&words])?;
        // In time, or nothing: the stream's name and its entries.
        if let Ok(stream) = answer.at(0) {
            self.heard = place(stream.at(1)?)?;
        }
        Ok(())
    }

    /// Whether there was nothing new.
    fn sync(&mut self) -> Result<bool> {
        let Self { script, identity, id, card, epoch, place: (number, nonce), .. } = self;
        let nothing = ("0".to_owned(), "0".to_owned());
        let (heard, mark) = self.heard.as_ref().unwrap_or(&nothing);
        let mut words = vec!["EVALSHA", script, "9"];
        words.extend(KEYS);
        words.extend([&**identity, id, epoch, number, nonce, card, "1001", heard, mark]);
        let answer = self.connection.ask(&[&words])?;
        anyhow::ensure!(answer.at(0)?.text()? == "followed", "{answer:?}");
        let behind = place(answer.at(6)?)?;
        let is_quiet = behind.is_none();
        if let Some(reached) = behind.or_else(|| self.heard.take()) {
            self.place = reached;
        }
        self.heard = None;
        Ok(is_quiet)
    }
}

/// Number and nonce of the last of these changes.
fn place(changes: &Value) -> Result<Option<(String, String)>> {
    let Some(last) = changes.list()?.last() else { return Ok(None) };
    let number = last.at(0)?.text()?.split('-').next().context("a number")?.to_owned();
    Ok(Some((number, last.at(1)?.at(1)?.text()?.to_owned())))
}

fn load(connection: &mut Connection, script: &str) -> Result<String> {
    let text = format!("#!lua flags=allow-oom\n{BEGIN}\n{script}");
    Ok(connection.ask(&[&["SCRIPT", "LOAD", &text]])?.text()?.to_owned())
}

impl Value {
    /// Whether the register holds so many.
    pub fn is_count(&self, count: usize) -> bool {
        matches!(self, Self::Number(found) if usize::try_from(*found) == Ok(count))
    }
}

const BEGIN: &str = include_str!("../../src/store/redis/scripts/begin.lua");
const SYNC: &str = include_str!("../../src/store/redis/scripts/sync.lua");
const LOOK: &str = include_str!("../../src/store/redis/scripts/look.lua");
const KEYS: [&str; 9] = [
    "{kw}:meta",
    "{kw}:records",
    "{kw}:changes",
    "{kw}:gateways",
    "{kw}:order",
    "{kw}:operators",
    "{kw}:audit",
    "{kw}:used",
    "{kw}:beats",
];

/// A quarter of the lease.
const ALARM_MS: &str = "500";

/// While nobody waits for receipts there, for each gateway that there is.
const LOOK_EVERY_EACH: Duration = Duration::from_millis(50);
const LOOK_EVERY_MIN: Duration = Duration::from_millis(250);
const LOOK_EVERY_MAX: Duration = Duration::from_secs(10);
