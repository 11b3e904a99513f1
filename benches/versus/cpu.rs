//! The CPU time of a process tree, to the nanosecond.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

/// How long each task of a process tree has run on a core so far, in nanoseconds.
pub struct CpuTime(HashMap<u32, u64>);

impl CpuTime {
    /// Reads the clocks of all threads of `pid` and of its descendants.
    pub fn of_tree(pid: u32) -> Result<Self> {
        let mut tasks = HashMap::new();
        let mut pending = vec![pid];
        while let Some(process) = pending.pop() {
            for task in tasks_of(process)? {
                tasks.insert(task, nanoseconds(process, task).unwrap_or(0));
                pending.extend(children_of(process, task));
            }
        }
        Ok(Self(tasks))
    }

    /// The time spent since `earlier`.
    ///
    /// A task which has ended in between no longer tells its time and counts as nothing.
    pub fn since(&self, earlier: &Self) -> Duration {
        let nanoseconds = self
            .0
            .iter()
            .map(|(task, now)| now.saturating_sub(earlier.0.get(task).copied().unwrap_or(0)))
            .sum();
        Duration::from_nanos(nanoseconds)
    }
}

fn tasks_of(process: u32) -> Result<Vec<u32>> {
    let folder = PathBuf::from(format!("/proc/{process}/task"));
    let entries = fs::read_dir(&folder)
        .with_context(|| format!("cannot list {}: has it ended?", folder.display()))?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

/// The first field of `schedstat`; nothing if the task has ended since it was listed.
fn nanoseconds(process: u32, task: u32) -> Option<u64> {
    let schedstat = fs::read_to_string(format!("/proc/{process}/task/{task}/schedstat")).ok()?;
    schedstat.split_whitespace().next()?.parse().ok()
}

fn children_of(process: u32, task: u32) -> Vec<u32> {
    fs::read_to_string(format!("/proc/{process}/task/{task}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .collect()
}
