//! A real nginx as an upstream that speaks TLS.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::issuer::Identity;
use crate::support::wait::eventually;

/// It answers every request with what it knows of the connection, in words like `http=HTTP/1.1`:
/// the version of TLS, whether a client's certificate was verified, the version of HTTP, the name
/// that was asked for, and `Host`. It ends when this is dropped.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    _directory: TempDir,
}

/// What it is to ask of who connects.
#[derive(Clone, Copy, Debug)]
pub enum Clients<'a> {
    /// Nothing.
    Anyone,
    /// A certificate of this authority.
    CertifiedBy(&'a Path),
}

/// What it agrees to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Http1,
    Both,
}

/// How it is set up.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    pub address: SocketAddr,
    pub identity: &'a Identity,
    pub clients: Clients<'a>,
    pub speaks: Speaks,
    pub versions: &'a str,
}

impl Nginx {
    /// Starts one.
    #[track_caller]
    pub fn start(terms: &Terms<'_>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("nginx.conf");
        fs::write(&config, text(terms, directory.path())).unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        let child = Command::new("nginx")
            .args(["-e", "stderr", "-c"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let this = Self { child, _directory: directory };
        eventually("nginx listens", || TcpStream::connect(terms.address).is_ok());
        this
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It has one process: nobody is left behind.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn text(terms: &Terms<'_>, directory: &Path) -> String {
    let Terms { address, identity, clients, speaks, versions } = terms;
    let (directory, mut text) = (directory.display(), String::new());
    let http2 = match speaks {
        Speaks::Http1 => "",
        Speaks::Both => " http2",
    };
    text.push_str("daemon off;\nmaster_process off;\n");
    writeln!(text, "pid {directory}/nginx.pid;\nevents {{}}\nhttp {{\naccess_log off;").unwrap();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(text, "{kind}_temp_path {directory}/{kind};").unwrap();
    }
    writeln!(text, "server {{\nlisten {address} ssl{http2};\nssl_protocols {versions};").unwrap();
    let (certificate, key) = (identity.certificate.display(), identity.private_key.display());
    writeln!(text, "ssl_certificate {certificate};\nssl_certificate_key {key};").unwrap();
    if let Clients::CertifiedBy(ca) = clients {
        writeln!(text, "ssl_client_certificate {};\nssl_verify_client on;", ca.display()).unwrap();
    }
    let said = "tls=$ssl_protocol client=$ssl_client_verify http=$server_protocol \
                sni=[$ssl_server_name] host=$http_host";
    writeln!(text, "location / {{ return 200 \"{said}\"; }}\n}}\n}}").unwrap();
    text
}
