//! Says what is wrong with a configuration.

use crate::cli::Streams;
use crate::cli::args::Check;
use crate::cli::credentials::write_whole;
use crate::cli::failure::Failure;
use crate::config::{self, sources};

/// Reads the file with the environment of this process, as `serve` would.
pub fn check(typed: &Check, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let loaded = sources::load(Some(&typed.file), &[], config::environment())?;
    for warning in &loaded.warnings {
        writeln!(streams.err, "keyward: warning: {warning}")?;
    }
    let (routes, upstreams) = (loaded.config.routes.len(), loaded.config.upstreams.len());
    let name = typed.file.display();
    let text = format!("{name}: no faults, {routes} routes, {upstreams} upstreams\n");
    Ok(write_whole(streams.out, &text)?)
}
