//! Looks at a store from outside, beside whoever lives on it, without changing any record.

use std::collections::HashMap;

use crate::key::seal::Identity;
use crate::store::inspection::{Count, Inspection, Specifics};
use crate::store::redis::client::{Arguments, Way};
use crate::store::redis::records::count_peppers;
use crate::store::redis::script::Operation;
use crate::store::redis::text::bytes;
use crate::store::redis::{FORMAT, Redis, read_meta};
use crate::store::{Kind, Meta, Revoked, Unavailable};

impl Redis {
    /// Looks at it; an error where no gateway has used it yet.
    pub async fn inspect(&self) -> Result<Inspection, Unavailable> {
        let arguments = Arguments::for_any(vec![]);
        let (reply, live) = self.client.ask(Way::Read, Operation::Meta, arguments).await?;
        let Ok((format, meta)) = read_meta(reply) else {
            return Err(Unavailable("it is empty: no gateway has used it yet".to_owned()));
        };
        self.client.set_identity(meta.identity.clone());
        let gateways = self.ticket().await?.register.entries.len();
        let (mut keys, mut operators) = (Count::default(), Count::default());
        let (mut census, mut after) = (HashMap::new(), None);
        loop {
            let rows = self.page(after, PAGE).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.mark());
            for row in &rows {
                count_peppers(&row.sealed, &mut census);
                let count = match row.kind {
                    Kind::Key => &mut keys,
                    Kind::Operator => &mut operators,
                };
                match row.revoked {
                    Revoked::No => count.kept += 1,
                    Revoked::Yes => count.revoked += 1,
                }
            }
        }
        let Meta { identity, check, end, .. } = meta;
        Ok(Inspection {
            location: self.location.clone(),
            identity,
            format: format.parse().unwrap_or_default(),
            specifics: Specifics::Redis {
                primary: live.primary.host.to_string(),
                epoch: end.epoch,
                changes: end.number,
                gateways,
                survives: self.endurance_of(&live).survives(),
            },
            check,
            keys,
            operators,
            census: census.into_iter().collect(),
        })
    }
}

impl Redis {
    /// Gives an empty store the name of one that was lost, and the check value of its pepper.
    pub async fn restore(&self, name: &Identity, check: [u8; 16]) -> Result<(), Unavailable> {
        let values = vec![name.0.clone().into_bytes(), bytes(FORMAT), check.to_vec()];
        self.client.once(Way::Write, Operation::Restore, Arguments::for_any(values)).await?;
        Ok(())
    }
}

const PAGE: usize = 1_000;
