//! Requests over HTTP/2 within TLS without end, by clients that expect every one to be answered well.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::gateway::Key;
use crate::support::wait::eventually;

/// Some clients, each with a connection that it keeps for as long as it may.
#[derive(Debug)]
pub struct Crossing {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    key: Key,
    tls: Arc<ClientConfig>,
    stopped: AtomicBool,
    served: AtomicUsize,
    connected: AtomicUsize,
    failed: AtomicUsize,
}

/// What becomes of a request.
enum Asked {
    Served,
    /// The other side had said that it takes no more: it was not looked at.
    Unseen,
    Failed(String),
}

impl Crossing {
    /// Begins; the clients believe who is certified by `roots`.
    pub fn begin(address: SocketAddr, roots: RootCertStore, key: &Key) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider);
        let tls = tls.with_safe_default_protocol_versions().unwrap();
        let mut tls = tls.with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let [served, connected, failed] = [0; 3].map(AtomicUsize::new);
        let (tls, stopped) = (Arc::new(tls), AtomicBool::new(false));
        let key = key.clone();
        let shared = Arc::new(Shared { address, key, tls, stopped, served, connected, failed });
        let client = |_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(shared.ask_on());
            })
        };
        Self { clients: (0..CLIENTS).map(client).collect(), shared }
    }

    /// Waits until so many more requests were served.
    #[track_caller]
    pub fn go_on(&self, count: usize) {
        let before = self.shared.served.load(Ordering::SeqCst);
        eventually("requests are served over HTTP/2", || {
            self.shared.served.load(Ordering::SeqCst) >= before + count
        });
    }

    /// Ends, and holds that every request was answered well; over how many connections.
    #[track_caller]
    pub fn end(mut self) -> usize {
        self.shared.stopped.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            client.join().unwrap();
        }
        let failed = self.shared.failed.load(Ordering::SeqCst);
        let served = self.shared.served.load(Ordering::SeqCst);
        assert_eq!(failed, 0, "{failed} failed beside {served} that were served");
        self.shared.connected.load(Ordering::SeqCst)
    }
}

impl Drop for Crossing {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    async fn ask_on(&self) {
        let mut kept = None;
        while !self.stopped.load(Ordering::SeqCst) {
            let sender = match kept.take() {
                Some(sender) => sender,
                None => match self.connect().await {
                    Ok(sender) => sender,
                    Err(fault) => {
                        self.fail(&format!("connecting: {fault}"));
                        continue;
                    }
                },
            };
            // Who was told before that the connection ends has nothing to complain of.
            let Ok(mut ready) = sender.ready().await else { continue };
            match self.ask(&mut ready).await {
                Asked::Served => {
                    self.served.fetch_add(1, Ordering::SeqCst);
                    kept = Some(ready);
                }
                Asked::Unseen => {}
                Asked::Failed(why) => self.fail(&why),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn connect(&self) -> io::Result<SendRequest<Bytes>> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
        let tls = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await?;
        let (sender, connection) = h2::client::handshake(tls).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        self.connected.fetch_add(1, Ordering::SeqCst);
        Ok(sender)
    }

    async fn ask(&self, sender: &mut SendRequest<Bytes>) -> Asked {
        let request = Request::get(format!("https://{NAME}/"));
        let request = request.header("api-key", &self.key.plaintext).body(()).unwrap();
        let answering = match sender.send_request(request, true) {
            Ok((answering, _)) => answering,
            Err(fault) => return refused(&fault),
        };
        let answer = match answering.await {
            Ok(answer) => answer,
            Err(fault) => return refused(&fault),
        };
        if answer.status() != 200 {
            return Asked::Failed(format!("answered {}", answer.status()));
        }
        let mut body = answer.into_body();
        while let Some(data) = body.data().await {
            let released = data.and_then(|it| body.flow_control().release_capacity(it.len()));
            if let Err(fault) = released {
                return Asked::Failed(format!("reading: {fault}"));
            }
        }
        Asked::Served
    }

    fn fail(&self, words: &str) {
        self.failed.fetch_add(1, Ordering::SeqCst);
        eprintln!("a request over HTTP/2 failed: {words}");
    }
}

/// Beyond the last stream of a GOAWAY that says that nothing is wrong (RFC 9113, 6.8).
fn refused(fault: &h2::Error) -> Asked {
    let is_farewell = fault.is_go_away() && fault.reason() == Some(h2::Reason::NO_ERROR);
    if is_farewell { Asked::Unseen } else { Asked::Failed(format!("asking: {fault}")) }
}

const CLIENTS: usize = 4;

/// What the certificate names.
pub const NAME: &str = "api.example.com";
