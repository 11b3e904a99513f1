//! Decides how records, positions and entries of the register are written in Redis.

use rand::TryRng;
use rand::rngs::SysRng;
use redis::Value;

use crate::clock::Timestamp;
use crate::config::WhenUnreachable;
use crate::key::seal::Sealed;
use crate::key::text::KeyId;
use crate::store::gateway::{GatewayCard, GatewayId, Registered};
use crate::store::redis::reply::{Malformed, Reply};
use crate::store::{Change, Kind, PageMark, Position, Revoked, Row, Unavailable};

/// What a record begins with, before the script adds the number and nonce of its change:
/// `k:a:1:1800000000000000:`, for a key that is active, at revision 1, minted then.
pub fn head(row: &Row) -> String {
    let kind = match row.kind {
        Kind::Key => 'k',
        Kind::Operator => 'o',
    };
    format!("{kind}:{}:{}:{}:", state(row.revoked), row.revision, row.created_at.as_micros())
}

/// Whether it was withdrawn, as a letter.
pub const fn state(revoked: Revoked) -> &'static str {
    match revoked {
        Revoked::No => "a",
        Revoked::Yes => "r",
    }
}

/// Under what it stands in the order of minting: two of them compare as what they are of.
pub fn member(mark: &PageMark) -> String {
    let micros = mark.created_at.as_micros().cast_unsigned() ^ (1 << 63);
    format!("{micros:016x}{}", mark.id)
}

/// A nonce; that of the place before the first change is `0`.
pub fn nonce(nonce: u64) -> String {
    if nonce == 0 { "0".to_owned() } else { format!("{nonce:016x}") }
}

/// What was written as a nonce.
pub fn read_nonce(text: &[u8]) -> Result<u64, Malformed> {
    let text = std::str::from_utf8(text).map_err(|_bytes| Malformed)?;
    u64::from_str_radix(text, 16).map_err(|_digits| Malformed)
}

/// A stored record. One that cannot be read here stands for a key that cannot be judged: whoever
/// may write to Redis can spoil one record with that, and not the rest.
pub fn row(id: KeyId, record: &[u8], used: Option<Timestamp>) -> Row {
    read_row(id, record, used).unwrap_or_else(|_malformed| Row {
        id,
        kind: Kind::Key,
        created_at: Timestamp::from_micros(0),
        revision: 0,
        revoked: Revoked::No,
        last_used_at: used,
        sealed: Sealed::from_bytes(Vec::new()),
    })
}

fn read_row(id: KeyId, record: &[u8], used: Option<Timestamp>) -> Result<Row, Malformed> {
    let mut parts = record.splitn(7, |it| *it == b':');
    let mut part = || parts.next().ok_or(Malformed);
    let (kind, revoked) = (part()?, part()?);
    let (revision, created_at) = (number(part()?)?, number(part()?)?);
    let (_number, _nonce) = (part()?, part()?);
    Ok(Row {
        id,
        kind: match kind {
            b"k" => Kind::Key,
            b"o" => Kind::Operator,
            _ => return Err(Malformed),
        },
        created_at: Timestamp::from_micros(created_at),
        revision,
        revoked: match revoked {
            b"a" => Revoked::No,
            b"r" => Revoked::Yes,
            _ => return Err(Malformed),
        },
        last_used_at: used,
        sealed: Sealed::from_bytes(part()?.to_vec()),
    })
}

/// A number in decimal digits.
pub fn number<N: std::str::FromStr>(text: &[u8]) -> Result<N, Malformed> {
    let text = std::str::from_utf8(text).map_err(|_bytes| Malformed)?;
    text.parse().map_err(|_digits| Malformed)
}

/// An id.
pub fn id(text: &[u8]) -> Result<KeyId, Malformed> {
    let text = std::str::from_utf8(text).map_err(|_bytes| Malformed)?;
    text.parse().map_err(|_malformed| Malformed)
}

