//! Decides which endpoint gets the next request.
//!
//! Nothing here allocates, locks or reads a clock. With several endpoints each is looked at once
//! or twice; with one there is nothing to decide.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::config::{self, Balance};
use crate::key::text::KeyId;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::standing::{FULL, Openness, Trial};

/// One worker's choice among an upstream's endpoints.
#[derive(Debug)]
pub struct Balancer {
    balance: Balance,
    slow_start: Option<Duration>,
    /// How long one trial may keep others from theirs.
    trial_limit: Duration,
    seats: Box<[Seat]>,
    draws: Cell<u64>,
}

/// One endpoint as a worker sees it.
#[derive(Debug)]
struct Seat {
    endpoint: Arc<Endpoint>,
    weight: u32,
    /// What it is owed in turns; negative: what it had in advance.
    owed: Cell<i64>,
}

/// For whom an endpoint is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// Whose request it is.
    pub key: Option<KeyId>,
    /// Where it has just failed.
    pub failed: Option<usize>,
    /// When.
    pub now: Moment,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The endpoint's place.
    pub place: usize,
    /// The request finds out if the endpoint is well again, and ends the trial.
    pub trial: Option<Trial>,
}

/// Who is asked, in this order, while there is nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resort {
    /// Whoever seems well, and has not just failed this very request.
    Well,
    /// The one that has just failed it.
    Again,
    /// Whoever is ejected: that is a guess, and better than nobody.
    Ejected,
}

impl Balancer {
    /// For `worker`; workers begin at different endpoints. Weights are those of `settings`, whose
    /// endpoints are `endpoints`, in the same order.
    pub fn new(settings: &config::Upstream, endpoints: &[Arc<Endpoint>], worker: usize) -> Self {
        let weights = settings.endpoints.iter().map(|it| it.weight.get().min(WEIGHT_MAX));
        let seats = endpoints.iter().zip(weights).map(|(endpoint, weight)| Seat {
            endpoint: Arc::clone(endpoint),
            weight,
            owed: Cell::new(0),
        });
        let this = Self {
            balance: settings.balance,
            slow_start: settings.slow_start,
            trial_limit: settings.response_timeout,
            seats: seats.collect(),
            draws: Cell::new((worker as u64) << 48),
        };
        for _ in 0..worker % this.seats.len().max(1) {
            this.in_turn(&|place| this.seats.get(place).map_or(0, |it| it.weight * FULL));
        }
        this
    }

    /// The next endpoint; `None`: none of them is well.
    pub fn choose(&self, asker: &Asker) -> Option<Choice> {
        if let [only] = &*self.seats {
            let is_well = only.endpoint.standing().at(asker.now) != Openness::Unwell;
            return is_well.then_some(Choice { place: 0, trial: None });
        }
        [Resort::Well, Resort::Again, Resort::Ejected]
            .into_iter()
            .find_map(|resort| self.choose_among(resort, asker))
    }

    /// Whether a request that has failed at one place could go to another that seems well.
    pub fn has_other(&self, asker: &Asker) -> bool {
        (0..self.seats.len()).any(|place| self.weight(place, Resort::Well, asker) > 0)
    }

    fn choose_among(&self, resort: Resort, asker: &Asker) -> Option<Choice> {
        let weight = |place| self.weight(place, resort, asker);
        // Another worker may be faster to try one that is on trial: then it is out.
        for _ in 0..=self.seats.len() {
            let place = self.pick(&weight, asker.key)?;
            let standing = self.seats.get(place)?.endpoint.standing();
            if resort != Resort::Well || standing.at(asker.now) != Openness::OnTrial {
                return Some(Choice { place, trial: None });
            }
            let trial = standing.begin_trial(self.trial_limit, asker.now);
            if trial.is_some() {
                return Some(Choice { place, trial });
            }
        }
        None
    }

    /// What an endpoint weighs for now, in parts of [`FULL`]; 0: it is not among them.
    fn weight(&self, place: usize, resort: Resort, asker: &Asker) -> u32 {
        let Some(seat) = self.seats.get(place) else { return 0 };
        let has_failed = asker.failed == Some(place);
        let standing = seat.endpoint.standing();
        match (resort, standing.at(asker.now)) {
            (_, Openness::Unwell) => 0,
            (Resort::Well, Openness::Open) if !has_failed => {
                seat.weight * standing.share(self.slow_start, asker.now)
            }
            (Resort::Well, Openness::OnTrial) if !has_failed => seat.weight * FULL,
            (Resort::Again, _) if has_failed => seat.weight * FULL,
            (Resort::Ejected, _) => seat.weight * FULL,
            (
                Resort::Well | Resort::Again,
                Openness::Open | Openness::OnTrial | Openness::Ejected,
            ) => 0,
        }
    }

