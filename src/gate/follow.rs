//! Keeps the keyring true: loads every record, follows every change, confirms what was applied.
//!
//! One task does all of it, so that what it reads is applied in the order in which it was read,
//! and a page of the load can never overtake a change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::Moment;
use crate::gate::crossing::{Crossing, Ring};
use crate::gate::intake::{Intake, Read};
use crate::gate::keyring::Keyring;
use crate::gate::lease::Standing;
use crate::store::gateway::GatewayCard;
use crate::store::sight::Watched;
use crate::store::{
    Beat, Change, Heard, Held, More, Opened, PageMark, Position, Synced, Unavailable,
};
use crate::tasks::Tasks;

/// Follows the store until told to stop, then leaves the register. Everyone there is told whether
/// this gateway is `draining`.
pub async fn run(
    keyring: Arc<Keyring>,
    card: GatewayCard,
    draining: Arc<AtomicBool>,
    tasks: Tasks,
) {
    let mut follower = Follower { draining, ..Follower::new(keyring, card) };
    let mut said = None;
    while !tasks.is_stopped() {
        // A step may be dropped anywhere: what it did not confirm, nobody counts on.
        let step = tokio::select! {
            step = follower.step() => step,
            () = tasks.stopped() => break,
        };
        if let Err(fault) = step {
            let now = Moment::now();
            if said.is_none_or(|it| now.since(it) >= SAID_AGAIN_AFTER) {
                said = Some(now);
                tracing::warn!(%fault, "following the store fails; without it the lease runs out");
            }
            tokio::time::sleep(PAUSE_AFTER_FAULT).await;
        }
    }
    follower.leave().await;
}

/// One gateway's way through the changes.
pub struct Follower {
    keyring: Arc<Keyring>,
    card: GatewayCard,
    draining: Arc<AtomicBool>,
    intake: Intake,
    /// What was applied; `None`: nothing yet.
    position: Option<Position>,
    /// What was applied behind that, and is confirmed once a sync has found it there.
    heard: Vec<Change>,
    load: Load,
    /// What was applied last, to find it again after a change of primary.
    ring: Ring,
    /// Who else followed the store when this gateway last got a lease.
    fellows: Option<Arc<[Watched]>>,
    /// Whether what is known may be, until all was read again.
    is_stale: bool,
    /// Between two lives of the store.
    crossing: Option<Crossing>,
}

/// How far the load has come.
enum Load {
    /// The next page comes after this.
    Pages(Option<PageMark>),
    /// All was read.
    Done,
    /// All has to be read again: changes may have been missed.
    Again,
}

impl Follower {
    /// Has applied nothing yet.
    pub fn new(keyring: Arc<Keyring>, card: GatewayCard) -> Self {
        Self {
            intake: Intake::new(Arc::clone(&keyring)),
            keyring,
            card,
            draining: Arc::default(),
            position: None,
            heard: Vec::new(),
            load: Load::Pages(None),
            ring: Ring::default(),
            fellows: None,
            is_stale: false,
            crossing: None,
        }
    }

    /// Takes the gateway out of the register. Nobody waits for it any more, so what still runs here
    /// lets nobody in.
    pub async fn leave(self) {
        self.keyring.lease().surrender();
        if let Err(fault) = self.keyring.store().leave(&self.card.id, None).await {
            tracing::warn!(%fault, "this gateway could not leave the register; it will be missed for a while");
        }
    }

    /// One sync, and what follows from it.
    pub async fn step(&mut self) -> Result<(), Unavailable> {
        if matches!(self.load, Load::Again) {
            self.read_again().await?;
        }
        let position = self.start().await?;
        let sent = Moment::now();
        let heard = self.heard.last().map(|it| (it.number, it.nonce));
        let beat = Beat { card: self.card(), position, heard };
        let (heard, changes, more, opened, held) = match self.keyring.store().sync(beat).await? {
            Synced::Followed { heard, changes, more, opened, entered, held, time } => {
                self.keyring.lease().set_clock(sent, time);
                self.keyring.lease().set_entered(entered);
                (heard, changes, more, opened, held)
            }
            Synced::Lost { epoch } => return self.cross(epoch).await,
        };
        let applied = std::mem::take(&mut self.heard);
        match heard {
            Heard::Stands => {
                self.take_over(&applied).await?;
                self.advance(applied);
            }
            Heard::Unknown if applied.is_empty() => {}
            // What was heard is of another past: the store is offered what it lacks of that.
            Heard::Unknown => {
                self.load = Load::Again;
                return Ok(());
            }
        }
        let quiet = changes.is_empty();
        self.apply(changes).await?;
        if held == Held::TooFew {
            return Err(Unavailable("too few replicas hold what it is told".to_owned()));
        }
        if more == More::Yes {
            return Ok(());
        }
        match opened {
            Opened::Yes => {
                self.crossing = None;
                self.ring.forgive();
                self.remember_fellows();
                self.keyring.lease().renew(sent);
            }
            Opened::No => self.open().await?,
        }
        if quiet {
            self.go_on().await?;
        }
        Ok(())
    }

