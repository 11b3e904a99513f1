//! A gateway gives way to the next one, and nobody who is served notices.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, waitpid};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::support::ask::Ask;
use crate::support::certificates::Authority;
use crate::support::crossing::{self, Crossing};
use crate::support::gateway::{FILE, Gateway, Key};
use crate::support::load::Load;
use crate::support::process::Process;
use crate::support::setup::Setup;
use crate::support::streams::{Endless, Kind, Target};
use crate::support::tunnel::{self, Talker};
use crate::support::upstream::{Upstream, ok};
use crate::support::wait::{eventually, rounds};

mod on_redis;

/// Processes, each of which started the next one. The last one is killed when this is dropped.
struct Line {
    /// Whoever began it; its addresses and files are those of all.
    first: Gateway,
    latest: i32,
    count: usize,
}

impl Line {
    fn begin(first: Gateway) -> Self {
        let this = std::process::id();
        // Who loses their parent becomes a child of this process, which can then wait for them.
        set_child_subreaper(Pid::from_raw(this.cast_signed())).unwrap();
        let latest = first.pid().cast_signed();
        Self { first, latest, count: 0 }
    }

    fn signal(&self, signal: Signal) {
        kill_process(pid(self.latest), signal).unwrap();
    }

    /// Has the latest process succeeded by another one; the id of the one that goes.
    fn succeed(&mut self) -> i32 {
        self.signal(Signal::USR2);
        self.count += 1;
        eventually("another process serves", || successors(&self.first.log()).len() == self.count);
        let next = *successors(&self.first.log()).last().unwrap();
        std::mem::replace(&mut self.latest, next)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.count > 0 {
            kill_process(pid(self.latest), Signal::KILL).unwrap_or_default();
        }
    }
}

fn pid(id: i32) -> Pid {
    Pid::from_raw(id).unwrap()
}

/// The ids that were said to be those of processes that serve now.
fn successors(log: &str) -> Vec<i32> {
    let lines = log.lines().filter(|it| it.contains("another process serves now"));
    let lines = lines.map(|it| serde_json::from_str::<Value>(it).unwrap());
    lines.map(|it| it["pid"].as_i64().unwrap().try_into().unwrap()).collect()
}

/// Waits for the end of a process that this one did not start; its exit code.
#[track_caller]
fn wait_for(id: i32) -> Option<i32> {
    let mut code = None;
    eventually("the process before ends", || {
        match waitpid(Some(pid(id)), WaitOptions::NOHANG).unwrap() {
            Some((_, status)) => {
                code = Some(status.exit_status());
                true
            }
            None => false,
        }
    });
    code.flatten()
}

fn start(upstream: &Upstream) -> (Line, Key) {
    let gateway = Gateway::start(&Setup::to(upstream.address()));
    let key = gateway.mint("crm");
    (Line::begin(gateway), key)
}

#[test]
fn of_constant_load_no_request_fails_while_processes_succeed_each_other() {
    let upstream = Upstream::answering(|_| ok("ok"));
    let (mut line, key) = start(&upstream);
    let load = Load::begin(line.first.address(), &Ask::get("/").key(&key));
    for round in 0..rounds(10, 50) {
        load.go_on(50);
        let gone = line.succeed();
        load.go_on(50);
        assert_eq!(load.failed(), 0, "in round {round}");
        let code = if round == 0 { line.first.wait() } else { wait_for(gone) };
        assert_eq!(code, Some(0), "in round {round}");
    }
    load.end();
}

