//! Holds what a gateway spends of one limit while the store is away.

use crate::clock::Moment;
use crate::rate::Rate;
use crate::rate::bucket::{Pace, TooFew};

/// What a gateway may spend by itself.
#[derive(Debug)]
pub struct Share {
    /// When it began to fill.
    pub since: Moment,
    /// What was spent, and the store does not know.
    pub spent: u64,
    fellows: u32,
    /// Of a rate: its terms, and when it is full.
    bucket: Option<(Pace, Moment)>,
}

impl Share {
    /// One of so many, that was empty when the store fell silent.
    pub fn new(since: Moment, fellows: u32) -> Self {
        Self { since, spent: 0, fellows, bucket: None }
    }

    /// Takes of this gateway's part of a rate, or says how long it takes until there is enough.
    pub fn take(&mut self, rate: &Rate, cost: u64, now: Moment) -> Result<(), TooFew> {
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        let (pace, full) = self.bucket_of(rate, now);
        *full = pace.take_whole(*full, cost, now)?;
        self.spent += u64::from(cost);
        Ok(())
    }

    /// Gives back what was just taken.
    pub fn give_back(&mut self, tokens: u64) {
        self.spent = self.spent.saturating_sub(tokens);
        if let Some((pace, full)) = &mut self.bucket {
            *full = pace.give_whole(*full, u32::try_from(tokens).unwrap_or(u32::MAX));
        }
    }

    /// How much of what was spent had not come back by `now`.
    pub fn owed(&self, now: Moment) -> u64 {
        match &self.bucket {
            Some((pace, full)) => u64::from(pace.missing(*full, now)).min(self.spent),
            None => self.spent,
        }
    }

    /// This gateway's part of a rate. Under another rate it holds what it held.
    fn bucket_of(&mut self, rate: &Rate, now: Moment) -> (Pace, &mut Moment) {
        let pace = Pace::new(rate, self.fellows);
        let (before, full) = self.bucket.get_or_insert_with(|| (pace, pace.empty(self.since)));
        if *before != pace {
            (*before, *full) = (pace, pace.take_over(*before, *full, now));
        }
        (pace, full)
    }
}
