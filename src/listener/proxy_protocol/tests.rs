//! Claims about which bytes are a PROXY header, and what they say.

use proptest::prelude::*;

use super::*;

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let size = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &size, rest].concat()
}

fn v4_addresses() -> Vec<u8> {
    [&[192, 0, 2, 1, 198, 51, 100, 2][..], &[0xdc, 0x04, 0x01, 0xbb]].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let size = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[kind][..], &size, value].concat()
}

/// A header with its checksum somewhere in the middle.
fn with_checksum() -> Vec<u8> {
    let rest = [v4_addresses(), tlv(4, b"xx"), tlv(CHECKSUM, &[0; 4]), tlv(2, b"name")].concat();
    let mut header = v2(PROXY, TCP_OVER_V4, &rest);
    let at = HEAD_BYTES + 12 + 5 + 3;
    let sum = checksum(&header, at).to_be_bytes();
    header[at..at + 4].copy_from_slice(&sum);
    header
}

#[track_caller]
fn check(header: &[u8], expected: Option<&str>) {
    let source = expected.map(|it| it.parse().unwrap());
    let done = Progress::Done { source, length: header.len() };
    assert_eq!(parse(header), done);
    assert_eq!(parse(&[header, b"GET / HTTP/1.1\r\n"].concat()), done);
    for end in 0..header.len() {
        assert_eq!(parse(&header[..end]), Progress::NeedMore, "{end} bytes of {header:?}");
    }
}

#[track_caller]
fn check_malformed(header: &[u8]) {
    assert_eq!(parse(header), Progress::Malformed, "{:?}", String::from_utf8_lossy(header));
}

