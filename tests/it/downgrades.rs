//! What comes over HTTP/2 goes up over HTTP/1.1 as if it had come so, and over HTTP/2 as it came.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};

use crate::support::gateway::{Gateway, Key};
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};
use crate::support::wait::PATIENCE;

/// An answer that came over HTTP/2.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

/// Asks over a connection of its own, in plaintext by prior knowledge.
#[track_caller]
fn ask(gateway: &Gateway, request: http::request::Builder, body: &[&'static [u8]]) -> Answer {
    ask_with(gateway, request, body, &[])
}

#[track_caller]
fn ask_with(
    gateway: &Gateway,
    request: http::request::Builder,
    body: &[&'static [u8]],
    trailers: &[(&'static str, &'static str)],
) -> Answer {
    let request = request.body(()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let asking = ask_async(gateway, request, body, trailers);
        tokio::time::timeout(PATIENCE, asking).await.unwrap().unwrap()
    })
}

async fn ask_async(
    gateway: &Gateway,
    request: Request<()>,
    body: &[&'static [u8]],
    trailers: &[(&'static str, &'static str)],
) -> Result<Answer, h2::Error> {
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await?;
    let driving = tokio::task::spawn(connection);
    let is_whole = body.is_empty() && trailers.is_empty();
    let (answering, mut sending) = sender.send_request(request, is_whole)?;
    for piece in body {
        // Whoever is refused early may find the stream reset.
        drop(sending.send_data(Bytes::from_static(piece), false));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    if !is_whole {
        let fields = trailers.iter();
        let fields = fields.map(|(name, it)| (name.parse().unwrap(), HeaderValue::from_static(it)));
        drop(sending.send_trailers(fields.collect::<HeaderMap>()));
    }
    let (head, mut incoming) = answering.await?.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = incoming.data().await {
        body.extend_from_slice(&piece?);
    }
    let trailers = incoming.trailers().await?;
    driving.abort();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body, trailers })
}

fn start(upstream: &Upstream) -> (Gateway, Key) {
    let gateway = Gateway::start(&Setup::to(upstream.address()));
    let key = gateway.mint("crm");
    (gateway, key)
}

fn get(target: &str, key: &Key) -> http::request::Builder {
    Request::get(format!("http://api.example.com{target}")).header("api-key", &key.plaintext)
}

#[test]
fn the_upstream_is_told_the_authority_as_the_host() {
    let upstream = Upstream::echo();
    let (gateway, key) = start(&upstream);
    for (authority, host) in [
        ("api.example.com", "api.example.com"),
        ("API.example.com:8443", "API.example.com:8443"),
        ("[::1]:80", "[::1]:80"),
    ] {
        let request = Request::get(format!("http://{authority}/v3/./x?q"));
        let request = request.header("api-key", &key.plaintext);
        assert_eq!(ask(&gateway, request, &[]).status, 200, "{authority}");
        let seen = upstream.last();
        assert_eq!(seen.target(), "/v3/x?q");
        assert_eq!(seen.header("host"), Some(host));
        assert_eq!(seen.header("x-forwarded-host"), Some(host));
        assert_eq!(seen.header("connection"), None);
    }
}

#[test]
fn a_cookie_in_pieces_is_one_line_upstream() {
    let upstream = Upstream::echo();
    let (gateway, key) = start(&upstream);
    let request = get("/", &key).header("cookie", "a=b").header("x-other", "1");
    let request = request.header("cookie", "c=d; e=f").header("cookie", "g=h");
    assert_eq!(ask(&gateway, request, &[]).status, 200);
    assert_eq!(upstream.last().header("cookie"), Some("a=b; c=d; e=f; g=h"));
}

#[test]
fn trailers_go_up_where_they_are_announced_and_may() {
    let upstream = Upstream::echo();
    let (gateway, key) = start(&upstream);
    let post = || {
        let request = Request::post("http://api.example.com/");
        request.header("api-key", &key.plaintext).header("te", "trailers")
    };
    let trailers = [("x-check", "9"), ("x-keyward-owner", "spoofed"), ("api-key", "spoofed")];
    let announced = post().header("trailer", "x-check, x-keyward-owner, api-key, host");
    assert_eq!(ask_with(&gateway, announced, &[b"hi"], &trailers).status, 200);
    let seen = upstream.last();
    assert_eq!(seen.body, b"hi");
    assert_eq!(seen.header("trailer"), Some("x-check"));
    assert_eq!((seen.header("te"), seen.header("connection")), (Some("trailers"), Some("te")));
    assert_eq!(seen.trailers, [("x-check".to_owned(), "9".to_owned())]);
    // HTTP/1.1 has no place for others; the request is whole without them.
    assert_eq!(ask_with(&gateway, post(), &[b"hi"], &trailers).status, 200);
    assert_eq!((upstream.asked(), upstream.last().trailers.len()), (2, 0));
    assert_eq!(ask_with(&gateway, post(), &[], &trailers).status, 200);
    assert_eq!(upstream.asked(), 3);
}

#[test]
fn announced_trailers_come_down_and_nothing_else() {
    let upstream = Upstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: grpc-status, connection\r\n\r\n\
          2\r\nhi\r\n0\r\ngrpc-status: 0\r\nx-other: 1\r\nconnection: close\r\n\r\n"
            .to_vec()
    });
    let (gateway, key) = start(&upstream);
    let answer = ask(&gateway, get("/", &key).header("te", "trailers"), &[]);
    assert_eq!((answer.status, &*answer.body), (200, &b"hi"[..]));
    assert_eq!(names(&answer.trailers.unwrap()), ["grpc-status"]);
}

