//! The same where the keys are in Redis, and both processes stand in one register.

use super::*;
use crate::support::gateway::operate::closed_streams;
use crate::support::redis::Redis;

/// The ids of all who stand in the register.
fn listed(gateway: &Gateway) -> Vec<String> {
    let gateways = gateway.admin("GET", "/v1/gateways", None).json();
    let items = gateways["items"].as_array().unwrap();
    items.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_revocation_while_processes_succeed_each_other_has_receipts_of_both_and_no_request_fails() {
    let (redis, endless) = (Redis::start(), Endless::start());
    let setup = Setup::to(endless.upstream().address());
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("keyward.pepper"), [7; 32]).unwrap();
    let gateway = Gateway::start_in(directory, &setup.store(&format!("url = {:?}", redis.url())));
    let key = gateway.mint("load");
    let mut line = Line::begin(gateway);
    let load = Load::begin(line.first.address(), &Ask::get("/").key(&key));
    for round in 0..rounds(3, 20) {
        let leaked = line.first.mint("crm");
        let target = Target::of(&line.first, &leaked);
        let streams = endless.open(&[Kind::Download, Kind::Poll], &target);
        load.go_on(50);
        let before = listed(&line.first);
        assert_eq!(before.len(), 1, "in round {round}");
        let gone = line.succeed();
        eventually("both are in the register", || listed(&line.first).len() == 2);
        let both = listed(&line.first);
        assert!(both.contains(&before[0]), "{both:?}");
        let ids: Vec<&str> = both.iter().map(String::as_str).collect();
        let receipt = line.first.revoke(&leaked.id);
        assert_eq!(closed_streams(&receipt, &ids), 2, "{receipt}");
        Ask::get("/").key(&leaked).to(&line.first).assert_problem(401, "revoked_key");
        for stream in streams {
            stream.assert_cut();
        }
        load.go_on(50);
        let code = if round == 0 { line.first.wait() } else { wait_for(gone) };
        assert_eq!(code, Some(0), "in round {round}");
        eventually("one is left in the register", || listed(&line.first).len() == 1);
        assert_eq!(load.failed(), 0, "in round {round}");
    }
    load.end();
    assert!(redis.cli(&["HGET", "{kw}:records", &key.id]).starts_with("k:a:1:"));
}
