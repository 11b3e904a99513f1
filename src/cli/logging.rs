//! Decides where log lines go and how they look.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal};
use std::panic;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, SubscriberBuilder, fmt};
use tracing_subscriber::registry::LookupSpan;

use crate::cli::failure::Failure;
use crate::clock::Timestamp;
use crate::config::{Log, LogFormat};

/// Starts writing log lines to standard output. `KEYWARD_LOG` goes before the configuration.
pub fn start(
    settings: &Log,
    mut environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<(), Failure> {
    let typed = environment.find(|(name, value)| name == "KEYWARD_LOG" && !value.is_empty());
    let level = typed.map(|(_name, value)| value.to_string_lossy().into_owned());
    let level = level.as_deref().unwrap_or(&settings.level);
    let filter = EnvFilter::try_new(level).map_err(|fault| {
        Failure::Configuration(format!(
            "KEYWARD_LOG: {fault}: expected a level like debug, or keyward=debug,info"
        ))
    })?;
    let is_terminal = io::stdout().is_terminal();
    let lines = fmt().with_env_filter(filter).with_writer(io::stdout).log_internal_errors(false);
    let is_text = match settings.format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => is_terminal,
    };
    if is_text {
        install(lines.with_ansi(is_terminal).with_target(false));
    } else {
        install(lines.event_format(Json));
    }
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let what = panic.payload_as_str();
        tracing::error!(place, what, "a bug of ours, please report it");
    }));
    Ok(())
}
