//! What a gateway does: sync, answer, failover, start, stop.

use crate::config::{Config, Opening, Seed, Watch};
use crate::state::{
    Entry, Fault, Heard, Held, Life, Load, NONE, Reply, Safe, Slot, State, Turn, Vouches,
};
use crate::values::{Record, Set, Stream};

/// Revoked wins; else the higher revision; on a tie the store's stays.
pub fn wins(config: &Config, mine: Record, stores: Record) -> bool {
    if config.seed == Seed::RevisionWins {
        return mine.revision() > stores.revision();
    }
    if stores.is_revoked() || mine.is_absent() {
        return false;
    }
    mine.is_revoked() || stores.is_absent() || mine.revision() > stores.revision()
}

/// What a gateway holds after it has met a record of the store.
pub fn merge(config: &Config, mine: Record, stores: Record) -> Record {
    if wins(config, mine, stores) { mine } else { stores }
}

impl State {
    /// `SYNC` is carried out at a node: the register's entry, and an answer on its way.
    pub fn sync(&mut self, config: &Config, g: usize, node: usize) {
        let slot = self.slots[g];
        let it = self.nodes[node];
        let is_mine = it.epoch == slot.epoch && has_position(config, &slot, it.stream);
        let heard = self.heard(config, g, node);
        let applied = if heard == Heard::Stands { slot.heard } else { slot.ring };
        let n = u8::try_from(applied.len()).unwrap();
        let old = slot.entries[node];
        let safe = old.map_or(Safe::No, |old| old.safe);
        let beat = if config.watch == Watch::On { self.fresh_beat(g, node) } else { 1 };
        self.slots[g].entries[node] = Some(if is_mine {
            Entry { epoch: slot.epoch, n, beat, safe }
        } else {
            Entry { epoch: NONE, n: 0, beat, safe }
        });
        let at_once = config.replicas() == 0;
        self.slots[g].sync = Some(Reply {
            node: u8::try_from(node).unwrap(),
            epoch: it.epoch,
            is_open: it.opened == it.epoch,
            stream: it.stream,
            held: if at_once || config.seed == Seed::RenewWithoutWait {
                Held::Yes
            } else {
                Held::No
            },
            heard,
            left: config.ticks.lease + config.serve(),
            members: if config.knows() { self.members(node) } else { Set::default() },
            joined: safe,
        });
    }

    /// Whether what a gateway has heard, wherever that was, stands at a node.
    fn heard(&self, config: &Config, g: usize, node: usize) -> Heard {
        let (heard, stream) = (self.slots[g].heard, self.nodes[node].stream);
        let n = heard.len();
        let is_same =
            config.seed == Seed::HeardWithoutNonce || stream.holds(n.max(1), heard.last());
        match n {
            0 => Heard::Nothing,
            _ if n <= stream.len() && is_same => Heard::Stands,
            _ => Heard::Unknown,
        }
    }

    /// The alarm clock brings what stands behind the gateway's number, wherever it rang.
    pub fn hear(&mut self, config: &Config, g: usize, node: usize) {
        let stream = self.nodes[node].stream;
        let slot = &mut self.slots[g];
        let was = slot.record;
        for n in slot.ring.len()..stream.len() {
            slot.record = merge(config, slot.record, stream.get(n).record());
        }
        slot.heard = stream;
        let now = slot.record;
        self.note_undone(was, now);
    }

    /// A beat that neither the other node nor an admin has seen.
    fn fresh_beat(&self, g: usize, node: usize) -> u8 {
        let slot = &self.slots[g];
        let other = slot.entries[1 - node].map(|it| it.beat);
        let this = slot.entries[node].map(|it| it.beat);
        (1..=6)
            .find(|it| !slot.seen.contains(it) && other != Some(*it) && this != Some(*it))
            .unwrap()
    }

    /// The answer is read, its changes applied, the lease renewed; or another epoch is found.
    pub fn answer(&mut self, config: &Config, g: usize) {
        let slot = &mut self.slots[g];
        let Some(reply) = slot.sync.take() else { return };
        slot.heard = Stream::EMPTY;
        if reply.epoch != slot.epoch || !has_position(config, slot, reply.stream) {
            slot.find(config, &reply);
            return;
        }
        // All is read again before anything is confirmed.
        if reply.heard == Heard::Unknown {
            return;
        }
        let was = slot.record;
        for n in slot.ring.len()..reply.stream.len() {
            slot.record = merge(config, slot.record, reply.stream.get(n).record());
        }
        slot.ring = reply.stream;
        if reply.is_open && (reply.left > 0 || config.seed == Seed::CountFromReply) {
            let full = config.ticks.lease + config.serve();
            let left = if config.seed == Seed::CountFromReply { full } else { reply.left };
            slot.left = slot.left.max(left);
            slot.ever = if config.opening == Opening::Ever { Vouches::Yes } else { Vouches::No };
            slot.joined = reply.joined;
            slot.turn = Turn::Settled;
            slot.two = 0;
            slot.vouches = Vouches::No;
            slot.known = reply.members;
        }
        let now = slot.record;
        self.note_undone(was, now);
    }

    /// What a gateway offers goes into the new primary's stream, unless the store's wins.
    pub fn offer(&mut self, config: &Config, g: usize, node: usize) {
        let slot = self.slots[g];
        let stream = self.nodes[node].stream;
        let is_by_number = config.seed == Seed::SyncWithoutNonce;
        let common =
            if is_by_number { slot.ring.len().min(stream.len()) } else { slot.ring.common(stream) };
        let is_changed = common < slot.ring.len() || !is_by_number;
        if is_changed && wins(config, slot.record, stream.record()) {
            self.append(node, slot.record);
        }
        let slot = &mut self.slots[g];
        slot.epoch = self.nodes[node].epoch;
        slot.ring = stream.cut(common);
        slot.turn = Turn::Offered;
        if slot.load != Load::Done {
            slot.load = Load::Not;
        }
    }

