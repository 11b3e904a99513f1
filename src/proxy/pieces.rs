//! Hands an answer to HTTP/2 in pieces, and the last byte of each chunk alone.
//!
//! hyper gives h2 a whole chunk as soon as the client has made room for one byte of it, and is done
//! with the request once h2 has the last one: for whatever the client does not take, nobody would
//! wait or count any more. What is behind a piece goes only when there is room for it. Which chunk
//! is the last is often known only afterwards.

use bytes::Bytes;
use http_body::Frame;

/// What is still to be handed over of a chunk.
#[derive(Debug, Default)]
pub struct Pieces(Bytes);

impl Pieces {
    /// The next piece, if there is one.
    pub fn next(&mut self) -> Option<Bytes> {
        match self.0.len() {
            0 => None,
            1 => Some(std::mem::take(&mut self.0)),
            more => Some(self.0.split_to((more - 1).min(PIECE_BYTES_MAX))),
        }
    }

    /// The first piece of a chunk.
    pub fn cut(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let needs_none = |data: &Bytes| data.len() <= KEPT_BYTES_MAX;
        if frame.data_ref().is_none_or(needs_none) {
            return frame;
        }
        match frame.into_data() {
            Ok(data) => {
                self.0 = data;
                Frame::data(self.next().unwrap_or_default())
            }
            Err(other) => other,
        }
    }

    /// Whether all was handed over.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How much is still to be.
    pub fn bytes(&self) -> u64 {
        self.0.len() as u64
    }
}

/// As much as one frame of HTTP/2 may have (RFC 9113, 6.5.2), unless the client allows for more.
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// So little may be kept for a client after the end: what is shorter goes in one piece, for each
/// costs a frame.
const KEPT_BYTES_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(bytes: usize) -> Vec<usize> {
        let mut pieces = Pieces::default();
        let chunk: Bytes = (0..bytes).map(|it| it.to_le_bytes()[0]).collect();
        let first = pieces.cut(Frame::data(chunk.clone())).into_data().unwrap();
        let mut all = vec![first];
        while !pieces.is_empty() {
            all.push(pieces.next().unwrap());
        }
        assert_eq!(all.concat(), chunk);
        all.iter().map(Bytes::len).collect()
    }

    #[test]
    fn a_short_chunk_is_one_piece() {
        assert_eq!(lengths(1_024), [1_024]);
        assert_eq!(lengths(1), [1]);
        assert_eq!(lengths(0), [0]);
    }

    #[test]
    fn a_long_chunk_is_cut_and_its_last_byte_goes_alone() {
        assert_eq!(lengths(40_000), [16_384, 16_384, 7_231, 1]);
        assert_eq!(lengths(1_025), [1_024, 1]);
        assert_eq!(lengths(32_769), [16_384, 16_384, 1]);
    }
}
