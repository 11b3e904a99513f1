//! Claims about upgrades, against upstreams that answer what they are told.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, LocalOptions};

use super::*;
use crate::config::{self, UrlScheme};
use crate::tasks::deadline::{Deadline, Timed};
use crate::tasks::descriptors::Descriptors;
use crate::telemetry::counters::WorkerCounters;
use crate::upstream::SendError;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::group::Group;
use crate::upstream::trailers::Trailers;
use crate::upstream::upload::Watch;

/// Answers the head of a request with `answer`, and everything after it with itself in capitals.
/// In the end, all that it read.
fn peer(answer: &'static str) -> (SocketAddr, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut read, mut is_answered) = (Vec::new(), false);
        let mut bytes = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            read.extend_from_slice(&bytes[..count]);
            if is_answered {
                stream.write_all(&bytes[..count].to_ascii_uppercase()).unwrap();
            } else if read.ends_with(b"\r\n\r\n") {
                stream.write_all(answer.as_bytes()).unwrap();
                is_answered = true;
            }
        }
        read
    });
    (address, peer)
}

/// What comes of asking an upstream at `address` for a WebSocket.
async fn ask(address: SocketAddr) -> Result<Upgraded, SendError> {
    let (client, server) = tokio::io::duplex(1024);
    let (tell, told) = tokio::sync::oneshot::channel();
    let tell = std::cell::Cell::new(Some(tell));
    let serve = service_fn(|request| {
        let tell = tell.take().unwrap();
        async move {
            tell.send(upgrade(address, request).await).unwrap();
            Ok::<_, http::Error>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut client = client;
    client.write_all(b"GET /chat HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let http1 = hyper::server::conn::http1::Builder::new();
    let serving = http1.serve_connection(TokioIo::new(server), serve);
    tokio::select! {
        told = told => told.unwrap(),
        it = serving => panic!("{it:?}"),
    }
}

async fn upgrade(address: SocketAddr, request: Request<Incoming>) -> Result<Upgraded, SendError> {
    let endpoint = config::Endpoint {
        scheme: UrlScheme::Http,
        host: address.ip().to_string(),
        port: address.port(),
        weight: NonZeroU32::MIN,
    };
    let second = Duration::from_secs(1);
    let settings = config::Upstream {
        name: "api".to_owned(),
        endpoints: vec![endpoint.clone()],
        balance: config::Balance::RoundRobin,
        host: config::UpstreamHost::Client,
        tls: config::ClientTls::default(),
        connect_timeout: second,
        response_timeout: second,
        idle_timeout: second,
        max_connections: None,
        wait_timeout: second,
        retries: config::Retries { per_request: 0, budget: config::Percent(0) },
        resolve_every: second,
        slow_start: None,
        health: None,
        ejection: None,
    };
    let endpoints = vec![Arc::new(Endpoint::new(endpoint, 1, Descriptors::new(10)))];
    let group = Group { settings: Arc::new(settings), endpoints, tls: None };
    let counters = Arc::new(WorkerCounters::default());
    let upstream = crate::upstream::Upstream::new(&group, 0, counters);
    let watch = Watch {
        deadline: Rc::new(Never::default()),
        body_timeout: second,
        response_timeout: second,
    };
    let request = request
        .map(|it| RequestBody::new((it, Version::HTTP_11), None, Trailers::default(), watch));
    upstream.upgrade(request, None, &HeaderValue::from_static("websocket")).await
}

#[derive(Debug, Default)]
struct Never(Deadline);

impl Timed for Never {
    fn deadline(&self) -> &Deadline {
        &self.0
    }
}

#[track_caller]
fn on_a_worker<T>(work: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    runtime.unwrap().block_on(work)
}

#[test]
fn a_switch_to_what_was_asked_for_makes_a_tunnel() {
    let (address, peer) = peer(
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\
         upgrade: WebSocket\r\nconnection: upgrade\r\ncontent-length: 0\r\nx-mine: 1\r\n\r\nfirst",
    );
    on_a_worker(async {
        let Upgraded::Tunnel(mut tunnel) = ask(address).await.unwrap() else { panic!("no tunnel") };
        assert_eq!(tunnel.head.headers()["x-mine"], "1");
        assert!(!tunnel.head.headers().contains_key("content-length"));
        let mut ahead = tunnel.ahead.to_vec();
        tunnel.io.write_all(b"then").await.unwrap();
        while ahead.len() < b"firstTHEN".len() {
            tunnel.io.read_buf(&mut ahead).await.unwrap();
        }
        assert_eq!(ahead, b"firstTHEN");
    });
    let read = String::from_utf8(peer.join().unwrap()).unwrap();
    let (head, rest) = read.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = head.lines().collect();
    lines.sort_unstable();
    let asked = ["GET /chat HTTP/1.1", "connection: upgrade", "host: a", "upgrade: websocket"];
    assert_eq!(lines, asked);
    assert_eq!(rest, "then");
}

#[test]
fn any_other_answer_is_passed_on_and_its_connection_closed() {
    let (address, peer) = peer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    on_a_worker(async {
        let Upgraded::Answer(answer) = ask(address).await.unwrap() else { panic!("a tunnel") };
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
        // The driver closes once it is polled.
        tokio::time::sleep(Duration::from_millis(20)).await;
    });
    assert!(peer.join().unwrap().ends_with(b"\r\n\r\n"));
}

#[test]
fn no_other_switch_makes_a_tunnel() {
    for switched in [
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nupgrade: h2c\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket, h2c\r\n\r\n",
        "HTTP/1.0 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n",
    ] {
        let (address, peer) = peer(switched);
        let fault = on_a_worker(ask(address)).unwrap_err();
        assert!(matches!(fault, SendError::Flawed(_)), "{switched}: {fault}");
        assert!(peer.join().unwrap().ends_with(b"\r\n\r\n"));
    }
}

#[test]
fn an_upstream_that_goes_away_makes_no_tunnel() {
    let (address, _peer) = peer("");
    let work = async { tokio::time::timeout(Duration::from_millis(200), ask(address)).await };
    assert!(on_a_worker(work).is_err(), "it answered nothing");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let closing = thread::spawn(move || drop(listener.accept()));
    let fault = on_a_worker(ask(address)).unwrap_err();
    assert!(matches!(fault, SendError::Failed(_)), "{fault}");
    closing.join().unwrap();
}
