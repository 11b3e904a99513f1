//! A TLS client sends its first request in one piece with the end of its handshake, as many do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::{NAME, Stage};
use crate::support::ask::Ask;
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::wait::PATIENCE;

fn client(stage: &Stage, alpn: &[u8]) -> ClientConnection {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(stage.ca()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    ClientConnection::new(Arc::new(config), ServerName::try_from(NAME).unwrap()).unwrap()
}

/// What comes back first of what is sent with the handshake's end.
#[track_caller]
fn first_answer(stage: &Stage, alpn: &[u8], request: &[u8]) -> Vec<u8> {
    let mut tls = client(stage, alpn);
    // Kept until the handshake is done, and sent with its last message.
    tls.writer().write_all(request).unwrap();
    let mut socket = TcpStream::connect(stage.secure).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = rustls::Stream::new(&mut tls, &mut socket);
    let mut answer = vec![0; 64 * 1024];
    let count = stream.read(&mut answer).unwrap();
    answer.truncate(count);
    answer
}

#[test]
fn a_request_that_comes_with_the_end_of_the_handshake_is_answered() {
    let upstream = Upstream::echo();
    let stage = Stage::new(&Setup::to(upstream.address()));
    let request = Ask::get("/").key(&stage.key).bytes();
    let answer = first_answer(&stage, b"http/1.1", &request);
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn a_preface_that_comes_with_the_end_of_the_handshake_is_answered() {
    let upstream = Upstream::echo();
    let stage = Stage::new(&Setup::to(upstream.address()));
    let settings = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let answer = first_answer(&stage, b"h2", settings);
    assert_eq!(answer.get(3), Some(&4), "SETTINGS come first: {answer:?}");
}
