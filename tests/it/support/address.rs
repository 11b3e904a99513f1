//! Hands out addresses that nobody else uses.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

/// An address that nobody listens on and nobody else is given: all of 127.0.0.0/8 is this
/// machine, so every run has hosts of its own, and the ports are none that the kernel gives away.
pub fn fresh() -> SocketAddr {
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    let run = std::process::id();
    let (high, low) = (2 + run % 253, 1 + (run / 253) % 254);
    let host = Ipv4Addr::new(127, octet(high), octet(low), octet(u32::from(1 + count % 254)));
    SocketAddr::from((host, FIRST_PORT + count / 254))
}

fn octet(value: u32) -> u8 {
    u8::try_from(value).unwrap()
}

static NEXT: AtomicU16 = AtomicU16::new(0);
const FIRST_PORT: u16 = 18_080;
