//! A real Cluster of three masters. Unit tests can include the file beside `redis.rs`.

use std::ops::RangeInclusive;

use super::redis::patience::eventually;
use super::redis::{Redis, TEST, Terms, field_of};

/// All its servers. They end when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    servers: Vec<Redis>,
}

/// Whether its masters are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replicas {
    /// By nobody.
    None,
    /// By one each.
    One,
}

/// One of its servers, as another one sees it.
#[derive(Debug)]
struct Node {
    id: String,
    address: String,
    flags: String,
    master: String,
    slots: Vec<RangeInclusive<u16>>,
}

impl Cluster {
    /// Starts three masters, and waits until each answers for its slots.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(&Terms::default(), Replicas::None)
    }

    /// The same on terms, with replicas.
    #[track_caller]
    pub fn start_with(terms: &Terms, replicas: Replicas) -> Self {
        let terms = terms
            .clone()
            .line("cluster-enabled yes")
            .line("cluster-config-file nodes.conf")
            .line("cluster-node-timeout 1000");
        let each = if replicas == Replicas::One { "1" } else { "0" };
        let count = if replicas == Replicas::One { 6 } else { 3 };
        let servers: Vec<Redis> = (0..count).map(|_| Redis::start_with(&terms)).collect();
        let addresses: Vec<String> = servers.iter().map(|it| it.address().to_string()).collect();
        let mut words = vec!["--cluster", "create"];
        words.extend(addresses.iter().map(String::as_str));
        words.extend(["--cluster-replicas", each, "--cluster-yes"]);
        servers[0].cli(&words);
        let this = Self { servers };
        this.settle();
        this
    }

    /// Where its servers are.
    pub fn url(&self) -> String {
        let addresses: Vec<String> =
            self.servers.iter().map(|it| it.address().to_string()).collect();
        let is_tls = self.servers[0].terms().tls_files().is_some();
        let scheme = if is_tls { "rediss" } else { "redis" };
        format!("{scheme}+cluster://{}", addresses.join(","))
    }

    /// All servers, whoever is what.
    pub fn servers(&self) -> &[Redis] {
        &self.servers
    }

    /// The slot of a key.
    #[track_caller]
    pub fn slot_of(&self, key: &str) -> u16 {
        self.anyone().cli(&["CLUSTER", "KEYSLOT", key]).parse().unwrap()
    }

    /// The master of a key's slot.
    #[track_caller]
    pub fn owner_of(&self, key: &str) -> &Redis {
        let slot = self.slot_of(key);
        let mut found = None;
        eventually("the servers agree who owns a slot", || {
            found = self.owner(slot);
            found.is_some()
        });
        found.unwrap()
    }

    /// The masters that do not own a key's slot.
    #[track_caller]
    pub fn others_than(&self, owner: &Redis) -> Vec<&Redis> {
        let nodes = nodes_by(self.anyone());
        let is_master = |it: &Redis| {
            nodes.iter().any(|node| node.is(it) && node.has("master") && !node.has("fail"))
        };
        self.servers.iter().filter(|it| it.address() != owner.address() && is_master(it)).collect()
    }

    /// The replicas of a master.
    #[track_caller]
    pub fn replicas_of(&self, master: &Redis) -> Vec<&Redis> {
        let nodes = nodes_by(self.anyone());
        let id = &nodes.iter().find(|it| it.is(master)).unwrap().id;
        let is_one = |it: &Redis| nodes.iter().any(|node| node.is(it) && node.master == *id);
        self.servers.iter().filter(|it| is_one(it)).collect()
    }

    /// Moves the slot of a key, with all that is in it: its owner answers MOVED.
    #[track_caller]
    pub fn move_slot(&self, key: &str, to: &Redis) {
        self.begin_move(key, to);
        self.move_keys(key, to);
        self.end_move(key, to);
    }

    /// Begins to move the slot of a key: from now on its owner answers ASK for what it does not
    /// have.
    #[track_caller]
    pub fn begin_move(&self, key: &str, to: &Redis) {
        let (slot, from) = (self.slot_of(key).to_string(), self.owner_of(key));
        assert_eq!(to.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id_of(from)]), "OK");
        assert_eq!(from.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id_of(to)]), "OK");
    }

    /// Moves what stands in the slot of a key, after [`Self::begin_move`]: its owner answers ASK
    /// for all of it.
    #[track_caller]
    pub fn move_keys(&self, key: &str, to: &Redis) {
        let (slot, from) = (self.slot_of(key).to_string(), self.owner_of(key));
        let port = to.address().port().to_string();
        loop {
            let keys = from.cli(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
            let keys: Vec<&str> = keys.lines().collect();
            if keys.is_empty() {
                return;
            }
            let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000"];
            if from.terms().has_user() {
                words.extend(["AUTH2", TEST, TEST]);
            }
            words.push("KEYS");
            words.extend(keys);
            assert_eq!(from.cli(&words), "OK");
        }
    }

    /// Ends the move: its new owner answers for the slot, and the old one MOVED.
    #[track_caller]
    pub fn end_move(&self, key: &str, to: &Redis) {
        let (slot, from, id) = (self.slot_of(key).to_string(), self.owner_of(key), id_of(to));
        let others = self.others_than(to);
        let others = others.into_iter().filter(|it| it.address() != from.address());
        // Whoever gets it first: else it would belong to nobody for a while.
        for it in [to, from].into_iter().chain(others) {
            assert_eq!(it.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]), "OK");
        }
        eventually("the slot has moved", || {
            self.owner(slot.parse().unwrap()).is_some_and(|it| it.address() == to.address())
        });
    }

    /// Has a replica take the place of its master, while both are well; who it is.
    #[track_caller]
    pub fn fail_over(&self, master: &Redis) -> &Redis {
        let slot = slot_owned_by(master);
        let replica = self.replicas_of(master)[0];
        assert_eq!(replica.cli(&["CLUSTER", "FAILOVER"]), "OK");
        self.promoted_in(slot, master);
        self.settle();
        replica
    }

    /// Kills a master, and waits until its replica has taken its place; who it is.
    #[track_caller]
    pub fn kill_and_fail_over(&self, master: &Redis) -> &Redis {
        let slot = slot_owned_by(master);
        master.kill();
        self.promoted_in(slot, master)
    }

    /// Waits until all servers know all others, and each answers.
    #[track_caller]
    pub fn settle(&self) {
        let count = self.servers.len();
        eventually("the cluster is well", || self.servers.iter().all(|it| is_well(it, count)));
    }

    #[track_caller]
    fn promoted_in(&self, slot: u16, old: &Redis) -> &Redis {
        let mut found = None;
        eventually("another one is promoted", || {
            found = self.owner(slot).filter(|it| it.address() != old.address());
            // It may still wait for the others' word that the cluster is whole.
            found.is_some_and(|it| it.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok"))
        });
        found.unwrap()
    }

    /// Whom all servers that answer name.
    fn owner(&self, slot: u16) -> Option<&Redis> {
        let views = self.servers.iter().filter_map(try_nodes_by);
        let named: Vec<Option<String>> = views
            .map(|nodes| {
                let owner =
                    nodes.into_iter().find(|it| it.slots.iter().any(|it| it.contains(&slot)));
                owner.map(|it| it.address)
            })
            .collect();
        let first = named.first()?.as_ref()?;
        let is_agreed = named.iter().all(|it| it.as_ref() == Some(first));
        self.servers.iter().find(|it| is_agreed && it.address().to_string() == *first)
    }

    #[track_caller]
    fn anyone(&self) -> &Redis {
        let answers = |it: &&Redis| it.try_cli(&["PING"]).is_ok();
        self.servers.iter().find(answers).expect("one of them answers")
    }
}

