//! What is said to a client in HTTP/2, and what of that reaches an upstream.

mod behaviour;
mod case;
mod compression;
mod downgrade;
mod ends;
mod floods;
mod flow;
mod framing;
mod honest;
mod messages;
mod states;
