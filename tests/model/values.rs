//! Small values: records, changes, the stream, sets of gateways.

use crate::state::SLOTS;

/// Longest stream that a run may write.
const LONGEST: usize = 8;

/// What the store or a gateway holds of the one key: absent, or a revision, active or revoked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Record(u8);

const REVOKED: u8 = 8;

impl Record {
    pub const ABSENT: Self = Self(0);
    pub const MINTED: Self = Self(1);

    pub fn is_absent(self) -> bool {
        self.0 == 0
    }

    pub fn is_revoked(self) -> bool {
        self.0 & REVOKED != 0
    }

    pub fn is_active(self) -> bool {
        !self.is_absent() && !self.is_revoked()
    }

    pub fn revision(self) -> u8 {
        self.0 & 7
    }

    pub fn patched(self) -> Self {
        Self(self.revision() + 1)
    }

    pub fn revoked(self) -> Self {
        Self((self.revision() + 1) | REVOKED)
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.is_absent(), self.is_revoked()) {
            (true, _) => write!(f, "absent"),
            (false, true) => write!(f, "revoked@{}", self.revision()),
            (false, false) => write!(f, "active@{}", self.revision()),
        }
    }
}

/// One change of the stream: a record and a nonce that no other change has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Change(u8);

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}#{}", self.record(), self.0 >> 4)
    }
}

impl Change {
    pub fn new(record: Record, nonce: u8) -> Self {
        assert!(nonce < 16, "more changes than nonces");
        Self(record.0 | nonce << 4)
    }

    pub fn record(self) -> Record {
        Record(self.0 & 15)
    }
}

/// Numbered changes without gaps: entry `n` stands at index `n - 1`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Stream([u8; LONGEST]);

impl Stream {
    pub const EMPTY: Self = Self([0; LONGEST]);

    pub fn len(self) -> usize {
        self.0.iter().position(|it| *it == 0).unwrap_or(LONGEST)
    }

    pub fn get(self, index: usize) -> Change {
        Change(self.0[index])
    }

    pub fn push(&mut self, change: Change) {
        let end = self.len();
        assert!(end < LONGEST, "the stream is longer than the model allows");
        self.0[end] = change.0;
    }

    pub fn last(self) -> Change {
        self.len().checked_sub(1).map_or(Change(0), |it| self.get(it))
    }

    /// The record that the store holds: one key, so the newest change.
    pub fn record(self) -> Record {
        self.last().record()
    }

    /// Is this very change, with its nonce, entry `n`?
    pub fn holds(self, n: usize, change: Change) -> bool {
        n == 0 || self.0[n - 1] == change.0
    }

    pub fn starts_with(self, other: Self) -> bool {
        let n = other.len();
        self.0[..n] == other.0[..n]
    }

    pub fn cut(self, n: usize) -> Self {
        let mut cut = Self::default();
        cut.0[..n].copy_from_slice(&self.0[..n]);
        cut
    }

    /// How many entries both have in common, by nonce, from the start.
    pub fn common(self, other: Self) -> usize {
        (0..self.len()).take_while(|it| self.0[*it] == other.0[*it]).count()
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries((0..self.len()).map(|it| self.get(it))).finish()
    }
}

/// A set of gateways.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Set(u8);

impl Set {
    pub const EMPTY: Self = Self(0);

    pub fn first(count: usize) -> Self {
        Self((1 << count) - 1)
    }

    pub fn has(self, gateway: usize) -> bool {
        self.0 & 1 << gateway != 0
    }

    pub fn add(&mut self, gateway: usize) {
        self.0 |= 1 << gateway;
    }

    pub fn remove(&mut self, gateway: usize) {
        self.0 &= !(1 << gateway);
    }

    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..SLOTS).filter(move |it| self.has(*it))
    }

    pub fn swap(&mut self, a: usize, b: usize) {
        if self.has(a) != self.has(b) {
            self.0 ^= 1 << a | 1 << b;
        }
    }
}

impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
