//! Holds the scripts: every operation on Redis is one of them, so each is one step.

use std::fmt::Write as _;
use std::sync::LazyLock;

use redis::{Cmd, Script};

use crate::key::text::KeyId;

/// An operation that Redis carries out in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Opens the store, or makes it.
    Init,
    /// Reads what the store knows of itself.
    Meta,
    /// Remembers the pepper's check value.
    SetCheck,
    /// Makes a change that revokes: also where memory is full.
    Revoke,
    /// Makes any other change.
    Write,
    /// Enters a gateway and reads what is new.
    Sync,
    /// Finds what two pasts have in common.
    Common,
    /// Lets leases be given in an epoch.
    Open,
    /// Takes what was lost.
    Offer,
    /// Replaces seals.
    Reseal,
    /// Moves times of last use.
    Touch,
    /// Audits what is done to the whole.
    Note,
    /// Reads one record.
    Find,
    /// Reads a page of records.
    Page,
    /// Reads every operator's.
    Operators,
    /// Reads the end and the register.
    Ticket,
    /// Reads what has moved in the register.
    Look,
    /// Takes a gateway out of the register.
    Leave,
    /// Gives an empty store a lost one's identity.
    Restore,
    /// Leases tokens of a bucket that refills.
    LeaseRate,
    /// Leases a part of a quota.
    LeaseQuota,
    /// Writes what a gateway has counted.
    NoteUsage,
    /// Reads what all have counted of a key.
    Usage,
}

/// What a script does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nature {
    /// It changes nothing, and goes on wherever reading does.
    Reads,
    /// It goes on where memory is full.
    WritesLittle,
    /// It needs room.
    Writes,
}

/// What a server understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Redis 6.2: scripts say nothing of themselves, and none writes where memory is full.
    Plain,
    /// Redis 7 and Valkey: a script says that it may write there.
    Flagged,
}

impl Operation {
    /// As it is sent to a server that speaks `dialect`.
    pub fn script(self, dialect: Dialect) -> &'static Script {
        let scripts = match dialect {
            Dialect::Plain => &PLAIN,
            Dialect::Flagged => &FLAGGED,
        };
        let at = ALL.iter().position(|it| *it == self).unwrap_or_default();
        // Every operation stands in the list; a test holds it to that.
        scripts.get(at).unwrap_or(&EMPTY)
    }

    const fn source(self) -> &'static str {
        match self {
            Self::Init => include_str!("scripts/init.lua"),
            Self::Meta => include_str!("scripts/meta.lua"),
            Self::SetCheck => include_str!("scripts/set_check.lua"),
            Self::Revoke | Self::Write => include_str!("scripts/write.lua"),
            Self::Sync => include_str!("scripts/sync.lua"),
            Self::Common => include_str!("scripts/common.lua"),
            Self::Open => include_str!("scripts/open.lua"),
            Self::Offer => include_str!("scripts/offer.lua"),
            Self::Reseal => include_str!("scripts/reseal.lua"),
            Self::Touch => include_str!("scripts/touch.lua"),
            Self::Note => include_str!("scripts/note.lua"),
            Self::Find => include_str!("scripts/find.lua"),
            Self::Page => include_str!("scripts/page.lua"),
            Self::Operators => include_str!("scripts/operators.lua"),
            Self::Ticket => include_str!("scripts/ticket.lua"),
            Self::Look => include_str!("scripts/look.lua"),
            Self::Leave => include_str!("scripts/leave.lua"),
            Self::Restore => include_str!("scripts/restore.lua"),
            Self::LeaseRate => include_str!("scripts/lease_rate.lua"),
            Self::LeaseQuota => include_str!("scripts/lease_quota.lua"),
            Self::NoteUsage => include_str!("scripts/note_usage.lua"),
            Self::Usage => include_str!("scripts/usage.lua"),
        }
    }

    /// What it does, for a server that asks: what revokes, syncs and opens takes little, and what
    /// keeps a revoked key out must not wait for room.
    const fn nature(self) -> Nature {
        match self {
            Self::Meta
            | Self::Find
            | Self::Page
            | Self::Operators
            | Self::Look
            | Self::Common
            | Self::Usage => Nature::Reads,
            Self::Revoke | Self::Sync | Self::Open | Self::Offer | Self::Ticket | Self::Leave => {
                Nature::WritesLittle
            }
            Self::Init
            | Self::SetCheck
            | Self::Write
            | Self::Reseal
            | Self::Touch
            | Self::Note
            | Self::Restore
            | Self::LeaseRate
            | Self::LeaseQuota
            | Self::NoteUsage => Nature::Writes,
        }
    }

    fn text(self, dialect: Dialect) -> String {
        let mut text = String::new();
        if dialect == Dialect::Flagged {
            text.push_str(match self.nature() {
                Nature::Reads => "#!lua flags=no-writes\n",
                Nature::WritesLittle => "#!lua flags=allow-oom\n",
                Nature::Writes => "#!lua\n",
            });
        }
        // Two operations of one source are two scripts, whatever the dialect.
        write!(text, "-- {self:?}\n{}\n{}", self.beginning(), self.source()).unwrap_or_default();
        text
    }

    /// What is asked of the control plane begins with what all of it needs; limits live elsewhere.
    const fn beginning(self) -> &'static str {
        match self {
            Self::LeaseRate | Self::LeaseQuota | Self::NoteUsage | Self::Usage => "",
            Self::Init
            | Self::Meta
            | Self::SetCheck
            | Self::Revoke
            | Self::Write
            | Self::Sync
            | Self::Common
            | Self::Open
            | Self::Offer
            | Self::Reseal
            | Self::Touch
            | Self::Note
            | Self::Find
            | Self::Page
            | Self::Operators
            | Self::Ticket
            | Self::Look
            | Self::Leave
            | Self::Restore => BEGIN,
        }
    }
}

