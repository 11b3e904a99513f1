//! Reads records, and changes what nobody has to be told of.

use std::collections::HashMap;

use crate::clock::Timestamp;
use crate::key::seal::{PepperName, Sealed};
use crate::key::text::KeyId;
use crate::store::redis::Redis;
use crate::store::redis::client::Way;
use crate::store::redis::reply::{Malformed, Reply};
use crate::store::redis::script::Operation;
use crate::store::redis::text::{self, bytes};
use crate::store::{Audit, CHANGES_KEPT, Opened, PageMark, Row, Unavailable};

impl Redis {
    /// The record under `id`.
    pub async fn find(&self, id: KeyId) -> Result<Option<Row>, Unavailable> {
        Ok(self.look_up(id).await?.1)
    }

    /// The record under `id`, unless this life of the store is not open yet.
    pub async fn find_settled(&self, id: KeyId) -> Result<Option<Row>, Unavailable> {
        match self.look_up(id).await? {
            (Opened::Yes, row) => Ok(row),
            (Opened::No, _) => Err(Unavailable("not all has been brought back to it yet".into())),
        }
    }

    async fn look_up(&self, id: KeyId) -> Result<(Opened, Option<Row>), Unavailable> {
        let arguments = vec![bytes(&id)];
        let (mut reply, _live) = self.client.ask(Way::Read, Operation::Find, arguments).await?;
        self.client.check(&reply.text()?)?;
        let opened = if reply.number()? == 1 { Opened::Yes } else { Opened::No };
        let record = reply.maybe_bytes()?;
        let used = read_used(&mut reply)?;
        Ok((opened, record.map(|it| text::row(id, &it, used))))
    }

    /// At most `count` records, newest first, after `after` in that order.
    pub async fn page(
        &self,
        after: Option<PageMark>,
        count: usize,
    ) -> Result<Vec<Row>, Unavailable> {
        let mut mark = after.map_or_else(|| "+".to_owned(), |it| format!("({}", text::member(&it)));
        // In pieces, so that a revocation never waits for more than one.
        let mut rows = Vec::new();
        loop {
            let piece = count.saturating_sub(rows.len()).min(ROWS_AT_ONCE_MAX);
            let arguments = vec![mark.into_bytes(), bytes(&piece)];
            let (reply, _live) = self.client.ask(Way::Read, Operation::Page, arguments).await?;
            let (mut found, last) = self.rows(reply)?;
            let is_full = found.len() == piece;
            rows.append(&mut found);
            // Members whose records are gone are no end.
            match last {
                Some(last) if rows.is_empty() || (is_full && rows.len() < count) => {
                    mark = format!("({last}");
                }
                Some(_) | None => return Ok(rows),
            }
        }
    }

    /// Every operator's record, newest first.
    pub async fn operators(&self) -> Result<Vec<Row>, Unavailable> {
        let (reply, _live) = self.client.ask(Way::Read, Operation::Operators, vec![]).await?;
        let (mut rows, _last) = self.rows(reply)?;
        rows.sort_by_key(|it| std::cmp::Reverse(it.mark()));
        Ok(rows)
    }

    /// Replaces sealed records whose revision is unchanged, without announcing a change.
    /// Answers how many were replaced.
    pub async fn reseal(&self, rows: Vec<Row>) -> Result<usize, Unavailable> {
        let mut pieces = Vec::new();
        for piece in rows.chunks(ROWS_AT_ONCE_MAX) {
            let values = piece.iter().flat_map(|it| {
                let state = text::state(it.revoked).as_bytes().to_vec();
                [bytes(&it.id), state, bytes(&it.revision), it.sealed.as_bytes().to_vec()]
            });
            pieces.push(values.collect());
        }
        self.count(Operation::Reseal, pieces).await
    }

    /// Takes and announces the records that are missing here, or are here in an older state.
    /// Answers how many those were.
    pub async fn offer(&self, rows: Vec<Row>) -> Result<usize, Unavailable> {
        let pieces = rows.chunks(ROWS_AT_ONCE_MAX).map(offer_arguments);
        self.count(Operation::Offer, pieces.collect::<Result<_, _>>()?).await
    }

