//! Sockets: one connection from accept to close.

pub mod bind;
pub mod connection;
pub mod doors;
pub mod proxy_protocol;
pub mod socket;
pub mod tls;
pub mod vitals;
