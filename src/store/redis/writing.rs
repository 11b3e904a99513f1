//! Makes changes, and gives the tickets by which others wait for them.

use std::sync::Arc;

use crate::store::gateway::Register;
use crate::store::redis::Redis;
use crate::store::redis::client::{Arguments, Way};
use crate::store::redis::link::LinkFault;
use crate::store::redis::records::{offer_arguments, read_used};
use crate::store::redis::reply::Reply;
use crate::store::redis::script::Operation;
use crate::store::redis::supervisor::Live;
use crate::store::redis::text::{self, bytes};
use crate::store::redis::watcher;
use crate::store::{
    CHANGES_KEPT, Expect, Held, Position, Revoked, Row, Ticket, Unavailable, Write, WriteFault,
    Written,
};

impl Redis {
    /// Checks, stores, numbers and announces one change, and audits it, in one step; then as many
    /// replicas hold it as have to, or it is said that they do not.
    pub async fn write(&self, write: Write) -> Result<Written, WriteFault> {
        let operation = match write.row.revoked {
            Revoked::Yes => Operation::Revoke,
            Revoked::No => Operation::Write,
        };
        let asked = self.client.ask(Way::Write, operation, self.write_arguments(&write)?).await;
        let (mut reply, live) = asked.map_err(|fault| match fault {
            LinkFault::Refused(why) | LinkFault::Moved(why) => Unavailable(why).into(),
            LinkFault::Lost(_why) => WriteFault::OutcomeUnknown,
        })?;
        let word = reply.text().map_err(LinkFault::from).map_err(Unavailable::from)?;
        let written = match word.as_str() {
            "applied" => {
                // It is made, whatever can be read of the rest.
                let ticket = self.ticket_of(&mut reply, &live, Some(write.row)).await;
                let ticket = ticket.map_err(|_unreadable| WriteFault::OutcomeUnknown)?;
                Written::Applied(Ticket { is_own: true, ..ticket })
            }
            "replayed" => {
                let ticket = self.ticket_of(&mut reply, &live, None).await?;
                let id = reply.bytes().and_then(|it| text::id(&it));
                Written::Replayed { id: id.map_err(Unavailable::from)?, ticket }
            }
            "conflicting" => Written::IdempotencyConflict,
            _ => {
                let stored = reply.maybe_bytes().map_err(Unavailable::from)?;
                let used = read_used(&mut reply).map_err(Unavailable::from)?;
                Written::Conflict(stored.map(|it| text::row(write.row.id, &it, used)))
            }
        };
        Ok(written)
    }

    fn write_arguments(&self, write: &Write) -> Result<Arguments, Unavailable> {
        let Write { row, expect, idempotency, audit } = write;
        let expect = match expect {
            Expect::Absent => "absent".to_owned(),
            Expect::NoOperator => "operator".to_owned(),
            Expect::Revision(revision) => revision.to_string(),
        };
        let line = serde_json::to_vec(audit).map_err(|it| Unavailable(it.to_string()))?;
        let mut values = vec![
            expect.into_bytes(),
            bytes(&row.id),
            text::head(row).into_bytes(),
            row.sealed.as_bytes().to_vec(),
            text::nonce(text::draw()?).into_bytes(),
            text::member(&row.mark()).into_bytes(),
            bytes(&CHANGES_KEPT),
            line,
        ];
        let Some(asked) = idempotency else { return Ok(values.into()) };
        values.push(blake3::Hash::from_bytes(asked.fingerprint).to_hex().as_bytes().to_vec());
        values.push(bytes(&REMEMBERED_MS));
        let key = self.client.names().once(&asked.operator, &asked.key);
        Ok(Arguments::from(values).with_key(Some(key)))
    }

    /// Reads epoch, number, nonce, moves and the register, and waits for replicas.
    async fn ticket_of(
        &self,
        reply: &mut Reply,
        live: &Live,
        row: Option<Row>,
    ) -> Result<Ticket, Unavailable> {
        let position = Position {
            epoch: reply.text()?,
            number: reply.number()?,
            nonce: text::read_nonce(&reply.bytes()?)?,
        };
        let moves = reply.number()?;
        let register = Register { moves, entries: watcher::entries(reply.list()?)? };
        // The register's figures count, and this process's own where it is stricter.
        let own = self.wanted_of(self.client.named());
        let wanted = register.entries.iter().map(|it| it.card.replicas).max().unwrap_or(0).max(own);
        let held = match self.client.held(Way::Write, live, wanted).await {
            Ok(held) if held >= wanted => Held::Enough,
            Ok(_) | Err(_) => Held::TooFew,
        };
        let (register, row) = (Arc::new(register), row.map(Arc::new));
        Ok(Ticket { position, is_own: false, register, held, row })
    }

    /// The present end of the changes, and who is in the register.
    pub async fn ticket(&self) -> Result<Ticket, Unavailable> {
        let (mut reply, live) = self.client.ask(Way::Write, Operation::Ticket, vec![]).await?;
        self.ticket_of(&mut reply, &live, None).await
    }

    /// The same for a record as it was written, which a change of primary may have lost: it is
    /// offered again, in the life of the store in which the ticket is given. Where another state of it
    /// stands there instead, the change is not held.
    pub async fn ticket_for(&self, row: &Row) -> Result<Ticket, Unavailable> {
        let arguments = offer_arguments(std::slice::from_ref(row))?;
        let (mut reply, live) = self.client.ask(Way::Write, Operation::Offer, arguments).await?;
        let (epoch, taken) = (reply.text()?, reply.number()?);
        let stands = taken > 0 || self.stands(row, &epoch).await?;
        let ticket = self.ticket().await?;
        if ticket.position.epoch != epoch {
            self.client.link(Way::Write).give_up(&live);
            return Err(Unavailable("its primary changed meanwhile".to_owned()));
        }
        let held = if stands { ticket.held } else { Held::TooFew };
        Ok(Ticket { row: Some(Arc::new(row.clone())), held, ..ticket })
    }

    /// Whether this very record stands there, or one that revokes it too.
    async fn stands(&self, row: &Row, epoch: &str) -> Result<bool, Unavailable> {
        let arguments = vec![bytes(&row.id)];
        let (mut reply, _live) = self.client.ask(Way::Write, Operation::Find, arguments).await?;
        if reply.text()? != epoch {
            return Err(Unavailable("its primary changed meanwhile".to_owned()));
        }
        let _opened = reply.number()?;
        let stored = reply.maybe_bytes()?.map(|it| text::row(row.id, &it, None));
        Ok(stored.is_some_and(|it| {
            it.sealed == row.sealed || (it.revoked == Revoked::Yes && row.revoked == Revoked::Yes)
        }))
    }

    /// The ticket after a change of primary. `epoch` is the life that everybody else is in by now.
    pub async fn reassert(&self, ticket: &Ticket, epoch: &str) -> Result<Ticket, Unavailable> {
        let again = match &ticket.row {
            Some(row) => self.ticket_for(row).await?,
            None => self.ticket().await?,
        };
        if again.position.epoch != epoch {
            self.client.link(Way::Write).renew();
            return Err(Unavailable("it has another primary than is followed".to_owned()));
        }
        Ok(again)
    }
}

const REMEMBERED_MS: u64 = 24 * 60 * 60 * 1_000;
