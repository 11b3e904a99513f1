//! Follows the changes: enters the register, finds its way after a change of primary, leaves.

use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::Value;
use tokio::time::{sleep, timeout};

use crate::clock::Timestamp;
use crate::store::gateway::GatewayId;
use crate::store::redis::Redis;
use crate::store::redis::client::Way;
use crate::store::redis::link::LinkFault;
use crate::store::redis::reply::Malformed;
use crate::store::redis::script::{Operation, alarm};
use crate::store::redis::supervisor::Live;
use crate::store::redis::text::{self, bytes};
use crate::store::{
    Beat, CHANGES_PER_SYNC_MAX, Change, Entered, Heard, Held, Left, More, Opened, Position, Synced,
    Unavailable,
};

impl Redis {
    /// Enters the gateway, what it has applied and a new beat into the register, and reads the
    /// changes after that. It counts once as many replicas hold it as have to.
    pub async fn sync(&self, beat: Beat) -> Result<Synced, Unavailable> {
        let Beat { mut card, position: Position { epoch, number, nonce }, heard } = beat;
        let wanted = self.wanted().await?;
        card.replicas = wanted;
        let json = serde_json::to_vec(&card).map_err(|it| Unavailable(it.to_string()))?;
        let (heard_number, heard_nonce) = heard.unwrap_or_default();
        let arguments = vec![
            bytes(&card.id.0),
            epoch.into_bytes(),
            bytes(&number),
            text::nonce(nonce).into_bytes(),
            json,
            bytes(&(CHANGES_PER_SYNC_MAX + 1)),
            bytes(&heard_number),
            text::nonce(heard_nonce).into_bytes(),
        ];
        let (mut reply, live) = self.client.once(Way::Sync, Operation::Sync, arguments).await?;
        let (word, epoch) = (reply.text()?, reply.text()?);
        if self.client.set_followed(&epoch) {
            // The other connections may lead to another primary; and this one may keep less.
            self.client.renew_others();
            self.sight.nudge();
        }
        if word != "followed" {
            return Ok(Synced::Lost { epoch });
        }
        let heard = match (heard, reply.number()?) {
            (None, _) => Heard::Nothing,
            (Some(_), 1) => Heard::Stands,
            (Some(_), _) => Heard::Unknown,
        };
        let opened = if reply.number()? == 1 { Opened::Yes } else { Opened::No };
        if reply.number()? > 0 {
            self.is_known_everywhere.store(false, Ordering::Relaxed);
            self.sight.nudge();
        }
        let mut time = reply.inner()?;
        let micros = time.number()?.saturating_mul(1_000_000).saturating_add(time.number()?);
        let time = Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX));
        let changes = reply.list()?.into_iter().map(text::change);
        let mut changes = changes.collect::<Result<Vec<_>, _>>()?;
        let held = match self.client.held(Way::Sync, &live, wanted).await {
            Ok(held) if held >= wanted => Held::Enough,
            Ok(_) | Err(_) => Held::TooFew,
        };
        if held == Held::TooFew {
            // Perhaps it is a primary of the past: those who know are asked.
            self.client.link(Way::Sync).give_up(&live);
        }
        let more = if changes.len() > CHANGES_PER_SYNC_MAX { More::Yes } else { More::End };
        changes.truncate(CHANGES_PER_SYNC_MAX);
        let entered = self.entered(&live).await;
        Ok(Synced::Followed { heard, changes, more, opened, entered, held, time })
    }

    /// Whether every replica that there is holds this gateway's entry; once it does, it stays.
    async fn entered(&self, live: &Live) -> Entered {
        let all = self.client.named();
        if !self.is_known_everywhere.load(Ordering::Relaxed) {
            let held = self.client.held_within(Way::Sync, live, (all, ENTRY_WAIT)).await;
            if !held.is_ok_and(|it| it >= all) {
                return Entered::Here;
            }
            self.is_known_everywhere.store(true, Ordering::Relaxed);
        }
        Entered::Everywhere
    }

    /// How many replicas have to hold what this process writes.
    async fn wanted(&self) -> Result<u32, Unavailable> {
        // Nobody has named any before the primary was looked for.
        let live = timeout(self.client.response_timeout(), self.client.link(Way::Sync).live());
        let silent = || Unavailable("it did not answer in time".to_owned());
        drop(live.await.map_err(|_elapsed| silent())??);
        Ok(self.wanted_of(self.client.named()))
    }

    /// The newest of these places, which are in the order from new to old, that stands in the
    /// changes of the present life.
    pub async fn common(&self, places: &[(u64, u64)]) -> Result<Option<Position>, Unavailable> {
        for piece in places.chunks(PLACES_AT_ONCE_MAX) {
            let values = piece
                .iter()
                .flat_map(|(number, nonce)| [bytes(&number), text::nonce(*nonce).into_bytes()]);
            let values: Vec<_> = values.collect();
            let (mut reply, live) = self.client.ask(Way::Write, Operation::Common, values).await?;
            let epoch = reply.text()?;
            self.client.check_write(&epoch, &live)?;
            // None: -1.
            let Ok(at) = reply.number() else { continue };
            let found = usize::try_from(at).ok().and_then(|it| piece.get(it));
            let &(number, nonce) = found.ok_or(Malformed)?;
            return Ok(Some(Position { epoch, number, nonce }));
        }
        Ok(None)
    }

    /// From now on leases are given in this life of the store.
    pub async fn open_epoch(&self, epoch: &str) -> Result<(), Unavailable> {
        let arguments = vec![epoch.as_bytes().to_vec()];
        let (mut reply, live) = self.client.ask(Way::Write, Operation::Open, arguments).await?;
        if reply.number()? == 0 {
            self.client.link(Way::Write).give_up(&live);
            return Err(Unavailable("it has another primary than is followed".to_owned()));
        }
        Ok(())
    }

    /// Resolves when the changes may end elsewhere than at `after`, or at the latest after
    /// `longest`, with what it heard.
    pub async fn alarm(&self, after: &Position, longest: Duration) -> Vec<Change> {
        let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX).max(1);
        let command = alarm(self.client.names().changes(), after.number, millis);
        let link = self.client.link(Way::Sync);
        let rung = async {
            let live = timeout(longest, link.live()).await;
            let live = live.unwrap_or_else(|_elapsed| Err(LinkFault::Refused(String::new())))?;
            let limit = longest + self.client.response_timeout();
            match timeout(limit, link.send(&live, &command)).await {
                Ok(rung) => rung,
                Err(_elapsed) => {
                    link.give_up(&live);
                    Ok(Value::Nil)
                }
            }
        };
        // Whatever happened, and whatever cannot be read, is found out by the sync that follows.
        match rung.await {
            Ok(rung) => text::heard(rung).unwrap_or_default(),
            Err(_fault) => {
                sleep(PAUSE_AFTER_FAULT).await;
                Vec::new()
            }
        }
    }

    /// Takes a gateway out of the register, if its beat is this one.
    pub async fn leave(&self, gateway: &GatewayId, beat: Option<u64>) -> Result<Left, Unavailable> {
        let beat = beat.map_or_else(Vec::new, |it| bytes(&it));
        let arguments = vec![bytes(&gateway.0), beat];
        let (mut reply, _live) = self.client.ask(Way::Write, Operation::Leave, arguments).await?;
        Ok(if reply.number()? == 0 { Left::Unknown } else { Left::Now })
    }
}

/// While a replica is away, the next sync asks again.
const ENTRY_WAIT: Duration = Duration::from_millis(100);
const PAUSE_AFTER_FAULT: Duration = Duration::from_millis(50);

/// How many places are asked for at once: most often the first one is it.
const PLACES_AT_ONCE_MAX: usize = 512;
