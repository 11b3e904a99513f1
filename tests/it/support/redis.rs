//! A real Redis, which can be killed, frozen and emptied. It names nothing of this crate, so that
//! unit tests can include the file as well.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub use durability::Durability;
use patience::{await_stillness, eventually, run_within};
use port::Port;

// Their places are said, so that they are found however this file is included.
#[path = "redis/durability.rs"]
pub mod durability;
#[path = "redis/patience.rs"]
pub mod patience;
#[path = "redis/port.rs"]
mod port;

/// A `redis-server` with a directory and a port of its own. It ends when this is dropped, also when
/// it is frozen; what it wrote is shown where a test fails.
#[derive(Debug)]
pub struct Redis {
    child: Mutex<Child>,
    terms: Terms,
    port: Port,
    directory: TempDir,
}

/// How it is set up. Without a word: every write is on disk before it is answered, nobody needs a
/// password, and memory has no limit.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    durability: Durability,
    user: Option<User>,
    tls: Option<Tls>,
    role: Role,
    lines: Vec<String>,
    variables: Vec<(String, String)>,
}

/// Who may speak to it: a user with rights as an ACL file gives them. Beside them there is `test`,
/// who may do everything, and nobody else.
#[derive(Clone, Debug)]
pub struct User {
    pub name: String,
    pub password: String,
    pub rights: String,
}

/// The files with which it speaks TLS, and nothing else.
#[derive(Clone, Debug)]
pub struct Tls {
    pub certificate: PathBuf,
    pub private_key: PathBuf,
    pub ca: PathBuf,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Role {
    #[default]
    Store,
    Sentinel,
}

impl Terms {
    /// Those of a sentinel.
    pub fn of_sentinel() -> Self {
        Self { role: Role::Sentinel, ..Self::default() }
    }

    /// With another durability.
    pub fn durability(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    /// With a user, who may use everything that `rights` gives: `"~* &* +@all"`.
    pub fn user(self, name: &str, password: &str, rights: &str) -> Self {
        let [name, password, rights] = [name, password, rights].map(str::to_owned);
        Self { user: Some(User { name, password, rights }), ..self }
    }

    /// With TLS, for which the certificate has to name 127.0.0.1.
    pub fn tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// With a limit of memory, and what happens there: `noeviction`, `allkeys-lru`.
    pub fn memory(self, bytes: u64, policy: &str) -> Self {
        self.line(&format!("maxmemory {bytes}")).line(&format!("maxmemory-policy {policy}"))
    }

    /// With a line more in its configuration.
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// With more in its environment.
    pub fn variables(self, variables: &[(String, String)]) -> Self {
        Self { variables: variables.to_vec(), ..self }
    }

    /// Whether it asks who speaks to it.
    pub fn has_user(&self) -> bool {
        self.user.is_some()
    }

    /// The files with which it speaks TLS.
    pub fn tls_files(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    fn text(&self, port: u16, directory: &str) -> String {
        let mut text = format!("bind 127.0.0.1\ndir {directory}\nlogfile {directory}/{LOG}\n");
        text.push_str("daemonize no\n");
        match &self.tls {
            None => writeln!(text, "port {port}").unwrap(),
            Some(tls) => text.push_str(&tls.text(port)),
        }
        if self.role == Role::Store {
            // Replicas are served at once: nobody else is expected.
            text.push_str("repl-diskless-sync-delay 0\n");
            text.push_str(self.durability.text());
            text.push_str(&self.user.as_ref().map(User::text).unwrap_or_default());
        }
        for line in &self.lines {
            writeln!(text, "{line}").unwrap();
        }
        text
    }
}

impl User {
    fn text(&self) -> String {
        let Self { name, password, rights } = self;
        // Replicas log in at their primary as who may do everything.
        format!(
            "user default off\nuser {TEST} on >{TEST} ~* &* +@all\n\
             user {name} on >{password} {rights}\nmasteruser {TEST}\nmasterauth {TEST}\n"
        )
    }
}

impl Tls {
    fn text(&self, port: u16) -> String {
        let [certificate, key, ca] =
            [&self.certificate, &self.private_key, &self.ca].map(|it| it.display().to_string());
        format!(
            "port 0\ntls-port {port}\ntls-cert-file {certificate}\ntls-key-file {key}\n\
             tls-ca-cert-file {ca}\ntls-auth-clients no\ntls-replication yes\ntls-cluster yes\n"
        )
    }
}

impl Redis {
    /// Starts one, and waits until it answers.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(&Terms::default())
    }

    /// The same on terms.
    #[track_caller]
    pub fn start_with(terms: &Terms) -> Self {
        for _ in 0..TRIES {
            match Self::try_start(terms) {
                Ok(this) => return this,
                // Somebody took the port who does not ask for it as we do.
                Err(log) if log.contains("in use") => {}
                Err(log) => panic!("it ended at once: {log}"),
            }
        }
        panic!("no port is free")
    }

    fn try_start(terms: &Terms) -> Result<Self, String> {
        let (directory, port) = (tempfile::tempdir().unwrap(), Port::take());
        let place = directory.path().display().to_string();
        fs::write(directory.path().join(FILE), terms.text(port.number, &place)).unwrap();
        let child = Mutex::new(spawn(&directory, terms));
        let this = Self { child, terms: terms.clone(), port, directory };
        this.await_answer().map_err(|_ended| this.log())?;
        Ok(this)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port.number))
    }

    /// Its URL, without a user.
    pub fn url(&self) -> String {
        let scheme = if self.terms.tls.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://{}/0", self.address())
    }

