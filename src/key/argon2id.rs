//! Verifies keys slowly: argon2id, as PHC strings, with memory that is used again.

use std::fmt;

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use rand::CryptoRng;
use serde::{Deserialize, Serialize};

use crate::key::text::Digest;

/// What argon2id costs: OWASP's minimum by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes.
    pub iterations: u32,
}

impl Default for Cost {
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, iterations: 2 }
    }
}

/// Memory for argon2, used again and again by one thread.
#[derive(Default)]
pub struct Scratch(Vec<Block>);

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scratch({} KiB)", self.0.len())
    }
}

/// Makes the PHC string of a digest.
pub fn hash(
    digest: &Digest,
    cost: Cost,
    rng: &mut impl CryptoRng,
    scratch: &mut Scratch,
) -> Result<String, Argon2Fault> {
    let params = params(cost)?;
    let mut salt = [0; SALT_LEN];
    rng.fill_bytes(&mut salt);
    let output = run(digest, &params, &salt, scratch)?;
    phc(&params, &salt, output)
}

/// What argon2id has made: salt and output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hash {
    salt: [u8; SALT_LEN],
    output: [u8; OUTPUT_LEN],
}

/// What a PHC string says, if it is one that [`hash`] may have made.
pub fn parts(phc: &str) -> Option<(Cost, Hash)> {
    let read = PasswordHash::new(phc).ok()?;
    let params = Params::try_from(&read).ok()?;
    let cost = Cost { memory_kib: params.m_cost(), iterations: params.t_cost() };
    let salt = read.salt?.as_ref().try_into().ok()?;
    let hash = Hash { salt, output: read.hash?.as_ref().try_into().ok()? };
    (hash.phc(cost).ok()? == phc).then_some((cost, hash))
}

impl Hash {
    /// The PHC string.
    pub fn phc(&self, cost: Cost) -> Result<String, Argon2Fault> {
        let output = Output::new(&self.output).map_err(|_length| Argon2Fault::Malformed)?;
        phc(&params(cost)?, &self.salt, output)
    }
}

/// Whether a digest is the one that `phc` was made from; compared in constant time.
pub fn matches(digest: &Digest, phc: &str, scratch: &mut Scratch) -> Result<bool, Argon2Fault> {
    let hash = PasswordHash::new(phc).map_err(|_unparsable| Argon2Fault::Malformed)?;
    if hash.algorithm != Algorithm::Argon2id.ident() || hash.version != Some(Version::V0x13.into())
    {
        return Err(Argon2Fault::Malformed);
    }
    let params = Params::try_from(&hash).map_err(|_params| Argon2Fault::Malformed)?;
    let bounded =
        params.m_cost() <= MEMORY_KIB_MAX && params.t_cost() <= 10 && params.p_cost() <= 4;
    if !bounded {
        return Err(Argon2Fault::TooCostly);
    }
    let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else {
        return Err(Argon2Fault::Malformed);
    };
    Ok(run(digest, &params, salt, scratch)? == *expected)
}

/// Why argon2 did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Argon2Fault {
    /// The stored string is no argon2id hash.
    #[error("the stored hash is no argon2id PHC string")]
    Malformed,
    /// The stored string asks for more than 64 MiB, 10 passes or 4 lanes.
    #[error("the stored hash asks for more than 64 MiB, 10 passes or 4 lanes")]
    TooCostly,
    /// The library refused its parameters.
    #[error("argon2 refused: {0}")]
    Refused(argon2::Error),
}

fn params(cost: Cost) -> Result<Params, Argon2Fault> {
    Params::new(cost.memory_kib, cost.iterations, 1, Some(OUTPUT_LEN)).map_err(Argon2Fault::Refused)
}

fn phc(params: &Params, salt: &[u8], output: Output) -> Result<String, Argon2Fault> {
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: params.try_into().map_err(|_own| Argon2Fault::Malformed)?,
        salt: Some(Salt::new(salt).map_err(|_own| Argon2Fault::Malformed)?),
        hash: Some(output),
    };
    Ok(hash.to_string())
}

fn run(
    digest: &Digest,
    params: &Params,
    salt: &[u8],
    scratch: &mut Scratch,
) -> Result<Output, Argon2Fault> {
    let blocks = params.block_count();
    if scratch.0.len() < blocks {
        scratch.0.resize(blocks, Block::default());
    }
    let memory = scratch.0.get_mut(..blocks).unwrap_or_default();
    let mut out = [0; OUTPUT_LEN];
    let length = params.output_len().unwrap_or(OUTPUT_LEN);
    let out = out.get_mut(..length).ok_or(Argon2Fault::TooCostly)?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
        .hash_password_into_with_memory(digest.as_bytes(), salt, out, memory)
        .map_err(Argon2Fault::Refused)?;
    Output::new(out).map_err(|_length| Argon2Fault::Malformed)
}

const SALT_LEN: usize = 16;
const OUTPUT_LEN: usize = 32;
const MEMORY_KIB_MAX: u32 = 64 * 1024;

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 8, iterations: 1 };

    fn digest(seed: u8) -> Digest {
        Digest::of(&[seed])
    }

    #[test]
    fn argon2_verifies_its_own_key_alone_and_memory_is_used_again() {
        let mut scratch = Scratch::default();
        let mut rng = StdRng::seed_from_u64(1);
        let phc = hash(&digest(1), CHEAP, &mut rng, &mut scratch).unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{phc}");
        for _ in 0..3 {
            assert_eq!(matches(&digest(1), &phc, &mut scratch), Ok(true));
            assert_eq!(matches(&digest(2), &phc, &mut scratch), Ok(false));
        }
    }

    #[test]
    fn a_string_comes_back_from_its_parts_as_it_was_or_has_none() {
        let mut rng = StdRng::seed_from_u64(1);
        let usual = hash(&digest(1), CHEAP, &mut rng, &mut Scratch::default()).unwrap();
        let (cost, made) = parts(&usual).unwrap();
        assert_eq!((cost, made.phc(cost)), (CHEAP, Ok(usual.clone())));
        let salt = "AAAAAAAAAAAAAAAAAAAAAA";
        for other in [
            String::new(),
            "$argon2id$v=19$m=8,t=1,p=1".to_owned(),
            usual.replace("argon2id", "argon2i"),
            usual.replace("v=19", "v=16"),
            usual.replace("$v=19", ""),
            usual.replace("p=1", "p=2"),
            usual.replace("p=1", "p=1,keyid=AAAA"),
            usual.replace("m=8,t=1", "t=1,m=8"),
            usual.get(..usual.len() - 5).unwrap().to_owned(),
            format!("$argon2id$v=19$m=8,t=1,p=1${salt}AA$AAAAAAAAAAAAAAAAAAAAAA"),
        ] {
            assert_eq!(parts(&other), None, "{other}");
        }
    }

    #[test]
    fn what_a_stored_hash_may_cost_is_bounded() {
        let rest = "$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for costly in ["m=65537,t=1,p=1", "m=4294967295,t=1,p=1", "m=64,t=11,p=1", "m=64,t=1,p=5"] {
            let phc = format!("$argon2id$v=19${costly}{rest}");
            let verdict = matches(&digest(1), &phc, &mut Scratch::default());
            assert_eq!(verdict, Err(Argon2Fault::TooCostly), "{costly}");
        }
        for no_hash in ["", "$argon2i$v=19$m=64,t=1,p=1$", "$2b$10$abc", "plain"] {
            let verdict = matches(&digest(1), no_hash, &mut Scratch::default());
            assert_eq!(verdict, Err(Argon2Fault::Malformed), "{no_hash}");
        }
    }
}