    /// The store does not know the place to which this gateway has followed it. In another life the
    /// newest place that both know is where they go on from; what this gateway has applied since is
    /// offered. Where there is none, all is read again.
    async fn cross(&mut self, epoch: String) -> Result<(), Unavailable> {
        let is_new = self.position.as_ref().is_some_and(|it| it.epoch != epoch);
        self.ring.owe(std::mem::take(&mut self.heard));
        if !is_new {
            self.load = Load::Again;
            return Ok(());
        }
        if self.crossing.as_ref().is_none_or(|it| !it.leads_to(&epoch)) {
            tracing::warn!(
                "the store began another life: its primary restarted, or is another one"
            );
            self.crossing = Some(Crossing::new(&epoch, self.fellows.take(), &self.keyring));
            self.keyring.entries().overtake_fills();
        }
        let common = self.keyring.store().common(&self.ring.places()).await?;
        // Until it has come back from a life that goes on, it may be lost once more.
        self.ring.owe_behind(common.as_ref().map_or(0, |it| it.number));
        self.keyring.offer_rows(self.ring.owed()).await?;
        let Some(common) = common else {
            self.load = Load::Again;
            return Ok(());
        };
        if let Load::Pages(after) = &mut self.load {
            *after = None;
        }
        // In another past the same numbers were other changes.
        self.intake.forget_closed(common.number);
        self.position = Some(common);
        Ok(())
    }

    /// Who has to be there again, after a change of primary, before leases are given: everybody who
    /// may know what this gateway knows.
    fn remember_fellows(&mut self) {
        let seen = self.keyring.store().sight().watch();
        let seen = seen.borrow();
        if self.position.as_ref().is_some_and(|it| *it.epoch == *seen.epoch) {
            self.fellows = Some(Arc::clone(&seen.entries));
        }
    }

    /// Nobody gives leases in this life yet. Once everybody has brought what the life before may
    /// have lost, or had the time to, they may be given.
    async fn open(&mut self) -> Result<(), Unavailable> {
        let Some(position) = &self.position else { return Ok(()) };
        let epoch = position.epoch.clone();
        let crossing = self.crossing.get_or_insert_with(|| Crossing::fresh(&epoch));
        if crossing.may_open(&self.keyring, Moment::now()) {
            self.keyring.store().open_epoch(&epoch).await?;
            tracing::info!("the store's new life is open");
        }
        Ok(())
    }

    /// The store has another past than this gateway: changes were missed, and what is known may be
    /// stale. Until all was read again nothing is confirmed, and the lease is not renewed. What is
    /// known stays and merges: what was revoked stays revoked, and what the store has lost is
    /// offered to it.
    async fn read_again(&mut self) -> Result<(), Unavailable> {
        if !std::mem::replace(&mut self.is_stale, true) {
            tracing::warn!(
                "the store's changes do not go on from what this gateway knows: reading all again"
            );
            self.keyring.entries().set_stale();
        }
        // Which life is read, a sync says: it may be another one by now.
        let position = self.start().await?;
        let beat = Beat { card: self.card(), position, heard: None };
        drop(self.keyring.store().sync(beat).await?);
        let position = self.keyring.store().ticket().await?.position;
        match self.intake.all(self.scope()).await? {
            Read::Everything => self.finish_load(),
            Read::Known => (self.load, self.is_stale) = (Load::Pages(None), false),
        }
        // In another past the same numbers were other changes.
        self.intake.forget_closed(0);
        self.ring.begin(&position);
        self.position = Some(position);
        Ok(())
    }

    /// What may be taken over from pages. While somebody may be let in here by a lease of the life
    /// before, and this one lacks what was lost with it, nothing of a key that is not known here: that
    /// it was revoked may be what is lost.
    fn scope(&self) -> Read {
        match (&self.crossing, self.keyring.lease().standing(Moment::now())) {
            (Some(_), Standing::Held | Standing::ServingKnown) => Read::Known,
            (Some(_), Standing::Lost) | (None, _) => Read::Everything,
        }
    }

    /// Where to follow from: the end of the changes, taken before the load begins.
    async fn start(&mut self) -> Result<Position, Unavailable> {
        if let Some(position) = &self.position {
            return Ok(position.clone());
        }
        let end = self.keyring.store().ticket().await?.position;
        self.ring.begin(&end);
        self.position = Some(end.clone());
        Ok(end)
    }

