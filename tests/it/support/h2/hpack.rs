//! Header compression as RFC 7541 has it, so far as a client needs it that sends what it likes.

use std::collections::VecDeque;

/// A field as it came.
pub type Field = (String, String);

/// A field that is neither indexed nor compressed (6.2.2).
pub fn literal(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    [vec![0], string(name), string(value)].concat()
}

/// The same, and added to the table (6.2.1).
pub fn indexed_literal(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    [vec![0x40], string(name), string(value)].concat()
}

/// A string as it is (5.2).
pub fn string(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [integer(0, 7, bytes.len()), bytes.to_vec()].concat()
}

/// An integer behind the bits in `first`, in `prefix` bits and what follows (5.1).
pub fn integer(first: u8, prefix: u32, value: usize) -> Vec<u8> {
    let most = (1 << prefix) - 1;
    if value < most {
        return vec![first | low(value)];
    }
    let (mut bytes, mut left) = (vec![first | low(most)], value - most);
    while left >= 128 {
        bytes.push(0x80 | low(left % 128));
        left /= 128;
    }
    bytes.push(low(left));
    bytes
}

fn low(value: usize) -> u8 {
    u8::try_from(value).unwrap()
}

/// What was sent before, as far as what comes may refer to it.
#[derive(Debug, Default)]
pub struct Decoder {
    newest_first: VecDeque<Field>,
    size_max: Option<usize>,
}

impl Decoder {
    /// The fields of a whole block.
    pub fn decode(&mut self, mut block: &[u8]) -> Vec<Field> {
        let mut fields = Vec::new();
        while let Some(first) = block.first().copied() {
            if first & 0x80 != 0 {
                let index = take_integer(&mut block, 7);
                fields.push(self.get(index));
            } else if first & 0x40 != 0 {
                let field = self.take_literal(&mut block, 6);
                self.newest_first.push_front(field.clone());
                self.evict();
                fields.push(field);
            } else if first & 0x20 != 0 {
                self.size_max = Some(take_integer(&mut block, 5));
                self.evict();
            } else {
                fields.push(self.take_literal(&mut block, 4));
            }
        }
        fields
    }

    fn take_literal(&self, block: &mut &[u8], prefix: u32) -> Field {
        let name = match take_integer(block, prefix) {
            0 => take_string(block),
            index => self.get(index).0,
        };
        (name, take_string(block))
    }

    fn get(&self, index: usize) -> Field {
        assert!(index > 0, "no field has index 0");
        if let Some((name, value)) = STATIC.get(index - 1) {
            return ((*name).to_owned(), (*value).to_owned());
        }
        self.newest_first[index - 1 - STATIC.len()].clone()
    }

    fn evict(&mut self) {
        let most = self.size_max.unwrap_or(4096);
        let size = |it: &Field| it.0.len() + it.1.len() + 32;
        while self.newest_first.iter().map(size).sum::<usize>() > most {
            self.newest_first.pop_back();
        }
    }
}

fn take_integer(block: &mut &[u8], prefix: u32) -> usize {
    let most = (1_usize << prefix) - 1;
    let mut value = usize::from(take(block)) & most;
    if value == most {
        for shift in (0..28).step_by(7) {
            let byte = usize::from(take(block));
            value += (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    value
}

fn take_string(block: &mut &[u8]) -> String {
    let is_compressed = block[0] & 0x80 != 0;
    let length = take_integer(block, 7);
    let (bytes, rest) = block.split_at(length);
    *block = rest;
    let bytes = if is_compressed { decompress(bytes) } else { bytes.to_vec() };
    bytes.into_iter().map(char::from).collect()
}

fn take(block: &mut &[u8]) -> u8 {
    let (first, rest) = block.split_first().unwrap();
    *block = rest;
    *first
}

/// Huffman's code is canonical: shorter codes first, and of one length in the order of symbols.
fn decompress(bytes: &[u8]) -> Vec<u8> {
    let mut symbols: Vec<usize> = (0..256).collect();
    symbols.sort_by_key(|it| (LENGTHS[*it], *it));
    let (mut code, mut length, mut codes) = (0_u32, 0, Vec::new());
    for symbol in symbols {
        let its_length = LENGTHS[symbol] - b'A' + 5;
        code <<= its_length - length;
        codes.push((its_length, code, low(symbol)));
        (code, length) = (code + 1, its_length);
    }
    let bits = bytes.iter().flat_map(|it| (0..8).rev().map(move |bit| u32::from(it >> bit & 1)));
    let (mut read, mut count, mut text) = (0, 0, Vec::new());
    for bit in bits {
        (read, count) = (read << 1 | bit, count + 1);
        if let Some((.., symbol)) = codes.iter().find(|it| (it.0, it.1) == (count, read)) {
            text.push(*symbol);
            (read, count) = (0, 0);
        }
    }
    text
}

/// How many bits a byte takes (appendix B): A is five.
const LENGTHS: &[u8; 256] = b"\
    ISXXXXXXXTZXXZXXXXXXXXZXXXXXXXXXBFFHIBDGFFDGDBBBAAABBBBBBBCDKBHF\
    IBCCCCCCCCCCCCCCCCCCCCCCDCDIOIJBKABABABBBACCBBBABCBAABCCCCCKGJIX\
    PRPPRRRSRSSSSSTSTTRSTSSSSQRSRSSTRQPRRSSQSRRTQRSSQQRQSRSSPRRRSRRS\
    VVPORSRUVVVWWVTUOQVWWVWTQQVVXWWWPTPQRQQSRRUUTTVSVWVVWWWWWXWWWWWV";

/// Appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];
