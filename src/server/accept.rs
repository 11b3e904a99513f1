//! Seals a store anew for an operator who vouches for it because its pepper is lost.

use crate::clock::Timestamp;
use crate::gate::vault::{self, Vault};
use crate::key::record::KeyRecord;
use crate::key::seal::{PepperName, Peppers, SealFault};
use crate::key::text::KeyId;
use crate::store::{Audit, Kind, Revoked, Row, Store, Unavailable};

/// What was accepted, and what was not.
#[derive(Debug, Default)]
pub struct Accepted {
    /// Records under the current pepper now that were not before.
    pub resealed: u64,
    /// Of those, records that nothing but the operator's word speaks for.
    pub vouched: u64,
    /// Tags dropped since their pepper is unknown: argon2 runs once for each of these keys.
    pub tags_dropped: u64,
    /// Everyone who may use the admin listener now.
    pub operators: Vec<(KeyId, String)>,
    /// Records left as they were, and why: they are answered 503.
    pub left: Vec<String>,
}

/// Seals every record under the current pepper. Nobody else may use the store meanwhile.
///
/// The audit's line is written first and the store's check value last: stopped in between, it can
/// be done again.
pub async fn accept(
    store: &Store,
    peppers: Peppers,
    now: Timestamp,
) -> Result<Accepted, Unavailable> {
    store.note(audit(peppers.current().name(), now)).await?;
    let vault = Vault::new(peppers, store.identity().clone());
    let mut accepted = Accepted::default();
    let mut after = None;
    loop {
        let rows = store.page(after, PAGE).await?;
        let Some(last) = rows.last() else { break };
        after = Some(last.mark());
        let anew = rows.iter().filter_map(|row| accepted.judge(&vault, row)).collect();
        store.reseal(anew).await?;
    }
    store.set_check(vault.check()).await?;
    Ok(accepted)
}

impl Accepted {
    /// The row as it is to be, if it is to be another one.
    fn judge(&mut self, vault: &Vault, row: &Row) -> Option<Row> {
        match self.take(vault, row) {
            Ok(anew) => anew,
            Err(fault) => {
                self.left.push(vault::named(row.id, &fault));
                None
            }
        }
    }

    fn take(&mut self, vault: &Vault, row: &Row) -> Result<Option<Row>, SealFault> {
        let (mut record, trust) = read(vault, row)?;
        let tag_is_lost = record.tag.as_ref().is_some_and(|it| !vault.knows(it.pepper()));
        if tag_is_lost {
            record.tag = None;
        }
        let is_current = row.sealed.pepper().is_some_and(|it| vault.is_current(it));
        let anew = if is_current && !tag_is_lost { None } else { Some(vault.seal(&record)?) };
        self.count(&record, trust);
        self.tags_dropped += u64::from(tag_is_lost);
        self.resealed += u64::from(anew.is_some());
        Ok(anew)
    }

    fn count(&mut self, record: &KeyRecord, trust: Trust) {
        self.vouched += u64::from(trust == Trust::Vouched);
        if vault::kind(&record.holder) == Kind::Operator && record.revoked_at.is_none() {
            self.operators.push((record.id, record.name.as_str().to_owned()));
        }
    }
}

/// What speaks for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// Its seal.
    Sealed,
    /// The operator's word.
    Vouched,
}

/// A seal under a pepper that is here is never overruled by anyone's word.
fn read(vault: &Vault, row: &Row) -> Result<(KeyRecord, Trust), SealFault> {
    match vault.open(row) {
        Ok(record) => Ok((record, Trust::Sealed)),
        Err(SealFault::UnknownPepper(_)) => {
            let record = row.sealed.vouched()?;
            if fits(row, &record) { Ok((record, Trust::Vouched)) } else { Err(SealFault::Forged) }
        }
        Err(fault) => Err(fault),
    }
}

/// Whether the record is the one that its row says.
fn fits(row: &Row, record: &KeyRecord) -> bool {
    row.id == record.id
        && row.kind == vault::kind(&record.holder)
        && row.created_at == record.created_at
        && row.revision == record.revision
        && (row.revoked == Revoked::Yes) == record.revoked_at.is_some()
}

fn audit(pepper: PepperName, now: Timestamp) -> Audit {
    Audit {
        at: now,
        operator: "command-line".to_owned(),
        operator_name: "command line".to_owned(),
        address: String::new(),
        action: "store.accept".to_owned(),
        target: String::new(),
        before: None,
        after: Some(serde_json::json!({ "pepper": pepper.to_string() })),
    }
}

const PAGE: usize = 256;

#[cfg(test)]
mod tests;
