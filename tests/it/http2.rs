//! What is said to a client in HTTP/2, and what of that reaches an upstream.

mod case;
mod compression;
mod flow;
mod framing;
mod messages;
mod states;
