//! Changes the process without closing a socket: starts the next one with every listening socket,
//! open, and goes once that one serves.

use std::net::TcpListener;
use std::process::Child;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::time::Instant;

use crate::listener::bind::Inherited;
use crate::server::succession::predecessor::{Predecessor, READY};
use crate::server::succession::program::Program;

pub mod predecessor;
pub mod program;

/// What this process has from the one before it, and what it needs to start the one after it.
#[derive(Debug, Default)]
pub struct Lineage {
    /// Sockets that were open already.
    pub inherited: Inherited,
    /// Who waits until this process serves.
    pub predecessor: Option<Predecessor>,
    /// What is started to succeed this process; `None`: it is not to be succeeded.
    pub program: Option<Program>,
}

impl Lineage {
    /// Of this process; to be asked once, before there are other threads.
    pub fn of_this_process() -> Self {
        Self {
            inherited: Inherited::take(),
            predecessor: Predecessor::of_this_process(),
            program: Program::of_this_process().ok(),
        }
    }
}

/// The process that comes after this one, as far as there is one.
#[derive(Debug)]
pub struct Succession {
    program: Option<Program>,
    sockets: Vec<TcpListener>,
    candidate: Option<Candidate>,
}

/// A process that was started and does not serve yet.
#[derive(Debug)]
struct Candidate {
    child: Child,
    answer: UnixStream,
    until: Instant,
}

impl Succession {
    /// By `program`, with `sockets`.
    pub fn new(program: Option<Program>, sockets: Vec<TcpListener>) -> Self {
        Self { program, sockets, candidate: None }
    }

    /// Starts the next process. Where that cannot be done all stays as it is, and the log says why.
    pub fn begin(&mut self) {
        if let Some(candidate) = &self.candidate {
            let pid = candidate.child.id();
            tracing::warn!(pid, "SIGUSR2 is ignored: a process to succeed this one starts already");
            return;
        }
        let Some(program) = &self.program else {
            tracing::warn!("SIGUSR2 is ignored: this process cannot be succeeded by another one");
            return;
        };
        let started = program.start(&self.sockets).and_then(|(child, answer)| {
            answer.set_nonblocking(true)?;
            Ok(Candidate { child, answer: UnixStream::from_std(answer)?, until: deadline() })
        });
        let file = program.path().display();
        match started {
            Ok(candidate) => {
                let pid = candidate.child.id();
                tracing::info!(pid, %file, "a process to succeed this one was started");
                self.candidate = Some(candidate);
            }
            Err(fault) => {
                tracing::error!(%file, %fault, "no process to succeed this one could be started; going on");
            }
        }
    }

    /// Resolves once the next process serves, with its id; not before there is one.
    pub async fn succeeded(&mut self) -> u32 {
        loop {
            let Some(candidate) = &mut self.candidate else { return std::future::pending().await };
            let pid = candidate.child.id();
            match candidate.serves().await {
                Ok(()) => return pid,
                Err(why) => {
                    tracing::error!(
                        pid,
                        "the process that was to succeed this one {why}; going on"
                    );
                    self.give_up().await;
                }
            }
        }
    }

    /// Gives the sockets up.
    pub fn close(&mut self) {
        self.sockets.clear();
    }

    /// Ends a process that does not serve yet.
    pub async fn give_up(&mut self) {
        if let Some(candidate) = self.candidate.take() {
            candidate.end().await;
        }
    }
}

impl Candidate {
    async fn serves(&mut self) -> Result<(), String> {
        let mut word = [0; READY.len()];
        match tokio::time::timeout_at(self.until, self.answer.read_exact(&mut word)).await {
            Ok(Ok(_)) if word == READY => Ok(()),
            Ok(Ok(_)) => Err("says what it should not".to_owned()),
            Ok(Err(_ended)) => Err(match self.ended().await {
                Some(status) => format!("has ended ({status})"),
                None => "does not want to say when it serves".to_owned(),
            }),
            Err(_elapsed) => Err(format!("does not serve after {} s", TIMEOUT.as_secs())),
        }
    }

    async fn end(mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.ended().await;
    }

    /// Waits a little for its end.
    async fn ended(&mut self) -> Option<std::process::ExitStatus> {
        for _ in 0..ENDING_LOOKS {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            tokio::time::sleep(ENDING_PAUSE).await;
        }
        None
    }
}

fn deadline() -> Instant {
    Instant::now() + TIMEOUT
}

/// For the next process to read everything and serve.
const TIMEOUT: Duration = Duration::from_mins(1);
const ENDING_LOOKS: u32 = 200;
const ENDING_PAUSE: Duration = Duration::from_millis(10);
