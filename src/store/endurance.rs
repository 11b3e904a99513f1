//! Says what an acknowledged write survives: which row of the protocol's table a store is in.

/// How firmly a store keeps what it has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endurance {
    /// It was not reached yet.
    Unknown,
    /// A file of ours on a disk.
    File,
    /// Redis that keeps nothing but what it writes now and then.
    Memory,
    /// Redis that leaves it to the system when a change is on its disk.
    Whenever,
    /// Redis that writes each change to its disk within a second.
    EverySecond,
    /// Redis that writes each change to its disk before it answers.
    Always,
    /// Every replica holds what counts.
    AllReplicas,
    /// Some replicas may not hold it.
    SomeReplicas,
}

impl Endurance {
    /// What no acknowledged write is lost by.
    pub const fn survives(self) -> &'static [&'static str] {
        match self {
            Self::Unknown | Self::Memory => &[],
            Self::File => &["kill -9", "power loss"],
            Self::Whenever => &["a crash of Redis", "pause", "partition"],
            Self::EverySecond => &[
                "a crash of Redis",
                "pause",
                "partition",
                "power loss, but for the last two seconds",
            ],
            Self::Always => &["a crash of Redis", "power loss", "pause", "partition"],
            Self::AllReplicas => {
                &["a crash of Redis", "pause", "partition", "failover", "two primaries at once"]
            }
            Self::SomeReplicas => &[
                "a crash of Redis",
                "pause",
                "partition",
                "failover, if a gateway that has confirmed reaches the new primary within two leases",
            ],
        }
    }
}
