//! Knows where the frames of a WebSocket begin and end (RFC 6455, 5.2), and nothing of what they say.

/// Where one direction of a WebSocket stands.
#[derive(Debug, Default)]
pub struct Frames {
    /// Of the frame whose header is not complete.
    header: [u8; HEADER_MAX],
    length: usize,
    /// Bytes of its payload that are still to come.
    payload: u64,
}

impl Frames {
    /// These bytes went through.
    pub fn pass(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = rest.get(self.step(rest)..).unwrap_or_default();
        }
    }

    /// Whether the last frame has ended and the next has not begun.
    pub fn is_between(&self) -> bool {
        self.length == 0 && self.payload == 0
    }

    /// How many of the bytes that come next belong to the frame that has begun.
    pub fn to_edge(&self, bytes: &[u8]) -> usize {
        let mut probe = Self { header: self.header, ..*self };
        let mut rest = bytes;
        while !rest.is_empty() && !probe.is_between() {
            rest = rest.get(probe.step(rest)..).unwrap_or_default();
        }
        bytes.len() - rest.len()
    }

    /// Takes part of a payload, or one byte of a header.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.payload > 0 {
            let count = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
            self.payload -= count as u64;
            return count;
        }
        if let (Some(to), Some(from)) = (self.header.get_mut(self.length), bytes.first()) {
            *to = *from;
        }
        self.length += 1;
        if let Some(payload) = self.complete() {
            (self.length, self.payload) = (0, payload);
        }
        1
    }

    /// The length of the payload, once the header is complete.
    fn complete(&self) -> Option<u64> {
        let [_, second, rest @ ..] = &self.header;
        let (short, mask) = (second & 0x7F, if second & 0x80 == 0 { 0 } else { 4 });
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.length < 2 + extended + mask {
            return None;
        }
        if extended == 0 {
            return Some(u64::from(short));
        }
        let digits = rest.get(..extended)?;
        Some(digits.iter().fold(0, |sum, digit| sum << 8 | u64::from(*digit)))
    }
}

/// A close frame from a server: 1008, and why.
pub const CLOSE_REVOKED: &[u8] = b"\x88\x15\x03\xF0the key was revoked";

const HEADER_MAX: usize = 14;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: usize, mask: Option<[u8; 4]>) -> Vec<u8> {
        let bit = if mask.is_some() { 0x80 } else { 0 };
        let mut frame = vec![0x82];
        match payload {
            0..=125 => frame.push(bit | u8::try_from(payload).unwrap()),
            126..=65535 => {
                frame.push(bit | 0x7E);
                frame.extend(u16::try_from(payload).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(bit | 0x7F);
                frame.extend((payload as u64).to_be_bytes());
            }
        }
        frame.extend(mask.into_iter().flatten());
        frame.resize(frame.len() + payload, 129);
        frame
    }

    #[track_caller]
    fn check(frame: &[u8], at_once: usize) {
        let mut frames = Frames::default();
        let (last, all_but_last) = frame.split_last().unwrap();
        all_but_last.chunks(at_once).for_each(|it| frames.pass(it));
        assert!(!frames.is_between(), "{} bytes, {at_once} at once", frame.len());
        assert_eq!(frames.to_edge(&[*last, 0x82, 0]), 1);
        frames.pass(&[*last]);
        assert!(frames.is_between(), "{} bytes, {at_once} at once", frame.len());
    }

    #[test]
    fn every_frame_ends_where_it_ends_however_it_arrives() {
        for payload in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
            for at_once in [1, 3, 7, 1_000, usize::MAX] {
                check(&frame(payload, None), at_once);
                check(&frame(payload, Some([1, 2, 3, 4])), at_once);
            }
        }
    }

    #[test]
    fn the_close_frame_is_one() {
        let mut frames = Frames::default();
        frames.pass(CLOSE_REVOKED);
        assert!(frames.is_between());
        assert_eq!(CLOSE_REVOKED[2..4], 1008_u16.to_be_bytes());
    }
}
