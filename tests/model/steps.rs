//! Which step can come next, and the properties: the model as the checker sees it.

use stateright::{Model, Property};

use crate::config::{Config, Hearing, Loading, Row, Seed, Watch};
use crate::state::{ADMINS, Admin, Held, Life, Load, Minted, Role, SLOTS, Settled, State, Turn};
use crate::values::Stream;

/// One step. Whoever takes no step for a while is paused or cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Tick,
    Replicate(usize),
    FailOver(usize),
    Demote(usize),
    Restart(usize),
    Sync(usize, usize),
    /// The alarm clock rings: any primary may have set it off.
    Hear(usize, usize),
    Answer(usize),
    Offer(usize, usize),
    Open(usize, usize),
    Start(usize, usize),
    Load(usize, usize),
    Loaded(usize),
    Crash(usize),
    Leave(usize, usize),
    Write(usize, usize),
    Poll(usize, usize),
    Watch(usize, usize),
    Sweep(usize, usize),
    /// The register is read a last time, where somebody was waited for by the clock, and the caller
    /// answered.
    Reply(usize, usize),
    RestartAdmin(usize),
    /// Another operator changes the key's limits.
    Patch(usize),
    RenewFromRead(usize, usize),
    Expire(usize, usize),
    ReadClock(usize),
}

impl Model for Config {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![self.start().sorted(self)]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if !self.is_over(state) {
            self.steps(state, steps);
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut next = *last;
        self.take(&mut next, step);
        let next = next.plain(self).sorted(self);
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        crate::promises::promises()
    }

    /// Beyond the row's promise nothing is claimed and nothing is explored.
    fn within_boundary(&self, state: &State) -> bool {
        !state.is_beyond_promise(self)
    }
}

impl Config {
    fn steps(&self, state: &State, steps: &mut Vec<Step>) {
        steps.push(Step::Tick);
        for node in 0..2 {
            self.store_steps(state, node, steps);
            for g in 0..SLOTS {
                self.gateway_steps_at(state, g, node, steps);
            }
            for admin in 0..ADMINS {
                self.admin_steps_at(state, admin, node, steps);
            }
        }
        for g in 0..SLOTS {
            self.gateway_steps(state, g, steps);
        }
        for admin in 0..ADMINS {
            if state.budget.admin_restarts > 0 && state.op(self, admin).is_some() {
                steps.push(Step::RestartAdmin(admin));
            }
        }
    }

    /// Everybody who runs knows of the revocation, and so does whoever may start: records
    /// only merge, and revoked wins (`merging_never_undoes`), so nothing can go wrong any more.
    fn is_over(&self, state: &State) -> bool {
        let starts = self.may_start(state);
        let done = (0..ADMINS).all(|it| state.op(self, it).is_none());
        done && self.seed != Seed::RevisionWins
            && state.slots.iter().all(|it| !it.lives() || it.record.is_revoked())
            && (!starts
                || state
                    .nodes
                    .iter()
                    .all(|it| it.role == Role::Down || it.stream.record().is_revoked()))
    }

    fn store_steps(&self, state: &State, node: usize, steps: &mut Vec<Step>) {
        let other = state.nodes[1 - node].role;
        match state.nodes[node].role {
            Role::Primary => {
                if other == Role::Replica && self.must_replicate(state) {
                    steps.push(Step::Replicate(node));
                }
                if other == Role::Primary && state.nodes[node].epoch < state.nodes[1 - node].epoch {
                    steps.push(Step::Demote(node));
                }
                if state.budget.restarts > 0 {
                    steps.push(Step::Restart(node));
                }
                let record = state.nodes[node].stream.record();
                if state.budget.patches > 0 && record.is_active() {
                    steps.push(Step::Patch(node));
                }
            }
            Role::Replica if state.budget.failovers > 0 => steps.push(Step::FailOver(node)),
            Role::Down if self.row == Row::Fewer && self.must_replicate(state) => {
                steps.push(Step::Demote(node));
            }
            Role::Replica | Role::Down => {}
        }
    }

    /// Can it matter what the replica has?
    fn must_replicate(&self, state: &State) -> bool {
        self.row == Row::All || self.joins() || state.budget.failovers > 0
    }

