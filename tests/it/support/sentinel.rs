//! A real primary with two replicas, watched by three sentinels. Unit tests can include the file
//! beside `redis.rs`.

use std::net::SocketAddr;

use super::redis::patience::eventually;
use super::redis::{Redis, TEST, Terms};

/// All six. They end when this is dropped.
#[derive(Debug)]
pub struct Sentinel {
    servers: Vec<Redis>,
    sentinels: Vec<Redis>,
}

impl Sentinel {
    /// Starts them, and waits until the replicas follow and the sentinels know of each other.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(&Terms::default())
    }

    /// The same on terms for the primary and the replicas; the sentinels speak TLS where they do,
    /// and ask nobody for a password.
    #[track_caller]
    pub fn start_with(terms: &Terms) -> Self {
        let primary = Redis::start_with(terms);
        let port = primary.address().port();
        let following = terms.clone().line(&format!("replicaof 127.0.0.1 {port}"));
        let [one, other] = [(), ()].map(|()| Redis::start_with(&following));
        let watching = watching(terms, port);
        let sentinels = vec![(); 3].into_iter().map(|()| Redis::start_with(&watching)).collect();
        let this = Self { servers: vec![primary, one, other], sentinels };
        for it in &this.sentinels {
            // They tell each other sooner what they know. Redis 6 has no such command.
            it.cli(&["SENTINEL", "DEBUG", "PUBLISH-PERIOD", "200", "INFO-PERIOD", "500"]);
        }
        this.settle();
        this
    }

    /// Where the sentinels are, and what the primary is called.
    pub fn url(&self) -> String {
        let addresses: Vec<String> =
            self.sentinels.iter().map(|it| it.address().to_string()).collect();
        format!("redis+sentinel://{}/{NAME}", addresses.join(","))
    }

    /// The primary and the replicas, whoever is which.
    pub fn servers(&self) -> &[Redis] {
        &self.servers
    }

    /// Those who watch.
    pub fn sentinels(&self) -> &[Redis] {
        &self.sentinels
    }

    /// Whom the sentinels name as the primary.
    #[track_caller]
    pub fn primary(&self) -> &Redis {
        let mut found = None;
        eventually("the sentinels agree on a primary", || {
            found = self.agreed();
            found.is_some()
        });
        found.unwrap()
    }

    /// The others.
    #[track_caller]
    pub fn replicas(&self) -> Vec<&Redis> {
        let primary = self.primary().address();
        self.servers.iter().filter(|it| it.address() != primary).collect()
    }

    /// Has the sentinels make another one the primary, while all are well, and waits until the
    /// others follow it; who it is.
    #[track_caller]
    pub fn fail_over(&self) -> &Redis {
        let old = self.primary().address();
        eventually("a failover begins", || {
            self.sentinels[0].cli(&["SENTINEL", "FAILOVER", NAME]) == "OK"
        });
        let new = self.promoted_after(old);
        self.settle();
        new
    }

    /// Waits until another one than `old` is the primary, to all sentinels and to itself; who it is.
    #[track_caller]
    pub fn promoted_after(&self, old: SocketAddr) -> &Redis {
        let mut found = None;
        eventually("another one is promoted", || {
            let named = self.agreed().filter(|it| it.address() != old);
            found = named.filter(|it| it.try_cli(&["ROLE"]).is_ok_and(|it| is_primary(&it)));
            found.is_some()
        });
        found.unwrap()
    }

    /// From now on no write reaches the replicas, though the primary still answers: they stand
    /// still, and what is sent to them is lost with their connections. After a second the
    /// sentinels take them for down.
    #[track_caller]
    pub fn part_replicas(&self) {
        for it in self.replicas() {
            it.freeze();
        }
        self.primary().cli(&["CLIENT", "KILL", "TYPE", "replica"]);
    }

    /// The replicas go on.
    #[track_caller]
    pub fn join_replicas(&self) {
        for it in &self.servers {
            it.thaw();
        }
    }

    /// Kills the primary after `writes`, which it answers and no replica hears of, and waits for
    /// another one; who it is. The old one stays dead.
    #[track_caller]
    pub fn lose(&self, writes: impl FnOnce(&Redis)) -> &Redis {
        let (old, replicas) = (self.primary(), self.replicas());
        self.part_replicas();
        writes(old);
        old.kill();
        for it in replicas {
            it.thaw();
        }
        self.promoted_after(old.address())
    }

    /// Waits until all servers are there, two follow one, and all sentinels know it.
    #[track_caller]
    pub fn settle(&self) {
        eventually("the sentinels know of all", || self.sentinels.iter().all(knows_all));
        // On a busy machine they may change their mind meanwhile.
        eventually("the replicas follow", || {
            let primary = self.primary();
            let replicas = self.servers.iter().filter(|it| it.address() != primary.address());
            replicas.map(|it| it.cli(&["ROLE"])).all(|it| is_following(&it, primary))
        });
    }

    /// Whom all sentinels that answer name.
    fn agreed(&self) -> Option<&Redis> {
        let ask = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME];
        let named: Vec<String> =
            self.sentinels.iter().filter_map(|it| it.try_cli(&ask).ok()).collect();
        let first = named.first()?.replacen('\n', ":", 1);
        let is_agreed = named.windows(2).all(|it| it[0] == it[1]);
        self.servers.iter().find(|it| is_agreed && it.address().to_string() == first)
    }
}

fn watching(terms: &Terms, port: u16) -> Terms {
    let mut watching = Terms::of_sentinel()
        .line(&format!("sentinel monitor {NAME} 127.0.0.1 {port} 2"))
        // With half of it, a busy machine sees failovers that nobody wanted.
        .line(&format!("sentinel down-after-milliseconds {NAME} 1000"))
        .line(&format!("sentinel failover-timeout {NAME} 2000"))
        .line(&format!("sentinel parallel-syncs {NAME} 2"));
    if terms.has_user() {
        watching = watching
            .line(&format!("sentinel auth-user {NAME} {TEST}"))
            .line(&format!("sentinel auth-pass {NAME} {TEST}"));
    }
    if let Some(tls) = terms.tls_files() {
        watching = watching.tls(tls.clone());
    }
    watching
}

fn knows_all(sentinel: &Redis) -> bool {
    let said = sentinel.cli(&["SENTINEL", "MASTER", NAME]);
    let replicas = sentinel.cli(&["SENTINEL", "REPLICAS", NAME]);
    // A flag more says that something is wrong.
    count(&said, "flags", "master") == 1
        && count(&said, "num-slaves", "2") == 1
        && count(&said, "num-other-sentinels", "2") == 1
        && count(&replicas, "flags", "slave") == 2
}

/// How often a field has a value; they stand on lines of their own.
fn count(said: &str, field: &str, value: &str) -> usize {
    let lines: Vec<&str> = said.lines().collect();
    lines.windows(2).filter(|it| *it == [field, value]).count()
}

/// What `ROLE` says.
fn is_primary(role: &str) -> bool {
    role.starts_with("master")
}

fn is_following(role: &str, primary: &Redis) -> bool {
    let port = primary.address().port().to_string();
    let lines: Vec<&str> = role.lines().collect();
    lines.first() == Some(&"slave")
        && lines.get(2) == Some(&&*port)
        && lines.get(3) == Some(&"connected")
}

/// What the sentinels call the primary.
pub const NAME: &str = "mymaster";
