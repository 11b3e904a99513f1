//! Protects records: a keyed tag for speed, a MAC over the whole record.
//!
//! Everything is derived from the pepper, 32 random bytes that never enter the store, with
//! BLAKE3's key derivation under a name of its own: the tag's key, the seal's key, the pepper's
//! own name and the check value by which a store knows its pepper.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::key::record::KeyRecord;
use crate::key::text::{Digest, KeyId};

/// 32 random bytes as derived keys; named in tags and seals by four bytes.
#[derive(ZeroizeOnDrop)]
pub struct Pepper {
    #[zeroize(skip)]
    name: PepperName,
    #[zeroize(skip)]
    check: [u8; 16],
    tag_key: [u8; 32],
    seal_key: [u8; 32],
}

impl Pepper {
    /// Derives everything from the secret, and wipes it.
    pub fn new(mut secret: [u8; 32]) -> Self {
        let name = blake3::derive_key("keyward 2026-11 pepper name", &secret);
        let check = blake3::derive_key("keyward 2026-11 pepper check", &secret);
        let pepper = Self {
            name: PepperName(first(&name)),
            check: first(&check),
            tag_key: blake3::derive_key("keyward 2026-11 tag", &secret),
            seal_key: blake3::derive_key("keyward 2026-11 seal", &secret),
        };
        secret.zeroize();
        pepper
    }

    /// Its public name.
    pub fn name(&self) -> PepperName {
        self.name
    }

    /// What a store keeps to recognise it; says nothing about the secret.
    pub fn check(&self) -> [u8; 16] {
        self.check
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pepper({:?})", self.name)
    }
}

/// The first four bytes of a pepper's hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PepperName([u8; 4]);

impl fmt::Debug for PepperName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Display for PepperName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// The pepper that seals and those that still verify.
#[derive(Debug)]
pub struct Peppers {
    current: Pepper,
    retired: Vec<Pepper>,
}

impl Peppers {
    /// `current` seals; it and `retired` verify.
    pub fn new(current: Pepper, retired: Vec<Pepper>) -> Self {
        Self { current, retired }
    }

    /// The pepper that seals.
    pub fn current(&self) -> &Pepper {
        &self.current
    }

    /// The pepper of that name.
    pub fn named(&self, name: PepperName) -> Option<&Pepper> {
        std::iter::once(&self.current).chain(&self.retired).find(|it| it.name == name)
    }

    /// The pepper with that check value.
    pub fn checked(&self, check: [u8; 16]) -> Option<&Pepper> {
        std::iter::once(&self.current).chain(&self.retired).find(|it| it.check == check)
    }

    /// Makes the tag of a key under the current pepper.
    pub fn tag(&self, digest: &Digest) -> Tag {
        Tag { pepper: self.current.name, hash: tag_hash(&self.current, digest) }
    }

    /// Compares in constant time a key's digest with a tag.
    pub fn compare(&self, tag: &Tag, digest: &Digest) -> Comparison {
        match self.named(tag.pepper) {
            None => Comparison::UnknownPepper,
            Some(pepper) if bool::from(tag_hash(pepper, digest).ct_eq(&tag.hash)) => {
                Comparison::Match
            }
            Some(_) => Comparison::Mismatch,
        }
    }

    /// Seals a record for a store under the current pepper.
    pub fn seal(&self, identity: &Identity, record: &KeyRecord) -> Result<Sealed, SealFault> {
        let body = serde_json::to_vec(record).map_err(SealFault::unreadable)?;
        Ok(self.seal_body(identity, record.id, &body))
    }

    /// Seals a body as it is.
    pub fn seal_body(&self, identity: &Identity, id: KeyId, body: &[u8]) -> Sealed {
        let mac = mac(&self.current, identity, id, body);
        let mut bytes = Vec::with_capacity(HEAD_LEN + body.len());
        bytes.push(FORMAT);
        bytes.extend_from_slice(&self.current.name.0);
        bytes.extend_from_slice(mac.as_bytes());
        bytes.extend_from_slice(body);
        Sealed(bytes)
    }

    /// Opens what a store holds under `id`, if it was sealed for that store and that id.
    pub fn open(
        &self,
        identity: &Identity,
        id: KeyId,
        sealed: &Sealed,
    ) -> Result<KeyRecord, SealFault> {
        serde_json::from_slice(self.body(identity, id, sealed)?).map_err(SealFault::unreadable)
    }

    /// Seals anew, under the current pepper and to the byte, what was sealed for that store and id.
    pub fn reseal(
        &self,
        identity: &Identity,
        id: KeyId,
        sealed: &Sealed,
    ) -> Result<Sealed, SealFault> {
        Ok(self.seal_body(identity, id, self.body(identity, id, sealed)?))
    }

    /// The same with another tag, and with every other field as it was written: another version may
    /// know more of them.
    pub fn retag(
        &self,
        identity: &Identity,
        id: KeyId,
        sealed: &Sealed,
        tag: &Tag,
    ) -> Result<Sealed, SealFault> {
        let body = self.body(identity, id, sealed)?;
        let mut fields: BTreeMap<Cow<'_, str>, Box<RawValue>> =
            serde_json::from_slice(body).map_err(SealFault::unreadable)?;
        fields.insert("tag".into(), to_raw_value(tag).map_err(SealFault::unreadable)?);
        let body = serde_json::to_vec(&fields).map_err(SealFault::unreadable)?;
        Ok(self.seal_body(identity, id, &body))
    }

