//! Writes files that only their owner may read, whole or not at all.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use tempfile::NamedTempFile;

/// Makes the file `path`, on the disk before it has its name, and never over another file.
pub fn create(path: &Path, secret: &[u8]) -> io::Result<()> {
    write(path, secret)?.persist_noclobber(path).map_err(|lost| lost.error)?;
    sync_directory(path)
}

/// Makes the file `path`, in place of whatever stands there.
pub fn replace(path: &Path, secret: &[u8]) -> io::Result<()> {
    write(path, secret)?.persist(path).map_err(|lost| lost.error)?;
    sync_directory(path)
}

/// Makes sure that the name of the file `path` is on the disk.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

/// Where the file `path` is.
pub fn directory(path: &Path) -> &Path {
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
    directory.unwrap_or_else(|| Path::new("."))
}

/// A temporary file has mode 0600 from the beginning.
fn write(path: &Path, secret: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new_in(directory(path))?;
    file.write_all(secret)?;
    file.as_file().sync_all()?;
    Ok(file)
}
