//! Tells a service manager what this process is doing, as `sd_notify(3)` says.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::time::{ClockId, clock_gettime};

use crate::config;

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It serves, as it was started or as it was configured anew.
    Ready,
    /// It reads its configuration again.
    Reloading,
    /// It is on its way out.
    Stopping,
    /// Another process, with this id, goes on with its work.
    SucceededBy(u32),
}

/// Tells whoever is named in `NOTIFY_SOCKET`, if anybody is.
pub fn notify(state: State) {
    let named = config::environment().find(|(name, _value)| name == "NOTIFY_SOCKET");
    let Some((_name, socket)) = named.filter(|(_name, value)| !value.is_empty()) else { return };
    if let Err(fault) = tell(&socket, &words(state)) {
        tracing::warn!(?socket, %fault, "the service manager could not be told");
    }
}

fn tell(socket: &OsStr, words: &str) -> io::Result<()> {
    let address = match socket.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        Some(_) | None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(words.as_bytes(), &address)?;
    Ok(())
}

fn words(state: State) -> String {
    match state {
        State::Ready => "READY=1".to_owned(),
        State::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_us()),
        State::Stopping => "STOPPING=1".to_owned(),
        State::SucceededBy(pid) => format!("MAINPID={pid}"),
    }
}

fn monotonic_us() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000)
}
