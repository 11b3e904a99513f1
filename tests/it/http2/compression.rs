//! Header compression: whatever cannot be decompressed ends the connection (RFC 7541; RFC 9113, 4.3).

use crate::http2::case::Expect::{ConnectionAs, Status};
use crate::http2::case::{Case, Stage, bad, case};
use crate::support::h2::frames::{
    COMPRESSION_ERROR, END_HEADERS, END_STREAM, PROTOCOL_ERROR, Request, headers,
};
use crate::support::h2::hpack::{indexed_literal, integer, literal, string};
use crate::support::h2::peer::{End, Peer};

/// A request whose head ends so.
fn ending(section: &'static str, what: &'static str, tail: impl AsRef<[u8]>) -> Case {
    let block = [bad().block(), tail.as_ref().to_vec()].concat();
    let wrong = ConnectionAs(PROTOCOL_ERROR, COMPRESSION_ERROR);
    case(section, what, wrong, headers(1, END_HEADERS | END_STREAM, block))
}

/// A request whose head begins so.
fn beginning(section: &'static str, what: &'static str, first: impl AsRef<[u8]>) -> Case {
    let block = [first.as_ref(), &Request::get("/good").block()].concat();
    case(section, what, Status(200), headers(1, END_HEADERS | END_STREAM, block))
}

fn field(name: Vec<u8>, value: Vec<u8>) -> Vec<u8> {
    [vec![0], name, value].concat()
}

/// A string that says it is compressed.
fn huffman(bytes: &[u8]) -> Vec<u8> {
    [integer(0x80, 7, bytes.len()), bytes.to_vec()].concat()
}

#[test]
fn what_cannot_be_decompressed_ends_the_connection() {
    let name = || string("x-a");
    Stage::new().play(&[
        ending("RFC 7541, 6.1", "index 0", [0x80]),
        ending("RFC 7541, 2.3.3", "an index beyond both tables", [0xbe]),
        ending("RFC 7541, 2.3.3", "an index far beyond both tables", integer(0x80, 7, 5_000)),
        ending(
            "RFC 7541, 6.2.1",
            "a name beyond both tables",
            [&[0x7e][..], &string("1")].concat(),
        ),
        ending(
            "RFC 7541, 6.2.2",
            "the same, not indexed",
            [vec![0x0f, 0x70], string("1")].concat(),
        ),
        ending(
            "RFC 7541, 6.2.3",
            "the same, never indexed",
            [vec![0x1f, 0x70], string("1")].concat(),
        ),
        ending("RFC 7541, 4.2", "a size update behind a field", [0x20]),
        ending("RFC 7541, 5.1", "an integer that overflows", [vec![0xff; 11], vec![0x7f]].concat()),
        ending(
            "RFC 7541, 5.1",
            "a length that overflows",
            field(vec![0x7f, 0xff, 0xff, 0xff, 0xff, 0x7f], vec![]),
        ),
        ending("RFC 7541, 5.2", "padding of zeros", field(name(), huffman(&[0b0001_1000]))),
        ending(
            "RFC 7541, 5.2",
            "padding of more than 7 bits",
            field(name(), huffman(&[0x1f, 0xff])),
        ),
        ending("RFC 7541, 5.2", "padding alone, of a byte", field(name(), huffman(&[0xff]))),
        ending(
            "RFC 7541, 5.2",
            "the end of the string in it",
            field(name(), huffman(&[0xff, 0xff, 0xff, 0xff])),
        ),
        ending(
            "RFC 7541, 5.2",
            "the same in a name",
            field(huffman(&[0xff, 0xff, 0xff, 0xfc]), string("1")),
        ),
        ending("RFC 7541, 5.2", "a string that is cut off", field(name(), vec![10, b'a'])),
        ending("RFC 7541, 5.2", "a length that is cut off", field(name(), vec![0x7f])),
        ending("RFC 7541, 6.2.2", "a field without a value", [vec![0], name()].concat()),
        ending("RFC 7541, 6.2.2", "a field without a name", [0]),
        ending("RFC 7541, 6.1", "an index that is cut off", [0xff]),
    ]);
}

#[test]
fn the_table_is_never_larger_than_was_agreed() {
    let block = |first: Vec<u8>| [first, bad().block()].concat();
    let wrong = ConnectionAs(PROTOCOL_ERROR, COMPRESSION_ERROR);
    let whole = END_HEADERS | END_STREAM;
    let size = |it| integer(0x20, 5, it);
    Stage::new().play(&[
        case(
            "RFC 7541, 4.2",
            "a table of 4,097 bytes",
            wrong,
            headers(1, whole, block(size(4097))),
        ),
        case("RFC 7541, 4.2", "a table of 1 MiB", wrong, headers(1, whole, block(size(1 << 20)))),
        case("RFC 7541, 6.3", "a size that is cut off", wrong, headers(1, whole, [0x3f])),
        beginning("RFC 7541, 4.2", "a table of 4,096 bytes", size(4096)),
        beginning("RFC 7541, 4.2", "a table of none, and then some", [size(0), size(100)].concat()),
        beginning("RFC 7541, 4.2", "a table of none", size(0)),
    ]);
}

#[test]
fn every_way_to_write_a_field_is_read() {
    let path = |bytes: Vec<u8>| {
        let others = Request::get("/good").without(":path").block();
        headers(1, END_HEADERS | END_STREAM, [others, bytes].concat())
    };
    let fine = Status(200);
    Stage::new().play(&[
        case("RFC 7541, 6.1", "an index", fine, path(vec![0x84])),
        case(
            "RFC 7541, 6.2.1",
            "an indexed name",
            fine,
            path([&[0x44][..], &string("/good")].concat()),
        ),
        case(
            "RFC 7541, 6.2.2",
            "the same, not added",
            fine,
            path([&[0x04][..], &string("/good")].concat()),
        ),
        case(
            "RFC 7541, 6.2.3",
            "the same, never added",
            fine,
            path([&[0x14][..], &string("/good")].concat()),
        ),
        case("RFC 7541, 6.2.1", "a new name", fine, path(indexed_literal(":path", "/good"))),
        case(
            "RFC 7541, 5.2",
            "a compressed value",
            fine,
            path([vec![0x04], huffman(&[0x63])].concat()),
        ),
        beginning("RFC 7541, 5.1", "an integer longer than it must be", []),
    ]);
}

#[test]
fn a_table_is_kept_from_head_to_head() {
    let stage = Stage::new();
    let mut peer = Peer::connect(stage.gateway().address());
    let whole = END_HEADERS | END_STREAM;
    let first = [Request::get("/good").block(), indexed_literal("x-a", "1")].concat();
    peer.send(headers(1, whole, &first));
    assert_eq!(peer.outcome(1).answer().status, 200);
    // The newest field is index 62. It was added by a head that is refused, too.
    let refused = [literal(":path", "/bad"), indexed_literal("x-b", "2")].concat();
    peer.send(headers(3, whole, &refused));
    assert_eq!(peer.outcome(3).reset(), PROTOCOL_ERROR);
    peer.send(headers(5, whole, [Request::get("/good").block(), vec![0xbe, 0xbf]].concat()));
    assert_eq!(peer.outcome(5).answer().status, 200);
    let last = stage.upstream().last();
    assert_eq!((last.header("x-b"), last.header("x-a")), (Some("2"), Some("1")));
    // What no longer fits is forgotten.
    let large = indexed_literal("x-c", "c".repeat(4050));
    peer.send(headers(7, whole, [Request::get("/good").block(), large, vec![0xbf]].concat()));
    assert_eq!(peer.until_end(), End::GoAway(PROTOCOL_ERROR));
}
