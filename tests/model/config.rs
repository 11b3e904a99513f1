//! What one run of the checker explores: a row of the table, a policy, a seeded bug, bounds.

use crate::state::{
    Admin, Budget, Entry, Fault, Load, Minted, NONE, Node, Role, SLOTS, Safe, Slot, State, Turn,
    Vouches,
};
use crate::values::{Record, Set, Stream};

/// How long things last, in ticks. Clocks run at different rates, so each figure is the worst
/// case: a lease on the slowest gateway's clock, a wait on the fastest clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticks {
    pub lease: u8,
    /// 1.1 leases, on an admin's clock: not shorter than the longest lease.
    pub margin: u8,
    /// Two leases, on a gateway's clock.
    pub two: u8,
    /// `serve_known_for`.
    pub serve: u8,
}

pub const LONG: Ticks = Ticks { lease: 2, margin: 2, two: 3, serve: 2 };
pub const SHORT: Ticks = Ticks { lease: 1, margin: 1, two: 2, serve: 1 };

/// A row of the table "what a complete answer survives".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// One Redis, `appendfsync always`.
    Single,
    /// A primary and its replica, `replicas` = all.
    All,
    /// A primary and its replica, `replicas` = 0.
    Fewer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Refuse,
    ServeKnown,
}

/// When a gateway may open an epoch before two leases have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// It ever held a lease, and all gateways that it knows of are there.
    Ever,
    /// It held a lease when it found the epoch, and all gateways that it knows of are there.
    Held,
    /// It held a lease when it found the epoch: whoever did has confirmed all that is complete.
    Alone,
    /// At once: nothing that counts can be lost.
    AtOnce,
}

/// A rule left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seed {
    None,
    /// A read of the stream renews the lease, unseen by the register.
    RenewFromRead,
    /// A sync renews before the replicas have it.
    RenewWithoutWait,
    /// A lease is counted from its answer, not from when its sync was sent.
    CountFromReply,
    /// A gateway's position is a number only, in syncs and in failovers.
    SyncWithoutNonce,
    /// An admin looks for its change by number only.
    AdminWithoutNonce,
    /// Entries of the register expire, and a clock steps.
    RegisterExpires,
    /// An admin answers before it has known the epoch for 1.1 leases.
    QuickInNewEpoch,
    /// An admin that has just started takes the epoch that it meets for an old one.
    TrustedFromStart,
    /// A gateway opens an epoch that it has just met, without having held a lease.
    FreshOpens,
    /// The higher revision wins, revoked or not.
    RevisionWins,
    /// A gateway leaves the register and lets in until its lease ends.
    LeaveEarly,
    /// An admin waits for less than the longest lease.
    NoMargin,
    /// The clock is read once per wake-up, before the head.
    ClockBeforeHead,
    /// `WAIT` after a repeated revocation, which wrote nothing, counts at once.
    WaitWithoutWrite,
    /// An admin answers by what it read before it waited.
    NoLastLook,
    /// A gateway serves past its lease before all replicas had its entry.
    ServeUnjoined,
    /// What a gateway has heard is confirmed by number only.
    HeardWithoutNonce,
    /// An answer is given by a look of long ago.
    OldLook,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Mint,
    Revoke,
}

#[derive(Clone, Debug)]
pub struct Config {
    pub row: Row,
    pub policy: Policy,
    pub opening: Opening,
    pub seed: Seed,
    /// What each admin does, in turn.
    pub ops: [&'static [Op]; 2],
    /// Gateways that run at the start, and processes in all.
    pub running: usize,
    pub processes: usize,
    pub budget: Budget,
    /// Do admins watch beats?
    pub watch: Watch,
    pub loading: Loading,
    pub hearing: Hearing,
    pub ticks: Ticks,
}

/// Is the loader's read applied at once, or can anything come between?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loading {
    AtOnce,
    Slow,
}

/// Does the alarm clock bring changes, which are applied before any sync says whose they are?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    Off,
    On,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    Off,
    On,
}

