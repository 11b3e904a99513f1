//! Gives every way of failing its words and its exit code.

use std::io::{self, ErrorKind, Write};

use crate::cli::Streams;
use crate::cli::documents::Problem;
use crate::cli::words;
use crate::config::fault::Faults;
use crate::server::StartFault;
use crate::server::exit::{CONFIGURATION, DONE, FAILED, UNREACHABLE, USAGE};
use crate::server::peppers::PepperFault;
use crate::store::{OpenFault, Unavailable};

/// Why a command did not do what was typed.
#[derive(Debug)]
pub enum Failure {
    /// What was typed is no command, or asks for help.
    Typed(clap::Error),
    /// What was typed cannot be meant.
    Usage(String),
    /// It could not be done.
    Failed(String),
    /// Some of it could not be done, and what was is said already.
    Partly,
    /// The admin API said no.
    Refused(Box<Problem>),
    /// Nobody answered.
    Unreachable(String),
    /// The configuration, a pepper or the store is not right.
    Configuration(String),
    /// The server did not start.
    Start(StartFault),
    /// What was to be said could not be written.
    Output(io::Error),
}

impl Failure {
    /// Says it, and answers the exit code.
    pub fn report(self, streams: &mut Streams<'_>) -> u8 {
        // Nobody is left to tell where the stream is gone.
        drop(self.say(streams));
        self.exit()
    }

    /// The exit code.
    pub fn exit(&self) -> u8 {
        match self {
            Self::Typed(error) if !error.use_stderr() => DONE,
            Self::Typed(_) | Self::Usage(_) => USAGE,
            // Who reads no further has what they wanted: `keyward keys list | head`.
            Self::Output(fault) if fault.kind() == ErrorKind::BrokenPipe => DONE,
            Self::Failed(_) | Self::Partly | Self::Refused(_) | Self::Output(_) => FAILED,
            Self::Unreachable(_) => UNREACHABLE,
            Self::Configuration(_) => CONFIGURATION,
            Self::Start(fault) => fault.exit(),
        }
    }

    /// Writes the words.
    pub fn say(&self, streams: &mut Streams<'_>) -> io::Result<()> {
        let err = &mut streams.err;
        match self {
            Self::Typed(error) if !error.use_stderr() => {
                write!(streams.out, "{}", error.render())?;
                streams.out.flush()
            }
            Self::Typed(error) => write!(err, "{}", error.render()),
            Self::Usage(words)
            | Self::Failed(words)
            | Self::Unreachable(words)
            | Self::Configuration(words) => writeln!(err, "keyward: {words}"),
            Self::Refused(problem) => words::problem(err, problem),
            Self::Start(fault) => writeln!(err, "keyward: {fault}"),
            Self::Partly => Ok(()),
            Self::Output(fault) if fault.kind() == ErrorKind::BrokenPipe => Ok(()),
            Self::Output(fault) => {
                writeln!(err, "keyward: standard output cannot be written: {fault}")
            }
        }
    }
}

impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Self {
        Self::Typed(error)
    }
}

impl From<io::Error> for Failure {
    fn from(fault: io::Error) -> Self {
        Self::Output(fault)
    }
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        let count = words::count(&faults.iter().count(), "fault");
        Self::Configuration(format!("the configuration has {count}:\n{faults}"))
    }
}

impl From<StartFault> for Failure {
    fn from(fault: StartFault) -> Self {
        Self::Start(fault)
    }
}

impl From<PepperFault> for Failure {
    fn from(fault: PepperFault) -> Self {
        Self::Configuration(fault.to_string())
    }
}

impl From<OpenFault> for Failure {
    fn from(fault: OpenFault) -> Self {
        Self::Configuration(fault.to_string())
    }
}

impl From<Unavailable> for Failure {
    fn from(fault: Unavailable) -> Self {
        Self::Failed(fault.to_string())
    }
}
