//! Holds the certificates of both planes, and how TLS is spoken with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::ServerConfig;

use crate::admin::serve::Transport;
use crate::config::{Certificate, Config, TlsVersion};
use crate::listener::tls::{Alpn, CertificateFaults, Certificates, server_config};
use crate::server::build::StartFault;
use crate::tasks::Tasks;

/// What each plane shows to whom it speaks TLS.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    gateway: Option<Plane>,
    admin: Option<Plane>,
}

#[derive(Clone, Debug)]
struct Plane {
    certificates: Arc<Certificates>,
    config: Arc<ServerConfig>,
}

impl Shown {
    /// Reads every certificate that is named.
    pub fn load(config: &Config) -> Result<Self, StartFault> {
        let (gateway, admin) = (&config.gateway, &config.admin);
        Ok(Self {
            gateway: plane(&gateway.certificates, (gateway.min_tls, Alpn::Any))?,
            admin: plane(&admin.certificates, (gateway.min_tls, Alpn::Http1))?,
        })
    }

    /// How TLS is spoken on the data plane; `None`: there is no certificate for it.
    pub fn gateway(&self) -> Option<Arc<ServerConfig>> {
        self.gateway.as_ref().map(|it| Arc::clone(&it.config))
    }

    /// How the admin listener is spoken to.
    pub fn admin(&self) -> Transport {
        let plane = self.admin.as_ref();
        plane.map_or(Transport::Plain, |it| Transport::Tls(Arc::clone(&it.config)))
    }

    /// Sees to it that what is replaced in the files is replaced here.
    pub fn watch(&self, tasks: &Tasks) {
        for plane in self.planes() {
            tasks.spawn(Arc::clone(&plane.certificates).watch(tasks.clone()));
        }
    }

    /// Shows what `config` names from now on; where one plane's cannot be used, its path and its
    /// faults, and nothing has changed.
    pub fn replace(&self, config: &Config) -> Result<(), (&'static str, CertificateFaults)> {
        let planes = [
            ("gateway.certificates", &self.gateway, &config.gateway.certificates),
            ("admin.certificates", &self.admin, &config.admin.certificates),
        ];
        let mut read = Vec::new();
        for (path, plane, files) in planes {
            let Some(plane) = plane else { continue };
            read.push((plane, Certificates::read(files).map_err(|faults| (path, faults))?));
        }
        for (plane, files) in read {
            plane.certificates.replace(files);
        }
        Ok(())
    }

    /// Until when each name is served, in seconds since the epoch.
    pub fn not_after(&self) -> BTreeMap<String, i64> {
        let mut earliest = BTreeMap::new();
        for (name, not_after) in self.planes().flat_map(|it| it.certificates.not_after()) {
            let held = earliest.entry(name).or_insert(not_after);
            *held = not_after.min(*held);
        }
        earliest
    }

    fn planes(&self) -> impl Iterator<Item = &Plane> {
        self.gateway.iter().chain(&self.admin)
    }
}

fn plane(
    files: &[Certificate],
    (min_tls, alpn): (TlsVersion, Alpn),
) -> Result<Option<Plane>, StartFault> {
    if files.is_empty() {
        return Ok(None);
    }
    let certificates = Certificates::load(files)?;
    let config = server_config(Arc::clone(&certificates), min_tls, alpn);
    let config = config.map_err(|fault| StartFault::failed(&fault))?;
    Ok(Some(Plane { certificates, config }))
}

impl From<CertificateFaults> for StartFault {
    fn from(faults: CertificateFaults) -> Self {
        Self::configuration(&faults)
    }
}
