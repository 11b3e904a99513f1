//! Upstreams that speak HTTP/2 by prior knowledge, with h2's own server.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// A server. What it does is the last word of the path: `echo` says what the request was, `wait`
/// answers once it is told to, `trailing` has a trailer below its answer, `cut` ends its answer
/// with a reset that says that nothing is wrong, `hints` says twice that it is at work, `lengths`
/// names two lengths.
#[derive(Debug)]
pub struct Http2Upstream {
    address: SocketAddr,
    seen: Arc<Seen>,
    released: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Seen {
    connections: AtomicUsize,
    asked: AtomicUsize,
    resets: AtomicUsize,
}

impl Http2Upstream {
    /// Takes so many requests at once on a connection.
    pub fn start(streams_max: u32) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (released, release) = watch::channel(false);
        let shared = Arc::clone(&seen);
        // It ends with the tests.
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(accept(listener, streams_max, shared, release));
        });
        Self { address, seen, released }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("h2://{}", self.address)
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// How many requests have come.
    pub fn asked(&self) -> usize {
        self.seen.asked.load(Ordering::SeqCst)
    }

    /// How many requests were given up by who asked.
    pub fn resets(&self) -> usize {
        self.seen.resets.load(Ordering::SeqCst)
    }

    /// Answers whoever waits, and everybody from now on.
    pub fn release(&self) {
        self.released.send(true).unwrap();
    }
}

async fn accept(
    listener: std::net::TcpListener,
    streams_max: u32,
    seen: Arc<Seen>,
    release: watch::Receiver<bool>,
) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        seen.connections.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(serve(stream, streams_max, Arc::clone(&seen), release.clone()));
    }
}

async fn serve(
    stream: TcpStream,
    streams_max: u32,
    seen: Arc<Seen>,
    release: watch::Receiver<bool>,
) -> Option<()> {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(streams_max);
    let mut connection = builder.handshake::<_, Bytes>(stream).await.ok()?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted.ok()?;
        seen.asked.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(answer(request, respond, Arc::clone(&seen), release.clone()));
    }
    Some(())
}

/// Whoever is on the other side may go away at any time.
async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    seen: Arc<Seen>,
    mut release: watch::Receiver<bool>,
) -> Option<()> {
    let word = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    match word.as_str() {
        "echo" => send(&mut respond, echo(request).await?.to_string()),
        "wait" => {
            tokio::select! {
                waited = release.wait_for(|it| *it) => drop(waited),
                _reset = poll_fn(|context| respond.poll_reset(context)) => {
                    seen.resets.fetch_add(1, Ordering::SeqCst);
                    return None;
                }
            }
            send(&mut respond, "done".to_owned())
        }
        "trailing" => {
            let mut stream = begin(&mut respond, &[("trailer", "x-sum")])?;
            stream.send_data("body".into(), false).ok()?;
            let sum = (HeaderName::from_static("x-sum"), HeaderValue::from_static("7"));
            stream.send_trailers(HeaderMap::from_iter([sum])).ok()
        }
        "cut" => {
            let mut stream = begin(&mut respond, &[])?;
            stream.send_data("half".into(), false).ok()?;
            // What was sent is to arrive first.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            stream.send_reset(Reason::NO_ERROR);
            Some(())
        }
        "hints" => {
            for status in [100, 103] {
                respond
                    .send_informational(Response::builder().status(status).body(()).ok()?)
                    .ok()?;
            }
            send(&mut respond, "done".to_owned())
        }
        "lengths" => {
            let lengths = [("content-length", "4"), ("content-length", "5")];
            begin(&mut respond, &lengths)?.send_data("body".into(), true).ok()
        }
        _ => send(&mut respond, "ok".to_owned()),
    }
}

fn begin(
    respond: &mut SendResponse<Bytes>,
    headers: &[(&'static str, &'static str)],
) -> Option<SendStream<Bytes>> {
    let mut response = Response::new(());
    for (name, value) in headers {
        response.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    respond.send_response(response, false).ok()
}

fn send(respond: &mut SendResponse<Bytes>, text: String) -> Option<()> {
    begin(respond, &[])?.send_data(text.into(), true).ok()
}

/// What a request was.
async fn echo(request: Request<RecvStream>) -> Option<Value> {
    let (parts, mut body) = request.into_parts();
    let mut count = 0;
    while let Some(data) = body.data().await {
        let data = data.ok()?;
        count += data.len();
        body.flow_control().release_capacity(data.len()).ok()?;
    }
    let trailers = body.trailers().await.ok()?.unwrap_or_default();
    Some(json!({
        "method": parts.method.as_str(),
        "scheme": parts.uri.scheme_str(),
        "authority": parts.uri.authority().map(ToString::to_string),
        "path": parts.uri.path_and_query().map(ToString::to_string),
        "headers": pairs(&parts.headers),
        "body_bytes": count,
        "trailers": pairs(&trailers),
    }))
}

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |it: &HeaderValue| it.to_str().unwrap_or_default().to_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}
