//! Keyward against nginx and `HAProxy`, one worker each, on one core.

use anyhow::Result;

use crate::contender::{AccessLog, Contender, Limits};
use crate::credential::{self, Credential};
use crate::haproxy::Haproxy;
use crate::home::Home;
use crate::keyward::Keyward;
use crate::load::Generator;
use crate::nginx::Nginx;
use crate::options::{Options, Pace, Store};
use crate::process::Cores;
use crate::report::{Comparison, Judged, Report};
use crate::round::Round;
use crate::stand::Stand;
use crate::turns::{self, Entry};
use crate::verdict::{Control, Target, Verdict};
use crate::{chart, machine, probe};

const TARGETS: [Target; 2] = [
    Target { name: "keyward", base: "nginx", limit: 1.05 },
    Target { name: "keyward", base: "haproxy", limit: 1.00 },
];

/// `HAProxy` is not there with the access log on.
const TARGETS_WITH_LOG: [Target; 1] = [Target { name: "keyward", base: "nginx", limit: 1.05 }];

const CONTROL: Control = Control { name: "nginx_again", base: "nginx", tolerance: 0.02 };

const NOTES: [&str; 2] = [
    "nginx_again is the same nginx once more: a round's verdict counts only within 2 % of the first",
    "HAProxy writes no log files, only to syslog: it is left out with the access log on",
];

/// Measures all contenders, first without and then with an access log.
pub fn run(options: &Options) -> Result<Verdict> {
    let stand = Stand::set_up(Cores::Load)?;
    let home = Home::open(options.store, &stand, Cores::Load)?;
    let binary = options.keyward.as_deref();
    let (url, limits) = (home.url(), options.limits);
    let mut keyward = binary.map(|it| Keyward::new("keyward", it, &stand, &url)).transpose()?;
    if let Some(keyward) = &mut keyward {
        keyward.limits = limits;
    }
    let field = Field::assemble(&stand, keyward.as_ref(), limits)?;
    let rounds =
        vec![field.round(AccessLog::Off, options.pace)?, field.round(AccessLog::On, options.pace)?];
    let report = Report {
        machine: machine::describe(options),
        pace: options.pace,
        comparisons: comparisons(&rounds[0]),
        judged: vec![judge(&rounds[0], targets(limits)), judge(&rounds[1], &TARGETS_WITH_LOG)],
        notes: &NOTES,
        rounds,
    };
    report.print();
    report.write(&options.results("versus"))?;
    if options.store == Store::Embedded && limits == Limits::None {
        chart::write(&report.rounds, &options.out.join("versus.svg"))?;
    }
    Ok(report.verdict())
}

/// `HAProxy` has no part in a field with limits.
fn targets(limits: Limits) -> &'static [Target] {
    match limits {
        Limits::None => &TARGETS,
        Limits::Rate => &TARGETS_WITH_LOG,
    }
}

fn judge<'a>(round: &Round, targets: &'a [Target]) -> Judged<'a> {
    Judged { targets, verdict: Verdict::reach(round, targets, Some(&CONTROL)) }
}

/// Keyward over everybody else, and the control.
fn comparisons(round: &Round) -> Vec<Comparison> {
    let names = round.series.iter().map(|series| series.name);
    let mut comparisons: Vec<Comparison> = names
        .filter(|name| *name != "keyward" && round.find("keyward").is_some())
        .map(|base| ("keyward", base))
        .collect();
    comparisons.push((CONTROL.name, CONTROL.base));
    comparisons
}

/// All contenders, each of which knows the same keys.
struct Field {
    without_log: Vec<Contender>,
    with_log: Vec<Contender>,
    generator: Generator,
}

impl Field {
    fn assemble(stand: &Stand, keyward: Option<&Keyward>, limits: Limits) -> Result<Self> {
        let credentials = credentials(keyward)?;
        let nginx = Nginx::new(stand, &credentials)?;
        let keys = credential::pick(&credentials, credential::IN_USE);
        let field = Self {
            without_log: match limits {
                Limits::None => without_log(keyward, &nginx, &Haproxy::new(stand, &credentials)?)?,
                Limits::Rate => comparable(keyward, &nginx, (AccessLog::Off, limits))?,
            },
            with_log: comparable(keyward, &nginx, (AccessLog::On, limits))?,
            generator: Generator::new(stand, &keys, Cores::Load)?,
        };
        field.probe(&credentials)?;
        Ok(field)
    }

    fn probe(&self, credentials: &[Credential]) -> Result<()> {
        for contender in self.without_log.iter().chain(&self.with_log) {
            eprintln!("versus: probing {}", contender.name);
            probe::check(contender, credentials)?;
        }
        Ok(())
    }

    fn round(&self, access_log: AccessLog, pace: Pace) -> Result<Round> {
        let contenders = match access_log {
            AccessLog::Off => &self.without_log,
            AccessLog::On => &self.with_log,
        };
        let entry =
            |contender| Entry { contender, generator: &self.generator, cores: Cores::Proxy };
        let entries: Vec<Entry> = contenders.iter().map(entry).collect();
        let title = format!("access log {}", access_log.name());
        turns::run(title, &entries, pace)
    }
}

fn without_log(
    keyward: Option<&Keyward>,
    nginx: &Nginx,
    haproxy: &Haproxy,
) -> Result<Vec<Contender>> {
    let mut contenders = comparable(keyward, nginx, (AccessLog::Off, Limits::None))?;
    contenders.extend([
        haproxy.full()?,
        haproxy.map()?,
        nginx.bare()?,
        haproxy.bare()?,
        haproxy.relay()?,
    ]);
    Ok(contenders)
}

/// The contenders which can log requests to a file.
fn comparable(
    keyward: Option<&Keyward>,
    nginx: &Nginx,
    (access_log, limits): (AccessLog, Limits),
) -> Result<Vec<Contender>> {
    let mut contenders = Vec::new();
    if let Some(keyward) = keyward {
        contenders.push(keyward.contender(1, access_log)?);
    }
    contenders.push(nginx.full(CONTROL.base, access_log, limits)?);
    contenders.push(nginx.full(CONTROL.name, access_log, limits)?);
    if limits == Limits::Rate {
        contenders.push(nginx.limited(access_log)?);
    }
    Ok(contenders)
}

fn credentials(keyward: Option<&Keyward>) -> Result<Vec<Credential>> {
    match keyward {
        Some(keyward) => keyward.mint(credential::KNOWN),
        None => (0..credential::KNOWN).map(Credential::invent).collect(),
    }
}
