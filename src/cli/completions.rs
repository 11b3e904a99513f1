//! Writes what a shell completes.

use clap::CommandFactory;

use crate::cli::Streams;
use crate::cli::args::{Completions, Typed};
use crate::cli::credentials::write_whole;
use crate::cli::failure::Failure;

/// Writes the completions of the shell that was typed.
pub fn completions(typed: Completions, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let mut text = Vec::new();
    // Into memory first: the generator panics where a pipe is closed.
    clap_complete::generate(typed.shell, &mut Typed::command(), "keyward", &mut text);
    Ok(write_whole(streams.out, &String::from_utf8_lossy(&text))?)
}
