//! Many who do the same at once.

use std::thread;

/// Has `count` threads do `work`, each with its number; what they bring back, in order.
#[track_caller]
pub fn crowd<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|it| scope.spawn(move || work(it))).collect();
        threads.into_iter().map(|it| it.join().unwrap()).collect()
    })
}
