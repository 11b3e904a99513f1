//! HTTP/2 by hand, for clients that say what they like.

pub mod frames;
pub mod hpack;
pub mod peer;
