//! What the claims stand on: the real program, and upstreams and clients on real sockets.

pub mod address;
pub mod ask;
pub mod certificates;
pub mod client;
pub mod commands;
pub mod crossing;
pub mod crowd;
pub mod disk;
pub mod frames;
pub mod gateway;
pub mod h2;
pub mod hole;
pub mod http;
pub mod http2;
pub mod issuer;
pub mod load;
pub mod metrics;
pub mod nginx;
pub mod peer;
pub mod pipe;
pub mod process;
pub mod setup;
pub mod streams;
pub mod tunnel;
pub mod upstream;
pub mod wait;
