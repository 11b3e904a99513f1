//! What is counted and written down, without anything that workers contend for.

pub mod access;
pub mod counters;
pub mod expose;
pub mod histogram;
pub mod outlet;
