//! Runs the gateway.

use std::path::{Path, PathBuf};

use tracing::{info, warn};

use crate::cli::args::{Serve, Source};
use crate::cli::failure::Failure;
use crate::cli::logging;
use crate::config::sources::{self, Loaded};
use crate::config::{self, Access, Config, Plaintext};
use crate::route::table::{PathPattern, Pattern};
use crate::server::reload::Reread;
use crate::server::succession::Lineage;
use crate::server::{Addresses, Origin, Server};

/// Runs until it is told to stop; the exit code.
pub fn serve(typed: &Serve) -> Result<u8, Failure> {
    let lineage = Lineage::of_this_process();
    let file = file(&typed.source);
    let Loaded { config, warnings } = load(&typed.source)?;
    let outlet = logging::start(&config.log)?;
    if let Some(file) = &file {
        info!(file = %file.display(), "the configuration was read");
    } else {
        warn!("no configuration file: what neither flag nor environment sets is at its default");
    }
    for warning in &warnings {
        warn!("{warning}");
    }
    let (sets, file) = (typed.source.sets.clone(), file);
    let reread = move || sources::load(file.as_deref(), &sets, config::environment());
    let reread = Some(Reread::new(reread));
    let server = Server::start(config.clone(), outlet.inlets(), Origin { lineage, reread })?;
    announce(&config, server.addresses());
    Ok(server.wait())
}

/// The configuration that was typed, or the one that is found.
pub fn load(source: &Source) -> Result<Loaded, Failure> {
    Ok(sources::load(file(source).as_deref(), &source.sets, config::environment())?)
}

/// What was typed goes before what is found; nothing need be there.
fn file(source: &Source) -> Option<PathBuf> {
    let found = || PLACES.iter().map(Path::new).find(|it| it.exists()).map(Path::to_owned);
    source.config.clone().or_else(found)
}

fn announce(config: &Config, addresses: &Addresses) {
    for address in &addresses.gateway {
        info!(%address, "the gateway listens");
    }
    for address in &addresses.admin {
        info!(%address, "the admin API listens");
        let is_plain = config.admin.certificates.is_empty();
        if is_plain && !address.ip().is_loopback() && config.admin.plaintext == Plaintext::Allowed {
            warn!(%address, "the admin API speaks plaintext here: in a private network only");
        }
    }
    for route in &config.routes {
        let upstream = config.upstreams.get(route.upstream).map(|it| it.name.as_str());
        let access = access(route.access);
        info!(route = route.name, path = path(&route.pattern), upstream, access, "a route");
    }
    if config.routes.is_empty() && !addresses.gateway.is_empty() {
        warn!("there are no routes: every request is answered 404 (see [[routes]])");
    }
}

fn path(pattern: &Pattern) -> &str {
    match &pattern.path {
        PathPattern::Exact(path) | PathPattern::Prefix(path) => path,
    }
}

const fn access(access: Access) -> &'static str {
    match access {
        Access::Key => "key",
        Access::Public => "public",
    }
}

const PLACES: [&str; 2] = ["keyward.toml", "/etc/keyward/keyward.toml"];
