//! What it costs Keyward's two workers to share one key.

use anyhow::{Context, Result};

use crate::contender::{AccessLog, Contender};
use crate::credential;
use crate::home::Home;
use crate::keyward::Keyward;
use crate::load::{CONNECTIONS, Generator};
use crate::options::Options;
use crate::process::Cores;
use crate::report::{Judged, Report};
use crate::stand::Stand;
use crate::turns::{self, Entry};
use crate::verdict::{Target, Verdict};
use crate::{machine, probe};

const TARGETS: [Target; 1] = [Target { name: "shared_key", base: "key_each", limit: 1.15 }];

const WORKERS: usize = 2;

/// Measures one key on all connections against as many keys as connections.
pub fn run(options: &Options) -> Result<Verdict> {
    let binary = options.keyward.as_deref();
    let binary = binary.context("--shared-key measures Keyward, which is left out")?;
    let stand = Stand::set_up(Cores::Any)?;
    let home = Home::open(options.store, &stand, Cores::Any)?;
    let prepare =
        |name, keys| Case::prepare(&stand, &Keyward::new(name, binary, &stand, &home.url())?, keys);
    let shared = prepare(TARGETS[0].name, 1)?;
    let each = prepare(TARGETS[0].base, CONNECTIONS)?;
    let entries = [shared.entry(), each.entry()];
    let rounds = vec![turns::run(String::from("two workers"), &entries, options.pace)?];
    let report = Report {
        machine: machine::describe(options),
        pace: options.pace,
        comparisons: vec![(TARGETS[0].name, TARGETS[0].base)],
        judged: vec![Judged {
            verdict: Verdict::reach(&rounds[0], &TARGETS, None),
            targets: &TARGETS,
        }],
        notes: &[],
        rounds,
    };
    report.print();
    report.write(&options.results("shared_key"))?;
    Ok(report.verdict())
}

/// A Keyward of its own, and the keys which are used on it.
struct Case {
    contender: Contender,
    generator: Generator,
}

impl Case {
    fn prepare(stand: &Stand, keyward: &Keyward, keys: usize) -> Result<Self> {
        let credentials = keyward.mint(credential::KNOWN)?;
        let contender = keyward.contender(WORKERS, AccessLog::Off)?;
        probe::check(&contender, &credentials)?;
        let keys = credential::pick(&credentials, keys);
        let generator = Generator::new(stand, &keys, Cores::Any)?;
        Ok(Self { contender, generator })
    }

    fn entry(&self) -> Entry<'_> {
        Entry { contender: &self.contender, generator: &self.generator, cores: Cores::Both }
    }
}
