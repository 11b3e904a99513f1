//! Tunnels that are half closed, or half open, end with their key as every other one does.

use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::gateway::operate::closed_streams;
use crate::support::gateway::{Gateway, Key};
use crate::support::tunnel::{FRAME, REVOKED, Talker, assert_opens, open, upgrade};
use crate::support::wait::eventually;

#[test]
fn a_tunnel_whose_client_has_said_all_is_cut_with_its_key() {
    let talker = Talker::start();
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

/// So many answers that nobody takes are read for a client, and no more.
#[track_caller]
fn untaken_max(talker: &Talker, gateway: &Gateway, key: &Key) -> usize {
    let client = Client::connect_narrow(gateway.address());
    let before = talker.asked();
    client.send(Ask::get("/").key(key).bytes().repeat(500));
    settle(|| talker.asked());
    let untaken = talker.asked() - before;
    assert!(untaken < 500, "all of them were taken");
    untaken
}

/// Waits until nothing changes any more.
fn settle(count: impl Fn() -> usize) {
    let mut last = (count(), Instant::now());
    while last.1.elapsed() < Duration::from_millis(700) {
        thread::sleep(Duration::from_millis(20));
        if count() != last.0 {
            last = (count(), Instant::now());
        }
    }
}

/// An upstream that says more when it opens a tunnel than there is room for after the last answer
/// that was taken: answers have 32 KiB.
fn wordy() -> Talker {
    Talker::start_with(&format!("x-large: {}\r\n", "a".repeat(8 * 1024)).repeat(6))
}

/// Tunnels of which their clients have not heard, as they have not taken what came before: each
/// with its key, and how many answers that was. The last of them are such that their clients'
/// kernels hold no more than a part of what the upstream said when it opened the tunnel.
fn unheard(talker: &Talker, gateway: &Gateway) -> Vec<(Client, Key, usize)> {
    let most = untaken_max(talker, gateway, &gateway.mint("crm"));
    let mut tunnels = Vec::new();
    for before in most.saturating_sub(3)..=most {
        let key = gateway.mint("crm");
        let client = Client::connect_narrow(gateway.address());
        let fill = Ask::get("/").key(&key).bytes().repeat(before);
        let opened = talker.opened();
        client.send([fill, upgrade(&key).bytes()].concat());
        settle(|| talker.asked() + talker.opened());
        if talker.opened() > opened {
            tunnels.push((client, key, before));
        }
    }
    assert!(!tunnels.is_empty(), "none was opened");
    tunnels
}

#[test]
fn a_tunnel_that_its_client_has_not_heard_of_is_cut_with_its_key() {
    let talker = wordy();
    let gateway = Gateway::start(&talker.setup().gateway("write_timeout = \"10m\""));
    for (mut client, key, before) in unheard(&talker, &gateway) {
        let ended = talker.ended();
        let receipt = gateway.revoke(&key.id);
        assert_eq!(closed_streams(&receipt, &[&gateway.id()]), 1, "{before}: {receipt}");
        eventually("the upstream's end is closed", || talker.ended() == ended + 1);
        client.read_to_end();
    }
}

#[test]
fn a_tunnel_that_its_client_hears_of_late_is_whole() {
    let talker = wordy();
    let gateway = Gateway::start(&talker.setup());
    for (mut client, _key, before) in unheard(&talker, &gateway) {
        for _ in 0..before {
            assert_eq!(client.read().status, 200);
        }
        assert_opens(&mut client);
    }
}

#[test]
fn a_tunnel_is_told_why_it_is_cut() {
    let talker = Talker::start();
    let gateway = Gateway::start(&talker.setup());
    let key = gateway.mint("crm");
    let mut client = open(&gateway, &key);
    let receipt = gateway.revoke(&key.id);
    assert_eq!(closed_streams(&receipt, &[&gateway.id()]), 1, "{receipt}");
    assert!(client.read_to_end().ends_with(REVOKED));
    eventually("the upstream's end is closed", || talker.ended() == 1);
}
