//! What others have written is spoken to as they are spoken to everywhere: by programs that know
//! nothing of us, on either side of the gateway.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::address::fresh;
use crate::support::certificates::Authority;
use crate::support::gateway::{Gateway, Key};
use crate::support::setup::Setup;

mod browser;
mod curl;
mod grpc;
mod h2load;
mod haproxy;
mod tls;
mod websocket;

/// A gateway with a listener in plaintext and one with TLS, and a key.
struct Stage {
    gateway: Gateway,
    /// Where TLS is spoken.
    secure: SocketAddr,
    key: Key,
    files: TempDir,
}

impl Stage {
    fn new(setup: &Setup) -> Self {
        let (files, secure) = (tempfile::tempdir().unwrap(), fresh());
        certify(&files, &[NAME, &secure.ip().to_string()]);
        let file = |name| files.path().join(name).display().to_string();
        let setup = setup.clone().gateway(&format!("listen_tls = [\"{secure}\"]"));
        let gateway = Gateway::start(&setup.gateway(&format!(
            "certificates = [{{ certificate = {:?}, private_key = {:?} }}]",
            file("server.pem"),
            file("server.key"),
        )));
        let key = gateway.mint("peer");
        Self { gateway, secure, key, files }
    }

    /// Where plaintext is spoken.
    fn plain(&self) -> SocketAddr {
        self.gateway.address()
    }

    /// Who vouches for it there.
    fn ca(&self) -> PathBuf {
        self.files.path().join("ca.pem")
    }
}

/// Makes `server.pem`, `server.key`, and as `ca.pem` who vouches for them.
fn certify(directory: &TempDir, names: &[&str]) {
    let authority = Authority::new();
    authority.certify(names).put(directory.path(), "server");
    fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
}

/// What the certificate names, beside the listener's address.
const NAME: &str = "gateway.test";
