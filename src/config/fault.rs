//! Holds what is wrong with a configuration, and where.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a setting was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Nowhere: there is no file.
    Nowhere,
    /// Somewhere in a file.
    File(Arc<Path>),
    /// In a file at a line and a column, both from 1.
    Line(Arc<Path>, usize, usize),
    /// In an environment variable.
    Environment(String),
    /// In a `--set`; holds the setting's path.
    Flag(String),
}

impl Place {
    /// Where relative paths start that are written here; empty: the working directory.
    pub fn directory(&self) -> PathBuf {
        match self {
            Self::File(file) | Self::Line(file, _, _) => file.parent().map(Path::to_owned),
            Self::Nowhere | Self::Environment(_) | Self::Flag(_) => None,
        }
        .unwrap_or_default()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("configuration"),
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Line(file, line, column) => write!(f, "{}:{line}:{column}", file.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(path) => write!(f, "--set {path}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Where it was written.
    pub place: Place,
    /// Which setting: `routes[1].upstream`; empty where no setting is meant.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, path, message } = self;
        if path.is_empty() {
            write!(f, "{place}: {message}")
        } else {
            write!(f, "{place}: {path}: {message}")
        }
    }
}

/// Everything that is wrong: at least one fault, in the order of their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self(vec![fault])
    }
}

impl fmt::Display for Faults {
    /// One line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Faults {}

/// Gathers what is found while a configuration is read, so that reading can go on.
#[derive(Debug, Default)]
pub struct Report {
    faults: RefCell<Vec<Fault>>,
    warnings: RefCell<Vec<Fault>>,
}

impl Report {
    /// Notes what is wrong.
    pub fn fault(&self, fault: Fault) {
        self.faults.borrow_mut().push(fault);
    }

    /// Notes what works and is seldom meant.
    pub fn warn(&self, warning: Fault) {
        self.warnings.borrow_mut().push(warning);
    }

    /// The warnings if nothing is wrong, otherwise what is.
    pub fn into_result(self) -> Result<Vec<String>, Faults> {
        let mut faults = self.faults.into_inner();
        faults.sort();
        faults.dedup();
        if !faults.is_empty() {
            return Err(Faults(faults));
        }
        let mut warnings = self.warnings.into_inner();
        warnings.sort();
        Ok(warnings.iter().map(ToString::to_string).collect())
    }
}
