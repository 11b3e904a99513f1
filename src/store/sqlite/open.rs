//! Decides whether a path is a store of ours, and opens it without harming what is not.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::Access;

use crate::key::seal::Identity;
use crate::store::OpenFault;
use crate::store::sqlite::anchor::Anchor;
use crate::store::sqlite::fault;
use crate::store::sqlite::lock::{Company, Lock, beside};
use crate::store::sqlite::room;
use crate::store::sqlite::schema::{self, Unfit};

/// A store that was opened: a connection for each thread, and the lock that says we live.
#[derive(Debug)]
pub struct Opened {
    /// Commits survive power loss.
    pub writer: Connection,
    /// Cannot write.
    pub reader: Connection,
    /// Commits survive `kill -9` and cost no `fsync`.
    pub follower: Connection,
    /// The random name of the store.
    pub identity: Identity,
    /// Where it is.
    pub anchor: Anchor,
    /// Held for as long as the store is open.
    pub lock: Lock,
}

/// Opens the store at `path`, or makes it.
pub fn open(path: &Path) -> Result<Opened, OpenFault> {
    let path = resolve(path)?;
    inspect(&path)?;
    let (lock, company) = Lock::take(&path)?;
    create(&path)?;
    let writer = prepare(&path, company).map_err(|it| describe(&path, it))?;
    // Only now may others find this process alive: the register holds nobody who is not.
    lock.share()?;
    connect_all(&path, writer, lock)
}

/// Opens the store at `path`, which exists, if nobody else lives on it, and lets nobody in.
pub fn open_alone(path: &Path) -> Result<Opened, OpenFault> {
    let path = find(path)?;
    inspect(&path)?;
    let (lock, company) = Lock::take(&path)?;
    if company == Company::Others {
        return Err(OpenFault(format!(
            "`{}` is in use by another process: stop every keyward on it first",
            path.display()
        )));
    }
    let writer = prepare(&path, company).map_err(|it| describe(&path, it))?;
    connect_all(&path, writer, lock)
}

/// The one spelling of a store that exists.
pub fn find(path: &Path) -> Result<PathBuf, OpenFault> {
    let path = resolve(path)?;
    if path.exists() {
        return Ok(path);
    }
    Err(OpenFault(format!(
        "`{}` does not exist: name the store of a gateway that has run, or run one first",
        path.display()
    )))
}

fn connect_all(path: &Path, writer: Connection, lock: Lock) -> Result<Opened, OpenFault> {
    let fault = |it| describe(path, Unfit::Fault(it));
    let identity = writer.query_row("SELECT identity FROM meta", [], |it| it.get(0));
    let follower = connect(path, "NORMAL").map_err(fault)?;
    let reader = connect(path, "NORMAL").map_err(fault)?;
    reader.pragma_update(None, "query_only", true).map_err(fault)?;
    let identity = Identity(identity.map_err(fault)?);
    let anchor = Anchor::at(path)
        .map_err(|it| OpenFault(format!("`{}` {}", path.display(), cannot_open(&it))))?;
    Ok(Opened { writer, reader, follower, identity, anchor, lock })
}

/// Opens a store that exists without ever writing to it; answers its schema too.
///
/// Asked of the system and of SQLite; never opened by hand, since closing any descriptor of a
/// file drops all locks that this process has on it.
pub fn look(path: &Path) -> Result<(Connection, u32), Unfit> {
    // What its owner left unfinished stays that way; a file that lacks nothing is opened for
    // writing, because only then SQLite tidies up after itself.
    let unfinished = ["-wal", "-journal"].iter().any(|it| beside(path, it).exists());
    let mode = if unfinished { READ_ONLY } else { READ_WRITE };
    let conn = Connection::open_with_flags(path, mode | NO_MUTEX)?;
    let schema = schema::inspect(&conn)?;
    Ok((conn, schema))
}

/// One spelling for each file: the lock file stands beside it under that name.
fn resolve(path: &Path) -> Result<PathBuf, OpenFault> {
    let refuse = |it: &str| Err(OpenFault(format!("`{}` {it}", path.display())));
    match fs::metadata(path) {
        Ok(it) if it.is_dir() => refuse("is a directory: name a file in it, like keyward.db"),
        Ok(it) if !it.is_file() => refuse("is no ordinary file: name one"),
        Ok(_) => fs::canonicalize(path).or_else(|it| refuse(&cannot_open(&it))),
        Err(it) if it.kind() == ErrorKind::NotFound => resolve_new(path),
        Err(it) => refuse(&cannot_open(&it)),
    }
}

