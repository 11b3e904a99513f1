//! The protocol between gateways, the store and admins, explored to the end: every order in
//! which its steps can come, within bounds, and every promise looked at in every state.
//!
//! **What is modelled.** One key id (absent, active, revoked, with revisions); Redis as one node or
//! as a primary and its replica: the stream with nonces, the register, the epoch and who opened
//! it. Replication copies all that the primary has, at any moment or never, so a failover loses
//! any tail of the history. A restart keeps everything and is a new epoch. Where `replicas` = all,
//! the deposed primary goes on beside the new one. Gateways sync, read the answer later, renew,
//! find another epoch, offer, open, load, start, crash and leave; admins write, wait, read the
//! register again, answer, die and repeat. Time passes in ticks between any two steps.
//! Whoever takes no step is paused or cut off: every pause and partition is an order of steps.
//!
//! **What stands for what.** A sync is carried out when it is sent, the worst case for a lease.
//! Clocks of different rates are in the figures of `config::Ticks`: a lease on the slowest clock
//! lasts exactly as long as a wait for it on the fastest. A request is no step of its own: its
//! head, its clock and its look-up are one moment, which is enough as long as a gateway that knows
//! a revocation never forgets it (`promises::UNDONE`). With fewer replicas, states beyond the row's
//! promise are not explored (`State::is_beyond_promise`), nor are states in which everybody
//! who lives, and everybody who may start, knows of the revocation (`Config::is_over`).
//! Gateways are put in order where no rule is left out: which is which does not matter.
//!
//! **What is not.** More than one key; more than one replica; answers in pieces (`more`) and
//! the stream's limit; a sync carried out after its sender gave it up; a fill of one id (the
//! loader's read stands for it); a power loss with `everysec`; an operator's `forget`; streams that
//! are cut; liveness (that something happens in time). `SQLite` has no failover: it is row `Single`.
//!
//! **Reading a counterexample.** A failure prints the steps from the start (all gateways hold a
//! fresh lease in epoch 0, which is open) and the last state. `Sync(1, 0)`: gateway 1 at node 0;
//! `Write(0, 1)`: admin 0 at node 1; `Answer(1)`: gateway 1 reads the answer to its sync.
//!
//! `CLAIMS=full` adds three gateways, two failovers and longer leases.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a model that finds itself in a state it cannot name ends there"
)]

mod admin;
mod check;
mod config;
mod gateway;
mod holds;
mod promises;
mod seeded;
mod state;
mod steps;
mod store;
mod values;
