//! Decides whether other processes live on the same store, by a lock file beside it.
//!
//! Every living process holds the lock shared. Whoever gets it exclusively is alone, whatever the
//! register says: the entries in it are of processes that crashed. The system frees the lock of a
//! process that dies, however it dies.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Moment;
use crate::store::OpenFault;

/// The lock, held for as long as this lives.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

/// Who else lives on the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// Nobody, and nobody comes in before [`Lock::share`].
    Alone,
    /// Others, maybe.
    Others,
}

impl Lock {
    /// Takes the lock for the store at `store`: exclusively if nobody lives there, else shared.
    pub fn take(store: &Path) -> Result<(Self, Company), OpenFault> {
        let lock = Self::open(beside(store, ".lock"))?;
        match lock.file.try_lock() {
            Ok(()) => Ok((lock, Company::Alone)),
            Err(TryLockError::WouldBlock) => {
                lock.share()?;
                Ok((lock, Company::Others))
            }
            Err(TryLockError::Error(fault)) => Err(lock.fault(&fault)),
        }
    }

    /// Goes over to sharing. In between others may hold it exclusively for a moment: harmless as
    /// long as this process has not entered the register.
    pub fn share(&self) -> Result<(), OpenFault> {
        let start = Moment::now();
        loop {
            match self.file.try_lock_shared() {
                Ok(()) => return Ok(()),
                Err(TryLockError::Error(fault)) => return Err(self.fault(&fault)),
                Err(TryLockError::WouldBlock) if Moment::now().since(start) > PATIENCE => {
                    return Err(OpenFault(format!(
                        "`{}` has been locked by another process for {} seconds: a keyward that \
                         is starting needs it only for a moment, so look for one that hangs",
                        self.path.display(),
                        PATIENCE.as_secs(),
                    )));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(RETRY_EVERY),
            }
        }
    }

    fn open(path: PathBuf) -> Result<Self, OpenFault> {
        let mut how = OpenOptions::new();
        how.read(true).write(true).create(true).truncate(false).mode(0o600);
        match how.open(&path) {
            Ok(file) => Ok(Self { file, path }),
            Err(fault) => Err(OpenFault(format!(
                "`{}` cannot be opened ({fault}): let the user that keyward runs as write it and \
                 its directory",
                path.display(),
            ))),
        }
    }

    fn fault(&self, fault: &std::io::Error) -> OpenFault {
        OpenFault(format!(
            "`{}` cannot be locked ({fault}): keep the store on a local disk",
            self.path.display(),
        ))
    }
}

/// The file beside `store` with that ending.
pub fn beside(store: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(store);
    name.push(ending);
    PathBuf::from(name)
}

const PATIENCE: Duration = Duration::from_secs(20);
const RETRY_EVERY: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("keyward.db");
        (directory, store)
    }

    #[test]
    fn the_first_is_alone_and_the_second_is_not() {
        let (_directory, store) = place();
        let (first, company) = Lock::take(&store).unwrap();
        assert_eq!(company, Company::Alone);
        first.share().unwrap();
        assert_eq!(Lock::take(&store).unwrap().1, Company::Others);
    }

    #[test]
    fn whoever_outlives_the_others_does_not_make_the_next_one_alone() {
        let (_directory, store) = place();
        let (first, _) = Lock::take(&store).unwrap();
        first.share().unwrap();
        let (_second, _) = Lock::take(&store).unwrap();
        drop(first);
        assert_eq!(Lock::take(&store).unwrap().1, Company::Others);
    }

    #[test]
    fn after_the_last_one_is_gone_the_next_is_alone() {
        let (_directory, store) = place();
        let (first, _) = Lock::take(&store).unwrap();
        first.share().unwrap();
        drop(first);
        assert_eq!(Lock::take(&store).unwrap().1, Company::Alone);
    }

    #[test]
    fn of_many_that_start_at_once_all_get_in_and_one_was_alone() {
        let (_directory, store) = place();
        let gate = std::sync::Barrier::new(8);
        let start = || {
            gate.wait();
            let (lock, company) = Lock::take(&store).unwrap();
            lock.share().unwrap();
            gate.wait();
            company
        };
        let alone = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            let companies = all.into_iter().map(|it| it.join().unwrap());
            companies.filter(|it| *it == Company::Alone).count()
        });
        assert!(alone >= 1);
    }
}
