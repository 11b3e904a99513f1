//! API keys and what is known about their holders.

use std::fs::File;
use std::io::Read;

use anyhow::Result;

/// How many keys every contender knows.
pub const KNOWN: usize = 10_000;
/// How many of them are in use.
pub const IN_USE: usize = 1000;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ID_LENGTH: usize = 12;
const SECRET_LENGTH: usize = 50;

/// One API key and its holder.
pub struct Credential {
    pub key: String,
    pub id: String,
    pub name: String,
    pub owner: String,
}

impl Credential {
    /// A made-up key of the shape which Keyward mints.
    pub fn invent(number: usize) -> Result<Self> {
        let id = random_text(ID_LENGTH)?;
        Ok(Self {
            key: format!("kw_{id}{}", random_text(SECRET_LENGTH)?),
            id,
            name: name(number),
            owner: owner(number),
        })
    }
}

/// The name of the key with this number.
pub fn name(number: usize) -> String {
    format!("bench-{number}")
}

/// The owner of the key with this number.
pub fn owner(number: usize) -> String {
    format!("team-{number}")
}

/// `count` keys from all over the known ones.
pub fn pick(credentials: &[Credential], count: usize) -> Vec<&str> {
    let step = credentials.len() / count;
    let keys = credentials.iter().map(|credential| credential.key.as_str());
    keys.step_by(step).take(count).collect()
}

fn random_text(length: usize) -> Result<String> {
    let mut bytes = vec![0; length];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let letters =
        bytes.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]));
    Ok(letters.collect())
}
