//! Where Keyward keeps its keys.

use anyhow::Result;

use crate::keyward::EMBEDDED;
use crate::options::Store;
use crate::process::Cores;
use crate::redis::Server;
use crate::stand::{Stand, free_address};

/// A store which is there for as long as this is.
pub enum Home {
    Embedded,
    Redis(Server),
}

impl Home {
    /// Starts what it takes, with the upstream's cores.
    pub fn open(store: Store, stand: &Stand, cores: Cores) -> Result<Self> {
        Ok(match store {
            Store::Embedded => Self::Embedded,
            Store::Redis => {
                let (folder, address) = (stand.folder("redis")?, free_address()?);
                Self::Redis(Server::start(cores, &folder, address, Some("always"))?)
            }
        })
    }

    /// As Keyward's configuration names it.
    pub fn url(&self) -> String {
        match self {
            Self::Embedded => EMBEDDED.to_owned(),
            Self::Redis(server) => server.url(),
        }
    }
}
