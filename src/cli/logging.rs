//! Decides where log lines go and how they look.

use std::fmt;
use std::io::{self, IsTerminal};
use std::panic;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::cli::failure::Failure;
use crate::clock::Timestamp;
use crate::config::{Log, LogFormat};
use crate::telemetry::outlet::Outlet;

/// Starts writing log lines to standard output. Once what is returned is dropped, they are written
/// and no more will be.
pub fn start(settings: &Log) -> Result<Outlet, Failure> {
    // A client can have h2 complain as often as it likes; who wants to hear it names `h2`.
    let filter = EnvFilter::try_new(format!("h2=off,{}", settings.level))
        .map_err(|fault| Failure::Configuration(format!("log.level: {fault}")))?;
    let is_terminal = io::stdout().is_terminal();
    let outlet = Outlet::start(io::stdout())
        .map_err(|fault| Failure::Failed(format!("logging cannot start: {fault}")))?;
    let inlet = outlet.inlets().log.clone();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || inlet.clone())
        .log_internal_errors(false);
    let is_text = match settings.format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => is_terminal,
    };
    let started = if is_text {
        lines.with_ansi(is_terminal).with_target(false).try_init()
    } else {
        lines.event_format(Json).try_init()
    };
    started.map_err(|fault| Failure::Failed(format!("logging cannot start: {fault}")))?;
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let what = panic.payload_as_str();
        tracing::error!(place, what, "a bug of ours, please report it");
    }));
    Ok(outlet)
}

/// One JSON object a line, with the names that the access log has too.
struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _spans: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Line::new(Timestamp::now(), event);
        event.record(&mut line);
        writeln!(writer, "{}", Value::Object(line.0))
    }
}

struct Line(Map<String, Value>);

impl Line {
    fn new(now: Timestamp, event: &Event<'_>) -> Self {
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        let mut line = Self(Map::new());
        line.put("ts", now.to_string().into());
        line.put("level", level.into());
        line.put("target", event.metadata().target().into());
        line
    }

    fn put(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value.into());
    }
}

#[cfg(test)]
mod tests;