/// One entry of the stream of changes: its name, and `nonce`, `id` and `record` with their values.
pub fn change(entry: Value) -> Result<Change, Malformed> {
    let mut entry = Reply::of(entry)?;
    let name = entry.bytes()?;
    let mut fields = entry.inner()?;
    let mut value = || fields.bytes().and_then(|_name| fields.bytes());
    let (mark, of, record) = (value()?, value()?, value()?);
    let name = name.split(|it| *it == b'-').next().ok_or(Malformed)?;
    Ok(Change {
        number: number(name)?,
        nonce: read_nonce(&mark)?,
        row: row(id(&of)?, &record, None),
    })
}

/// What the alarm clock brings: nothing, or the stream's name and its entries.
pub fn heard(rung: Value) -> Result<Vec<Change>, Malformed> {
    if rung == Value::Nil {
        return Ok(Vec::new());
    }
    let mut stream = Reply::of(rung)?.inner()?;
    let _name = stream.any()?;
    stream.list()?.into_iter().map(change).collect()
}

/// A value as it is sent.
pub fn bytes<T: ToString + ?Sized>(value: &T) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// A random mark for a change.
pub fn draw() -> Result<u64, Unavailable> {
    SysRng.try_next_u64().map_err(|it| Unavailable(format!("no random number can be drawn: {it}")))
}

/// One entry of the register. Of one that cannot be read nobody knows what it has confirmed: it is
/// one who has confirmed nothing, so that no other receipt depends on it.
pub fn registered(gateway: &[u8], entry: &[u8]) -> Registered {
    let id = GatewayId(String::from_utf8_lossy(gateway).into_owned());
    read_registered(&id, entry).unwrap_or_else(|_malformed| Registered {
        card: GatewayCard {
            name: format!("{} (cannot be read)", id.0),
            id,
            version: String::new(),
            started_at: Timestamp::from_micros(0),
            lease_ms: UNREAD_LEASE_MS,
            policy: WhenUnreachable::ServeKnown,
            serve_known_for_ms: 0,
            replicas: 0,
            keys: 0,
            complete: false,
            draining: false,
            closed: Vec::new(),
        },
        confirmed: Position { epoch: String::new(), number: 0, nonce: 0 },
        beat: 0,
    })
}

/// Epoch, number, nonce, beat and the card.
fn read_registered(id: &GatewayId, entry: &[u8]) -> Result<Registered, Malformed> {
    let mut parts = entry.splitn(5, |it| *it == b' ');
    let mut part = || parts.next().ok_or(Malformed);
    let epoch = String::from_utf8(part()?.to_vec()).map_err(|_bytes| Malformed)?;
    let (at, mark, beat) = (number(part()?)?, read_nonce(part()?)?, number(part()?)?);
    let card: GatewayCard = serde_json::from_slice(part()?).map_err(|_json| Malformed)?;
    if card.id != *id {
        return Err(Malformed);
    }
    Ok(Registered { card, confirmed: Position { epoch, number: at, nonce: mark }, beat })
}

/// The longest that a gateway may have.
const UNREAD_LEASE_MS: u64 = 30_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    #[test]
    fn a_record_reads_back_what_it_writes() {
        let plain = || conformance::row(7);
        let sealed = Sealed::from_bytes(b"with : and \0".to_vec());
        let revoked = Row { kind: Kind::Operator, revoked: Revoked::Yes, sealed, ..plain() };
        for it in [plain(), revoked] {
            let record = [head(&it).as_bytes(), b"12:00ff:", it.sealed.as_bytes()].concat();
            assert_eq!(row(it.id, &record, None), it);
        }
    }

    #[test]
    fn a_record_that_is_none_holds_nothing_that_opens() {
        let id = conformance::id(1);
        for text in ["", "k", "k:a:1:1:1", "x:a:1:1:1:0:s", "k:x:1:1:1:0:s", "k:a:-1:1:1:0:s"] {
            assert_eq!(row(id, text.as_bytes(), None).sealed.as_bytes(), b"", "{text}");
        }
    }

    #[test]
    fn members_are_in_the_order_of_minting() {
        let mark = |micros, number| {
            let created_at = Timestamp::from_micros(micros);
            member(&PageMark { created_at, id: conformance::id(number) })
        };
        let sorted =
            [mark(-5, 9), mark(0, 1), mark(0, 2), mark(7, 0), mark(1_800_000_000_000_000, 0)];
        assert!(sorted.is_sorted(), "{sorted:?}");
    }
}
