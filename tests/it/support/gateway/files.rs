//! A gateway's files: taken over, configured anew, shared with another process, copied.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use super::{FILE, Gateway, serve};
use crate::support::address::fresh;
use crate::support::disk::Disk;
use crate::support::pipe::Pipe;
use crate::support::process::{Outcome, Process};
use crate::support::setup::Setup;
use crate::support::wait::eventually;

impl Gateway {
    /// Starts one on the files that stand in `directory`, and waits until it is ready.
    #[track_caller]
    pub fn start_in(directory: TempDir, setup: &Setup) -> Self {
        let mut this = Self::prepare_in(directory, setup);
        this.wait_until_ready();
        this
    }

    /// Starts one on the files that stand in `directory`.
    #[track_caller]
    pub fn prepare_in(directory: TempDir, setup: &Setup) -> Self {
        let (address, admin) = (fresh(), fresh());
        fs::write(directory.path().join(FILE), setup.text(address, admin)).unwrap();
        let process = serve(directory.path());
        Self { process, address, admin, directory }
    }

    /// Starts one by `command`, in `directory`, and waits until it is ready.
    #[track_caller]
    pub fn start_as(command: Command, directory: TempDir, setup: &Setup) -> Self {
        Self::start_where(directory, setup, |it, _addresses| Process::start_as(command, it))
    }

    /// Starts one as `start` does, given its directory and its addresses, the gateway's and the
    /// admin listener's, and waits until it is ready.
    #[track_caller]
    pub fn start_where(
        directory: TempDir,
        setup: &Setup,
        start: impl FnOnce(&Path, [SocketAddr; 2]) -> Process,
    ) -> Self {
        let (address, admin) = (fresh(), fresh());
        fs::write(directory.path().join(FILE), setup.text(address, admin)).unwrap();
        let process = start(directory.path(), [address, admin]);
        let mut this = Self { process, address, admin, directory };
        this.wait_until_ready();
        this
    }

    /// Starts it again, after it has ended, as `start` does.
    #[track_caller]
    pub fn restart_by(&mut self, start: impl FnOnce(&Path) -> Process) {
        self.process = start(self.directory.path());
        self.wait_until_ready();
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Starts another process on this one's store.
    #[track_caller]
    pub fn start_beside(&self, setup: &Setup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::copy(self.file("operator.token"), directory.path().join("operator.token")).unwrap();
        let named = |name: &str| self.file(name).display().to_string();
        let setup = setup.clone().store(&format!("url = \"sqlite:{}\"", named("keyward.db")));
        let setup = setup.store(&format!("pepper_file = {:?}", named("keyward.pepper")));
        Self::start_in(directory, &setup)
    }

    /// Starts one that sees `disk`.
    #[track_caller]
    pub fn start_with(disk: &Disk, setup: &Setup) -> Self {
        Self::start_in_with(tempfile::tempdir().unwrap(), disk, setup)
    }

    /// The same on the files that stand in `directory`.
    #[track_caller]
    pub fn start_in_with(directory: TempDir, disk: &Disk, setup: &Setup) -> Self {
        let (address, admin) = (fresh(), fresh());
        fs::write(directory.path().join(FILE), setup.text(address, admin)).unwrap();
        let process = disk.serve(directory.path());
        let mut this = Self { process, address, admin, directory };
        this.wait_until_ready();
        this
    }

    /// Starts one that writes into `pipe`.
    #[track_caller]
    pub fn start_into(pipe: &Pipe, setup: &Setup) -> Self {
        let way = pipe.way();
        let way: Vec<&str> = way.iter().map(String::as_str).collect();
        Self::start_through(&way, tempfile::tempdir().unwrap(), setup)
    }

    /// Starts one by way of another program that becomes it, in `directory`.
    #[track_caller]
    pub fn start_through(way: &[&str], directory: TempDir, setup: &Setup) -> Self {
        Self::start_where(directory, setup, |it, _addresses| {
            Process::start_by(way, it, &["serve", "--config", FILE])
        })
    }

    /// Starts it again, after it has ended, by way of another program that becomes it.
    #[track_caller]
    pub fn restart_through(&mut self, way: &[String]) {
        assert!(self.process.has_ended(), "it still runs");
        let way: Vec<&str> = way.iter().map(String::as_str).collect();
        self.restart_by(|it| Process::start_by(&way, it, &["serve", "--config", FILE]));
    }

    /// Starts it again, after it has ended, so that it sees `disk`.
    #[track_caller]
    pub fn restart_with(&mut self, disk: &Disk) {
        self.process = disk.serve(self.directory.path());
        self.wait_until_ready();
    }

    /// One of its files.
    pub fn file(&self, name: &str) -> std::path::PathBuf {
        self.directory().join(name)
    }

    /// Ends it as an operator does.
    #[track_caller]
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.wait(), Some(0), "{}", self.log());
    }

    /// Has it stand still, in all its threads, until it is told to go on.
    #[track_caller]
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.process.id());
        let is_still = |task: fs::DirEntry| {
            let status = fs::read_to_string(task.path().join("stat")).unwrap();
            status.rsplit(')').next().unwrap().starts_with(" T")
        };
        eventually("it stands still", || {
            fs::read_dir(&tasks).unwrap().all(|it| is_still(it.unwrap()))
        });
    }

    /// Ends it as a power cut would, while others still speak to it.
    pub fn kill9_unwaited(&self) {
        self.signal(Signal::KILL);
    }

    /// Starts it again after it has ended, and does not wait until it is ready.
    #[track_caller]
    pub fn start_unwaited(&mut self) {
        self.process = serve(self.directory.path());
    }

    /// From its next start it is as `setup` says, on the same addresses.
    pub fn configure(&self, setup: &Setup) {
        fs::write(self.file(FILE), setup.text(self.address, self.admin)).unwrap();
    }
}

/// Runs a command of the program to its end, in `directory`.
#[track_caller]
pub fn command(directory: &Path, arguments: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    let output = command.args(arguments).current_dir(directory).output().unwrap();
    let texts = [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    Outcome { code: output.status.code(), output: texts.concat() }
}

/// Another directory with the same files.
#[track_caller]
pub fn copy(directory: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_into(directory, copy.path());
    copy
}

/// The same files in a directory that is made where it is not there.
#[track_caller]
pub fn copy_into(directory: &Path, copy: &Path) {
    fs::create_dir_all(copy).unwrap();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
}
