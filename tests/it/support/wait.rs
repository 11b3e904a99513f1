//! Waits for what is sure to come, and says how much of a claim is tried.

use std::thread;
use std::time::{Duration, Instant};

/// Waits until `condition` holds. The deadline is there to end a test that is lost anyway.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// How often a claim is tried: `few` times, or `many` where `CLAIMS=full` is set.
pub fn rounds(few: usize, many: usize) -> usize {
    let is_full = std::env::var("CLAIMS").is_ok_and(|it| it == "full");
    if is_full { many } else { few }
}

/// Longer than anything takes that comes at all.
pub const PATIENCE: Duration = Duration::from_secs(30);
