//! Says what is wrong with a configuration.

use crate::cli::Streams;
use crate::cli::args::Check;
use crate::cli::credentials::write_whole;
use crate::cli::failure::Failure;
use crate::cli::words;
use crate::config::{self, sources};

/// Reads the file with the environment of this process, as `serve` would.
pub fn check(typed: &Check, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let loaded = sources::load(Some(&typed.file), &[], config::environment())?;
    for warning in &loaded.warnings {
        writeln!(streams.err, "keyward: warning: {warning}")?;
    }
    let routes = words::count(&loaded.config.routes.len(), "route");
    let upstreams = words::count(&loaded.config.upstreams.len(), "upstream");
    let text = format!("{}: no faults, {routes}, {upstreams}\n", typed.file.display());
    Ok(write_whole(streams.out, &text)?)
}