/// The names of what is kept, all in one slot.
#[derive(Clone, Debug)]
pub struct Names {
    namespace: String,
    common: [String; 9],
}

impl Names {
    /// Those of a namespace.
    pub fn new(namespace: &str) -> Self {
        let parts = [
            "meta",
            "records",
            "changes",
            "gateways",
            "order",
            "operators",
            "audit",
            "used",
            "beats",
        ];
        let common = parts.map(|it| format!("{{{namespace}}}:{it}"));
        Self { namespace: namespace.to_owned(), common }
    }

    /// What every script is given.
    pub fn common(&self) -> &[String; 9] {
        &self.common
    }

    /// One of them: whoever owns it owns all.
    pub fn any(&self) -> &str {
        let [meta, ..] = &self.common;
        meta
    }

    /// Where one bucket of a key is kept: in one of a few slots, by the key's id, so that limits
    /// spread over a cluster.
    pub fn bucket(&self, key: KeyId, name: &str) -> String {
        format!("{}:{key}:{name}", self.shard(Self::shard_of(key)))
    }

    /// Which of the slots a key's limits are in.
    pub fn shard_of(key: KeyId) -> usize {
        crc32fast::hash(key.as_str().as_bytes()) as usize % SHARDS
    }

    /// What everything begins with that is in one of those slots.
    pub fn shard(&self, shard: usize) -> String {
        format!("{{{}:limits:{shard}}}", self.namespace)
    }

    /// The stream of changes.
    pub fn changes(&self) -> &str {
        let [_, _, changes, ..] = &self.common;
        changes
    }

    /// Where a repeatable write is remembered.
    pub fn once(&self, operator: &str, key: &str) -> String {
        let hash = blake3::hash(format!("{operator}\0{key}").as_bytes());
        format!("{{{}}}:once:{}", self.namespace, hash.to_hex())
    }
}

/// The alarm clock: resolves when there is something after `number`, or after `millis`; a few of
/// those changes come with it.
pub fn alarm(changes: &str, number: u64, millis: u64) -> Cmd {
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(HEARD_MAX).arg("BLOCK").arg(millis);
    command.arg("STREAMS").arg(changes).arg(format!("{number}-0"));
    command
}

const HEARD_MAX: usize = 16;

/// In how many slots of a cluster limits are kept.
pub const SHARDS: usize = 16;

const BEGIN: &str = include_str!("scripts/begin.lua");

const ALL: [Operation; 23] = [
    Operation::Init,
    Operation::Meta,
    Operation::SetCheck,
    Operation::Revoke,
    Operation::Write,
    Operation::Sync,
    Operation::Common,
    Operation::Open,
    Operation::Offer,
    Operation::Reseal,
    Operation::Touch,
    Operation::Note,
    Operation::Find,
    Operation::Page,
    Operation::Operators,
    Operation::Ticket,
    Operation::Look,
    Operation::Leave,
    Operation::Restore,
    Operation::LeaseRate,
    Operation::LeaseQuota,
    Operation::NoteUsage,
    Operation::Usage,
];

static PLAIN: LazyLock<Vec<Script>> = LazyLock::new(|| scripts(Dialect::Plain));
static FLAGGED: LazyLock<Vec<Script>> = LazyLock::new(|| scripts(Dialect::Flagged));
static EMPTY: LazyLock<Script> =
    LazyLock::new(|| Script::new("return redis.error_reply('NOSUCH')"));

fn scripts(dialect: Dialect) -> Vec<Script> {
    ALL.iter().map(|it| Script::new(&it.text(dialect))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_a_script_of_its_own() {
        for dialect in [Dialect::Plain, Dialect::Flagged] {
            let mut hashes: Vec<&str> =
                ALL.iter().map(|it| it.script(dialect).get_hash()).collect();
            hashes.sort_unstable();
            hashes.dedup();
            assert_eq!(hashes.len(), ALL.len());
            assert!(!hashes.contains(&EMPTY.get_hash()));
        }
    }

    #[test]
    fn everything_is_in_one_slot() {
        let names = Names::new("kw");
        assert_eq!(names.changes(), "{kw}:changes");
        let once = names.once("alice", "key");
        assert!(names.common().iter().chain([&once]).all(|it| it.starts_with("{kw}:")));
        assert_ne!(names.once("alice", "b"), names.once("alic", "eb"));
    }
}
