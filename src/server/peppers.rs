//! Reads the peppers of a store from their files, and makes the first one.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

use crate::config;
use crate::key::seal::{Pepper, Peppers};
use crate::server::secret_file;
use crate::store::Meta;

/// The peppers of a store that knows them, or has never known any. The first pepper is made where
/// the store holds nothing yet.
pub fn load(settings: &config::Store, meta: &Meta) -> Result<Peppers, PepperFault> {
    let is_new = meta.check.is_none() && meta.records == 0;
    if is_new && settings.pepper_file.exists() {
        tracing::warn!(
            pepper = %settings.pepper_file.display(),
            "the store is new and its pepper is not: if there were keys, their store is elsewhere"
        );
    }
    let current = if is_new { read_or_make(&settings.pepper_file) } else { find(settings, meta) }?;
    let peppers = Peppers::new(current, retired(settings)?);
    fit(&peppers, settings, meta)?;
    Ok(peppers)
}

/// Whether these are the peppers of a store.
pub fn fit(peppers: &Peppers, settings: &config::Store, meta: &Meta) -> Result<(), PepperFault> {
    match meta.check {
        Some(check) if peppers.checked(check).is_none() => {
            Err(PepperFault::OfAnotherStore { path: settings.pepper_file.clone() })
        }
        Some(_) | None => Ok(()),
    }
}

/// The peppers as the files have them, for an operator who vouches for a store whose own is lost:
/// whether the store knows them is not asked, and a current one that is missing is made.
pub fn vouched(settings: &config::Store) -> Result<Peppers, PepperFault> {
    Ok(Peppers::new(read_or_make(&settings.pepper_file)?, retired(settings)?))
}

/// The peppers as the files have them, for looking only: nothing is made.
pub fn look(settings: &config::Store) -> Result<Peppers, PepperFault> {
    Ok(Peppers::new(read(&settings.pepper_file)?, retired(settings)?))
}

/// Why the peppers cannot be used, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum PepperFault {
    /// The current one is gone, and the store needs it.
    #[error(
        "the pepper file {} is missing, and the store was sealed with it ({records} records): put the file back; if it is lost for good, vouch for the store with `keyward store accept`",
        path.display()
    )]
    Lost {
        /// Where it should be.
        path: PathBuf,
        /// How many records need it.
        records: u64,
    },
    /// There is no such file.
    #[error("the pepper file {} is missing: put it there, 32 random bytes", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error(
        "the pepper file {} cannot be read ({fault}): let the user that keyward runs as read it",
        path.display()
    )]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        fault: io::Error,
    },
    /// The file holds something else.
    #[error(
        "the pepper file {} has {bytes} bytes: a pepper is exactly 32 random bytes as they are, not their hexadecimal or base64 form, without a line end",
        path.display()
    )]
    WrongSize {
        /// Which file.
        path: PathBuf,
        /// How many it has; 33 and more are not counted.
        bytes: String,
    },
    /// The first one cannot be made.
    #[error(
        "the pepper file {} cannot be made ({fault}): let the user that keyward runs as write its directory, or put 32 random bytes there",
        path.display()
    )]
    CannotMake {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        fault: io::Error,
    },
    /// The store was sealed with another one.
    #[error(
        "pepper_file does not belong to this store: {} is another pepper than the one that the store was sealed with, and that one is not among retired_pepper_files either: put the right file back; after a change of pepper keep the old file in retired_pepper_files; if it is lost for good, vouch for the store with `keyward store accept`",
        path.display()
    )]
    OfAnotherStore {
        /// Which file.
        path: PathBuf,
    },
}

/// The current pepper of a store that has used one.
fn find(settings: &config::Store, meta: &Meta) -> Result<Pepper, PepperFault> {
    read(&settings.pepper_file).map_err(|fault| match fault {
        PepperFault::Missing { path } => PepperFault::Lost { path, records: meta.records },
        PepperFault::Lost { .. }
        | PepperFault::Unreadable { .. }
        | PepperFault::WrongSize { .. }
        | PepperFault::CannotMake { .. }
        | PepperFault::OfAnotherStore { .. } => fault,
    })
}

fn retired(settings: &config::Store) -> Result<Vec<Pepper>, PepperFault> {
    settings.retired_pepper_files.iter().map(|it| read(it)).collect()
}

fn read_or_make(path: &Path) -> Result<Pepper, PepperFault> {
    if fs::symlink_metadata(path).is_err_and(|it| it.kind() == io::ErrorKind::NotFound) {
        make(path).map_err(|fault| PepperFault::CannotMake { path: path.to_owned(), fault })?;
        tracing::info!(file = %path.display(), "the pepper was made: back it up, apart from the store");
    }
    read(path)
}

fn read(path: &Path) -> Result<Pepper, PepperFault> {
    let owned = || path.to_owned();
    let mut bytes = Zeroizing::new(Vec::with_capacity(PEPPER_LEN + 1));
    File::open(path)
        .and_then(|it| it.take(PEPPER_LEN as u64 + 1).read_to_end(&mut bytes))
        .map_err(|fault| {
            if fault.kind() == io::ErrorKind::NotFound {
                PepperFault::Missing { path: owned() }
            } else {
                PepperFault::Unreadable { path: owned(), fault }
            }
        })?;
    if fs::metadata(path).is_ok_and(|it| it.mode() & 0o077 != 0) {
        tracing::warn!(file = %path.display(), "others than its owner may read the pepper: chmod 600 it");
    }
    let secret: [u8; PEPPER_LEN] = bytes.as_slice().try_into().map_err(|_length| {
        let bytes = if bytes.len() > PEPPER_LEN {
            "more than 32".to_owned()
        } else {
            bytes.len().to_string()
        };
        PepperFault::WrongSize { path: owned(), bytes }
    })?;
    Ok(Pepper::new(secret))
}

/// Of two processes that start at once one makes it and both read it.
fn make(path: &Path) -> io::Result<()> {
    let mut secret = Zeroizing::new([0_u8; PEPPER_LEN]);
    SysRng.try_fill_bytes(secret.as_mut()).map_err(io::Error::other)?;
    match secret_file::create(path, secret.as_ref()) {
        Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

const PEPPER_LEN: usize = 32;

#[cfg(test)]
mod tests;
