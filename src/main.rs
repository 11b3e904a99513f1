//! Reads what was typed, does it, and says with an exit code how that went.
fn main() {}
