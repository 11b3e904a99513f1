//! Clients that send many frames because they have much to do are never cut off.

use std::io;
use std::thread;
use std::time::Duration;

use crate::support::gateway::Gateway;
use crate::support::h2::frames::{
    CANCEL, END_STREAM, Frame, INITIAL_WINDOW_SIZE, PING, Request, data, ping, priority, reset,
    window_update,
};
use crate::support::h2::peer::{Peer, Taking};
use crate::support::setup::Setup;
use crate::support::upstream::{Conversation, Upstream, ok};

struct Stage {
    upstream: Upstream,
    gateway: Gateway,
}

impl Stage {
    fn new() -> Self {
        let upstream = Upstream::scripted(script);
        let setup = Setup::empty()
            .upstream("api", &[upstream.address()])
            .route("all", "path = \"/\"\naccess = \"public\"");
        Self { gateway: Gateway::start(&setup), upstream }
    }

    fn peer(&self, settings: &[(u16, u32)]) -> Peer {
        Peer::connect_with(self.gateway.address(), settings)
    }
}

fn script(conversation: &mut Conversation) -> io::Result<()> {
    while let Some(request) = conversation.request()? {
        match request.target() {
            "/events" => events(conversation)?,
            "/large" => large(conversation)?,
            "/slow" => {
                thread::sleep(Duration::from_millis(20));
                conversation.send(ok("ok"))?;
            }
            _ => conversation.send(ok(request.body_bytes.to_string()))?,
        }
    }
    Ok(())
}

fn events(conversation: &mut Conversation) -> io::Result<()> {
    conversation.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
    for _ in 0..EVENTS {
        conversation.send("9\r\ndata: 1\n\n\r\n")?;
        thread::sleep(Duration::from_micros(500));
    }
    conversation.send("0\r\n\r\n")
}

fn large(conversation: &mut Conversation) -> io::Result<()> {
    conversation.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n"))?;
    (0..LARGE / 65_536).try_for_each(|_| conversation.send(vec![0; 65_536]))
}

/// Takes an answer to its end, and has `answer` say something to each DATA of it.
#[track_caller]
fn take(peer: &mut Peer, path: &str, answer: impl Fn(&Frame) -> Vec<u8>) -> usize {
    let stream = peer.new_stream();
    peer.send(Request::get(path).whole(stream));
    let (mut bytes, mut frames) = (0, 0);
    loop {
        let frame = peer.next_data();
        let frame = frame.unwrap_or_else(|| panic!("cut off after {frames} frames"));
        if !frame.payload.is_empty() {
            bytes += frame.payload.len();
            frames += 1;
            peer.send(answer(&frame));
        }
        if frame.has(END_STREAM) {
            return bytes;
        }
    }
}

/// What a client says that makes room for what it took.
fn room(frame: &Frame) -> Vec<u8> {
    let more = u32::try_from(frame.payload.len()).unwrap();
    [window_update(0, more), window_update(frame.stream, more)].concat()
}

#[test]
fn a_large_download_is_acknowledged_twice_for_each_frame() {
    let stage = Stage::new();
    let mut peer = stage.peer(&[]);
    assert_eq!(take(&mut peer, "/large", room), LARGE);
    assert_eq!(peer.ask(&Request::get("/")).answer().status, 200);
}

#[test]
fn a_client_with_a_small_window_says_often_that_there_is_room() {
    let stage = Stage::new();
    let mut peer = stage.peer(&[(INITIAL_WINDOW_SIZE, 4096)]);
    assert_eq!(take(&mut peer, "/large", room), LARGE);
}

#[test]
fn a_client_measures_how_far_away_we_are_with_each_event() {
    let stage = Stage::new();
    let mut peer = stage.peer(&[]);
    for _ in 0..2 {
        let bytes = take(&mut peer, "/events", |it| [room(it), ping(7)].concat());
        assert_eq!(bytes, EVENTS * 9);
    }
}

#[test]
fn a_browser_asks_much_and_cancels_half_of_it() {
    let stage = Stage::new();
    let mut peer = stage.peer(&[]);
    let mut answered = 0;
    for round in 0..200 {
        let streams: Vec<u32> = (0..100).map(|_| peer.new_stream()).collect();
        let path = if round % 2 == 0 { "/" } else { "/slow" };
        let ask = |it: &u32| {
            [Request::get(path).head(*it), priority(*it, 0), data(*it, END_STREAM, [])].concat()
        };
        // Some are cancelled in the same breath, some when they are under way.
        let (kept, cancelled) = streams.split_at(50);
        let cancel: Vec<u8> = cancelled.iter().flat_map(|it| reset(*it, CANCEL)).collect();
        let asks: Vec<u8> = streams.iter().flat_map(ask).collect();
        peer.send(asks);
        if round % 3 == 0 {
            peer.send(cancel);
        } else {
            assert_eq!(peer.outcome(kept[0]).answer().status, 200);
            peer.send(cancel);
        }
        for stream in kept {
            assert_eq!(peer.outcome(*stream).answer().status, 200, "round {round}");
            answered += 1;
        }
        peer.take(Taking::Connection);
    }
    assert_eq!(answered, 10_000);
    assert!(stage.upstream.asked() >= answered);
}

#[test]
fn a_client_sends_many_small_messages_on_one_stream() {
    let stage = Stage::new();
    let mut peer = stage.peer(&[]);
    let stream = peer.new_stream();
    peer.send(Request::post("/").head(stream));
    for _ in 0..200 {
        let messages: Vec<u8> = (0..100).flat_map(|_| data(stream, 0, "hello")).collect();
        peer.send(messages);
        // The window is 64 KiB; h2 says so when half of it is free again.
        peer.send(ping(1));
        while peer.others().last().is_none_or(|it| it.kind != PING) {
            assert!(peer.step());
        }
        peer.forget_others();
    }
    peer.send(data(stream, END_STREAM, []));
    assert_eq!(peer.outcome(stream).answer().body, b"100000");
}

const EVENTS: usize = 1_500;
const LARGE: usize = 64 << 20;
