//! Asks a gateway whether it is ready.

use reqwest::Method;
use serde_json::Value;

use crate::cli::Streams;
use crate::cli::api::Wire;
use crate::cli::args::Healthcheck;
use crate::cli::failure::Failure;

/// Done if it is ready, failed if it is not, unreachable if it does not answer.
pub fn healthcheck(typed: &Healthcheck, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let wire = Wire::new(&typed.url, typed.authority.file())?;
    let (status, body) = wire.send(wire.request(Method::GET, "/readyz"))?;
    if status.is_success() {
        return Ok(writeln!(streams.out, "ready")?);
    }
    let document: Value = serde_json::from_slice(&body).unwrap_or_default();
    let word = document.get("status").and_then(Value::as_str).unwrap_or("no reason given");
    let status = status.as_u16();
    Err(Failure::Failed(format!("{} is not ready ({status}: {word})", typed.url)))
}
