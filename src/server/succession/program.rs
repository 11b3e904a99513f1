//! Knows how this process was started, and starts another one in the same way.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{self, Path, PathBuf};
use std::process::{Child, Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};

use crate::config;
use crate::server::succession::predecessor::SUCCESSOR_OF;

/// Which file this process was started from, and with which arguments.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// Of this process. Whatever stands at the path later is the next version.
    pub fn of_this_process() -> io::Result<Self> {
        let own = env::current_exe()?;
        let mut words = env::args_os();
        // A link to this version may be one to another version later.
        let typed = words.next().and_then(|it| candidates(&it).find(|it| is_same(it, &own)));
        Ok(Self { path: typed.unwrap_or(own), arguments: words.collect() })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts it with `sockets`, in the way of `sd_listen_fds(3)`. Whoever is started says on the
    /// stream when it serves.
    pub fn start(&self, sockets: &[TcpListener]) -> io::Result<(Child, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).stdin(Stdio::from(OwnedFd::from(theirs)));
        command.env(SUCCESSOR_OF, std::process::id().to_string());
        command.env("LISTEN_FDS", sockets.len().to_string());
        // Nobody knows yet which it will be; and the names would be those of our own start.
        for name in UNKNOWN {
            command.env_remove(name);
        }
        let mut mappings = Vec::new();
        for (socket, child_fd) in sockets.iter().zip(FIRST..) {
            mappings.push(FdMapping { parent_fd: socket.try_clone()?.into(), child_fd });
        }
        command.fd_mappings(mappings).map_err(io::Error::other)?;
        Ok((command.spawn()?, ours))
    }
}

/// Where a shell would find what was typed.
fn candidates(typed: &OsString) -> impl Iterator<Item = PathBuf> {
    let typed = PathBuf::from(typed);
    let searched = config::environment().find(|(name, _value)| name == "PATH");
    let searched = searched.filter(|_| typed.components().count() == 1);
    let folders = match searched {
        Some((_name, value)) => env::split_paths(&value).collect(),
        None => vec![PathBuf::new()],
    };
    folders.into_iter().filter_map(move |it| path::absolute(it.join(&typed)).ok())
}

fn is_same(one: &Path, other: &Path) -> bool {
    let [one, other] = [one, other].map(|it| fs::canonicalize(it).ok());
    one.is_some() && one == other
}

const FIRST: i32 = 3;
const UNKNOWN: [&str; 3] = ["LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDNAMES"];
