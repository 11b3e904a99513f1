//! Requests: their fields, pseudo-fields and lengths; what is malformed never goes up (RFC 9113, 8).

use crate::http2::case::Expect::{Closed, ConnectionAs, GoesOn, Malformed, Status};
use crate::http2::case::{BAD, Case, GOOD, Stage, bad, case, part};
use crate::support::h2::frames::{
    CANCEL, END_HEADERS, END_STREAM, HOST, PROTOCOL_ERROR, Request, data, headers, reset,
};
use crate::support::h2::hpack::literal;

/// A request without a body that is malformed.
fn wrong(section: &'static str, what: &'static str, request: &Request) -> Case {
    case(section, what, Malformed, request.whole(1))
}

/// One for which h2 ends the connection, as it cannot be read.
fn unreadable(section: &'static str, what: &'static str, request: &Request) -> Case {
    case(section, what, ConnectionAs(PROTOCOL_ERROR, PROTOCOL_ERROR), request.whole(1))
}

/// A good one.
fn fine(section: &'static str, what: &'static str, request: &Request) -> Case {
    case(section, what, Status(200), request.whole(1))
}

fn good() -> Request {
    Request::get(GOOD)
}

#[test]
fn a_request_has_each_pseudo_field_once_and_first() {
    let first = |name: &str, value: &str| {
        let block = [literal(name, value), bad().block()].concat();
        headers(1, END_HEADERS | END_STREAM, block)
    };
    let late = |name: &str| {
        let value = if name == ":path" { BAD } else { "GET" };
        bad().without(name).with("x-a", "1").with(name, value)
    };
    Stage::new().play(&[
        wrong("8.3.1", "no :method", &bad().without(":method")),
        wrong("8.3.1", "no :scheme", &bad().without(":scheme")),
        wrong("8.3.1", "no :path", &good().without(":path")),
        wrong("8.3.1", "neither :authority nor host", &bad().without(":authority")),
        case("8.3", "two :method", Malformed, first(":method", "GET")),
        case("8.3", "two :scheme", Malformed, first(":scheme", "http")),
        case("8.3", "two :path", Malformed, first(":path", BAD)),
        case("8.3", "two :authority", Malformed, first(":authority", HOST)),
        wrong("8.3", ":method behind a field", &late(":method")),
        wrong("8.3", ":path behind a field", &late(":path")),
        wrong(
            "8.3",
            ":authority behind a field",
            &bad().without(":authority").with("x-a", "1").with(":authority", HOST),
        ),
        unreadable("8.3", "an unknown one", &bad().with(":version", "HTTP/2.0")),
        unreadable("8.3", "one without a name", &bad().with(":", "1")),
        unreadable("8.3", "one in capitals", &bad().without(":path").with(":Path", BAD)),
        wrong("8.3", "one of answers", &bad().with(":status", "200")),
        wrong("RFC 8441, 4", ":protocol with GET", &bad().with(":protocol", "websocket")),
        wrong("RFC 8441, 4", ":protocol that was not offered", &{
            bad().set(":method", "CONNECT").with(":protocol", "websocket")
        }),
        fine("8.3.1", "host alone", &good().without(":authority").with("host", HOST)),
        fine("8.3.1", "both", &good().with("host", HOST)),
    ]);
}

#[test]
fn a_target_is_a_host_and_a_path() {
    let path = |it: &str| bad().set(":path", it);
    let authority = |it: &str| bad().set(":authority", it);
    let scheme = |it: &str| bad().set(":scheme", it);
    Stage::new().play(&[
        wrong("8.3.1", "an empty :path", &path("")),
        wrong("8.3.1", ":path without a slash", &path("bad")),
        wrong("8.3.1", ":path that is a query", &path("?bad")),
        fine("8.3.1", "a fragment, which goes no further", &good().set(":path", "/good#/bad")),
        wrong("8.3.1", ":path that is a URI", &path("http://api.example.com/bad")),
        wrong("8.3.1", ":path that is a host", &path("api.example.com/bad")),
        wrong("8.3.1", "* with GET", &path("*")),
        wrong("8.3.1", "a space in :path", &path("/bad HTTP/1.1")),
        wrong("8.3.1", "a tab in :path", &path("/bad\tx")),
        wrong("8.3.1", "a line's end in :path", &path("/bad\r\nx: y")),
        wrong("8.3.1", "NUL in :path", &path("/bad\0")),
        wrong("8.3.1", "DEL in :path", &path("/bad\x7f")),
        wrong("8.3.1", "an empty :authority", &authority("")),
        wrong("8.3.1", "user info in :authority", &authority("me@api.example.com")),
        wrong("8.3.1", "a path in :authority", &authority("api.example.com/bad")),
        wrong("8.3.1", "two hosts in :authority", &authority("a, b")),
        wrong("8.3.1", "a space in :authority", &authority("a b")),
        wrong("8.3.1", "a line's end in :authority", &authority("a\r\nx: y")),
        wrong("8.3.1", "a port that is none", &authority("a:99999")),
        wrong("8.3.1", "host and :authority that differ", &bad().with("host", "evil.example.com")),
        wrong("8.3.1", "a port in one of them", &bad().with("host", "api.example.com:81")),
        wrong("8.3.1", "two host fields", &bad().with("host", HOST).with("host", HOST)),
        wrong("8.3.1", "an empty host field", &bad().with("host", "")),
        wrong("8.3.1", "a scheme that is none", &scheme("ht tp")),
        wrong("8.3.1", "a scheme with a path", &scheme("http://evil/")),
        wrong("8.3.1", "a scheme that we do not speak", &scheme("ftp")),
        wrong("8.3.1", "an empty :scheme", &scheme("")),
        wrong("8.3.1", "a line's end in :scheme", &scheme("http\r\n")),
        fine("8.3.1", "https by way of a proxy", &good().set(":scheme", "https")),
        fine("8.3.1", "a port in both", &{ good().set(":authority", "a:81").with("host", "a:81") }),
    ]);
}

