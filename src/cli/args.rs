//! Holds what can be typed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cli::args::keys::Keys;
use crate::cli::span::Span;
use crate::clock::Timestamp;
use crate::key::record::Permission;

pub mod keys;

/// A gateway that lets only those with a valid API key reach your API
#[derive(Debug, Parser)]
#[command(name = "keyward", version, after_help = EXIT_CODES)]
pub struct Typed {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway and its admin listener
    Serve(Serve),
    /// Read a configuration as `serve` would, and say everything that is wrong with it
    Check(Check),
    /// Show it all on this machine: a sample API, a gateway, a first key
    Demo(Demo),
    /// Mint, look at, change and revoke keys
    Keys(Keys),
    /// Make, look at and revoke operators' tokens
    Operators(Operators),
    /// Look at the gateways that follow one store
    Fleet(Fleet),
    /// Have a gateway read its configuration again
    Reload(Reload),
    /// Look at a store's file, or vouch for it
    Store(Store),
    /// Ask a gateway whether it is ready: exit 0 if so, 1 if not, 69 if it does not answer
    Healthcheck(Healthcheck),
    /// Print the completions of a shell
    Completions(Completions),
}

/// Which configuration.
#[derive(Args, Debug)]
pub struct Source {
    /// The configuration; without it ./keyward.toml, then /etc/keyward/keyward.toml
    #[arg(long, global = true, value_name = "FILE", env = "KEYWARD_CONFIG")]
    pub config: Option<PathBuf>,
    /// One setting, instead of the file's: store.lease=5s
    #[arg(long = "set", global = true, value_name = "SETTING=VALUE")]
    pub sets: Vec<String>,
}

/// `keyward serve`
#[derive(Args, Debug)]
pub struct Serve {
    /// Which configuration.
    #[command(flatten)]
    pub source: Source,
}

/// `keyward check`
#[derive(Args, Debug)]
pub struct Check {
    /// The configuration
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// `keyward demo`
#[derive(Args, Clone, Copy, Debug)]
pub struct Demo {
    /// Show it and end
    #[arg(long)]
    pub once: bool,
    /// Where the gateway listens on 127.0.0.1; 0: anywhere
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Where the admin listener listens on 127.0.0.1; 0: anywhere
    #[arg(long, default_value_t = 8081)]
    pub admin_port: u16,
}

/// How the admin API is reached, and how its answers look.
#[derive(Args, Debug)]
#[command(next_help_heading = "Admin API", after_help = TOKEN)]
pub struct Access {
    /// Where the admin listener is
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "KEYWARD_ADMIN_URL",
        default_value = ADMIN_URL
    )]
    pub admin_url: String,
    /// Who speaks for it.
    #[command(flatten)]
    pub authority: Authority,
    /// How.
    #[command(flatten)]
    pub form: Form,
}

/// Who is believed that it is the admin listener, where that speaks TLS.
#[derive(Args, Debug)]
pub struct Authority {
    /// The authorities that sign its certificate (PEM), instead of the system's
    #[arg(long = "admin-ca", global = true, value_name = "FILE", env = "KEYWARD_ADMIN_CA")]
    file: Option<OsString>,
}

impl Authority {
    /// The file that holds them; an empty variable names none.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref().filter(|it| !it.is_empty()).map(Path::new)
    }
}

/// How answers look.
#[derive(Args, Clone, Copy, Debug)]
pub struct Form {
    /// How the answer looks
    #[arg(
        short = 'o',
        long = "output",
        global = true,
        value_enum,
        default_value_t = Output::Table
    )]
    pub output: Output,
}

/// For people or for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Table,
    /// For scripts: the API's own document
    Json,
}

/// `keyward operators`
#[derive(Args, Debug)]
pub struct Operators {
    /// How the admin API is reached.
    #[command(flatten)]
    pub access: Access,
    /// What to do.
    #[command(subcommand)]
    pub action: OperatorsAction,
}

/// What to do with operators.
#[derive(Debug, Subcommand)]
pub enum OperatorsAction {
    /// Make an operator; its token alone goes to standard output, this once
    Create(OperatorsCreate),
    /// List all operators
    List,
    /// Revoke operators' tokens, for good
    Revoke(Ids),
}