#[test]
fn a_line_says_where_a_connection_comes_from() {
    check(b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", Some("192.0.2.1:56324"));
    check(
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        Some("255.255.255.255:65535"),
    );
    check(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 0\r\n", Some("[2001:db8::1]:1"));
    check(b"PROXY UNKNOWN\r\n", None);
    check(b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None);
    let longest = [&b"PROXY UNKNOWN "[..], &[b'x'; LINE_BYTES_MAX - 16], b"\r\n"].concat();
    assert_eq!(longest.len(), 107);
    check(&longest, None);
}

#[test]
fn a_line_is_taken_to_the_letter() {
    let lines = [
        "PROXY\r\n",
        "PROXY \r\n",
        "proxy TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 65536 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 x\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.2 1 2\r\n",
        "PROXY TCP4 192.0.2 198.51.100.2 1 2\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY TCP6 2001:db8::1%1 2001:db8::2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 2001:db8::2 1 2\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "GET / HTTP/1.1\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\n",
    ];
    for line in lines {
        check_malformed(line.as_bytes());
    }
    let endless = [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat();
    assert_eq!(parse(&endless[..106]), Progress::NeedMore);
    check_malformed(&endless[..107]);
    check_malformed(&[&endless[..106], b"\r\n"].concat());
}

#[test]
fn a_binary_header_says_where_a_connection_comes_from() {
    check(&v2(PROXY, TCP_OVER_V4, &v4_addresses()), Some("192.0.2.1:56324"));
    let v6 = [Ipv6Addr::LOCALHOST.octets(), [9; 16]].concat();
    let v6 = [&v6[..], &[0x1f, 0x90, 0, 80]].concat();
    check(&v2(PROXY, TCP_OVER_V6, &v6), Some("[::1]:8080"));
    check(&v2(PROXY, TCP_OVER_V6, &[v6, tlv(1, b"h2")].concat()), Some("[::1]:8080"));
    check(&v2(PROXY, UNIX_STREAM, &[0; UNIX_BYTES]), None);
    check(&v2(PROXY, UNIX_DATAGRAM, &[0; UNIX_BYTES]), None);
    check(&v2(PROXY, UNSPECIFIED, &[]), None);
    check(&v2(PROXY, UNSPECIFIED, &tlv(5, b"id")), None);
}

#[test]
fn a_proxy_that_speaks_for_itself_may_say_what_it_likes() {
    check(&v2(LOCAL, UNSPECIFIED, &[]), None);
    check(&v2(LOCAL, TCP_OVER_V4, &v4_addresses()), None);
    check(&v2(LOCAL, 0xff, b"anything"), None);
}

#[test]
fn a_checksum_that_is_there_is_right() {
    // The value that every table of checksums has for these nine digits.
    assert_eq!(checksum(b"123456789", 9), 0xe306_9283);
    let right = with_checksum();
    check(&right, Some("192.0.2.1:56324"));
    // Under another kind it is no checksum.
    let kind = HEAD_BYTES + 12 + 5;
    for place in (HEAD_BYTES..right.len()).filter(|it| *it != kind) {
        let mut wrong = right.clone();
        wrong[place] ^= 1;
        check_malformed(&wrong);
    }
    let short = [v4_addresses(), tlv(CHECKSUM, &[0; 3])].concat();
    check_malformed(&v2(PROXY, TCP_OVER_V4, &short));
}

#[test]
fn a_binary_header_is_taken_to_the_letter() {
    let addresses = v4_addresses();
    for command in [0x00, 0x11, 0x22, 0x2f, 0x31] {
        check_malformed(&v2(command, TCP_OVER_V4, &addresses));
    }
    for family in [0x01, 0x10, 0x12, 0x13, 0x20, 0x22, 0x30, 0x33, 0x41, 0xff] {
        check_malformed(&v2(PROXY, family, &[0; UNIX_BYTES]));
    }
    check_malformed(&v2(PROXY, TCP_OVER_V4, &addresses[..11]));
    check_malformed(&v2(PROXY, TCP_OVER_V6, &[0; 35]));
    check_malformed(&v2(PROXY, UNIX_STREAM, &[0; 215]));
    for more in [&[4][..], &[4, 0], &[4, 0, 2, 0], &[4, 0xff, 0xff, 0]] {
        check_malformed(&v2(PROXY, TCP_OVER_V4, &[&addresses, more].concat()));
    }
}

#[test]
fn nobody_is_waited_for_who_announces_too_much() {
    let filler = tlv(4, &vec![0; HEADER_BYTES_MAX - HEAD_BYTES - 12 - 3]);
    let longest = v2(PROXY, TCP_OVER_V4, &[v4_addresses(), filler.clone()].concat());
    assert_eq!(longest.len(), HEADER_BYTES_MAX);
    assert!(matches!(parse(&longest), Progress::Done { length: HEADER_BYTES_MAX, .. }));
    let longer = v2(PROXY, TCP_OVER_V4, &[v4_addresses(), filler, vec![0]].concat());
    check_malformed(&longer[..HEAD_BYTES]);
    check_malformed(&v2(LOCAL, UNSPECIFIED, &[0; HEADER_BYTES_MAX])[..HEAD_BYTES]);
}

/// Bytes that are often nearly a header.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let whole = prop_oneof![
        Just(b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n".to_vec()),
        Just(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 0\r\n".to_vec()),
        Just(with_checksum()),
        Just(v2(LOCAL, UNSPECIFIED, b"more")),
        proptest::collection::vec(any::<u8>(), 0..64).prop_map(|it| v2(PROXY, TCP_OVER_V4, &it)),
        proptest::collection::vec(any::<u8>(), 0..256).prop_map(|it| v2(PROXY, TCP_OVER_V6, &it)),
        proptest::collection::vec(any::<u8>(), 0..128),
    ];
    let changes = proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..3);
    (whole, changes, proptest::collection::vec(any::<u8>(), 0..32)).prop_map(
        |(mut bytes, changes, more)| {
            for (place, byte) in
                changes.into_iter().filter(|_| !bytes.is_empty()).collect::<Vec<_>>()
            {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            bytes.extend(more);
            bytes
        },
    )
}

proptest! {
    #[test]
    fn what_was_said_once_stays_said_however_much_more_comes(bytes in nearly()) {
        let whole = parse(&bytes);
        for end in 0..=bytes.len() {
            match parse(&bytes[..end]) {
                Progress::NeedMore => prop_assert!(end < HEADER_BYTES_MAX),
                Progress::Malformed => prop_assert_eq!(whole, Progress::Malformed),
                done @ Progress::Done { length, .. } => {
                    prop_assert_eq!(done, whole);
                    prop_assert!(length <= end);
                }
            }
        }
    }
}