impl Node {
    /// From a line of `CLUSTER NODES`.
    fn parse(line: &str) -> Self {
        let words: Vec<&str> = line.split_whitespace().collect();
        let address = words[1].split('@').next().unwrap().to_owned();
        let slots = words[8..].iter().filter(|it| !it.starts_with('['));
        let range = |it: &&str| {
            let (first, last) = it.split_once('-').unwrap_or((it, it));
            first.parse().unwrap()..=last.parse().unwrap()
        };
        let [id, flags, master] = [words[0], words[2], words[3]].map(str::to_owned);
        Self { id, address, flags, master, slots: slots.map(range).collect() }
    }

    fn is(&self, server: &Redis) -> bool {
        self.address == server.address().to_string()
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.split(',').any(|it| it == flag)
    }
}

#[track_caller]
fn nodes_by(server: &Redis) -> Vec<Node> {
    try_nodes_by(server).expect("it answers")
}

fn try_nodes_by(server: &Redis) -> Option<Vec<Node>> {
    let text = server.try_cli(&["CLUSTER", "NODES"]).ok()?;
    Some(text.lines().map(Node::parse).collect())
}

/// One of them.
#[track_caller]
fn slot_owned_by(master: &Redis) -> u16 {
    let nodes = nodes_by(master);
    *nodes.iter().find(|it| it.is(master)).unwrap().slots[0].start()
}

fn id_of(server: &Redis) -> String {
    server.cli(&["CLUSTER", "MYID"])
}

fn is_well(server: &Redis, count: usize) -> bool {
    let info = server.cli(&["CLUSTER", "INFO"]);
    let is = |name: &str, value: &str| field_of(&info, name).as_deref() == Some(value);
    let nodes = nodes_by(server);
    let followed = nodes.iter().filter(|it| it.has("slave")).count();
    let role = server.cli(&["ROLE"]);
    is("cluster_state", "ok")
        && is("cluster_slots_ok", "16384")
        && nodes.len() == count
        && followed == count - 3
        && !nodes.iter().any(|it| it.flags.contains("fail") || it.has("handshake"))
        && (role.starts_with("master") || role.contains("connected"))
}
