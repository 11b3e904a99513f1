//! Tells the process that this one succeeds that it may go.
//!
//! It holds the other end of this process's standard input: nothing else that is passed on can be
//! taken up without a number that somebody else could mean something else by.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use crate::config;

/// The process that waits until this one serves.
#[derive(Debug)]
pub struct Predecessor(UnixStream);

impl Predecessor {
    /// Of this process; `None`: it succeeds nobody.
    pub fn of_this_process() -> Option<Self> {
        let mut environment = config::environment();
        let (_name, value) = environment.find(|(name, _value)| name == SUCCESSOR_OF)?;
        let named: i32 = value.to_str()?.parse().ok()?;
        // What a successor starts has its environment too, and is no successor.
        let parent = rustix::process::getppid()?.as_raw_nonzero().get();
        if parent != named {
            return None;
        }
        let stream = io::stdin().as_fd().try_clone_to_owned().ok()?;
        let nothing = File::open("/dev/null").ok()?;
        rustix::stdio::dup2_stdin(nothing).ok()?;
        Some(Self(stream.into()))
    }

    /// Says that this process serves.
    pub fn may_go(mut self) {
        if let Err(fault) = self.0.write_all(READY) {
            tracing::warn!(%fault, "the process before this one did not wait");
        }
    }
}

/// In a successor's environment; holds the id of the process that started it.
pub const SUCCESSOR_OF: &str = "SUCCESSOR_OF";
/// What is said.
pub const READY: &[u8] = b"ready\n";