#[test]
fn what_is_minted_and_revoked_by_the_next_process_holds_for_the_one_that_goes() {
    let endless = Endless::start();
    let (mut line, key) = start(endless.upstream());
    let streams = endless.open(&[Kind::Download, Kind::Poll], &Target::of(&line.first, &key));
    let gone = line.succeed();
    // Calls reach the new process alone.
    let minted = line.first.mint("erp");
    assert_eq!(Ask::get("/").key(&minted).to(&line.first).status, 200);
    let states = |line: &Line| {
        let gateways = line.first.admin("GET", "/v1/gateways", None).json();
        let items = gateways["items"].as_array().unwrap().clone();
        items.iter().map(|it| it["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    eventually("both are in the register", || states(&line).len() == 2);
    let receipt = line.first.revoke(&key.id);
    assert_eq!(receipt["propagation"]["complete"], true, "{receipt}");
    let gateways = receipt["propagation"]["gateways"].as_array().unwrap();
    let closed = gateways.iter().map(|it| it["closed_streams"].as_u64().unwrap());
    assert_eq!(closed.sum::<u64>(), 2, "{receipt}");
    for stream in streams {
        stream.assert_cut();
    }
    assert_eq!(line.first.wait(), Some(0), "{gone}");
    eventually("one is left in the register", || states(&line).len() == 1);
    Ask::get("/").key(&key).to(&line.first).assert_problem(401, "revoked_key");
}

#[test]
fn a_revocation_by_the_next_process_closes_a_websocket_of_the_one_that_goes() {
    let talker = Talker::start();
    let gateway = Gateway::start(&talker.setup());
    let (key, other) = (gateway.mint("crm"), gateway.mint("load"));
    let mut line = Line::begin(gateway);
    let load = Load::begin(line.first.address(), &Ask::get("/").key(&other));
    load.go_on(50);
    let mut client = tunnel::open(&line.first, &key);
    line.succeed();
    load.go_on(50);
    assert_eq!(talker.ended(), 0);
    let receipt = line.first.revoke(&key.id);
    assert_eq!(receipt["propagation"]["complete"], true, "{receipt}");
    let gateways = receipt["propagation"]["gateways"].as_array().unwrap();
    let closed = gateways.iter().map(|it| it["closed_streams"].as_u64().unwrap());
    assert_eq!(closed.sum::<u64>(), 1, "{receipt}");
    assert!(client.read_to_end().ends_with(tunnel::REVOKED));
    eventually("the upstream's end is closed", || talker.ended() == 1);
    load.end();
    assert_eq!(line.first.wait(), Some(0));
}

#[test]
fn nobody_notices_over_tls_and_http2_that_processes_succeed_each_other() {
    let upstream = Upstream::answering(|_| ok("ok"));
    let (authority, address) = (Authority::new(), crate::support::address::fresh());
    let directory = tempfile::tempdir().unwrap();
    authority.certify(&[crossing::NAME]).put(directory.path(), "a");
    let setup = Setup::to(upstream.address())
        .gateway(&format!("listen_tls = [\"{address}\"]"))
        .gateway("certificates = [{ certificate = \"a.pem\", private_key = \"a.key\" }]");
    let gateway = Gateway::start_in(directory, &setup);
    let key = gateway.mint("crm");
    let mut line = Line::begin(gateway);
    let load = Crossing::begin(address, authority.roots(), &key);
    let count = rounds(5, 50);
    for round in 0..count {
        load.go_on(50);
        let gone = line.succeed();
        load.go_on(50);
        let code = if round == 0 { line.first.wait() } else { wait_for(gone) };
        assert_eq!(code, Some(0), "in round {round}");
    }
    assert!(load.end() > count, "the connections outlived their processes");
}

#[test]
fn where_the_next_version_does_not_come_up_the_one_before_goes_on() {
    let upstream = Upstream::answering(|_| ok("ok"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keyward");
    symlink(env!("CARGO_BIN_EXE_keyward"), &file).unwrap();
    let mut command = Command::new(&file);
    command.args(["serve", "--config", FILE]);
    let gateway = Gateway::start_as(command, directory, &Setup::to(upstream.address()));
    let key = gateway.mint("crm");
    let mut line = Line::begin(gateway);
    let load = Load::begin(line.first.address(), &Ask::get("/").key(&key));
    let put = |program: &str| {
        fs::remove_file(&file).unwrap();
        symlink(program, &file).unwrap();
    };
    put("/bin/false");
    line.signal(Signal::USR2);
    eventually("it says why", || line.first.log().contains("has ended (exit status: 1)"));
    put("/nowhere/keyward");
    line.signal(Signal::USR2);
    let words = "no process to succeed this one could be started";
    eventually("it says why", || line.first.log().contains(words));
    // Neither does one with another configuration that cannot be meant.
    put(env!("CARGO_BIN_EXE_keyward"));
    let config = line.first.file(FILE);
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}\nnonsense = 1\n")).unwrap();
    line.signal(Signal::USR2);
    eventually("it says why", || line.first.log().contains("has ended (exit status: 78)"));
    load.go_on(50);
    fs::write(&config, text).unwrap();
    line.succeed();
    load.go_on(50);
    assert_eq!(line.first.wait(), Some(0));
    load.end();
}

#[test]
fn a_second_word_while_a_process_starts_is_ignored() {
    let upstream = Upstream::answering(|_| ok("ok"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keyward");
    symlink(env!("CARGO_BIN_EXE_keyward"), &file).unwrap();
    let mut command = Command::new(&file);
    command.args(["serve", "--config", FILE]);
    let mut gateway = Gateway::start_as(command, directory, &Setup::to(upstream.address()));
    let key = gateway.mint("crm");
    // Something that neither serves nor ends.
    let sleeper = gateway.file("sleeper");
    fs::write(&sleeper, "#!/bin/sh\nexec sleep 60\n").unwrap();
    let is_executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&sleeper, is_executable).unwrap();
    fs::remove_file(&file).unwrap();
    symlink(&sleeper, &file).unwrap();
    gateway.signal(Signal::USR2);
    eventually("it starts", || gateway.log().contains("to succeed this one was started"));
    gateway.signal(Signal::USR2);
    eventually("it says so", || gateway.log().contains("starts already"));
    assert_eq!(Ask::get("/").key(&key).to(&gateway).status, 200);
    // Who is told to stop does so, and takes along what it has started.
    gateway.stop();
}

/// The sockets of a gateway as a service manager holds them, open from one start to the next.
struct Held(Vec<TcpListener>);

impl Held {
    fn open(addresses: &[SocketAddr]) -> Self {
        let open = |address: &SocketAddr| {
            let socket = Socket::new(Domain::for_address(*address), Type::STREAM, None).unwrap();
            socket.bind(&(*address).into()).unwrap();
            socket.listen(1024).unwrap();
            socket.into()
        };
        Self(addresses.iter().map(open).collect())
    }

    /// Starts a gateway with them, in the way of `sd_listen_fds(3)`.
    fn serve(&self, directory: &Path) -> Process {
        let script = "LISTEN_PID=$$ exec \"$@\"";
        let program = env!("CARGO_BIN_EXE_keyward");
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", program, "serve", "--config", FILE]);
        command.env("LISTEN_FDS", self.0.len().to_string());
        let copies = self.0.iter().map(|it| OwnedFd::from(it.try_clone().unwrap()));
        let mappings =
            copies.zip(3..).map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd });
        command.fd_mappings(mappings.collect()).unwrap();
        Process::start_as(command, directory)
    }
}

#[test]
fn of_constant_load_no_request_fails_while_a_service_manager_restarts_it() {
    let upstream = Upstream::answering(|_| ok("ok"));
    let directory = tempfile::tempdir().unwrap();
    let held = std::cell::OnceCell::new();
    let mut gateway =
        Gateway::start_where(directory, &Setup::to(upstream.address()), |it, addresses| {
            held.get_or_init(|| Held::open(&addresses)).serve(it)
        });
    let held = held.get().unwrap();
    let key = gateway.mint("crm");
    let load = Load::begin(gateway.address(), &Ask::get("/").key(&key));
    for round in 0..rounds(10, 50) {
        load.go_on(50);
        gateway.stop();
        gateway.restart_by(|it| held.serve(it));
        load.go_on(50);
        assert_eq!(load.failed(), 0, "in round {round}");
    }
    load.end();
}

#[test]
fn a_socket_that_nobody_listens_on_is_closed_and_one_that_is_missing_is_opened() {
    let upstream = Upstream::answering(|_| ok("ok"));
    let other = crate::support::address::fresh();
    let gateway = Gateway::start_where(
        tempfile::tempdir().unwrap(),
        &Setup::to(upstream.address()),
        // The admin listener's is not among them, and one too many is.
        |it, [gateway, _admin]| Held::open(&[gateway, other]).serve(it),
    );
    let key = gateway.mint("crm");
    assert_eq!(Ask::get("/").key(&key).to(&gateway).status, 200);
    assert!(std::net::TcpStream::connect(other).is_err());
    assert!(gateway.log().contains(&other.to_string()), "{}", gateway.log());
}

#[test]
fn what_was_meant_for_another_process_is_left_alone() {
    let upstream = Upstream::answering(|_| ok("ok"));
    let gateway = Gateway::start_where(
        tempfile::tempdir().unwrap(),
        &Setup::to(upstream.address()),
        |it, _addresses| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
            command.args(["serve", "--config", FILE]);
            command.env("LISTEN_FDS", "5").env("LISTEN_PID", "1").env("SUCCESSOR_OF", "1");
            Process::start_as(command, it)
        },
    );
    let key = gateway.mint("crm");
    assert_eq!(Ask::get("/").key(&key).to(&gateway).status, 200);
}

#[test]
fn a_service_manager_is_told_what_happens() {
    let upstream = Upstream::answering(|_| ok("ok"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(crate::support::wait::PATIENCE)).unwrap();
    let told = || {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    command.args(["serve", "--config", FILE]).env("NOTIFY_SOCKET", &path);
    let gateway = Gateway::start_as(command, directory, &Setup::to(upstream.address()));
    assert_eq!(told(), "READY=1");
    let mut line = Line::begin(gateway);
    line.succeed();
    let mut both = [told(), told()];
    both.sort();
    assert_eq!(both, [format!("MAINPID={}", line.latest), "READY=1".to_owned()]);
    line.signal(Signal::TERM);
    assert_eq!(told(), "STOPPING=1");
}
