//! Sockets: one connection from accept to close.

pub mod bind;
pub mod connection;
pub mod doors;
pub mod flow;
pub mod frames;
pub mod http1;
pub mod http2;
pub mod progress;
pub mod proxy_protocol;
pub mod session;
pub mod socket;
pub mod stream;
pub mod tap;
pub mod tls;
pub mod tunnel;
pub mod vitals;
pub mod ward;
