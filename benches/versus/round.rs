//! The samples of several contenders which were measured in turns.

use crate::spread::Spread;

/// What one contender did in one turn.
#[derive(Clone, Copy)]
pub struct Sample {
    /// CPU time per request.
    pub cpu_us: f64,
    /// The requests which `cpu_us` is the mean of.
    pub requests: f64,
    pub steady: Steady,
}

/// What a contender did in one turn before, while the load did not pause.
#[derive(Clone, Copy)]
pub struct Steady {
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// How many cores it kept busy.
    pub busy: f64,
}

/// One contender's samples, in the order of the turns.
pub struct Series {
    pub name: &'static str,
    pub samples: Vec<Sample>,
}

/// The contenders which were measured in the same turns.
pub struct Round {
    pub title: String,
    pub series: Vec<Series>,
}

impl Series {
    pub fn spread(&self, value: impl Fn(&Sample) -> f64) -> Spread {
        Spread::of(self.samples.iter().map(value))
    }

    /// The CPU time per request.
    pub fn cpu_us(&self) -> Spread {
        self.spread(|sample| sample.cpu_us)
    }
}

impl Round {
    pub fn find(&self, name: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.name == name)
    }

    /// The CPU time per request of one contender over another's, turn by turn.
    pub fn ratio(&self, name: &str, base: &str) -> Option<Spread> {
        let (name, base) = (self.find(name)?, self.find(base)?);
        let pairs = name.samples.iter().zip(&base.samples);
        Some(Spread::of(pairs.map(|(of, to)| of.cpu_us / to.cpu_us)))
    }
}
