//! Looks at the register: often while somebody waits for receipts, else now and then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::time::{sleep, timeout};

use crate::clock::Moment;
use crate::store::gateway::{GatewayId, Register, Registered};
use crate::store::redis::client::{Client, Way};
use crate::store::redis::reply::{Malformed, Reply};
use crate::store::redis::script::Operation;
use crate::store::redis::text::{self, bytes};
use crate::store::sight::Sight;

/// Looks and shows for as long as it is polled.
pub async fn run(client: Arc<Client>, sight: Arc<Sight>) {
    let mut watcher = Watcher::default();
    let mut judged = Moment::default();
    loop {
        // Before the store was opened, nobody is in its register.
        if !client.identity().0.is_empty() {
            let looked = watcher.look(&client, &sight).await;
            watcher.mind_the_epoch(&client);
            let now = Moment::now();
            if looked.is_ok() && now.since(judged) > JUDGE_EVERY {
                judged = now;
                remove_silent(&client, &sight).await;
            }
        }
        if sight.is_attended() {
            sleep(LOOK_EVERY).await;
        } else {
            // Nobody waits, or the time is over: either way it is time to look.
            drop(timeout(LOOK_EVERY_UNWATCHED, sight.attended()).await);
        }
    }
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Watcher {
    epoch: String,
    moves: u64,
    entries: BTreeMap<GatewayId, Registered>,
    /// How often in a row another life was seen than is followed.
    strangers: u32,
}

impl Watcher {
    async fn look(&mut self, client: &Client, sight: &Sight) -> Result<(), String> {
        let before = Moment::now();
        let looked = self.ask(client).await?;
        let now = Moment::now();
        if looked.epoch != self.epoch {
            sight.begin(&looked.epoch, now);
            *self = Self { epoch: looked.epoch, ..Self::default() };
            // What had moved before is not known here.
            return Ok(());
        }
        if looked.moves == self.moves {
            sight.unmoved(before);
            return Ok(());
        }
        for entry in looked.entries {
            self.entries.insert(entry.card.id.clone(), entry);
        }
        if self.entries.len() as u64 != looked.count {
            // Somebody has left: all is read again.
            (self.moves, self.entries) = (0, BTreeMap::new());
            return Ok(());
        }
        self.moves = looked.moves;
        let entries = self.entries.values().cloned().collect();
        sight.show(Register { moves: self.moves, entries }, before, now);
        Ok(())
    }

    async fn ask(&self, client: &Client) -> Result<Looked, String> {
        let asked = client.ask(Way::Read, Operation::Look, vec![bytes(&self.moves)]).await;
        let (reply, _live) = asked.map_err(|it| it.to_string())?;
        read(reply).map_err(|it| it.to_string())
    }

    /// Where this connection leads to another primary than the one that is followed, for longer than
    /// a change takes, one of the two is of the past: the primary is found anew.
    fn mind_the_epoch(&mut self, client: &Client) {
        let is_strange = client.followed().is_some_and(|it| *it != self.epoch);
        self.strangers = if is_strange { self.strangers + 1 } else { 0 };
        if self.strangers >= STRANGERS_MAX {
            self.strangers = 0;
            client.renew();
        }
    }
}

struct Looked {
    epoch: String,
    moves: u64,
    count: u64,
    entries: Vec<Registered>,
}

fn read(mut reply: Reply) -> Result<Looked, Malformed> {
    let (epoch, moves) = (reply.text()?, reply.number()?);
    Ok(Looked { epoch, moves, count: reply.number()?, entries: entries(reply.list()?)? })
}

/// Entries of the register, each behind its id; in the order of their ids.
pub fn entries(pairs: Vec<Value>) -> Result<Vec<Registered>, Malformed> {
    let mut pairs = Reply::of(Value::Array(pairs))?;
    let mut entries = Vec::new();
    while let Some(id) = pairs.maybe_bytes()? {
        entries.push(text::registered(&id, &pairs.bytes()?)?);
    }
    entries.sort_by(|a, b| a.card.id.cmp(&b.card.id));
    Ok(entries)
}

/// Takes out whoever has been silent for too long, unless it has moved in the meantime.
async fn remove_silent(client: &Client, sight: &Sight) {
    for (gateway, beat) in sight.silent() {
        let arguments = vec![bytes(&gateway.0), bytes(&beat)];
        let left = client.ask(Way::Write, Operation::Leave, arguments).await;
        if let Err(fault) = left {
            tracing::debug!(%fault, "a gateway that is gone could not be taken out of the register");
        }
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(1);
const LOOK_EVERY_UNWATCHED: Duration = Duration::from_millis(250);
const JUDGE_EVERY: Duration = Duration::from_millis(500);
const STRANGERS_MAX: u32 = 4;
