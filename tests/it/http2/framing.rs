//! Frames by themselves: their order, sizes, padding, and the settings (RFC 9113, 3 to 6).

use crate::http2::case::Expect::{
    Closed, Connection, ConnectionAs, GoesOn, Malformed, Status, Stream,
};
use crate::http2::case::{Stage, bad, begin, case, good, opening, part};
use crate::support::h2::frames::{
    ACK, CONTINUATION, DATA, ENABLE_PUSH, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR, GOAWAY, HEADER_TABLE_SIZE, HEADERS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE,
    NO_ERROR, PADDED, PING, PREFACE, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, RST_STREAM, Request,
    SETTINGS, WINDOW_UPDATE, WITH_PRIORITY, continuation, data, frame, go_away, header, headers,
    ping, priority, settings,
};
use crate::support::h2::hpack::literal;
use crate::support::h2::peer::{End, Peer};

#[test]
fn a_connection_begins_with_a_preface_and_settings() {
    let mut broken = PREFACE.to_vec();
    broken[20] = b'X';
    Stage::new().play(&[
        opening("3.4", "another preface", Closed, &broken),
        opening("3.4", "another version", Closed, b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n"),
        opening("3.4", "a PING first", Closed, [PREFACE, &ping(1), &bad().whole(1)].concat()),
        opening("3.4", "a request first", Closed, [PREFACE, &bad().whole(1)].concat()),
        opening(
            "3.4",
            "an acknowledgement first",
            Closed,
            [PREFACE, &frame(SETTINGS, ACK, 0, []), &bad().whole(1)].concat(),
        ),
        opening("3.4", "an unknown frame first", Closed, [PREFACE, &frame(99, 0, 0, [])].concat()),
        opening("3.4", "a request with the preface", Status(200), begin(good(1))),
        opening(
            "3.4",
            "settings that are wrong at once",
            Connection(&[FRAME_SIZE_ERROR]),
            [PREFACE, &frame(SETTINGS, 0, 0, [0; 5])].concat(),
        ),
    ]);
}

#[test]
fn what_nobody_knows_is_ignored() {
    let reserved = |mut frame: Vec<u8>| {
        frame[5] |= 0x80;
        frame
    };
    let all_flags = |mut frame: Vec<u8>, spare: u8| {
        frame[4] |= spare;
        frame
    };
    Stage::new().play(&[
        case("4.1", "an unknown type", GoesOn, frame(0x16, 0, 0, [1; 8])),
        case("4.1", "an unknown type, empty", GoesOn, frame(0xff, 0xff, 0, [])),
        case("4.1", "an unknown type on an idle stream", GoesOn, frame(0x16, 0xff, 7, [1; 100])),
        case("5.5", "a largest unknown frame", GoesOn, frame(0x16, 0, 0, [0; 16_384])),
        case("4.1", "a reserved bit in PING", GoesOn, reserved(ping(1))),
        case("4.1", "a reserved bit in HEADERS", Status(200), reserved(good(1))),
        case("4.1", "unknown flags of HEADERS", Status(200), all_flags(good(1), 0xd2)),
        case("4.1", "unknown flags of PING", GoesOn, frame(PING, 0xfe, 0, [0; 8])),
        case("4.1", "unknown flags of SETTINGS", GoesOn, frame(SETTINGS, 0xfe, 0, [])),
        case("4.1", "unknown flags of WINDOW_UPDATE", GoesOn, frame(8, 0xff, 0, [0, 0, 0, 1])),
        case("6.5.2", "an unknown setting", GoesOn, settings(&[(0xff, 0xffff_ffff), (0, 1)])),
        case(
            "4.1",
            "unknown flags of DATA",
            Status(200),
            [Request::post("/good").head(1), data(1, 0xf7, "abc")].concat(),
        ),
        case("6.7", "a PING that answers none", GoesOn, frame(PING, ACK, 0, [7; 8])),
    ]);
}

fn too_large(kind: u8, stream: u32) -> Vec<u8> {
    [header(16_385, kind, 0, stream), vec![0; 16_385]].concat()
}

#[test]
fn a_frame_of_a_wrong_size_ends_the_connection() {
    let wrong = Connection(&[FRAME_SIZE_ERROR]);
    let sized = |kind, stream, size: usize| frame(kind, 0, stream, vec![0; size]);
    let mut cases = vec![
        case("4.2", "DATA beyond our SETTINGS_MAX_FRAME_SIZE", wrong, {
            [part().head(1), too_large(DATA, 1)].concat()
        }),
        case("4.2", "HEADERS beyond it", wrong, too_large(HEADERS, 1)),
        case("4.2", "SETTINGS beyond it", wrong, too_large(SETTINGS, 0)),
        case("4.2", "an unknown frame beyond it", wrong, too_large(99, 0)),
        case("4.2", "a frame as large as can be said", wrong, header(0xff_ffff, DATA, 0, 1)),
        case("6.5", "an acknowledgement with settings", wrong, frame(SETTINGS, ACK, 0, [0; 6])),
    ];
    for size in [0, 4, 7, 9, 16] {
        cases.push(case("6.7", "PING not of 8 bytes", wrong, sized(PING, 0, size)));
    }
    for size in [1, 5, 7, 13] {
        cases.push(case("6.5", "SETTINGS not of sixes", wrong, sized(SETTINGS, 0, size)));
    }
    for size in [0, 3, 5, 8] {
        cases.push(case(
            "6.9",
            "WINDOW_UPDATE not of 4 bytes",
            wrong,
            sized(WINDOW_UPDATE, 0, size),
        ));
        let update = [part().head(1), sized(WINDOW_UPDATE, 1, size)].concat();
        cases.push(case("6.9", "the same on a stream", wrong, update));
        let reset = [part().head(1), sized(RST_STREAM, 1, size)].concat();
        cases.push(case("6.4", "RST_STREAM not of 4 bytes", wrong, reset));
    }
    for size in [0, 4, 6] {
        // A stream's error, that may be the connection's: 5.4.2.
        let priority = [part().head(1), sized(PRIORITY, 1, size)].concat();
        cases.push(case("6.3", "PRIORITY not of 5 bytes", wrong, priority));
    }
    for size in [0, 7] {
        cases.push(case("6.8", "GOAWAY below 8 bytes", wrong, sized(GOAWAY, 0, size)));
    }
    Stage::new().play(&cases);
}

#[test]
fn a_frame_of_a_wrong_size_is_found_however_it_arrives() {
    let stage = Stage::new();
    let wrong = frame(PING, 0, 0, [0; 4]);
    for place in 1..wrong.len() {
        let mut peer = Peer::connect(stage.gateway().address());
        peer.send(&wrong[..place]);
        std::thread::sleep(std::time::Duration::from_millis(5));
        drop(peer.try_send(&wrong[place..]));
        let end = peer.until_end();
        assert!(matches!(end, End::GoAway(_)), "{place}: {end:?}");
    }
}

#[test]
fn frames_stand_on_the_streams_they_are_for() {
    let wrong = Connection(&[PROTOCOL_ERROR]);
    let block = bad().block();
    Stage::new().play(&[
        case("6.1", "DATA on stream 0", wrong, data(0, 0, "abc")),
        case("6.2", "HEADERS on stream 0", wrong, headers(0, END_HEADERS | END_STREAM, &block)),
        case("6.3", "PRIORITY on stream 0", wrong, priority(0, 3)),
        case("6.4", "RST_STREAM on stream 0", wrong, frame(RST_STREAM, 0, 0, [0; 4])),
        case("6.5", "SETTINGS on a stream", wrong, frame(SETTINGS, 0, 1, [])),
        case("6.5", "an acknowledgement on a stream", wrong, frame(SETTINGS, ACK, 1, [])),
        case("6.7", "PING on a stream", wrong, frame(PING, 0, 1, [0; 8])),
        case("6.8", "GOAWAY on a stream", wrong, frame(GOAWAY, 0, 1, [0; 8])),
        case("6.10", "CONTINUATION on stream 0", wrong, continuation(0, END_HEADERS, &block)),
        case("8.4", "PUSH_PROMISE of a client", wrong, {
            let promise = [vec![0, 0, 0, 2], block.clone()].concat();
            [good(1), frame(PUSH_PROMISE, END_HEADERS, 1, promise)].concat()
        }),
        case("6.6", "PUSH_PROMISE on stream 0", wrong, {
            frame(PUSH_PROMISE, END_HEADERS, 0, [vec![0, 0, 0, 2], block].concat())
        }),
    ]);
}

#[test]
fn settings_are_within_their_bounds() {
    let wrong = Connection(&[PROTOCOL_ERROR]);
    let one = |name, value| settings(&[(name, value)]);
    let flow = ConnectionAs(PROTOCOL_ERROR, FLOW_CONTROL_ERROR);
    Stage::new().play(&[
        case("6.5.2", "SETTINGS_ENABLE_PUSH of 2", wrong, one(ENABLE_PUSH, 2)),
        case("6.5.2", "the same, of 1", GoesOn, one(ENABLE_PUSH, 1)),
        case("6.5.2", "SETTINGS_INITIAL_WINDOW_SIZE of 2^31", flow, one(4, 0x8000_0000)),
        case("6.5.2", "the same, as large as can be", flow, one(4, 0xffff_ffff)),
        case("6.5.2", "the same, of 2^31 - 1", GoesOn, one(INITIAL_WINDOW_SIZE, 0x7fff_ffff)),
        case("6.5.2", "SETTINGS_MAX_FRAME_SIZE of 16,383", wrong, one(MAX_FRAME_SIZE, 16_383)),
        case("6.5.2", "the same, of 0", wrong, one(MAX_FRAME_SIZE, 0)),
        case("6.5.2", "the same, of 2^24", wrong, one(MAX_FRAME_SIZE, 1 << 24)),
        case("6.5.2", "the same, of 2^24 - 1", GoesOn, one(MAX_FRAME_SIZE, (1 << 24) - 1)),
        case("6.5.2", "SETTINGS_HEADER_TABLE_SIZE of 0", GoesOn, one(HEADER_TABLE_SIZE, 0)),
        case("6.5.2", "the same, as large as can be", GoesOn, one(HEADER_TABLE_SIZE, u32::MAX)),
        case("6.5.3", "in order, the last counts", GoesOn, {
            settings(&[(INITIAL_WINDOW_SIZE, 0), (INITIAL_WINDOW_SIZE, 65_535)])
        }),
    ]);
}

#[test]
fn settings_and_pings_are_answered_each() {
    let stage = Stage::new();
    let mut peer = Peer::connect(stage.gateway().address());
    for number in 0..20 {
        peer.send([ping(number << 40 | 7), settings(&[])].concat());
    }
    while peer.others().len() < 40 {
        assert!(peer.step());
    }
    let of = |kind| peer.others().iter().filter(move |it| it.kind == kind);
    assert!(of(SETTINGS).chain(of(PING)).all(|it| it.has(ACK) && it.stream == 0));
    assert_eq!(of(SETTINGS).filter(|it| it.payload.is_empty()).count(), 20);
    let numbers: Vec<Vec<u8>> = of(PING).map(|it| it.payload.clone()).collect();
    let sent: Vec<Vec<u8>> = (0_u64..20).map(|it| (it << 40 | 7).to_be_bytes().to_vec()).collect();
    assert_eq!(numbers, sent);
}

#[test]
fn a_client_that_says_goodbye_gets_what_it_asked_for() {
    let stage = Stage::new();
    let mut peer = Peer::connect(stage.gateway().address());
    peer.send([good(1), go_away(0, 0)].concat());
    assert_eq!(peer.outcome(1).answer().status, 200);
    assert_eq!(peer.until_end(), End::GoAway(NO_ERROR));
}

#[test]
fn padding_is_within_its_frame() {
    let wrong = Connection(&[PROTOCOL_ERROR]);
    let padded =
        |length: u8, block: &[u8], zeros: usize| [&[length][..], block, &vec![0; zeros]].concat();
    let all = END_HEADERS | END_STREAM;
    let (block, post) = (Request::get("/good").block(), Request::post("/good"));
    let weighed = [&[0, 0, 0, 0, 15][..], &block].concat();
    Stage::new().play(&[
        case("6.1", "DATA padded as long as it is", wrong, {
            [part().head(1), data(1, PADDED | END_STREAM, padded(4, b"abc", 0))].concat()
        }),
        case("6.1", "DATA padded longer than it is", wrong, {
            [part().head(1), data(1, PADDED | END_STREAM, padded(200, b"abc", 3))].concat()
        }),
        case(
            "6.1",
            "padded DATA without a length",
            Connection(&[PROTOCOL_ERROR, FRAME_SIZE_ERROR]),
            [part().head(1), data(1, PADDED | END_STREAM, [])].concat(),
        ),
        case("6.1", "DATA of padding alone", Status(200), {
            [post.head(1), data(1, PADDED | END_STREAM, padded(5, b"", 5))].concat()
        }),
        case("6.1", "DATA with the longest padding", Status(200), {
            [post.head(1), data(1, PADDED | END_STREAM, padded(255, b"abc", 255))].concat()
        }),
        case("6.1", "DATA padded by nothing", Status(200), {
            [post.head(1), data(1, PADDED | END_STREAM, padded(0, b"abc", 0))].concat()
        }),
        case("6.2", "HEADERS padded longer than they are", wrong, {
            headers(1, all | PADDED, padded(250, &bad().block(), 0))
        }),
        case("6.2", "HEADERS padded as long as they are", wrong, {
            headers(1, all | PADDED, padded(9, &[0; 8], 0))
        }),
        case("6.2", "padded HEADERS", Status(200), headers(1, all | PADDED, padded(9, &block, 9))),
        case(
            "6.2",
            "HEADERS with a weight",
            Status(200),
            headers(1, all | WITH_PRIORITY, &weighed),
        ),
        case("6.2", "padded HEADERS with a weight", Status(200), {
            headers(1, all | PADDED | WITH_PRIORITY, padded(7, &weighed, 7))
        }),
        case(
            "6.2",
            "HEADERS too short for their weight",
            Connection(&[PROTOCOL_ERROR, FRAME_SIZE_ERROR]),
            headers(1, all | WITH_PRIORITY, [0; 4]),
        ),
        case("RFC 7540, 5.3.1", "HEADERS that depend on themselves", Stream(&[PROTOCOL_ERROR]), {
            headers(1, all | WITH_PRIORITY, [&[0, 0, 0, 1, 15][..], &bad().block()].concat())
        }),
        case("RFC 7540, 5.3.1", "PRIORITY that depends on itself", Stream(&[PROTOCOL_ERROR]), {
            [part().head(1), priority(1, 1)].concat()
        }),
        case("5.3.2", "PRIORITY on an idle stream", GoesOn, priority(7, 3)),
        case(
            "5.3.2",
            "PRIORITY that is exclusive",
            GoesOn,
            frame(PRIORITY, 0, 7, [0x80, 0, 0, 3, 255]),
        ),
    ]);
}

#[test]
fn nothing_comes_between_the_parts_of_a_head() {
    let wrong = Connection(&[PROTOCOL_ERROR]);
    let (block, good_block) = (bad().block(), Request::get("/good").block());
    let (half, rest) = block.split_at(20);
    let begun = || headers(1, END_STREAM, half);
    let between = |it: Vec<u8>| [begun(), it, continuation(1, END_HEADERS, rest)].concat();
    let split = |parts: &[&[u8]]| {
        let (last, others) = parts.split_last().unwrap();
        let others = others.iter().flat_map(|it| continuation(1, 0, it)).collect();
        [headers(1, END_STREAM, []), others, continuation(1, END_HEADERS, last)].concat()
    };
    let (a, b) = good_block.split_at(7);
    let (b, c) = b.split_at(11);
    Stage::new().play(&[
        case("6.10", "a head in parts", Status(200), split(&[a, b, c])),
        case("6.10", "a head in one CONTINUATION", Status(200), split(&[&good_block])),
        case("6.10", "empty CONTINUATION", Status(200), split(&[a, b"", b, c])),
        case("6.10", "a last CONTINUATION that is empty", Status(200), split(&[a, b, c, b""])),
        case("6.10", "DATA between", wrong, between(data(1, 0, "abc"))),
        case("6.10", "PING between", wrong, between(ping(1))),
        case("6.10", "SETTINGS between", wrong, between(settings(&[]))),
        case("6.10", "PRIORITY between", wrong, between(priority(1, 3))),
        case(
            "6.10",
            "WINDOW_UPDATE between",
            wrong,
            between(frame(WINDOW_UPDATE, 0, 0, [0, 0, 0, 1])),
        ),
        case("6.10", "RST_STREAM between", wrong, between(frame(RST_STREAM, 0, 1, [0; 4]))),
        case("6.10", "an unknown frame between", wrong, between(frame(99, 0, 1, []))),
        case("6.10", "another head between", wrong, between(bad().whole(3))),
        case("6.10", "CONTINUATION of another stream", wrong, {
            [begun(), continuation(3, END_HEADERS, rest)].concat()
        }),
        case("6.10", "CONTINUATION without a head", wrong, continuation(1, END_HEADERS, rest)),
        case("6.10", "CONTINUATION after a whole head", wrong, {
            [good(1), continuation(1, END_HEADERS, rest)].concat()
        }),
        case("6.10", "CONTINUATION after DATA", wrong, {
            [part().head(1), data(1, 0, "abc"), continuation(1, END_HEADERS, rest)].concat()
        }),
        case("8.1", "no CONTINUATION after END_STREAM is forgotten", Malformed, {
            let trailers = literal(":path", "/bad");
            [
                Request::post("/part").with("content-length", "5").head(1),
                data(1, 0, "abc"),
                headers(1, END_STREAM, trailers),
                frame(CONTINUATION, END_HEADERS, 1, []),
            ]
            .concat()
        }),
    ]);
}
