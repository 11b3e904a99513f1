//! What a connection becomes that has changed its protocol.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use crate::listener::stream::Stream;

/// Whoever owns a connection once its protocol has changed.
pub trait Tunnel: Debug {
    /// Goes on with it, to its end. `ahead` was read of it already.
    fn run(self: Box<Self>, stream: Stream, ahead: Bytes) -> Pin<Box<dyn Future<Output = ()>>>;
}
