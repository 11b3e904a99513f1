//! A store with so many keys, and what a gateway needs to follow it.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use keyward::clock::Timestamp;
use keyward::key::record::{Holder, KeyRecord, Scope};
use keyward::key::seal::{Pepper, Peppers};
use keyward::key::text::ApiKey;
use keyward::rate::limits::Limits;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tempfile::TempDir;

use crate::frame;

/// The folder of a configuration with its store.
pub struct Place {
    pub folder: TempDir,
    pub keys: u64,
    pub store: String,
}

impl Place {
    /// A new store, filled as `keyward store import` does it.
    pub fn fill(url: &str, keys: u64) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("keyward.pepper"), PEPPER)?;
        let namespace = if url.starts_with("sqlite:") {
            String::new()
        } else {
            format!("namespace = \"of{keys}\"\n")
        };
        let store = format!(
            "[store]\nurl = \"{url}\"\n{namespace}pepper_file = \"keyward.pepper\"\n\
             max_keys_in_memory = 2000000\n"
        );
        fs::write(folder.path().join("import.toml"), import_config(&store))?;
        let begun = Instant::now();
        import(folder.path(), keys)?;
        eprintln!("memory: {keys} keys imported in {:.1} s", begun.elapsed().as_secs_f64());
        Ok(Self { folder, keys, store })
    }
}

/// The key with this number, the same in every store.
pub fn key(number: u64) -> Result<ApiKey> {
    Ok(ApiKey::mint(&"kw".parse()?, &mut StdRng::seed_from_u64(number)))
}

fn import(folder: &Path, keys: u64) -> Result<()> {
    let mut command = Command::new(frame::binary()?);
    command.args(["store", "import", "--config", "import.toml"]).current_dir(folder);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let mut lines = BufWriter::new(child.stdin.take().context("no way in")?);
    let now = Timestamp::from_micros(CREATED);
    let heading = json!({ "keyward_export": 1, "identity": "bench", "exported_at": now });
    writeln!(lines, "{heading}")?;
    let peppers = Peppers::new(Pepper::new(PEPPER), Vec::new());
    for number in 0..keys {
        writeln!(lines, "{}", json!({ "record": record(number, &peppers)? }))?;
    }
    drop(lines);
    ensure!(child.wait()?.success(), "the keys cannot be imported");
    Ok(())
}

fn record(number: u64, peppers: &Peppers) -> Result<KeyRecord> {
    let key = key(number)?;
    let mut rng = StdRng::seed_from_u64(!number);
    let mut random = |length: usize| -> String {
        (0..length).map(|_| char::from(LETTERS[usize::from(rng.random::<u8>() % 16)])).collect()
    };
    Ok(KeyRecord {
        id: key.id(),
        prefix: "kw".parse()?,
        last_digits: key.last_digits().to_owned(),
        name: format!("integration-{number:07}").parse()?,
        holder: Holder::Caller(Scope {
            scheme: "default".to_owned(),
            owner: Some(format!("customer-{:06}", number / 2).parse()?),
            limits: Limits {
                rate: Some("1000000/s".parse()?),
                quota: Some("1000000000/month".parse()?),
                max_in_flight: Some("1000".parse()?),
            },
            ..Scope::default()
        }),
        created_at: Timestamp::from_micros(CREATED + i64::try_from(number)? * 1_000_003),
        created_by: "4fUhqLnZ0a2R".to_owned(),
        expires_at: None,
        disabled: false,
        revoked_at: None,
        revision: 1,
        // As argon2 writes it: its last characters have bits to spare.
        argon2id: format!("$argon2id$v=19$m=19456,t=2,p=1${}A${}A", random(21), random(42)),
        tag: Some(peppers.tag(&key.digest())),
    })
}

fn import_config(store: &str) -> String {
    format!(
        "{store}[gateway]\nlisten = [\"127.0.0.1:1\"]\n\
         [[upstreams]]\nname = \"u\"\nendpoints = [\"http://127.0.0.1:1\"]\n\
         [[routes]]\nname = \"r\"\npath = \"/\"\nupstream = \"u\"\n"
    )
}

const PEPPER: [u8; 32] = [7; 32];
const CREATED: i64 = 1_800_000_000_000_000;
const LETTERS: &[u8; 16] = b"ABCDEFGHabcdefgh";
