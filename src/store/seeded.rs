//! Bugs that the fault tests have to find, so that it is known that they would. They are in a build
//! with the feature `seeded-bugs` alone, and there only while the environment names one.

use std::sync::LazyLock;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A lease does not run out: a gateway that is cut off goes on.
    EndlessLease,
    /// A gateway confirms changes before it applies them.
    EarlyReceipt,
    /// Whoever waits for receipts takes a lease for over that is not.
    EarlyFence,
}

/// Whether this process has it.
pub fn has(bug: Bug) -> bool {
    *SEEDED == Some(bug)
}

static SEEDED: LazyLock<Option<Bug>> = LazyLock::new(|| match named().as_deref() {
    Some("endless-lease") => Some(Bug::EndlessLease),
    Some("early-receipt") => Some(Bug::EarlyReceipt),
    Some("early-fence") => Some(Bug::EarlyFence),
    Some(_) | None => None,
});

#[expect(clippy::disallowed_methods, reason = "no configuration can name a bug")]
fn named() -> Option<String> {
    std::env::var("SEEDED_BUG").ok()
}
