//! Nobody waits for whoever reads the log, and whoever reads it gets whole lines, to the last one.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::address::fresh;
use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::gateway::{FILE, Gateway};
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::wait::eventually;

/// The real program with a pipe for its standard output; it is killed when this is dropped.
struct Piped(Child);

impl Piped {
    fn serve(directory: &Path, address: SocketAddr) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
        command.args(["serve", "--config", FILE]).current_dir(directory);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let this = Self(command.spawn().unwrap());
        eventually("it listens", || TcpStream::connect(address).is_ok());
        this
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_reader_of_the_log_that_stands_still_stops_nobody() {
    let (address, directory) = (fresh(), tempfile::tempdir().unwrap());
    let setup = Setup::to(fresh()).log("format = \"json\"");
    fs::write(directory.path().join(FILE), setup.text(address, fresh())).unwrap();
    let mut gateway = Piped::serve(directory.path(), address);
    // Each of these leaves a warning; a pipe holds 64 KiB.
    let mut client = Client::connect(address);
    for _ in 0..1_000 {
        let answer = client.ask(&Ask::get("/public/a"));
        answer.assert_problem(502, "upstream_unreachable");
    }
    kill_process(Pid::from_child(&gateway.0), Signal::TERM).unwrap();
    drop(client);
    eventually("it ends", || gateway.0.try_wait().unwrap().is_some());
    assert_eq!(gateway.0.wait().unwrap().code(), Some(0));
    let mut log = String::new();
    gateway.0.stdout.take().unwrap().read_to_string(&mut log).unwrap();
    let (whole, _cut_off) = log.rsplit_once('\n').unwrap();
    assert!(whole.lines().all(|it| serde_json::from_str::<Value>(it).is_ok()));
}

#[test]
fn what_was_logged_last_is_written_before_the_end_in_whole_lines() {
    let upstream = Upstream::echo();
    let setup = Setup::to(upstream.address()).log("format = \"json\"\naccess = true");
    let mut gateway = Gateway::start(&setup);
    for turn in 1..=5 {
        for _ in 0..20 {
            assert_eq!(Ask::get("/public/a").to(&gateway).status, 200);
        }
        gateway.stop();
        let log = gateway.log();
        let lines: Vec<Value> = log.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
        let accesses = lines.iter().filter(|it| it["event"] == "access").count();
        assert_eq!(accesses, 20 * turn, "{log}");
        assert_eq!(lines.last().unwrap()["message"], "stopped", "{log}");
        gateway.restart();
    }
}
