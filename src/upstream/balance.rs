//! Decides which endpoint gets the next request.

use std::cell::Cell;

use crate::config::Balance;
use crate::upstream::pool::Pool;

/// One worker's choice among an upstream's endpoints.
#[derive(Debug)]
pub struct Balancer {
    balance: Balance,
    turn: Cell<u64>,
}

impl Balancer {
    /// Workers begin at different endpoints.
    pub fn new(balance: Balance, worker: usize) -> Self {
        Self { balance, turn: Cell::new(worker as u64) }
    }

    /// The place of the next endpoint; not `failed`, where there is another.
    pub fn choose(&self, pools: &[Pool], failed: Option<usize>) -> usize {
        let count = pools.len();
        if count <= 1 {
            return 0;
        }
        let chosen = match self.balance {
            Balance::RoundRobin | Balance::Random | Balance::Hash => place(self.next(), count),
            Balance::LeastRequests => {
                let (first, second) = self.two_of(count);
                let load =
                    |it: usize| pools.get(it).map_or(u64::MAX, |it| it.endpoint().in_flight());
                if load(second) < load(first) { second } else { first }
            }
        };
        if failed == Some(chosen) { (chosen + 1) % count } else { chosen }
    }

    fn next(&self) -> u64 {
        self.turn.replace(self.turn.get().wrapping_add(1))
    }

    /// Two different places, drawn at random (splitmix64; nobody is to be surprised by it).
    fn two_of(&self, count: usize) -> (usize, usize) {
        let mut draw = self.next().wrapping_mul(0x9E37_79B9_7F4A_7C15);
        draw = (draw ^ (draw >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        draw = (draw ^ (draw >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let first = place(draw >> 32, count);
        let step = 1 + place(draw & 0xFFFF_FFFF, count - 1);
        (first, (first + step) % count)
    }
}

fn place(draw: u64, count: usize) -> usize {
    usize::try_from(draw % count as u64).unwrap_or(0)
}
