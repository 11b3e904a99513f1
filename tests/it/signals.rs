//! A process ends by the signals that mean its end, and by no other.

use rustix::process::Signal;

use crate::support::ask::Ask;
use crate::support::gateway::Gateway;
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};
use crate::support::wait::eventually;

#[test]
fn a_signal_that_means_nothing_ends_nothing() {
    let upstream = Upstream::answering(|_| ok("ok"));
    let mut gateway = Gateway::start(&Setup::to(upstream.address()));
    let key = gateway.mint("crm");
    gateway.signal(Signal::USR1);
    eventually("it says so", || gateway.log().contains("SIGUSR1"));
    assert_eq!(Ask::get("/").key(&key).to(&gateway).status, 200);
    gateway.stop();
}
