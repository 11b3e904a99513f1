//! Flow control: who may send how much (RFC 9113, 5.2 and 6.9).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::http2::case::Expect::{Connection, GoesOn, Status, Stream};
use crate::http2::case::{GOOD, Stage, case, good, part};
use crate::support::gateway::Gateway;
use crate::support::h2::frames::{
    CANCEL, END_STREAM, FLOW_CONTROL_ERROR, INITIAL_WINDOW_SIZE, PROTOCOL_ERROR, Request, data,
    reset, settings, window_update,
};
use crate::support::h2::peer::Peer;
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};
use crate::support::wait::eventually;

/// A gateway that has no connection left to its upstream, and what holds the only one.
struct Full {
    upstream: Upstream,
    _other: Upstream,
    gateway: Gateway,
    is_released: Arc<AtomicBool>,
}

impl Full {
    fn new() -> (Self, Peer) {
        let is_released = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_released);
        let upstream = Upstream::answering(move |_| {
            eventually("it is released", || seen.load(Ordering::Relaxed));
            ok("ok")
        });
        let other = Upstream::answering(|_| ok("other"));
        let public = |path| format!("path = {path:?}\naccess = \"public\"");
        let setup = Setup::empty()
            .upstream("other", &[other.address()])
            .route("other", &public("/other"))
            .upstream("api", &[upstream.address()])
            .upstream_line("max_connections = 1\nwait_timeout = \"20s\"")
            .route("all", &public("/"));
        let gateway = Gateway::start(&setup.gateway("workers = 1"));
        let mut peer = Peer::connect(gateway.address());
        let stream = peer.new_stream();
        peer.send(Request::get(GOOD).whole(stream));
        eventually("the upstream has it", || upstream.asked() == 1);
        (Self { upstream, _other: other, gateway, is_released }, peer)
    }

    fn release(&self) {
        assert_eq!(self.upstream.asked(), 1);
        self.is_released.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_window_is_made_larger_by_something_and_never_too_large() {
    let most = 0x7fff_ffff;
    let on_stream = |more| [part().head(1), window_update(1, more)].concat();
    let initial = |it| settings(&[(INITIAL_WINDOW_SIZE, it)]);
    let reserved = window_update(0, 1 << 31 | 1);
    Stage::new().play(&[
        case(
            "6.9",
            "nothing, on the connection",
            Connection(&[PROTOCOL_ERROR]),
            window_update(0, 0),
        ),
        // A stream's error, that may be the connection's: 5.4.1.
        case("6.9", "nothing, on a stream", Connection(&[PROTOCOL_ERROR]), on_stream(0)),
        case("6.9.1", "too much, on the connection", Connection(&[FLOW_CONTROL_ERROR]), {
            window_update(0, most)
        }),
        case("6.9.1", "the same in two steps", Connection(&[FLOW_CONTROL_ERROR]), {
            [window_update(0, most - 65_535), window_update(0, 1)].concat()
        }),
        case("6.9.1", "the most, on the connection", GoesOn, window_update(0, most - 65_535)),
        case("6.9.1", "too much, on a stream", Stream(&[FLOW_CONTROL_ERROR]), on_stream(most)),
        case("6.9.1", "the most, on a stream", GoesOn, {
            [on_stream(most - 65_535), reset(1, CANCEL)].concat()
        }),
        case("6.9.2", "too much by a setting", Connection(&[FLOW_CONTROL_ERROR]), {
            [on_stream(most - 65_535), initial(65_536)].concat()
        }),
        case("6.9", "a reserved bit", GoesOn, reserved),
        case(
            "6.9",
            "for a stream that has ended",
            Status(200),
            [good(1), window_update(1, 9)].concat(),
        ),
    ]);
}

#[test]
fn an_answer_is_never_larger_than_its_window_which_may_be_below_nothing() {
    let stage = Stage::new();
    let initial = |it| settings(&[(INITIAL_WINDOW_SIZE, it)]);
    let mut peer = Peer::connect_with(stage.gateway().address(), &[(INITIAL_WINDOW_SIZE, 0)]);
    peer.send(good(1));
    let mut holds = |frames: Vec<u8>, bytes: usize| {
        peer.send(frames);
        peer.until_body(1, bytes);
        peer.barrier();
        assert_eq!(peer.heard(1).body.len(), bytes);
    };
    holds(Vec::new(), 0);
    holds(initial(5), 5);
    holds(window_update(1, 5), 10);
    // From 5 to 0: the window is 5 below nothing.
    holds(initial(0), 10);
    holds(window_update(1, 5), 10);
    holds(window_update(1, 2), 12);
    holds(initial(1), 13);
    holds(initial(100), 21);
    assert_eq!(peer.outcome(1).answer().body, b"a body of some length");
}

#[test]
fn all_answers_together_are_never_larger_than_the_connections_window() {
    let stage = Stage::new();
    let mut peer = Peer::connect_with(stage.gateway().address(), &[(INITIAL_WINDOW_SIZE, 1 << 20)]);
    let whole = 65_535;
    let each = 21;
    let streams: Vec<u32> = (0..whole / each + 40).map(|_| peer.new_stream()).collect();
    for some in streams.chunks(40) {
        for stream in some {
            peer.send(good(*stream));
        }
        let last = some.last().unwrap().div_ceil(2) as usize;
        while peer.body_bytes() < whole.min(last * each) {
            assert!(peer.step());
        }
    }
    peer.barrier();
    assert_eq!(peer.body_bytes(), whole);
    peer.send(window_update(0, 1 << 20));
    for stream in streams {
        assert_eq!(peer.outcome(stream).answer().body.len(), each);
    }
}

#[test]
fn a_body_is_never_larger_than_its_window() {
    let (stage, mut peer) = Full::new();
    // Nobody reads it yet, so nothing makes room again.
    let stream = peer.new_stream();
    let body: Vec<u8> = (0..4).flat_map(|_| data(stream, 0, [0; 16_384])).collect();
    peer.send([Request::post(GOOD).head(stream), body].concat());
    peer.barrier();
    assert_eq!(peer.heard(stream).reset, None);
    peer.send(data(stream, END_STREAM, [0]));
    assert_eq!(peer.outcome(stream).reset(), FLOW_CONTROL_ERROR);
    stage.release();
    assert_eq!(peer.ask(&Request::get(GOOD)).answer().status, 200);
}

#[test]
fn bodies_that_nobody_reads_yet_hold_up_no_others() {
    let (stage, mut peer) = Full::new();
    let before_kib = stage.gateway.rss_kib();
    let window = |stream| {
        let body: Vec<u8> = (0..4).flat_map(|_| data(stream, 0, [0; 16_384])).collect();
        [Request::post(GOOD).head(stream), body].concat()
    };
    // One stream of a hundred is waited for by the upstream, one is left for the others.
    let unread: Vec<u32> = (0..98).map(|_| peer.new_stream()).collect();
    for stream in &unread {
        peer.send(window(*stream));
    }
    peer.barrier();
    let grown_kib = stage.gateway.rss_kib().saturating_sub(before_kib);
    assert!(grown_kib < 20 * 1024, "{grown_kib} KiB for 98 bodies of 64 KiB");
    for _ in 0..3 {
        let other = peer.new_stream();
        peer.send(
            [Request::post("/other").head(other), data(other, END_STREAM, [1; 10_000])].concat(),
        );
        assert_eq!(peer.outcome(other).answer().status, 200);
    }
    stage.release();
    for stream in &unread {
        peer.send(data(*stream, END_STREAM, []));
        assert_eq!(peer.outcome(*stream).answer().status, 200);
    }
}