/// `keyward operators create`
#[derive(Args, Debug)]
pub struct OperatorsCreate {
    /// Who it is for
    #[arg(long)]
    pub name: String,
    /// What it may do, like keys:read; several, or several times
    #[arg(long = "permission", value_name = "PERMISSION", required = true, value_delimiter = ',')]
    pub permissions: Vec<Permission>,
    /// When it ends.
    #[command(flatten)]
    pub expiry: Expiry,
}

/// When a credential ends.
#[derive(Args, Clone, Copy, Debug, Default)]
#[group(multiple = false)]
pub struct Expiry {
    /// It is refused from then on: 2027-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub expires_at: Option<Timestamp>,
    /// It is refused so long from now: 30d, 12h
    #[arg(long, value_name = "TIME")]
    pub expires_in: Option<Span>,
}

impl Expiry {
    /// The time that was meant.
    pub fn at(self, now: Timestamp) -> Option<Timestamp> {
        self.expires_at.or_else(|| self.expires_in.map(|it| now.after(it.0)))
    }
}

/// Whose.
#[derive(Args, Debug)]
pub struct Ids {
    /// Their ids
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<String>,
}

/// `keyward fleet`
#[derive(Args, Debug)]
pub struct Fleet {
    /// How the admin API is reached.
    #[command(flatten)]
    pub access: Access,
    /// What to do.
    #[command(subcommand)]
    pub action: FleetAction,
}

/// What to do with gateways.
#[derive(Debug, Subcommand)]
pub enum FleetAction {
    /// List the gateways that follow the store
    List,
    /// Wait no longer for a gateway that is certainly gone
    Forget {
        /// Its id
        #[arg(value_name = "ID")]
        id: String,
    },
}

/// `keyward reload`
#[derive(Args, Debug)]
pub struct Reload {
    /// How the admin API is reached.
    #[command(flatten)]
    pub access: Access,
}

/// `keyward store`
#[derive(Args, Debug)]
pub struct Store {
    /// Which configuration names the store.
    #[command(flatten)]
    pub source: Source,
    /// How the answer looks.
    #[command(flatten)]
    pub form: Form,
    /// What to do.
    #[command(subcommand)]
    pub action: StoreAction,
}

/// What to do with a store.
#[derive(Clone, Debug, Subcommand)]
pub enum StoreAction {
    /// Say what the store holds, and under which peppers; also while a gateway uses it
    Status,
    /// Vouch for a store whose pepper is lost: seal every record anew under the present one
    Accept {
        /// I vouch for what is in the store
        #[arg(long)]
        yes: bool,
    },
    /// Write every record as a line of text: hashes, no plaintexts
    Export {
        /// Where to, readable only for its owner; without it to standard output
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Take over what was exported; where both have a record, the newer state stays
    Import {
        /// Where from; without it from standard input
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Take every record over into the store of another configuration
    Migrate {
        /// The configuration that names the other store, and its pepper
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Give an emptied Redis its name back, so that running gateways write back what they know
    Restore {
        /// The name that the store had: gateways say it in their log, `keyward store status` did
        #[arg(long, value_name = "NAME")]
        identity: String,
    },
}

/// `keyward healthcheck`
#[derive(Args, Debug)]
pub struct Healthcheck {
    /// Where the admin listener is
    #[arg(long, value_name = "URL", env = "KEYWARD_ADMIN_URL", default_value = ADMIN_URL)]
    pub url: String,
    /// Who speaks for it.
    #[command(flatten)]
    pub authority: Authority,
}

/// `keyward completions`
#[derive(Args, Clone, Copy, Debug)]
pub struct Completions {
    /// Which shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

const ADMIN_URL: &str = "http://127.0.0.1:8081";
const TOKEN: &str = "\
The operator's token is taken from KEYWARD_ADMIN_TOKEN, or from the file that
KEYWARD_ADMIN_TOKEN_FILE names. The first one is made by `keyward serve`, in the file
operator.token.";
const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 usage, 69 unreachable, 70 a bug of ours, 78 bad configuration.";

#[cfg(test)]
mod tests;
