//! What Redis does, and what befalls it: replication, failover, restart.

use crate::config::{Config, Row};
use crate::state::{ADMINS, Held, NONE, Node, Role, State};

impl State {
    /// The replica gets all that its primary has; whoever waits for that is told.
    pub fn replicate(&mut self, config: &Config, from: usize) {
        let to = 1 - from;
        for slot in &mut self.slots {
            if let Some(entry) = &mut slot.entries[from] {
                entry.safe = config.safe();
            }
            slot.entries[to] = slot.entries[from];
        }
        self.nodes[to].stream = self.nodes[from].stream;
        self.nodes[to].opened = self.nodes[from].opened;
        let epoch = self.nodes[from].epoch;
        for slot in &mut self.slots {
            if let Some(sync) = &mut slot.sync
                && usize::from(sync.node) == from
                && sync.epoch == epoch
            {
                sync.held = Held::Yes;
            }
        }
        for admin in 0..ADMINS {
            self.hold(config, admin, from);
        }
    }

    /// `WAIT` of an admin's write returns at this node: its clock starts.
    fn hold(&mut self, config: &Config, admin: usize, node: usize) {
        let epoch = self.nodes[node].epoch;
        if let Some(wait) = &mut self.admins[admin].wait
            && usize::from(wait.node) == node
            && wait.epoch == epoch
            && wait.held == Held::No
        {
            wait.held = Held::Yes;
            wait.t0 = config.margin() + config.serve();
        }
    }

    /// The replica is promoted with what it has. The old primary goes on by itself where
    /// `replicas` = all must survive that.
    pub fn fail_over(&mut self, config: &Config, to: usize) {
        self.nodes[to].role = Role::Primary;
        self.nodes[to].epoch = self.next_epoch;
        self.next_epoch += 1;
        self.budget.failovers -= 1;
        if config.row == Row::Fewer {
            let old = 1 - to;
            self.nodes[old] = Node { role: Role::Down, epoch: 0, opened: NONE, ..Node::EMPTY };
            for slot in &mut self.slots {
                slot.entries[old] = None;
            }
            self.since_failover = config.ticks.two;
        }
    }

    /// The deposed primary follows the new one, with a full copy.
    pub fn demote(&mut self, config: &Config, node: usize) {
        self.nodes[node].role = Role::Replica;
        self.nodes[node].epoch = 0;
        self.replicate(config, 1 - node);
    }

    /// The same node starts again with everything kept: a new epoch.
    pub fn restart(&mut self, node: usize) {
        self.nodes[node].epoch = self.next_epoch;
        self.next_epoch += 1;
        self.budget.restarts -= 1;
    }
}
