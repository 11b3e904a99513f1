//! The program as a process: started as people start it, and ended by whoever started it.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::wait::eventually;

/// A running program. All it writes goes into one file. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

/// How a program ended, and what it wrote.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub output: String,
}

impl Process {
    /// `keyward` with `arguments`, in `directory`.
    pub fn start(directory: &Path, arguments: &[&str]) -> Self {
        Self::start_by(&[], directory, arguments)
    }

    /// The same, by way of another program that becomes it.
    pub fn start_by(way: &[&str], directory: &Path, arguments: &[&str]) -> Self {
        let words = [way, &[env!("CARGO_BIN_EXE_keyward")], arguments].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        Self::start_as(command, directory)
    }

    /// A command, in `directory`.
    pub fn start_as(mut command: Command, directory: &Path) -> Self {
        let log = directory.join("output.log");
        let output =
            || -> File { OpenOptions::new().create(true).append(true).open(&log).unwrap() };
        command.current_dir(directory).stdin(Stdio::null());
        command.stdout(output()).stderr(output());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("KEYWARD_") {
                command.env_remove(name);
            }
        }
        Self { child: command.spawn().unwrap(), log }
    }

    /// Runs to the end.
    pub fn run(directory: &Path, arguments: &[&str]) -> Outcome {
        let mut this = Self::start(directory, arguments);
        let code = this.wait().code();
        Outcome { code, output: this.log() }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the process ends", || self.has_ended());
        self.child.wait().unwrap()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.len().saturating_sub(40);
            eprintln!("the program's last lines:\n{}", lines[last..].join("\n"));
        }
    }
}
