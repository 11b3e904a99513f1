//! What goes wrong, and how it is healed.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::nemesis::chance::Chance;
use crate::nemesis::ground::{Form, Ground, META};
use crate::nemesis::stand::{GATEWAYS, LEASE, PROCESSES, Stand};
use crate::support::commands::Shell;
use crate::support::faults::Way;
use crate::support::fleet::operator::Held;

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Of the network of one process.
    Reset,
    VanishToServer,
    VanishToClient,
    VanishBoth,
    Delay,
    RefuseConnections,
    /// Of the store.
    KillServer,
    EmptyServer,
    FillMemory,
    FreezeServer,
    FreezeReplica,
    LoseWrites,
    FailOver,
    KillClients,
    MoveSlot,
    StepServersClock,
    /// Of the processes.
    StepClock,
    FreezeProcess,
    KillProcess,
    KillMidReceipt,
    /// Of the records.
    TrimWhileAway,
    PutOldRecordBack,
}

/// One that is not healed yet.
#[derive(Debug)]
pub struct Begun {
    pub fault: Fault,
    /// The process that it strikes.
    place: usize,
    /// The server that it strikes, as its place.
    server: usize,
    word: String,
    key: Option<Held>,
}

/// How often each came.
pub type Tally = BTreeMap<Fault, usize>;

impl Fault {
    /// Those that a fleet in this form is to survive.
    pub fn all(form: Form) -> Vec<Self> {
        let mut all = vec![
            Self::Reset,
            Self::VanishToServer,
            Self::VanishToClient,
            Self::VanishBoth,
            Self::Delay,
            Self::RefuseConnections,
            Self::KillServer,
            Self::FillMemory,
            Self::KillClients,
            Self::StepServersClock,
            Self::StepClock,
            Self::FreezeProcess,
            Self::KillProcess,
            Self::KillMidReceipt,
            Self::TrimWhileAway,
            Self::PutOldRecordBack,
        ];
        all.extend_from_slice(match form {
            Form::One => &[Self::FreezeServer, Self::EmptyServer],
            Form::AllReplicas => {
                &[Self::FreezeServer, Self::FreezeReplica, Self::LoseWrites, Self::FailOver]
            }
            // Two primaries at once are beyond what fewer replicas survive.
            Form::SomeReplicas => &[Self::FreezeReplica, Self::LoseWrites],
            Form::Cluster => &[Self::FreezeServer, Self::MoveSlot],
        });
        all
    }

    /// Whether nothing else may be wrong with it: what is left is needed.
    pub fn is_alone(self, form: Form) -> bool {
        form == Form::SomeReplicas
            || matches!(self, Self::EmptyServer | Self::PutOldRecordBack | Self::TrimWhileAway)
    }

    /// Whether it may come beside one that strikes another place.
    pub fn is_light(self) -> bool {
        self <= Self::RefuseConnections || matches!(self, Self::StepClock | Self::FreezeProcess)
    }
}

impl Begun {
    /// Whether it has to do with this process.
    fn strikes(&self, place: usize) -> bool {
        self.place == place || self.fault == Fault::KillMidReceipt && place == GATEWAYS
    }
}

impl Stand {
    /// Begins a fault, elsewhere than the one that there is already.
    pub fn strike(&mut self, fault: Fault, beside: Option<&Begun>, chance: &mut Chance) -> Begun {
        let mut place = chance.below(PROCESSES);
        while beside.is_some_and(|it| it.strikes(place)) {
            place = (place + 1) % PROCESSES;
        }
        let mut begun = Begun { fault, place, server: 0, word: String::new(), key: None };
        match fault {
            Fault::Reset => self.networks[place].reset(),
            Fault::VanishToServer => self.networks[place].vanish(Way::ToServer),
            Fault::VanishToClient => self.networks[place].vanish(Way::ToClient),
            Fault::VanishBoth => self.networks[place].vanish(Way::Both),
            Fault::Delay => {
                let by = chance.millis(5, 300);
                self.networks[place].each().for_each(|it| it.delay(Way::Both, by));
            }
            Fault::RefuseConnections => {
                self.networks[place].each().for_each(|it| it.refuse());
                self.networks[place].reset();
            }
            Fault::StepClock => self.walls[place].step(step(chance)),
            Fault::StepServersClock => self.walls[PROCESSES].step(step(chance)),
            Fault::FreezeProcess => self.process(place).freeze(),
            Fault::KillProcess => self.kill(place),
            Fault::KillMidReceipt => {
                begun.place = chance.below(GATEWAYS);
                self.process(begun.place).freeze();
                // Whoever revokes now waits for a gateway that does not answer.
                thread::sleep(LEASE / 3);
                self.kill(GATEWAYS);
            }
            Fault::TrimWhileAway => {
                begun.place = chance.below(GATEWAYS);
                self.networks[begun.place].vanish(Way::Both);
            }
            Fault::PutOldRecordBack => begun.key = Some(self.put_old_record_back()),
            Fault::KillServer
            | Fault::EmptyServer
            | Fault::FillMemory
            | Fault::FreezeServer
            | Fault::FreezeReplica
            | Fault::LoseWrites
            | Fault::FailOver
            | Fault::KillClients
            | Fault::MoveSlot => self.strike_servers(&mut begun, chance),
        }
        begun
    }