#[test]
fn an_answer_without_a_body_says_how_long_it_would_be() {
    let upstream = Upstream::answering(|request| match request.method() {
        "HEAD" => b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_vec(),
        _ if request.target() == "/304" => {
            b"HTTP/1.1 304 Not Modified\r\ncontent-length: 1000\r\n\r\n".to_vec()
        }
        _ => ok("ok"),
    });
    let (gateway, key) = start(&upstream);
    let head = Request::head("http://api.example.com/").header("api-key", &key.plaintext);
    for (request, status) in [(head, 200), (get("/304", &key), 304)] {
        let answer = ask(&gateway, request, &[]);
        assert_eq!((answer.status, answer.body.len()), (status, 0));
        assert_eq!(answer.headers["content-length"], "1000");
    }
}

#[test]
fn a_body_without_a_length_is_no_longer_than_its_route_allows() {
    let upstream = Upstream::echo();
    let setup = Setup::empty().upstream("api", &[upstream.address()]);
    let gateway = Gateway::start(&setup.route("all", "path = \"/\"\nmax_body = \"1KiB\""));
    let key = gateway.mint("crm");
    let post = || Request::post("http://api.example.com/").header("api-key", &key.plaintext);
    let piece: &[u8] = &[b'x'; 256];
    assert_eq!(ask(&gateway, post(), &[piece; 4]).status, 200);
    assert_eq!(upstream.last().body_bytes, 1024);
    let answer = ask(&gateway, post(), &[piece, piece, piece, piece, b"y"]);
    assert_eq!(answer.status, 413, "{:?}", String::from_utf8_lossy(&answer.body));
    let answer =
        ask(&gateway, post().header("content-length", "1025"), &[piece, piece, piece, piece, b"y"]);
    assert_eq!(answer.status, 413);
    assert_eq!(upstream.asked(), 1, "a body that was too long came to its end");
}

