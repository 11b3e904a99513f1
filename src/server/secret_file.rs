//! Writes files that only their owner may read, whole or not at all.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use tempfile::NamedTempFile;

/// Makes the file `path`, on the disk before it has its name, and never over another file.
pub fn create(path: &Path, secret: &[u8]) -> io::Result<()> {
    let (file, directory) = write(path, secret)?;
    file.persist_noclobber(path).map_err(|lost| lost.error)?;
    File::open(directory)?.sync_all()
}

/// Makes the file `path`, in place of whatever stands there.
pub fn replace(path: &Path, secret: &[u8]) -> io::Result<()> {
    let (file, directory) = write(path, secret)?;
    file.persist(path).map_err(|lost| lost.error)?;
    File::open(directory)?.sync_all()
}

/// A temporary file has mode 0600 from the beginning.
fn write<'a>(path: &'a Path, secret: &[u8]) -> io::Result<(NamedTempFile, &'a Path)> {
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
    let directory = directory.unwrap_or_else(|| Path::new("."));
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(secret)?;
    file.as_file().sync_all()?;
    Ok((file, directory))
}