    fn body<'a>(
        &self,
        identity: &Identity,
        id: KeyId,
        sealed: &'a Sealed,
    ) -> Result<&'a [u8], SealFault> {
        let parts = sealed.parts()?;
        let pepper = self.named(parts.pepper).ok_or(SealFault::UnknownPepper(parts.pepper))?;
        if mac(pepper, identity, id, parts.body) != blake3::Hash::from_bytes(*parts.mac) {
            return Err(SealFault::Forged);
        }
        Ok(parts.body)
    }
}

/// How a shown key compares with a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The same key.
    Match,
    /// Another key.
    Mismatch,
    /// The tag cannot be judged: its pepper is not here.
    UnknownPepper,
}

/// The fast verifier of a key: a keyed BLAKE3 hash of its digest, with the pepper's name.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag {
    pepper: PepperName,
    hash: [u8; 32],
}

impl Tag {
    /// The pepper it was made under.
    pub fn pepper(&self) -> PepperName {
        self.pepper
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag(under {:?})", self.pepper)
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> Self {
        format!("{}{}", tag.pepper, blake3::Hash::from_bytes(tag.hash).to_hex())
    }
}

impl TryFrom<String> for Tag {
    type Error = MalformedTag;

    fn try_from(text: String) -> Result<Self, MalformedTag> {
        let (name, hash) = text.split_at_checked(8).ok_or(MalformedTag)?;
        let name = u32::from_str_radix(name, 16).map_err(|_digits| MalformedTag)?;
        let hash = blake3::Hash::from_hex(hash).map_err(|_digits| MalformedTag)?;
        Ok(Self { pepper: PepperName(name.to_be_bytes()), hash: *hash.as_bytes() })
    }
}

/// The text is no tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a tag: expected 72 hexadecimal digits")]
pub struct MalformedTag;

/// The random name of one store; a record sealed for one cannot be moved to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity(pub String);

/// A record as a store holds it: format, pepper, MAC, and the record's JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// As a store gave it; [`Peppers::open`] says whether it is any good.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// As a store holds it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The pepper it says it is sealed under.
    pub fn pepper(&self) -> Option<PepperName> {
        self.parts().ok().map(|it| it.pepper)
    }

    /// The pepper that the record's tag says it was made under.
    pub fn tag_pepper(&self) -> Option<PepperName> {
        #[derive(Deserialize)]
        struct Tagged {
            tag: Option<Tag>,
        }
        let tagged: Tagged = serde_json::from_slice(self.parts().ok()?.body).ok()?;
        tagged.tag.map(|it| it.pepper)
    }

    /// Whether a newer version wrote it, in a format that is not known here.
    pub fn is_newer(&self) -> bool {
        self.0.first().is_some_and(|format| *format > FORMAT)
    }

    /// The record without any check: for `store accept`, where an operator vouches for it.
    pub fn vouched(&self) -> Result<KeyRecord, SealFault> {
        serde_json::from_slice(self.parts()?.body).map_err(SealFault::unreadable)
    }

    /// Whether its body is what would be written of `record`, to the byte.
    pub fn spells(&self, record: &KeyRecord) -> bool {
        let body = self.parts().map(|it| it.body);
        body.is_ok_and(|body| serde_json::to_vec(record).is_ok_and(|it| it == body))
    }

    fn parts(&self) -> Result<Parts<'_>, SealFault> {
        let (&format, rest) = self.0.split_first().ok_or(SealFault::Forged)?;
        if format != FORMAT {
            return Err(SealFault::NewerFormat(format));
        }
        let (name, rest) = rest.split_first_chunk::<4>().ok_or(SealFault::Forged)?;
        let (mac, body) = rest.split_first_chunk::<32>().ok_or(SealFault::Forged)?;
        Ok(Parts { pepper: PepperName(*name), mac, body })
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

struct Parts<'a> {
    pepper: PepperName,
    mac: &'a [u8; 32],
    body: &'a [u8],
}

/// Why a record cannot be trusted. Never the caller's fault, so never a 401.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealFault {
    /// Written by a newer version.
    #[error("the record has format {0}, which this version does not know: update this gateway")]
    NewerFormat(u8),
    /// Sealed under a pepper that is not configured.
    #[error(
        "the record is sealed under pepper {0}, which is neither pepper_file nor among retired_pepper_files"
    )]
    UnknownPepper(PepperName),
    /// The MAC does not fit: changed, moved to another id, or from another store.
    #[error(
        "the record's seal does not fit: it was changed or put there by someone without the pepper"
    )]
    Forged,
    /// Sealed well, and yet not a record.
    #[error("the record cannot be read: {0}")]
    Unreadable(String),
}

impl SealFault {
    #[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
    fn unreadable(fault: serde_json::Error) -> Self {
        Self::Unreadable(fault.to_string())
    }
}

fn tag_hash(pepper: &Pepper, digest: &Digest) -> [u8; 32] {
    *blake3::keyed_hash(&pepper.tag_key, digest.as_bytes()).as_bytes()
}

/// Covers a constant naming use and format, the store's identity, the key's id, and the record.
fn mac(pepper: &Pepper, identity: &Identity, id: KeyId, body: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(&pepper.seal_key);
    hasher.update(b"keyward record 1\0");
    hasher.update(&u64::try_from(identity.0.len()).unwrap_or_default().to_le_bytes());
    hasher.update(identity.0.as_bytes());
    hasher.update(id.as_str().as_bytes());
    hasher.update(body);
    hasher.finalize()
}

fn first<const N: usize>(bytes: &[u8; 32]) -> [u8; N] {
    std::array::from_fn(|at| bytes.get(at).copied().unwrap_or_default())
}

const FORMAT: u8 = 1;
const HEAD_LEN: usize = 1 + 4 + 32;

#[cfg(test)]
mod tests;