#[test]
fn a_method_is_a_word() {
    let method = |it: &str| bad().set(":method", it);
    let connect = || Request::get(BAD).set(":method", "CONNECT");
    Stage::new().play(&[
        unreadable("RFC 9110, 9.1", "an empty method", &method("")),
        unreadable("RFC 9110, 9.1", "a space in it", &method("GET /x HTTP/1.1")),
        unreadable("RFC 9110, 9.1", "a line's end in it", &method("GET\r\n")),
        unreadable("RFC 9110, 9.1", "NUL in it", &method("GET\0")),
        wrong("8.5", "CONNECT with a path", &connect()),
        case("RFC 9110, 9.3.8", "TRACE", Status(405), method("TRACE").whole(1)),
        fine("RFC 9110, 9.1", "a method that nobody knows", &good().set(":method", "BREW")),
        case("8.5", "CONNECT", Status(405), {
            connect().without(":path").without(":scheme").whole(1)
        }),
    ]);
}

#[test]
fn nothing_of_a_connection_stands_in_a_head() {
    let with = |name: &str, value: &str| bad().with(name, value);
    Stage::new().play(&[
        wrong("8.2.2", "connection", &with("connection", "close")),
        wrong("8.2.2", "connection: te", &with("connection", "te").with("te", "trailers")),
        wrong("8.2.2", "keep-alive", &with("keep-alive", "timeout=5")),
        wrong("8.2.2", "proxy-connection", &with("proxy-connection", "keep-alive")),
        wrong("8.2.2", "transfer-encoding", &with("transfer-encoding", "chunked")),
        wrong("8.2.2", "transfer-encoding: identity", &with("transfer-encoding", "identity")),
        wrong("8.2.2", "transfer-encoding, empty", &with("transfer-encoding", "")),
        wrong("8.2.2", "upgrade", &with("upgrade", "h2c")),
        wrong("8.2.2", "te: gzip", &with("te", "gzip")),
        wrong("8.2.2", "te: trailers, gzip", &with("te", "trailers, gzip")),
        wrong("8.2.2", "te, empty", &with("te", "")),
        fine("8.2.2", "te: trailers", &good().with("te", "trailers")),
        fine(
            "8.2.2",
            "http2-settings, which goes no further",
            &good().with("http2-settings", "AAMAAABkAAQAAP__"),
        ),
    ]);
}

#[test]
fn names_and_values_have_no_letters_that_end_them() {
    let value = |it: &[u8]| bad().with("x-a", it);
    let name = |it: &str| bad().with(it, "1");
    Stage::new().play(&[
        unreadable("8.2.1", "a capital in a name", &name("X-a")),
        unreadable("8.2.1", "a capital at its end", &name("x-A")),
        unreadable("8.2.1", "a space in a name", &name("x a")),
        unreadable("8.2.1", "a colon in a name", &name("x:a")),
        unreadable("8.2.1", "a line's end in a name", &name("x\r\na: b\r\nc")),
        unreadable("8.2.1", "NUL in a name", &name("x\0")),
        unreadable("8.2.1", "DEL in a name", &name("x\x7f")),
        unreadable("8.2.1", "a byte beyond ASCII in a name", &name("x\u{e9}")),
        unreadable("8.2.1", "a field without a name", &name("")),
        unreadable("8.2.1", "a line's end in a value", &value(b"1\r\nx-b: 2")),
        unreadable("8.2.1", "a bare LF", &value(b"1\nx-b: 2")),
        unreadable("8.2.1", "a bare CR", &value(b"1\rx-b: 2")),
        unreadable("8.2.1", "NUL in a value", &value(b"1\0")),
        wrong("8.2.1", "a space before a value", &value(b" 1")),
        wrong("8.2.1", "a space behind a value", &value(b"1 ")),
        wrong("8.2.1", "a tab before a value", &value(b"\t1")),
        wrong("8.2.1", "a tab behind a value", &value(b"1\t")),
        wrong("8.2.1", "a space before the host", &bad().with("host", " api.example.com")),
        wrong("8.2.1", "a space before a key", &bad().with("api-key", " kw_1")),
        fine("8.2.1", "a space within a value", &good().with("x-a", "1 2")),
        fine("8.2.1", "an empty value", &good().with("x-a", "")),
        fine("RFC 9110, 5.5", "bytes beyond ASCII in a value", &good().with("x-a", [0xe9, 0xff])),
    ]);
}

