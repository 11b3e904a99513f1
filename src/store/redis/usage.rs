//! Keeps how often keys were asked for in Redis: a hash for each key and day, beside its limits.

use crate::key::text::KeyId;
use crate::rate::quota::Window;
use crate::store::Unavailable;
use crate::store::redis::Redis;
use crate::store::redis::link::Call;
use crate::store::redis::reply::Reply;
use crate::store::redis::script::{Names, Operation};
use crate::store::redis::text::{self, bytes};
use crate::store::usage::{HOURS_KEPT, UsageRow, beginning_of};

impl Redis {
    /// Writes what this process has counted in hours of keys.
    pub async fn note_usage(&self, mut rows: Vec<UsageRow>) -> Result<(), Unavailable> {
        rows.sort_by_key(|it| self.limits_shard(it.key));
        let is_together =
            |a: &UsageRow, b: &UsageRow| self.limits_shard(a.key) == self.limits_shard(b.key);
        for piece in rows.chunk_by(is_together).flat_map(|it| it.chunks(ROWS_AT_ONCE_MAX)) {
            let Some(first) = piece.first() else { continue };
            let call = noting(self.names(), piece);
            self.ask_beside_limits(first.key, Operation::NoteUsage, &call).await?;
        }
        Ok(())
    }

    /// What all gateways have counted of a key from the hour `first` to `last`.
    pub async fn usage(
        &self,
        key: KeyId,
        first: u32,
        last: u32,
    ) -> Result<Vec<UsageRow>, Unavailable> {
        let hours = (first..=last).take(HOURS_READ_MAX);
        let mut keys: Vec<String> = hours.map(|it| day(self.names(), key, it)).collect();
        keys.dedup();
        let call = Call { keys, arguments: Vec::new() };
        let answer = self.ask_beside_limits(key, Operation::Usage, &call).await?;
        let (mut answer, mut rows) = (Reply::of(answer)?, Vec::new());
        while let Some(field) = answer.maybe_bytes()? {
            let cells = answer.bytes()?;
            // What has another name was put there by somebody else.
            let named = read_field(&field).filter(|(hour, _)| (first..=last).contains(hour));
            rows.extend(named.map(|(hour, gateway)| UsageRow { key, hour, gateway, cells }));
        }
        Ok(rows)
    }
}

fn noting(names: &Names, rows: &[UsageRow]) -> Call {
    let keys = rows.iter().map(|it| day(names, it.key, it.hour)).collect();
    let arguments = rows.iter().flat_map(|it| {
        let gone = beginning_of(it.hour.saturating_add(KEPT)).as_micros() / 1_000;
        let field = format!("{}:{:016x}", it.hour, it.gateway);
        [field.into_bytes(), it.cells.clone(), bytes(&gone)]
    });
    Call { keys, arguments: arguments.collect() }
}

/// Where a day of a key is.
fn day(names: &Names, key: KeyId, hour: u32) -> String {
    let day = Window::Day.at(beginning_of(hour)).name;
    names.bucket(key, &format!("usage:{day}"))
}

fn read_field(field: &[u8]) -> Option<(u32, u64)> {
    let (hour, gateway) = std::str::from_utf8(field).ok()?.split_once(':')?;
    Some((text::number(hour.as_bytes()).ok()?, u64::from_str_radix(gateway, 16).ok()?))
}

/// Behind the last hour that was written of a day: whoever writes an hour prolongs its day.
const KEPT: u32 = HOURS_KEPT + 2;

/// Of one question.
const HOURS_READ_MAX: usize = 72;

/// Piece by piece, so that nobody waits for more than one.
const ROWS_AT_ONCE_MAX: usize = 256;
