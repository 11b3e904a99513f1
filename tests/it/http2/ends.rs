//! Where a body ends, and when a request of which both halves are open has taken too long.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::frames::Frames;
use crate::support::gateway::Gateway;
use crate::support::h2::frames::{CANCEL, END_STREAM, INTERNAL_ERROR, Request, data};
use crate::support::h2::peer::{Peer, Taking};
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::wait::eventually;

/// When a client says that its body has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Behind the body.
    AtOnce,
    /// Once the upstream has the body.
    Late,
}

/// Most clients send the end in a frame of its own; some wait with it.
#[test]
fn an_end_in_a_frame_of_its_own_does_not_cost_a_connection() {
    for (body, end) in [("", End::AtOnce), ("", End::Late), ("hi", End::AtOnce), ("hi", End::Late)]
    {
        let upstream = Upstream::echo();
        let setup = Setup::open_to(&format!("http://{}", upstream.address()));
        let gateway = Gateway::start(&setup.gateway("workers = 1"));
        let mut peer = Peer::connect(gateway.address());
        peer.take(Taking::All);
        for round in 0..5 {
            let stream = peer.new_stream();
            let request = Request::post("/").with("content-length", body.len().to_string());
            peer.send(request.head(stream));
            if !body.is_empty() {
                peer.send(data(stream, 0, body));
            }
            if end == End::Late {
                eventually("the body is there", || upstream.asked() > round);
            }
            drop(peer.try_send(data(stream, END_STREAM, "")));
            let answer = peer.outcome(stream).answer();
            assert_eq!(answer.status, 200, "{body:?} {end:?}");
            assert_eq!(answer.json()["body_bytes"], body.len(), "{body:?} {end:?}");
        }
        assert_eq!(upstream.connections(), 1, "{body:?} {end:?}");
    }
}

/// Answers a request that has not ended, part by part, and then says nothing more.
fn speaks_for_a_while() -> [Upstream; 2] {
    let http1 = Upstream::scripted(|conversation| {
        conversation.head()?;
        conversation.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        for _ in 0..PARTS {
            conversation.send("4\r\ndrip\r\n")?;
            thread::sleep(PAUSE);
        }
        std::io::copy(conversation.reader(), &mut std::io::sink()).map(drop)
    });
    let http2 = Upstream::scripted(|conversation| {
        let mut frames = Frames::begin(conversation.stream())?;
        let stream = frames.request()?;
        frames.begin_answer(stream)?;
        for _ in 0..PARTS {
            frames.part(stream, b"drip")?;
            thread::sleep(PAUSE);
        }
        loop {
            frames.next()?;
        }
    });
    [http1, http2]
}

#[test]
fn a_client_that_only_listens_is_not_slow_until_nobody_speaks() {
    let upstreams = speaks_for_a_while();
    for (upstream, scheme) in upstreams.iter().zip(["http", "h2"]) {
        let setup = Setup::open_to(&format!("{scheme}://{}", upstream.address()));
        let gateway = Gateway::start(&setup.gateway("body_timeout = \"1500ms\""));
        let mut peer = Peer::connect(gateway.address());
        peer.take(Taking::All);
        let stream = peer.new_stream();
        peer.send([Request::post("/").head(stream), data(stream, 0, "hello")].concat());
        peer.until_body(stream, PARTS * 4);
        let began = Instant::now();
        let code = peer.outcome(stream).reset();
        assert!(CODES.contains(&code), "{scheme}: {code}");
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(1_300), "{scheme}: after {took:?}");
        assert_eq!(peer.heard(stream).body.len(), PARTS * 4);
    }
}

/// In all more than twice as long as a client may be silent.
const PARTS: usize = 13;
const PAUSE: Duration = Duration::from_millis(300);

/// What says that an answer is not whole: all but what says that nothing is wrong.
const CODES: [u32; 2] = [CANCEL, INTERNAL_ERROR];
