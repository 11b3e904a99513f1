//! Has the allocator give back to the system what nobody uses any more.

use std::hint::black_box;

/// mimalloc keeps what becomes free for a second, and looks whether that is over only when a large
/// piece comes or goes. Where a crowd has come to rest none does, and more than half of what it
/// needed would stay. This is a large piece, of which nothing is touched.
pub fn give_back() {
    drop(black_box(Vec::<u8>::with_capacity(LARGE_BYTES)));
}

/// Beyond what shares pages with others.
const LARGE_BYTES: usize = 4 * 1024 * 1024;
