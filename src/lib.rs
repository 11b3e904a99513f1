#![doc = include_str!("ARCHITECTURE.md")]

pub mod clock;
mod tasks;
pub mod key;
