#![doc = include_str!("ARCHITECTURE.md")]

pub mod clock;

pub mod rate;
mod tasks;

pub mod key;
mod route;

pub mod config;

mod store;

mod gate;
