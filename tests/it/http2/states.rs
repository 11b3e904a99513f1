//! Streams: in which state what may come on them (RFC 9113, 5.1 and 8.1).

use crate::http2::case::Expect::{Connection, ConnectionAs, GoesOn, Malformed, Status};
use crate::http2::case::{Stage, bad, case, good, part};
use crate::support::h2::frames::{
    CANCEL, END_HEADERS, END_STREAM, PROTOCOL_ERROR, Request, STREAM_CLOSED, data, headers,
    priority, reset, window_update,
};
use crate::support::h2::hpack::literal;
use crate::support::h2::peer::Peer;

#[test]
fn an_idle_stream_begins_with_a_head() {
    let wrong = Connection(&[PROTOCOL_ERROR]);
    Stage::new().play(&[
        case("5.1", "DATA on an idle stream", wrong, data(1, END_STREAM, "abc")),
        case("5.1", "RST_STREAM on an idle stream", wrong, reset(1, CANCEL)),
        case("5.1", "WINDOW_UPDATE on an idle stream", wrong, window_update(1, 1)),
        case("5.1", "the same on one that is far away", wrong, window_update(0x7fff_ffff, 1)),
        case("5.1", "RST_STREAM beyond those in use", wrong, [good(1), reset(3, CANCEL)].concat()),
        case("5.1", "DATA on a stream of ours", wrong, data(2, 0, "abc")),
        case("5.1", "RST_STREAM on a stream of ours", wrong, reset(2, CANCEL)),
        case("5.1", "PRIORITY on an idle stream", GoesOn, priority(9, 0)),
    ]);
}

#[test]
fn the_ids_of_streams_are_odd_and_grow() {
    let wrong = Connection(&[PROTOCOL_ERROR]);
    let closed = Connection(&[PROTOCOL_ERROR, STREAM_CLOSED]);
    Stage::new().play(&[
        case("5.1.1", "an even id", wrong, bad().whole(2)),
        case("5.1.1", "an id below the last", closed, [good(5), bad().whole(3)].concat()),
        case("5.1.1", "ids may be left out", Status(200), [good(1), good(99)].concat()),
        case("5.1.1", "the largest id", Status(200), [good(1), good(999)].concat()),
        case("5.1.1", "an even id later", wrong, [good(1), bad().whole(4)].concat()),
    ]);
}

#[test]
fn nothing_comes_on_a_stream_that_its_client_has_ended() {
    let trailers = || headers(1, END_HEADERS | END_STREAM, literal("x-sum", "1"));
    let sent = |head: Vec<u8>, then: Vec<u8>| [head, then].concat();
    // The answer is not there yet: half-closed.
    let closed = ConnectionAs(PROTOCOL_ERROR, STREAM_CLOSED);
    Stage::new().play(&[
        case("5.1", "DATA after END_STREAM", closed, sent(good(1), data(1, 0, "abc"))),
        case("5.1", "a second head after END_STREAM", closed, sent(good(1), bad().whole(1))),
        case("5.1", "trailers after END_STREAM", closed, sent(good(1), trailers())),
        case("5.1", "WINDOW_UPDATE after END_STREAM", Status(200), {
            sent(good(1), window_update(1, 100))
        }),
        case("5.1", "PRIORITY after END_STREAM", Status(200), sent(good(1), priority(1, 3))),
        case("5.1", "RST_STREAM after END_STREAM", GoesOn, sent(good(1), reset(1, CANCEL))),
        case(
            "5.1",
            "DATA after DATA that ended it",
            ConnectionAs(PROTOCOL_ERROR, STREAM_CLOSED),
            {
                let whole = [Request::post("/good").head(1), data(1, END_STREAM, "abc")];
                sent(whole.concat(), data(1, END_STREAM, "def"))
            },
        ),
    ]);
}

#[test]
fn little_comes_on_a_stream_that_is_closed() {
    let stage = Stage::new();
    let trailers = headers(1, END_HEADERS | END_STREAM, literal("x-sum", "1"));
    // What may have been under way when we answered is borne: 5.1, "closed".
    for (what, late) in [
        ("WINDOW_UPDATE", window_update(1, 100)),
        ("RST_STREAM", reset(1, CANCEL)),
        ("PRIORITY", priority(1, 3)),
    ] {
        let mut peer = Peer::connect(stage.gateway().address());
        let get = Request::get("/good");
        assert_eq!(peer.ask(&get).answer().status, 200);
        peer.send(&late);
        assert_eq!(peer.ask(&get).answer().status, 200, "{what}");
    }
    for (what, late) in
        [("DATA", data(1, END_STREAM, "abc")), ("trailers", trailers), ("a head", bad().whole(1))]
    {
        let mut peer = Peer::connect(stage.gateway().address());
        let get = Request::get("/good");
        assert_eq!(peer.ask(&get).answer().status, 200);
        peer.send(&late);
        drop(peer.try_send(Request::get("/good").whole(3)));
        let outcome = peer.outcome(3);
        let ended = format!("{outcome:?} {:?}", peer.heard(1).reset);
        let is_told = peer.heard(1).reset == Some(STREAM_CLOSED) || ended.contains("GoAway");
        assert!(is_told, "{what}: {ended}");
    }
    stage.play(&[]);
}

#[test]
fn a_message_is_a_head_a_body_and_trailers() {
    let (some, end) = (END_HEADERS, END_HEADERS | END_STREAM);
    let post = |path: &str| Request::post(path).head(1);
    let sum = || literal("x-sum", "1");
    Stage::new().play(&[
        case("8.1", "head, body, trailers", Status(200), {
            [post("/good"), data(1, 0, "abc"), headers(1, end, sum())].concat()
        }),
        case(
            "8.1",
            "head and trailers",
            Status(200),
            [post("/good"), headers(1, end, sum())].concat(),
        ),
        case("8.1", "trailers that do not end it", Malformed, {
            [post("/part"), data(1, 0, "abc"), headers(1, some, sum())].concat()
        }),
        case(
            "8.1",
            "a second head on an open stream",
            Malformed,
            [part().head(1), bad().head(1)].concat(),
        ),
        case("8.1", "DATA after trailers", Connection(&[PROTOCOL_ERROR, STREAM_CLOSED]), {
            let whole = [post("/good"), data(1, 0, "abc"), headers(1, end, sum())].concat();
            [whole, data(1, END_STREAM, "abc")].concat()
        }),
        case("8.1", "RST_STREAM in the middle of a body", GoesOn, {
            [part().head(1), data(1, 0, "abc"), reset(1, CANCEL)].concat()
        }),
    ]);
}