    /// May this gateway open its epoch at this node?
    pub fn can_open(&self, config: &Config, g: usize, node: usize) -> bool {
        let slot = &self.slots[g];
        let it = &self.nodes[node];
        if slot.turn != Turn::Offered || it.epoch != slot.epoch || it.opened == it.epoch {
            return false;
        }
        if slot.two == 0 || config.opening == Opening::AtOnce {
            return true;
        }
        if config.opening == Opening::Alone {
            return slot.vouches == Vouches::Yes;
        }
        let needed = slot.known.and(self.members(node));
        let all_there = needed
            .iter()
            .all(|it| self.slots[it].entries[node].is_some_and(|it| it.epoch == slot.epoch));
        all_there && slot.vouches == Vouches::Yes && needed.has(g)
    }

    /// The epoch is open: nobody in it needs to know when it may be opened.
    pub fn open(&mut self, node: usize) {
        let epoch = self.nodes[node].epoch;
        self.nodes[node].opened = epoch;
        for slot in &mut self.slots {
            if slot.turn == Turn::Found(epoch) || slot.epoch == epoch {
                slot.two = 0;
                slot.vouches = Vouches::No;
            }
        }
    }

    /// A new process: its position is the end of the stream.
    pub fn start(&mut self, config: &Config, g: usize, node: usize) {
        let it = self.nodes[node];
        let settled = it.opened == it.epoch;
        let vouches = if config.seed == Seed::FreshOpens { Vouches::Yes } else { Vouches::No };
        self.slots[g] = Slot {
            life: Life::Runs,
            epoch: it.epoch,
            ring: it.stream,
            turn: if settled { Turn::Settled } else { Turn::Offered },
            two: if settled { 0 } else { config.ticks.two },
            vouches: if settled { Vouches::No } else { vouches },
            ..Slot::UNBORN
        };
    }

    /// The loader's read is applied, unless the epoch has changed under it.
    pub fn loaded(&mut self, config: &Config, g: usize) {
        let slot = &mut self.slots[g];
        let Load::Read(record) = slot.load else { return };
        let was = slot.record;
        slot.record = merge(config, slot.record, record);
        slot.load = Load::Done;
        let now = slot.record;
        self.note_undone(was, now);
    }

    pub fn crash(&mut self, g: usize) {
        let slot = &mut self.slots[g];
        *slot = Slot {
            life: Life::Gone,
            record: slot.record,
            entries: slot.entries,
            seen: slot.seen,
            still: slot.still,
            ..Slot::UNBORN
        };
        self.early.remove(g);
    }

    /// After the drain: nothing is let in any more, then the entry goes.
    pub fn leave(&mut self, config: &Config, g: usize, node: usize) {
        let left = self.slots[g].left;
        self.crash(g);
        self.slots[g].entries[node] = None;
        if config.seed == Seed::LeaveEarly {
            self.slots[g].life = Life::Leaves;
            self.slots[g].left = left;
        }
    }

    /// Seeded: a read of the stream's end renews the lease.
    pub fn renew_from_read(&mut self, config: &Config, g: usize, node: usize) {
        let slot = &mut self.slots[g];
        let stream = self.nodes[node].stream;
        for n in slot.ring.len()..stream.len() {
            slot.record = merge(config, slot.record, stream.get(n).record());
        }
        slot.ring = stream;
        slot.left = config.ticks.lease + config.serve();
    }

    fn note_undone(&mut self, was: Record, now: Record) {
        if was.is_revoked() && !now.is_revoked() {
            self.fault = Fault::Undone;
        }
    }

    /// Does this gateway let a request with the key in, if it reads its clock now?
    pub fn admits(&self, config: &Config, g: usize) -> bool {
        let slot = &self.slots[g];
        let extends =
            !config.joins() || slot.joined == Safe::Yes || config.seed == Seed::ServeUnjoined;
        let end = if extends { 0 } else { config.serve() };
        slot.lives() && slot.record.is_active() && (slot.left > end || self.early.has(g))
    }

    /// Does it answer 401? Only while the lease holds and the map is complete.
    pub fn denies(&self, config: &Config, g: usize) -> bool {
        let slot = &self.slots[g];
        let in_lease = slot.left > config.serve();
        slot.runs() && slot.record.is_absent() && slot.load == Load::Done && in_lease
    }
}

impl Slot {
    fn find(&mut self, config: &Config, reply: &Reply) {
        let vouches = match config.opening {
            Opening::Ever => self.ever,
            Opening::AtOnce => Vouches::Yes,
            Opening::Held | Opening::Alone if self.left > config.serve() => Vouches::Yes,
            Opening::Held | Opening::Alone if config.seed == Seed::FreshOpens => Vouches::Yes,
            Opening::Held | Opening::Alone => Vouches::No,
        };
        self.vouches = if reply.is_open { Vouches::No } else { vouches };
        self.known = self.known.and(reply.members);
        self.two = if reply.is_open { 0 } else { config.ticks.two };
        self.turn = Turn::Found(reply.epoch);
    }
}

/// Is the gateway's position, with its nonce, in this stream?
fn has_position(config: &Config, slot: &Slot, stream: Stream) -> bool {
    let n = slot.ring.len();
    let is_same = config.seed == Seed::SyncWithoutNonce || stream.holds(n, slot.ring.last());
    n <= stream.len() && is_same
}

/// An admin's watch over a beat starts anew.
pub fn watch_anew(config: &Config) -> u8 {
    config.ticks.margin + config.serve()
}
