//! Child processes on chosen cores, which end when they are dropped.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);
const LOG_TAIL: usize = 4096;

/// The cores on which a process may run.
#[derive(Clone, Copy)]
pub enum Cores {
    /// The core kept for the proxy which is measured.
    Proxy,
    /// The core shared by the upstream and the load generator.
    Load,
    /// Both of these cores.
    Both,
    /// Wherever the scheduler likes.
    Any,
}

impl Cores {
    /// A command which runs `program` on these cores only, and ends it if the benchmark dies.
    pub fn command(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM"]);
        if let Some(list) = self.list() {
            command.args(["taskset", "-c", list]);
        }
        // Debian keeps nginx and HAProxy where only root's shell looks.
        let path = env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin")).arg(program);
        command
    }

    fn list(self) -> Option<&'static str> {
        match self {
            Self::Proxy => Some("0"),
            Self::Load => Some("1"),
            Self::Both => Some("0,1"),
            Self::Any => None,
        }
    }
}

/// A running child whose output goes to files.
pub struct Process {
    name: String,
    child: Child,
    errors: PathBuf,
}

impl Process {
    /// Starts `command`, with its output in `folder`, in files named after it.
    pub fn start(name: &str, mut command: Command, folder: &Path) -> Result<Self> {
        let errors = folder.join(format!("{name}.err"));
        let child = command
            .stdout(File::create(folder.join(format!("{name}.out")))?)
            .stderr(File::create(&errors)?)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self { name: name.to_owned(), child, errors })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `is_ready` agrees.
    pub fn wait_until(&mut self, is_ready: impl Fn() -> bool) -> Result<()> {
        let start = Instant::now();
        while !is_ready() {
            let ended = self.child.try_wait()?.map(|status| anyhow!("{status}"));
            let late = (start.elapsed() > PATIENCE).then(|| anyhow!("not ready in time"));
            if let Some(error) = ended.or(late) {
                return self.explain(Err(error));
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Names the process in an error, and quotes the end of its log.
    pub fn explain<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.map_err(|error| anyhow!("{}: {error:#}\n{}", self.name, self.log()))
    }

    fn log(&self) -> String {
        let log = fs::read(&self.errors).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(LOG_TAIL)..];
        format!("the log of {}: {}", self.name, String::from_utf8_lossy(tail))
    }

    /// Sends a signal, named without `SIG`.
    pub fn signal(&self, name: &str) -> Result<()> {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status()?;
        ensure!(status.success(), "cannot signal {}", self.name);
        Ok(())
    }

    /// Waits until the process ends by itself.
    pub fn wait(&mut self) -> Result<()> {
        self.child.wait()?;
        Ok(())
    }

    /// Interrupts the process until it ends: a thread which does not care may take the signal.
    pub fn interrupt(&mut self) -> Result<()> {
        self.end(|process| process.signal("INT"))
    }

    fn terminate(&mut self) -> Result<()> {
        self.signal("TERM")?;
        // A paused process ends only once it goes on.
        self.signal("CONT")?;
        self.end(|_| Ok(()))
    }

    /// Waits until the process has ended, and keeps nudging it.
    fn end(&mut self, nudge: impl Fn(&Self) -> Result<()>) -> Result<()> {
        let start = Instant::now();
        while self.child.try_wait()?.is_none() {
            ensure!(start.elapsed() < PATIENCE, "{} does not end", self.name);
            nudge(self)?;
            thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A child which has ended must not be signalled: its id may belong to another by now.
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        if let Err(error) = self.terminate() {
            eprintln!("versus: {error:#}; killing it");
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
