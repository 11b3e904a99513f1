//! A small disk of a test's own, which can be filled without harm to anybody.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::gateway::FILE;
use crate::support::process::Process;

/// A disk in memory that only its own processes see. It is gone when this is dropped.
#[derive(Debug)]
pub struct Disk {
    keeper: Child,
    place: TempDir,
}

impl Disk {
    /// One of so many MiB.
    pub fn new(mib: u32) -> Self {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().display();
        let script = format!(
            "mount -t tmpfs -o size={mib}m tmpfs {path} && echo mounted && exec sleep infinity"
        );
        let mut keeper = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", &script])
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare, of util-linux, starts");
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(
            line, "mounted\n",
            "nobody may mount a disk here: allow user namespaces \
             (`sysctl kernel.unprivileged_userns_clone=1`, and in a container CAP_SYS_ADMIN)"
        );
        Self { keeper, place }
    }

    /// Where its own processes see a file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Where others see the same file.
    pub fn outside(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        let below = path.strip_prefix("/").unwrap();
        Path::new("/proc").join(self.keeper.id().to_string()).join("root").join(below)
    }

    /// How many bytes are free.
    pub fn free(&self) -> u64 {
        let disk = rustix::fs::statvfs(self.outside("")).unwrap();
        disk.f_bavail * disk.f_frsize
    }

    /// Puts a file there that takes so many bytes, or all there are.
    pub fn fill(&self, name: &str, bytes: u64) {
        let mut file = fs::File::create(self.outside(name)).unwrap();
        let zeros = vec![0; 64 * 1024];
        let mut left = usize::try_from(bytes).unwrap();
        while left > 0 {
            let piece = &zeros[..left.min(zeros.len())];
            if std::io::Write::write_all(&mut file, piece).is_err() {
                return;
            }
            left -= piece.len();
        }
    }

    /// `keyward serve` in `directory`, which sees this disk.
    pub fn serve(&self, directory: &Path) -> Process {
        let keeper = self.keeper.id().to_string();
        let way = ["nsenter", "-t", &keeper, "-U", "-m", "--preserve-credentials"];
        let config = directory.join(FILE);
        Process::start_by(&way, directory, &["serve", "--config", config.to_str().unwrap()])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.keeper.kill());
        drop(self.keeper.wait());
    }
}
