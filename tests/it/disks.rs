//! On a full disk nothing new is minted, and everything else goes on.

use std::fs;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::json;

use crate::support::address::fresh;
use crate::support::ask::Ask;
use crate::support::disk::Disk;
use crate::support::gateway::operate::{closed_streams, key_of};
use crate::support::gateway::{FILE, Gateway, Key};
use crate::support::http::Response;
use crate::support::limits::shadow_refusals;
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};
use crate::support::wait::eventually;

/// Mints as large a record as there is.
fn mint(gateway: &Gateway) -> Response {
    let document = json!({ "name": "large", "metadata": { "text": "x".repeat(4_000) } });
    gateway.admin("POST", "/v1/keys", Some(&document))
}

#[track_caller]
fn assert_no_room(refused: &Response) {
    refused.assert_problem(503, "store_unreachable");
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("free space on the disk"), "{detail}");
}

/// Uses every key, over one connection, for three leases.
#[track_caller]
fn assert_all_go_on(gateway: &Gateway, keys: &[Key]) {
    let (start, mut client) = (Instant::now(), gateway.client());
    while start.elapsed() < 3 * LEASE {
        for key in keys {
            assert_eq!(client.ask(&Ask::get("/").key(key)).status, 200);
        }
    }
    assert_eq!(gateway.metrics().count("keyward_store_up"), 1);
}

#[test]
fn on_a_full_disk_nothing_is_minted_and_everything_else_goes_on() {
    let disk = Disk::new(32);
    disk.fill("ballast", 12 << 20);
    let upstream = Upstream::answering(|_| ok("ok"));
    let setup = Setup::to(upstream.address()).log("level = \"warn\"").store("lease = \"1s\"");
    let setup = setup.store(&format!("url = \"sqlite:{}\"", disk.path("keyward.db").display()));
    let mut gateway = Gateway::start_with(&disk, &setup);
    let mut keys = gateway.mint_many(50);
    let refused = loop {
        let minted = mint(&gateway);
        if minted.status != 201 {
            break minted;
        }
        keys.push(key_of(&minted));
    };
    assert_no_room(&refused);

    // Some room is kept for what must go on. Without even that it does.
    disk.fill("more ballast", 32 << 20);
    assert_eq!(disk.free(), 0);
    assert_no_room(&mint(&gateway));
    let (revoked, kept) = keys.split_at(40);
    assert_all_go_on(&gateway, kept);
    let id = gateway.id();
    for key in revoked {
        assert_eq!(closed_streams(&gateway.revoke(&key.id), &[&id]), 0);
        Ask::get("/").key(key).to(&gateway).assert_problem(401, "revoked_key");
    }
    assert_all_go_on(&gateway, kept);

    gateway.kill9();
    gateway.restart_with(&disk);
    assert_no_room(&mint(&gateway));
    let assert_as_it_was = |gateway: &Gateway| {
        let mut client = gateway.client();
        for key in revoked {
            client.ask(&Ask::get("/").key(key)).assert_problem(401, "revoked_key");
        }
        assert_all_go_on(gateway, kept);
    };
    assert_as_it_was(&gateway);

    // With room again it goes on by itself.
    fs::remove_file(disk.outside("more ballast")).unwrap();
    fs::remove_file(disk.outside("ballast")).unwrap();
    let key = key_of(&mint(&gateway));
    assert_eq!(Ask::get("/").key(&key).to(&gateway).status, 200);
    gateway.stop();
    let copy = gateway.file("copy.db");
    fs::copy(disk.outside("keyward.db"), &copy).unwrap();
    let store = Connection::open(copy).unwrap();
    let sound: String = store.query_row("PRAGMA integrity_check", [], |it| it.get(0)).unwrap();
    assert_eq!(sound, "ok");
    gateway.restart_with(&disk);
    assert_as_it_was(&gateway);
}

#[test]
fn a_first_start_on_a_full_disk_says_so_and_the_next_one_with_room_goes_well() {
    let disk = Disk::new(32);
    let upstream = Upstream::answering(|_| ok("ok"));
    let setup = Setup::to(upstream.address());
    let setup = setup.store(&format!("url = \"sqlite:{}\"", disk.path("keyward.db").display()));
    let pepper = disk.path("keyward.pepper").display().to_string();
    let setup = setup.store(&format!("pepper_file = {pepper:?}"));
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(FILE), setup.text(fresh(), fresh())).unwrap();
    // With each attempt it gets a little further, and finds what the one before has left.
    for free in [0, 4, 8, 16, 64, 128, 256, 1024, 4096].map(|it: u64| it << 10) {
        disk.fill("ballast", 0);
        disk.fill("ballast", disk.free() - free);
        let log = directory.path().join("output.log");
        let before = fs::metadata(log).map_or(0, |it| it.len());
        let mut process = disk.serve(directory.path());
        let code = process.wait().code();
        let said = process.log().split_off(usize::try_from(before).unwrap());
        assert!(matches!(code, Some(1 | 78)), "with {free} bytes {code:?}: {said}");
        // Where its index finds no room, SQLite says that the disk fails.
        let is_told = ["the disk that holds the store", "No space left on device", "on the disk"];
        assert!(is_told.iter().any(|it| said.contains(it)), "with {free} bytes: {said}");
    }
    fs::remove_file(disk.outside("ballast")).unwrap();
    let gateway = Gateway::start_in_with(directory, &disk, &setup);
    let key = key_of(&mint(&gateway));
    assert_eq!(Ask::get("/").key(&key).to(&gateway).status, 200);
}

const LEASE: Duration = Duration::from_secs(1);

#[test]
fn on_a_full_disk_a_quota_that_cannot_be_counted_is_not_said_to_be_exhausted() {
    let disk = Disk::new(32);
    let upstream = Upstream::answering(|_| ok("ok"));
    let setup = Setup::to(upstream.address()).log("level = \"warn\"");
    let setup = setup.store(&format!("url = \"sqlite:{}\"", disk.path("keyward.db").display()));
    let gateway = Gateway::start_with(&disk, &setup);
    let limited = gateway.mint_as(&json!({ "name": "limited", "quota": "100000/day" }));
    let shadow = gateway.mint_as(&json!({ "name": "shadow", "quota": "100000/day shadow" }));
    let free = gateway.mint("free");
    disk.fill("ballast", 32 << 20);
    let ask = |key: &Key| Ask::get("/").key(key).to(&gateway);
    let questions = || gateway.metrics().count("keyward_limits_leases_total");
    let before = questions();
    for _ in 0..5 {
        let refused = ask(&limited);
        refused.assert_problem(503, "store_unreachable");
        assert!(refused.json()["detail"].as_str().unwrap().contains("quota"), "{refused:?}");
    }
    // One for each: nobody asks again and again meanwhile.
    let asked = questions() - before;
    assert!((5..=10).contains(&asked), "{asked} questions");
    // What nobody knows is not counted as a refusal.
    (0..5).for_each(|_| assert_eq!(ask(&shadow).status, 200));
    assert_eq!(shadow_refusals(&gateway), [0; 4]);
    assert!(gateway.log().contains("a quota cannot be counted"), "{}", gateway.log());
    assert_eq!(ask(&free).status, 200);
    fs::remove_file(disk.outside("ballast")).unwrap();
    eventually("its quota is counted again", || ask(&limited).status == 200);
}
