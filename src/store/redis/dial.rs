//! Makes one connection to one Redis server.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, RedisConnectionInfo, RedisError, Value};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::config::{HostPort, Network, RedisPlace, RedisTransport};

/// How connections are made.
#[derive(Clone)]
pub struct Dial {
    tls: Option<TlsConnector>,
    user: Option<String>,
    password: Option<Arc<Zeroizing<String>>>,
    database: u32,
}

impl std::fmt::Debug for Dial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dial(<redacted>)")
    }
}

/// A connection, and what has to be polled for it to move; that ends with the connection.
pub struct Dialled {
    /// Where commands are given.
    pub conn: MultiplexedConnection,
    /// What carries them.
    pub driver: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Dialled {
    /// Sends one command and waits for its answer, while nobody else does anything with it.
    pub async fn ask(&mut self, command: &Cmd) -> Result<Value, DialFault> {
        tokio::select! {
            answer = self.conn.send_packed_command(command) => Ok(answer?),
            () = &mut self.driver => Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
        }
    }
}

/// Whether a server is shown who we are before it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Introduce {
    /// At once.
    Yes,
    /// Never.
    No,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialFault {
    /// The system says no.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The host cannot be what a certificate is for.
    #[error("its name can be in no certificate")]
    Name(#[from] InvalidDnsNameError),
    /// The server says no.
    #[error("{0}")]
    Refused(#[from] RedisError),
    /// It takes no writes.
    #[error("it is a replica")]
    Replica,
    /// It has just started.
    #[error("it is still reading its file")]
    Loading,
}

/// A file that cannot be used. The message says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FileFault(String);

impl Dial {
    /// What the configuration says; reads the files that it names.
    pub fn new(place: &RedisPlace, network: &Network) -> Result<Self, FileFault> {
        let tls = match place.transport {
            RedisTransport::Plain => None,
            RedisTransport::Tls => Some(connector(network.ca.as_deref())?),
        };
        let password = network.password_file.as_deref().map(password).transpose()?;
        let (user, database) = (network.user.clone(), place.database);
        Ok(Self { tls, user, password: password.map(Arc::new), database })
    }

    /// Connects to `host`. Whoever is called as a matter of course, as a Sentinel is, is not told
    /// our password before it asks for one.
    pub async fn connect(
        &self,
        host: &HostPort,
        introduce: Introduce,
    ) -> Result<Dialled, DialFault> {
        let stream = TcpStream::connect((host.host.as_str(), host.port)).await?;
        settle(&stream)?;
        let info = self.introduction(introduce);
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None)
            .set_pipeline_buffer_size(PIPELINE);
        match &self.tls {
            None => {
                let (conn, driver) =
                    MultiplexedConnection::new_with_config(&info, stream, config).await?;
                Ok(Dialled { conn, driver: Box::pin(driver) })
            }
            Some(tls) => {
                let name = ServerName::try_from(host.host.clone())?;
                let stream = tls.connect(name, stream).await?;
                let (conn, driver) =
                    MultiplexedConnection::new_with_config(&info, stream, config).await?;
                Ok(Dialled { conn, driver: Box::pin(driver) })
            }
        }
    }

    fn introduction(&self, introduce: Introduce) -> RedisConnectionInfo {
        // The library's name is nothing that an ACL user need be allowed to say.
        let mut info = RedisConnectionInfo::default().set_skip_set_lib_name();
        if introduce == Introduce::Yes {
            info = info.set_db(i64::from(self.database));
            if let Some(user) = &self.user {
                info = info.set_username(user);
            }
            if let Some(password) = &self.password {
                info = info.set_password(password.as_str());
            }
        }
        info
    }
}

/// Small messages at once; and a peer that has vanished is noticed, however little is said.
fn settle(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))
}

fn connector(ca: Option<&Path>) -> Result<TlsConnector, FileFault> {
    let mut roots = RootCertStore::empty();
    match ca {
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(path) => {
            let unusable = |it: &dyn std::fmt::Display| {
                FileFault(format!("store.ca: {} cannot be used: {it}", path.display()))
            };
            let certificates = CertificateDer::pem_file_iter(path).map_err(|it| unusable(&it))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|it| unusable(&it))?;
                roots.add(certificate).map_err(|it| unusable(&it))?;
            }
        }
    }
    if roots.is_empty() {
        return Err(FileFault(
            "no authority is known by which the store's certificate could be \
                              verified: set store.ca"
                .to_owned(),
        ));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|it| FileFault(it.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The first line of the file: an editor ends it with a line end.
fn password(path: &Path) -> Result<Zeroizing<String>, FileFault> {
    let fault = |it: &dyn std::fmt::Display| {
        FileFault(format!("store.password_file: {} cannot be used: {it}", path.display()))
    };
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|it| fault(&it))?);
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(fault(&"it is empty"));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

const KEEPALIVE: Duration = Duration::from_secs(5);
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);
/// How many commands may wait to be sent.
const PIPELINE: usize = 1_024;
