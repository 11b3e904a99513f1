//! Turns what was typed into a running gateway or calls of the admin API.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};

use clap::Parser;

use crate::cli::args::{Command, Typed};
use crate::cli::failure::Failure;
use crate::server::exit;

mod api;
mod args;
mod check;
mod completions;
mod credentials;
mod demo;
mod documents;
mod failure;
mod fleet;
mod healthcheck;
mod keys;
mod logging;
mod operators;
mod reload;
mod serve;
mod span;
mod store;
mod transfer;
mod trust;
mod words;

/// Where a command writes: results on one, words about them on the other.
pub struct Streams<'a> {
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Standard error.
    pub err: &'a mut dyn Write,
}

impl fmt::Debug for Streams<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Streams")
    }
}

/// Does what was typed; the exit code says how that went.
pub fn run(words: impl Iterator<Item = OsString>, streams: &mut Streams<'_>) -> u8 {
    let done = Typed::try_parse_from(words).map_err(Failure::from);
    let done = done.and_then(|typed| execute(typed, streams));
    done.unwrap_or_else(|failure| failure.report(streams))
}

/// Runs `work`. A panic in it is a bug of ours and ends with 70.
pub fn caught(work: impl FnOnce() -> u8) -> u8 {
    panic::set_hook(Box::new(|panic| {
        // Nobody is left to tell where standard error is gone.
        drop(writeln!(io::stderr(), "keyward: a bug of ours, please report it: {panic}"));
    }));
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or(exit::BUG)
}

fn execute(typed: Typed, streams: &mut Streams<'_>) -> Result<u8, Failure> {
    let done = match typed.command {
        Command::Serve(it) => return serve::serve(&it),

        Command::Demo(it) => return demo::demo(it, streams),
        Command::Check(it) => check::check(&it, streams),
        Command::Keys(it) => keys::keys(it, streams),
        Command::Operators(it) => operators::operators(&it, streams),
        Command::Fleet(it) => fleet::fleet(&it, streams),
        Command::Reload(it) => reload::reload(&it, streams),
        Command::Store(it) => store::store(&it, streams),
        Command::Healthcheck(it) => healthcheck::healthcheck(&it, streams),
        Command::Completions(it) => completions::completions(it, streams),
    };
    done.map(|()| exit::DONE)
}

#[cfg(test)]
mod tests;