    fn strike_servers(&mut self, begun: &mut Begun, chance: &mut Chance) {
        let primary = self.ground.primary();
        let place_of =
            |address| self.ground.servers().iter().position(|it| it.address() == address).unwrap();
        begun.server = place_of(primary.address());
        match (begun.fault, &self.ground) {
            (Fault::KillServer, Ground::Sentinel(it)) if self.form == Form::SomeReplicas => {
                primary.kill();
                it.promoted_after(primary.address());
            }
            (Fault::KillServer, _) => primary.kill(),
            (Fault::EmptyServer, _) => {
                begun.word = primary.cli(&["HGET", META, "identity"]);
                primary.restart_empty();
            }
            (Fault::FillMemory, _) => drop(primary.cli(&["CONFIG", "SET", "maxmemory", "1"])),
            (Fault::FreezeServer, _) => primary.freeze(),
            (Fault::FreezeReplica, Ground::Sentinel(it)) => {
                let replica = *chance.any(&it.replicas());
                begun.server = place_of(replica.address());
                replica.freeze();
            }
            (Fault::LoseWrites, Ground::Sentinel(it)) => {
                it.lose(|_primary| thread::sleep(Duration::from_millis(300)));
            }
            (Fault::FailOver, Ground::Sentinel(it)) => {
                let ask = ["SENTINEL", "FAILOVER", crate::support::sentinel::NAME];
                drop(it.sentinels()[0].try_cli(&ask));
            }
            (Fault::KillClients, _) => drop(primary.cli(&["CLIENT", "KILL", "TYPE", "normal"])),
            (Fault::MoveSlot, Ground::Cluster(it)) => {
                let to = *chance.any(&it.others_than(primary));
                it.move_slot(META, to);
            }
            (fault, _) => panic!("{fault:?} is not for {:?}", self.form),
        }
    }

    /// Ends what servers and networks suffer from.
    pub fn heal(&mut self, begun: &Begun) {
        let Begun { fault, place, server, word, key } = begun;
        match fault {
            Fault::VanishToServer
            | Fault::VanishToClient
            | Fault::VanishBoth
            | Fault::Delay
            | Fault::RefuseConnections => self.networks[*place].pass(),
            Fault::TrimWhileAway => {
                drop(self.ground.primary().cli(&["XTRIM", "{kw}:changes", "MAXLEN", "1"]));
                self.networks[*place].pass();
            }
            Fault::KillServer | Fault::LoseWrites => self.ground.servers()[*server].restart(),
            Fault::FreezeServer | Fault::FreezeReplica => self.ground.servers()[*server].thaw(),
            Fault::FillMemory => {
                let server = &self.ground.servers()[*server];
                drop(server.cli(&["CONFIG", "SET", "maxmemory", "0"]));
            }
            Fault::EmptyServer => {
                let words = ["store", "restore", "--config", "keyward.toml", "--identity", word];
                Shell::beside(self.fleet.gateway(0)).done(&words);
            }
            Fault::StepClock => self.walls[*place].step(0),
            Fault::StepServersClock => self.walls[PROCESSES].step(0),
            Fault::FreezeProcess | Fault::KillMidReceipt => {
                self.process(*place).signal(Signal::CONT);
            }
            Fault::PutOldRecordBack => self.revoke(key.as_ref().unwrap()),
            Fault::Reset
            | Fault::FailOver
            | Fault::KillClients
            | Fault::MoveSlot
            | Fault::KillProcess => {}
        }
    }

    /// Starts again who was killed; they wait until they are ready.
    pub fn revive(&mut self, begun: &Begun) {
        match (begun.fault, begun.place) {
            (Fault::KillProcess, 0..GATEWAYS) => self.fleet.restart(begun.place),
            (Fault::KillProcess | Fault::KillMidReceipt, _) => self.fleet.restart_node(),
            (_, _) => {}
        }
    }

    fn kill(&mut self, place: usize) {
        if place < GATEWAYS { self.fleet.kill(place) } else { self.fleet.kill_node() }
    }

    /// Revokes a key and puts its record back as it was before.
    fn put_old_record_back(&mut self) -> Held {
        let key = self.mint();
        let id = &*key.id.clone();
        let run = |this: &Self, script: &str| {
            let said = this.ground.primary().cli(&["EVAL", script, "2", RECORDS, SAVED, id]);
            assert_eq!(said, "1", "{script}");
        };
        run(self, "redis.call('SET', KEYS[2], redis.call('HGET', KEYS[1], ARGV[1])) return 1");
        self.revoke(&key);
        run(self, "redis.call('HSET', KEYS[1], ARGV[1], redis.call('GET', KEYS[2])) return 1");
        run(self, "return redis.call('DEL', KEYS[2])");
        key
    }
}

/// By how many seconds a clock is wrong.
fn step(chance: &mut Chance) -> i64 {
    *chance.any(&[-86_400, -3_600, -5, 5, 3_600, 86_400])
}

const RECORDS: &str = "{kw}:records";
const SAVED: &str = "{kw}:saved-by-hand";
