#![doc = include_str!("ARCHITECTURE.md")]

pub mod clock;
pub mod rate;
mod tasks;
pub mod key;
pub mod route;
pub mod config;
pub mod store;