/// A request whose body comes in parts.
fn sent(request: &Request, body: &[&str]) -> Vec<u8> {
    let (last, others) = body.split_last().unwrap();
    let others: Vec<u8> = others.iter().flat_map(|it| data(1, 0, it)).collect();
    [request.head(1), others, data(1, END_STREAM, last)].concat()
}

/// A request with a body and trailers.
fn trailed(request: &Request, body: &str) -> Vec<u8> {
    let trailers = headers(1, END_HEADERS | END_STREAM, literal("x-sum", "1"));
    [request.head(1), data(1, 0, body), trailers].concat()
}

#[test]
fn a_length_is_a_number_and_stands_there_once() {
    let sent = |lengths: &[&str]| {
        let head = lengths.iter().fold(bad(), |it, length| it.with("content-length", length));
        sent(&head, &["abc"])
    };
    Stage::new().play(&[
        case("8.1.1", "two lengths", Malformed, sent(&["3", "4"])),
        case("8.1.1", "one length twice", Malformed, sent(&["3", "3"])),
        case("8.1.1", "a list of lengths", Malformed, sent(&["3, 3"])),
        case("8.1.1", "a signed length", Malformed, sent(&["+3"])),
        case("8.1.1", "a negative length", Malformed, sent(&["-3"])),
        case("8.1.1", "a length in hexadecimal", Malformed, sent(&["0x3"])),
        case("8.1.1", "an empty length", Malformed, sent(&[""])),
        case("8.1.1", "a length beyond 64 bits", Malformed, sent(&["18446744073709551619"])),
        case("8.1.1", "a length with spaces", Malformed, sent(&[" 3"])),
    ]);
}

#[test]
fn a_body_is_as_long_as_its_head_says() {
    let length = |it: &str| part().with("content-length", it);
    let said = |it: &str| Request::post(GOOD).with("content-length", it);
    let fine = Status(200);
    Stage::new().play(&[
        case("8.1.1", "shorter", Malformed, sent(&length("5"), &["abc"])),
        case("8.1.1", "longer", Malformed, sent(&length("2"), &["abc"])),
        case("8.1.1", "longer by an empty length", Malformed, sent(&length("0"), &["abc"])),
        case("8.1.1", "shorter, in parts", Malformed, sent(&length("7"), &["abc", "def"])),
        case("8.1.1", "longer, in parts", Malformed, sent(&length("5"), &["abc", "def"])),
        case("8.1.1", "a length without a body", Malformed, length("5").whole(1)),
        case("8.1.1", "shorter, with trailers", Malformed, trailed(&length("5"), "abc")),
        case("8.1.1", "longer, with trailers", Malformed, trailed(&length("2"), "abc")),
        case(
            "8.1.1",
            "a length and nothing more",
            GoesOn,
            [length("5").head(1), reset(1, CANCEL)].concat(),
        ),
        case("8.1.1", "the right length", fine, sent(&said("3"), &["abc"])),
        case("8.1.1", "the right length in parts", fine, sent(&said("6"), &["abc", "", "def", ""])),
        case("8.1.1", "no length", fine, sent(&Request::post(GOOD), &["abc", "def"])),
        case("8.1.1", "leading zeros", fine, sent(&said("0003"), &["abc"])),
        case("8.1.1", "a length of nothing", fine, said("0").whole(1)),
        case("8.1", "the right length, with trailers", fine, trailed(&said("3"), "abc")),
        case("8.1.1", "a GET with a body", fine, sent(&Request::get(GOOD), &["abc"])),
    ]);
}

#[test]
fn trailers_are_fields_like_others_and_their_pseudo_fields_go_no_further() {
    let below = |tail: Vec<u8>, end: u8| {
        [Request::post("/part").head(1), data(1, 0, "abc"), headers(1, END_HEADERS | end, tail)]
            .concat()
    };
    Stage::new().play(&[
        case(
            "8.2.2",
            "connection in trailers",
            Malformed,
            below(literal("connection", "close"), END_STREAM),
        ),
        case(
            "8.2.2",
            "transfer-encoding in trailers",
            Malformed,
            below(literal("transfer-encoding", "chunked"), END_STREAM),
        ),
        case("8.2.1", "a capital in trailers", Closed, below(literal("X-Sum", "1"), END_STREAM)),
        case(
            "8.2.1",
            "a line's end in trailers",
            Closed,
            below(literal("x-sum", "1\r\nx: y"), END_STREAM),
        ),
        case("8.1", "pseudo-fields in trailers", Status(200), {
            let tail = [literal(":path", BAD), literal(":method", "GET")].concat();
            [Request::post(GOOD).head(1), headers(1, END_HEADERS | END_STREAM, tail)].concat()
        }),
        case("8.1", "trailers that do not end it", Malformed, below(literal("x-sum", "1"), 0)),
    ]);
}