    /// Applies changes in order; only the next sync confirms. Of a newer format neither the change nor
    /// what comes after it is confirmed, though it is applied: a key that is revoked behind it is not
    /// let in.
    async fn apply(&mut self, changes: Vec<Change>) -> Result<(), Unavailable> {
        #[cfg(feature = "seeded-bugs")]
        self.confirm_too_soon(&changes).await?;
        self.take_over(&changes).await?;
        let newer_format = changes.iter().position(|it| it.row.sealed.is_newer());
        let understood = newer_format.unwrap_or(changes.len());
        self.advance(changes.into_iter().take(understood).collect());
        if newer_format.is_some() {
            tracing::error!(
                "a change was written by a newer version: update this gateway, it cannot confirm"
            );
            tokio::time::sleep(self.keyring.lease().length() / 4).await;
        }
        Ok(())
    }

    /// Takes changes into the keyring. What has to be left out is read once it can be trusted.
    async fn take_over(&mut self, changes: &[Change]) -> Result<(), Unavailable> {
        let (read, newer) = self.intake.changes(changes, self.scope()).await;
        if read == Read::Known && matches!(self.load, Load::Done) {
            self.load = Load::Pages(None);
        }
        self.keyring.offer(&newer).await
    }

    /// What was applied is where this gateway goes on from.
    fn advance(&mut self, applied: Vec<Change>) {
        if let (Some(position), Some(last)) = (&mut self.position, applied.last()) {
            (position.number, position.nonce) = (last.number, last.nonce);
        }
        self.ring.extend(applied);
    }

    /// Applies what the alarm clock brought, so that one sync both finds it in the past that this
    /// gateway follows and confirms it. What does not go on from here is left to the sync alone; and of
    /// a key that is not known here, all but that it exists: in which life it was said, nobody knows.
    async fn hear(&mut self, after: u64, heard: Vec<Change>) -> Result<(), Unavailable> {
        let goes_on = heard.iter().zip(after + 1..).all(|(it, number)| it.number == number);
        if !goes_on || heard.iter().any(|it| it.row.sealed.is_newer()) {
            return Ok(());
        }
        #[cfg(feature = "seeded-bugs")]
        self.confirm_too_soon(&heard).await?;
        let (_read, newer) = self.intake.changes(&heard, Read::Known).await;
        self.keyring.offer(&newer).await?;
        self.heard = heard;
        Ok(())
    }

    /// Confirms what is applied only a while later.
    #[cfg(feature = "seeded-bugs")]
    async fn confirm_too_soon(&mut self, changes: &[Change]) -> Result<(), Unavailable> {
        let is_wrong = crate::store::seeded::has(crate::store::seeded::Bug::EarlyReceipt);
        let (Some(last), Some(position)) = (changes.last(), &self.position) else { return Ok(()) };
        if is_wrong {
            let (number, nonce) = (last.number, last.nonce);
            let position = Position { number, nonce, ..position.clone() };
            let beat = Beat { card: self.card(), position, heard: None };
            self.keyring.store().sync(beat).await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Nothing new: loads one more page, or waits for the alarm.
    async fn go_on(&mut self) -> Result<(), Unavailable> {
        if let Load::Pages(after) = self.load
            && self.scope() == Read::Everything
        {
            match self.intake.some(after).await? {
                Some(last) => self.load = Load::Pages(Some(last)),
                None => self.finish_load(),
            }
            return Ok(());
        }
        // Until leases are given, what others do is found out by syncing.
        let pace = if self.crossing.is_some() { CROSSING } else { self.keyring.lease().length() };
        let longest = pace / 4;
        let position = self.start().await?;
        let heard = self.keyring.store().alarm(&position, longest).await;
        self.hear(position.number, heard).await
    }

    fn finish_load(&mut self) {
        (self.load, self.is_stale) = (Load::Done, false);
        let entries = self.keyring.entries();
        entries.set_loaded();
        if entries.is_complete() {
            tracing::info!(keys = entries.count(), "every key is in memory");
        } else {
            tracing::info!(keys = entries.count(), "as many keys as may be are in memory");
        }
    }

    fn card(&self) -> GatewayCard {
        let entries = self.keyring.entries();
        GatewayCard {
            keys: entries.count() as u64,
            complete: entries.is_complete(),
            draining: self.draining.load(Ordering::Acquire),
            closed: self.intake.closed(),
            ..self.card.clone()
        }
    }
}

/// How soon it is found out that everybody is across.
const CROSSING: Duration = Duration::from_millis(200);

const PAUSE_AFTER_FAULT: Duration = Duration::from_millis(50);
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(10);
