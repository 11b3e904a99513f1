//! Waits for what is sure to come, and ends what does not.

use std::fs::{self, DirEntry, File};
use std::io::{Read, Seek};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Waits until `condition` holds. The limit is there to end a test that is lost anyway.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = now() + PATIENCE;
    while !condition() {
        assert!(now() < end, "waited in vain: {what}");
        thread::sleep(PAUSE);
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's patience is real time")]
fn now() -> Instant {
    Instant::now()
}

/// Waits until a process that was told to stand still does so in all its threads.
#[track_caller]
pub fn await_stillness(pid: u32) {
    let is_still = |task: DirEntry| {
        // A thread may end meanwhile.
        let status = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        status.rsplit(')').next().is_none_or(|it| it.is_empty() || it.starts_with(" T"))
    };
    eventually("it stands still", || {
        fs::read_dir(format!("/proc/{pid}/task")).unwrap().all(|it| is_still(it.unwrap()))
    });
}

/// Runs a command to its end, or ends it.
pub fn run_within(mut command: Command, limit: Duration) -> Result<Output, String> {
    // Files, as nobody reads from a pipe meanwhile.
    let files = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
    let [out, err] = files.each_ref().map(|it| it.try_clone().unwrap());
    let mut child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().unwrap();
    let end = now() + limit;
    while now() < end {
        if let Some(status) = child.try_wait().unwrap() {
            let [stdout, stderr] = files.map(read_all);
            return Ok(Output { status, stdout, stderr });
        }
        thread::sleep(Duration::from_millis(2));
    }
    drop(child.kill());
    drop(child.wait());
    Err("no answer in time".to_owned())
}

fn read_all(mut file: File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

const PATIENCE: Duration = Duration::from_secs(30);

/// Most conditions ask a program of its own.
const PAUSE: Duration = Duration::from_millis(20);
