//! An endpoint may be a name, and a name may come to mean another address.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::ask::Ask;
use crate::support::gateway::Gateway;
use crate::support::hole::Hole;
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};
use crate::support::wait::eventually;

const RESOLVE_EVERY: Duration = Duration::from_secs(1);

/// What the gateway's own `/etc/hosts` says; nobody else's is touched.
fn say(hosts: &Path, addresses: &[Ipv4Addr]) {
    let lines = addresses.iter().map(|it| format!("{it} api.keyward.test\n"));
    let lines: Vec<String> = lines.collect();
    fs::write(hosts, format!("127.0.0.1 localhost\n{}", lines.concat())).unwrap();
}

/// Two at the same port of different addresses.
fn neighbours() -> [Upstream; 2] {
    let first = Upstream::answering(|_| ok("first"));
    let port = first.address().port();
    let second = SocketAddr::from((SECOND, port));
    [first, Upstream::answering_at(second, |_| ok("second"))]
}

fn start(hosts: &Path, directory: tempfile::TempDir, port: u16) -> Gateway {
    start_with(hosts, directory, port, "")
}

fn start_with(hosts: &Path, directory: tempfile::TempDir, port: u16, lines: &str) -> Gateway {
    let script = format!("mount --bind {} /etc/hosts && exec \"$@\"", hosts.display());
    let way = ["unshare", "--map-root-user", "--mount", "sh", "-c", &script, "sh"];
    let setup = Setup::empty().upstream_at("api", &[format!("http://api.keyward.test:{port}")]);
    let setup = setup.upstream_line("resolve_every = \"1s\"").upstream_line(lines);
    Gateway::start_through(
        &way,
        directory,
        &setup.route("all", "path = \"/\"\naccess = \"public\""),
    )
}

#[test]
fn a_name_that_comes_to_mean_another_address_moves_all_traffic_there() {
    let [first, second] = neighbours();
    let directory = tempfile::tempdir().unwrap();
    let hosts = directory.path().join("hosts");
    say(&hosts, &[FIRST]);
    let gateway = start(&hosts, directory, first.address().port());
    let mut client = gateway.client();
    let mut ask = || String::from_utf8(client.ask(&Ask::get("/")).body).unwrap();
    for (address, name) in [(FIRST, "first"), (SECOND, "second"), (FIRST, "first")] {
        say(&hosts, &[address]);
        let changed = Instant::now();
        eventually("traffic has moved", || ask() == name);
        let took = changed.elapsed();
        assert!(took < RESOLVE_EVERY + Duration::from_secs(1), "it took {took:?}");
        // Over whichever connection: those to the other address are not used any more.
        thread::sleep(RESOLVE_EVERY);
        assert!((0..50).all(|_| ask() == name));
    }
    assert!(first.asked() > 100 && second.asked() > 50);
}

#[test]
fn a_name_that_is_not_known_at_first_is_found_later_and_what_was_found_stays() {
    let [first, _second] = neighbours();
    let directory = tempfile::tempdir().unwrap();
    let hosts = directory.path().join("hosts");
    say(&hosts, &[]);
    let gateway = start(&hosts, directory, first.address().port());
    Ask::get("/").to(&gateway).assert_problem(502, "upstream_unreachable");
    say(&hosts, &[FIRST]);
    eventually("it is found", || Ask::get("/").to(&gateway).status == 200);
    say(&hosts, &[]);
    eventually("it is missed", || gateway.log().contains("a name cannot be looked up"));
    assert!((0..20).all(|_| Ask::get("/").to(&gateway).status == 200));
}

#[test]
fn of_two_addresses_one_that_nobody_answers_at_fails_no_request() {
    let upstream = Upstream::answering_at(SocketAddr::from((SECOND, 0)), |_| ok("second"));
    let port = upstream.address().port();
    for is_refused in [true, false] {
        let _hole = (!is_refused).then(|| Hole::at(SocketAddr::from((THIRD, port))));
        for addresses in [[THIRD, SECOND], [SECOND, THIRD]] {
            let directory = tempfile::tempdir().unwrap();
            let hosts = directory.path().join("hosts");
            say(&hosts, &addresses);
            let lines = "retries = 0\nconnect_timeout = \"2s\"";
            let gateway = start_with(&hosts, directory, port, lines);
            for _ in 0..10 {
                let answer = Ask::get("/").to(&gateway);
                assert_eq!(answer.status, 200, "{addresses:?} {is_refused}");
            }
        }
    }
}

const FIRST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const THIRD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