fn resolve_new(path: &Path) -> Result<PathBuf, OpenFault> {
    let directory =
        path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let name = path.file_name().ok_or_else(|| {
        OpenFault(format!("`{}` names no file: name one, like keyward.db", path.display()))
    })?;
    let directory = fs::canonicalize(directory).map_err(|it| {
        OpenFault(format!(
            "the directory `{}` cannot be used ({it}): make it first",
            directory.display()
        ))
    })?;
    Ok(directory.join(name))
}

/// Looks at a file that exists without writing to it, and refuses what is not ours.
fn inspect(path: &Path) -> Result<(), OpenFault> {
    let Ok(found) = fs::metadata(path) else { return Ok(()) };
    rustix::fs::access(path, Access::READ_OK | Access::WRITE_OK)
        .map_err(|it| OpenFault(format!("`{}` {}", path.display(), cannot_open(&it.into()))))?;
    if found.len() == 0 {
        return Ok(());
    }
    look(path).map(drop).map_err(|it| describe(path, it))
}

/// Made by hand, so that nobody else can read it; SQLite gives its other files the same mode.
fn create(path: &Path) -> Result<(), OpenFault> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_made) => Ok(()),
        Err(it) if it.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(it) => Err(OpenFault(format!("`{}` {}", path.display(), cannot_open(&it)))),
    }
}

fn prepare(path: &Path, company: Company) -> Result<Connection, Unfit> {
    let mut conn = connect(path, "FULL")?;
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |it| it.get(0))?;
    if mode != "wal" {
        return Err(Unfit::NoWal);
    }
    schema::migrate(&mut conn)?;
    if company == Company::Alone {
        clear_register(&conn)?;
    }
    Ok(conn)
}

/// Who is in it has crashed: nobody lives.
fn clear_register(conn: &Connection) -> rusqlite::Result<()> {
    let clear = || conn.execute("DELETE FROM gateways", []).map(drop);
    clear().or_else(|fault| {
        if !room::is_full(&fault) {
            return Err(fault);
        }
        room::fold(conn);
        clear()
    })
}

fn connect(path: &Path, synchronous: &str) -> rusqlite::Result<Connection> {
    let mut conn = Connection::open_with_flags(path, READ_WRITE | NO_MUTEX)?;
    conn.busy_handler(Some(wait_for_the_lock))?;
    conn.set_prepared_statement_cache_capacity(64);
    conn.pragma_update(None, "synchronous", synchronous)?;
    conn.execute_batch(
        "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA secure_delete = ON;
         PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 16777216;",
    )?;
    Ok(conn)
}

/// Like `busy_timeout = 5000`, but in even, short steps: SQLite's own grow to a tenth of a
/// second, and a heartbeat would lose every race against a busy writer.
fn wait_for_the_lock(tries: i32) -> bool {
    std::thread::sleep(LOCK_RETRY_EVERY);
    tries < LOCK_TRIES_MAX
}

/// What is wrong with the file at `path`, and what to do.
pub fn describe(path: &Path, unfit: Unfit) -> OpenFault {
    let what = match unfit {
        Unfit::Foreign => "is an SQLite database of another program and was left as it is: name \
                           keyward's own file, or one that does not exist yet"
            .to_owned(),
        Unfit::Newer(version) => format!(
            "was written by a newer version of keyward (schema {version}, this one knows up to \
             {}): update keyward, or restore the backup from before the update",
            schema::VERSION
        ),
        Unfit::NoWal => "lies on a file system without shared memory between processes: keep it \
                         on a local disk"
            .to_owned(),
        Unfit::Fault(fault) => describe_fault(&fault),
    };
    OpenFault(format!("`{}` {what}", path.display()))
}

fn describe_fault(fault: &rusqlite::Error) -> String {
    if fault.sqlite_error_code() == Some(ErrorCode::NotADatabase) {
        return "is no SQLite database and was left as it is: name keyward's own file, or one that \
                does not exist yet"
            .to_owned();
    }
    format!("cannot be opened ({fault}){}", fault::advice(fault))
}

fn cannot_open(fault: &std::io::Error) -> String {
    format!(
        "cannot be opened ({fault}): let the user that keyward runs as read and write it and its \
         directory"
    )
}

const READ_ONLY: OpenFlags = OpenFlags::SQLITE_OPEN_READ_ONLY;
const READ_WRITE: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE;
const NO_MUTEX: OpenFlags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
const LOCK_RETRY_EVERY: Duration = Duration::from_micros(250);
const LOCK_TRIES_MAX: i32 = 5_000_000 / 300;