    fn pick(&self, weight: &impl Fn(usize) -> u32, key: Option<KeyId>) -> Option<usize> {
        match (self.balance, key) {
            (Balance::RoundRobin, _) => self.in_turn(weight),
            (Balance::Random, _) => self.draw(self.total(weight), weight),
            (Balance::Hash, Some(key)) => self.by_hash(weight, key),
            // Nothing ties a request without a key to an endpoint.
            (Balance::LeastRequests, _) | (Balance::Hash, None) => self.less_busy_of_two(weight),
        }
    }

    /// Smooth weighted round robin, as nginx does it: everyone is owed their weight, and who is
    /// owed most goes first and pays for all.
    fn in_turn(&self, weight: &impl Fn(usize) -> u32) -> Option<usize> {
        let (mut total, mut next) = (0, None);
        for (place, seat) in self.seats.iter().enumerate() {
            let weight = i64::from(weight(place));
            if weight == 0 {
                continue;
            }
            total += weight;
            let owed = seat.owed.get() + weight;
            seat.owed.set(owed);
            if next.is_none_or(|(_, most)| owed > most) {
                next = Some((place, owed));
            }
        }
        let (place, owed) = next?;
        self.seats.get(place)?.owed.set(owed - total);
        Some(place)
    }

    fn total(&self, weight: &impl Fn(usize) -> u32) -> u64 {
        (0..self.seats.len()).map(|it| u64::from(weight(it))).sum()
    }

    /// One drawn at random, by weight, of which there is `total`.
    fn draw(&self, total: u64, weight: &impl Fn(usize) -> u32) -> Option<usize> {
        let mut left = below(total, self.random())?;
        (0..self.seats.len()).find(|place| {
            let weight = u64::from(weight(*place));
            let is_here = left < weight;
            left = left.saturating_sub(weight);
            is_here
        })
    }

    /// Of two that are drawn the first, unless the second would be no busier with this request than
    /// the first is without it. So idle ones get their weights, and among busy ones what counts is
    /// what each has under way for its weight.
    fn less_busy_of_two(&self, weight: &impl Fn(usize) -> u32) -> Option<usize> {
        let total = self.total(weight);
        let first = self.draw(total, weight)?;
        let others = |place| if place == first { 0 } else { weight(place) };
        let left = total.saturating_sub(u64::from(weight(first)));
        let Some(second) = self.draw(left, &others) else { return Some(first) };
        let busy = |place: usize| {
            self.seats.get(place).map_or(u64::MAX, |it| it.endpoint.in_flight().min(BUSY_MAX))
        };
        let for_first = busy(first) * u64::from(weight(second));
        let for_second = (busy(second) + 1) * u64::from(weight(first));
        Some(if for_second <= for_first { second } else { first })
    }

    /// Weighted rendezvous: every key draws a time for each endpoint, exponentially distributed
    /// with its weight, and goes where it is the shortest. What an endpoint has draws nothing from
    /// the others, so when one goes only its keys move.
    fn by_hash(&self, weight: &impl Fn(usize) -> u32, key: KeyId) -> Option<usize> {
        let key = number(key);
        let mut next: Option<(usize, f64)> = None;
        for (place, seat) in self.seats.iter().enumerate() {
            let weight = weight(place);
            if weight == 0 {
                continue;
            }
            let time = -unit(mix(key ^ seat.endpoint.mark())).ln() / f64::from(weight);
            if next.is_none_or(|(_, least)| time < least) {
                next = Some((place, time));
            }
        }
        next.map(|(place, _)| place)
    }

    /// splitmix64; nobody is to be surprised by it.
    fn random(&self) -> u64 {
        let draw = self.draws.get().wrapping_add(1);
        self.draws.set(draw);
        mix(draw)
    }
}

/// The twelve characters in one number.
fn number(key: KeyId) -> u64 {
    key.as_str().bytes().fold(0, |number, it| mix(number ^ u64::from(it)))
}

/// splitmix64: a bijection.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// A number above 0 and up to 1: the 52 upper bits as the fraction of a number from 1 to 2.
fn unit(bits: u64) -> f64 {
    2.0 - f64::from_bits((1_023 << 52) | (bits >> 12))
}

/// A number below `limit`; `None`: there is none.
fn below(limit: u64, random: u64) -> Option<u64> {
    let scaled = (u128::from(random) * u128::from(limit)) >> 64;
    u64::try_from(scaled).ok().filter(|_| limit > 0)
}

/// So that a weight in parts of [`FULL`] is a `u32`.
const WEIGHT_MAX: u32 = 1_000_000;
/// So that a product with a weight is a `u64`.
const BUSY_MAX: u64 = u32::MAX as u64;

#[cfg(test)]
mod tests;
