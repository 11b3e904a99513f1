//! A fleet with everything around it that can fail.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::nemesis::book::{Book, Leaf};
use crate::nemesis::ground::{Form, Ground};
use crate::nemesis::journal::Journal;
use crate::support::fleet::operator::{Held, Operator};
use crate::support::fleet::traffic::Keys;
use crate::support::fleet::{Admins, Fleet, Plan};
use crate::support::gateway::Gateway;
use crate::support::history::{Answer, Outcome};
use crate::support::network::Network;
use crate::support::wall::Wall;

/// All of it. What is dropped first stands on what comes later.
#[derive(Debug)]
pub struct Stand {
    pub form: Form,
    pub fleet: Fleet,
    /// One for each process, the node's last.
    pub networks: Vec<Network>,
    /// One for each process, and the servers' last.
    pub walls: Vec<Wall>,
    pub ground: Ground,
    pub keys: Keys,
    pub book: Arc<Book>,
    pub journal: Journal,
    operator: Operator,
    /// The longest time until an answer was complete again.
    pub longest: Duration,
}

impl Stand {
    /// Starts it. The gateways are started behind `words` as well.
    #[track_caller]
    pub fn start(form: Form, words: &[&str]) -> Self {
        let walls: Vec<Wall> = (0..=PROCESSES).map(|_| Wall::right()).collect();
        let ground = Ground::start(form, &walls[PROCESSES]);
        let (servers, guides) = (ground.addresses(), ground.guides());
        let networks: Vec<Network> =
            (0..PROCESSES).map(|_| Network::before(&servers, &guides)).collect();
        let url = ground.url();
        let words = words.iter().map(|it| (*it).to_owned());
        let way = |wall: &Wall| wall.way().into_iter().chain(words.clone()).collect();
        let lines = [
            &format!("lease = \"{}ms\"", LEASE.as_millis()),
            "response_timeout = \"400ms\"",
            "serve_known_for = \"4s\"",
            &format!("when_unreachable = {:?}", form.policy()),
        ];
        let plan = Plan::of(GATEWAYS, &url)
            .admins(Admins::Node)
            .urls(networks.iter().map(|it| it.url(&url)).collect())
            .ways(walls.iter().take(PROCESSES).map(way).collect());
        let fleet = Fleet::start(&lines.iter().fold(plan, |plan, line| plan.store(line)));
        let operator = fleet.operator(fleet.gateway(1));
        let (keys, book, journal) = (Keys::default(), Arc::default(), Journal::default());
        let longest = Duration::ZERO;
        Self { form, fleet, networks, walls, ground, keys, book, journal, operator, longest }
    }

    /// A gateway, or behind them the node.
    pub fn process(&self, place: usize) -> &Gateway {
        if place < GATEWAYS { self.fleet.gateway(place) } else { self.fleet.node().unwrap() }
    }

    /// Somebody who operates by way of a process.
    pub fn operator(&self, place: usize) -> Operator {
        self.fleet.operator(self.process(place))
    }

    /// A fresh key, with which all are asked from now on.
    #[track_caller]
    pub fn mint(&mut self) -> Held {
        let mut found = None;
        within("a key is minted", || {
            found = self.operator.mint_told().filter(|(_, answer)| *answer == Answer::Complete);
            found.is_some()
        });
        let (held, _) = found.unwrap();
        self.keys.add(&held);
        held
    }

    /// Revokes a key until everybody has confirmed it.
    #[track_caller]
    pub fn revoke(&mut self, key: &Held) {
        within("it is revoked everywhere", || self.operator.revoke(key) == Answer::Complete);
    }

    /// Waits until an answer is complete.
    #[track_caller]
    pub fn await_health(&mut self) {
        let begun = Instant::now();
        let key = self.mint();
        self.revoke(&key);
        self.longest = self.longest.max(begun.elapsed());
    }

    /// Holds that everybody has confirmed the same, that a fresh key is used everywhere until it is
    /// revoked, and that nothing is lost that an operator was told.
    #[track_caller]
    pub fn assert_converged(&mut self) {
        self.await_health();
        within("all confirm the same", || self.has_one_position());
        let key = self.mint();
        self.assert_all(&key, Outcome::LetIn);
        self.revoke(&key);
        self.assert_all(&key, Outcome::Refused);
        let [valid, revoked] = self.book.settled(SETTLED);
        for (leaves, expected) in [(valid, Outcome::LetIn), (revoked, Outcome::Refused)] {
            for it in leaves {
                self.assert_all(&it.held, expected);
                self.assert_named(&it);
            }
        }
    }

    /// What is let in too long or refused too soon is found in the history.
    #[track_caller]
    fn assert_all(&self, key: &Held, expected: Outcome) {
        for place in 0..self.fleet.size() {
            let mut asker = self.fleet.asker(place);
            within(&format!("{} is {expected:?} at {place}", key.id), || {
                asker.ask(key) == Some(expected)
            });
        }
    }

    #[track_caller]
    fn assert_named(&mut self, leaf: &Leaf) {
        let path = format!("/v1/keys/{}", leaf.held.id);
        let mut name = None;
        within("a key is shown", || {
            let shown = self.operator.call("GET", &path, &serde_json::Value::Null);
            let shown = shown.ok().filter(|it| it.status == 200);
            name = shown.map(|it| it.json()["name"].as_str().unwrap().to_owned());
            name.is_some()
        });
        let name = name.unwrap().parse::<u64>().unwrap_or(0);
        assert!(name >= leaf.named(), "{} was named {} and is {name}", leaf.held.id, leaf.named());
    }

    /// Whether everybody in the register has applied the same.
    fn has_one_position(&self) -> bool {
        let Ok(entries) = self.ground.primary().try_cli(&["HVALS", "{kw}:gateways"]) else {
            return false;
        };
        let position = |it: &str| it.splitn(4, ' ').take(3).map(str::to_owned).collect();
        let mut positions: Vec<Vec<String>> = entries.lines().map(position).collect();
        let count = positions.len();
        positions.dedup();
        count == PROCESSES && positions.len() == 1
    }
}

/// Waits until it is so, as long as a whole store takes that has lost its primary on a busy machine.
#[track_caller]
pub fn within(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Short, so that it runs out often.
pub const LEASE: Duration = Duration::from_secs(1);

/// How many gateways there are.
pub const GATEWAYS: usize = 3;

/// The gateways and the node.
pub const PROCESSES: usize = GATEWAYS + 1;

const PATIENCE: Duration = Duration::from_mins(1);

/// Of how many keys it is held in the end that nothing is lost.
const SETTLED: usize = 60;
