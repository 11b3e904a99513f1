//! Programs of others that stand on either side of a gateway: what they are told, what they say.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::support::commands::Said;
use crate::support::wait::{PATIENCE, eventually};

/// A program that runs. It is killed when this is dropped.
#[derive(Debug)]
pub struct Peer {
    name: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    /// Starts a program, and goes on reading what it says.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = spawn(command);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (stdout, heard) = (child.stdout.take().unwrap(), Arc::clone(&lines));
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                heard.lock().unwrap().push(line);
            }
        });
        Self { name, child, lines }
    }

    /// Waits for a line that begins so; the rest of it.
    #[track_caller]
    pub fn says(&mut self, beginning: &str) -> String {
        let mut found = None;
        eventually(&format!("{} says {beginning:?}", self.name), || {
            // Read after its end was seen, so that its last line counts.
            let has_ended = self.child.try_wait().unwrap().is_some();
            let lines = self.lines.lock().unwrap();
            found = lines.iter().find_map(|it| it.strip_prefix(beginning).map(str::to_owned));
            assert!(found.is_some() || !has_ended, "{} has ended, saying {lines:?}", self.name);
            found.is_some()
        });
        found.unwrap()
    }

    /// Where it listens, once it says `ready 127.0.0.1:9000`.
    #[track_caller]
    pub fn address(&mut self) -> SocketAddr {
        self.says("ready ").parse().unwrap()
    }

    /// All that it has said.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs a program to its end, and waits for that no longer than a test is patient.
#[track_caller]
pub fn run(command: &mut Command) -> Said {
    let name = format!("{command:?}");
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(command);
    let (out, err) = (read(child.stdout.take().unwrap()), read(child.stderr.take().unwrap()));
    let end = Instant::now() + 2 * PATIENCE;
    let mut was_killed = false;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > end && !was_killed {
            child.kill().unwrap();
            was_killed = true;
        }
        thread::sleep(std::time::Duration::from_millis(10));
    };
    let said = Said { code: status.code(), out: out.join().unwrap(), err: err.join().unwrap() };
    assert!(!was_killed, "{name} does not end: {said:?}");
    said
}

/// A script beside the claims that use it, run by the Python for which packages are installed.
pub fn python(script: &str) -> Command {
    let path = format!("{}/tests/it/peers/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-u", &path]);
    command
}

/// A program by the first of its names that is installed; some live where only root looks.
#[track_caller]
pub fn program(names: &[&str]) -> Command {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let find = |name: &&str| -> Option<PathBuf> {
        let mut places = path.split(':').map(|it| Path::new(it).join(name));
        places.find(|it| it.is_file())
    };
    let found = names.iter().find_map(find);
    Command::new(found.unwrap_or_else(|| panic!("none of {names:?} is installed: make deps-test")))
}

fn read(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(from.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[track_caller]
fn spawn(command: &mut Command) -> Child {
    let child = command.spawn();
    child.unwrap_or_else(|fault| panic!("{command:?}: {fault}; install it with make deps-test"))
}
