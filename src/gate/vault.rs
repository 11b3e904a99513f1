//! Opens and seals the records of one store.

use std::sync::{Arc, OnceLock};

use crate::key::record::{Holder, KeyRecord};
use crate::key::seal::{Comparison, Identity, PepperName, Peppers, SealFault, Sealed, Tag};
use crate::key::text::{Digest, KeyId};
use crate::store::{Kind, Revoked, Row};

/// The peppers and the store that they belong to.
#[derive(Clone, Debug)]
pub struct Vault(Arc<(Peppers, OnceLock<Identity>)>);

impl Vault {
    /// For the records of `identity`.
    pub fn new(peppers: Peppers, identity: Identity) -> Self {
        Self(Arc::new((peppers, OnceLock::from(identity))))
    }

    /// For the records of a store that was not reached yet: none can be opened.
    pub fn unplaced(peppers: Peppers) -> Self {
        Self(Arc::new((peppers, OnceLock::new())))
    }

    /// From now on, and for good, for the records of `identity`.
    pub fn place(&self, identity: Identity) {
        drop(self.0.1.set(identity));
    }

    /// The peppers.
    pub fn peppers(&self) -> &Peppers {
        &self.0.0
    }

    fn identity(&self) -> Result<&Identity, SealFault> {
        self.0.1.get().ok_or_else(|| SealFault::Unreadable("its store is not known yet".to_owned()))
    }

    /// The record in a store's row, if it can be trusted.
    pub fn open(&self, row: &Row) -> Result<KeyRecord, SealFault> {
        self.peppers().open(self.identity()?, row.id, &row.sealed)
    }

    /// A record as a store's row.
    pub fn seal(&self, record: &KeyRecord) -> Result<Row, SealFault> {
        Ok(row(record.id, record, self.peppers().seal(self.identity()?, record)?))
    }

    /// A row sealed under a retired pepper, sealed anew and otherwise as it was; `None`: under the
    /// current one already, or one that is not here.
    pub fn reseal(&self, stored: &Row) -> Result<Option<Row>, SealFault> {
        if !self.is_retired(&stored.sealed) {
            return Ok(None);
        }
        let record = self.open(stored)?;
        let sealed = self.peppers().reseal(self.identity()?, stored.id, &stored.sealed)?;
        Ok(Some(row(stored.id, &record, sealed)))
    }

    /// A row with another tag, made for a record at `revision`; `None`: it is at another one.
    pub fn retag(&self, stored: &Row, revision: u64, tag: &Tag) -> Result<Option<Row>, SealFault> {
        let record = self.open(stored)?;
        if record.revision != revision {
            return Ok(None);
        }
        // What is written as this version would stays so, since that takes the least space in memory.
        if stored.sealed.spells(&record) {
            return self.seal(&KeyRecord { tag: Some(tag.clone()), ..record }).map(Some);
        }
        let sealed = self.peppers().retag(self.identity()?, stored.id, &stored.sealed, tag)?;
        Ok(Some(row(stored.id, &record, sealed)))
    }

    /// Makes a tag under the current pepper.
    pub fn tag(&self, digest: &Digest) -> Tag {
        self.0.0.tag(digest)
    }

    /// Compares a shown key with a tag.
    pub fn compare(&self, tag: &Tag, digest: &Digest) -> Comparison {
        self.0.0.compare(tag, digest)
    }

    /// Whether a tag can be judged here.
    pub fn knows(&self, pepper: PepperName) -> bool {
        self.0.0.named(pepper).is_some()
    }

    /// Whether `pepper` is the one that seals.
    pub fn is_current(&self, pepper: PepperName) -> bool {
        self.0.0.current().name() == pepper
    }

    /// Whether a row's seal is under a retired pepper.
    pub fn is_retired(&self, sealed: &Sealed) -> bool {
        sealed.pepper().is_some_and(|it| self.knows(it) && !self.is_current(it))
    }

    /// By which the store knows the pepper that seals.
    pub fn check(&self) -> [u8; 16] {
        self.0.0.current().check()
    }
}

/// The id under which a row is known, for messages.
pub fn named(id: KeyId, fault: &SealFault) -> String {
    format!("record {id}: {fault}")
}

/// A row under `id` that says beside the seal what its record says.
pub fn row(id: KeyId, record: &KeyRecord, sealed: Sealed) -> Row {
    Row {
        id,
        kind: kind(&record.holder),
        created_at: record.created_at,
        revision: record.revision,
        revoked: if record.revoked_at.is_some() { Revoked::Yes } else { Revoked::No },
        last_used_at: None,
        sealed,
    }
}

/// Whose credential a holder's is.
pub fn kind(holder: &Holder) -> Kind {
    match holder {
        Holder::Caller(_) => Kind::Key,
        Holder::Operator(_) => Kind::Operator,
    }
}