    fn gateway_steps_at(&self, state: &State, g: usize, node: usize, steps: &mut Vec<Step>) {
        if !state.is_primary(node) {
            return;
        }
        let slot = &state.slots[g];
        let it = &state.nodes[node];
        if slot.life == Life::Unborn && self.may_start(state) {
            steps.push(Step::Start(g, node));
        }
        if self.seed == Seed::RegisterExpires && slot.entries[node].is_some() {
            steps.push(Step::Expire(g, node));
        }
        if !slot.runs() {
            return;
        }
        let found = slot.turn == Turn::Found(it.epoch);
        if !found {
            steps.push(Step::Sync(g, node));
        }
        if found {
            steps.push(Step::Offer(g, node));
        }
        let waits = slot.sync.is_none() && slot.heard == Stream::EMPTY && slot.load == Load::Done;
        let rings = it.stream.len() > slot.ring.len();
        if self.hearing == Hearing::On && waits && rings && !matches!(slot.turn, Turn::Found(_)) {
            steps.push(Step::Hear(g, node));
        }
        if state.can_open(self, g, node) {
            steps.push(Step::Open(g, node));
        }
        let is_here = it.epoch == slot.epoch && !matches!(slot.turn, Turn::Found(_));
        if is_here && slot.load == Load::Not {
            steps.push(Step::Load(g, node));
        }
        if state.budget.leaves > 0 {
            steps.push(Step::Leave(g, node));
        }
        let follows = it.stream.starts_with(slot.ring);
        if self.seed == Seed::RenewFromRead && is_here && follows {
            steps.push(Step::RenewFromRead(g, node));
        }
    }

    fn may_start(&self, state: &State) -> bool {
        let born = state.slots.iter().filter(|it| it.life != Life::Unborn).count();
        born < self.processes
    }

    fn gateway_steps(&self, state: &State, g: usize, steps: &mut Vec<Step>) {
        let slot = &state.slots[g];
        if slot.sync.is_some_and(|it| it.held == Held::Yes) {
            steps.push(Step::Answer(g));
        }
        if matches!(slot.load, Load::Read(_)) {
            steps.push(Step::Loaded(g));
        }
        if slot.runs() && state.budget.crashes > 0 {
            steps.push(Step::Crash(g));
        }
        if self.seed == Seed::ClockBeforeHead && slot.runs() && slot.left > 0 && !state.early.has(g)
        {
            steps.push(Step::ReadClock(g));
        }
    }

    fn admin_steps_at(&self, state: &State, admin: usize, node: usize, steps: &mut Vec<Step>) {
        if !state.is_primary(node) || self.ops[admin].is_empty() {
            return;
        }
        let it = &state.admins[admin];
        if it.wait.is_some() {
            steps.push(Step::Poll(admin, node));
            steps.push(Step::Reply(admin, node));
        } else if state.op(self, admin).is_some() {
            steps.push(Step::Write(admin, node));
            steps.push(Step::Watch(admin, node));
        }
        if self.watch == Watch::On {
            let silent = (0..SLOTS).filter(|g| can_sweep(state, admin, *g, node));
            steps.extend(silent.map(|g| Step::Sweep(g, node)));
        }
    }

