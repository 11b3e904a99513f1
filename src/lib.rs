#![doc = include_str!("ARCHITECTURE.md")]

pub mod clock;

pub mod rate;
mod tasks;

pub mod key;
mod route;

pub mod config;
mod problem;

pub mod telemetry;

mod listener;

mod store;

mod gate;
mod upstream;

mod admin;
mod proxy;

pub mod server;

pub mod cli;