pub const NOTHING: Budget =
    Budget { failovers: 0, restarts: 0, crashes: 0, leaves: 0, patches: 0, admin_restarts: 0 };

impl Config {
    pub fn new(row: Row) -> Self {
        Self {
            row,
            policy: Policy::Refuse,
            opening: if row == Row::Fewer { Opening::Held } else { Opening::AtOnce },
            seed: Seed::None,
            ops: [&[Op::Revoke], &[]],
            running: 2,
            processes: 2,
            budget: NOTHING,
            watch: Watch::Off,
            loading: Loading::AtOnce,
            hearing: Hearing::Off,
            ticks: LONG,
        }
    }

    pub fn replicas(&self) -> usize {
        usize::from(self.row == Row::All)
    }

    /// `serve_known_for`, in ticks.
    pub fn serve(&self) -> u8 {
        match self.policy {
            Policy::Refuse => 0,
            Policy::ServeKnown => self.ticks.serve,
        }
    }

    /// Can an entry of the register be lost, and does that matter past the lease?
    pub fn joins(&self) -> bool {
        self.row == Row::Fewer && self.policy == Policy::ServeKnown
    }

    /// Does a gateway's memory of the register matter?
    pub fn knows(&self) -> bool {
        matches!(self.opening, Opening::Ever | Opening::Held)
    }

    /// How an entry is marked that is on all replicas.
    pub fn safe(&self) -> Safe {
        if self.joins() { Safe::Yes } else { Safe::No }
    }

    pub fn margin(&self) -> u8 {
        self.ticks.margin - u8::from(self.seed == Seed::NoMargin)
    }

    /// A counterexample reads better with each gateway in its place.
    pub fn sorts(&self) -> bool {
        self.seed == Seed::None
    }

    /// All is well: every gateway holds a fresh lease in epoch 0, which is open.
    pub fn start(&self) -> State {
        let mints = self.ops[0].first() == Some(&Op::Mint);
        let mut stream = Stream::default();
        if !mints {
            stream.push(crate::values::Change::new(Record::MINTED, 1));
        }
        let primary = Node { role: Role::Primary, epoch: 0, opened: 0, stream };
        let replica = Node { role: Role::Replica, epoch: 0, opened: 0, stream };
        let down = Node { role: Role::Down, epoch: 0, opened: NONE, stream: Stream::default() };
        let two_nodes = self.row != Row::Single;
        let mut slots = [Slot::UNBORN; SLOTS];
        for slot in slots.iter_mut().take(self.running) {
            *slot = self.running_slot(stream);
        }
        let admin = Admin {
            epoch: 0,
            known: 0,
            step: 0,
            wait: None,
            answered: None,
            receipts: Set::first(self.running),
        };
        State {
            nodes: [primary, if two_nodes { replica } else { down }],
            slots,
            admins: [admin; 2],
            budget: self.budget,
            next_epoch: 1,
            next_nonce: 2,
            minted: if mints { Minted::No } else { Minted::Answered },
            fault: Fault::None,
            since_failover: 0,
            early: Set::default(),
        }
    }

    fn running_slot(&self, stream: Stream) -> Slot {
        let n = u8::try_from(stream.len()).unwrap();
        let entry = Some(Entry { epoch: 0, n, beat: 1, safe: self.safe() });
        Slot {
            life: crate::state::Life::Runs,
            epoch: 0,
            ring: stream,
            record: stream.record(),
            load: Load::Done,
            joined: self.safe(),
            left: self.ticks.lease + self.serve(),
            ever: if self.opening == Opening::Ever { Vouches::Yes } else { Vouches::No },
            turn: Turn::Settled,
            known: if self.knows() { Set::first(self.running) } else { Set::EMPTY },
            entries: [entry, if self.row == Row::Single { None } else { entry }],
            seen: if self.watch == Watch::On { [1; 2] } else { [0; 2] },
            still: if self.watch == Watch::On {
                [self.ticks.margin + self.serve(); 2]
            } else {
                [0; 2]
            },
            ..Slot::UNBORN
        }
    }
}
