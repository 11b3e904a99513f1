//! Ports for servers that come and go.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// A port that is ours also while nobody listens there: sockets of another kind keep it, and the
/// one above it by which servers of a cluster speak, from all who ask the same way.
#[derive(Debug)]
pub struct Port {
    pub number: u16,
    _keepers: [UdpSocket; 2],
}

impl Port {
    /// One that nobody else has.
    #[track_caller]
    pub fn take() -> Self {
        // Where another process begins, another one rarely does.
        let start = (std::process::id() % 512) * 11;
        for _ in 0..PORTS {
            let count = u32::from(NEXT_PORT.fetch_add(1, Ordering::Relaxed)) + start;
            let number = FIRST_PORT + u16::try_from(count % u32::from(PORTS)).unwrap();
            let keep = |port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port));
            if let (Ok(one), Ok(other)) = (keep(number), keep(number + BUS)) {
                return Self { number, _keepers: [one, other] };
            }
        }
        panic!("no port is free")
    }
}

static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

/// None that the kernel gives away, nor those by which servers of a cluster speak.
const FIRST_PORT: u16 = 12_000;
const PORTS: u16 = 6_000;

/// How far the port lies above by which servers of a cluster speak.
const BUS: u16 = 10_000;
