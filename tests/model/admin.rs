//! What an admin does: write, wait for the receipts, answer.

use crate::config::{Config, Op, Policy, Row, Seed};
use crate::gateway::watch_anew;
use crate::state::{Admin, Fault, Held, Load, Minted, NONE, Settled, State, Wait};
use crate::values::Set;

impl State {
    pub fn op(&self, config: &Config, admin: usize) -> Option<Op> {
        config.ops[admin].get(usize::from(self.admins[admin].step)).copied()
    }

    /// `WRITE` at a node: check, store, append, and return the register.
    pub fn write(&mut self, config: &Config, admin: usize, node: usize) {
        let Some(op) = self.op(config, admin) else { return };
        let record = self.nodes[node].stream.record();
        let wrote = match op {
            Op::Mint if record.is_absent() => Some(crate::values::Record::MINTED),
            Op::Revoke if !record.is_revoked() => Some(record.revoked()),
            Op::Mint | Op::Revoke => None,
        };
        if let Some(record) = wrote {
            self.append(node, record);
        }
        if op == Op::Revoke {
            self.minted = Minted::Revoking;
        }
        let at_once =
            config.replicas() == 0 || (config.seed == Seed::WaitWithoutWrite && wrote.is_none());
        self.learn(config, admin, node);
        let stream = &self.nodes[node].stream;
        self.admins[admin].wait = Some(Wait {
            node: u8::try_from(node).unwrap(),
            epoch: self.nodes[node].epoch,
            n: u8::try_from(stream.len()).unwrap(),
            change: stream.last(),
            held: if at_once { Held::Yes } else { Held::No },
            t0: if at_once { config.margin() + config.serve() } else { 0 },
            awaited: self.members(node),
            silent: Set::default(),
            confirmed: Set::default(),
            settled: Settled::No,
        });
        self.collect(config, admin, node);
    }

    /// The register is read again, at a node that may be in another epoch by now.
    pub fn poll(&mut self, config: &Config, admin: usize, node: usize) {
        let it = self.nodes[node];
        let Some(mut wait) = self.admins[admin].wait else { return };
        if it.epoch != wait.epoch {
            let n = usize::from(wait.n);
            let is_there = n <= it.stream.len()
                && (config.seed == Seed::AdminWithoutNonce || it.stream.holds(n, wait.change));
            if !is_there {
                self.write(config, admin, node);
                return;
            }
            wait.node = u8::try_from(node).unwrap();
            wait.epoch = it.epoch;
            wait.t0 = if wait.held == Held::Yes { config.margin() + config.serve() } else { 0 };
            wait.awaited = self.members(node);
            wait.silent = Set::default();
            wait.settled = Settled::No;
            self.admins[admin].wait = Some(wait);
        }
        self.learn(config, admin, node);
        self.collect(config, admin, node);
    }

    /// Any sight of a node: its epoch, and the beats that have moved.
    pub fn learn(&mut self, config: &Config, admin: usize, node: usize) {
        let epoch = self.nodes[node].epoch;
        let it = &mut self.admins[admin];
        if it.epoch != epoch {
            let trusts = config.seed == Seed::TrustedFromStart && it.epoch == NONE;
            it.known = if trusts { 0 } else { config.ticks.margin };
            it.epoch = epoch;
        }
        if config.watch == crate::config::Watch::Off {
            return;
        }
        for slot in &mut self.slots {
            match slot.entries[node] {
                Some(entry) if entry.beat != slot.seen[admin] => {
                    slot.seen[admin] = entry.beat;
                    slot.still[admin] = watch_anew(config);
                }
                Some(_) | None => {}
            }
        }
    }

    /// Who has confirmed, has left, or has stood still for long enough is not awaited any more.
    fn collect(&mut self, config: &Config, admin: usize, node: usize) {
        let Some(mut wait) = self.admins[admin].wait else { return };
        for g in wait.awaited.iter() {
            let entry = self.slots[g].entries[node];
            let is_there = entry.is_some_and(|it| it.epoch == wait.epoch && it.n >= wait.n);
            let is_silent = entry.is_some() && self.stands_still(config, admin, g);
            if is_there {
                self.check_receipt(config, admin, g);
            }
            if is_there && config.row == Row::Fewer {
                wait.confirmed.add(g);
            }
            if !is_there && is_silent && config.policy == Policy::ServeKnown {
                wait.silent.add(g);
            }
            if entry.is_none() || is_there || is_silent {
                wait.awaited.remove(g);
            }
        }
        if wait.awaited.is_empty() && self.admins[admin].known == 0 {
            wait.settled = Settled::ByLooking;
        }
        self.admins[admin].wait = Some(wait);
    }

    fn stands_still(&self, config: &Config, admin: usize, g: usize) -> bool {
        config.watch == crate::config::Watch::On && self.slots[g].still[admin] <= config.serve()
    }

    /// A receipt is true if the gateway lets nobody in by what the change has ended. One that
    /// has not loaded yet holds nothing, and asks for what it does not hold.
    fn check_receipt(&mut self, config: &Config, admin: usize, g: usize) {
        let slot = &self.slots[g];
        let is_true = if slot.record.is_absent() {
            slot.load != Load::Done
        } else {
            self.op(config, admin) == Some(Op::Mint) || slot.record.is_revoked()
        };
        if !is_true {
            self.fault = Fault::FalseReceipt;
        }
    }

    /// Can the admin answer now? By its own clock and what it has read; it may be cut off.
    pub fn can_reply(&self, config: &Config, admin: usize) -> bool {
        let it = &self.admins[admin];
        let Some(wait) = it.wait else { return false };
        let waits = !wait.awaited.is_empty() && wait.t0 > config.serve();
        let trusts = it.known == 0 || config.seed == Seed::QuickInNewEpoch;
        wait.held == Held::Yes && !waits && trusts
    }

    /// What was read before the last waiting by the clock says nothing of the time after it.
    pub fn needs_a_last_look(&self, config: &Config, admin: usize) -> bool {
        let is_settled = self.admins[admin].wait.is_some_and(|it| it.settled == Settled::ByLooking);
        !is_settled && config.seed != Seed::NoLastLook
    }

    pub fn reply(&mut self, config: &Config, admin: usize) {
        let op = self.op(config, admin);
        let it = &mut self.admins[admin];
        let Some(wait) = it.wait.take() else { return };
        it.step += 1;
        it.receipts = wait.confirmed;
        match op {
            Some(Op::Revoke) => {
                let unconfirmed = wait.awaited.and(wait.silent);
                it.answered = Some(match config.policy {
                    Policy::Refuse => Set::default(),
                    Policy::ServeKnown => unconfirmed,
                });
            }
            Some(Op::Mint) if self.minted == Minted::No => self.minted = Minted::Answered,
            Some(Op::Mint) | None => {}
        }
    }

    /// An admin dies and starts again: it knows no epoch and no beat, and repeats its call.
    pub fn restart_admin(&mut self, admin: usize) {
        let step = self.admins[admin].step;
        let Admin { answered, receipts, .. } = self.admins[admin];
        self.admins[admin] = Admin { epoch: NONE, known: 0, step, wait: None, answered, receipts };
        for slot in &mut self.slots {
            slot.seen[admin] = 0;
            slot.still[admin] = 0;
        }
        self.budget.admin_restarts -= 1;
    }
}
