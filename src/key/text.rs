//! Decides how a key is written: mints, parses and redacts it.
//!
//! `<prefix>_<12 id>_<43 secret><6 checksum>`, base62 in the order `0-9A-Za-z`. The checksum is
//! the CRC-32 of zip over everything before it. Id and secret are drawn character by character
//! and never decoded, so a key has exactly one spelling.

use std::fmt;
use std::str::FromStr;

use rand::CryptoRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The plaintext of a key. It cannot be cloned, printed or serialised, and is wiped on drop.
pub struct ApiKey {
    text: String,
    id: KeyId,
}

impl ApiKey {
    /// Draws a new key with `prefix`.
    pub fn mint(prefix: &Prefix, rng: &mut impl CryptoRng) -> Self {
        let mut text = String::with_capacity(prefix.0.len() + 2 + ID_LEN + TAIL_LEN);
        text.push_str(&prefix.0);
        text.push('_');
        let id = KeyId::draw(rng);
        text.push_str(id.as_str());
        text.push('_');
        for _ in 0..SECRET_LEN {
            text.push(char::from(draw_base62(rng)));
        }
        let checksum = checksum(text.as_bytes());
        text.push_str(&String::from_utf8_lossy(&checksum));
        Self { text, id }
    }

    /// Reads a key and keeps it.
    pub fn parse(shown: &[u8]) -> Result<Self, MalformedKey> {
        let id = PresentedKey::parse(shown)?.id();
        let text = String::from_utf8(shown.to_vec()).map_err(|_not_utf8| MalformedKey)?;
        Ok(Self { text, id })
    }

    /// The public half.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The last four characters: what people know a key by after it was minted.
    pub fn last_digits(&self) -> &str {
        let start = self.text.len().saturating_sub(LAST_DIGITS_LEN);
        self.text.get(start..).unwrap_or_default()
    }

    /// What is hashed and tagged instead of the plaintext.
    pub fn digest(&self) -> Digest {
        Digest::of(self.text.as_bytes())
    }

    /// The plaintext, to be shown to a person this once.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}, <redacted>)", self.id)
    }
}

impl Drop for ApiKey {
    fn drop(&mut self) {
        self.text.zeroize();
    }
}

/// A well-formed key as somebody shows it; borrows the plaintext and never copies it.
pub struct PresentedKey<'a> {
    text: &'a [u8],
    id: KeyId,
}

impl<'a> PresentedKey<'a> {
    /// Checks lengths, characters and checksum.
    pub fn parse(shown: &'a [u8]) -> Result<Self, MalformedKey> {
        let (body, checksum_shown) =
            shown.split_last_chunk::<CHECKSUM_LEN>().ok_or(MalformedKey)?;
        let prefix_len = body.len().checked_sub(2 + ID_LEN + SECRET_LEN).ok_or(MalformedKey)?;
        let (prefix, rest) = body.split_at_checked(prefix_len).ok_or(MalformedKey)?;
        let (id, secret) = split_rest(rest).ok_or(MalformedKey)?;
        let prefix = std::str::from_utf8(prefix).map_err(|_not_utf8| MalformedKey)?;
        let well_formed = Prefix::is_valid(prefix) && secret.iter().all(u8::is_ascii_alphanumeric);
        if !well_formed || checksum(body) != *checksum_shown {
            return Err(MalformedKey);
        }
        Ok(Self { text: shown, id })
    }

    /// The public half.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What is hashed and tagged instead of the plaintext.
    pub fn digest(&self) -> Digest {
        Digest::of(self.text)
    }
}

impl fmt::Debug for PresentedKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PresentedKey({}, <redacted>)", self.id)
    }
}

/// SHA-256 of a whole plaintext: as good as the key itself, so it is kept as carefully.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Digests a plaintext.
    pub fn of(plaintext: &[u8]) -> Self {
        Self(Sha256::digest(plaintext).into())
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(<redacted>)")
    }
}

/// The public half of a key: twelve base62 characters, safe in logs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; ID_LEN]);

impl KeyId {
    /// Draws an id.
    pub fn draw(rng: &mut impl CryptoRng) -> Self {
        Self(std::array::from_fn(|_| draw_base62(rng)))
    }

    /// The twelve characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for KeyId {
    type Err = MalformedKey;

    fn from_str(text: &str) -> Result<Self, MalformedKey> {
        let id: [u8; ID_LEN] = text.as_bytes().try_into().map_err(|_length| MalformedKey)?;
        if id.iter().all(u8::is_ascii_alphanumeric) { Ok(Self(id)) } else { Err(MalformedKey) }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a scheme's keys begin with: `[a-z][a-z0-9]{1,11}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(String);

impl Prefix {
    /// The prefix of operators' tokens, which no scheme may have.
    pub fn of_operators() -> Self {
        Self("kwop".to_owned())
    }

    /// The characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_valid(text: &str) -> bool {
        let bytes = text.as_bytes();
        (2..=PREFIX_MAX).contains(&bytes.len())
            && bytes.first().is_some_and(u8::is_ascii_lowercase)
            && bytes.iter().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit())
    }
}

impl Default for Prefix {
    /// `kw`.
    fn default() -> Self {
        Self("kw".to_owned())
    }
}

impl FromStr for Prefix {
    type Err = MalformedPrefix;

    fn from_str(text: &str) -> Result<Self, MalformedPrefix> {
        if Self::is_valid(text) { Ok(Self(text.to_owned())) } else { Err(MalformedPrefix) }
    }
}

impl TryFrom<String> for Prefix {
    type Error = MalformedPrefix;

    fn try_from(text: String) -> Result<Self, MalformedPrefix> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.0
    }
}

/// What was presented is no key: wrong length, characters or checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key: its length, characters or checksum are wrong")]
pub struct MalformedKey;

/// The text cannot stand before a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 2 to 12 characters: a lower-case letter, then lower-case letters and digits")]
pub struct MalformedPrefix;

fn split_rest(rest: &[u8]) -> Option<(KeyId, &[u8])> {
    let rest = rest.strip_prefix(b"_")?;
    let (id, rest) = rest.split_first_chunk::<ID_LEN>()?;
    let secret = rest.strip_prefix(b"_")?;
    id.iter().all(u8::is_ascii_alphanumeric).then_some((KeyId(*id), secret))
}

/// The CRC-32 of `body` in base62, padded with zeros: 62⁶ is more than 2³².
fn checksum(body: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut rest = crc32fast::hash(body);
    let mut digits = [b'0'; CHECKSUM_LEN];
    for digit in digits.iter_mut().rev() {
        *digit = base62(rest % 62);
        rest /= 62;
    }
    digits
}

fn base62(value: u32) -> u8 {
    let value = u8::try_from(value % 62).unwrap_or_default();
    match value {
        0..=9 => b'0' + value,
        10..=35 => b'A' + (value - 10),
        _ => b'a' + (value - 36),
    }
}

/// One uniform character: bytes of 248 and more are drawn again, since 256 is no multiple of 62.
fn draw_base62(rng: &mut impl CryptoRng) -> u8 {
    loop {
        let mut byte = [0_u8];
        rng.fill_bytes(&mut byte);
        let [byte] = byte;
        if byte < 248 {
            return base62(u32::from(byte));
        }
    }
}

const ID_LEN: usize = 12;
const SECRET_LEN: usize = 43;
const CHECKSUM_LEN: usize = 6;
const TAIL_LEN: usize = SECRET_LEN + CHECKSUM_LEN;
const LAST_DIGITS_LEN: usize = 4;
const PREFIX_MAX: usize = 12;

#[cfg(test)]
mod tests;
