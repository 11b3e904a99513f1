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
    let (mut judged, mut placed) = (Moment::default(), Moment::now());
    let mut pace = Pace::default();
    loop {
        // Before the store was opened, nobody is in its register.
        if !client.identity().0.is_empty() {
            let looked = watcher.look_around(&client, &sight).await;
            watcher.failed = looked.is_err();
            watcher.mind_the_epoch(&client);
            let now = Moment::now();
            if now.since(placed) > PLACE_EVERY && !sight.is_attended() {
                placed = now;
                client.ask_for_the_place().await;
            }
            if looked.is_ok() && now.since(judged) > JUDGE_EVERY {
                judged = now;
                remove_silent(&client, &sight).await;
            }
        }
        match pace.rest(&sight, &watcher) {
            Rest::None => tokio::task::yield_now().await,
            Rest::For(rest) => sleep(rest).await,
            // Somebody waits, or the time is over: either way it is time to look.
            Rest::UntilAttended(longest) => drop(timeout(longest, sight.attended()).await),
        }
    }
}

/// How often is looked. Receipts come within a few milliseconds or much later; and where nobody
/// waits, all processes together look about as often, however many there are.
#[derive(Debug, Default)]
struct Pace {
    /// How many had begun to wait, and when that was seen.
    begun: u64,
    since: Moment,
}

/// How long to wait before the next look.
enum Rest {
    None,
    For(Duration),
    UntilAttended(Duration),
}

impl Pace {
    fn rest(&mut self, sight: &Sight, watcher: &Watcher) -> Rest {
        if !sight.is_attended() {
            let gateways = if watcher.is_calm() { watcher.entries.len() } else { 0 };
            let gateways = u32::try_from(gateways).unwrap_or(u32::MAX);
            let is_young = Moment::now().since(watcher.begun) < YOUNG_FOR;
            let haste = if is_young { HASTE } else { 1 };
            let longest = (LOOK_EVERY_EACH / haste).saturating_mul(gateways);
            let longest = longest.clamp(UNATTENDED_MIN / haste, UNATTENDED_MAX);
            return Rest::UntilAttended(longest);
        }
        let now = Moment::now();
        // Where many wait all the time, the looks that there are serve all of them.
        if sight.begun() != self.begun && sight.attentive() == 1 {
            (self.begun, self.since) = (sight.begun(), now);
        }
        match now.since(self.since) {
            waited if waited < EAGER_FOR && watcher.is_calm() => Rest::None,
            waited if waited < EAGER_FOR * 10 => Rest::For(LOOK_EVERY),
            _ => Rest::For(LOOK_EVERY * 5),
        }
    }
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Watcher {
    epoch: String,
    /// Since when that epoch is known.
    begun: Moment,
    moves: u64,
    entries: BTreeMap<GatewayId, Registered>,
    /// How often in a row another life was seen than is followed.
    strangers: u32,
    /// Whether the last look did.
    failed: bool,
}

impl Watcher {
    /// Looks until what is seen is whole: in a new life, and where somebody has left, all is read.
    async fn look_around(&mut self, client: &Client, sight: &Sight) -> Result<(), String> {
        for _ in 0..LOOKS_MAX {
            if self.look(client, sight).await? == Looked::Whole {
                break;
            }
        }
        Ok(())
    }

    async fn look(&mut self, client: &Client, sight: &Sight) -> Result<Looked, String> {
        let before = Moment::now();
        let looked = self.ask(client).await?;
        let now = Moment::now();
        if looked.epoch != self.epoch {
            sight.begin(&looked.epoch, now);
            // What had moved before is not known here.
            *self = Self { epoch: looked.epoch, begun: now, ..Self::default() };
            return Ok(Looked::Partly);
        }
        if looked.moves == self.moves {
            sight.unmoved(before);
            return Ok(Looked::Whole);
        }
        for entry in looked.entries {
            self.entries.insert(entry.card.id.clone(), entry);
        }
        if self.entries.len() as u64 != looked.count {
            (self.moves, self.entries) = (0, BTreeMap::new());
            return Ok(Looked::Partly);
        }
        self.moves = looked.moves;
        let entries = self.entries.values().cloned().collect();
        sight.show(Register { moves: self.moves, entries }, before, now);
        Ok(Looked::Whole)
    }

    /// Whether it sees what there is to see.
    fn is_calm(&self) -> bool {
        !self.failed && self.strangers == 0
    }

    async fn ask(&self, client: &Client) -> Result<Moved, String> {
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

/// Whether everything that is in the register was seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Looked {
    Whole,
    Partly,
}

struct Moved {
    epoch: String,
    moves: u64,
    count: u64,
    entries: Vec<Registered>,
}

fn read(mut reply: Reply) -> Result<Moved, Malformed> {
    let (epoch, moves) = (reply.text()?, reply.number()?);
    Ok(Moved { epoch, moves, count: reply.number()?, entries: entries(reply.list()?)? })
}

/// Entries of the register, each behind its id; in the order of their ids.
pub fn entries(pairs: Vec<Value>) -> Result<Vec<Registered>, Malformed> {
    let mut pairs = Reply::of(Value::Array(pairs))?;
    let mut entries = Vec::new();
    while let Some(id) = pairs.maybe_bytes()? {
        // One that has left meanwhile has no entry.
        entries.extend(pairs.maybe_bytes()?.map(|it| text::registered(&id, &it)));
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
/// As long as most receipts take.
const EAGER_FOR: Duration = Duration::from_millis(10);
const LOOK_EVERY_EACH: Duration = Duration::from_millis(50);
const UNATTENDED_MIN: Duration = Duration::from_millis(250);
const UNATTENDED_MAX: Duration = Duration::from_secs(10);
/// Whether everybody has come to a new life decides when it may be opened.
const YOUNG_FOR: Duration = Duration::from_secs(10);
const HASTE: u32 = 10;
const JUDGE_EVERY: Duration = Duration::from_millis(500);
const PLACE_EVERY: Duration = Duration::from_secs(5);
const LOOKS_MAX: usize = 3;
const STRANGERS_MAX: u32 = 4;
