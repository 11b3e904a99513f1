//! A body over HTTP/2 that its sender gave up never reaches an upstream as if it were whole.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::Reason;
use http::Request;

use crate::support::gateway::Gateway;
use crate::support::setup::Setup;
use crate::support::upstream::{Conversation, Upstream};
use crate::support::wait::eventually;

/// Notes everything that comes, until nothing does.
fn listening(seen: &Arc<Mutex<Vec<Vec<u8>>>>) -> Upstream {
    let seen = Arc::clone(seen);
    Upstream::scripted(move |conversation: &mut Conversation| {
        let mut bytes = Vec::new();
        let read = io::Read::read_to_end(conversation.reader(), &mut bytes);
        seen.lock().unwrap().push(bytes);
        read.map(drop)
    })
}

/// Sends a part of a body, and then resets its stream for this reason.
async fn give_up(gateway: SocketAddr, reason: Reason) {
    let stream = tokio::net::TcpStream::connect(gateway).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let request = Request::post("http://api.example.com/").body(()).unwrap();
    let (_response, mut body) = client.send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(b"half"), false).unwrap();
    // What was sent is to arrive first.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    body.send_reset(reason);
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
}

#[test]
fn an_upload_that_was_reset_is_not_ended() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let upstream = listening(&seen);
    let gateway = Gateway::start(&Setup::open_to(&format!("http://{}", upstream.address())));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (count, reason) in [Reason::NO_ERROR, Reason::CANCEL].into_iter().enumerate() {
        runtime.block_on(give_up(gateway.address(), reason));
        eventually("the upstream's connection is closed", || {
            seen.lock().unwrap().len() == count + 1
        });
    }
    for bytes in &*seen.lock().unwrap() {
        let text = String::from_utf8_lossy(bytes);
        assert!(text.contains("\r\n4\r\nhalf\r\n"), "{text}");
        assert!(!text.ends_with("0\r\n\r\n"), "{text}");
    }
}