    fn take(&self, state: &mut State, step: Step) {
        match step {
            Step::Tick => state.tick(self),
            Step::Replicate(node) => state.replicate(self, node),
            Step::FailOver(node) => state.fail_over(self, node),
            Step::Demote(node) => state.demote(self, node),
            Step::Restart(node) => state.restart(node),
            Step::Sync(g, node) => state.sync(self, g, node),
            Step::Hear(g, node) => state.hear(self, g, node),
            Step::Answer(g) => state.answer(self, g),
            Step::Offer(g, node) => state.offer(self, g, node),
            Step::Open(_, node) => state.open(node),
            Step::Start(g, node) => {
                state.start(self, g, node);
                if self.loading == Loading::AtOnce {
                    self.take(state, Step::Load(g, node));
                }
            }
            Step::Load(g, node) => {
                state.slots[g].load = Load::Read(state.nodes[node].stream.record());
                if self.loading == Loading::AtOnce {
                    state.loaded(self, g);
                }
            }
            Step::Loaded(g) => state.loaded(self, g),
            Step::Crash(g) => {
                state.crash(g);
                state.budget.crashes -= 1;
            }
            Step::Leave(g, node) => {
                state.leave(self, g, node);
                state.budget.leaves -= 1;
            }
            Step::Write(admin, node) => state.write(self, admin, node),
            Step::Poll(admin, node) => state.poll(self, admin, node),
            Step::Watch(admin, node) => state.learn(self, admin, node),
            Step::Sweep(g, node) | Step::Expire(g, node) => state.slots[g].entries[node] = None,
            Step::Reply(admin, node) => {
                if state.needs_a_last_look(self, admin) {
                    state.poll(self, admin, node);
                }
                if state.can_reply(self, admin) {
                    state.reply(self, admin);
                }
            }
            Step::RestartAdmin(admin) => state.restart_admin(admin),
            Step::Patch(node) => {
                state.append(node, state.nodes[node].stream.record().patched());
                state.budget.patches -= 1;
            }
            Step::RenewFromRead(g, node) => state.renew_from_read(self, g, node),
            Step::ReadClock(g) => state.early.add(g),
        }
    }
}

impl State {
    /// What cannot matter any more is forgotten, so that states meet.
    fn plain(mut self, config: &Config) -> Self {
        for slot in &mut self.slots {
            let Some(reply) = &mut slot.sync else { continue };
            let node = usize::from(reply.node);
            let has_replica = self.nodes[1 - node].role == Role::Replica;
            let can_be_held = self.nodes[node].epoch == reply.epoch && has_replica;
            if reply.epoch != slot.epoch {
                reply.stream = Stream::EMPTY;
                reply.left = 0;
            }
            if reply.held == Held::No && !can_be_held {
                slot.sync = None;
            }
        }
        for it in 0..ADMINS {
            if self.op(config, it).is_none() {
                self.admins[it].epoch = 0;
                self.admins[it].known = 0;
            }
        }
        self
    }

    /// Time passes for everybody at once; rates are in the bounds, see `config`.
    fn tick(&mut self, config: &Config) {
        let mut timers: Vec<&mut u8> = vec![&mut self.since_failover];
        for slot in &mut self.slots {
            timers.extend([&mut slot.left, &mut slot.two]);
            timers.extend(slot.still.iter_mut());
            timers.extend(slot.sync.as_mut().map(|it| &mut it.left));
        }
        for admin in &mut self.admins {
            timers.push(&mut admin.known);
            let Some(wait) = &mut admin.wait else { continue };
            timers.push(&mut wait.t0);
            // A look counts for a moment only.
            if config.seed != Seed::OldLook {
                wait.settled = Settled::No;
            }
        }
        for timer in timers {
            *timer = timer.saturating_sub(1);
        }
    }

    /// Row "fewer" promises something only while a gateway that confirmed is alive, and only if
    /// one of them reaches the new primary within two leases.
    fn is_beyond_promise(&self, config: &Config) -> bool {
        if config.row != Row::Fewer {
            return false;
        }
        let record = self.newest().stream.record();
        let revoked = self.admins.iter().any(|it| it.answered.is_some());
        let minted = self.minted == Minted::Answered;
        let loses_revocation = revoked && !record.is_revoked();
        let loses_key = minted && record.is_absent();
        let counts = |it: &Admin| !loses_revocation || it.answered.is_some();
        let confirmed = |g| self.admins.iter().any(|it: &Admin| counts(it) && it.receipts.has(g));
        let brings = |g: usize| self.slots[g].runs() && confirmed(g);
        let is_late = self.since_failover == 0 || !(0..SLOTS).any(brings);
        (loses_revocation || loses_key) && is_late
    }
}

/// An entry whose beat has stood still for lease and `serve_known_for` may be removed.
fn can_sweep(state: &State, admin: usize, g: usize, node: usize) -> bool {
    let slot = &state.slots[g];
    let stood = slot.still[admin] == 0 && slot.seen[admin] != 0;
    stood && slot.entries[node].is_some_and(|it| it.beat == slot.seen[admin])
}
