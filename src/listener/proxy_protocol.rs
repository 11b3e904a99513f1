//! Reads PROXY headers, versions 1 and 2, as haproxy's `proxy-protocol.txt` has them.
//!
//! Who sends one is trusted to say where a connection comes from, and so the header is taken to the
//! letter: what is not quite one ends the connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How far a header has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All of it may still come right.
    NeedMore,
    /// It is whole.
    Done {
        /// Who opened the connection; `None`: whoever sent the header, or nobody with an address
        /// that could be used.
        source: Option<SocketAddr>,
        /// How many bytes are the header's; what follows is the client's.
        length: usize,
    },
    /// This is no PROXY header, or a broken one.
    Malformed,
}

/// Looks for a header at the beginning of `bytes`. Never more than [`HEADER_BYTES_MAX`] are needed.
pub fn parse(bytes: &[u8]) -> Progress {
    let begins_like = |signature: &[u8]| bytes.iter().zip(signature).all(|(one, two)| one == two);
    let parsed = if bytes.is_empty() {
        Some(Progress::NeedMore)
    } else if begins_like(SIGNATURE) {
        binary(bytes)
    } else if begins_like(WORD) {
        text(bytes)
    } else {
        None
    };
    parsed.unwrap_or(Progress::Malformed)
}

/// Version 1: one line. `None`: it is malformed.
fn text(bytes: &[u8]) -> Option<Progress> {
    let within = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = within.windows(2).position(|it| it == b"\r\n") else {
        return (bytes.len() < LINE_BYTES_MAX).then_some(Progress::NeedMore);
    };
    let line = within.get(WORD.len()..end)?;
    let length = end + 2;
    // Whatever else stands behind this word means nothing.
    if line.strip_prefix(b"UNKNOWN").is_some_and(|it| it.is_empty() || it.starts_with(b" ")) {
        return Some(Progress::Done { source: None, length });
    }
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let is_v6 = match words.next()? {
        "TCP4" => false,
        "TCP6" => true,
        _ => return None,
    };
    let [source, destination] = [address(words.next()?)?, address(words.next()?)?];
    let [from, _to] = [port(words.next()?)?, port(words.next()?)?];
    let is_right =
        words.next().is_none() && source.is_ipv6() == is_v6 && destination.is_ipv6() == is_v6;
    is_right.then_some(Progress::Done { source: Some(SocketAddr::new(source, from)), length })
}

fn address(word: &str) -> Option<IpAddr> {
    word.parse().ok()
}

/// Decimal, without a sign and without zeros in front.
fn port(word: &str) -> Option<u16> {
    let is_plain = word.bytes().all(|it| it.is_ascii_digit());
    let is_short = word == "0" || !word.starts_with('0');
    (is_plain && is_short).then(|| word.parse().ok())?
}

/// Version 2: a head of sixteen bytes, addresses, and what else is said of them. `None`: it is
/// malformed.
fn binary(bytes: &[u8]) -> Option<Progress> {
    let Some((head, rest)) = bytes.split_at_checked(HEAD_BYTES) else {
        return Some(Progress::NeedMore);
    };
    let [command, family, high, low] = head.get(SIGNATURE.len()..)?.try_into().ok()?;
    let size = usize::from(u16::from_be_bytes([high, low]));
    let length = HEAD_BYTES + size;
    let is_known = matches!(command, LOCAL | PROXY) && length <= HEADER_BYTES_MAX;
    if !is_known {
        return None;
    }
    let Some(rest) = rest.get(..size) else { return Some(Progress::NeedMore) };
    if command == LOCAL {
        // The proxy speaks for itself, as when it asks whether we are well; the rest is void.
        return Some(Progress::Done { source: None, length });
    }
    let (source, more) = source(family, rest)?;
    is_whole(bytes.get(..length)?, more).then_some(Progress::Done { source, length })
}

/// The source's address, and what stands behind the addresses.
fn source(family: u8, rest: &[u8]) -> Option<(Option<SocketAddr>, &[u8])> {
    match family {
        UNSPECIFIED => Some((None, rest)),
        UNIX_STREAM | UNIX_DATAGRAM => Some((None, rest.get(UNIX_BYTES..)?)),
        TCP_OVER_V4 => {
            let (addresses, more) = rest.split_first_chunk::<12>()?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses;
            let address = IpAddr::from(Ipv4Addr::new(a, b, c, d));
            Some((Some((address, u16::from_be_bytes([high, low])).into()), more))
        }
        TCP_OVER_V6 => {
            let (address, rest) = rest.split_first_chunk::<16>()?;
            let (_destination, rest) = rest.split_first_chunk::<16>()?;
            let ([high, low, _, _], more) = rest.split_first_chunk::<4>()?;
            let address = IpAddr::from(Ipv6Addr::from(*address));
            Some((Some((address, u16::from_be_bytes([*high, *low])).into()), more))
        }
        // A connection over TCP cannot have been anything else before.
        _ => None,
    }
}

/// Whether what stands behind the addresses is well formed, and the checksum right that may be
/// among it.
fn is_whole(header: &[u8], mut more: &[u8]) -> bool {
    while let Some(([kind, high, low], rest)) = more.split_first_chunk::<3>() {
        let size = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((value, rest)) = rest.split_at_checked(size) else { return false };
        if *kind == CHECKSUM {
            let at = header.len() - rest.len() - size;
            let Ok(expected) = value.try_into().map(u32::from_be_bytes) else { return false };
            if checksum(header, at) != expected {
                return false;
            }
        }
        more = rest;
    }
    more.is_empty()
}

/// CRC-32C of the header, with zeros where the checksum itself stands.
fn checksum(header: &[u8], at: usize) -> u32 {
    let mut sum = u32::MAX;
    for (place, byte) in header.iter().enumerate() {
        let byte = if (at..at + 4).contains(&place) { 0 } else { *byte };
        sum ^= u32::from(byte);
        for _ in 0..8 {
            let is_odd = sum & 1 == 1;
            sum = (sum >> 1) ^ if is_odd { CASTAGNOLI } else { 0 };
        }
    }
    !sum
}

/// No header is longer: it has to come whole before anything else is known of a connection.
pub const HEADER_BYTES_MAX: usize = 4096;

const WORD: &[u8] = b"PROXY ";
/// With its end.
const LINE_BYTES_MAX: usize = 107;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const HEAD_BYTES: usize = 16;
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP_OVER_V4: u8 = 0x11;
const TCP_OVER_V6: u8 = 0x21;
const UNIX_STREAM: u8 = 0x31;
const UNIX_DATAGRAM: u8 = 0x32;
const UNIX_BYTES: usize = 216;
const CHECKSUM: u8 = 0x03;
/// The polynomial, with its bits the other way round.
const CASTAGNOLI: u32 = 0x82f6_3b78;

#[cfg(test)]
mod tests;
