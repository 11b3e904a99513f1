//! Writes the first operator's token, so that no crash leaves a store that nobody can administer.
//!
//! The token is on the disk before its operator is in the store, under a name that ends with the
//! operator's id; then it gets its own name. Whoever starts next finds out from the store whether
//! what a crash has left there is that operator's.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::admin::first::{Entered, First};
use crate::admin::rejection::Rejection;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::gate::keyring::Keyring;
use crate::key::text::KeyId;
use crate::server::build::StartFault;
use crate::server::secret_file;
use crate::store::Row;

/// Makes the first operator where the store has none and there is an admin here.
pub async fn write(
    config: &Config,
    keyring: &Keyring,
    operators: Vec<Row>,
) -> Result<(), StartFault> {
    if config.admin.listen.is_empty() {
        return Ok(());
    }
    let file = &config.admin.operator_token_file;
    if operators.is_empty() {
        return make(file, keyring).await;
    }
    // Where no draft can be looked for there is most likely none, and an operator is there.
    match take_up(file, &operators) {
        Err(fault) if fault.kind() != ErrorKind::NotFound => {
            tracing::warn!(file = %file.display(), %fault, "what a crash may have left of the first operator's token could not be taken up");
        }
        Ok(()) | Err(_) => {}
    }
    Ok(())
}

async fn make(file: &Path, keyring: &Keyring) -> Result<(), StartFault> {
    let refused = |fault: Rejection| StartFault::failed(&fault);
    let first = First::mint(keyring, Timestamp::now()).await.map_err(refused)?;
    let draft = named(file, first.id().as_str());
    secret_file::replace(&draft, first.token().expose().as_bytes())
        .map_err(|fault| cannot(file, &fault))?;
    let entered = first.enter(keyring).await;
    match entered {
        Ok(Entered::Now) => put(&draft, file).map_err(|fault| cannot(file, &fault)),
        // The next start finds out.
        Err(fault @ Rejection::OutcomeUnknown) => Err(refused(fault)),
        Ok(Entered::AnotherWas) | Err(_) => {
            fs::remove_file(&draft).or_else(gone).map_err(|fault| cannot(file, &fault))?;
            entered.map(drop).map_err(refused)
        }
    }
}

/// What a crash has left: a token whose operator is in the store gets its name, others go.
fn take_up(file: &Path, operators: &[Row]) -> io::Result<()> {
    for (draft, id) in drafts(file)? {
        if operators.iter().any(|it| it.id.as_str() == id) {
            put(&draft, file)?;
        } else {
            fs::remove_file(&draft).or_else(gone)?;
        }
    }
    Ok(())
}

/// Gives a draft its name. Another process may have done so already.
fn put(draft: &Path, file: &Path) -> io::Result<()> {
    fs::rename(draft, file).or_else(gone)?;
    secret_file::sync_directory(file)?;
    tracing::info!(file = %file.display(), "the first operator's token was written");
    Ok(())
}

/// Every draft of `file`, with the id that its name ends with.
fn drafts(file: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let Some(name) = file.file_name().and_then(|it| it.to_str()) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in fs::read_dir(secret_file::directory(file))? {
        let path = entry?.path();
        let other = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
        let id = other.strip_prefix(name).and_then(|it| it.strip_prefix(DRAFT));
        if let Some(id) = id.filter(|it| it.parse::<KeyId>().is_ok()).map(str::to_owned) {
            found.push((path, id));
        }
    }
    Ok(found)
}

fn named(file: &Path, id: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(DRAFT);
    name.push(id);
    name.into()
}

fn gone(fault: io::Error) -> io::Result<()> {
    if fault.kind() == ErrorKind::NotFound { Ok(()) } else { Err(fault) }
}

fn cannot(file: &Path, fault: &io::Error) -> StartFault {
    StartFault::configuration(&format!(
        "{}: the first operator's token cannot be written: {fault}; make the folder writable and start again",
        file.display()
    ))
}

const DRAFT: &str = ".new.";