    /// On what terms it was started.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.child().id()
    }

    /// Ends it as a power cut would, but for what the kernel still writes.
    #[track_caller]
    pub fn kill(&self) {
        let mut child = self.child();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts it again on the same files and port; it is killed first where it runs.
    #[track_caller]
    pub fn restart(&self) {
        self.kill();
        *self.child() = spawn(&self.directory, &self.terms);
        assert!(self.await_answer().is_ok(), "it ended at once");
    }

    /// The same, and everything that it held is lost.
    #[track_caller]
    pub fn restart_empty(&self) {
        self.kill();
        drop(fs::remove_dir_all(self.file("appendonlydir")));
        for name in ["appendonly.aof", "dump.rdb"] {
            drop(fs::remove_file(self.file(name)));
        }
        self.restart();
    }

    /// Has it stand still until it is thawed; connections stay, and new ones are taken by the kernel.
    #[track_caller]
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        await_stillness(self.pid());
    }

    /// Has it go on, if it still lives: in a fleet under faults one may have been killed meanwhile.
    pub fn thaw(&self) {
        let gone = rustix::io::Errno::SRCH;
        let thawed = kill_process(Pid::from_child(&self.child()), Signal::CONT);
        assert!(thawed.is_ok() || thawed == Err(gone), "{thawed:?}");
    }

    /// Runs a command through `redis-cli`, as who may do everything: what it says, errors of Redis
    /// included.
    #[track_caller]
    pub fn cli(&self, words: &[&str]) -> String {
        self.try_cli(words).unwrap_or_else(|fault| panic!("{words:?}: {fault}"))
    }

    /// The same where nobody may answer.
    pub fn try_cli(&self, words: &[&str]) -> Result<String, String> {
        let user = self.terms.user.as_ref().filter(|_| self.terms.role == Role::Store);
        let login = user.map(|_| [TEST, TEST]);
        self.run_cli(login, words)
    }

    /// The same as another user.
    pub fn cli_as(&self, name: &str, password: &str, words: &[&str]) -> Result<String, String> {
        self.run_cli(Some([name, password]), words)
    }

    /// A field of `INFO`.
    #[track_caller]
    pub fn info(&self, field: &str) -> String {
        let text = self.cli(&["INFO", "everything"]);
        field_of(&text, field).unwrap_or_else(|| panic!("no {field} in {text}"))
    }

    /// The id of its life.
    #[track_caller]
    pub fn run_id(&self) -> String {
        self.info("run_id")
    }

    /// One of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What it has written of itself so far.
    pub fn log(&self) -> String {
        let bytes = [LOG, OUTPUT].map(|it| fs::read(self.file(it)).unwrap_or_default()).concat();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn run_cli(&self, login: Option<[&str; 2]>, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new("redis-cli");
        command.args(["-h", "127.0.0.1", "-p", &self.port.number.to_string()]);
        if let Some([name, password]) = login {
            command.args(["--no-auth-warning", "--user", name]).env("REDISCLI_AUTH", password);
        }
        if let Some(tls) = &self.terms.tls {
            command.arg("--tls").arg("--cacert").arg(&tls.ca);
        }
        command.args(words);
        let output = run_within(command, CLI_TIMEOUT)?;
        let text = |bytes| String::from_utf8_lossy(bytes).trim_end().to_owned();
        let (said, fault) = (text(&output.stdout), text(&output.stderr));
        // Some failures are told with an exit code of 0.
        let is_done = output.status.success() && !fault.starts_with("Could not connect");
        if is_done { Ok(said) } else { Err(format!("{said}{fault}")) }
    }

    /// Waits until this very process answers: its port might have been somebody else's.
    fn await_answer(&self) -> Result<(), Ended> {
        let pid = self.pid().to_string();
        let is_ours = || {
            let text = self.try_cli(&["INFO", "server"]).ok()?;
            field_of(&text, "process_id").filter(|it| *it == pid)
        };
        let mut ended = false;
        eventually("it answers", || {
            let answers = is_ours().is_some();
            ended = !answers && self.child().try_wait().unwrap().is_some();
            answers || ended
        });
        if ended { Err(Ended) } else { Ok(()) }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child()), signal).unwrap();
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap()
    }
}

/// It has ended before it answered.
#[derive(Debug)]
struct Ended;

impl Drop for Redis {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        // This ends it also where it is frozen.
        drop(child.kill());
        drop(child.wait());
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.len().saturating_sub(LINES_SHOWN);
            say(&format!("the last lines of Redis at {}:", self.address()));
            say(&lines[last..].join("\n"));
        }
    }
}

#[expect(clippy::print_stderr, reason = "where a test fails, this is what there is to see")]
fn say(text: &str) {
    eprintln!("{text}");
}

fn spawn(directory: &TempDir, terms: &Terms) -> Child {
    let output = || File::create(directory.path().join(OUTPUT)).unwrap();
    let mut command = Command::new("redis-server");
    command.arg(directory.path().join(FILE)).current_dir(directory.path());
    if terms.role == Role::Sentinel {
        command.arg("--sentinel");
    }
    command.envs(terms.variables.iter().cloned());
    command.stdin(Stdio::null()).stdout(output()).stderr(output());
    command.spawn().expect("redis-server is installed")
}

/// A field of a text in the manner of `INFO`.
pub fn field_of(text: &str, field: &str) -> Option<String> {
    let value = |line: &str| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned);
    text.lines().find_map(|line| value(line.trim_end()))
}

const FILE: &str = "redis.conf";
const LOG: &str = "redis.log";
const OUTPUT: &str = "output.log";

/// Who may do everything, and their password.
pub const TEST: &str = "test";

const TRIES: usize = 10;
const CLI_TIMEOUT: Duration = Duration::from_secs(20);
const LINES_SHOWN: usize = 40;
