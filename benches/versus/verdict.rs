//! Whether Keyward costs as little as it should, and whether the machine can tell.

use std::process::ExitCode;

use crate::round::Round;

/// How many times the CPU time of `base` an entry may cost at most.
pub struct Target {
    pub name: &'static str,
    pub base: &'static str,
    pub limit: f64,
}

/// Two entries which are the same, so that their ratio shows the noise.
pub struct Control {
    pub name: &'static str,
    pub base: &'static str,
    /// How far from one their ratio may be.
    pub tolerance: f64,
}

/// What a measurement comes to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Fail,
    /// The control shows too much noise to tell.
    Inconclusive,
    /// Keyward was left out.
    NotMeasured,
}

impl Target {
    pub fn judge(&self, round: &Round) -> Verdict {
        match round.ratio(self.name, self.base) {
            Some(ratio) if ratio.median <= self.limit => Verdict::Pass,
            Some(_) => Verdict::Fail,
            None => Verdict::NotMeasured,
        }
    }
}

impl Control {
    pub fn holds(&self, round: &Round) -> bool {
        round
            .ratio(self.name, self.base)
            .is_some_and(|ratio| (ratio.median - 1.0).abs() <= self.tolerance)
    }
}

impl Verdict {
    /// All targets together, unless the control shows too much noise.
    pub fn reach(round: &Round, targets: &[Target], control: Option<&Control>) -> Self {
        if control.is_some_and(|control| !control.holds(round)) {
            return Self::Inconclusive;
        }
        let verdicts: Vec<Self> = targets.iter().map(|target| target.judge(round)).collect();
        Self::worst(&verdicts)
    }

    /// Of several, the one which counts for all.
    pub fn worst(verdicts: &[Self]) -> Self {
        [Self::Fail, Self::Inconclusive, Self::NotMeasured]
            .into_iter()
            .find(|verdict| verdicts.contains(verdict))
            .unwrap_or(Self::Pass)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::NotMeasured => "NOT MEASURED",
        }
    }

    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::Pass | Self::NotMeasured => ExitCode::SUCCESS,
            Self::Fail => ExitCode::from(1),
            Self::Inconclusive => ExitCode::from(3),
        }
    }
}
