//! The state of the whole fleet at one instant: two Redis nodes, the gateways, the admins.

use crate::config::Config;
use crate::values::{Change, Record, Set, Stream};

/// Gateway processes that a run may see. An id is drawn per process: a restart takes a new slot.
pub const SLOTS: usize = 4;
/// Admin processes.
pub const ADMINS: usize = 2;
/// No epoch: nothing known yet, or a confirmation that the script did not take.
pub const NONE: u8 = 255;

/// What a Redis node believes that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    Primary,
    Replica,
    Down,
}

/// One Redis node; its register is spread over the slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub role: Role,
    pub epoch: u8,
    pub opened: u8,
    pub stream: Stream,
}

impl Node {
    pub const EMPTY: Self =
        Self { role: Role::Down, epoch: 0, opened: NONE, stream: Stream::EMPTY };
}

/// An entry of the register: the confirmed epoch and number, and the beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    pub epoch: u8,
    pub n: u8,
    pub beat: u8,
    /// Was it on all replicas once since it was made?
    pub safe: Safe,
}

/// Whether an entry of the register can still be lost by a failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Safe {
    No,
    Yes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Life {
    Unborn,
    Runs,
    /// Seeded only: out of the register and still letting in.
    Leaves,
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Load {
    Not,
    /// The read was answered, and is not yet applied.
    Read(Record),
    Done,
}

/// Where a gateway stands with a new epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Turn {
    /// In its epoch, which was open when it last renewed.
    Settled,
    /// A sync was answered from this epoch, and nothing is offered yet.
    Found(u8),
    /// In the epoch with all it knows; the epoch is not known to be open.
    Offered,
}

/// May a gateway open an epoch before two leases have passed?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Vouches {
    No,
    Yes,
}

/// The answer to a `SYNC`, on its way; carried out when it was sent, the worst case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reply {
    pub node: u8,
    pub epoch: u8,
    pub is_open: bool,
    pub stream: Stream,
    pub held: Held,
    /// Whether what was heard stands there.
    pub heard: Heard,
    /// What is left of the lease that it brings.
    pub left: u8,
    pub members: Set,
    pub joined: Safe,
}

/// Does what a gateway has heard stand where it syncs?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Heard {
    Nothing,
    Stands,
    Unknown,
}

/// Has `WAIT` counted enough replicas?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Held {
    No,
    Yes,
}

/// A gateway process, and its entry in both registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    pub life: Life,
    pub epoch: u8,
    /// Its changes up to its position; the position is the last of them.
    pub ring: Stream,
    /// What it has heard and applied, and no sync has found yet.
    pub heard: Stream,
    pub record: Record,
    pub load: Load,
    /// Ticks until it lets nothing in any more (lease and `serve_known_for`).
    pub left: u8,
    /// Was its entry of the register on all replicas when it last renewed?
    pub joined: Safe,
    /// Did this process ever hold a lease?
    pub ever: Vouches,
    pub turn: Turn,
    /// Ticks until two leases have passed since it found its epoch.
    pub two: u8,
    pub vouches: Vouches,
    /// The register as it was when it last renewed.
    pub known: Set,
    pub sync: Option<Reply>,
    pub entries: [Option<Entry>; 2],
    /// Per admin: the beat last seen, 0 for none.
    pub seen: [u8; ADMINS],
    /// Per admin: ticks until that beat has stood still long enough to be removed.
    pub still: [u8; ADMINS],
}

impl Slot {
    pub const UNBORN: Self = Self {
        life: Life::Unborn,
        epoch: NONE,
        ring: Stream::EMPTY,
        heard: Stream::EMPTY,
        record: Record::ABSENT,
        load: Load::Not,
        left: 0,
        joined: Safe::No,
        ever: Vouches::No,
        turn: Turn::Settled,
        two: 0,
        vouches: Vouches::No,
        known: Set::EMPTY,
        sync: None,
        entries: [None; 2],
        seen: [0; ADMINS],
        still: [0; ADMINS],
    };

    pub fn runs(&self) -> bool {
        self.life == Life::Runs
    }

    pub fn lives(&self) -> bool {
        matches!(self.life, Life::Runs | Life::Leaves)
    }
}

/// A write that waits for its receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wait {
    pub node: u8,
    pub epoch: u8,
    pub n: u8,
    pub change: Change,
    pub held: Held,
    /// Ticks until 1.1 leases have passed since `WAIT` returned.
    pub t0: u8,
    pub awaited: Set,
    /// Under `serve_known`: not confirmed, and not waited for any longer.
    pub silent: Set,
    pub confirmed: Set,
    pub settled: Settled,
}

/// Did one look show that nobody is awaited, in an epoch known for long enough?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Settled {
    No,
    ByLooking,
}

/// An admin process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Admin {
    /// The epoch that it knows, and ticks until it has known it for 1.1 leases.
    pub epoch: u8,
    pub known: u8,
    /// Index of the operation that comes next or is under way.
    pub step: u8,
    pub wait: Option<Wait>,
    /// The answer to a revocation: whom it named as unconfirmed.
    pub answered: Option<Set>,
    /// Who had confirmed its last answer.
    pub receipts: Set,
}

/// A promise that a step has broken, kept so that every later state shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    None,
    FalseReceipt,
    Undone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Minted {
    No,
    Answered,
    /// A revocation was called: the key may be refused.
    Revoking,
}

/// What may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    pub failovers: u8,
    pub restarts: u8,
    pub crashes: u8,
    pub leaves: u8,
    pub patches: u8,
    pub admin_restarts: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub nodes: [Node; 2],
    pub slots: [Slot; SLOTS],
    pub admins: [Admin; ADMINS],
    pub budget: Budget,
    pub next_epoch: u8,
    pub next_nonce: u8,
    pub minted: Minted,
    pub fault: Fault,
    /// Ticks until two leases have passed since the last failover.
    pub since_failover: u8,
    /// Seeded only: gateways with a request whose clock was read before its head.
    pub early: Set,
}

impl State {
    pub fn members(&self, node: usize) -> Set {
        let mut members = Set::default();
        for (g, slot) in self.slots.iter().enumerate() {
            if slot.entries[node].is_some() {
                members.add(g);
            }
        }
        members
    }

    pub fn is_primary(&self, node: usize) -> bool {
        self.nodes[node].role == Role::Primary
    }

    /// The node that was promoted last.
    pub fn newest(&self) -> &Node {
        let primaries = self.nodes.iter().filter(|it| it.role == Role::Primary);
        primaries.max_by_key(|it| it.epoch).unwrap()
    }

    pub fn append(&mut self, node: usize, record: Record) {
        self.nodes[node].stream.push(Change::new(record, self.next_nonce));
        self.next_nonce += 1;
    }

    /// The same state with its gateways in a fixed order: which is which does not matter.
    pub fn sorted(mut self, config: &Config) -> Self {
        if !config.sorts() {
            return self;
        }
        while let Some(at) = (1..SLOTS).find(|it| self.slots[it - 1] > self.slots[*it]) {
            self.swap(at - 1, at);
        }
        self
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.slots.swap(a, b);
        self.early.swap(a, b);
        for slot in &mut self.slots {
            slot.known.swap(a, b);
            if let Some(sync) = &mut slot.sync {
                sync.members.swap(a, b);
            }
        }
        for admin in &mut self.admins {
            if let Some(wait) = &mut admin.wait {
                wait.awaited.swap(a, b);
                wait.silent.swap(a, b);
                wait.confirmed.swap(a, b);
            }
            admin.receipts.swap(a, b);
            if let Some(named) = &mut admin.answered {
                named.swap(a, b);
            }
        }
    }
}
