//! Tunnels that are half closed, or half open, end with their key as every other one does.

use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::gateway::Gateway;
use crate::support::gateway::operate::closed_streams;
use crate::support::tunnel::{FRAME, REVOKED, Talker, open, upgrade};
use crate::support::wait::eventually;

#[test]
fn a_tunnel_whose_client_has_said_all_is_cut_with_its_key() {
    let talker = Talker::start("");
    let gateway = Gateway::start(&talker.setup());
    let key = gateway.mint("crm");
    let mut client = open(&gateway, &key);
    client.stream().shutdown(Shutdown::Write).unwrap();
    eventually("the upstream knows", || talker.half_closed() == 1);
    // It goes on meanwhile.
    let mut frame = [0; 5 * FRAME.len()];
    std::io::Read::read_exact(client.reader(), &mut frame).unwrap();
    assert_eq!(talker.ended(), 0);
    let receipt = gateway.revoke(&key.id);
    assert_eq!(closed_streams(&receipt, &[&gateway.id()]), 1, "{receipt}");
    client.read_to_end();
    eventually("the upstream's end is closed", || talker.ended() == 1);
    assert_eq!(closed_streams(&gateway.revoke(&key.id), &[&gateway.id()]), 0);
}

#[test]
fn a_tunnel_that_its_client_has_not_heard_of_is_cut_with_its_key() {
    // More than a kernel holds for who reads nothing.
    let extra = format!("x-large: {}\r\n", "a".repeat(8 * 1024)).repeat(6);
    let talker = Talker::start(&extra);
    let setup = talker.setup().gateway("write_timeout = \"10m\"");
    let gateway = Gateway::start(&setup);
    let key = gateway.mint("crm");
    let mut client = Client::connect_narrow(gateway.address());
    client.send([Ask::get("/").key(&key).bytes(), upgrade(&key).bytes()].concat());
    eventually("the upstream has agreed", || talker.opened() == 1);
    // The answer is on its way as far as it can.
    thread::sleep(Duration::from_millis(500));
    let receipt = gateway.revoke(&key.id);
    assert_eq!(closed_streams(&receipt, &[&gateway.id()]), 1, "{receipt}");
    eventually("the upstream's end is closed", || talker.ended() == 1);
    let rest = client.read_to_end();
    assert!(!rest.windows(FRAME.len()).any(|it| it == FRAME), "it got something through");
}

#[test]
fn a_tunnel_is_told_why_it_is_cut() {
    let talker = Talker::start("");
    let gateway = Gateway::start(&talker.setup());
    let key = gateway.mint("crm");
    let mut client = open(&gateway, &key);
    let receipt = gateway.revoke(&key.id);
    assert_eq!(closed_streams(&receipt, &[&gateway.id()]), 1, "{receipt}");
    assert!(client.read_to_end().ends_with(REVOKED));
    eventually("the upstream's end is closed", || talker.ended() == 1);
}
