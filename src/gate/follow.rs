//! Keeps the keyring true: loads every record, follows every change, confirms what was applied.
//!
//! One task does all of it, so that what it reads is applied in the order in which it was read,
//! and a page of the load can never overtake a change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::Moment;
use crate::gate::crossing::{Crossing, Ring};
use crate::gate::hearsay::Hearsay;
use crate::gate::intake::{Intake, Read};
use crate::gate::keyring::Keyring;
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
    /// What was heard behind that.
    hearsay: Hearsay,
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
            hearsay: Hearsay::NONE,
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
            // It met yet another life.
            if matches!(self.load, Load::Again) {
                return Ok(());
            }
        }
        let position = self.start().await?;
        let sent = Moment::now();
        let beat = Beat { card: self.card(), position, heard: self.hearsay.end() };
        let (heard, changes, more, opened, held) = match self.keyring.store().sync(beat).await? {
            Synced::Followed { heard, changes, more, opened, entered, held, time } => {
                self.keyring.lease().set_clock(sent, time);
                self.keyring.lease().set_entered(entered);
                (heard, changes, more, opened, held)
            }
            Synced::Lost { epoch } => return self.cross(epoch).await,
        };
        self.settle(heard).await?;
        if matches!(self.load, Load::Again) {
            return Ok(());
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
        let Hearsay { heard, .. } = self.hearsay.take();
        if !is_new {
            return self.disown(heard).await;
        }
        self.ring.owe(heard);
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
        let crossing = match self.crossing.take() {
            Some(crossing) if crossing.leads_to(&epoch) => crossing,
            Some(_) | None => Crossing::fresh(&epoch),
        };
        let crossing = self.crossing.insert(crossing);
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
        let beat = Beat { card: self.card(), position: position.clone(), heard: None };
        if let Synced::Lost { epoch } = self.keyring.store().sync(beat).await?
            && epoch != position.epoch
            && !self.crossing.as_ref().is_some_and(|it| it.leads_to(&epoch))
        {
            return self.cross(epoch).await;
        }
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

    /// What may be taken over. While somebody may be let in here by a lease of the life before, and
    /// this one lacks what was lost with it, nothing of a key that is not known here: that it was
    /// revoked may be what is lost. Who knows every key has not met one that was.
    fn scope(&self) -> Read {
        let may_let_in = !self.keyring.lease().is_long_lost(Moment::now());
        if self.crossing.is_some() && may_let_in && !self.keyring.entries().is_complete() {
            Read::Known
        } else {
            Read::Everything
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

    async fn take_over(&mut self, changes: &[Change]) -> Result<(), Unavailable> {
        let newer = self.intake.changes(changes, self.scope()).await;
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
    /// gateway follows and confirms it.
    async fn hear(&mut self, after: u64, heard: Vec<Change>) -> Result<(), Unavailable> {
        #[cfg(feature = "seeded-bugs")]
        self.confirm_too_soon(&heard).await?;
        let hearsay = Hearsay::behind(after, heard, self.keyring.entries());
        let newer = self.intake.changes(&hearsay.heard, hearsay.scope).await;
        self.hearsay = hearsay;
        self.keyring.offer(&newer).await
    }

    /// What becomes of what was heard, now that a sync has said whether it stands.
    async fn settle(&mut self, heard: Heard) -> Result<(), Unavailable> {
        let Hearsay { heard: applied, scope } = self.hearsay.take();
        match heard {
            Heard::Nothing => Ok(()),
            Heard::Stands => {
                // What had to be asked for may come in now.
                if scope == Read::Known {
                    self.take_over(&applied).await?;
                }
                self.advance(applied);
                Ok(())
            }
            // It is of another past: the store is offered what it lacks of that.
            Heard::Unknown => self.disown(applied).await,
        }
    }

    /// Changes were missed, or what was applied is of another past.
    async fn disown(&mut self, applied: Vec<Change>) -> Result<(), Unavailable> {
        self.load = Load::Again;
        self.ring.owe(applied);
        self.keyring.offer_rows(self.ring.owed()).await
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