    async fn count(
        &self,
        operation: Operation,
        pieces: Vec<Vec<Vec<u8>>>,
    ) -> Result<usize, Unavailable> {
        let mut count = 0;
        for piece in pieces {
            let (mut reply, live) = self.client.ask(Way::Write, operation, piece).await?;
            self.client.check_write(&reply.text()?, &live)?;
            count += usize::try_from(reply.number()?).unwrap_or(usize::MAX);
        }
        Ok(count)
    }

    /// Audits what is done to the store as a whole.
    pub async fn note(&self, line: Audit) -> Result<(), Unavailable> {
        let line = serde_json::to_vec(&line).map_err(|it| Unavailable(it.to_string()))?;
        self.client.ask(Way::Write, Operation::Note, vec![line]).await?;
        Ok(())
    }

    /// Remembers when keys were last used; never moves a time back.
    pub async fn touch(&self, used: Vec<(KeyId, Timestamp)>) -> Result<(), Unavailable> {
        for piece in used.chunks(ROWS_AT_ONCE_MAX) {
            let values = piece.iter().flat_map(|(id, at)| [bytes(&id), bytes(&at.as_micros())]);
            let values: Vec<_> = values.collect();
            self.client.ask(Way::Write, Operation::Touch, values).await?;
        }
        Ok(())
    }

    /// How many records need which pepper, by its name: for their seal, or for their tag.
    pub async fn census(&self) -> Result<Vec<(Option<PepperName>, u64)>, Unavailable> {
        let mut census = HashMap::new();
        let mut after = None;
        loop {
            let rows = self.page(after, ROWS_AT_ONCE_MAX).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.mark());
            for row in &rows {
                count_peppers(&row.sealed, &mut census);
            }
        }
        Ok(census.into_iter().collect())
    }

    /// The records of a page, and its last member. What is no id is left out: somebody put it there.
    fn rows(&self, mut reply: Reply) -> Result<(Vec<Row>, Option<String>), Unavailable> {
        self.client.check(&reply.text()?)?;
        let (mut ids, mut records, mut used) = (reply.inner()?, reply.inner()?, reply.inner()?);
        let mut rows = Vec::new();
        while let Some(id) = ids.maybe_bytes()? {
            let (record, used) = (records.maybe_bytes()?, read_used(&mut used)?);
            rows.extend(text::id(&id).ok().zip(record).map(|(id, it)| text::row(id, &it, used)));
        }
        let last = reply.maybe_bytes()?;
        Ok((rows, last.map(|it| String::from_utf8_lossy(&it).into_owned())))
    }
}

/// What the script that takes offers is given.
pub fn offer_arguments(rows: &[Row]) -> Result<Vec<Vec<u8>>, Unavailable> {
    let mut values = vec![bytes(&CHANGES_KEPT)];
    for row in rows {
        values.extend([
            bytes(&row.id),
            text::state(row.revoked).as_bytes().to_vec(),
            bytes(&row.revision),
            text::head(row).into_bytes(),
            row.sealed.as_bytes().to_vec(),
            text::nonce(text::draw()?).into_bytes(),
            text::member(&row.mark()).into_bytes(),
        ]);
    }
    Ok(values)
}

/// When a key was last used, where anybody has said so.
pub fn read_used(reply: &mut Reply) -> Result<Option<Timestamp>, Malformed> {
    let micros = reply.maybe_bytes()?.map(|it| text::number(&it)).transpose()?;
    Ok(micros.map(Timestamp::from_micros))
}

/// Counts what a record needs: of which peppers.
pub fn count_peppers(sealed: &Sealed, census: &mut HashMap<Option<PepperName>, u64>) {
    let (of_seal, of_tag) = (sealed.pepper(), sealed.tag_pepper());
    *census.entry(of_seal).or_default() += 1;
    if of_tag.is_some() && of_tag != of_seal {
        *census.entry(of_tag).or_default() += 1;
    }
}

/// Piece by piece, so that a revocation never waits for more than one.
const ROWS_AT_ONCE_MAX: usize = 512;