#[test]
fn routes_do_the_same_for_both_versions() {
    let upstream = Upstream::echo();
    let setup = Setup::empty().upstream("api", &[upstream.address()]);
    let setup = setup.route("acme", "path = \"/\"\nheaders = { x-tenant = \"acme\" }");
    let setup = setup.route("v3", "path = \"/v3/\"\nstrip_prefix = true\npreflight = \"forward\"");
    let gateway = Gateway::start(&setup);
    let key = gateway.mint("crm");
    assert_eq!(ask(&gateway, get("/v3/a/../x?q", &key), &[]).status, 200);
    assert_eq!(upstream.last().target(), "/x?q");
    assert_eq!(ask(&gateway, get("/v3//evil.example/", &key), &[]).status, 400);
    assert_eq!(ask(&gateway, get("/v3/..%2fx", &key), &[]).status, 400);
    assert_eq!(ask(&gateway, get("/y", &key).header("x-tenant", "acme"), &[]).status, 200);
    assert_eq!(ask(&gateway, get("/y", &key), &[]).status, 404);
    let preflight = || {
        let request = Request::options("http://api.example.com/v3/x");
        let request = request.header("origin", "https://app.example.com");
        request.header("access-control-request-method", "PUT")
    };
    assert_eq!(ask(&gateway, preflight(), &[]).status, 200);
    assert_eq!(upstream.last().method(), "OPTIONS");
    assert_eq!(ask(&gateway, preflight(), &[b"a body"]).status, 401);
}

/// What the upstream of [`serve_http2`] got: headers and trailers of each request.
type Seen = Arc<Mutex<Vec<(HeaderMap, Option<HeaderMap>)>>>;

/// Speaks HTTP/2 as gRPC does: trailers that nobody announces; on `/only`, nothing but a head.
fn serve_http2() -> (SocketAddr, Seen) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let noting = Arc::clone(&seen);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn(converse(stream, Arc::clone(&noting)));
            }
        });
    });
    (address, seen)
}

async fn converse(stream: TcpStream, seen: Seen) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(asked) = connection.accept().await {
        let (request, mut respond) = asked?;
        let seen = Arc::clone(&seen);
        tokio::task::spawn(async move {
            let (head, mut body) = request.into_parts();
            while let Some(piece) = body.data().await {
                body.flow_control().release_capacity(piece?.len())?;
            }
            let trailers = body.trailers().await?;
            seen.lock().unwrap().push((head.headers, trailers));
            let answer = Response::builder().header("content-type", "application/grpc");
            if head.uri.path() == "/only" {
                let answer = answer.header("grpc-status", "5").body(()).unwrap();
                return respond.send_response(answer, true).map(drop);
            }
            let mut sending = respond.send_response(answer.body(()).unwrap(), false)?;
            let names = ["grpc-status", "grpc-message", "x-request-id", "x-set", "content-length"];
            let fields =
                names.map(|it| (HeaderName::from_static(it), HeaderValue::from_static("7")));
            sending.send_trailers(fields.into_iter().collect())
        });
    }
    Ok(())
}

fn names(headers: &HeaderMap) -> Vec<&str> {
    headers.keys().map(HeaderName::as_str).collect()
}

#[test]
fn over_http2_on_both_sides_nobody_has_to_announce_trailers() {
    let (address, seen) = serve_http2();
    let setup = Setup::empty().upstream_at("api", &[format!("h2://{address}")]);
    let setup = setup.route("all", "path = \"/\"\nset_response_headers = { x-set = \"ours\" }");
    let gateway = Gateway::start(&setup);
    let key = gateway.mint("crm");
    let post = |path: &str| {
        let request = Request::post(format!("http://api.example.com{path}"));
        request.header("api-key", &key.plaintext).header("te", "trailers")
    };
    let trailers = [("x-check", "9"), ("x-keyward-owner", "spoofed"), ("api-key", "spoofed")];
    let answer = ask_with(&gateway, post("/"), &[b"hi"], &trailers);
    assert_eq!((answer.status, answer.headers["x-set"].to_str().unwrap()), (200, "ours"));
    assert_eq!(names(&answer.trailers.unwrap()), ["grpc-status", "grpc-message"]);
    let (headers, passed) = seen.lock().unwrap().pop().unwrap();
    assert_eq!(headers["te"], "trailers");
    assert!(!headers.contains_key("trailer") && !headers.contains_key("connection"));
    assert_eq!(names(&passed.unwrap()), ["x-check"]);
    let answer = ask_with(&gateway, post("/only"), &[b"hi"], &[]);
    assert_eq!((answer.status, answer.headers["grpc-status"].to_str().unwrap()), (200, "5"));
    assert!(answer.body.is_empty() && answer.trailers.is_none(), "{answer:?}");
}
