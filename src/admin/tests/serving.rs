//! Claims about connections.

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::admin::tests::{Place, reply};

/// Reads until `end` was read, or the connection is closed.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    let mut part = [0; 1024];
    while !String::from_utf8_lossy(&read).contains(end) {
        match stream.read(&mut part).await.unwrap() {
            0 => break,
            count => read.extend_from_slice(&part[..count]),
        }
    }
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn a_call_that_has_begun_is_answered_after_the_word_to_stop() {
    let place = Place::new().await;
    let mut stream = TcpStream::connect(place.address).await.unwrap();
    let body = json!({"name": "late"}).to_string();
    let head = format!(
        "POST /v1/keys HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\nexpect: 100-continue\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        place.address,
        place.root,
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(read_until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 100"));
    place.server.stop();
    stream.write_all(body.as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, "\0").await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    place.server.ended().await;
    assert!(TcpStream::connect(place.address).await.is_err());
}

#[tokio::test]
async fn a_panic_is_one_answer_and_no_more() {
    let place = Place::with_scrape(Box::new(|| panic!("on purpose"))).await;
    place.get("/metrics").await.refused(500, "internal_error");
    assert_eq!(place.get("/v1/keys").await.status, 200);
}

#[tokio::test]
async fn a_scrape_is_said_to_be_openmetrics() {
    let place = Place::new().await;
    let scrape = place.by_root(Method::GET, "/metrics").send().await.unwrap();
    let content_type = scrape.headers()["content-type"].to_str().unwrap();
    assert!(content_type.starts_with("application/openmetrics-text"), "{content_type}");
    assert_eq!(scrape.text().await.unwrap(), "# EOF\n");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_and_the_refusal_arrives() {
    let place = Place::new().await;
    for length in [1024 * 1024 + 1, 4 * 1024 * 1024] {
        let request = place.by_root(Method::POST, "/v1/keys").body(vec![b' '; length]);
        reply(request).await.refused(413, "body_too_large");
    }
    let request = place.by_root(Method::POST, "/v1/keys").body(vec![b' '; 1024 * 1024]);
    reply(request).await.refused(400, "bad_request");
}

#[tokio::test]
async fn there_is_exactly_one_host_on_the_wire() {
    let place = Place::new().await;
    for (target, hosts, expected) in [
        ("/livez", "host: localhost\r\n", "200"),
        ("/livez", "", "400"),
        ("/livez", "host: localhost\r\nhost: localhost\r\n", "400"),
        ("http://evil.example/livez", "host: localhost\r\n", "400"),
        ("http://localhost/livez", "host: localhost\r\n", "200"),
    ] {
        let mut stream = TcpStream::connect(place.address).await.unwrap();
        let head = format!("GET {target} HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "\0").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{target} {hosts}: {answer}");
    }
}
